"""The compiled module, loaded when the first function needs it.

It runs on the LibTorch that `import torch` has loaded: the dynamic loader finds libtorch_cpu.so by its name among what is there.
So torch comes first, and nothing is loaded that was compiled for another release.
"""

from __future__ import annotations

import importlib.util
import json
import pathlib
import re
import sys
from typing import Any

_loaded: Any = None


def native() -> Any:
    """`yopo._native`. ImportError with what to do where it cannot be had."""
    global _loaded
    if _loaded is None:
        _loaded = _load()
    return _loaded


def _load() -> Any:
    module = importlib.util.find_spec("yopo._native")  # None also where it is another Python's
    folder = pathlib.Path(__file__ if module is None or module.origin is None else module.origin).parent
    try:
        made_for = json.loads((folder / "_native.json").read_text())
    except OSError:
        raise ImportError(
            "yopo is installed without its compiled module, which calibrate, plan and export need. `pip install ./python` in a checkout, "
            "without YOPO_PURE, compiles it; the command `yopo` does the same work"
        ) from None
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if made_for["python"] != here:
        raise ImportError(f"yopo's compiled module is for Python {made_for['python']}, and this is Python {here}; `pip install ./python` with this Python compiles it")
    try:
        import torch
    except ImportError as error:
        raise ImportError(f"yopo's compiled module needs torch {made_for['torch']}, which cannot be imported: {error}") from error
    found = re.match(r"\d+\.\d+\.\d+", torch.__version__)
    if found is None or found[0] != made_for["torch"]:
        raise ImportError(
            f"yopo's compiled module was compiled with LibTorch {made_for['torch']}, and torch here is {torch.__version__}. "
            f"`pip install torch=={made_for['torch']}`, or compile it with this torch: `pip install --force-reinstall --no-deps ./python`"
        )
    try:
        from . import _native
    except ImportError as error:
        raise ImportError(f"yopo's compiled module cannot be loaded: {error}. `pip install --force-reinstall --no-deps ./python` compiles it anew") from error
    return _native
