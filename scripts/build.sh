#!/usr/bin/env bash
# Set-up, configure and compile: build.sh STAGE PRESET [TARGET...], STAGE as in setup.sh; without a target, everything.
# Variables: YOPO_CUDA (ON, OFF or AUTO) is passed on to CMake and kept until it is given again.
set -euo pipefail
cd "$(dirname "$0")/.."
stage=$1 preset=$2
shift 2

scripts/setup.sh "$stage"

# Two builds in one folder would overwrite each other's files.
mkdir -p "build/$preset"
if command -v flock > /dev/null; then
  exec 9> "build/$preset/.lock"
  flock -n 9 || { echo "build: another build of $preset is running; waiting for it"; flock 9; }
fi

# A file that includes Torch takes up to 2 GB to compile.
jobs=$(nproc)
if [[ -r /proc/meminfo ]]; then
  by_memory=$(awk '/^MemTotal/ {print int($2 / 2097152)}' /proc/meminfo)
  ((by_memory >= 1)) || by_memory=1
  ((jobs <= by_memory)) || jobs=$by_memory
fi

# The folder is one for all stages, and CMake's cache remembers what each added: `make demo` after `make test` changes
# nothing, and no stage changes how the command itself is compiled.
cache=build/$preset/CMakeCache.txt
cached() { [[ ! -e $cache ]] || sed -n "s/^$1:[A-Z]*=//p" "$cache"; }
options=()
want() { [[ $(cached "$1") == "$2" ]] || options+=("-D$1=$2"); }
case $stage in
  demo | bench) [[ -e build/$preset/build.ninja ]] || want YOPO_TESTS OFF ;;
  *) want YOPO_TESTS ON ;;
esac
[[ $stage != bench ]] || want YOPO_BENCHMARKS ON
[[ -z ${YOPO_CUDA:-} ]] || want YOPO_CUDA "$YOPO_CUDA"
# With YOPO_CUDA=AUTO the command has the CUDA backend where a GPU is: one that came or went is looked at again.
gpu=OFF
! compgen -G '/dev/nvidia[0-9]*' > /dev/null || gpu=ON

# A change of what .venv holds decides whether the Python tests are among the tests.
if [[ ! -e build/$preset/build.ninja || ${#options[@]} -gt 0 || $(cached YOPO_GPU_HERE) != "$gpu" ||
  .venv/.python-tests -nt build/$preset/.configured ]]; then
  echo "build: configuring build/$preset"
  cmake --preset "$preset" "${options[@]}" > "build/$preset/configure.log" 2>&1 || {
    cat "build/$preset/configure.log" >&2
    exit 1
  }
  touch "build/$preset/.configured"
fi
cmake --build "build/$preset" -j "$jobs" ${1:+--target "$@"}
