"""Objects from settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from .._errors import InputError, suggest
from .._validation import check_choice, check_dtype, check_integer, check_real
from ..cells import CELLS, Cell, cell_from_config
from ..tasks import Task, task_from_config
from ..training import Optimizer, optimizer_from_config
from .config import AnalysisSettings, CellSettings, RunSettings, TrainingSettings


def build_task(settings: RunSettings) -> Task:
    """Return the task that the settings name."""
    return task_from_config(settings.task.name, settings.task.options)


def build_cell(settings: CellSettings, n_inputs: int) -> Cell:
    """Return the cell that the settings name, for a number of inputs.

    Raises
    ------
    InputError
        If its class has no such option; settings of every cell, such as ``gain``, are suggested.
    """
    kind = CELLS[check_choice(settings.kind, "cell.kind", CELLS)]
    own = [entry.name for entry in fields(CellSettings) if entry.name != "options"]
    accepted = dict.fromkeys([*own, *(entry.name for entry in fields(kind))])
    # The task says how many inputs there are.
    accepted.pop("n_inputs")
    for name in settings.options:
        if name not in accepted:
            raise InputError(
                f"the cell {settings.kind!r} has no setting cell.{name}; it takes "
                f"{', '.join(accepted)}.{suggest(name, accepted)}"
            )
    options = {"n_inputs": n_inputs, "n_units": settings.n_units, **settings.options}
    return cell_from_config(settings.kind, options)


def build_optimizer(settings: TrainingSettings) -> Optimizer:
    """Return the optimiser that the settings name."""
    return optimizer_from_config(settings.optimizer, {"learning_rate": settings.learning_rate})


def check_training(settings: RunSettings) -> None:
    """Refuse numbers that training would refuse, before any file is looked at.

    Raises
    ------
    InputError, InputTypeError
        If a number is out of its range; the message names the setting.
    """
    trained = settings.training
    check_integer(trained.n_iterations, "training.n_iterations", minimum=0)
    check_integer(trained.batch_size, "training.batch_size")
    check_integer(trained.checkpoint_every, "training.checkpoint_every")
    check_integer(trained.seed, "training.seed", minimum=0)
    check_real(trained.tolerance, "training.tolerance", minimum=0.0)
    check_real(trained.clip_norm, "training.clip_norm", minimum=0.0, open_minimum=True)
    check_real(settings.cell.gain, "cell.gain", minimum=0.0)
    check_dtype(trained.dtype, "training.dtype")
    check_integer(settings.analysis.n_trials, "analysis.n_trials")


def check_analysis_numbers(settings: AnalysisSettings) -> None:
    """Refuse numbers that an analysis would refuse after training.

    Raises
    ------
    InputError, InputTypeError
        If a number is out of its range; the message names the setting.
    """
    check_integer(settings.n_trials, "analysis.n_trials")
    check_integer(settings.n_checkpoints, "analysis.n_checkpoints")
    check_integer(settings.n_eigenpairs, "analysis.n_eigenpairs")
    check_real(settings.max_memory_gib, "analysis.max_memory_gib", minimum=0.0, open_minimum=True)


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
