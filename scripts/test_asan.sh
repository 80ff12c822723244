#!/usr/bin/env bash
# The tests under AddressSanitizer and UndefinedBehaviorSanitizer. LibTorch is not instrumented: containers that cross
# into it cannot be annotated, and what it leaves to the end of the process is no leak of ours; programs without it are
# searched for leaks, too.
set -euo pipefail
cd "$(dirname "$0")/.."
options=detect_container_overflow=0:strict_string_checks=1:check_initialization_order=1
export UBSAN_OPTIONS=print_stacktrace=1
export OMP_WAIT_POLICY=passive
folders='support|core|text|formats|images|datasets|models|plans|compress|exporters|pipeline'
without_torch="^($folders|runtime|runtime_cuda_shim)/"
run() { ctest --test-dir build/asan --output-on-failure --no-tests=error -j2 -LE gpu "$@"; }
code=0
ASAN_OPTIONS=$options:detect_leaks=1 run -R "$without_torch" || code=$?
ASAN_OPTIONS=$options:detect_leaks=0 run -E "$without_torch|^scripts/" || code=$?
exit "$code"
