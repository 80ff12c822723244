#!/usr/bin/env python3
"""Which score of a head says what it costs that text no longer reads visual keys in it: the demo's model in transformers.

    .venv/bin/python benchmarks/head_scores.py examples/digitgrid/model

Scores on the first calibration questions: `ratio` (attention on visual keys over that on all others, as calibration has it), `output` (how much
the head's output in text rows changes without visual keys, relative to the layer's), `taylor` (the mean of |d log p / d g| with g a factor on the
weights of the head's visual keys and p the probability of the dense model's own answer; the first-order term of the divergence itself is zero,
because the dense model is its minimum), `fisher` (the mean of its square: the second-order term), `alone` (the divergence without this head alone,
measured), `in turn` (heads are given up a quarter of those left at a time, those whose loss alone is least, each round measured anew).
Each score then keeps its best heads, a share of all, and what is left is measured on other questions: the mean of KL / (1 + KL) from the dense
model over the answer's tokens, and how many answers stay.
"""
import argparse
import collections
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/python"))
import torch_cpu  # noqa: F401  (before torch)
import torch
from digitgrid_hf import HuggingFace

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("model", type=pathlib.Path)
parser.add_argument("--questions", type=int, default=60, help="for the scores, and as many others to measure on")
parser.add_argument("--shares", type=float, nargs="+", default=[0.5, 0.25, 0.125])
arguments = parser.parse_args()

source = HuggingFace(str(arguments.model))
model = source.model
layers = model.model.language_model.layers
config = model.config.text_config
L, H = config.num_hidden_layers, config.num_attention_heads
IMAGE = model.config.image_token_index
data = ROOT / "examples/digitgrid/data/calib"
records = [json.loads(line) for line in open(data / "questions.jsonl")]

# What every layer's attention is told in a forward: gates [L, H] on visual keys in text rows, and which keys are visual.
state = {"gates": None, "visual": None, "seen": None}


def hook(index):
    def before(module, args, kwargs):
        mask, gates = kwargs["attention_mask"], state["gates"]
        visual = state["visual"]
        length = visual.shape[0]
        if mask is None:
            mask = torch.zeros(1, 1, length, length).masked_fill(torch.ones(length, length).triu(1).bool(), -torch.inf)
        if gates is not None:
            read = (~visual)[:, None] & visual[None, :]
            kwargs["attention_mask"] = mask + torch.where(read, torch.log(gates[index])[:, None, None], 0.0)[None]
        return args, kwargs

    def after(module, args, output):
        if state["seen"] is not None:
            state["seen"][index] = output[1].detach()  # attention weights [B, H, T, T]

    layers[index].self_attn.register_forward_pre_hook(before, with_kwargs=True)
    layers[index].self_attn.register_forward_hook(after)


for layer in range(L):
    hook(layer)


class Batch:
    """Questions of one length with the dense model's answers behind them."""

    def __init__(self, inputs, answers):
        self.ids = torch.stack([torch.cat([one["input_ids"][0], answer]) for one, answer in zip(inputs, answers)])
        self.pixels = torch.cat([one["pixel_values"] for one in inputs])
        self.count = len(answers[0])
        self.visual = self.ids[0] == IMAGE
        assert all(torch.equal(row == IMAGE, self.visual) for row in self.ids)
        with torch.no_grad():
            self.dense = self.logits(None).log_softmax(-1)

    def logits(self, gates):
        state["gates"], state["visual"] = gates, self.visual
        return model(input_ids=self.ids, pixel_values=self.pixels).logits[:, -self.count - 1 : -1].double()

    def divergence(self, gates):
        """KL of each question, and whether every token of its answer stays."""
        new = self.logits(gates).log_softmax(-1)
        kl = (self.dense.exp() * (self.dense - new)).sum(-1).sum(-1)
        return kl, (new.argmax(-1) == self.dense.argmax(-1)).all(-1)


def batches(chosen):
    groups = collections.defaultdict(list)
    with torch.no_grad():
        for record in chosen:
            inputs = source.inputs(record, data / "images")
            state["gates"], state["visual"] = None, inputs["input_ids"][0] == IMAGE
            answer = model.generate(**inputs, max_new_tokens=8, do_sample=False)[0, inputs["input_ids"].shape[1] :]
            groups[inputs["input_ids"].shape[1], len(answer)].append((inputs, answer))
    return [Batch(*zip(*group)) for group in groups.values()]


