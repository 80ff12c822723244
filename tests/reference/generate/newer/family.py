"""What the families of transformers 5 share: dense numbers of transformers from the pixels on, plans on the stored
input."""

import copy
import math
import os
import shutil

from decoder import Decoder, Prune, from_plan, split_weights, visual_mask
from ratios import attention_ratio, ratios_of, write_ratios
from skip import plans_of
from support import at_least, expect_close, load_file, normal, prompt_with, save_json, save_tensors, torch, worst_noise

VOCABULARY, TEXT_IDS, START, END, IMAGE, VIDEO = 310, 300, 300, 301, 302, 303
LAYERS, BEFORE, AFTER = 4, 9, 7
HALF_MEAN, HALF_STD = [0.5] * 3, [0.5] * 3

EVERY_PLAN = ("heads", "ffn", "layers", "early", "window", "updates", "all", "all_causal")
FEW_PLANS = ("heads", "updates", "all", "all_causal")
MORE_PLANS = FEW_PLANS + ("early", "window")


def draw_weights(tensors, generator):
    """Draws every tensor, by name, so that attention is peaked and each bias, norm and table shows in the result."""
    for name in sorted(tensors):
        tensor, module = tensors[name], name.rsplit(".", 1)[0].rsplit(".", 1)[-1]
        if not tensor.is_floating_point():
            continue
        value = normal(generator, *tensor.shape)
        if "embed_tokens" in name:
            pass
        elif (
            "pos_embed" in name
            or "position_embedding" in name
            or name.endswith(("class_embedding", "cls_token", "image_newline"))
        ):
            value = value * 0.5
        elif name.endswith(("ls1", "ls2", "lambda_1", "lambda_2")):
            value = 0.6 + 0.2 * value
        elif module in ("q_norm", "k_norm"):
            value = 1.4 + 0.25 * value
        elif tensor.dim() == 1:
            value = value * 0.1 + (1.0 if name.endswith("weight") else 0.0)
        else:
            gain = 1.6 if any(part in name for part in ("q_proj", "k_proj", "qkv")) else 1.0
            value = value * gain / math.sqrt(tensor[0].numel())
        tensor.copy_(value)


def write_as_saved(model, folder):
    """Beside a checkpoint: the config and the tensor names that save_pretrained of this transformers writes for it."""
    model.save_pretrained(folder + ".tmp")
    tensors = load_file(f"{folder}.tmp/model.safetensors")
    shutil.copy(f"{folder}.tmp/config.json", f"{folder}/config.transformers5.json")
    save_json(f"{folder}/tensors.transformers5.json", {name: list(t.shape) for name, t in tensors.items()}, 0)
    shutil.rmtree(folder + ".tmp")
    return tensors


def read_back(model_class, folder, **options):
    model, info = model_class.from_pretrained(folder, output_loading_info=True, **options)
    assert not info["missing_keys"] and not info["unexpected_keys"], info
    return model.eval()


def draw_model(model_class, config_class, config, generator):
    model = model_class(config_class(**copy.deepcopy(config))).eval()
    draw_weights(dict(model.state_dict()), generator)
    return model


def random_text(generator):
    return torch.randint(3, TEXT_IDS, (BEFORE + AFTER,), generator=generator)


def prompt(generator, blocks):
    return prompt_with(generator, TEXT_IDS, blocks, BEFORE, AFTER)


def capture_stream(model, call):
    """Calls; what enters each decoder layer and what leaves the last one [L+1, T, C], and the call's result. What
    enters layer l + 1 has the deepstack addition behind layer l in it, which the layer's own output has not."""
    layers, rows = model.model.language_model.layers, []
    hooks = [
        layer.register_forward_pre_hook(
            lambda module, given, named: rows.append((given[0] if given else named["hidden_states"])[0].clone()),
            with_kwargs=True,
        )
        for layer in layers
    ]
    hooks.append(
        layers[-1].register_forward_hook(
            lambda module, given, out: rows.append((out[0] if isinstance(out, tuple) else out)[0].clone())
        )
    )
    try:
        result = call()
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack(rows), result


