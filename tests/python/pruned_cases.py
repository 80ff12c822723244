"""The skip cases of tests/data/fixtures as a model of transformers takes them, and what such a model computes of one."""
import json

from yopo_package import CACHE
from support import ROOT
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText

FIXTURES = ROOT / "tests/data/fixtures"


def dense(folder, attention="sdpa", dtype=torch.float32):
    return AutoModelForImageTextToText.from_pretrained(folder, dtype=dtype, attn_implementation=attention).eval()


def outer_of(model):
    return model.model


class FixtureCase:
    """One case of tests/data/fixtures: inputs as the model takes them, and what is expected."""

    def __init__(self, path):
        self.folder, self.facts = path.parent, json.loads(path.read_text())
        stored = load_file(self.folder / "inputs.safetensors")
        self.inputs = {name: value for name, value in stored.items() if name != "position_ids"}
        self.inputs["input_ids"] = stored["input_ids"][None]
        if "image_grid_thw" in stored and CACHE == "cache":  # transformers 5 wants to be told what it can see in the ids
            token = json.loads((path.parents[2] / "model/config.json").read_text())["image_token_id"]
            self.inputs["mm_token_type_ids"] = (self.inputs["input_ids"] == token).long()
        self.next_position = int(stored["position_ids"].max()) + 1
        self.axes = stored["position_ids"].dim()
        dense_case = load_file(self.folder / "dense.safetensors")
        self.entered, self.deepstack = dense_case["hidden"][0], dense_case.get("deepstack")

    def decode_inputs(self, step):
        position = torch.tensor([[self.next_position + step]])
        return {"input_ids": torch.tensor([[self.facts["decode_tokens"][step]]]),
                "position_ids": position.expand(3, 1, 1) if self.axes == 2 else position}


def cases(family):
    found = [FixtureCase(path) for path in sorted((FIXTURES / family / "cases").glob("*/case.json")) if "skip" in json.loads(path.read_text())]
    assert found
    return found


@torch.no_grad()
def trace(model, case):
    """hidden [L + 1, T, C], the last row's logits and those of forced tokens, and the cache."""
    hidden, hooks = [case.entered], []
    decoder = outer_of(model).language_model
    for module in [*decoder.layers[1:], decoder.norm]:  # what leaves a layer is not all: the decoder may add to it
        hooks.append(module.register_forward_pre_hook(lambda m, args: hidden.append(args[0][0])))

    def enter(module, args, kwargs):  # the cases' tolerances hold from the stored input of the decoder on
        kwargs["inputs_embeds"] = case.entered[None]
        if case.deepstack is not None:
            kwargs["deepstack_visual_embeds"] = list(case.deepstack)
        return args, kwargs

    hooks.append(decoder.register_forward_pre_hook(enter, with_kwargs=True, prepend=True))
    try:
        first = model(**case.inputs, use_cache=True)
    finally:
        for hook in hooks:
            hook.remove()
    cache, decoded = first[CACHE], []
    for step in range(len(case.facts["decode_tokens"])):
        decoded.append(model(**case.decode_inputs(step), use_cache=True, **{CACHE: cache}).logits[0, -1])
    return torch.stack(hidden), first.logits[0, -1], torch.stack(decoded), cache
