#!/usr/bin/env bash
# Builds the fuzz targets and runs each for SECONDS, as many at once as there are cores: fuzz.sh SECONDS [TARGET...]. What
# a target finds is left in out/fuzz; exit code 1.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=$1
shift
scripts/setup.sh fuzz
echo "fuzz: building build/fuzz"
cmake -S tests/fuzz -B build/fuzz -G Ninja -DCMAKE_C_COMPILER=clang-14 -DCMAKE_CXX_COMPILER=clang++-14 \
  -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_UNITY_BUILD=ON > /dev/null
cmake --build build/fuzz -j "$(nproc)"
if (($# == 0)); then
  for corpus in tests/fuzz/corpus/*/; do set -- "$@" "$(basename "$corpus")"; done
fi
fuzz() {
  mkdir -p "out/fuzz/$1"
  local code=0
  "build/fuzz/fuzz_$1" -max_total_time="$2" -rss_limit_mb=4096 -timeout=20 -print_final_stats=1 -artifact_prefix="out/fuzz/$1-" \
    "out/fuzz/$1" "tests/fuzz/corpus/$1" > "out/fuzz/$1.log" 2>&1 || code=$?
  if ((code == 0)); then
    echo "fuzz: $1, $2 s: $(sed -n 's/^stat::number_of_executed_units: *//p' "out/fuzz/$1.log") inputs, no finding"
    return
  fi
  echo "fuzz: $1: a finding, exit code $code"
  tail -60 "out/fuzz/$1.log"
  return 1
}
export -f fuzz
mkdir -p out/fuzz
printf '%s\n' "$@" | xargs -P "$(nproc)" -I NAME bash -c "fuzz NAME $seconds" || exit 1
