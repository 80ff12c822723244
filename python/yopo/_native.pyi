"""The compiled module: include/yopo/ under its own names. `listener`: see progress.py. Empty paths and words and 0: not given."""

import os
from typing import Any

import numpy

Path = str | os.PathLike[str]

def version() -> str: ...
def calibrate(
    model: Path, questions: Path, images: Path, output: Path, format: str, samples: int, seed: int, queries: str, dtype: str,
    chat_template: str, threads: int, memory: int, listener: Any | None,
) -> int: ...
def plan(model: Path, statistics: Path, output: Path, keep: list[str], listener: Any | None) -> None: ...
def search_plan(
    model: Path, statistics: Path, questions: Path, images: Path, output: Path, format: str, seed: int, device: str, dtype: str,
    chat_template: str, threads: int, memory: int, options: list[str], listener: Any | None,
) -> None: ...
def plan_of_recipe(
    recipe: Path, overrides: list[str], statistics: Path, output: Path, threads: int, memory: int, listener: Any | None
) -> tuple[os.PathLike[str], os.PathLike[str]]: ...
def export_pruned(
    model: Path, plan: Path, output: Path, shard_size: int, transformers_code: bool, listener: Any | None
) -> tuple[list[str], list[str], list[tuple[str, str]]]: ...
def plan_report(plan: Path, model: Path) -> str: ...
def plan_report_text(plan: Path, model: Path) -> str: ...
def copy_plan(source: Path, target: Path) -> None: ...
def plan_options() -> list[tuple[str, str, str, str]]:
    """Key of a recipe, flag, default and meaning of each option."""

def parse_bytes(size: str) -> int: ...

class StatisticsFile:
    """A stats.h5, read whole. L layers, H heads, F neurons, S samples; arrays are float64 but for rows."""

    def __init__(self, file: Path) -> None: ...
    @property
    def layers(self) -> int: ...
    @property
    def heads(self) -> int: ...
    @property
    def neurons(self) -> int: ...
    @property
    def samples(self) -> int: ...
    @property
    def queries(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def missing_parts(self) -> str: ...
    @property
    def ids(self) -> list[str]: ...
    def ratio(self) -> numpy.ndarray:
        """[S, L, H]"""

    def mean_ratio(self) -> numpy.ndarray:
        """[L, H]"""

    def rows(self) -> numpy.ndarray:
        """[L] int64"""

    def abs_sum(self) -> numpy.ndarray:
        """[L, F]"""

    def square_sum(self) -> numpy.ndarray:
        """[L, F]"""

    def active(self) -> numpy.ndarray:
        """[L, F]"""

    def column_norm(self) -> numpy.ndarray:
        """[L, F]"""

    def neuron_scores(self, score: str) -> numpy.ndarray:
        """[L, F]"""
