"""The small low-rank map that stands in for what visual rows lost."""

from __future__ import annotations

import torch
from safetensors import safe_open
from torch import nn

from ..plan_files import Plan, PlanError


class Compensation(nn.Module):
    """up (down n) + bias; the tensors are no parameters and in no state_dict: they stay in yopo.safetensors."""

    def __init__(self, down: torch.Tensor, up: torch.Tensor, bias: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("down", down, persistent=False)
        self.register_buffer("up", up, persistent=False)
        self.register_buffer("bias", bias, persistent=False)

    def forward(self, normed: torch.Tensor) -> torch.Tensor:
        if self.down.shape[0] == 0:
            return self.bias.expand_as(normed)
        return torch.nn.functional.linear(torch.nn.functional.linear(normed, self.down), self.up, self.bias)


def read_compensation(plan: Plan, width: int) -> list[Compensation | None]:
    """One a layer, in fp32. PlanError for tensors that are missing or have another shape."""
    result: list[Compensation | None] = [None] * len(plan.layers)
    if plan.compensation_file is None:
        return result
    with safe_open(str(plan.compensation_file), framework="pt") as file:
        names = set(file.keys())
        for index, layer in enumerate(plan.layers):
            if layer.rank is None or not layer.alive:
                continue
            shapes = {"down": (layer.rank, width), "up": (width, layer.rank), "bias": (width,)}
            found = {}
            for name, shape in shapes.items():
                full = f"{plan.compensation_prefix}layers.{index}.{name}"
                if full not in names and layer.rank == 0 and name != "bias":
                    found[name] = torch.zeros(shape)
                    continue
                if full not in names:
                    raise PlanError(f"{plan.compensation_file}: no tensor {full}")
                found[name] = file.get_tensor(full).float()
                if tuple(found[name].shape) != shape or not bool(found[name].isfinite().all()):
                    raise PlanError(f"{plan.compensation_file}: {full}: expected finite numbers of shape {shape}, found shape {tuple(found[name].shape)}")
            result[index] = Compensation(**found)
    return result