class Family:
    """A checkpoint. `forward(model, ids, inputs, **options)` calls a model of transformers; `read(model, ids, inputs)`
    gives its numbers: hidden [L+1, T, C], logits, attn, positions, extra (tensors of the tower), and delta and deep
    where there are any. """

    def __init__(self, root, name, spec, tensors, prefix, head, width, model, others, forward, read, **fields):
        self.folder, self.name, self.width, self.fields = f"{root}/{name}", name, width, fields
        self.model, self.others, self.forward, self.read = model, others, forward, read
        self.embeddings = tensors[prefix + "embed_tokens.weight"]
        self.reference = Decoder(
            spec,
            split_weights(tensors, spec, prefix),
            tensors[prefix + "norm.weight"],
            tensors.get(head, self.embeddings),
        )

    def both(self, entered, positions, decode, behind, prune, spans, deep):
        """The run in float32 and in float64."""
        found = self.reference.run(entered, positions, decode, behind, prune, spans, deep)
        true = self.reference.double().run(
            entered.double(), positions, decode.double(), behind, prune, spans, None if deep is None else deep.double()
        )
        return found, true

    def case(
        self, case, ids, inputs, spans, generator, plans=EVERY_PLAN, attention=False, decode=None, read=None, **fields
    ):
        """Writes a case; `read`: another source of the dense numbers. Returns them."""
        folder, tag, read = f"{self.folder}/cases/{case}", f"{self.name}/{case}", read or self.read
        os.makedirs(folder, exist_ok=True)
        decode = torch.randint(3, TEXT_IDS, (4,), generator=generator) if decode is None else decode
        dense, longer = read(self.model, ids, inputs), read(self.model, torch.cat([ids, decode]), inputs)
        positions, behind, deep = dense["positions"], longer["positions"][..., len(ids) :], dense.get("deep")
        first = int(positions.max()) + 1
        assert torch.equal(behind, torch.arange(first, first + 4).expand_as(behind))
        entered, behind_logits = dense["hidden"][0], longer["logits"][len(ids) :]
        start = (entered, positions, self.embeddings[decode], behind)
        found, true = self.both(*start, Prune(), spans, deep)
        for key, a, b in (
            ("hidden", found["hidden"][1:], dense["hidden"][1:]),
            ("logits", found["logits"], dense["logits"]),
            ("attn", found["attn"], dense["attn"]),
            ("decode_logits", found["decode_logits"], behind_logits),
        ):
            expect_close(f"{tag}: {key} of transformers", a, b, 1e-5 * b.abs().max().item())
        noise = {
            key: (true[key] - found[key]).abs().max().item() for key in ("hidden", "logits", "decode_logits", "attn")
        }
        info = dict(
            family=self.name,
            case=case,
            spans=[[s.start, s.rows, s.columns] for s in spans],
            seq_len=len(ids),
            decode_tokens=decode.tolist(),
            strategies={},
            vocab=VOCABULARY,
            compare_hidden_rows="all",
            **self.fields,
            **fields,
            fp32_noise_vs_float64=dict(dense=noise),
            tolerance=dict(dense=dict(values=at_least(worst_noise(noise), 1e-4), attn=at_least(noise["attn"], 1e-5))),
        )
        if "delta" in dense:
            info["rope_delta"] = dense["delta"]
        if "pixel_values" in inputs:
            self.measure_from_pixels(info, ids, inputs, dense)
        save_tensors(f"{folder}/inputs.safetensors", dict(inputs, input_ids=ids, position_ids=positions))
        out = dict(
            hidden=dense["hidden"],
            logits=dense["logits"],
            decode_logits=behind_logits,
            decode_hidden=found["decode_hidden"],
            **dense["extra"],
        )
        if attention:
            out |= dict(attn=dense["attn"], decode_attn=found["decode_attn"])
        if deep is not None:
            out["deepstack"] = deep
        save_tensors(f"{folder}/dense.safetensors", out)
        if spans:
            self.add_plans(folder, info, start, found, spans, deep, plans, generator)
        save_json(f"{folder}/case.json", info)
        return dense

    def measure_from_pixels(self, info, ids, inputs, dense):
        """The tower's noise, too: transformers in float64, and with another attention."""
        worst = []
        for model in self.others:
            hidden, out = capture_stream(model, lambda m=model: self.forward(m, ids, inputs))
            worst.append(
                max((hidden - dense["hidden"]).abs().max().item(), (out.logits[0] - dense["logits"]).abs().max().item())
            )
        info["fp32_noise_vs_float64"]["pixels"], info["eager_vs_sdpa_from_pixels"] = worst
        info["tolerance"]["pixels"] = dict(values=at_least(max(worst), 2e-4))

    def add_plans(self, folder, info, start, whole, spans, deep, names, generator):
        visual, info["skip"] = visual_mask(spans, start[0].shape[0]), {}
        every = plans_of(self.reference.spec, self.width, generator, count_first=False)
        # Visual tokens gone before the last deepstack addition.
        every["early"] = every["layers"] | dict(visual_layers=2)
        for name in names:
            plan, depth = every[name], every[name]["visual_layers"]
            found, true = self.both(*start, from_plan(plan), spans, deep)
            for run in (found, true):
                run["hidden"][depth + 1 :, visual] = run["hidden"][depth, visual]
                run["logits"] = run["logits"][~visual]
            noise = max((found[key] - true[key]).abs().max().item() for key in ("hidden", "logits", "decode_logits"))
            change = (found["logits"][-1] - whole["logits"][-1]).abs().max().item()
            assert change > 1e-3 and noise < 1e-3, (folder, name, change, noise)
            save_json(f"{folder}/skip_{name}.plan.json", plan, None)
            save_tensors(
                f"{folder}/skip_{name}.safetensors",
                dict(hidden=found["hidden"], decode_logits=found["decode_logits"], logits_last=found["logits"][-1]),
            )
            info["skip"][name] = dict(tolerance=at_least(noise, 1e-4), last_logit_change_vs_dense=change)

    def heads(self, samples, generator):
        """heads/ over (ids, inputs, spans) of each sample."""
        prefill, first_step, inputs = [], [], []
        for i, (ids, given, spans) in enumerate(samples):
            decode = torch.randint(3, TEXT_IDS, (1,), generator=generator)
            dense, longer = self.read(self.model, ids, given), self.read(self.model, torch.cat([ids, decode]), given)
            both = ratios_of(
                self.reference,
                (
                    dense["hidden"][0],
                    dense["positions"],
                    self.embeddings[decode],
                    longer["positions"][..., len(ids) :],
                    spans,
                ),
                dense.get("deep"),
            )
            tag = f"{self.name}/heads {i}: ratio of the model's attention"
            expect_close(tag, attention_ratio(dense["attn"], spans), both[0], 1e-4)
            expect_close(tag + ", a step", attention_ratio(longer["attn"][:, :, -1:], spans), both[1], 1e-4)
            prefill.append(both[0])
            first_step.append(both[1])
            inputs.append(dict(given, input_ids=ids, decode_token=decode))
        write_ratios(
            f"{self.folder}/heads",
            prefill,
            first_step,
            inputs,
            "none: both published definitions applied to a family that YOPO did not publish",
        )


def numbers(model, forward, ids, inputs, positions, extra, **more):
    """What Family.read returns, from one call."""
    hidden, out = capture_stream(model, lambda: forward(model, ids, inputs, output_attentions=True))
    return dict(
        hidden=hidden,
        logits=out.logits[0],
        attn=torch.stack(out.attentions)[:, 0],
        positions=positions,
        extra=extra,
        **more,
    )


def checks(model_class, folder):
    """The same checkpoint in float64 and with PyTorch's own attention."""
    return [
        model_class.from_pretrained(folder, attn_implementation="eager", dtype=torch.float64).eval(),
        model_class.from_pretrained(folder, attn_implementation="sdpa", dtype=torch.float32).eval(),
    ]
