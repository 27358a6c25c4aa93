"""One cell of a sweep: its run, and what the sweep keeps of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..._errors import InputError
from ..._typing import FloatArray
from ...analysis import NetworkAnalysis
from ...results import Estimate
from ...store import RunFile
from ..run import analyze_as, has_whole_analysis
from ..train import train_to_file
from .directory import SweepDirectory
from .plan import SweepPlan

ESTIMATE_FIELDS = ("value", "lower", "upper", "standard_error", "confidence", "method")
INTERFERENCE_FIELDS = (
    "matrix",
    "cosines",
    "full_matrix",
    "full_cosines",
    "contribution_cosines",
    "accumulated_contribution_cosines",
    "output_contribution_cosines",
    "state_similarity",
)


def run_cell(directory: SweepDirectory, index: int) -> dict[str, Any]:
    """Train and analyse a cell from wherever it was left, and return what the sweep keeps of it.

    The caller holds the claim on the cell.

    Raises
    ------
    Exception
        Whatever training or analysis raises.
    """
    plan = directory.plan
    settings = plan.settings(index)
    path = directory.run_file(index)
    _drop_stillborn(directory, index)
    train_to_file(settings, path)
    if plan.is_analysed:
        with RunFile.open(path) as file:
            is_due = not has_whole_analysis(file)
        if is_due:
            analyze_as(path, settings.analysis)
    with RunFile.open(path) as file:
        return summarize(file, plan)


def _drop_stillborn(directory: SweepDirectory, index: int) -> None:
    """Remove a run file whose writer was killed before it had written anything."""
    path = directory.run_file(index)
    if not path.exists():
        # Its journal alone can be left of a run file that was being removed.
        directory.remove_run(index)
        return
    try:
        RunFile.open(path, "r+").close()
    except InputError:
        if path.stat().st_size:
            raise
        directory.remove_run(index)


def summarize(file: RunFile, plan: SweepPlan) -> dict[str, Any]:
    """Return what a plan keeps of a run, as JSON can hold it."""
    last = file.checkpoint(-1)
    losses = np.append(file.losses, last.loss)
    result: dict[str, Any] = {
        "n_iterations": last.iteration,
        "stopped_by": "tolerance" if last.loss <= file.config["training"]["tolerance"]
        else "iterations",
        "final_loss": last.loss,
        "final_evaluation_loss": last.evaluation_loss,
        "final_accuracy": last.accuracy,
        "iterations_to_tolerance": [first_below(losses, each) for each in plan.tolerances],
    }  # fmt: skip
    if "loss-curve" in plan.keep:
        result["losses"] = losses.tolist()
    if plan.is_analysed:
        result["checkpoints"] = [_checkpoint(each, plan.keep) for each in file.analyses]
    return result


def first_below(losses: FloatArray, tolerance: float) -> int | None:
    """Return the first iteration whose loss is at most the tolerance; None where there is none."""
    reached = np.flatnonzero(losses <= tolerance)
    return int(reached[0]) if len(reached) else None


def _checkpoint(analysis: NetworkAnalysis, keep: Sequence[str]) -> dict[str, Any]:
    kept: dict[str, Any] = {
        "iteration": analysis.iteration,
        "evaluation_loss": analysis.evaluation_loss,
        "accuracy": analysis.accuracy,
    }
    if "ranks" in keep:
        kept["ranks"] = [
            [entry.operator, entry.recipe, _estimate(entry.estimate)] for entry in analysis.ranks
        ]
    if "quantities" in keep:
        kept["quantities"] = [
            [_quantity_label(entry.name, entry.operators), _estimate(entry.estimate)]
            for entry in analysis.quantities
        ]
    if "lyapunov" in keep:
        kept["lyapunov"] = {name: array.tolist() for name, array in analysis.lyapunov.items()}
    if "interference" in keep and analysis.interference is not None:
        held = analysis.interference
        kept["interference"] = {"names": list(held.names)} | {
            name: getattr(held, name).tolist() for name in INTERFERENCE_FIELDS
        }
    if "spectra" in keep:
        kept["spectra"] = {name: values.tolist() for name, values in analysis.spectra.items()}
    return kept


def _quantity_label(name: str, operators: Sequence[str]) -> str:
    return f"{name} of {', '.join(operators)}" if operators else name


def _estimate(estimate: Estimate) -> list[Any]:
    return [getattr(estimate, name) for name in ESTIMATE_FIELDS]
