"""heads/: how much each head looks at visual tokens, by both published definitions, over five samples, and the
masks."""

import os

from decoder import Prune, visual_mask
from support import save_json, save_tensors, torch


def attention_ratio(attention, spans):
    """attention [L, H, queries, keys] -> [L, H]: what goes to visual keys, over what goes to all others."""
    visual = visual_mask(spans, attention.shape[-1])
    return attention[..., visual].sum((-1, -2)) / attention[..., ~visual].sum((-1, -2))


def majority(ratios, threshold, share=0.4, always=2):
    """ratios [S, L, H]: votes [L, H] and the heads that more than share * S samples put above the threshold; the first
    `always` layers are kept whole."""
    votes = ratios > threshold
    votes[:, :always] = True
    votes = votes.sum(0)
    return votes, votes > share * ratios.shape[0]


def threshold_between(ratios):
    """The middle of the widest gap near the median, so that no ratio is near it."""
    values = ratios.flatten().sort().values
    middle, reach = len(values) // 2, len(values) // 6
    widest = middle - reach + int(values[middle - reach : middle + reach].diff().argmax())
    return float((values[widest] + values[widest + 1]) / 2)


def ratios_of(reference, sample, deep=None):
    """The prefill's ratios and those of the first decoded token; sample: the arguments of Decoder.run and the spans."""
    *arguments, spans = sample
    run = reference.run(*arguments, Prune(), spans, deep)
    return attention_ratio(run["attn"], spans), attention_ratio(run["decode_attn"][0][:, :, None], spans)


def write_ratios(folder, prefill, first_step, inputs, upstream):
    """prefill and first_step: [L, H] of each sample; inputs: the tensors of each sample."""
    os.makedirs(folder, exist_ok=True)
    tensors, info = {}, dict(samples=len(prefill), frac=0.4, always_layers=2)
    for name, ratios in (("prefill", torch.stack(prefill)), ("decode1", torch.stack(first_step))):
        threshold = threshold_between(ratios)
        votes, mask = majority(ratios, threshold)
        tensors |= {
            f"ratio_{name}": ratios,
            f"votes_{name}": votes.int(),
            f"mask_majority_{name}": mask.to(torch.uint8),
            f"mask_single_{name}": (ratios[0] > threshold).to(torch.uint8),
        }
        info[f"threshold_{name}"] = threshold
    info["upstream"] = upstream
    save_tensors(f"{folder}/ratios.safetensors", tensors)
    save_tensors(
        f"{folder}/inputs.safetensors",
        {f"{i}.{name}": tensor for i, sample in enumerate(inputs) for name, tensor in sample.items()},
    )
    save_json(f"{folder}/ratios.json", info)


LLAVA_UPSTREAM = "gen_mask_llava.py: ratio_prefill + mask_majority_prefill"
QWEN_UPSTREAM = "gen_mask_internvl_qwen.py: ratio_decode1 + mask_single_decode1 (sample 0, first decode step)"
