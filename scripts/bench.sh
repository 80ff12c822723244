#!/usr/bin/env bash
# Dense against pruned at LLaVA-1.5-7B's layer sizes under the published recipe (24 of 32 heads, half of the FFN neurons,
# window 5), with all layers visual and with half of them; then the operators: bench.sh LAYERS DTYPE
set -euo pipefail
cd "$(dirname "$0")/.."
layers=$1 dtype=$2
config=configs/models/llava-1.5-7b.json
mkdir -p out/bench
for visual_layers in "$layers" $((layers / 2)); do
  plan=out/bench/plan-$layers-$visual_layers.json
  python3 scripts/shape_plan.py --config $config --layers "$layers" --heads 0.75 --ffn 0.5 --window 5 \
    --visual-layers "$visual_layers" --output "$plan"
  echo "== visual tokens in $visual_layers of $layers layers"
  build/release/yopo bench --config $config --layers "$layers" --plan "$plan" --visual 576 --text 64 --batch 1 --device cpu \
    --dtype "$dtype" --rounds 9
done
for program in build/release/benchmarks/bench_*; do
  if [[ -x $program && -f $program ]]; then "$program"; fi
done
