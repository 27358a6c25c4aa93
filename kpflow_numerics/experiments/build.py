"""Objects from settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .._errors import InputError
from ..cells import CELLS, Cell, cell_from_config
from ..tasks import Task, task_from_config
from ..training import Optimizer, optimizer_from_config
from .config import CellSettings, RunSettings, TrainingSettings


def build_task(settings: RunSettings) -> Task:
    """Return the task that the settings name."""
    return task_from_config(settings.task.name, settings.task.options)


def build_cell(settings: CellSettings, n_inputs: int) -> Cell:
    """Return the cell that the settings name, for a number of inputs."""
    options = {"n_inputs": n_inputs, "n_units": settings.n_units, **settings.options}
    return cell_from_config(settings.kind, options)


def build_optimizer(settings: TrainingSettings) -> Optimizer:
    """Return the optimiser that the settings name."""
    return optimizer_from_config(settings.optimizer, {"learning_rate": settings.learning_rate})


def settings_of(cell: Cell, task: Task) -> Mapping[str, Mapping[str, Any]]:
    """Return the tables ``task`` and ``cell`` that describe objects made in a script."""
    if cell.kind not in CELLS:
        raise InputError(
            f"{cell!r} cannot be kept in a run file: a file cannot hold its code. Train it with "
            "store=None and keep the parameters of the result."
        )
    options = {key: value for key, value in cell.settings().items() if key != "n_inputs"}
    return {
        "task": {"name": task.name, **task.to_dict()},
        "cell": {"kind": cell.kind, **options},
    }


def seeds(seed: int) -> tuple[np.random.SeedSequence, ...]:
    """Return independent seeds for the cell's parameters, the readout's, training and analysis."""
    return tuple(np.random.SeedSequence(seed).spawn(4))
