#!/usr/bin/env bash
# What takes too long for every change: the tests under AddressSanitizer and UndefinedBehaviorSanitizer, each fuzz
# target for SECONDS, clang-tidy over everything, a wheel that compiles the command, and all prompts of python/answers: nightly.sh SECONDS. All run, whatever the first ones found; the
# end tells which failed. out/nightly/ keeps a log of each and summary.txt with the times.
set -uo pipefail
cd "$(dirname "$0")/.."
mkdir -p out/nightly
: > out/nightly/summary.txt
failed=0
part() {
  local name=$1 start=$SECONDS code=0
  shift
  echo "nightly: $name"
  "$@" > "out/nightly/$name.log" 2>&1 || code=$?
  ((code == 0)) || { failed=1; tail -40 "out/nightly/$name.log"; }
  local verdict=passed
  ((code == 0)) || verdict="FAILED ($code)"
  echo "$name: $verdict, $((SECONDS - start)) s: $(tail -1 "out/nightly/$name.log")" >> out/nightly/summary.txt
}
part asan make --no-print-directory asan
part fuzz make --no-print-directory fuzz FUZZ_SECONDS="$1"
part tidy make --no-print-directory tidy
compiled_wheel() {
  make --no-print-directory build &&
    YOPO_COMPILE_WHEEL=1 .venv/bin/python -B tests/python/test_wheel.py -v WheelTest.test_the_command_runs_with_the_environments_torch
}
part wheel compiled_wheel
part answers env YOPO_EVERY_PROMPT=1 .venv/bin/python -B tests/python/test_answers.py
cat out/nightly/summary.txt
exit "$failed"
