"""One reference case: what goes in, the dense numbers, those of the published variants. make_skip_cases adds the
plans."""

import copy
import os

from decoder import Prune, visual_mask
from support import at_least, expect_close, save_json, save_tensors, torch, worst_noise

NOISY = ("hidden", "logits", "decode_logits", "attn")


class Case:
    """The case FAMILY/cases/NAME. embeddings [T, C] and positions [T] or [3, T] are the language model's input,
    decode_embeddings [n, C] and decode_positions that of the tokens `decode` [n] forced behind it; `width` is the
    FFN's. """

    def __init__(
        self,
        root,
        family,
        name,
        reference,
        width,
        spans,
        embeddings,
        positions,
        decode,
        decode_embeddings,
        decode_positions,
        **fields,
    ):
        self.family, self.name, self.reference, self.width, self.spans = family, name, reference, width, spans
        self.folder = f"{root}/{family}/cases/{name}"
        os.makedirs(self.folder, exist_ok=True)
        self.input = (embeddings, positions, decode_embeddings, decode_positions)
        # Only one case of a family carries attention weights: they are most of the bytes.
        self.with_attention = name in ("single", "nonsquare") and not family.endswith("_6b")
        self.noise, self.info = {}, dict(
            family=family,
            case=name,
            spans=[[span.start, span.rows, span.columns] for span in spans],
            seq_len=embeddings.shape[0],
            decode_tokens=decode.tolist(),
            strategies={},
            **fields,
        )

    def run(self, prune):
        return self.reference.run(*self.input, prune, self.spans)

    def measure(self, name, found, prune):
        """How far float32 is from float64 in this run."""
        embeddings, positions, decode_embeddings, decode_positions = self.input
        exact = self.reference.double().run(
            embeddings.double(), positions, decode_embeddings.double(), decode_positions, prune, self.spans
        )
        self.noise[name] = {key: (exact[key] - found[key]).abs().max().item() for key in NOISY}

    def save(self, name, tensors, attention):
        kept = {key: value for key, value in tensors.items() if attention or not key.endswith("attn")}
        save_tensors(f"{self.folder}/{name}.safetensors", kept)

    def dense(self, inputs, extra, hidden=None, logits=None, attention=None, decode_logits=None):
        """Writes the inputs and the dense numbers: another implementation's where given, which must agree with the
        reference decoder's, else the reference decoder's own. `extra`: the vision tower's tensors."""
        run = self.run(Prune())
        others = dict(hidden=hidden, logits=logits, attn=attention, decode_logits=decode_logits)
        out = dict(run)
        for key, value in others.items():
            if value is None:
                continue
            own = run[key][1:] if key == "hidden" else run[key]
            expect_close(
                f"{self.family}/{self.name}: {key} of the reference decoder",
                own,
                value,
                1e-5 if key == "attn" else 1e-4,
            )
            out[key] = torch.cat([self.input[0][None], value]) if key == "hidden" else value
        self.save("inputs", inputs | dict(position_ids=self.input[1]), True)
        self.save("dense", out | extra, self.with_attention)
        layers, heads = self.reference.spec.layers, self.reference.spec.heads
        nothing = Prune(
            headmask=torch.ones(layers, heads, dtype=torch.bool), zero_query=True, layercut=layers, ffn_keep=10**9
        )
        same = self.run(nothing)
        for key in ("logits", "decode_logits"):
            expect_close(f"{self.family}/{self.name}: {key} where nothing is dropped", same[key], run[key], 1e-5)
        self.dense_run = run
        self.measure("dense", run, Prune())

    def pruned(self, name, prune, upstream, attention=False, note=""):
        """Writes yopo_NAME; `upstream`: whether published code does this (True, False or 'inferred')."""
        run = self.run(prune)
        assert all(torch.isfinite(value).all() for value in run.values()), name
        change = (run["logits"] - self.dense_run["logits"])[-1].abs().max().item()
        assert change > 1e-3, (self.family, self.name, name, change)
        self.measure(name, run, prune)
        tensors = run | dict(logits_last=run["logits"][-1])
        if prune.headmask is not None:
            tensors["headmask"] = prune.headmask.to(torch.uint8)
        if not attention:
            del tensors["logits"]  # head(norm(hidden[-1]))
        self.save("yopo_" + name, tensors, attention)
        self.info["strategies"][name] = dict(
            upstream=upstream, note=note, last_logit_change_vs_dense=change, **prune.described()
        )
        return run

    def finish(self, **fields):
        self.info["fp32_noise_vs_float64"] = self.noise
        self.info["tolerance"] = {
            name: dict(values=at_least(worst_noise(noise), 1e-4), attn=at_least(noise["attn"], 1e-5))
            for name, noise in self.noise.items()
        }
        save_json(f"{self.folder}/case.json", self.info | fields)


