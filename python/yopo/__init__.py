"""yopo: pruned visual computation of multimodal checkpoints, in Python.

`calibrate`, `plan` and `export` make a pruned checkpoint, as the command does. `yopo.transformers` runs it in transformers, pruned.
"""

from .chosen_plan import ChosenPlan
from .errors import Error
from .plan_files import LayerPlan, Plan, PlanError, Window, budgets_of, plan_of_checkpoint, read_plan
from .progress import WorkReport
from .statistics import Statistics
from .toolkit import ExportReport, calibrate, export, plan

__version__ = "0.1.0"
__all__ = [
    "ChosenPlan", "Error", "ExportReport", "LayerPlan", "Plan", "PlanError", "Statistics", "Window", "WorkReport",
    "budgets_of", "calibrate", "export", "plan", "plan_of_checkpoint", "read_plan",
]  # fmt: skip
