#!/usr/bin/env bash
# Dense against pruned at LLaVA-1.5-7B's layer sizes, then the operators: bench.sh LAYERS DTYPE
set -euo pipefail
cd "$(dirname "$0")/.."
layers=$1 dtype=$2
config=configs/models/llava-1.5-7b.json
mkdir -p out/bench
for keep in 0.5 0.25 0.125; do
  plan=out/bench/plan-$layers-$keep.json
  python3 scripts/shape_plan.py --config $config --layers "$layers" --heads "$keep" --ffn "$keep" --output "$plan"
  echo "== heads and neurons kept for visual tokens: $keep"
  build/release/yopo bench --config $config --layers "$layers" --plan "$plan" --visual 576 --text 64 --batch 1 --device cpu --dtype "$dtype"
done
for program in build/release/benchmarks/bench_*; do
  if [[ -x $program && -f $program ]]; then "$program"; fi
done
