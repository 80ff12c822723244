"""A decoder layer whose visual rows use prefixes of the same weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..plan import LayerPlan, PlanError, Sizes, Window
from .attention import attend, rotate
from .cache import PrunedCacheLayer
from .families import merge_axes
from .linear import Segments, project, segments, size_of
from .rows import Kind, Rows


@dataclass
class Shares:
    """What visual rows use of one layer, with all indices in the order of the weights. `position` fields say where
    something stands among the KV heads of the cache: those that are read for visual tokens, then the others."""

    alive: bool
    window: Window | None
    neurons: int
    kept: list[int]  # query heads whose visual keys text reads
    dropped: list[int]
    groups: list[int]  # KV heads that hold visual tokens
    others: list[int]
    update_rows: Segments  # of q, columns of o
    group_rows: Segments  # of k and v
    kept_position: list[int]
    update_position: list[int]
    dropped_position: list[int]
    sizes: Sizes
    head_dim: int
    fused: bool
    eager: bool
    sections: list[int] | None


def make_shares(plan: LayerPlan, sizes: Sizes, head_dim: int, fused: bool, eager: bool, sections: list[int] | None) -> Shares:
    inside = sizes.heads // sizes.kv_heads
    heads = range(sizes.heads)
    kept = [h for h in heads if plan.alive and plan.heads[h]]
    updated = [h for h in kept if plan.updates[h]]
    groups = sorted({h // inside for h in kept})
    others = [g for g in range(sizes.kv_heads) if g not in groups]
    place = {group: at for at, group in enumerate(groups + others)}
    dropped = [h for h in heads if h not in set(kept)]
    return Shares(
        alive=plan.alive,
        window=plan.window,
        neurons=sizes.neurons if plan.neurons is None else len(plan.neurons),
        kept=kept,
        dropped=dropped,
        groups=groups,
        others=others,
        update_rows=segments(updated, head_dim),
        group_rows=segments(groups, head_dim),
        kept_position=[place[h // inside] for h in kept],
        update_position=[place[h // inside] for h in updated],
        dropped_position=[place[h // inside] for h in dropped],
        sizes=sizes,
        head_dim=head_dim,
        fused=fused,
        eager=eager,
        sections=sections,
    )


def pick(x: torch.Tensor, indices: list[int], dim: int = 1) -> torch.Tensor:
    """Entries of one dimension; a run is a view."""
    if len(indices) == x.shape[dim] and indices == list(range(len(indices))):
        return x
    if indices and indices == list(range(indices[0], indices[0] + len(indices))):
        return x.narrow(dim, indices[0], len(indices))
    return x.index_select(dim, torch.tensor(indices, dtype=torch.long, device=x.device))


Heads = tuple[torch.Tensor, torch.Tensor]  # keys and values


class PrunedLayer(nn.Module):
    """The forward that takes a decoder layer's place; `self` is the layer of transformers."""

    yopo: Shares

    def forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        rows: Rows | None = kwargs.get("yopo_rows")
        if rows is None:
            raise PlanError("a pruned layer was called by itself: call the model, which knows which tokens are visual")
        rows = rows.to(hidden_states.device)
        shares, attention = self.yopo, self.self_attn
        cos, sin = (_angles(rows, shares, name, table) for name, table in zip(("cos", "sin"), kwargs["position_embeddings"]))
        cache = kwargs.get("cache") if kwargs.get("past_key_values") is None else kwargs["past_key_values"]
        kept = None if cache is None else cache.layers[attention.layer_idx]
        flat = hidden_states.reshape(-1, hidden_states.shape[-1])
        text = rows.text.take(flat)
        visual = rows.visual.take(flat) if rows.visual is not None and shares.alive else None

        query, *text_heads = _heads(self, rows, rows.text, self.input_layernorm(text), None, None, cos, sin)
        visual_query, visual_heads = None, None
        if visual is not None and (shares.groups or shares.update_rows):
            normed = self.input_layernorm(visual)
            visual_query, key, value = _heads(self, rows, rows.visual, normed, shares.update_rows, shares.group_rows, cos, sin)
            visual_heads = (key, value)
        joint, alone, visual_slots = _store(shares, kept, rows, visual_heads, (text_heads[0], text_heads[1]))
        dropout = attention.attention_dropout if self.training else 0.0

        def run(q: torch.Tensor, keys: Heads, mask: torch.Tensor | None, causal: bool) -> torch.Tensor:
            return attend(q, keys[0], keys[1], mask, causal, attention.scaling, dropout, shares.eager)

        outputs = []
        if shares.kept:
            keys = tuple(pick(t, shares.kept_position) for t in joint)
            mask, causal = rows.text_reads_all(text.dtype) if visual_slots else rows.text_reads_text(text.dtype)
            outputs.append(run(pick(query, shares.kept), keys, mask, causal))
        if shares.dropped:
            keys = tuple(_text_only(shares, j, a, visual_slots) for j, a in zip(joint, alone))
            outputs.append(run(pick(query, shares.dropped), keys, *rows.text_reads_text(text.dtype)))
        order = shares.kept + shares.dropped
        whole = outputs[0] if len(outputs) == 1 else torch.cat(outputs, 1)
        whole = pick(whole, [order.index(head) for head in range(len(order))])
        text = text + _drop(self, "resid_attn_dropout", project(attention.o_proj, _merge(rows.text, whole)))
        text = text + _drop(self, "resid_mlp_dropout", self.mlp(self.post_attention_layernorm(text)))
        if visual is None:
            return _give(self, _put(rows, flat, text, None).view_as(hidden_states))

        if visual_query is not None:
            keys = tuple(pick(t, shares.update_position) for t in joint)
            found = run(visual_query, keys, rows.visual_reads_all(shares.window, text.dtype), False)
            found = project(attention.o_proj, _merge(rows.visual, found), columns=shares.update_rows)
            visual = visual + _drop(self, "resid_attn_dropout", found)
        visual = _visual_mlp(self, shares, visual)
        return _give(self, _put(rows, flat, text, visual).view_as(hidden_states))


