"""What an export with `transformers_code` has beside its weights as modeling_yopo.py, with this package's files: the class that
config.json's `auto_map` names, so that `from_pretrained(..., trust_remote_code=True)` gives the pruned model."""

from __future__ import annotations

import os
import pathlib
from typing import Any

# Of a local folder transformers copies this file and those that it names itself, so all are named.
from .attention import attend  # noqa: F401
from .cache import PrunedCacheLayer  # noqa: F401
from .classes import change_class  # noqa: F401
from .compensation import read_compensation  # noqa: F401
from ..errors import Error  # noqa: F401
from .families import find_model  # noqa: F401
from .hooks import Watcher  # noqa: F401
from .layer import PrunedLayer  # noqa: F401
from .linear import project  # noqa: F401
from .model import apply
from ..plan_files import PlanError, plan_of_checkpoint
from .reorder import reordered  # noqa: F401
from .rows import Rows  # noqa: F401
from .split import SplitRows  # noqa: F401

_WHERE = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "subfolder", "token")


class PrunedModel:
    """Gives models of the checkpoint's own class, pruned."""

    @classmethod
    def register_for_auto_class(cls, auto_class: Any = None) -> None:
        """transformers 5 tells a class which auto class loaded it, for its own `save_pretrained`: not this one's to know."""

    @classmethod
    def from_pretrained(cls, path: str | os.PathLike[str], *unused: Any, budget: float | str | None = None, **arguments: Any) -> Any:
        """What `from_pretrained` of the auto class was given; `budget` picks one of an elastic checkpoint's plans. PlanError
        where plan and model do not fit."""
        from transformers import AutoConfig, AutoModelForImageTextToText
        from transformers.utils import cached_file

        arguments.pop("trust_remote_code", None)
        where = {name: arguments[name] for name in _WHERE if arguments.get(name)}
        found = cached_file(path, "config.json", **where)
        if found is None:
            raise PlanError(f"{path}: no config.json there")
        cached_file(path, "yopo.safetensors", _raise_exceptions_for_missing_entries=False, **where)  # where there is one
        if arguments.get("config") is None:
            arguments["config"] = AutoConfig.from_pretrained(path, trust_remote_code=False, **where)
        decoder = arguments["config"].get_text_config().to_dict()
        plan = plan_of_checkpoint(pathlib.Path(found).parent, budget, decoder)
        return apply(AutoModelForImageTextToText.from_pretrained(path, trust_remote_code=False, **arguments), plan)
