"""A plan that was chosen: a plan.json with what it keeps and saves."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import weakref
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .native import native
from .plan_files import LayerPlan, read_plan
from .statistics import PathLike

if TYPE_CHECKING:
    import numpy


class ChosenPlan:
    """A plan.json for a model. `yopo.export` and `yopo.transformers.apply` take it as they take a path. Without a file of its own
    (`output` of `yopo.plan`) it lies in a temporary folder as long as this object lives: `save` keeps it."""

    def __init__(self, path: PathLike, model: PathLike, _folder: str | None = None) -> None:
        self.path, self.model = pathlib.Path(path), pathlib.Path(model)
        if _folder is not None:
            weakref.finalize(self, shutil.rmtree, _folder, ignore_errors=True)

    def __fspath__(self) -> str:
        return str(self.path)

    @cached_property
    def report(self) -> dict[str, Any]:
        """What `yopo inspect PLAN --model MODEL --json` shows as "report". Figures are of a typical prompt, `report["prompt"]`."""
        return json.loads(native().plan_report(self.path, self.model))

    @property
    def flops(self) -> dict[str, dict[str, float]]:
        """Multiply-adds times two: `exact_visual`, `exact_prefill`, `exact_decode` and `paper_visual`, each `dense`, `plan` and their
        ratio, `kept`."""
        return self.report["flops"]

    @property
    def kv_bytes(self) -> dict[str, float]:
        """Bytes of keys and values after the prefill: `dense`, `plan`, `kept`."""
        return self.report["kv_bytes"]

    @cached_property
    def layers(self) -> tuple[LayerPlan, ...]:
        """What each decoder layer computes for visual tokens."""
        config = self.model / "config.json" if self.model.is_dir() else self.model
        return read_plan(self.path, json.loads(config.read_text())).layers

    @property
    def heads(self) -> numpy.ndarray:
        """[L, H] bool: heads in which text reads visual tokens."""
        import numpy

        return numpy.array([layer.heads for layer in self.layers])

    @property
    def updates(self) -> numpy.ndarray:
        """[L, H] bool: heads that visual tokens compute, among `heads`."""
        import numpy

        return numpy.array([layer.updates for layer in self.layers])

    def save(self, path: PathLike) -> pathlib.Path:
        """Writes the plan to `path`, with the vectors of its compensation beside it."""
        native().copy_plan(self.path, path)
        return pathlib.Path(path)

    def __repr__(self) -> str:
        return f"ChosenPlan({os.fspath(self.path)!r})\n" + native().plan_report_text(self.path, self.model).rstrip("\n")
