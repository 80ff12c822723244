"""Puts what a plan.json keeps first in a model's weights, as export does, in place and reversibly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Iterator

import torch
from torch import nn

from ..plan_files import LayerPlan, PlanError, Sizes
from .linear import base_of


@dataclass(frozen=True)
class Order:
    """Entry i is the old index that comes i-th."""

    groups: list[int]
    heads: list[int]
    neurons: list[int]


def order_of(plan: LayerPlan, sizes: Sizes) -> Order:
    """Updated heads before only-read before dropped, whole KV groups first; kept neurons first. Ties keep their order."""
    inside = sizes.heads // sizes.kv_heads

    def counts(group: int) -> tuple[int, int]:
        heads = slice(group * inside, (group + 1) * inside)
        return -sum(plan.updates[heads]), -sum(plan.heads[heads])

    groups = sorted(range(sizes.kv_heads), key=counts)
    heads: list[int] = []
    for group in groups:
        members = range(group * inside, (group + 1) * inside)
        heads += sorted(members, key=lambda h: (not plan.updates[h], not plan.heads[h]))
    kept = plan.neurons if plan.neurons is not None else ()
    first = set(kept)
    return Order(groups, heads, [*kept, *(n for n in range(sizes.neurons) if n not in first)])


def reordered(plan: LayerPlan, order: Order) -> LayerPlan:
    return LayerPlan(
        plan.alive,
        plan.window,
        tuple(plan.heads[h] for h in order.heads),
        tuple(plan.updates[h] for h in order.heads),
        None if plan.neurons is None else tuple(range(len(plan.neurons))),
        plan.rank,
    )


def inverse(order: Order) -> Order:
    def turned(indices: list[int]) -> list[int]:
        result = [0] * len(indices)
        for new, old in enumerate(indices):
            result[old] = new
        return result

    return Order(turned(order.groups), turned(order.heads), turned(order.neurons))


def _blocks(indices: list[int], width: int, at: int = 0) -> list[int]:
    return [at + index * width + inside for index in indices for inside in range(width)]


def _parts(layer: Any, order: Order, sizes: Sizes, head_dim: int, fused: bool) -> Iterator[tuple[nn.Module, int, list[int]]]:
    """Each module of a layer with the dimension and the order of its weight."""
    attention, mlp = layer.self_attn, layer.mlp
    q, kv = _blocks(order.heads, head_dim), _blocks(order.groups, head_dim)
    if fused:
        keys = sizes.heads * head_dim
        values = keys + sizes.kv_heads * head_dim
        yield attention.qkv_proj, 0, [*q, *(keys + i for i in kv), *(values + i for i in kv)]
        yield mlp.gate_up_proj, 0, [*order.neurons, *(sizes.neurons + n for n in order.neurons)]
    else:
        yield attention.q_proj, 0, q
        yield attention.k_proj, 0, kv
        yield attention.v_proj, 0, kv
        yield mlp.gate_proj, 0, order.neurons
        yield mlp.up_proj, 0, order.neurons
    yield attention.o_proj, 1, q
    yield mlp.down_proj, 1, order.neurons


def check_orderable(module: nn.Module) -> None:
    if base_of(module) is not module:
        raise PlanError("a plan.json orders the weights: apply it before adapters are added")
    if module.weight.is_meta:
        raise PlanError("a plan.json orders the weights, and some are offloaded: apply it before, or export a checkpoint")


@torch.no_grad()
def reorder_layer(layer: Any, order: Order, sizes: Sizes, head_dim: int, fused: bool) -> None:
    for module, dim, indices in _parts(layer, order, sizes, head_dim, fused):
        if indices == list(range(len(indices))):
            continue
        where = torch.tensor(indices, device=module.weight.device)
        module.weight.copy_(module.weight.index_select(dim, where))
        if dim == 0 and module.bias is not None:
            module.bias.copy_(module.bias.index_select(0, where))
