"""What long work says while it goes on."""

from __future__ import annotations

import contextlib
import sys
import time
import warnings
from dataclasses import dataclass
from typing import Any, Callable, Iterator, Union


@dataclass(frozen=True)
class WorkReport:
    """How far a piece of work has come. `done` of `total` `unit`s (0: unknown), after `seconds`."""

    what: str
    unit: str
    done: float
    total: int
    seconds: float
    finished: bool


Progress = Union[bool, Callable[[WorkReport], Any]]


class _Quiet:
    """Warnings alone. An exception of a method ends the work."""

    def note(self, line: str) -> None:
        pass

    def warning(self, line: str) -> None:
        warnings.warn(line, RuntimeWarning, stacklevel=1)

    def progress(self, what: str, unit: str, done: float, total: int, seconds: float, finished: bool) -> None:
        pass


class _Told(_Quiet):
    def __init__(self, hear: Callable[[WorkReport], Any]) -> None:
        self._hear = hear

    def progress(self, what: str, unit: str, done: float, total: int, seconds: float, finished: bool) -> None:
        self._hear(WorkReport(what, unit, done, total, seconds, finished))


class _Printed(_Quiet):
    """On sys.stderr: a live line on a terminal, elsewhere a line every few seconds."""

    def __init__(self) -> None:
        self._shown = time.monotonic()
        self._live = False

    def note(self, line: str) -> None:
        self._write(f"yopo: {line}", last=True)

    def progress(self, what: str, unit: str, done: float, total: int, seconds: float, finished: bool) -> None:
        now, live = time.monotonic(), sys.stderr.isatty()
        if now - self._shown < (0.2 if live else 5.0) and not (finished and self._live):
            return
        self._shown = now
        of = f" of {total}" if total else ""
        self._write(f"{what}: {done:.0f}{of} {unit}, {seconds:.0f} s", last=finished or not live)

    def close(self) -> None:
        if self._live:
            self._write("", last=True)

    def _write(self, line: str, last: bool) -> None:
        sys.stderr.write(("\r\x1b[K" if self._live else "") + line + ("\n" if last and line else ""))
        sys.stderr.flush()
        self._live = not last


@contextlib.contextmanager
def listener(progress: Progress) -> Iterator[Any]:
    """What the compiled module tells: True prints, False is silent but for warnings, a function gets a WorkReport at most
    every tenth of a second."""
    if callable(progress):
        yield _Told(progress)
    elif not progress:
        yield _Quiet()
    else:
        printed = _Printed()
        try:
            yield printed
        finally:
            printed.close()
