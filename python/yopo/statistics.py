"""What calibration gathered: a stats.h5 as arrays."""

from __future__ import annotations

import os
import pathlib
from functools import cached_property
from typing import TYPE_CHECKING, Any, Mapping, Union

from .native import native

if TYPE_CHECKING:
    import numpy

PathLike = Union[str, "os.PathLike[str]"]


class Statistics:
    """A stats.h5. L layers, H query heads, F neurons of the FFN, S samples. The file is read when the first array is asked for;
    arrays of it are read-only views.

    `model` and `samples_from` say what it was gathered on, where that is known: `plan` takes them from here.
    """

    def __init__(self, path: PathLike, *, model: PathLike | None = None, samples_from: Mapping[str, Any] | None = None) -> None:
        self.path = pathlib.Path(path)
        self.model = None if model is None else pathlib.Path(model)
        self.samples_from = dict(samples_from or {})

    def __fspath__(self) -> str:
        return str(self.path)

    @cached_property
    def _file(self) -> Any:
        return native().StatisticsFile(self.path)

    @property
    def layers(self) -> int:
        return self._file.layers

    @property
    def heads(self) -> int:
        """Query heads of a layer."""
        return self._file.heads

    @property
    def neurons(self) -> int:
        """Neurons of a layer's FFN."""
        return self._file.neurons

    @property
    def samples(self) -> int:
        return self._file.samples

    @property
    def ids(self) -> list[str]:
        """[S] ids of the samples."""
        return self._file.ids

    @property
    def queries(self) -> str:
        """Whose attention rows the ratios sum: prefill, text or decode."""
        return self._file.queries

    @property
    def fingerprint(self) -> str:
        """Of checkpoint, samples and options."""
        return self._file.fingerprint

    @cached_property
    def ratios(self) -> numpy.ndarray:
        """[L, H] attention on visual keys over attention on all other keys, mean over the samples."""
        return self._file.mean_ratio()

    @property
    def sample_ratios(self) -> numpy.ndarray:
        """[S, L, H] the same of each sample, in the order of `ids`."""
        return self._file.ratio()

    @property
    def rows(self) -> numpy.ndarray:
        """[L] visual rows that the sums over neurons are of."""
        return self._file.rows()

    @property
    def abs_sum(self) -> numpy.ndarray:
        """[L, F] sum of |activation| over visual rows. An activation is act(gate) * up."""
        return self._file.abs_sum()

    @property
    def square_sum(self) -> numpy.ndarray:
        """[L, F] sum of activation squared over visual rows."""
        return self._file.square_sum()

    @property
    def active(self) -> numpy.ndarray:
        """[L, F] visual rows in which |activation| exceeds that row's mean over the neurons."""
        return self._file.active()

    @property
    def column_norm(self) -> numpy.ndarray:
        """[L, F] norms of the columns of the down-projection."""
        return self._file.column_norm()

    def neuron_scores(self, score: str = "wanda") -> numpy.ndarray:
        """[L, F] what plans rank neurons by: mean_abs, rms, active or wanda."""
        return self._file.neuron_scores(score)

    def __repr__(self) -> str:
        lines = [f"Statistics({str(self.path)!r}): {self.samples} samples, {self.layers} layers, {self.heads} heads, {self.neurons} neurons a layer"]
        if self._file.missing_parts:
            lines.append(f"a part: {self._file.missing_parts} missing")
        if self.samples:
            ratios = self.ratios
            lines.append(f"visual over text attention ({self.queries}): {ratios.min():.4f} to {ratios.max():.4f}, mean {ratios.mean():.4f}")
            least = [divmod(int(index), self.heads) for index in ratios.argsort(axis=None, kind="stable")[:4]]
            lines.append("looking least: " + ", ".join(f"layer {layer} head {head} ({ratios[layer, head]:.4f})" for layer, head in least))
        return "\n".join(lines)