def measured(on, gates):
    with torch.no_grad():
        found = [batch.divergence(gates) for batch in on]
    kl, same = (torch.cat(parts) for parts in zip(*found))
    assert torch.isfinite(kl).all()
    return (kl / (1 + kl)).mean().item(), same.double().mean().item(), kl.mean().item()


def without(heads):
    gates = torch.ones(L, H)
    for layer, head in heads:
        gates[layer, head] = 0
    return gates


def local_scores(on):
    """ratio and output, [L, H] each."""
    ratio, output, count = torch.zeros(L, H, dtype=torch.double), torch.zeros(L, H, dtype=torch.double), 0
    inputs = {}
    handles = [layer.self_attn.v_proj.register_forward_hook(lambda m, a, out, i=i: inputs.__setitem__(i, out.detach())) for i, layer in enumerate(layers)]
    with torch.no_grad():
        for batch in on:
            state["seen"] = {}
            batch.logits(None)
            text = ~batch.visual
            behind = text & (torch.arange(len(text)) > batch.visual.nonzero().max())
            for i in range(L):
                weights = state["seen"][i].double()
                seen, other = weights[:, :, :, batch.visual].sum((2, 3)), weights[:, :, :, text].sum((2, 3))
                ratio[i] += (seen / other).sum(0)
                values = inputs[i].unflatten(-1, (H, -1)).transpose(1, 2).double()  # [B, H, T, D]
                out = weights @ values
                fewer = weights.masked_fill(batch.visual, 0)
                fewer = fewer / fewer.sum(-1, keepdim=True).clamp_min(1e-30)
                change = ((fewer @ values - out)[:, :, behind] ** 2).sum((2, 3))
                output[i] += (change / (out[:, :, behind] ** 2).sum((1, 2, 3))[:, None]).sum(0)
            count += len(batch.ids)
            state["seen"] = None
    for handle in handles:
        handle.remove()
    return ratio / count, output / count


def gradient_scores(on):
    """taylor and fisher, [L, H] each."""
    taylor, fisher, count = torch.zeros(L, H), torch.zeros(L, H), 0
    for batch in on:
        gates = torch.ones(L, H, requires_grad=True)
        likely = batch.logits(gates).log_softmax(-1).gather(-1, batch.ids[:, -batch.count :, None]).sum((1, 2))
        for one in likely:
            gradient = torch.autograd.grad(one, gates, retain_graph=True)[0]
            taylor += gradient.abs()
            fisher += gradient**2
        count += len(batch.ids)
    return taylor / count, fisher / count


def in_turn(on):
    left, order = [(layer, head) for layer in range(L) for head in range(H)], []
    while left:
        losses = {head: measured(on, without(order + [head]))[0] for head in left}
        left.sort(key=losses.get)
        gone = max(1, len(left) // 4)
        order += left[:gone]
        left = left[gone:]
    score = torch.zeros(L, H)
    for place, (layer, head) in enumerate(order):
        score[layer, head] = place
    return score


def ranks(scores):
    return scores.flatten().argsort().argsort().double()


half = arguments.questions
scoring, judging = batches(records[:half]), batches(records[half : 2 * half])
ratio, output = local_scores(scoring)
taylor, fisher = gradient_scores(scoring)
alone = torch.tensor([[measured(scoring, without([(layer, head)]))[0] for head in range(H)] for layer in range(L)])
scores = {"ratio": ratio, "output": output, "taylor": taylor, "fisher": fisher, "alone": alone, "in turn": in_turn(scoring)}
print(f"{arguments.model}: {L} layers of {H} heads; {half} questions for the scores, {2 * half if len(records) >= 2 * half else len(records)} less these to measure on")
print("| score | rank correlation with `alone` |" + "".join(f" {share:.1%} of the heads: loss, answers as before |" for share in arguments.shares))
print("|---|---|" + "---|" * len(arguments.shares))
for name, score in scores.items():
    correlation = torch.corrcoef(torch.stack([ranks(score), ranks(alone)]))[0, 1].item()
    row = f"| {name} | {correlation:.2f} |"
    for share in arguments.shares:
        keep = set(score.flatten().argsort(descending=True)[: round(share * L * H)].tolist())
        loss, same, _ = measured(judging, without([(i // H, i % H) for i in range(L * H) if i not in keep]))
        row += f" {loss:.4f}, {same:.1%} |"
    print(row, flush=True)
