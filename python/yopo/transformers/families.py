"""Which classes of transformers are known, and how a family lays out pictures and weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Callable

import torch
from torch import nn

from ..plan_files import PlanError, Sizes

Grids = list[tuple[int, int]]  # rows and columns of each picture, in the order in which ids name them


def _square(count: int, what: str) -> tuple[int, int]:
    side = round(count**0.5)
    if side * side != count:
        raise PlanError(f"{what} gives {count} tokens a picture, which is no square")
    return side, side


def _llava_grids(config: Any, tokens: int, inputs: dict[str, Any]) -> Grids:
    vision = config.vision_config
    side = vision.image_size // vision.patch_size
    one = side * side + (1 if config.vision_feature_select_strategy == "full" else 0)
    return [_square(one, "the vision tower")] * (tokens // one)


def _internvl_grids(config: Any, tokens: int, inputs: dict[str, Any]) -> Grids:
    return [_square(config.image_seq_length, "image_seq_length")] * (tokens // config.image_seq_length)


def _no_sizes(name: str) -> PlanError:
    return PlanError(f"{name} is missing: the plan's windows need the pictures' sizes (which prefill_chunk_size takes away)")


def _qwen_grids(config: Any, tokens: int, inputs: dict[str, Any]) -> Grids:
    merge = config.vision_config.spatial_merge_size
    found = inputs.get("image_grid_thw")
    if found is None:
        raise _no_sizes("image_grid_thw")
    return [(rows // merge, columns // merge) for times, rows, columns in found.tolist() for _ in range(times)]


def _anyres_grids(config: Any, tokens: int, inputs: dict[str, Any]) -> Grids:
    """A base tile, then the joined tiles with image_newline as their last column."""
    from transformers.models.llava_next.modeling_llava_next import get_anyres_image_grid_shape, unpad_image

    sizes = inputs.get("image_sizes")
    if sizes is None:
        raise _no_sizes("image_sizes")
    vision, most = config.vision_config, getattr(config, "vision_aspect_ratio", "")
    side = vision.image_size // vision.patch_size
    counts = inputs.get("batch_num_images")  # of each sample: pictures among others are one tile and one newline each
    alone = [True] * len(sizes) if counts is None else [int(n) == 1 for n in counts for _ in range(int(n))]
    grids = []
    for size, whole in zip(sizes, alone):
        rows, columns = 1, 0
        if whole:
            tall, wide = get_anyres_image_grid_shape(size, config.image_grid_pinpoints, vision.image_size)
            rows, columns = unpad_image(torch.empty(1, tall * side, wide * side, device="meta"), size).shape[1:]
            if most:
                times = math.sqrt(rows * columns / (int(most.removeprefix("anyres_max_")) * side**2))
                rows, columns = (int(rows // times), int(columns // times)) if times > 1.1 else (rows, columns)
        grids += [(side, side), (rows, columns + 1)]
    return grids


@dataclass(frozen=True)
class Family:
    """`grids(config, tokens, inputs)`: the pictures of a call with so many visual tokens."""

    grids: Callable[[Any, int, dict[str, Any]], Grids]


# By the class that takes the ids and holds `language_model`.
FAMILIES: dict[str, Family] = {
    "LlavaModel": Family(_llava_grids),
    "Qwen2VLModel": Family(_qwen_grids),
    "Qwen2_5_VLModel": Family(_qwen_grids),
    "Qwen3VLModel": Family(_qwen_grids),
    "LlavaNextModel": Family(_anyres_grids),
    "LlavaOnevisionModel": Family(_anyres_grids),
    "InternVLModel": Family(_internvl_grids),
}

# Decoder layers, by class: whether q, k, v and gate, up are one matrix each.
LAYERS: dict[str, bool] = {
    "LlamaDecoderLayer": False,
    "MistralDecoderLayer": False,
    "Qwen2DecoderLayer": False,
    "Qwen2VLDecoderLayer": False,
    "Qwen2_5_VLDecoderLayer": False,
    "Qwen3DecoderLayer": False,
    "Qwen3VLTextDecoderLayer": False,
    "Phi3DecoderLayer": True,
}


def find_model(model: nn.Module) -> tuple[nn.Module, nn.Module, Family]:
    """The module that takes the ids, its decoder, its family. PlanError where the class is not known."""
    for module in model.modules():
        family = FAMILIES.get(type(module).__name__)
        if family is not None:
            decoder = module.language_model
            kind = type(decoder.layers[0]).__name__
            if kind not in LAYERS:
                raise PlanError(f"decoder layers of class {kind} are not known; known are {', '.join(LAYERS)}")
            return module, decoder, family
    raise PlanError(f"models of class {type(model).__name__} are not known; known are those around {', '.join(FAMILIES)}")


def image_token(config: Any) -> int:
    for name in ("image_token_id", "image_token_index"):
        found = getattr(config, name, None)
        if isinstance(found, int):
            return found
    raise PlanError("the model's config names no image token (image_token_id)")


def decoder_sizes(config: Any) -> Sizes:
    heads = config.num_attention_heads
    return Sizes(config.num_hidden_layers, heads, getattr(config, "num_key_value_heads", None) or heads, config.intermediate_size)


def longest_context(config: Any) -> int | None:
    """Where the decoder's own attention has a sliding window: its size, within which it is plain attention."""
    sliding = getattr(config, "sliding_window", None)
    if sliding is None or getattr(config, "use_sliding_window", True) is False:
        return None
    kinds = getattr(config, "layer_types", None)
    return None if kinds is not None and "sliding_attention" not in kinds else int(sliding)


def rotary_sections(config: Any) -> list[int] | None:
    """Of a multimodal rotary embedding: how many frequencies belong to time, row and column."""
    for name in ("rope_scaling", "rope_parameters"):
        found = getattr(config, name, None)
        if isinstance(found, dict) and found.get("mrope_section"):
            return list(found["mrope_section"])
    return None


def merge_axes(table: torch.Tensor, sections: list[int] | None) -> torch.Tensor:
    """cos or sin [B, T, D] of one [3, B, T, D] with a table an axis; others stay as they are."""
    if table.dim() == 3:
        return table
    if sections is None:
        raise PlanError("the decoder has rotary angles for three axes, but its config no mrope_section")
    parts = table.split(sections * 2, dim=-1)
    return torch.cat([part[index % 3] for index, part in enumerate(parts)], dim=-1)
