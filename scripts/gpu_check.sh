#!/usr/bin/env bash
# On a machine with a GPU, over a pack of scripts/gpu_pack.sh: `gpu_check.sh check` runs the GPU tests and compute-sanitizer,
# `gpu_check.sh bench` times models and kernels beside torch. All results go into gpu.json; `--help` has the options.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
exec "${PYTHON:-python3}" -B "$here/gpu/main.py" "$@"
