"""A training step in transformers, dense and with yopo.transformers.apply, at LLaVA-1.5's real layer sizes: one process, one set
of random weights, in turn. Weights are float32 and products bf16 (autocast), as in examples/finetune/settings; the optimizer is
AdamW. The vision tower is a toy, so that what is timed is the decoder. Peak memory is of the whole process, measured anew
for each step.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/finetune_step.py --rounds 3
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from transformers_prefill import ROOT, SIDE, TOKEN, flops, make_model
import torch

import yopo.transformers
from yopo import read_plan

PLANS = {  # fractions; both keep 25 % of the visual FLOPs by the paper's formula
    "half of the layers": ["--heads", "0.75", "--ffn", "0.375", "--visual-layers", "0.5"],
    "all layers": ["--heads", "0.25", "--ffn", "0.25"],
}


def memory(reset=False):
    """Most bytes that the process has held since the last reset."""
    if reset:
        pathlib.Path("/proc/self/clear_refs").write_text("5")
    line = next(line for line in pathlib.Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def step(model, optimizer, inputs):
    """CPU seconds of forward, backward and optimizer, and the peak memory."""
    memory(reset=True)
    at = [time.process_time()]
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(**inputs).loss
    at.append(time.process_time())
    loss.backward()
    at.append(time.process_time())
    optimizer.step()
    optimizer.zero_grad()
    at.append(time.process_time())
    return [b - a for a, b in zip(at, at[1:])] + [memory()]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=pathlib.Path, default=ROOT / "configs/models/llava-1.5-7b.json")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--text", type=int, default=64)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--plans", nargs="+", default=list(PLANS), choices=list(PLANS))
    parser.add_argument("--output", type=pathlib.Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = make_model(options.config, options.layers, torch.float32).train()
    model.config.use_cache = False
    model.model.vision_tower.requires_grad_(False)
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=1e-6, fused=True)
    visual, half = SIDE * SIDE, options.text // 2
    words = torch.randint(10, 1000, (options.batch, options.text))
    ids = torch.cat([words[:, :half], torch.full((options.batch, visual), TOKEN), words[:, half:]], 1)
    labels = ids.masked_fill(torch.arange(ids.shape[1]) < ids.shape[1] - 8, -100)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels, "pixel_values": torch.randn(options.batch, 3, 14 * SIDE, 14 * SIDE)}
    rows = []
    for name in options.plans:
        arguments = list(PLANS[name])
        if "--visual-layers" in arguments:
            arguments[-1] = str(round(float(arguments[-1]) * options.layers))
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "plan.json"
            subprocess.run([sys.executable, ROOT / "scripts/shape_plan.py", "--config", options.config, "--layers", str(options.layers), "--window", "5",
                            *arguments, "--output", path], check=True)
            plan = read_plan(path, model.config.text_config.to_dict())
        found = {"dense": [], "pruned": []}
        for turn in range(options.rounds + 1):
            for kind in found:
                if kind == "pruned":
                    yopo.transformers.apply(model, plan)
                result = step(model, optimizer, inputs)
                if kind == "pruned":
                    yopo.transformers.remove(model)
                if turn:  # the first warms up
                    found[kind].append(result)
                print(f"  {name} {turn}/{options.rounds} {kind}: forward {result[0]:.2f} s, backward {result[1]:.2f} s, optimizer {result[2]:.2f} s, "
                      f"{result[3] / 1e9:.2f} GB", file=sys.stderr, flush=True)
        parts = {kind: [statistics.median(column) for column in zip(*results)] for kind, results in found.items()}
        decoder = model.config.text_config
        row = {"plan": name, **{f"{kind}_{what}": value for kind, values in parts.items() for what, value in zip(("forward", "backward", "optimizer", "bytes"), values)},
               "time": statistics.median(sum(p[:3]) / sum(d[:3]) for d, p in zip(found["dense"], found["pruned"])),
               "flops": flops(decoder, options.layers, options.text, visual, plan) / flops(decoder, options.layers, options.text, visual)}
        rows.append(row)
        print("{plan}: dense {dense_forward:.2f} + {dense_backward:.2f} + {dense_optimizer:.2f} s, {0:.2f} GB; pruned {pruned_forward:.2f} + {pruned_backward:.2f} + "
              "{pruned_optimizer:.2f} s, {1:.2f} GB; time {time:.2f} of dense, FLOPs with text {flops:.2f}".format(
                  row["dense_bytes"] / 1e9, row["pruned_bytes"] / 1e9, **row), flush=True)
    if options.output:
        options.output.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
