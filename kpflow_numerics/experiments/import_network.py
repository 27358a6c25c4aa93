"""A network trained elsewhere, made into a run file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .._errors import InputError
from ..interop import load_network
from ..results import Checkpoint
from ..store import RunFile
from ..tasks import Task
from ..training import evaluate
from .build import build_task
from .config import CellSettings, RunSettings
from .progress import Progress, Silent


def import_network(
    source: str | Path,
    settings: RunSettings,
    path: str | Path,
    *,
    task_given: bool = True,
    overwrite: bool = False,
    progress: Progress | None = None,
    **what_the_file_cannot_tell: Any,
) -> None:
    """Make a run file with one checkpoint from a network trained elsewhere.

    Parameters
    ----------
    source : str or Path
        A PyTorch state_dict in ``.safetensors`` or ``.npz``.
    settings : RunSettings
        The task, and the analysis to make.
    path : str or Path
        The run file to make.
    task_given : bool
        Whether the user named the task: there is no default for a network of their own.
    overwrite : bool
        Replace an existing run file.
    progress : Progress, optional
        Told what was inferred from the file.
    **what_the_file_cannot_tell
        Passed to :func:`kpflow_numerics.load_network`: ``cell``, ``activation``, ``form``,
        ``leak``, ``prefix``.

    Raises
    ------
    InputError
        If the network does not fit the task, has no readout, or `path` exists.
    """
    if not task_given:
        raise InputError(
            f"{source} is a network, not a run file: name the task it was trained on, such as "
            "--task memory-pro."
        )
    shown = Silent() if progress is None else progress
    task = build_task(settings)
    network = load_network(source, **what_the_file_cannot_tell)
    for note in network.notes:
        shown.say(note)
    cell, readout = network.cell, network.readout
    _check_fits(task, cell.n_inputs, None if readout is None else len(readout["weight"]), source)
    batch = task.evaluation_batch(settings.analysis.n_trials)
    loss, accuracy = np.nan, np.nan
    if readout is not None:
        evaluation = evaluate(cell, network.params, readout, task, batch)
        loss, accuracy = evaluation.loss, evaluation.accuracy
    options = {key: value for key, value in cell.settings().items()
               if key not in ("n_inputs", "n_units")}  # fmt: skip
    described = replace(
        settings, cell=CellSettings(kind=cell.kind, n_units=cell.n_units, options=options)
    )
    config = described.to_dict() | {"source": {"file": str(source)}}
    with RunFile.create(
        path, cell=cell, task=task, config=config, seed=None, overwrite=overwrite
    ) as file:
        file.write_evaluation_batch(batch)
        file.commit(
            Checkpoint(
                iteration=0,
                params=network.params,
                readout=readout or {},
                loss=np.nan,
                evaluation_loss=loss,
                accuracy=accuracy,
                gradient_norm=np.nan,
                optimizer_state={},
                rng_state="",
            )
        )


def _check_fits(task: Task, n_inputs: int, n_outputs: int | None, source: str | Path) -> None:
    if n_inputs != task.n_inputs:
        raise InputError(
            f"{source} takes {n_inputs} inputs, but task {task.name} gives {task.n_inputs} "
            f"({', '.join(task.input_names[:8])}). Name the task it was trained on with --task, "
            "and its options with --set, such as --set task.n_bits=2."
        )
    if n_outputs is not None and n_outputs != task.n_outputs:
        raise InputError(
            f"{source} gives {n_outputs} outputs, but task {task.name} wants {task.n_outputs} "
            f"({', '.join(task.output_names[:8])}). Name the task it was trained on with --task."
        )
