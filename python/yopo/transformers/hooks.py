"""What happens before the model's own call: which tokens are visual, and whose cache it is."""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import DynamicCache

from ..plan_files import PlanError
from .cache import PrunedCacheLayer, adopt
from .families import Family, Grids, image_token, longest_context
from .rows import DENSE, make_rows


_ENCODED = "mm_encoder_outputs"  # features instead of pixels, by "image" and "video"


def _encoded(inputs: dict[str, Any], what: str) -> Any:
    return (inputs.get(_ENCODED) or {}).get(what)


@dataclass
class Call:
    """What the outer model was given."""

    ids: torch.Tensor
    inputs: dict[str, Any]


class Features:
    """The outer model's get_image_features, which also notes of what shape each picture is that it gives features of.
    `generate` of transformers 5 calls it before the forward, which then gets these features and no sizes."""

    def __init__(self, outer: Any, family: Family) -> None:
        self.outer, self.family = outer, family
        self.plain = outer.get_image_features
        self.__signature__ = inspect.signature(self.plain)  # `generate` reads from it what to pass

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        found = self.plain(*args, **kwargs)
        self._note(found, {**dict(zip(self.__signature__.parameters, args)), **kwargs})
        return found

    @torch.compiler.disable
    def _note(self, found: Any, given: dict[str, Any]) -> None:
        pictures = getattr(found, "pooler_output", None)
        if not isinstance(pictures, (list, tuple)):
            return
        tokens = [picture.shape[0] for picture in pictures]
        grids = iter(self.family.grids(self.outer.config, sum(tokens), given))
        for picture, left in zip(pictures, tokens):
            # On the tensor itself: what copies pictures for beams keeps the tensors.
            picture.yopo_grids = []
            while left > 0:
                picture.yopo_grids.append(next(grids))
                left -= math.prod(picture.yopo_grids[-1])


