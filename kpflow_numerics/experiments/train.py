"""Training into memory or into a run file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .._errors import InputError
from .._typing import DTypeLike, ParamsLike, RNGLike
from .._validation import check_dtype, check_rng
from ..cells import Cell
from ..results import Checkpoint
from ..store import RunFile
from ..tasks import Task
from ..training import Adam, Optimizer, TrainingRun, fit, init_readout
from ..training.loop import check_sizes
from .build import build_cell, build_optimizer, build_task, check_training, seeds, settings_of
from .config import RunSettings, settings_from_dict
from .progress import Progress, Silent


def train(
    cell: Cell,
    task: Task,
    *,
    params: ParamsLike | None = None,
    readout: ParamsLike | None = None,
    n_iterations: int = 1000,
    batch_size: int = 64,
    optimizer: Optimizer | None = None,
    clip_norm: float | None = 1.0,
    tolerance: float = 0.0,
    checkpoint_every: int = 100,
    evaluation_trials: int = 20,
    rng: RNGLike = 0,
    dtype: DTypeLike | None = None,
    store: str | Path | None = None,
    progress: Progress | None = None,
) -> TrainingRun:
    """Train a network on a task by gradient descent on the loss that the task names.

    Parameters
    ----------
    cell : Cell
        The cell.
    task : Task
        The task; its inputs must be the cell's.
    params, readout : mapping of str to array_like, optional
        Initial parameters; drawn from `rng` by default.
    n_iterations : int
        Iterations, each on `batch_size` fresh trials.
    batch_size : int
        Trials in each iteration.
    optimizer : Optimizer, optional
        ``SGD``, ``Momentum`` or ``Adam``; by default ``Adam(1e-3)``.
    clip_norm : float or None
        Largest norm of the gradient; None for no clipping.
    tolerance : float
        Training stops when the loss of an iteration's own batch is at most this.
    checkpoint_every : int
        Iterations between checkpoints. The first and the last are always kept.
    evaluation_trials : int
        Trials of the evaluation batch.
    rng : int, SeedSequence or Generator
        Source of the initial parameters and of the trials.
    dtype : dtype_like, optional
        Precision of drawn parameters; given ones keep theirs.
    store : str or Path, optional
        A run file to make. Nothing is written by default.
    progress : Progress, optional
        Shows how far the training is; silent by default.

    Returns
    -------
    TrainingRun

    Raises
    ------
    InputError
        If task and cell do not fit, a value is out of range, or the file exists.
    InputTypeError
        If an argument is of the wrong type.
    TrainingDiverged
        If the loss is no longer finite; the checkpoints before it are kept.

    Notes
    -----
    Same seed and thread count, same bits. About ``6 B T p`` flops an iteration for ``p`` weights
    and a batch of ``B`` trials.

    Examples
    --------
    >>> import kpflow_numerics as kpf
    >>> task = kpf.MemoryPro(n_stimulus=3, n_memory=2, n_response=3)
    >>> run = kpf.train(kpf.VanillaRNN(3, 8), task, n_iterations=20, batch_size=5, rng=7)
    >>> run.losses.shape
    (20,)
    """
    check_sizes(cell, task)
    cell_rng, readout_rng, training_rng = _streams(rng)
    if params is None:
        params = cell.init_params(rng=cell_rng, dtype=np.float64 if dtype is None else dtype)
    elif dtype is not None:
        raise InputError("dtype is that of params where they are given; leave dtype out.")
    checked = cell.check_params(params)
    if readout is None:
        precision = next(iter(checked.values())).dtype
        readout = init_readout(cell.n_units, task.n_outputs, rng=readout_rng, dtype=precision)
    training = {
        "n_iterations": n_iterations,
        "batch_size": batch_size,
        "clip_norm": clip_norm,
        "tolerance": tolerance,
        "checkpoint_every": checkpoint_every,
        "evaluation_trials": evaluation_trials,
    }
    optimizer = Adam() if optimizer is None else optimizer
    arguments = {
        **training,
        "params": checked,
        "readout": readout,
        "optimizer": optimizer,
        "rng": training_rng,
    }
    shown = Silent() if progress is None else progress
    if store is None:
        return _fit(cell, task, arguments, shown)
    tables = {
        **settings_of(cell, task),
        "training": {
            **{key: value for key, value in training.items() if value is not None},
            "optimizer": optimizer.name,
            **optimizer.to_dict(),
        },
    }
    seed = int(rng) if isinstance(rng, (int, np.integer)) else None
    with RunFile.create(store, cell=cell, task=task, config=tables, seed=seed) as file:
        file.write_evaluation_batch(task.evaluation_batch(evaluation_trials))
        return _fit(cell, task, arguments | {"recorder": file}, shown)


def train_to_file(
    settings: RunSettings,
    path: str | Path,
    *,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
) -> None:
    """Train a network into a run file, or go on with one that is there.

    A file with the same settings is continued where it stopped. One with other settings is left
    as it is, and refused, unless told otherwise.

    Parameters
    ----------
    settings : RunSettings
        What to train and how.
    path : str or Path
        The run file.
    overwrite : bool
        Replace an existing file.
    resume : bool
        Continue an existing file although the number of iterations or the analysis differ.
    progress : Progress, optional
        Shows how far the training is.

    Raises
    ------
    InputError
        If the file exists with other settings, or a setting cannot be used.
    """
    path = Path(path)
    shown = Silent() if progress is None else progress
    task = build_task(settings)
    cell = build_cell(settings.cell, task.n_inputs)
    check_training(settings)
    arguments = {
        "optimizer": build_optimizer(settings.training),
        "n_iterations": settings.training.n_iterations,
        "batch_size": settings.training.batch_size,
        "clip_norm": settings.training.clip_norm,
        "tolerance": settings.training.tolerance,
        "checkpoint_every": settings.training.checkpoint_every,
        "evaluation_trials": settings.analysis.n_trials,
    }
    if path.exists() and not overwrite:
        with RunFile.open(path, "r+") as file:
            _check_continuable(file, settings, path, resume=resume)
            _check_same_task(file, task, path)
            if file.n_checkpoints:
                last = file.checkpoint(-1)
                if last.iteration < settings.training.n_iterations and not _finished(file, last):
                    file.write_config(settings.to_dict())
                    continued = arguments | {"resume_from": last, "recorder": file}
                    shown.say(
                        f"{_what_is_trained(cell, settings, path)}, from {last.iteration:,} on"
                    )
                    _fit(cell, task, continued, shown)
                return
        path.unlink()
    cell_rng, readout_rng, training_rng, _ = seeds(settings.training.seed)
    dtype = check_dtype(settings.training.dtype, "training.dtype")
    arguments |= {
        "params": cell.init_params(settings.cell.gain, rng=cell_rng, dtype=dtype),
        "readout": init_readout(cell.n_units, task.n_outputs, rng=readout_rng, dtype=dtype),
        "rng": np.random.default_rng(training_rng),
    }
    with RunFile.create(
        path,
        cell=cell,
        task=task,
        config=settings.to_dict(),
        seed=settings.training.seed,
        overwrite=overwrite,
    ) as file:
        file.write_evaluation_batch(task.evaluation_batch(settings.analysis.n_trials))
        shown.say(_what_is_trained(cell, settings, path))
        _fit(cell, task, arguments | {"recorder": file}, shown)


def _what_is_trained(cell: Cell, settings: RunSettings, path: Path) -> str:
    """Return the line that a training begins with."""
    training = settings.training
    return (
        f"{path}: {cell!r} on {settings.task.name}, {training.n_iterations:,} iterations of "
        f"{training.batch_size} trials by {training.optimizer}"
    )


def _fit(cell: Cell, task: Task, arguments: dict[str, Any], progress: Progress) -> TrainingRun:
    resumed = arguments.get("resume_from")
    done = 0 if resumed is None else resumed.iteration
    with progress.stage("training", arguments["n_iterations"], done) as stage:
        return fit(
            cell,
            task,
            progress=lambda _, loss: stage.advance(note=f"loss {loss:.2e}"),
            **arguments,
        )


def _streams(rng: RNGLike) -> tuple[RNGLike, RNGLike, RNGLike]:
    if isinstance(rng, np.random.Generator):
        return rng, rng, rng
    generator = check_rng(rng)
    cell_rng, readout_rng, training_rng = generator.spawn(3)
    return cell_rng, readout_rng, training_rng


def _finished(file: RunFile, last: Checkpoint) -> bool:
    """Whether training ended by its tolerance."""
    return last.loss <= file.config["training"]["tolerance"]


def _check_continuable(file: RunFile, settings: RunSettings, path: Path, *, resume: bool) -> None:
    stored = settings_from_dict(file.config, str(path))
    if stored == settings:
        return
    # Where a sign begins changes nothing of what was computed.
    differing = {
        key: values
        for key, values in _differences(stored, settings).items()
        if not key.startswith("signs.")
    }
    if not differing:
        return
    free = {"training.n_iterations"} | {key for key in differing if key.startswith("analysis.")}
    remedy = "Choose another --output, or replace it with --overwrite."
    if resume and set(differing) <= free:
        return
    if set(differing) <= free:
        remedy = "Continue it with --resume, choose another --output, or replace it (--overwrite)."
    listed = "; ".join(
        f"{key} is {old!r} there, {new!r} here" for key, (old, new) in differing.items()
    )
    raise InputError(f"{path} exists and was made with other settings: {listed}. {remedy}")


def _check_same_task(file: RunFile, task: Task, path: Path) -> None:
    """Refuse a task whose options are the same words, but not the text of the file they name."""
    if file.task != task:
        raise InputError(
            f"{path} exists and was trained on another text than task.text_file has now. Choose "
            "another --output, or replace it with --overwrite."
        )


def _differences(stored: RunSettings, wanted: RunSettings) -> dict[str, tuple[Any, Any]]:
    old, new = (_flattened(settings) for settings in (stored, wanted))
    return {
        key: (old.get(key), new.get(key))
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key)
    }


def _flattened(settings: RunSettings) -> dict[str, Any]:
    return {
        f"{table}.{key}": value
        for table, values in settings.to_dict().items()
        for key, value in values.items()
    }
