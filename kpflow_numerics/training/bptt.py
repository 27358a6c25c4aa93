"""Backpropagation through time by the hand-derived adjoint: ``gradient = J* P* err``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from .._typing import ArrayLike, FloatArray, Params, ParamsLike
from .._validation import InputError, InputTypeError
from ..cells.base import Cell
from ..linearization import linearize
from ..readout import apply_readout, check_readout, pull_back_output_error, readout_gradient
from ..tasks import Task, TrialBatch
from ..trajectory import Trajectory, simulate, simulate_keeping
from .gradient_norm import gradient_norm
from .losses import Loss, check_loss, loss_of_batch


@dataclass(frozen=True, eq=False)
class LossGradient:
    """A loss and its gradient.

    Attributes
    ----------
    loss : float
        The loss.
    params : dict of str to ndarray
        Gradient by the cell's parameters ``theta``.
    readout : dict of str to ndarray
        Gradient by the readout's parameters.
    norm : float
        Euclidean norm of both together.
    """

    loss: float
    params: Params
    readout: Params
    norm: float


@dataclass(frozen=True)
class Evaluation:
    """How well a network solves trials.

    Attributes
    ----------
    loss : float
        The loss.
    accuracy : float
        From 0 to 1, by the task's own measure: ``Task.accuracy_meaning``.
    """

    loss: float
    accuracy: float


def loss_and_gradient(
    cell: Cell,
    params: ParamsLike,
    readout: ParamsLike,
    batch: TrialBatch,
    loss: Loss | None = None,
    h0: ArrayLike | None = None,
) -> LossGradient:
    """Return the loss of a network on trials, and its gradient by all parameters.

    Parameters
    ----------
    cell : Cell
        The cell.
    params : mapping of str to array_like
        Its parameters. Their precision is that of the whole computation.
    readout : mapping of str to array_like
        ``weight (O, H)`` and ``bias (O,)``, or the weight alone for a readout without bias.
    batch : TrialBatch
        The trials.
    loss : Loss, optional
        The loss; by default that which the batch names, and :class:`MeanSquaredError` where it
        names none.
    h0 : array_like, shape (N,) or (B, N), optional
        Initial state; zero by default.

    Returns
    -------
    LossGradient

    Raises
    ------
    InputError
        If a shape does not fit, anything is not finite, or the states overflow, or nothing tells
        the loss of targets that are probabilities of classes.
    InputTypeError
        If an argument is of the wrong type.

    Notes
    -----
    Backpropagation through time is two operators: with the direct error ``err = dloss/dh`` of
    :func:`state_error`, the adjoint scan ``a = P* err`` gives the whole derivative of the loss by
    the states, and ``J* a`` the gradient. About ``6 B T p`` flops for ``p`` weights; memory
    as :func:`gradient_cost` says.

    References
    ----------
    Werbos (1990), Proceedings of the IEEE 78, 1550.

    Examples
    --------
    >>> import kpflow_numerics as kpf
    >>> from kpflow_numerics.tasks import MemoryPro
    >>> from kpflow_numerics.training import init_readout, loss_and_gradient
    >>> cell, task = kpf.VanillaRNN(n_inputs=3, n_units=8), MemoryPro()
    >>> found = loss_and_gradient(
    ...     cell, cell.init_params(rng=3), init_readout(8, 3, rng=5), task.sample(4, rng=7))
    >>> found.params["weight_hh"].shape, found.readout["bias"].shape
    ((8, 8), (3,))
    """
    trajectory, weights, trials = _checked(simulate_keeping, cell, params, readout, batch, h0)
    return backpropagate(trajectory, weights, trials, loss_of_batch(loss, trials))


_BYTES_AT_A_TIME = 96 * 2**20
_DERIVATIVES_OF_A_STATE = 8


def backpropagate(
    trajectory: Trajectory, readout: Params, batch: TrialBatch, loss: Loss
) -> LossGradient:
    """Return the loss and gradient along a trajectory of the batch's inputs; nothing is checked.

    All arrays must have the precision of the trajectory.
    """
    hidden = trajectory.hidden
    value, output_error = loss.value_and_output_error(
        apply_readout(readout, hidden), batch.targets, batch.mask
    )
    by_readout = readout_gradient(readout, hidden, output_error)
    total: FloatArray | None = None
    for part in _parts(trajectory):
        error = pull_back_output_error(readout, output_error[part], trajectory.cell.n_state)
        gradient = _gradient_of(_trials(trajectory, part), error)
        total = gradient if total is None else np.add(total, gradient, out=total)
    by_params = trajectory.cell.layout.unpack(cast(FloatArray, total))
    return LossGradient(value, by_params, by_readout, gradient_norm(by_params, by_readout))


def _gradient_of(trajectory: Trajectory, error: FloatArray) -> FloatArray:
    lin = linearize(trajectory)
    return lin.sensitivity_adjoint(error[..., np.newaxis], overwrite=True)[:, 0]


def trials_at_a_time(n_trials: int, n_steps: int, n_state: int, itemsize: int) -> int:
    """Return how many trials the backward pass takes at once: equal parts of about 96 MiB."""
    of_trial = _DERIVATIVES_OF_A_STATE * n_steps * n_state * itemsize
    n_parts = min(n_trials, -(-n_trials * of_trial // _BYTES_AT_A_TIME))
    return -(-n_trials // n_parts)


def _parts(trajectory: Trajectory) -> list[slice]:
    """Return equal parts of the trials, small enough that memory is used again by the next."""
    n_trials, n_steps, n_state = trajectory.states.shape
    size = trials_at_a_time(n_trials, n_steps, n_state, trajectory.dtype.itemsize)
    return [slice(first, first + size) for first in range(0, n_trials, size)]


def _trials(trajectory: Trajectory, part: slice) -> Trajectory:
    return replace(
        trajectory,
        inputs=trajectory.inputs[part],
        h0=trajectory.h0[part],
        states=trajectory.states[part],
        kept=None if trajectory.kept is None else trajectory.kept[part],
    )


def evaluate(
    cell: Cell,
    params: ParamsLike,
    readout: ParamsLike,
    task: Task,
    batch: TrialBatch,
    loss: Loss | None = None,
    h0: ArrayLike | None = None,
) -> Evaluation:
    """Return the loss and the accuracy of a network on trials of a task.

    Parameters
    ----------
    cell, params, readout, batch, h0
        As for :func:`loss_and_gradient`.
    task : Task
        The task, which judges the outputs.
    loss : Loss, optional
        The loss; by default that of the task, :attr:`Task.loss_name`.

    Returns
    -------
    Evaluation

    Raises
    ------
    InputError
        If a shape does not fit, anything is not finite, or the states overflow.
    InputTypeError
        If an argument is of the wrong type.

    Examples
    --------
    >>> import kpflow_numerics as kpf
    >>> from kpflow_numerics.tasks import MemoryPro
    >>> from kpflow_numerics.training import evaluate, init_readout
    >>> cell, task = kpf.VanillaRNN(n_inputs=3, n_units=8), MemoryPro()
    >>> found = evaluate(
    ...     cell, cell.init_params(rng=3), init_readout(8, 3, rng=5), task,
    ...     task.evaluation_batch(12))
    >>> 0 <= found.accuracy < 1
    True
    """
    if not isinstance(task, Task):
        raise InputTypeError(
            f"task must be a task of kpflow_numerics, such as MemoryPro(); got {task!r}."
        )
    checked_loss = check_loss(loss, task)
    trajectory, weights, trials = _checked(simulate, cell, params, readout, batch, h0)
    checked_loss.check_targets(trials.targets, trials.mask)
    return judge(trajectory, weights, task, trials, checked_loss)


def judge(
    trajectory: Trajectory, readout: Params, task: Task, batch: TrialBatch, loss: Loss
) -> Evaluation:
    """Return the loss and accuracy along a trajectory of the batch's inputs; nothing is checked.

    The accuracy is NaN where the outputs are not finite.
    """
    outputs = apply_readout(readout, trajectory.hidden)
    value = loss.value(outputs, batch.targets, batch.mask)
    accuracy = task.accuracy(outputs, batch) if np.isfinite(outputs).all() else float("nan")
    return Evaluation(value, accuracy)


def _checked(
    run: Callable[[Cell, ParamsLike, ArrayLike, ArrayLike | None], Trajectory],
    cell: Cell,
    params: ParamsLike,
    readout: ParamsLike,
    batch: TrialBatch,
    h0: ArrayLike | None,
) -> tuple[Trajectory, Params, TrialBatch]:
    if not isinstance(batch, TrialBatch):
        raise InputTypeError(
            f"batch must be a TrialBatch, as task.sample returns it; got {type(batch).__name__}."
        )
    trajectory = run(cell, params, batch.inputs, h0)
    weights = check_readout(readout, cell.n_units, dtype=trajectory.dtype)
    n_outputs = len(weights["weight"])
    if n_outputs != batch.n_outputs:
        raise InputError(
            f"readout must have as many outputs as the batch has target channels, "
            f"{batch.n_outputs}; its weight has {n_outputs} rows."
        )
    return trajectory, weights, batch.astype(trajectory.dtype)