class Watcher:
    """The hooks of one model. Between the outer model and its decoder they hand on what was given; to the layers it goes as
    an argument, so that a layer that is run again by gradient checkpointing gets the same."""

    def __init__(self, outer: Any, decoder: Any, family: Family, layers: int, alive: int, windows: bool) -> None:
        self.outer, self.decoder, self.family = outer, decoder, family
        self.layers, self.alive, self.windows = layers, alive, windows
        self.limit = longest_context(decoder.config)
        self.token = image_token(outer.config)
        self.call: Call | None = None
        self.off = False  # inside yopo.transformers.dense
        self.cache_name = "cache" if "cache" in inspect.signature(_plain(type(decoder).forward)).parameters else "past_key_values"
        self.handles = [
            outer.register_forward_pre_hook(self.before_outer, with_kwargs=True),
            outer.register_forward_hook(self.after_outer, always_call=True),
            decoder.register_forward_pre_hook(self.before_decoder, with_kwargs=True),
        ]
        if windows and _ENCODED in inspect.signature(_plain(type(outer).forward)).parameters:
            outer.get_image_features = Features(outer, family)

    def remove(self) -> None:
        self.outer.__dict__.pop("get_image_features", None)
        for handle in self.handles:
            handle.remove()

    @torch.compiler.disable
    def before_outer(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.off:
            return
        names = list(inspect.signature(_plain(type(module).forward)).parameters)[1:]
        given = {**dict(zip(names, args)), **kwargs}
        ids = given.get("input_ids")
        if ids is None:
            raise PlanError("a pruned model reads from input_ids which tokens are visual: pass them, not inputs_embeds alone")
        videos = [given.get("pixel_values_videos"), given.get("video_grid_thw"), _encoded(given, "video")]
        if any(found is not None for found in videos):
            raise PlanError("videos cannot be run pruned: plans are about pictures")
        self.call = Call(ids, given)

    def after_outer(self, *unused: Any) -> None:
        self.call = None

    @torch.compiler.disable
    def before_decoder(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        names = list(inspect.signature(_plain(type(module).forward)).parameters)[1:]
        given = {**dict(zip(names, args)), **kwargs}
        if self.off:
            layers = getattr(given.get(self.cache_name), "layers", [])
            if any(isinstance(layer, PrunedCacheLayer) for layer in layers):
                raise PlanError("the cache was filled by a pruned model: a dense one cannot go on from it")
            given["yopo_rows"] = DENSE
            return (), given
        call, self.call = self.call, None
        if call is None:
            if given.get("input_ids") is None:
                raise PlanError("the decoder of a pruned model was called by itself with embeddings: call the model around it, with input_ids")
            call = Call(given["input_ids"], {})
        name = self.cache_name
        found = given.get(name) if given.get(name) is not None else given.pop("past_key_values", None)
        found = self._cache(module, given, found)
        given[name] = found
        first = None if found is None else adopt(found, self.layers)[0]
        self._refuse(given)
        visual = self._visual(call, given, first)
        present = given.get("attention_mask")
        grids = None
        if self.windows and bool(visual.any()):
            grids = self._grids(call.inputs, int(visual.sum()))
        rows = make_rows(visual, None if present is None else present.to(visual.device), first, grids)
        if self.limit is not None and rows.past + rows.length > self.limit:
            raise PlanError(f"{rows.past + rows.length} tokens are more than the decoder's sliding window of {self.limit}, which cannot be run pruned")
        self._refuse_packed(given.get("position_ids"), rows.text.flat, visual.shape)
        if given.get("deepstack_visual_embeds") is not None:
            # The decoder adds these behind its first layers, and so behind layers without visual rows, too.
            given["deepstack_visual_embeds"] = given["deepstack_visual_embeds"][: self.alive]
            rows.added = len(given["deepstack_visual_embeds"])
        given["yopo_rows"] = rows
        return (), given

    def _grids(self, inputs: dict[str, Any], tokens: int) -> Grids:
        encoded = _encoded(inputs, "image")
        pictures = [] if encoded is None else encoded.pooler_output
        noted = [getattr(picture, "yopo_grids", None) for picture in pictures]
        if noted and all(noted):
            return [grid for grids in noted for grid in grids]
        return self.family.grids(self.outer.config, tokens, inputs)

    def _visual(self, call: Call, given: dict[str, Any], cache: PrunedCacheLayer | None) -> torch.Tensor:
        """[B, T]"""
        embeds = given.get("inputs_embeds")
        if embeds is not None and embeds.shape[:2] != call.ids.shape:
            raise PlanError(f"input_ids has {tuple(call.ids.shape)} tokens, the decoder got {tuple(embeds.shape[:2])} rows")
        visual = call.ids == self.token
        # A token that was generated is text, even where it is the one that stands for pictures.
        if cache is not None and cache.length and call.inputs.get("pixel_values") is None and _encoded(call.inputs, "image") is None:
            visual = torch.zeros_like(visual)
        return visual

    def _cache(self, module: Any, given: dict[str, Any], found: Any) -> Any:
        if found is not None:
            if not hasattr(found, "layers"):
                raise PlanError(f"a cache of class {type(found).__name__} cannot hold what a pruned model keeps: pass none, or an empty DynamicCache")
            return found
        use = given.get("use_cache")
        use = module.config.use_cache if use is None else use
        if getattr(module, "gradient_checkpointing", False) and module.training and torch.is_grad_enabled():
            given["use_cache"] = use = False
        return DynamicCache() if use else None

    def _refuse(self, given: dict[str, Any]) -> None:
        mask = given.get("attention_mask")
        if mask is not None and (not isinstance(mask, torch.Tensor) or mask.dim() != 2):
            raise PlanError("attention_mask: expected [batch, tokens] with 0 for padding; a pruned model makes its own masks from it")
        wants = given.get("output_attentions")
        if wants or (wants is None and getattr(self.decoder.config, "output_attentions", False)):
            raise PlanError("output_attentions: a pruned model has no attention matrix to give")
        if any(given.get(name) is not None for name in ("cu_seq_lens_q", "cu_seq_lens_k", "seq_idx")):
            raise PlanError("packed sequences cannot be run pruned: pass one sequence a row")

    def _refuse_packed(self, positions: torch.Tensor | None, flat: torch.Tensor | None, shape: torch.Size) -> None:
        """Positions that start again inside a row belong to several sequences."""
        batch, length = shape
        if positions is None or length == 1:
            return
        axis = positions[0] if positions.dim() == 3 else positions
        axis = axis.expand(batch, length).reshape(-1)
        sample = torch.arange(batch, device=axis.device).repeat_interleave(length)
        if flat is not None:
            axis, sample = axis.index_select(0, flat.to(axis.device)), sample.index_select(0, flat.to(axis.device))
        if bool(((axis[1:] <= axis[:-1]) & (sample[1:] == sample[:-1])).any()):
            raise PlanError("position_ids fall inside a row: packed sequences cannot be run pruned, pass one sequence a row")


def _plain(function: Any) -> Any:
    return inspect.unwrap(function)
