"""yopo: pruned visual computation of multimodal checkpoints, in Python.

`yopo.transformers` runs what the command `yopo export` writes in transformers, pruned.
"""

from .plan import LayerPlan, Plan, PlanError, Window, budgets_of, plan_of_checkpoint, read_plan

__version__ = "0.1.0"
__all__ = ["LayerPlan", "Plan", "PlanError", "Window", "budgets_of", "plan_of_checkpoint", "read_plan"]
