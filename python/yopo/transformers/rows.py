"""Which rows of a call are visual, and who may read whom: made once a forward, used by all layers.

Rows are [N, C] of all samples together, visual and text apart, without padding. Attention wants [B, slots, ...]: where
samples have different numbers of rows, the shorter ones are filled up with slots that nobody reads.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from ..plan_files import PlanError, Window
from .cache import NEVER, PrunedCacheLayer
from .families import Grids


DENSE = "dense"  # instead of a call's Rows: its layers compute as they did before


@dataclass
class Kind:
    """The visual or the text rows of a call. `flat` [N]: where they are in [B * T], None: all of it. `slots` [B, M]: the
    row of each slot, None: M rows a sample, in order. `place` [N]: the slot of each row. `index` [B, M]: the token's
    number in its sample, NEVER in slots without a row."""

    flat: torch.Tensor | None
    slots: torch.Tensor | None
    place: torch.Tensor | None
    index: torch.Tensor

    @property
    def size(self) -> int:
        return self.index.numel() if self.place is None else self.place.shape[0]

    @property
    def full(self) -> bool:
        return self.slots is None

    def take(self, x: torch.Tensor) -> torch.Tensor:
        """Of [B * T, ...] this kind's rows."""
        return x if self.flat is None else x.index_select(0, self.flat)

    def pad(self, x: torch.Tensor) -> torch.Tensor:
        """[N, ...] to [B, M, ...]"""
        batch, most = self.index.shape
        if self.slots is None:
            return x.reshape(batch, most, *x.shape[1:])
        return x.index_select(0, self.slots.reshape(-1)).reshape(batch, most, *x.shape[1:])

    def unpad(self, x: torch.Tensor) -> torch.Tensor:
        """[B, M, ...] to [N, ...]"""
        x = x.reshape(-1, *x.shape[2:])
        return x if self.place is None else x.index_select(0, self.place)


def _kind(mask: torch.Tensor, past: int) -> Kind | None:
    """Of the rows where `mask` [B, T] is true."""
    batch, length = mask.shape
    counts = mask.sum(1)
    most, total = int(counts.max()), int(counts.sum())
    if total == 0:
        return None
    sample, column = mask.nonzero(as_tuple=True)
    flat = None if total == batch * length else sample * length + column
    column = column + past
    if total == batch * most:
        return Kind(flat, None, None, column.reshape(batch, most))
    inside = torch.arange(total, device=mask.device) - (counts.cumsum(0) - counts)[sample]
    place = sample * most + inside
    slots = torch.zeros(batch * most, dtype=torch.long, device=mask.device)
    slots[place] = torch.arange(total, device=mask.device)
    index = torch.full((batch * most,), NEVER, dtype=torch.long, device=mask.device)
    index[place] = column
    return Kind(flat, slots.reshape(batch, most), place, index.reshape(batch, most))


@dataclass
class Rows:
    """One call's. `visual_keys` [B, K] and `text_keys` [B, K]: indices of cached and new tokens, as the cache's slots."""

    batch: int
    length: int
    past: int
    visual: Kind | None
    text: Kind
    visual_keys: torch.Tensor | None
    text_keys: torch.Tensor
    keys_full: bool
    picture: torch.Tensor | None  # [B, M, 3] of visual slots: picture (-1: none), row, column
    added: int = 0  # layers behind which the decoder adds to the visual rows
    memo: dict[Any, Any] = field(default_factory=dict)

    def to(self, device: torch.device) -> "Rows":
        """The same on another device of a model spread over several."""
        if self.text.index.device == device:
            return self
        key = ("device", device)
        if key not in self.memo:
            moved = {name: _moved(getattr(self, name), device) for name in ("visual", "text", "visual_keys", "text_keys", "picture")}
            self.memo[key] = Rows(self.batch, self.length, self.past, keys_full=self.keys_full, added=self.added, **moved)
        return self.memo[key]

    @property
    def order(self) -> torch.Tensor:
        """[N]: where visual rows, and text rows behind them, are in [B * T]."""
        if "order" not in self.memo:
            assert self.visual is not None and self.visual.flat is not None and self.text.flat is not None
            self.memo["order"] = torch.cat([self.visual.flat, self.text.flat])
        return self.memo["order"]

    def rotary(self, kind: Kind, name: str, table: torch.Tensor) -> torch.Tensor:
        """cos or sin [B or 1, T, D] of this kind's rows, [N, 1, D]."""
        key = (name, kind is self.text)
        found = self.memo.get(key)
        if found is None or found[0] is not table:
            whole = table.expand(self.batch, -1, -1).reshape(self.batch * self.length, -1)
            found = self.memo[key] = (table, kind.take(whole).unsqueeze(1))
        return found[1]

    def text_reads_text(self, dtype: torch.dtype) -> tuple[torch.Tensor | None, bool]:
        """A mask to add, and whether it is plainly causal."""
        if self.keys_full and self.text.index.shape[1] == 1:
            return None, False
        if self.keys_full and self.past == 0:
            return None, True
        return self._mask("text", dtype, lambda: _earlier(self.text.index, self.text_keys)), False

    def text_reads_all(self, dtype: torch.dtype) -> tuple[torch.Tensor | None, bool]:
        if self.visual_keys is None:
            return self.text_reads_text(dtype)
        if self.keys_full and self.visual is None and self.text.index.shape[1] == 1:  # visual rows of this call may come later
            return None, False
        keys = self.visual_keys
        return self._mask("all", dtype, lambda: _earlier(self.text.index, torch.cat([keys, self.text_keys], 1))), False

    def visual_reads_all(self, window: Window | None, dtype: torch.dtype) -> torch.Tensor:
        assert self.visual is not None and self.visual_keys is not None
        index, keys = self.visual.index, self.visual_keys

        def build() -> torch.Tensor:
            near = _earlier(index, keys)
            if window is not None:
                assert self.picture is not None
                old = keys.shape[1] - index.shape[1]
                inside = _within(self.picture, window)
                if window.causal:
                    inside &= near[:, :, old:]
                # Visual keys of earlier calls belong to other pictures.
                near = torch.cat([torch.zeros_like(near[:, :, :old]), inside], 2)
            return torch.cat([near, _earlier(index, self.text_keys)], 2)

        return self._mask(("visual", window), dtype, build)

    def _mask(self, name: Any, dtype: torch.dtype, build: Any) -> torch.Tensor:
        key = ("mask", name, dtype)
        if key not in self.memo:
            allowed = build()
            # A slot without a row may be allowed nothing; the smallest number instead of infinity keeps it finite.
            mask = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
            self.memo[key] = mask.masked_fill_(~allowed, torch.finfo(dtype).min).unsqueeze(1)
        return self.memo[key]


