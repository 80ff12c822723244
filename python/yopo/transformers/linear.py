"""Products with a part of a weight matrix, through the module's own call.

Slices are views made in the call, so that whatever brings weights in just before it (FSDP, ZeRO-3, accelerate's
offloading) works as it does for the whole matrix.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Iterable, Sequence

import torch
from torch import nn
from torch.nn import functional

from ..plan_files import PlanError
from .classes import change_class, restore_class
from .split import SplitColumns, SplitRows

Segments = Sequence[tuple[int, int]]  # [start, stop) each


def segments(indices: Iterable[int], width: int = 1) -> list[tuple[int, int]]:
    """Indices of blocks of `width` rows, as the fewest runs of rows, in the order given."""
    runs: list[tuple[int, int]] = []
    for index in indices:
        start, stop = index * width, (index + 1) * width
        if runs and runs[-1][1] == start:
            runs[-1] = (runs[-1][0], stop)
        else:
            runs.append((start, stop))
    return runs


def size_of(runs: Segments) -> int:
    return sum(stop - start for start, stop in runs)


def sliced(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, rows: Segments | None, columns: Segments | None) -> torch.Tensor:
    """x [N, columns] times the transposed rows and columns of `weight`, in views of it."""
    if columns is not None:
        result, at = None, 0
        for start, stop in columns:
            part = functional.linear(x[..., at : at + stop - start], weight[:, start:stop])
            result, at = part if result is None else result + part, at + stop - start
        if result is None:
            result = x.new_zeros(*x.shape[:-1], weight.shape[0])
        return result if bias is None else result + bias
    if rows is None:
        return functional.linear(x, weight, bias)
    parts = [functional.linear(x, weight[a:b], None if bias is None else bias[a:b]) for a, b in rows]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)


@dataclass
class Split:
    """What rows behind the first `count` need besides: the `rest` of the weight, of its columns with inputs `x` of their own."""

    count: int
    rest: Segments
    x: torch.Tensor | None = None


class _SlicedLinear(nn.Linear):
    def forward(
        self, x: torch.Tensor, rows: Segments | None = None, columns: Segments | None = None, biased: bool = True, more: Split | None = None
    ) -> Any:
        if more is None:
            return sliced(x, self.weight, self.bias if biased else None, rows, columns)
        if rows is not None:
            return SplitRows.apply(x, self.weight, self.bias, more.count, list(rows), list(more.rest))
        return SplitColumns.apply(x, more.x, self.weight, self.bias, more.count, list(columns or ()), list(more.rest))


def _is_trained(module: nn.Module) -> bool:
    return torch.is_grad_enabled() and not hasattr(module, "lora_A") and module.weight.requires_grad


def base_of(module: nn.Module) -> nn.Module:
    """The plain layer below peft's adapters."""
    return getattr(module, "base_layer", module)


def accept_slices(module: nn.Module, name: str) -> None:
    base = base_of(module)
    if type(base) is not nn.Linear:
        raise PlanError(f"{name} is a {type(base).__module__}.{type(base).__name__}: only torch.nn.Linear can be computed in parts")
    if base is not module and not hasattr(module, "lora_A"):
        raise PlanError(f"{name} is wrapped in a {type(module).__name__}: of adapters only LoRA is known")
    change_class(base, _SlicedLinear)


def refuse_slices(module: nn.Module) -> None:
    restore_class(base_of(module))


def project(module: nn.Module, x: torch.Tensor, rows: Segments | None = None, columns: Segments | None = None, biased: bool = True) -> torch.Tensor:
    """The module's product with a part of its rows (outputs) or columns (inputs), LoRA adapters included."""
    if not hasattr(module, "lora_A"):
        return module(x, rows, columns, biased)
    if rows is None and columns is None:
        return module(x)
    result = module.base_layer(x, rows, columns, biased)
    if getattr(module, "disable_adapters", False) or getattr(module, "merged", False):
        return result
    for adapter in module.active_adapters:
        if adapter not in module.lora_A:
            continue
        if getattr(module, "use_dora", {}).get(adapter, False):
            raise PlanError("DoRA scales whole rows of a weight: use plain LoRA")
        down, up = module.lora_A[adapter], module.lora_B[adapter]
        inner = module.lora_dropout[adapter](x).to(down.weight.dtype)
        inner = sliced(inner, down.weight, down.bias, None, columns)
        result = result + (sliced(inner, up.weight, up.bias, rows, None) * module.scaling[adapter]).to(result.dtype)
    return result


def complement(runs: Segments, size: int) -> list[tuple[int, int]]:
    """What of [0, size) is in none of the runs."""
    rest, at = [], 0
    for start, stop in sorted(runs):
        if at < start:
            rest.append((at, start))
        at = max(at, stop)
    return rest + ([(at, size)] if at < size else [])


def project_rows(module: nn.Module, both: torch.Tensor, count: int, rows: Segments) -> tuple[torch.Tensor, torch.Tensor]:
    """Of visual rows, the first `count` of `both` [N, C], the module's `rows`; of text rows behind them, all. What both need is
    one product, so that no weight is read twice."""
    if not rows:
        return both.new_zeros(count, 0), project(module, both[count:])
    rest = complement(rows, base_of(module).out_features)
    if not rest and len(rows) == 1:
        whole = project(module, both)
        return whole[:count], whole[count:]
    if rest and _is_trained(module):
        shared, alone = module(both, rows, more=Split(count, rest))
        return shared[:count], _in_order(torch.cat([shared[count:], alone], -1), [*rows, *rest])
    shared = project(module, both, rows)
    if not rest:
        return shared[:count], _in_order(shared[count:], rows)
    alone = project(module, both[count:], rest)
    return shared[:count], _in_order(torch.cat([shared[count:], alone], -1), [*rows, *rest])


def _in_order(x: torch.Tensor, runs: Segments) -> torch.Tensor:
    """Runs of features, in whatever order they come, in their own."""
    if list(runs) == sorted(runs):
        return x
    parts = dict(zip(runs, x.split([stop - start for start, stop in runs], -1)))
    return torch.cat([parts[run] for run in sorted(runs)], -1)


def project_columns(module: nn.Module, visual: torch.Tensor, text: torch.Tensor, columns: Segments) -> torch.Tensor:
    """[N, out], visual rows first: of `visual` [Nv, columns] with those columns alone, of `text` [Nt, in] with all."""
    count, rest = visual.shape[0], complement(columns, base_of(module).in_features)

    def parts(runs: Segments) -> torch.Tensor:
        found = [text[:, start:stop] for start, stop in runs]
        return found[0] if len(found) == 1 else torch.cat(found, -1)

    both = torch.cat([visual, parts(columns)])
    if not rest and len(columns) == 1:
        return project(module, both)
    if rest and _is_trained(module):
        return module(both, columns=columns, more=Split(count, rest, parts(rest)))
    result = project(module, both, columns=columns)
    if rest:
        result[count:] += project(module, parts(rest), columns=rest, biased=False)
    return result
