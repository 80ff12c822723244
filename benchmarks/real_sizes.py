"""Prefill and decode at LLaVA-1.5's real layer sizes: this runtime dense and pruned, and transformers (SDPA, same dtype, same
threads), side by side in one run. Random weights, cut to a few decoder layers.

For each model and plan, rounds alternate between `yopo bench` (which interleaves dense and pruned itself) and transformers, so
that what else the machine does meets all three. Prints one table and writes what it holds as JSON.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "tests" / "python"))
import torch_cpu  # noqa: F401  makes `import torch` work where only the CPU part of the wheel is installed
import torch
import transformers

# Plans as fractions of the layers, so that they mean the same when the model is cut: arXiv 2410.06169's recipes (24 of 32 heads
# and 16 of 32 layers at 7B, 30 of 40 and 20 of 40 at 13B, half of the neurons, window 5), and one that keeps 12 % of the FLOPs.
PLANS = {
    "published": {"heads": 0.75, "ffn": 0.5, "window": 5, "depth": 0.5},
    "12 percent": {"heads": 0.75, "ffn": 0.375, "window": 5, "depth": 0.25},
}
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


def make_plan(config, layers, plan, path):
    subprocess.run([sys.executable, ROOT / "scripts/shape_plan.py", "--config", config, "--layers", str(layers),
                    "--heads", str(plan["heads"]), "--ffn", str(plan["ffn"]), "--window", str(plan["window"]),
                    "--visual-layers", str(round(plan["depth"] * layers)), "--output", path], check=True)


class Transformers:
    """A LLaMA of the same sizes: the language model that LLaVA's visual tokens go through."""

    def __init__(self, config, layers, dtype, tokens):
        text = json.loads(pathlib.Path(config).read_text())["text_config"]
        sizes = {key: text[key] for key in ("vocab_size", "hidden_size", "intermediate_size", "num_attention_heads",
                                            "num_key_value_heads", "max_position_embeddings") if key in text}
        torch.manual_seed(0)
        torch.set_default_dtype(DTYPES[dtype])
        self.model = transformers.LlamaForCausalLM(transformers.LlamaConfig(
            num_hidden_layers=layers, attn_implementation="sdpa", **sizes)).eval()
        torch.set_default_dtype(torch.float32)
        self.embeds = torch.randn(1, tokens, sizes["hidden_size"], dtype=DTYPES[dtype]) * 0.02

    @torch.inference_mode()
    def round(self, decode_tokens):
        """Milliseconds of a prefill and of a decoded token."""
        start = time.perf_counter()
        out = self.model(inputs_embeds=self.embeds, use_cache=True, logits_to_keep=1)
        prefilled = time.perf_counter()
        if not decode_tokens:
            return 1e3 * (prefilled - start), 0.0
        token = torch.tensor([[1]])
        for _ in range(decode_tokens):
            out = self.model(input_ids=token, past_key_values=out.past_key_values, use_cache=True)
        return 1e3 * (prefilled - start), 1e3 * (time.perf_counter() - prefilled) / decode_tokens


def bench(options, config, plan, visual):
    """Dense and pruned by this runtime, by turns, as `yopo bench --json` says it."""
    return json.loads(subprocess.run(
        [options.yopo, "bench", "--config", config, "--layers", str(options.layers), "--plan", plan, "--visual", str(visual),
         "--text", str(options.text), "--dtype", options.dtype, "--rounds", str(options.rounds), "--decode-tokens",
         str(options.decode_tokens), "--threads", str(options.threads), "--json"],
        check=True, stdout=subprocess.PIPE, text=True).stdout)


def print_table(columns, results):
    """`columns`: key of a result, title, format."""
    print("| " + " | ".join(title for _, title, _ in columns) + " |")
    print("|" + "---|" * len(columns))
    for result in results:
        print("| " + " | ".join(form.format(result[key]) for key, _, form in columns) + " |", flush=True)


