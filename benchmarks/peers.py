"""Prefill in OpenVINO, in transformers (SDPA) and in this runtime, dense and pruned, at LLaVA-1.5-7B's layer sizes: the same
random weights in the first two, the same sizes, types and threads in all, by turns in one run.

OpenVINO lives in an environment of its own, which finds torch and transformers in .venv:

    .venv/bin/python -m venv out/peers/openvino
    out/peers/openvino/bin/pip install openvino==2026.4.1
    .venv/bin/python benchmarks/peers.py --output out/peers/results.json

Before anything is timed, keys, values and logits of OpenVINO and of transformers are held against torch's in fp32. A round is one
prefill of each of those two; after a block's rounds `yopo bench` does as many, dense and pruned by turns. It takes some twenty
minutes on two idle cores and 12 GB of memory.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
from real_sizes import DTYPES, PLANS, Transformers, bench, make_plan, print_table
import numpy
import torch


class OpenVino:
    """The other process, with the same weights and inputs."""

    def __init__(self, options, config, tokens, rows):
        self.process = subprocess.Popen(
            [options.openvino_python, ROOT / "benchmarks/openvino_prefill.py", "--config", config, "--layers", str(options.layers),
             "--tokens", str(tokens), "--threads", str(options.threads), "--dtype", options.dtype, "--rows", rows],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path.endswith("site-packages"))})
        self.about = json.loads(self.answer())

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.process.args[0]} ended with exit code {self.process.wait()}")
        return line

    def round(self):
        self.process.stdin.write("1\n")
        self.process.stdin.flush()
        return json.loads(self.answer())[0]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


@torch.inference_mode()
def check(peer, rows):
    """The largest relative distance (of norms) of each from torch in fp32, over logits, keys and values."""
    out = peer.model(inputs_embeds=peer.embeds, use_cache=True, logits_to_keep=1)
    own = [out.logits]
    for layer in out.past_key_values.layers:
        own += [layer.keys, layer.values]
    found = {"openvino": 0.0, "transformers": 0.0}
    for i, ours in enumerate(own):
        right = rows[f"fp32_{i}"]
        for name, row in (("openvino", rows[f"openvino_{i}"]), ("transformers", ours.float().numpy())):
            found[name] = max(found[name], float(numpy.linalg.norm(row - right) / numpy.linalg.norm(right)))
    limit = 2 * found["transformers"] + 1e-4
    if found["openvino"] > limit:
        sys.exit(f"OpenVINO is {found['openvino']:.3g} from torch in fp32, transformers {found['transformers']:.3g}: not the same model")
    return found


def measure(options, config, visual):
    tokens = visual + options.text
    print(f"{tokens} tokens", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        rows = pathlib.Path(folder) / "rows.npz"
        other = OpenVino(options, config, tokens, rows)
        peer = Transformers(config, options.layers, options.dtype, tokens)
        distance = check(peer, numpy.load(rows))
        print(f"  from torch in fp32: {json.dumps(distance)}; OpenVINO {json.dumps(other.about)}", file=sys.stderr, flush=True)
        paths = {}
        for name in options.plans:
            paths[name] = str(pathlib.Path(folder) / f"{name.replace(' ', '-')}.json")
            make_plan(config, options.layers, PLANS[name], paths[name])
        peer.round(0), other.round()  # warm up
        blocks = {name: [] for name in options.plans}
        for number in range(options.blocks):
            for name in options.plans:
                turns = [(other.round(), peer.round(0)[0]) for _ in range(options.rounds)]
                ours = bench(options, config, paths[name], visual)
                block = {"openvino_ms": statistics.median(t[0] for t in turns), "transformers_ms": statistics.median(t[1] for t in turns),
                         "dense_ms": ours["dense"]["prefill_ms"], "pruned_ms": ours["pruned"]["prefill_ms"], "yopo": ours, "turns": turns}
                blocks[name].append(block)
                print(f"  {number + 1}/{options.blocks} {name}: " + ", ".join(f"{key[:-3]} {block[key]:.0f} ms" for key in (
                    "openvino_ms", "transformers_ms", "dense_ms", "pruned_ms")), file=sys.stderr, flush=True)
        other.close()
    return [summary(tokens, name, blocks[name]) | {"distance_from_fp32": distance, "openvino": other.about} for name in options.plans]


def summary(tokens, plan, blocks):
    """Medians over blocks, ratios within them."""
    result = {"tokens": tokens, "plan": plan, "blocks": blocks}
    for key in ("openvino_ms", "transformers_ms", "dense_ms", "pruned_ms"):
        result[key] = statistics.median(block[key] for block in blocks)
    for over in ("openvino", "transformers", "dense"):
        for side in ("dense", "pruned"):
            if over != side:
                result[f"{over}_over_{side}"] = statistics.median(block[f"{over}_ms"] / block[f"{side}_ms"] for block in blocks)
    return result


COLUMNS = [("tokens", "tokens", "{}"), ("plan", "plan", "{}"), ("openvino_ms", "OpenVINO", "{:.0f} ms"),
           ("transformers_ms", "transformers", "{:.0f} ms"), ("dense_ms", "yopo dense", "{:.0f} ms"), ("pruned_ms", "yopo pruned", "{:.0f} ms"),
           ("openvino_over_dense", "OpenVINO / dense", "{:.2f}"), ("openvino_over_pruned", "OpenVINO / pruned", "{:.2f}"),
           ("transformers_over_dense", "transformers / dense", "{:.2f}"), ("transformers_over_pruned", "transformers / pruned", "{:.2f}"),
           ("dense_over_pruned", "dense / pruned", "{:.2f}")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", default="llava-1.5-7b", help="name in configs/models; a LLaMA")
    parser.add_argument("--plans", nargs="+", default=list(PLANS), choices=list(PLANS))
    parser.add_argument("--layers", type=int, default=4, help="decoder layers; a multiple of 4 keeps the plans' depths exact")
    parser.add_argument("--dtype", default="bf16", choices=list(DTYPES))
    parser.add_argument("--visual", type=int, nargs="+", default=[576, 2304], help="visual tokens of a prompt")
    parser.add_argument("--text", type=int, default=64)
    parser.add_argument("--blocks", type=int, default=3, help="alternations with `yopo bench`")
    parser.add_argument("--rounds", type=int, default=4, help="repetitions in a block")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--yopo", default=str(ROOT / "build/release/yopo"))
    parser.add_argument("--openvino-python", default=str(ROOT / "out/peers/openvino/bin/python"), help="an interpreter with openvino")
    parser.add_argument("--output", type=pathlib.Path, help="all of it as JSON")
    options = parser.parse_args()
    options.decode_tokens = 0
    if not pathlib.Path(options.openvino_python).exists():
        parser.error(f"--openvino-python: there is no {options.openvino_python}; two commands that make it stand at the top of {__file__}")
    torch.set_num_threads(options.threads)
    results = []
    for visual in options.visual:
        results += measure(options, str(ROOT / f"configs/models/{options.model}.json"), visual)
        if options.output:
            options.output.parent.mkdir(parents=True, exist_ok=True)
            options.output.write_text(json.dumps(results, indent=1) + "\n")
    print_table(COLUMNS, results)


if __name__ == "__main__":
    main()
