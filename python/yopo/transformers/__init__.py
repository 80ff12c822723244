"""Pruned checkpoints in transformers.

    import yopo.transformers
    model = yopo.transformers.load("out/demo/pruned")        # as from_pretrained, but it runs pruned
    answer = model.generate(**inputs, max_new_tokens=20)

`apply` does the same to a model that is there, `remove` gives the dense model back. Visual rows then use prefixes of the
same weights (views, no copies): only the heads and neurons that the plan keeps, in the layers that it keeps.
"""

from ..plan_files import PlanError
from .model import apply, cache_bytes, dense, is_applied, load, plan_in_use, remove, save, write_plan

__all__ = ["PlanError", "apply", "cache_bytes", "dense", "is_applied", "load", "plan_in_use", "remove", "save", "write_plan"]
