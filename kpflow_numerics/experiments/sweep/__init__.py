"""Grids of runs: planned, run in parallel, merged and reported."""

from .axes import SweepAxis
from .create import plan_sweep
from .merge import merge_sweep
from .plan import SweepPlan
from .report import report_sweep
from .run import run_sweep
from .status import SweepFailure, SweepStatus, sweep_status

__all__ = [
    "SweepAxis",
    "SweepFailure",
    "SweepPlan",
    "SweepStatus",
    "merge_sweep",
    "plan_sweep",
    "report_sweep",
    "run_sweep",
    "sweep_status",
]
