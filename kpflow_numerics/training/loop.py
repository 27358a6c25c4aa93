"""The training loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .._recorder import Recorder
from .._threads import single_threaded_blas
from .._typing import ArrayLike, FloatArray, Params, ParamsLike, RNGLike
from .._validation import (
    InputError,
    InputTypeError,
    check_array,
    check_integer,
    check_real,
    check_rng,
)
from ..cells.base import Cell
from ..results import Checkpoint
from ..tasks import Task, TrialBatch
from ..trajectory import Trajectory
from .bptt import LossGradient, backpropagate, judge
from .losses import Loss, check_loss
from .network import Network, initial_network, stored_network
from .optimizers import Adam, Optimizer
from .run import TrainingDiverged, TrainingRun
from .sampling import TrialSource, make_source, restore_source, state_to_json


@dataclass(frozen=True, eq=False)
class _Problem:
    """What stays the same throughout a run."""

    cell: Cell
    task: Task
    loss: Loss
    optimizer: Optimizer
    clip_norm: float | None
    h0: FloatArray
    evaluation_batch: TrialBatch

    def trajectory(self, params: Params, inputs: FloatArray) -> Trajectory:
        """Run the cell without the checks of :func:`simulate`, which were made at the door."""
        initial = np.repeat(self.h0[np.newaxis], len(inputs), axis=0)
        states, kept = self.cell.simulate_keeping(params, inputs, initial)
        return Trajectory(self.cell, params, inputs, initial, states, kept)


def fit(
    cell: Cell,
    task: Task,
    *,
    params: ParamsLike | None = None,
    readout: ParamsLike | None = None,
    n_iterations: int = 1000,
    batch_size: int = 64,
    n_samples: int | None = None,
    optimizer: Optimizer | None = None,
    loss: Loss | None = None,
    clip_norm: float | None = 1.0,
    tolerance: float = 0.0,
    checkpoint_every: int = 100,
    evaluation_trials: int = 100,
    h0: ArrayLike | None = None,
    rng: RNGLike = 0,
    recorder: Recorder | None = None,
    resume_from: Checkpoint | None = None,
    progress: Callable[[int, float], None] | None = None,
) -> TrainingRun:
    """Train a cell and its readout on a task by gradient descent.

    Parameters
    ----------
    cell : Cell
        The cell.
    task : Task
        The task, whose channels must be those of the cell.
    params : mapping of str to array_like, optional
        The cell's initial parameters; by default ``cell.init_params`` with `rng`. Their precision
        is that of the whole training.
    readout : mapping of str to array_like, optional
        The readout's, ``weight (O, H)`` and ``bias (O,)``; by default :func:`init_readout` with
        `rng`.
    n_iterations : int
        Number of updates, counted from the start of the run also when it is resumed.
    batch_size : int
        Trials in each iteration.
    n_samples : int, optional
        Draw a pool of so many trials once, and take the batches from it in a new random order at
        each pass. By default every iteration draws new trials.
    optimizer : Optimizer, optional
        The update rule; by default ``Adam(1e-3)``.
    loss : Loss, optional
        The loss; by default that of the task, :attr:`Task.loss_name`.
    clip_norm : float or None
        The norm at which the gradient of cell and readout together is clipped; None for no
        clipping.
    tolerance : float
        Stop as soon as the training loss, that of an iteration's own noisy batch, is at most this.
    checkpoint_every : int
        Commit a checkpoint at iteration 0, at every multiple of this, and at the last iteration.
    evaluation_trials : int
        Number of noise-free trials on which each checkpoint's loss and accuracy are found.
    h0 : array_like, shape (N,), optional
        Initial state of every trial; zero by default.
    rng : int, SeedSequence or Generator
        Source of all random numbers. A generator is advanced. Not used when a run is resumed.
    recorder : Recorder, optional
        Told of every iteration and checkpoint, such as a run file.
    resume_from : Checkpoint, optional
        Go on from a checkpoint, with its parameters, optimiser state and random numbers.
        With the same other arguments the result has the same bits as that of a run that was never
        interrupted, for the same number of threads.
    progress : callable, optional
        Called as ``progress(iteration, loss)`` after every update.

    Returns
    -------
    TrainingRun

    Raises
    ------
    InputError
        If a number is out of range, parameters do not fit the cell, the cell does not fit the
        task, or the checkpoint belongs to another cell, optimiser or `n_samples`.
    InputTypeError
        If an argument is of the wrong type.
    TrainingDiverged
        If the loss, the gradient or the parameters are not finite. What was committed is kept,
        and the error carries it.

    Notes
    -----
    An iteration takes about ``6 B T p`` flops for ``p`` weights. Memory: what :func:`gradient_cost`
    says, the batch as it is drawn, ``8 B T (I + O + 1)`` bytes, and the checkpoints, each up to
    three times the parameters.
    An interrupt (control-C) leaves what was committed as it is.

    Examples
    --------
    >>> import kpflow_numerics as kpf
    >>> from kpflow_numerics.tasks import MemoryPro
    >>> from kpflow_numerics.training import Adam, fit
    >>> task = MemoryPro(n_stimulus=2, n_memory=1, n_response=2)
    >>> cell = kpf.VanillaRNN(n_inputs=task.n_inputs, n_units=16)
    >>> run = fit(cell, task, n_iterations=60, batch_size=16, optimizer=Adam(0.01), rng=7)
    >>> [checkpoint.iteration for checkpoint in run.checkpoints]
    [0, 60]
    >>> run.checkpoints[-1].evaluation_loss < run.checkpoints[0].evaluation_loss / 2
    True
    """
    check_sizes(cell, task)
    n_iterations = check_integer(n_iterations, "n_iterations", minimum=0)
    batch_size = check_integer(batch_size, "batch_size")
    checkpoint_every = check_integer(checkpoint_every, "checkpoint_every")
    evaluation_trials = check_integer(evaluation_trials, "evaluation_trials")
    tolerance = check_real(tolerance, "tolerance", minimum=0.0)
    if n_samples is not None:
        n_samples = check_integer(n_samples, "n_samples", minimum=batch_size)
    if clip_norm is not None:
        clip_norm = check_real(clip_norm, "clip_norm", minimum=0.0, open_minimum=True)
    optimizer = _check_optimizer(optimizer)

    if resume_from is None:
        generator = check_rng(rng)
        network = initial_network(cell, task, params, readout, optimizer, generator)
        dtype = network.readout["weight"].dtype
        source = make_source(task, batch_size, generator, dtype, n_samples)
        first = 0
    else:
        if params is not None or readout is not None:
            raise InputError(
                "params and readout must not be given with resume_from, which has its own; leave "
                "them out."
            )
        network = stored_network(cell, task, resume_from, optimizer)
        dtype = network.readout["weight"].dtype
        source = restore_source(resume_from.rng_state, task, batch_size, dtype, n_samples)
        first = resume_from.iteration
        if n_iterations < first:
            raise InputError(
                f"n_iterations must be at least {first}, the iteration of the checkpoint that the "
                f"run is resumed from; got {n_iterations}."
            )

    initial = np.zeros(cell.n_state) if h0 is None else h0
    checked_loss = check_loss(loss, task)
    evaluation_batch = task.evaluation_batch(evaluation_trials).astype(dtype)
    checked_loss.check_targets(evaluation_batch.targets, evaluation_batch.mask)
    problem = _Problem(
        cell=cell,
        task=task,
        loss=checked_loss,
        optimizer=optimizer,
        clip_norm=clip_norm,
        h0=check_array(initial, "h0", (cell.n_state,), dtype=dtype),
        evaluation_batch=evaluation_batch,
    )
    # Overflow is looked for in the results, and reported once. The products of an iteration are
    # too small for the BLAS's own threads, which would only get in the way of the kernels'.
    with np.errstate(over="ignore", invalid="ignore"), single_threaded_blas():
        return _iterate(
            problem,
            network,
            source,
            first=first,
            n_iterations=n_iterations,
            tolerance=tolerance,
            checkpoint_every=checkpoint_every,
            recorder=recorder,
            resume_from=resume_from,
            progress=progress,
        )


def _iterate(
    problem: _Problem,
    network: Network,
    source: TrialSource,
    *,
    first: int,
    n_iterations: int,
    tolerance: float,
    checkpoint_every: int,
    recorder: Recorder | None,
    resume_from: Checkpoint | None,
    progress: Callable[[int, float], None] | None,
) -> TrainingRun:
    checkpoints = [] if resume_from is None else [resume_from]
    losses: list[float] = []
    norms: list[float] = []
    iteration = first
    while True:
        random_state = source.state()
        found = _gradient(problem, network, source.next_batch(), iteration, checkpoints)
        stop_reason = ""
        if found.loss <= tolerance:
            stop_reason = "tolerance"
        elif iteration == n_iterations:
            stop_reason = "iterations"
        is_due = bool(stop_reason) or iteration % checkpoint_every == 0
        if is_due and not (checkpoints and checkpoints[-1].iteration == iteration):
            checkpoint = _checkpoint(
                problem, network, iteration, found, state_to_json(random_state), checkpoints
            )
            if recorder is not None:
                recorder.commit(checkpoint)
            checkpoints.append(checkpoint)
        if stop_reason:
            break
        network = network.updated(found, problem.optimizer, problem.clip_norm)
        losses.append(found.loss)
        norms.append(found.norm)
        if recorder is not None:
            recorder.record_iteration(iteration, found.loss, found.norm)
        if progress is not None:
            progress(iteration, found.loss)
        iteration += 1
    return TrainingRun(
        cell=problem.cell,
        task=problem.task,
        params=network.params,
        readout=network.readout,
        losses=np.array(losses),
        gradient_norms=np.array(norms),
        checkpoints=tuple(checkpoints),
        stop_reason=stop_reason,
        first_iteration=first,
    )


def _gradient(
    problem: _Problem,
    network: Network,
    batch: TrialBatch,
    iteration: int,
    checkpoints: list[Checkpoint],
) -> LossGradient:
    """Return the loss and gradient of an iteration, which are finite."""
    try:
        trajectory = problem.trajectory(network.params, batch.inputs)
        found = backpropagate(trajectory, network.readout, batch, problem.loss)
    except InputError as error:
        # A cell may refuse states that are not finite by itself; at first it is the input's fault.
        if not checkpoints:
            raise
        raise _diverged(f"the cell failed ({error})", iteration, checkpoints) from error
    for quantity, value in (("training loss", found.loss), ("gradient norm", found.norm)):
        if not np.isfinite(value):
            raise _diverged(f"the {quantity} is {value}", iteration, checkpoints)
    return found


def _checkpoint(
    problem: _Problem,
    network: Network,
    iteration: int,
    found: LossGradient,
    rng_state: str,
    checkpoints: list[Checkpoint],
) -> Checkpoint:
    """Evaluate the network, and return the checkpoint to commit, all of which is finite."""
    if not network.is_finite:
        raise _diverged("a parameter is not finite", iteration, checkpoints)
    batch = problem.evaluation_batch
    trajectory = problem.trajectory(network.params, batch.inputs)
    evaluation = judge(trajectory, network.readout, problem.task, batch, problem.loss)
    if not np.isfinite(evaluation.loss):
        raise _diverged(f"the evaluation loss is {evaluation.loss}", iteration, checkpoints)
    return Checkpoint(
        iteration=iteration,
        params=network.params,
        readout=network.readout,
        loss=found.loss,
        evaluation_loss=evaluation.loss,
        accuracy=evaluation.accuracy,
        gradient_norm=found.norm,
        optimizer_state=network.optimizer_state,
        rng_state=rng_state,
    )


def _diverged(what: str, iteration: int, checkpoints: list[Checkpoint]) -> TrainingDiverged:
    if checkpoints:
        advice = (
            f"The last good checkpoint is that of iteration {checkpoints[-1].iteration}. Reduce "
            "the learning rate or clip_norm, and start again or resume from there."
        )
    else:
        advice = "The initial network explodes: reduce its gain or the inputs."
    return TrainingDiverged(
        f"Training diverged at iteration {iteration}: {what}. {advice}",
        iteration,
        tuple(checkpoints),
    )


def check_sizes(cell: Cell, task: Task) -> None:
    """Refuse a cell that cannot be trained on a task."""
    if not isinstance(cell, Cell):
        raise InputTypeError(
            f"cell must be a cell of kpflow_numerics, such as GRU; got {type(cell).__name__}."
        )
    if not isinstance(task, Task):
        raise InputTypeError(
            f"task must be a task of kpflow_numerics, such as kpf.MemoryPro(); got {task!r}."
        )
    if cell.n_inputs != task.n_inputs:
        raise InputError(
            f"cell must have the {task.n_inputs} inputs of task {task.name} "
            f"({', '.join(task.input_names[:8])}{', ...' if task.n_inputs > 8 else ''}); it has "
            f"n_inputs={cell.n_inputs}."
        )


def _check_optimizer(optimizer: Optimizer | None) -> Optimizer:
    if optimizer is None:
        return Adam()
    if not isinstance(optimizer, Optimizer):
        raise InputTypeError(
            f"optimizer must be an optimiser of kpflow_numerics, such as Adam(1e-3); got "
            f"{optimizer!r}."
        )
    return optimizer
