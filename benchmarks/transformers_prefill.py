"""Prefill in transformers, dense and with yopo.transformers.apply, at LLaVA-1.5's real layer sizes: one process, one set of
random weights, interleaved. The vision tower is a toy, so that what is timed is the decoder.

    .venv/bin/python benchmarks/transformers_prefill.py --layers 4 --rounds 5
"""
import argparse
import json
import pathlib
import statistics
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / "python"), str(ROOT / "python")]
import torch_cpu  # noqa: F401  makes `import torch` work where only the CPU part of the wheel is installed
import torch
import transformers

import yopo.transformers
from real_sizes import PLANS, make_plan
from yopo import read_plan

SIDE, TOKEN = 24, 5


def make_model(config, layers, dtype):
    text = json.loads(config.read_text())["text_config"] | {"num_hidden_layers": layers, "vocab_size": 1000, "torch_dtype": str(dtype).removeprefix("torch.")}
    vision = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 1, "image_size": 14 * SIDE,
              "patch_size": 14, "projection_dim": 32, "model_type": "clip_vision_model"}
    settings = transformers.LlavaConfig(text_config=text, vision_config=vision, image_token_index=TOKEN, attn_implementation="sdpa")
    torch.set_default_dtype(dtype)
    torch.manual_seed(0)
    with transformers.modeling_utils.no_init_weights():
        model = transformers.LlavaForConditionalGeneration(settings)
    for weight in model.parameters():
        weight.data.uniform_(-0.03, 0.03)
    torch.set_default_dtype(torch.float32)
    return model.eval()


def flops(config, layers, text, visual, plan=None):
    """Multiply-adds of the decoder's layers; attention as the pairs that are attended (exact convention)."""
    wide, inner, heads = config.hidden_size, config.intermediate_size, config.num_attention_heads
    head = wide // heads
    before = text // 2  # text tokens before the picture
    total = 0
    for index in range(layers):
        layer = plan.layers[index] if plan else None
        alive = layer is None or layer.alive
        kept = heads if layer is None else sum(layer.heads) * alive
        updated = heads if layer is None else sum(layer.updates) * alive
        neurons = inner if layer is None or layer.neurons is None else len(layer.neurons)
        total += text * (4 * wide * wide + 3 * wide * inner)
        if alive:
            total += visual * (2 * updated + 2 * kept) * head * wide + visual * 3 * wide * neurons
        pairs = text * (text + 1) // 2 * heads + (text - before) * visual * kept
        near = visual * (visual + 1) // 2
        if layer is not None and layer.window is not None:
            reach = (layer.window.size - 1) // 2
            along = sum(min(SIDE - 1, i + reach) - max(0, i - reach) + 1 for i in range(SIDE))
            near = (along * along + visual) // 2 if layer.window.causal else along * along
        pairs += (near + visual * before) * updated
        total += 2 * pairs * head
    return 2 * total


@torch.inference_mode()
def prefill(model, inputs, clock):
    start = clock()
    model(**inputs, use_cache=True, logits_to_keep=1)
    return clock() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=pathlib.Path, default=ROOT / "configs/models/llava-1.5-7b.json")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--text", type=int, default=64)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--cpu-time", action="store_true", help="of this process instead of the wall's, for a machine that does other work, too")
    parser.add_argument("--output", type=pathlib.Path)
    options = parser.parse_args()
    clock = time.process_time if options.cpu_time else time.perf_counter
    torch.set_num_threads(options.threads)
    model = make_model(options.config, options.layers, getattr(torch, options.dtype))
    decoder, visual = model.config.text_config, SIDE * SIDE
    words = torch.randint(10, 1000, (1, options.text))
    half = options.text // 2
    ids = torch.cat([words[:, :half], torch.full((1, visual), TOKEN), words[:, half:]], 1)
    inputs = {"input_ids": ids, "pixel_values": torch.randn(1, 3, 14 * SIDE, 14 * SIDE, dtype=getattr(torch, options.dtype))}
    rows = []
    for name, shape in PLANS.items():
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "plan.json"
            make_plan(options.config, options.layers, shape, path)
            plan = read_plan(path, decoder.to_dict())
        times = {"dense": [], "pruned": []}
        for turn in range(options.rounds + 1):
            dense = prefill(model, inputs, clock)
            yopo.transformers.apply(model, plan)
            pruned = prefill(model, inputs, clock)
            yopo.transformers.remove(model)
            if turn:  # the first warms up
                times["dense"].append(dense)
                times["pruned"].append(pruned)
            print(f"  {name} {turn}/{options.rounds}: dense {1e3 * dense:.0f} ms, pruned {1e3 * pruned:.0f} ms", file=sys.stderr, flush=True)
        whole, part = flops(decoder, options.layers, options.text, visual), flops(decoder, options.layers, options.text, visual, plan)
        speedup = statistics.median(d / p for d, p in zip(times["dense"], times["pruned"]))
        rows.append({"plan": name, "dense_ms": 1e3 * statistics.median(times["dense"]), "pruned_ms": 1e3 * statistics.median(times["pruned"]),
                     "speedup": speedup, "flops_ratio": whole / part, "efficiency": speedup * part / whole})
        print("{plan}: dense {dense_ms:.0f} ms, pruned {pruned_ms:.0f} ms, speed-up {speedup:.2f}, FLOPs ratio {flops_ratio:.2f}, "
              "speed-up over FLOPs ratio {efficiency:.2f}".format(**rows[-1]), flush=True)
    if options.output:
        options.output.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
