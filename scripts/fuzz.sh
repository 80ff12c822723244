#!/usr/bin/env bash
# Builds the fuzz targets and runs each for SECONDS: fuzz.sh SECONDS. A finding ends it; its input is left in out/fuzz.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh nightly
cmake -S tests/fuzz -B build/fuzz -G Ninja -DCMAKE_C_COMPILER=clang-14 -DCMAKE_CXX_COMPILER=clang++-14 -DCMAKE_BUILD_TYPE=RelWithDebInfo > /dev/null
cmake --build build/fuzz -j "$(nproc)"
for program in build/fuzz/fuzz_*; do
  [[ -x $program && -f $program ]] || continue
  name=${program##*/fuzz_}
  mkdir -p "out/fuzz/$name"
  echo "== $name, $1 s"
  "$program" -max_total_time="$1" -rss_limit_mb=4096 -timeout=20 -artifact_prefix="out/fuzz/$name-" \
    "out/fuzz/$name" "tests/fuzz/corpus/$name"
done
