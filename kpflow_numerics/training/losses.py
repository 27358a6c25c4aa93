"""Losses of the outputs, and the state error ``err = dloss/dh`` that they cause.

The choice between mean and sum is the loss's, and ``err`` carries it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from .._typing import ArrayLike, FloatArray, Params, ParamsLike
from .._validation import InputError, InputTypeError, check_array, check_choice
from ..readout import apply_readout, check_readout, pull_back_output_error
from ..tasks import Task, TrialBatch
from ..testing import default_tolerance
from ..trajectory import Trajectory


@dataclass(frozen=True)
class Loss(ABC):
    """A number that says how far outputs are from their targets.

    Attributes
    ----------
    name : str
        The name by which tasks ask for it.
    """

    name: ClassVar[str]

    def check_targets(self, targets: FloatArray, mask: FloatArray) -> None:  # noqa: B027
        """Refuse targets for which the loss has no meaning; every number has one unless said.

        Parameters
        ----------
        targets : ndarray, shape (B, T, O)
            What the network should give.
        mask : ndarray, shape (B, T)
            Non-negative weight of each step.

        Raises
        ------
        InputError
            If targets cannot be used.
        """

    @abstractmethod
    def value_and_output_error(
        self, outputs: FloatArray, targets: FloatArray, mask: FloatArray
    ) -> tuple[float, FloatArray]:
        """Return the loss and its derivative by the outputs.

        Parameters
        ----------
        outputs, targets : ndarray, shape (B, T, O)
            What the network gives, and what it should give.
        mask : ndarray, shape (B, T)
            Non-negative weight of each step.

        Returns
        -------
        value : float
            Summed in ``float64``.
        output_error : ndarray, shape (B, T, O)
            ``dloss/dy``, in the precision of the outputs.
        """

    def value(self, outputs: FloatArray, targets: FloatArray, mask: FloatArray) -> float:
        """Return the loss."""
        return self.value_and_output_error(outputs, targets, mask)[0]


@dataclass(frozen=True)
class MeanSquaredError(Loss):
    """Mean squared error ``sum(mask (y - y*)^2) / (O sum(mask))``.

    It equals PyTorch's ``nn.MSELoss`` where the mask is one. The gradient keeps its factor 2:
    ``dloss/dy = 2 mask (y - y*) / (O sum(mask))``.

    Examples
    --------
    >>> import numpy as np
    >>> from kpflow_numerics.training import MeanSquaredError
    >>> outputs, targets = np.full((1, 2, 2), 3.0), np.ones((1, 2, 2))
    >>> loss, error = MeanSquaredError().value_and_output_error(outputs, targets, np.ones((1, 2)))
    >>> loss
    4.0
    >>> error[0, 0]
    array([1., 1.])
    """

    name: ClassVar[str] = "mean-squared-error"

    def value_and_output_error(
        self, outputs: FloatArray, targets: FloatArray, mask: FloatArray
    ) -> tuple[float, FloatArray]:
        """Return the loss and its derivative by the outputs; see :class:`Loss`."""
        count = outputs.shape[-1] * float(mask.sum(dtype=np.float64))
        residual = outputs - targets
        weighted = residual * mask[..., np.newaxis]
        value = float(np.multiply(weighted, residual).sum(dtype=np.float64)) / count
        weighted *= outputs.dtype.type(2.0 / count)
        return value, weighted


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """Cross-entropy ``-sum(mask y* log softmax(y)) / sum(mask)`` of probabilities, in nats.

    The targets of a step are the probabilities of the classes, such as a one-hot code; the outputs
    are logits. It equals PyTorch's ``nn.CrossEntropyLoss`` over all steps where the mask is one,
    and is not divided by the number of classes:
    ``dloss/dy = mask (softmax(y) - y*) / sum(mask)``.

    Examples
    --------
    >>> import numpy as np
    >>> from kpflow_numerics.training import CrossEntropy
    >>> outputs, targets = np.zeros((1, 1, 4)), np.eye(4)[:1, np.newaxis]
    >>> loss, error = CrossEntropy().value_and_output_error(outputs, targets, np.ones((1, 1)))
    >>> round(float(loss / np.log(4)), 6)
    1.0
    >>> error[0, 0]
    array([-0.75,  0.25,  0.25,  0.25])
    """

    name: ClassVar[str] = "cross-entropy"

    def check_targets(self, targets: FloatArray, mask: FloatArray) -> None:
        """Refuse targets that are no probabilities at a step that counts; see :class:`Loss`."""
        fault = _probability_fault(targets, mask)
        if fault is not None:
            raise InputError(
                "targets of the cross-entropy must be probabilities, which are not negative and "
                f"add up to 1 at every step; {fault}. Use one-hot targets, or MeanSquaredError."
            )

    def value_and_output_error(
        self, outputs: FloatArray, targets: FloatArray, mask: FloatArray
    ) -> tuple[float, FloatArray]:
        """Return the loss and its derivative by the outputs; see :class:`Loss`."""
        count = float(mask.sum(dtype=np.float64))
        # Without the largest, no exponential overflows.
        logits = outputs - outputs.max(axis=-1, keepdims=True)
        probabilities = np.exp(logits)
        totals = probabilities.sum(axis=-1, keepdims=True)
        logits *= targets
        of_steps = np.log(totals[..., 0]) - logits.sum(axis=-1)
        value = float(np.multiply(mask, of_steps).sum(dtype=np.float64)) / count
        probabilities /= totals
        probabilities -= targets
        probabilities *= (mask * outputs.dtype.type(1.0 / count))[..., np.newaxis]
        return value, probabilities


LOSSES: Mapping[str, type[Loss]] = MappingProxyType(
    {loss.name: loss for loss in (MeanSquaredError, CrossEntropy)}
)
"""The class of each loss, by the name that tasks give."""


def loss_of_task(task: Task) -> Loss:
    """Return the loss that a task names.

    Parameters
    ----------
    task : Task
        The task.

    Raises
    ------
    InputError
        If there is no such loss.

    Examples
    --------
    >>> import kpflow_numerics as kpf
    >>> from kpflow_numerics.training import loss_of_task
    >>> loss_of_task(kpf.MemoryPro()), loss_of_task(kpf.Characters())
    (MeanSquaredError(), CrossEntropy())
    """
    return _loss_named(task.loss_name, f"the loss of task {task.name!r}")


def _loss_named(name: str, what: str) -> Loss:
    return LOSSES[check_choice(name, what, LOSSES)]()


def output_error(
    trajectory: Trajectory,
    readout: ParamsLike,
    targets: ArrayLike | TrialBatch,
    *,
    mask: ArrayLike | None = None,
    loss: Loss | None = None,
) -> FloatArray:
    """Return ``dloss/dy``, the derivative of the loss by each output.

    Parameters
    ----------
    trajectory : Trajectory
        States, from :func:`kpflow_numerics.simulate`.
    readout : mapping of str to array_like
        ``weight (O, H)`` and ``bias (O,)``.
    targets : TrialBatch, or array_like of shape (B, T, O)
        The trials, with their wanted outputs, mask and loss; or the wanted outputs alone.
    mask : array_like, shape (B, T), optional
        Non-negative weight of each step, beside an array; one by default.
    loss : Loss, optional
        The loss; by default that of the batch, and of an array :class:`MeanSquaredError`.

    Returns
    -------
    ndarray, shape (B, T, O)
        In the precision of the trajectory.

    Raises
    ------
    InputError
        If a shape does not fit, or anything is not finite, or no step has a positive weight, or
        the batch is of other trials than the trajectory, or nothing tells the loss of targets that
        are probabilities of classes, which both take.
    InputTypeError
        If an argument is of the wrong type.

    Notes
    -----
    ``2 B T H O`` flops.

    Examples
    --------
    >>> import kpflow_numerics as kpf
    >>> batch = kpf.MemoryPro(2, 1, 2).evaluation_batch(4)
    >>> cell = kpf.VanillaRNN(n_inputs=3, n_units=8)
    >>> traj = kpf.simulate(cell, cell.init_params(rng=3), batch.inputs)
    >>> kpf.output_error(traj, kpf.init_readout(8, 3, rng=5), batch).shape
    (4, 5, 3)
    """
    return _weights_and_output_error(trajectory, readout, targets, mask, loss)[1]


def state_error(
    trajectory: Trajectory,
    readout: ParamsLike,
    targets: ArrayLike | TrialBatch,
    *,
    mask: ArrayLike | None = None,
    loss: Loss | None = None,
    feedback: ArrayLike | None = None,
) -> FloatArray:
    """Return ``err = dloss/dh``: the direct effect of each state on the loss, through the readout.

    ``a = P* err`` is the whole derivative of the loss by the states, and ``J* a`` the gradient.

    Parameters
    ----------
    trajectory : Trajectory
        States, from :func:`kpflow_numerics.simulate`.
    readout : mapping of str to array_like
        ``weight (O, H)`` and ``bias (O,)``.
    targets : TrialBatch, or array_like of shape (B, T, O)
        The trials, with their wanted outputs, mask and loss; or the wanted outputs alone.
    mask : array_like, shape (B, T), optional
        Non-negative weight of each step, beside an array; one by default.
    loss : Loss, optional
        The loss; by default that of the batch, and of an array :class:`MeanSquaredError`.
    feedback : array_like, shape (O, H), optional
        Weights that carry the errors of the outputs back in place of the readout's, as feedback
        alignment does; the result is then no derivative of the loss.

    Returns
    -------
    ndarray, shape (B, T, N)
        In the precision of the trajectory; zero on the ``c`` half of an LSTM's state.

    Raises
    ------
    InputError
        If a shape does not fit, or anything is not finite, or no step has a positive weight, or
        the batch is of other trials than the trajectory, or nothing tells the loss of targets that
        are probabilities of classes, which both take.
    InputTypeError
        If an argument is of the wrong type.

    Notes
    -----
    ``4 B T H O`` flops.

    Examples
    --------
    >>> import kpflow_numerics as kpf
    >>> batch = kpf.MemoryPro(2, 1, 2).evaluation_batch(4)
    >>> cell = kpf.VanillaRNN(n_inputs=3, n_units=8)
    >>> traj = kpf.simulate(cell, cell.init_params(rng=3), batch.inputs)
    >>> kpf.state_error(traj, kpf.init_readout(8, 3, rng=5), batch).shape
    (4, 5, 8)
    """
    weights, error = _weights_and_output_error(trajectory, readout, targets, mask, loss)
    if feedback is not None:
        carried = check_array(feedback, "feedback", weights["weight"].shape, dtype=trajectory.dtype)
        weights = {"weight": carried}
    return pull_back_output_error(weights, error, trajectory.cell.n_state)


def _weights_and_output_error(
    trajectory: Trajectory,
    readout: ParamsLike,
    targets: ArrayLike | TrialBatch,
    mask: ArrayLike | None,
    loss: Loss | None,
) -> tuple[Params, FloatArray]:
    if not isinstance(trajectory, Trajectory):
        raise InputTypeError(
            "trajectory must be a Trajectory, as kpf.simulate returns it; got "
            f"{type(trajectory).__name__}."
        )
    weights = check_readout(readout, trajectory.cell.n_units, dtype=trajectory.dtype)
    shape = (trajectory.n_trials, trajectory.n_steps, len(weights["weight"]))
    check_same_trials(trajectory, targets)
    wanted, weight, chosen = check_wanted(targets, mask, loss, shape, trajectory.dtype)
    outputs = apply_readout(weights, trajectory.hidden)
    _, error = chosen.value_and_output_error(outputs, wanted, weight)
    return weights, error


def check_same_trials(trajectory: Trajectory, targets: ArrayLike | TrialBatch) -> None:
    """Refuse a batch of other trials than those of the trajectory.

    Raises
    ------
    InputError
        If its inputs differ by more than the rounding of a precision.
    """
    if not isinstance(targets, TrialBatch) or targets.inputs.shape != trajectory.inputs.shape:
        return
    given, seen = targets.inputs.astype(np.float32), trajectory.inputs.astype(np.float32)
    differs = (given != seen).any(axis=(1, 2))
    if differs.any():
        raise InputError(
            f"targets are a batch of other trials than the trajectory's: the inputs of "
            f"{np.count_nonzero(differs)} of {len(differs)} trials differ, first those of trial "
            f"{np.argmax(differs)}. Simulate batch.inputs, or give batch.targets and batch.mask, "
            "if other inputs are meant."
        )


def check_wanted(
    targets: ArrayLike | TrialBatch,
    mask: ArrayLike | None,
    loss: Loss | None,
    shape: tuple[int, int, int],
    dtype: np.dtype[Any],
) -> tuple[FloatArray, FloatArray, Loss]:
    """Return targets of a shape ``(B, T, O)``, the mask and the loss, from arrays or a batch."""
    name = None
    if isinstance(targets, TrialBatch):
        if mask is not None:
            raise InputError(
                "mask is that of the batch where targets are a batch: leave mask out, or make "
                "another batch with dataclasses.replace(batch, mask=...)."
            )
        name, mask, targets = targets.loss_name, targets.mask, targets.targets
    wanted = check_array(targets, "targets", shape, dtype=dtype)
    weight = np.ones(shape[:2], dtype) if mask is None else mask
    weight = check_array(weight, "mask", shape[:2], dtype=dtype)
    if weight.min() < 0 or not weight.any():
        raise InputError(
            "mask must be non-negative, with at least one positive entry; its entries are from "
            f"{weight.min():g} to {weight.max():g}."
        )
    return wanted, weight, loss_of_targets(loss, wanted, weight, name)


def loss_of_targets(
    loss: Loss | None, targets: FloatArray, mask: FloatArray, loss_name: str | None
) -> Loss:
    """Return the loss of checked arrays: the one given, or named, or the mean squared error.

    Raises
    ------
    InputError
        If the loss has no meaning for the targets, or the loss of probabilities is not told.
    """
    if loss is None and loss_name is None and _are_probabilities(targets, mask):
        raise InputError(
            f"targets are probabilities of {targets.shape[-1]} classes, such as one-hot codes, and "
            "nothing tells their loss: give the task's own batch in the place of its targets, or "
            "loss=CrossEntropy() or loss=MeanSquaredError()."
        )
    if loss is None and loss_name is not None:
        loss = _loss_named(loss_name, "the loss_name of the batch")
    chosen = MeanSquaredError() if loss is None else _check_given(loss)
    chosen.check_targets(targets, mask)
    return chosen


def loss_of_batch(loss: Loss | None, batch: TrialBatch) -> Loss:
    """Return the loss given, or that of the batch; see :func:`loss_of_targets`."""
    return loss_of_targets(loss, batch.targets, batch.mask, batch.loss_name)


def check_loss(loss: Loss | None, task: Task) -> Loss:
    """Return the loss given, or that of the task."""
    return loss_of_task(task) if loss is None else _check_given(loss)


def _check_given(loss: Loss) -> Loss:
    if not isinstance(loss, Loss):
        raise InputTypeError(
            f"loss must be a loss of kpflow_numerics.training, such as MeanSquaredError(); got "
            f"{loss!r}."
        )
    return loss


def _are_probabilities(targets: FloatArray, mask: FloatArray) -> bool:
    """Whether targets could be those of a cross-entropy: of two classes or more at every step."""
    return targets.shape[-1] > 1 and _probability_fault(targets, mask) is None


def _probability_fault(targets: FloatArray, mask: FloatArray) -> str | None:
    """Return what keeps the targets of the steps that count from being probabilities, if so."""
    counted = targets[mask > 0]
    sums = counted.sum(axis=-1, dtype=np.float64)
    tolerance = default_tolerance(targets.dtype, targets.shape[-1])
    if counted.min() >= 0 and np.abs(sums - 1.0).max() <= tolerance:
        return None
    return f"they go down to {counted.min():g} and add up to {sums.min():g} to {sums.max():g}"
