#!/usr/bin/env bash
# Set-up, configure and compile one preset: build.sh PRESET [CMAKE OPTION...]
set -euo pipefail
cd "$(dirname "$0")/.."
preset=$1
shift

scripts/setup.sh

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

# A change of what .venv holds decides whether the Python tests are among the tests.
if [[ ! -e build/$preset/build.ninja || $# -gt 0 || .venv/.python-tests -nt build/$preset/.configured ]]; then
  echo "build: configuring build/$preset"
  cmake --preset "$preset" "$@" > "build/$preset/configure.log" 2>&1 || {
    cat "build/$preset/configure.log" >&2
    exit 1
  }
  touch "build/$preset/.configured"
fi
cmake --build "build/$preset" -j "$jobs"
