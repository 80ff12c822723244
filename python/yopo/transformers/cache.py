"""A KV cache that holds what is read and no more.

A layer keeps two pairs of buffers: `joint`, of the KV heads whose visual keys somebody reads, with visual tokens first
and text tokens behind them; and `alone`, of all other KV heads, with text tokens alone. Slots stand for tokens by
index, since samples of a batch have different numbers of each kind.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicLayer

from ..plan_files import PlanError

NEVER = 1 << 40  # the index of a slot that nobody reads
# Since some release of transformers 5, crop(0) takes away nothing; before, it left nothing.
_CROP_TAKES_AWAY = "tokens_to_remove" in inspect.signature(DynamicLayer.crop).parameters


class PrunedCacheLayer(CacheLayerMixin):
    """One layer's. The index tensors are the same in all layers of a cache."""

    is_sliding = False
    is_croppable = True

    def __init__(self) -> None:
        super().__init__()
        self.joint: tuple[torch.Tensor, torch.Tensor] | None = None  # [B, KV heads, visual + text slots, D]
        self.alone: tuple[torch.Tensor, torch.Tensor] | None = None  # [B, KV heads, text slots, D]
        self.groups: list[int] | None = None  # KV heads in `joint`
        self.visual_slots = 0  # in `joint`
        self.visual_index: torch.Tensor | None = None  # [B, visual slots of the prompt], also where none are stored
        self.text_index: torch.Tensor | None = None  # [B, text slots]
        self.full = True  # no slot is padding
        self.length = 0  # tokens seen, as the model counts them

    def append(
        self,
        visual: tuple[torch.Tensor, torch.Tensor] | None,
        joint_text: tuple[torch.Tensor, torch.Tensor],
        alone_text: tuple[torch.Tensor, torch.Tensor],
    ) -> None:
        """Keys and values of new tokens: [B, KV heads, slots, D]."""
        before = self.visual_slots
        joint, alone = [], []
        for which in range(2):
            old = None if self.joint is None else self.joint[which]
            parts = [] if old is None else [old[:, :, :before]]
            parts += [] if visual is None else [visual[which]]
            parts += [] if old is None else [old[:, :, before:]]
            parts.append(joint_text[which])
            if visual is None and old is not None:
                parts = [old, joint_text[which]]
            joint.append(parts[0] if len(parts) == 1 else torch.cat(parts, dim=2))
            text = alone_text[which]
            alone.append(text if self.alone is None else torch.cat([self.alone[which], text], dim=2))
        self.joint, self.alone = (joint[0], joint[1]), (alone[0], alone[1])
        self.visual_slots = before + (0 if visual is None else visual[0].shape[2])
        self.is_initialized = True

    @property
    def nbytes(self) -> int:
        return sum(t.numel() * t.element_size() for pair in (self.joint, self.alone) if pair is not None for t in pair)

    # What transformers asks a layer of a cache:

    def lazy_initialization(self, *args: Any, **kwargs: Any) -> None:
        self.is_initialized = True

    def update(self, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        raise PlanError("this cache was made by a pruned model, and a dense layer writes to it: give each its own")

    def get_seq_length(self, *args: Any) -> int:
        return self.length

    def get_mask_sizes(self, query: Any) -> tuple[int, int]:
        return self.length + (query if isinstance(query, int) else query.shape[0]), 0

    def get_max_cache_shape(self) -> int:
        return -1

    def get_max_length(self) -> int:
        return -1

    @property
    def max_batch_size(self) -> int:
        return 0 if self.text_index is None else self.text_index.shape[0]

    def _each(self, change: Any) -> None:
        if self.joint is None or self.alone is None:
            return
        self.joint = (change(self.joint[0]), change(self.joint[1]))
        self.alone = (change(self.alone[0]), change(self.alone[1]))
        self.visual_index = None if self.visual_index is None else change(self.visual_index)
        self.text_index = None if self.text_index is None else change(self.text_index)

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        self._each(lambda t: t.index_select(0, beam_idx.to(t.device)))

    def batch_repeat_interleave(self, repeats: int) -> None:
        self._each(lambda t: t.repeat_interleave(repeats, dim=0))

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        self._each(lambda t: t[indices.to(t.device) if isinstance(indices, torch.Tensor) else indices])

    def reset(self) -> None:
        self.__init__()  # type: ignore[misc]

    def crop(self, length: int) -> None:
        """To `length` tokens, or by `-length` of them; only text at the end can go."""
        length = self.length + length if length < 0 or _CROP_TAKES_AWAY and length == 0 else length
        if length >= self.length or self.joint is None or self.alone is None or self.text_index is None:
            return
        if self.visual_index is not None and bool(((self.visual_index >= length) & (self.visual_index < NEVER)).any()):
            raise PlanError(f"the cache cannot be cut to {length} tokens: that would cut a picture")
        stays = (self.text_index < length).any(0).nonzero()
        kept = int(stays[-1]) + 1 if len(stays) else 0
        first = self.text_index[:, :kept]
        if bool(((first >= length) & (first < NEVER)).any()):
            raise PlanError(f"the cache cannot be cut to {length} tokens: the samples' texts end at different slots")
        at = self.visual_slots + kept
        self.joint = (self.joint[0][:, :, :at], self.joint[1][:, :, :at])
        self.alone = (self.alone[0][:, :, : kept], self.alone[1][:, :, : kept])
        self.text_index, self.length = self.text_index[:, : kept], length

    def offload(self) -> None:
        raise PlanError("a pruned model's cache cannot be offloaded")

    prefetch = offload


def adopt(cache: Cache, layers: int) -> list[PrunedCacheLayer]:
    """The layers of a cache that a pruned model made, or those put into an empty one in place. PlanError for others."""
    found = getattr(cache, "layers", None)
    if found and all(isinstance(layer, PrunedCacheLayer) for layer in found):
        if len(found) != layers:
            raise PlanError(f"the cache has {len(found)} layers, the model {layers}")
        return list(found)
    if type(cache).__name__ != "DynamicCache" or found is None:
        raise PlanError(f"a cache of class {type(cache).__name__} cannot hold what a pruned model keeps: pass none, or an empty DynamicCache")
    if getattr(cache, "offloading", False):
        raise PlanError("a pruned model's cache cannot be offloaded")
    if cache.get_seq_length() > 0:
        raise PlanError("the cache was filled by a dense model: a pruned one cannot go on from it")
    cache.layers = [PrunedCacheLayer() for _ in range(layers)]
    cache.layer_class_to_replicate = None
    return list(cache.layers)
