#!/usr/bin/env bash
# All tests of build/release, then those that the configuration left out, with the reason of each. In continuous
# integration (CI=true) a test that is left out is a failure: it would vanish without anybody noticing. There each fuzz
# target runs for a minute, too.
set -euo pipefail
cd "$(dirname "$0")/.."
# Without a GPU those labelled gpu are not run (the same tests run over the emulator as runtime_cuda_shim all the same).
options=()
compgen -G '/dev/nvidia[0-9]*' > /dev/null || options+=(-LE gpu)
code=0
# Two tests at a time share the cores: their threads should sleep, not spin, while they wait.
export OMP_WAIT_POLICY=passive
ctest --test-dir build/release --output-on-failure --no-tests=error -j2 "${options[@]}" || code=$?
if [[ -s build/release/left_out.txt ]]; then
  echo
  echo "Left out, so not tested:"
  sed 's/^/  /' build/release/left_out.txt
  if [[ ${CI:-} == true ]]; then
    echo "test: with CI=true every test must be there" >&2
    ((code)) || code=4
  fi
fi
if [[ ${CI:-} == true ]]; then
  scripts/fuzz.sh 60 || { ((code)) || code=1; }
fi
exit "$code"
