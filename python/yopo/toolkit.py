"""Calibrate, plan and export from Python: the C++ library's functions (include/yopo/), which the command calls, too. The same inputs
give the same bytes.

Ctrl-C ends a call with KeyboardInterrupt; called again, `calibrate` and the search of `plan` go on where they were.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import shutil
import tempfile
from dataclasses import dataclass, field
from typing import Any, Iterator, Mapping, Sequence, Union

from .chosen_plan import ChosenPlan
from .errors import Error
from .native import native
from .progress import Progress, listener
from .statistics import PathLike, Statistics

Size = Union[int, str, None]


def calibrate(
    model: PathLike,
    questions: PathLike,
    images: PathLike,
    output: PathLike,
    *,
    samples: int | None = None,
    format: str = "llava",
    seed: int = 0,
    queries: str = "prefill",
    dtype: str = "auto",
    chat_template: str | None = None,
    threads: int | None = None,
    memory: Size = None,
    progress: Progress = True,
) -> Statistics:
    """Runs the dense model over samples and writes what visual tokens do in it to `output` (stats.h5).

    model          checkpoint folder
    questions      question file, JSON lines; `images`: the folder of its images
    samples        how many to use, chosen by `seed`; None: all
    format         "llava" or "conversations"
    queries        whose attention rows are summed: "prefill", "text" or "decode"
    dtype          "auto" (as stored), "fp32" or "bf16"
    chat_template  by name, instead of the checkpoint's own
    threads        None: all that torch uses
    memory         bytes, or "16GB"; None: what the machine has. Layers that do not fit are read as they are needed
    progress       True: on sys.stderr; False: none; or a function that gets a WorkReport

    A run that was interrupted goes on from `output`.partial; a finished output of the same inputs is returned as it is.
    """
    with _work(progress, threads) as hear:
        native().calibrate(
            model, questions, images, output, format, _samples(samples), seed, queries, dtype, chat_template or "", threads or 0, _bytes(memory), hear
        )
    return Statistics(output, model=model, samples_from={"questions": questions, "images": images, "format": format, "chat_template": chat_template})


def plan(
    statistics: Statistics | PathLike | None = None,
    *,
    model: PathLike | None = None,
    output: PathLike | None = None,
    budget: float | Mapping[str, Any] | None = None,
    questions: PathLike | None = None,
    images: PathLike | None = None,
    format: str | None = None,
    samples: int | None = None,
    seed: int = 0,
    device: str = "auto",
    dtype: str = "auto",
    chat_template: str | None = None,
    threads: int | None = None,
    memory: Size = None,
    settings: Mapping[str, Any] | None = None,
    progress: Progress = True,
    **keep: Any,
) -> ChosenPlan:
    """Chooses what visual tokens compute.

    statistics  what `calibrate` returned, a stats.h5, or a recipe (.yaml); None where nothing is chosen by statistics
    model       checkpoint folder or its config.json; what `calibrate` returned knows it, a recipe names it
    output      plan.json to write; None: see ChosenPlan.save
    keep        the options of `yopo plan` as `ffn_keep=0.25, ffn_scope="model", window=5, window_causal=True, visual_layers=10`, or as a
                recipe has them: `ffn={"keep": 0.25, "scope": "model"}`. An int is a count, a float a fraction. docs/formats.md lists them
    budget      instead of `keep`: the share of the visual FLOPs to spend (0.25, {"paper": 0.25}, {"kv": "8MB"}). A search runs the model
                on `samples` of `questions` and `images` (those of the calibration by default; None: 200), and leaves search.jsonl and
                headmask.npy beside `output`
    settings    of a budget or a recipe: keys of a recipe with their values, {"search.evaluations": 100}
    seed, device, dtype, chat_template, threads, memory, progress: of a search; see `calibrate`

    A plan of `keep` replaces an `output` that is there; a budget's or a recipe's is refused where another plan is.
    """
    given = _assignments(settings or {})
    recipe = statistics if isinstance(statistics, (str, os.PathLike)) and os.fspath(statistics).endswith((".yaml", ".yml")) else None
    known = statistics if isinstance(statistics, Statistics) else None
    if recipe is not None:
        if budget is not None:
            given.append(_assignment("plan.budget", budget))
        given += ["plan." + one for one in _kept(keep)]
        path = _read_recipe(recipe, given, output, threads, memory, progress)
        return ChosenPlan(*path)
    model = model if model is not None else known.model if known is not None else None
    if model is None:
        raise Error("yopo.plan: give model=, the folder of the checkpoint, or what yopo.calibrate returned")
    if budget is None:
        if given:
            raise Error("yopo.plan: settings are of a budget or a recipe; options are given by their names")
        with _file_for(output) as (file, folder), _work(progress, threads) as hear:
            native().plan(model, "" if statistics is None else statistics, file, _kept(keep), hear)
        return ChosenPlan(file, model, folder)
    if keep:
        raise Error(f"yopo.plan: {next(iter(keep))}: a budget leaves everything else to the search")
    if statistics is None:
        raise Error("yopo.plan: a budget needs statistics, from yopo.calibrate")
    where = dict(known.samples_from) if known is not None else {}
    where.update({name: value for name, value in {"questions": questions, "images": images, "format": format, "chat_template": chat_template}.items() if value is not None})
    if "questions" not in where or "images" not in where:
        raise Error("yopo.plan: a budget's search runs the model: give questions= and images=")
    if samples is not None:
        given.append(f"search.samples={samples}")
    with _file_for(output) as (file, folder), _work(progress, threads) as hear:
        native().search_plan(
            model, statistics, where["questions"], where["images"], file, where.get("format") or "llava", seed, device, dtype,
            where.get("chat_template") or "", threads or 0, _bytes(memory), [_assignment("plan.budget", budget), *given], hear,
        )  # fmt: skip
    return ChosenPlan(file, model, folder)


@dataclass(frozen=True)
class ExportReport:
    """What `export` wrote. A path for whoever takes one. `left_out`: files of the source that are not in it, and why."""

    output: pathlib.Path
    copied: list[str] = field(default_factory=list)
    derived: list[str] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)

    def __fspath__(self) -> str:
        return str(self.output)

    def __repr__(self) -> str:
        lines = [f"ExportReport({str(self.output)!r}): {len(self.copied)} files copied" + (f", {len(self.derived)} derived" if self.derived else "")]
        return "\n".join(lines + [f"left out: {path} ({why})" for path, why in self.left_out])


def export(
    model: PathLike, plan: ChosenPlan | PathLike, output: PathLike, *, shard_size: Size = "5GB", transformers_code: bool = False, progress: Progress = True
) -> ExportReport:
    """Writes the pruned checkpoint to `output`, a new folder: the same weights in another order, and what running it pruned needs in
    config.json. `plan`: what `plan` returned, or a plan.json. `shard_size`: bytes of tensors in one file, or "512MiB".
    `transformers_code` puts code beside the weights that runs them pruned in transformers with trust_remote_code=True.
    An export of the same inputs that is there already is left alone, and nothing is reported."""
    with _work(progress) as hear:
        copied, derived, left_out = native().export_pruned(model, plan, output, _bytes(shard_size), transformers_code, hear)
    return ExportReport(pathlib.Path(output), copied, derived, left_out)


@contextlib.contextmanager
def _file_for(output: PathLike | None) -> Iterator[tuple[pathlib.Path, str | None]]:
    """A plan's file, and the folder that was made for it where none was named. That goes if the plan does not come."""
    if output is not None:
        yield pathlib.Path(output), None
        return
    folder = tempfile.mkdtemp(prefix="yopo-plan-")
    try:
        yield pathlib.Path(folder) / "plan.json", folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