def _moved(found: Any, device: torch.device) -> Any:
    if isinstance(found, Kind):
        return Kind(*(None if t is None else t.to(device) for t in (found.flat, found.slots, found.place, found.index)))
    return None if found is None else found.to(device)


def _earlier(queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """[B, Q, K]: the key's token does not come after the query's. Slots without a row read all that is there."""
    queries = queries.clamp(max=NEVER - 1)
    return keys[:, None, :] <= queries[:, :, None]


def _within(picture: torch.Tensor, window: Window) -> torch.Tensor:
    """[B, M, M]: the key is near the query in the same picture."""
    reach = (window.size - 1) // 2
    same = (picture[:, :, None, 0] == picture[:, None, :, 0]) & (picture[:, :, None, 0] >= 0)
    distance = (picture[:, :, None, 1:] - picture[:, None, :, 1:]).abs()
    return same & (distance <= reach).all(-1)


def _pictures(visual: torch.Tensor, kind: Kind, grids: Grids) -> torch.Tensor:
    """[B, M, 3] of the visual slots, from the pictures' sizes in the order of the ids."""
    batch, most = kind.index.shape
    total = int(visual.sum())
    if sum(rows * columns for rows, columns in grids) != total:
        sizes = ", ".join(f"{rows} x {columns}" for rows, columns in grids[:8])
        raise PlanError(f"the call has {total} visual tokens, but its pictures ({sizes or 'none'}) have another number: with a window each call needs whole pictures")
    parts = []
    for number, (rows, columns) in enumerate(grids):
        at = torch.arange(rows * columns)
        parts.append(torch.stack([torch.full_like(at, number), at // columns, at % columns], 1))
    found = torch.cat(parts).to(visual.device)
    padded = kind.pad(found).clone()
    padded[kind.index >= NEVER] = -1
    sample = visual.nonzero(as_tuple=True)[0]
    start = 0
    for rows, columns in grids:
        if int(sample[start]) != int(sample[start + rows * columns - 1]):
            raise PlanError("a picture's tokens are in two samples")
        start += rows * columns
    return padded.reshape(batch, most, 3)


def make_rows(
    visual: torch.Tensor, present: torch.Tensor | None, cache: PrunedCacheLayer | None, grids: Grids | None
) -> Rows:
    """`visual` [B, T]; `present` [B, past + T]: which tokens are no padding, None: all. `grids`: where windows need them."""
    batch, length = visual.shape
    past = 0 if cache is None else cache.length
    here = None
    if present is not None:
        if present.shape != (batch, past + length):
            raise PlanError(f"attention_mask: expected {batch} x {past + length} entries, found {' x '.join(map(str, present.shape))}")
        here = present[:, past:].bool()
    visual_kind = _kind(visual if here is None else visual & here, past)
    text_kind = _kind(~visual if here is None else ~visual & here, past)
    if text_kind is None:
        raise PlanError("the call has no text token")
    visual_keys = None if cache is None else cache.visual_index
    text_keys = text_kind.index
    if cache is not None and cache.text_index is not None:
        text_keys = torch.cat([cache.text_index.to(text_keys.device), text_keys], 1)
    if visual_kind is not None:
        old = [] if visual_keys is None else [visual_keys.to(text_keys.device)]
        visual_keys = torch.cat([*old, visual_kind.index], 1)
    full = text_kind.full and (visual_kind is None or visual_kind.full) and (cache is None or cache.full)
    picture = None
    if visual_kind is not None and grids is not None:
        picture = _pictures(visual if here is None else visual & here, visual_kind, grids)
    return Rows(batch, length, past, visual_kind, text_kind, visual_keys, text_keys, full, picture)