def _angles(rows: Rows, shares: Shares, name: str, table: torch.Tensor) -> torch.Tensor:
    """[B or 1, T, D] of a table of one or three axes, merged once a forward."""
    if table.dim() == 3:
        return table
    found = rows.memo.get(("merged", name))
    if found is None or found[0] is not table:
        found = rows.memo[("merged", name)] = (table, merge_axes(table, shares.sections))
    return found[1]


def _heads(layer: Any, rows: Rows, kind: Kind, x: torch.Tensor, q_rows: Segments | None, kv_rows: Segments | None, cos: Any, sin: Any) -> list[Any]:
    """Query, key and value [B, heads, slots, D] of one kind's rows. `q_rows`, `kv_rows`: which heads, None: all; where
    there are none the query is None."""
    shares, attention = layer.yopo, layer.self_attn
    sizes, width = shares.sizes, shares.head_dim
    q_all, kv_all = [(0, sizes.heads * width)], [(0, sizes.kv_heads * width)]
    if shares.fused:
        q_rows, kv_rows = q_all if q_rows is None else q_rows, kv_all if kv_rows is None else kv_rows
        k_at, v_at = q_all[0][1], q_all[0][1] + kv_all[0][1]
        runs = [*q_rows, *((k_at + a, k_at + b) for a, b in kv_rows), *((v_at + a, v_at + b) for a, b in kv_rows)]
        merged = segments_of(runs)
        together = project(attention.qkv_proj, x, None if merged == [(0, v_at + kv_all[0][1])] else merged)
        q, k, v = together.split([size_of(q_rows), size_of(kv_rows), size_of(kv_rows)], -1)
    else:
        q = project(attention.q_proj, x, q_rows) if q_rows is None or q_rows else None
        k, v = project(attention.k_proj, x, kv_rows), project(attention.v_proj, x, kv_rows)
    cos, sin = rows.rotary(kind, "cos", cos), rows.rotary(kind, "sin", sin)
    result: list[Any] = []
    for name, part in (("q_norm", q), ("k_norm", k), ("", v)):
        if part is None or part.shape[-1] == 0:
            result.append(None)
            continue
        part = part.view(part.shape[0], -1, width)
        if name and hasattr(attention, name):
            part = getattr(attention, name)(part)
        part = rotate(part, cos, sin) if name else part
        result.append(kind.pad(part).transpose(1, 2))
    return result


