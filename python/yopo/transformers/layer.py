"""A decoder layer whose visual rows use prefixes of the same weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..plan_files import LayerPlan, PlanError, Sizes, Window
from .attention import attend, rotate
from .cache import PrunedCacheLayer
from .families import merge_axes
from .linear import Segments, project, project_columns, project_rows, segments, size_of
from .rows import DENSE, Kind, Rows


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
    yopo_plain: type[nn.Module]

    def forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        rows: Any = kwargs.get("yopo_rows")
        if rows is DENSE:
            del kwargs["yopo_rows"]
            return type(self).yopo_plain.forward(self, hidden_states, *args, **kwargs)
        if rows is None:
            raise PlanError("a pruned layer was called by itself: call the model, which knows which tokens are visual")
        rows = rows.to(hidden_states.device)
        shares, attention = self.yopo, self.self_attn
        cos, sin = (_angles(rows, shares, name, table) for name, table in zip(("cos", "sin"), kwargs["position_embeddings"]))
        cache = kwargs.get("cache") if kwargs.get("past_key_values") is None else kwargs["past_key_values"]
        kept = None if cache is None else cache.layers[attention.layer_idx]
        flat = hidden_states.reshape(-1, hidden_states.shape[-1])
        visual = rows.visual if shares.alive else None
        count = 0 if visual is None else visual.size
        both = rows.text.take(flat) if visual is None else flat.index_select(0, rows.order)  # visual rows first
        dtype = both.dtype

        visual_heads, text_heads = _heads(self, rows, both, count, cos, sin)
        query = text_heads[0]
        joint, alone, visual_slots = _store(shares, kept, rows, visual_heads, (text_heads[1], text_heads[2]))
        dropout = attention.attention_dropout if self.training else 0.0

        def run(q: torch.Tensor, keys: Heads, mask: torch.Tensor | None, causal: bool) -> torch.Tensor:
            return attend(q, keys[0], keys[1], mask, causal, attention.scaling, dropout, shares.eager)

        outputs = []
        if shares.kept:
            keys = (pick(joint[0], shares.kept_position), pick(joint[1], shares.kept_position))
            mask, causal = rows.text_reads_all(dtype) if visual_slots else rows.text_reads_text(dtype)
            outputs.append(run(pick(query, shares.kept), keys, mask, causal))
        if shares.dropped:
            keys = (_text_only(shares, joint[0], alone[0], visual_slots), _text_only(shares, joint[1], alone[1], visual_slots))
            outputs.append(run(pick(query, shares.dropped), keys, *rows.text_reads_text(dtype)))
        order = shares.kept + shares.dropped
        whole = outputs[0] if len(outputs) == 1 else torch.cat(outputs, 1)
        read = _merge(rows.text, pick(whole, [order.index(head) for head in range(len(order))]))
        if visual_heads is not None and visual_heads[0] is not None:
            keys = (pick(joint[0], shares.update_position), pick(joint[1], shares.update_position))
            seen = _merge(visual, run(visual_heads[0], keys, rows.visual_reads_all(shares.window, dtype), False))
            both = both + _drop(self, "resid_attn_dropout", project_columns(attention.o_proj, seen, read, shares.update_rows))
        else:
            both = _add(both, count, _drop(self, "resid_attn_dropout", project(attention.o_proj, read)))
        both = _mlp(self, shares, both, count)
        hidden = _put(rows, flat, both, count).view_as(hidden_states)
        if self.training and attention.layer_idx < rows.added:
            hidden = hidden.clone()  # the decoder adds to it in place, which autograd refuses of a view that a checkpoint made
        return _give(self, hidden)


def _add(both: torch.Tensor, count: int, more: torch.Tensor) -> torch.Tensor:
    """Adds to the text rows alone."""
    return both + more if not count else torch.cat([both[:count], both[count:] + more])


def _angles(rows: Rows, shares: Shares, name: str, table: torch.Tensor) -> torch.Tensor:
    """[B or 1, T, D] of a table of one or three axes, merged once a forward."""
    if table.dim() == 3:
        return table
    found = rows.memo.get(("merged", name))
    if found is None or found[0] is not table:
        found = rows.memo[("merged", name)] = (table, merge_axes(table, shares.sections))
    return found[1]


def _heads(layer: Any, rows: Rows, both: torch.Tensor, count: int, cos: Any, sin: Any) -> tuple[Any, list[torch.Tensor]]:
    """Query, key and value [B, heads, slots, D]: of visual rows those that the plan keeps (None where nobody reads them; a
    query of None where none is updated), of text rows all."""
    shares, attention = layer.yopo, layer.self_attn
    sizes, width = shares.sizes, shares.head_dim
    q_all, kv_all = sizes.heads * width, sizes.kv_heads * width
    normed = layer.input_layernorm(both if shares.groups else both[count:])
    count = count if shares.groups else 0
    q_rows, kv_rows = (shares.update_rows, shares.group_rows) if count else ([], [])
    if shares.fused:
        starts = ((0, q_rows), (q_all, kv_rows), (q_all + kv_all, kv_rows))
        runs = segments_of([(at + a, at + b) for at, part in starts for a, b in part])
        visual, text = project_rows(attention.qkv_proj, normed, count, runs)
        sizes_of = ([size_of(q_rows), size_of(kv_rows), size_of(kv_rows)], [q_all, kv_all, kv_all])
        parts = list(zip(visual.split(sizes_of[0], -1), text.split(sizes_of[1], -1)))
    else:
        modules = ((attention.q_proj, q_rows), (attention.k_proj, kv_rows), (attention.v_proj, kv_rows))
        parts = [project_rows(module, normed, count, runs) for module, runs in modules]
    result: tuple[list[Any], list[Any]] = ([], [])
    for name, pair in zip(("q_norm", "k_norm", ""), parts):
        for kind, part, into in zip((rows.visual, rows.text), pair, result):
            if part.shape[0] == 0 or part.shape[-1] == 0:
                into.append(None)
                continue
            part = part.reshape(part.shape[0], -1, width)
            if name and hasattr(attention, name):
                part = getattr(attention, name)(part)
            part = rotate(part, rows.rotary(kind, "cos", cos), rows.rotary(kind, "sin", sin)) if name else part
            into.append(kind.pad(part).transpose(1, 2))
    return (result[0] if count else None), result[1]


def segments_of(runs: Segments) -> list[tuple[int, int]]:
    """Runs that follow one another as one."""
    merged: list[tuple[int, int]] = []
    for start, stop in runs:
        if merged and merged[-1][1] == start:
            merged[-1] = (merged[-1][0], stop)
        else:
            merged.append((start, stop))
    return merged


def _store(shares: Shares, kept: PrunedCacheLayer | None, rows: Rows, visual: list[Any] | None, text: Heads) -> tuple[Heads, Heads, int]:
    """Joint and lone keys and values, cached ones included, and how many slots of the joint ones are visual."""
    layer = PrunedCacheLayer() if kept is None else kept
    if layer.groups is not None and layer.groups != shares.groups:
        raise PlanError("the cache was filled under another plan, which keeps visual tokens of other KV heads: give each plan its own")
    layer.groups = shares.groups
    joint = (pick(text[0], shares.groups), pick(text[1], shares.groups))
    alone = (pick(text[0], shares.others), pick(text[1], shares.others))
    layer.append(None if visual is None else (visual[1], visual[2]), joint, alone)
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


def _mlp(layer: Any, shares: Shares, both: torch.Tensor, count: int) -> torch.Tensor:
    compensation, mlp = getattr(layer, "yopo_compensation", None), layer.mlp
    if not count or (shares.neurons == 0 and compensation is None):
        return _add(both, count, _drop(layer, "resid_mlp_dropout", mlp(layer.post_attention_layernorm(both[count:]))))
    normed, kept, whole = layer.post_attention_layernorm(both), shares.neurons, shares.sizes.neurons
    if kept == whole:
        result = both + _drop(layer, "resid_mlp_dropout", mlp(normed))
    elif kept == 0:
        result = _add(both, count, _drop(layer, "resid_mlp_dropout", mlp(normed[count:])))
    else:
        if shares.fused:
            visual, text = project_rows(mlp.gate_up_proj, normed, count, [(0, kept), (whole, whole + kept)])
            visual, text = (_gated(mlp.activation_fn, *part.chunk(2, -1)) for part in (visual, text))
        else:
            gate = project_rows(mlp.gate_proj, normed, count, [(0, kept)])
            up = project_rows(mlp.up_proj, normed, count, [(0, kept)])
            visual, text = (_gated(mlp.act_fn, *pair) for pair in zip(gate, up))
        result = both + _drop(layer, "resid_mlp_dropout", project_columns(mlp.down_proj, visual, text, [(0, kept)]))
    if compensation is None:
        return result
    return torch.cat([result[:count] + compensation(normed[:count]), result[count:]])


def _gated(act: Any, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    return act(gate) * up


def _drop(layer: Any, name: str, x: torch.Tensor) -> torch.Tensor:
    module = getattr(layer, name, None)
    return x if module is None else module(x)


def _put(rows: Rows, flat: torch.Tensor, both: torch.Tensor, count: int) -> torch.Tensor:
    """The rows in the places they came from; rows of neither kind stay what they were."""
    if rows.text.flat is None:
        return both
    return flat.index_copy(0, rows.order if count else rows.text.flat, both)


def _give(layer: Any, hidden: torch.Tensor) -> Any:
    return (hidden,) if layer.yopo_tuple else hidden
