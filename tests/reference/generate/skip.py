"""Adds plans of semantics "skip" and what the reference decoder makes of them to every case of a written family.

A plan starts at the case's stored input of the language model. Visual rows stay what the last layer that computes them
made of them: hidden[l] = hidden[visual_layers] there for every later l. """

import glob
import os

from decoder import Decoder, Prune, Span, Spec, from_plan, split_weights, visual_mask
from support import at_least, expect_close, load_file, load_json, save_json, save_tensors, torch

VALUES = ("hidden", "logits", "decode_logits")


def read_decoder(folder, overrides):
    """The decoder of a checkpoint under changes to its config, its table of embeddings and the FFN's width."""
    config, tensors = load_json(f"{folder}/config.json"), load_file(f"{folder}/model.safetensors")
    for name, change in overrides.items():
        config[name] |= change
    text = config.get("llm_config") or config.get("text_config") or config
    architecture = text["architectures"][0]
    kind, at, table, head, rope = "llama", "model.", "embed_tokens", "lm_head.weight", {}
    if any(name.startswith("language_model.model.") for name in tensors):
        at, head = "language_model.model.", "language_model.lm_head.weight"
    if "InternLM2" in architecture:
        kind, table, head = "internlm2", "tok_embeddings", "language_model.output.weight"
        rope = dict(type="dynamic", factor=text["rope_scaling"]["factor"], max_pos=text["max_position_embeddings"])
    elif "Phi3" in architecture:
        kind, scaling = "phi3", text["rope_scaling"]
        rope = dict(
            type="su",
            short=scaling["short_factor"],
            long=scaling["long_factor"],
            orig=text["original_max_position_embeddings"],
            max_pos=text["max_position_embeddings"],
        )
    elif "Qwen2VL" in architecture:
        kind, rope = "qwen2", dict(type="mrope", sections=text["rope_scaling"]["mrope_section"])
    heads = text["num_attention_heads"]
    spec = Spec(
        kind,
        text["num_hidden_layers"],
        heads,
        text["num_key_value_heads"],
        text["hidden_size"] // heads,
        text["rms_norm_eps"],
        text["rope_theta"],
        rope,
    )
    embeddings = tensors[f"{at}{table}.weight"]
    decoder = Decoder(
        spec, split_weights(tensors, spec, at), tensors[at + "norm.weight"], tensors.get(head, embeddings)
    )
    return decoder, embeddings, text["intermediate_size"]


def plans_of(spec, width, generator, count_first=True):
    """Plans by name: each kind of saving alone, and together with and without a causal window. `count_first`: the
    order in which a layer's number of neurons and their permutation are drawn."""
    L, H = spec.layers, spec.heads
    cut = L - 1 - int(torch.randint(0, 2, (1,), generator=generator))
    kept = (torch.rand(L, H, generator=generator) < 0.6).int()
    kept[0], kept[1], kept[2, 0] = 1, 0, 1  # all of a layer, none of a layer
    heads = kept.tolist()
    ffn = []
    for _ in range(L):
        draws = dict(
            count=lambda: int(torch.randint(1, width, (1,), generator=generator)),
            order=lambda: torch.randperm(width, generator=generator),
        )
        drawn = {name: draws[name]() for name in (("count", "order") if count_first else ("order", "count"))}
        ffn.append(sorted(drawn["order"][: drawn["count"]].tolist()))
    ffn[0], ffn[2] = None, []  # all neurons; none: the FFN does nothing for visual tokens
    every_head, every_neuron = [[1] * H for _ in range(L)], [None] * L
    odd = range(1, L, 2)
    read = [heads[i] if i in odd else [1] * H for i in range(L)]
    updated = [heads[i] if i in odd else [0] * H for i in range(L)]  # every other layer is read and never updated
    fewer = (kept & (torch.rand(L, H, generator=generator) < 0.6).int()).tolist()

    def plan(window=None, visual_layers=L, heads=every_head, ffn=every_neuron, **more):
        return dict(
            format="yopo-plan",
            version=1,
            semantics="skip",
            window=window,
            visual_layers=visual_layers,
            heads=heads,
            **more,
            ffn=ffn,
        )

    return dict(
        heads=plan(heads=heads),
        ffn=plan(ffn=ffn),
        layers=plan(visual_layers=cut),
        window=plan(dict(size=3, causal=True)),
        updates=plan(heads=read, updates=updated, ffn=[None if i in odd else [] for i in range(L)]),
        all=plan(dict(size=3, causal=False), cut, heads, ffn),
        all_causal=plan(dict(size=5, causal=True), cut, heads, ffn, updates=fewer),
    )


def add_to_case(path):
    case, folder = load_json(path), os.path.dirname(path)
    if not case.get("spans"):
        return
    decoder, table, width = read_decoder(f"{folder}/../../model", case.get("config_overrides", {}))
    exact = decoder.double()
    positions = load_file(f"{folder}/inputs.safetensors")["position_ids"]
    dense = load_file(f"{folder}/dense.safetensors")
    entered, decode = dense["hidden"][0], table[torch.tensor(case["decode_tokens"])]
    first = int(positions.max()) + 1
    behind = torch.arange(first, first + len(decode))
    behind = behind.expand(3, -1) if positions.dim() == 2 else behind
    spans = [Span(*span) for span in case["spans"]]
    visual = visual_mask(spans, entered.shape[0])
    whole = decoder.run(entered, positions, decode, behind, Prune(), spans)
    for name in ("hidden", "decode_logits"):
        expect_close(f"{case['family']}/{case['case']}: {name} from the stored input", whole[name], dense[name], 2e-4)
    generator = torch.Generator().manual_seed(9000 + sum(map(ord, case["family"] + case["case"])))
    case["skip"] = {}
    for name, plan in plans_of(decoder.spec, width, generator).items():
        prune, depth = from_plan(plan), plan["visual_layers"]
        found = decoder.run(entered, positions, decode, behind, prune, spans)
        true = exact.run(entered.double(), positions, decode.double(), behind, prune, spans)
        for run in (found, true):
            run["hidden"][depth + 1 :, visual] = run["hidden"][depth, visual]
            run["logits"] = run["logits"][~visual]
        noise = max((found[key] - true[key]).abs().max().item() for key in VALUES)
        change = (found["logits"][-1] - whole["logits"][-1]).abs().max().item()
        assert change > 1e-3 and noise < 1e-3, (folder, name, change, noise)
        save_json(f"{folder}/skip_{name}.plan.json", plan, None)
        save_tensors(
            f"{folder}/skip_{name}.safetensors",
            dict(hidden=found["hidden"], decode_logits=found["decode_logits"], logits_last=found["logits"][-1]),
        )
        case["skip"][name] = dict(tolerance=at_least(noise, 1e-4), last_logit_change_vs_dense=change)
    save_json(path, case)


def add_to(family_folder):
    for path in sorted(glob.glob(f"{family_folder}/cases/*/case.json")):
        add_to_case(path)