def segments_of(runs: Segments) -> list[tuple[int, int]]:
    """Runs that follow one another as one."""
    merged: list[tuple[int, int]] = []
    for start, stop in runs:
        if merged and merged[-1][1] == start:
            merged[-1] = (merged[-1][0], stop)
        else:
            merged.append((start, stop))
    return merged


def _store(shares: Shares, kept: PrunedCacheLayer | None, rows: Rows, visual: Heads | None, text: Heads) -> tuple[Heads, Heads, int]:
    """Joint and lone keys and values, cached ones included, and how many slots of the joint ones are visual."""
    layer = PrunedCacheLayer() if kept is None else kept
    joint = (pick(text[0], shares.groups), pick(text[1], shares.groups))
    alone = (pick(text[0], shares.others), pick(text[1], shares.others))
    layer.append(visual, joint, alone)
    if kept is not None:
        kept.length = rows.past + rows.length
        kept.visual_index, kept.text_index, kept.full = rows.visual_keys, rows.text_keys, rows.keys_full
    assert layer.joint is not None and layer.alone is not None
    return layer.joint, layer.alone, layer.visual_slots


def _text_only(shares: Shares, joint: torch.Tensor, alone: torch.Tensor, visual_slots: int) -> torch.Tensor:
    """What the dropped heads read: text keys, of KV heads of both kinds."""
    count = len(shares.groups)
    if all(position >= count for position in shares.dropped_position):
        return pick(alone, [position - count for position in shares.dropped_position])
    return pick(torch.cat([joint[:, :, visual_slots:], alone], 1), shares.dropped_position)


def _merge(kind: Kind, heads: torch.Tensor) -> torch.Tensor:
    """[B, heads, slots, D] to [N, heads * D]"""
    return kind.unpad(heads.transpose(1, 2).flatten(2))


def _visual_mlp(layer: Any, shares: Shares, visual: torch.Tensor) -> torch.Tensor:
    compensation = getattr(layer, "yopo_compensation", None)
    if shares.neurons == 0 and compensation is None:
        return visual
    normed, mlp = layer.post_attention_layernorm(visual), layer.mlp
    added = None
    if shares.neurons == shares.sizes.neurons:
        added = mlp(normed)
    elif shares.neurons:
        count, width = shares.neurons, shares.sizes.neurons
        if shares.fused:
            gate, up = project(mlp.gate_up_proj, normed, [(0, count), (width, width + count)]).chunk(2, -1)
            active = mlp.activation_fn(gate) * up
        else:
            active = mlp.act_fn(project(mlp.gate_proj, normed, [(0, count)])) * project(mlp.up_proj, normed, [(0, count)])
        added = project(mlp.down_proj, active, columns=[(0, count)])
    if added is not None:
        visual = visual + _drop(layer, "resid_mlp_dropout", added)
    return visual if compensation is None else visual + compensation(normed)


def _drop(layer: Any, name: str, x: torch.Tensor) -> torch.Tensor:
    module = getattr(layer, name, None)
    return x if module is None else module(x)


def _put(rows: Rows, flat: torch.Tensor, text: torch.Tensor, visual: torch.Tensor | None) -> torch.Tensor:
    """The rows in the places they came from; rows of neither kind stay what they were."""
    if rows.text.flat is None:
        return text
    result = flat.index_copy(0, rows.text.flat, text)
    return result if visual is None or rows.visual is None or rows.visual.flat is None else result.index_copy_(0, rows.visual.flat, visual)


def _give(layer: Any, hidden: torch.Tensor) -> Any:
    return (hidden,) if layer.yopo_tuple else hidden
