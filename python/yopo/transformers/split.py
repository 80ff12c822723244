"""Products of visual and text rows with parts of one weight, for training.

Autograd gives each slice of a weight a gradient of the whole weight's size, mostly zeros, and adds them up. Here the
gradient is written once, part by part.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

Segments = list[tuple[int, int]]


def _lower(x: torch.Tensor) -> torch.Tensor:
    """As autocast would have it, which does not reach into a Function's backward."""
    kind = x.device.type
    return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) and x.is_floating_point() else x


def _pieces(x: torch.Tensor, runs: Segments) -> list[torch.Tensor]:
    """Of what stands in the order of the runs, one run's columns each; views."""
    return list(x.split([stop - start for start, stop in runs], -1))


def _joined(parts: list[torch.Tensor]) -> torch.Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, -1)


class SplitRows(torch.autograd.Function):
    """x [N, in] to [N, runs] of all rows and [N - count, rest] of those behind the first `count`; runs and rest are rows of
    the weight [out, in] that together are all."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, count: int, runs: Segments, rest: Segments) -> tuple[torch.Tensor, torch.Tensor]:
        ctx.count, ctx.runs, ctx.rest, ctx.given, ctx.whole = count, runs, rest, x.dtype, (weight.shape, weight.dtype)
        ctx.bias = None if bias is None else bias.dtype
        x = _lower(x)
        parts = [_lower(weight[a:b]) for a, b in runs + rest]
        biases = [None if bias is None else _lower(bias[a:b]) for a, b in runs + rest]
        ctx.save_for_backward(x, *parts)
        products = [functional.linear(x if n < len(runs) else x[count:], *part) for n, part in enumerate(zip(parts, biases))]
        return _joined(products[: len(runs)]), _joined(products[len(runs) :])

    @staticmethod
    def backward(ctx: Any, shared: torch.Tensor, alone: torch.Tensor) -> tuple[Any, ...]:
        x, *parts = ctx.saved_tensors
        text, runs = x[ctx.count :], ctx.runs + ctx.rest
        grads = _pieces(shared, ctx.runs) + _pieces(alone, ctx.rest)
        to_x = to_weight = to_bias = None
        if ctx.needs_input_grad[0]:
            to_x = grads[0] @ parts[0]
            for n in range(1, len(runs)):
                (to_x if n < len(ctx.runs) else to_x[ctx.count :]).addmm_(grads[n], parts[n])
            to_x = to_x.to(ctx.given)
        if ctx.needs_input_grad[1]:
            to_weight = x.new_empty(ctx.whole[0], dtype=ctx.whole[1])
            for n, (start, stop) in enumerate(runs):
                _product(grads[n].t(), x if n < len(ctx.runs) else text, to_weight[start:stop])
        if ctx.bias is not None and ctx.needs_input_grad[2]:
            to_bias = x.new_empty(ctx.whole[0][0], dtype=ctx.bias)
            for (start, stop), grad in zip(runs, grads):
                to_bias[start:stop] = grad.sum(0)
        return to_x, to_weight, to_bias, None, None, None


class SplitColumns(torch.autograd.Function):
    """[N, out] of x [N, runs], and of `rest_x` [N - count, rest] for the rows behind the first `count`; runs and rest are
    columns of the weight [out, in] that together are all."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, rest_x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, count: int, runs: Segments, rest: Segments
    ) -> torch.Tensor:
        ctx.count, ctx.runs, ctx.rest, ctx.given, ctx.whole = count, runs, rest, (x.dtype, rest_x.dtype), (weight.shape, weight.dtype)
        ctx.bias = None if bias is None else bias.dtype
        x, rest_x = _lower(x), _lower(rest_x)
        parts = [_lower(weight[:, a:b]) for a, b in runs + rest]
        ctx.save_for_backward(x, rest_x, *parts)
        inputs = _pieces(x, runs) + _pieces(rest_x, rest)
        result = functional.linear(inputs[0], parts[0], None if bias is None else _lower(bias))
        for n in range(1, len(parts)):
            (result if n < len(runs) else result[count:]).addmm_(inputs[n], parts[n].t())
        return result

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
        x, rest_x, *parts = ctx.saved_tensors
        text, split = grad[ctx.count :], len(ctx.runs)
        to_x = to_rest = to_weight = to_bias = None
        if ctx.needs_input_grad[0]:
            to_x = _joined([grad @ part for part in parts[:split]]).to(ctx.given[0])
        if ctx.needs_input_grad[1]:
            to_rest = _joined([text @ part for part in parts[split:]]).to(ctx.given[1])
        if ctx.needs_input_grad[2]:
            to_weight = x.new_empty(ctx.whole[0], dtype=ctx.whole[1])
            inputs = _pieces(x, ctx.runs) + _pieces(rest_x, ctx.rest)
            for n, (start, stop) in enumerate(ctx.runs + ctx.rest):
                _product((grad if n < split else text).t(), inputs[n], to_weight[:, start:stop])
        if ctx.bias is not None and ctx.needs_input_grad[3]:
            to_bias = grad.sum(0).to(ctx.bias)
        return to_x, to_rest, to_weight, to_bias, None, None, None


def _product(left: torch.Tensor, right: torch.Tensor, into: torch.Tensor) -> None:
    if left.dtype == into.dtype:
        torch.mm(left, right, out=into)
    else:
        into.copy_(left @ right)