def draw_head_mask(generator, layers, heads):
    """bool [L, H]: layer 1 keeps nothing, every other layer keeps and drops at least one head."""
    mask = torch.rand(layers, heads, generator=generator) < 0.55
    mask[:, 0] |= ~mask.any(1)
    mask[:, -1] &= ~mask.all(1)
    mask[1] = False
    return mask


def llava_variants(case, generator, window, cut, ratio):
    """What YOPO published for LLaVA."""
    spec = case.reference.spec
    mask, kept = draw_head_mask(generator, spec.layers, spec.heads), int(case.width / ratio)
    everything = Prune(window=window, headmask=mask, zero_query=True, layercut=cut, ffn_keep=kept)
    case.pruned("window", Prune(window=window), True)
    case.pruned("heads", Prune(headmask=mask, zero_query=True), True)
    case.pruned("layercut", Prune(layercut=cut), True)
    case.pruned("ffn", Prune(ffn_keep=kept), True)
    case.pruned("all", everything, True, attention=True)
    before = copy.copy(everything)
    before.head_pre, before.layercut_mode = True, "pre_text"
    case.pruned(
        "all_presoftmax",
        before,
        False,
        note="NOT upstream: dropped (head, visual key) pairs and layercut keys are "
        "removed before softmax (renormalised), visual rows may be skipped at layers >= layercut",
    )


def qwen_variants(case, generator, window, cut, upstream):
    """What YOPO published for Qwen2-VL; `upstream` is 'inferred' where the same code is only likely to have been
    used."""
    spec = case.reference.spec
    mask, kept = draw_head_mask(generator, spec.layers, spec.heads), case.width // 2
    depth, heads = dict(layercut=cut, layercut_mode="pre_qwen"), dict(headmask=mask, headcut_from=2)
    clean = dict(layercut=cut, layercut_mode="pre_text")
    case.pruned("heads", Prune(**heads), upstream)
    case.pruned("layercut", Prune(**depth), upstream)
    case.pruned(
        "selfonly_literal", Prune(self_only="literal"), upstream, note="upstream attncut=True bug: scores doubled"
    )
    case.pruned("selfonly_intended", Prune(self_only="intended"), False)
    literal = case.pruned(
        "default", Prune(**heads, **depth), upstream, attention=True, note="upstream default flags: headcut + layercut"
    )
    text_cut = case.pruned(
        "default_textcut",
        Prune(**heads, **clean),
        False,
        note="clean layercut (all non-visual rows); text rows and decode identical to default",
    )
    text = ~visual_mask(case.spans, case.input[0].shape[0])
    what = f"{case.family}/{case.name}: depth as published and without the visual rows"
    expect_close(what, literal["logits"][text], text_cut["logits"][text], 1e-5)
    expect_close(what, literal["decode_logits"], text_cut["decode_logits"], 1e-5)
    case.pruned(
        "all_intended",
        Prune(self_only="intended", **heads, **depth),
        upstream,
        note="all three upstream flags, attncut with its intended meaning",
    )
    case.pruned("all_literal", Prune(self_only="literal", **heads, **depth), upstream)
    case.pruned("ext_window", Prune(window=window), False, note="extension: LLaVA window per image/tile grid")
    case.pruned("ext_ffn", Prune(ffn_keep=kept), False, note="extension: LLaVA FFN rule")
    case.pruned(
        "ext_all",
        Prune(window=window, **heads, **clean, ffn_keep=kept),
        False,
        note="extension: window + heads (post-softmax) + layercut + ffn",
    )


def several_pictures(case, generator, window, cut):
    spec = case.reference.spec
    mask = draw_head_mask(generator, spec.layers, spec.heads)
    case.pruned(
        "ext_all",
        Prune(
            window=window,
            headmask=mask,
            zero_query=True,
            layercut=cut,
            layercut_mode="pre_text",
            ffn_keep=case.width // 2,
        ),
        False,
        note="extension (upstream handles one image): per-image window block; cross-image visual attention stays causal",
    )