def measure(options, config, name, plan):
    path = options.output / f"plan-{pathlib.Path(config).stem}-{name.replace(' ', '-')}.json"
    make_plan(config, options.layers, plan, path)
    peer = Transformers(config, options.layers, options.dtype, options.visual + options.text)
    peer.round(1)  # warms up
    blocks = []
    for _ in range(options.blocks):
        theirs = [peer.round(options.decode_tokens) for _ in range(options.rounds)]
        ours = bench(options, config, path, options.visual)
        blocks.append({"ours": ours, "transformers_prefill_ms": statistics.median(t[0] for t in theirs),
                       "transformers_decode_ms": statistics.median(t[1] for t in theirs)})
        print(f"  {len(blocks)}/{options.blocks}: transformers {blocks[-1]['transformers_prefill_ms']:.0f} ms, dense "
              f"{ours['dense']['prefill_ms']:.0f} ms, pruned {ours['pruned']['prefill_ms']:.0f} ms, efficiency "
              f"{ours['efficiency']:.2f}", file=sys.stderr, flush=True)

    def middle(value):
        return statistics.median(value(block) for block in blocks)

    first = blocks[0]["ours"]
    return {
        "model": pathlib.Path(config).stem, "plan": name, "dtype": options.dtype, "layers": options.layers, "blocks": blocks,
        "transformers_prefill_ms": middle(lambda b: b["transformers_prefill_ms"]),
        "dense_prefill_ms": middle(lambda b: b["ours"]["dense"]["prefill_ms"]),
        "pruned_prefill_ms": middle(lambda b: b["ours"]["pruned"]["prefill_ms"]),
        "dense_over_transformers": middle(lambda b: b["ours"]["dense"]["prefill_ms"] / b["transformers_prefill_ms"]),
        "speedup": middle(lambda b: b["ours"]["speedup"]),
        "speedup_over_transformers": middle(lambda b: b["transformers_prefill_ms"] / b["ours"]["pruned"]["prefill_ms"]),
        "roofline_ratio": middle(lambda b: b["ours"]["roofline_ratio"]),
        "efficiency": middle(lambda b: b["ours"]["efficiency"]),
        "transformers_decode_ms": middle(lambda b: b["transformers_decode_ms"]),
        "dense_decode_ms": middle(lambda b: b["ours"]["dense"]["decode_ms"]),
        "pruned_decode_ms": middle(lambda b: b["ours"]["pruned"]["decode_ms"]),
        "decode_ratio": middle(lambda b: b["ours"]["pruned"]["decode_ms"] / b["ours"]["dense"]["decode_ms"]),
        "kv_bytes": {side: first[side]["kv_bytes"] for side in ("dense", "pruned")},
        "kv_exact": all(b["ours"][side]["kv_bytes"] == b["ours"][side]["kv_bytes_promised"]
                        and b["ours"][side]["flops"] == b["ours"][side]["flops_promised"]
                        for b in blocks for side in ("dense", "pruned")),
    }


COLUMNS = [("model", "model", "{}"), ("plan", "plan", "{}"), ("transformers_prefill_ms", "transformers", "{:.0f} ms"),
           ("dense_prefill_ms", "dense", "{:.0f} ms"), ("pruned_prefill_ms", "pruned", "{:.0f} ms"),
           ("dense_over_transformers", "dense / transformers", "{:.2f}"), ("speedup", "speed-up", "{:.2f}"),
           ("speedup_over_transformers", "speed-up over transformers", "{:.2f}"), ("roofline_ratio", "roofline ratio", "{:.2f}"),
           ("efficiency", "efficiency", "{:.2f}"), ("decode_ratio", "decode pruned / dense", "{:.2f}"),
           ("kv_exact", "FLOPs and KV bytes as promised", "{}")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["llava-1.5-7b", "llava-1.5-13b"], help="names in configs/models")
    parser.add_argument("--plans", nargs="+", default=list(PLANS), choices=list(PLANS))
    parser.add_argument("--layers", type=int, default=4, help="decoder layers; a multiple of 4 keeps the plans' depths exact")
    parser.add_argument("--dtype", default="bf16", choices=list(DTYPES))
    parser.add_argument("--visual", type=int, default=576)
    parser.add_argument("--text", type=int, default=64)
    parser.add_argument("--decode-tokens", type=int, default=16)
    parser.add_argument("--blocks", type=int, default=3, help="alternations between the two programs")
    parser.add_argument("--rounds", type=int, default=5, help="repetitions in a block")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--yopo", default=str(ROOT / "build/release/yopo"))
    parser.add_argument("--output", type=pathlib.Path, default=ROOT / "out/real_sizes")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.output.mkdir(parents=True, exist_ok=True)
    results = []
    for model in options.models:
        for name in options.plans:
            print(f"{model}, {name}", file=sys.stderr, flush=True)
            results.append(measure(options, str(ROOT / f"configs/models/{model}.json"), name, PLANS[name]))
            (options.output / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    print_table(COLUMNS, results)


if __name__ == "__main__":
    main()
