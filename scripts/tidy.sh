#!/usr/bin/env bash
# clang-tidy 14 over our .cpp files, or over those given (patterns of git ls-files), one on each core: any finding
# fails. out/tidy.log keeps what was said. Nothing is compiled: build/tidy is only configured, without precompiled
# headers, which are GCC's.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh nightly
mkdir -p out build/tidy
cmake --preset tidy > build/tidy/configure.log 2>&1 || { cat build/tidy/configure.log >&2; exit 1; }
(($#)) || set -- '*.cpp'
mapfile -t files < <(git ls-files -co --exclude-standard -- "$@")
((${#files[@]})) || { echo "tidy: no such files: $*" >&2; exit 1; }
echo "tidy: ${#files[@]} files"
code=0
# Each file's output is held back to its end, so that those of two files do not mix.
printf '%s\n' "${files[@]}" | xargs -P "$(nproc)" -I FILE bash -c '
  said=$(clang-tidy-14 -p build/tidy --quiet FILE 2> /dev/null); code=$?
  [[ -z $said ]] || printf "%s\n" "$said"
  exit $code' > out/tidy.log || code=$?
cat out/tidy.log
findings=$(grep -c -E ': (warning|error): ' out/tidy.log || true)
echo "tidy: $findings findings"
((code == 0 && findings == 0))