@contextlib.contextmanager
def _work(progress: Progress, threads: int | None = None) -> Iterator[Any]:
    """Torch's number of threads is the whole process's: what a call sets is put back after it."""
    import torch

    native()
    before = torch.get_num_threads()
    try:
        with listener(progress) as hear:
            yield hear
    finally:
        if threads:
            torch.set_num_threads(before)


def _samples(samples: int | None) -> int:
    if samples is None:
        return 0
    if samples < 1:
        raise Error(f"samples: expected at least 1, or None for all, found {samples}")
    return samples


def _bytes(size: Size) -> int:
    return 0 if size is None else native().parse_bytes(size) if isinstance(size, str) else size


def _text(value: Any) -> str:
    """As a recipe would write it."""
    if hasattr(value, "item"):  # of numpy
        value = value.item()
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_./-]+", value):
        return value
    return json.dumps(value)


def _assignment(key: str, value: Any) -> str:
    return f"{key}={_text(value)}"


def _assignments(settings: Mapping[str, Any]) -> list[str]:
    return [_assignment(key, value) for key, value in settings.items()]


def _kept(keep: Mapping[str, Any]) -> list[str]:
    """Options under the names of flags or, as maps, under those of a recipe, as assignments to a recipe's section `plan`."""
    keys = {flag.lstrip("-").replace("-", "_"): key for key, flag, _, _ in native().plan_options()}
    made: list[str] = []
    for name, value in keep.items():
        if value is None:
            continue
        if isinstance(value, Mapping):
            made += [_assignment(f"{name}.{inner}", one) for inner, one in value.items()]
        elif value == "none":
            made.append(f"{name}=none")
        else:
            made.append(_assignment(keys.get(name, name), value))
    return made


def _read_recipe(
    recipe: PathLike, overrides: Sequence[str], output: PathLike | None, threads: int | None, memory: Size, progress: Progress
) -> tuple[pathlib.Path, pathlib.Path]:
    with _work(progress, threads) as hear:
        file, model = native().plan_of_recipe(recipe, list(overrides), "", output or "", threads or 0, _bytes(memory), hear)
    return file, model
