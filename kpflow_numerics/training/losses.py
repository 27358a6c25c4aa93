"""Losses of the outputs, and the state error ``err = dloss/dh`` that they cause.

The choice between mean and sum is the loss's, and ``err`` carries it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from .._typing import ArrayLike, FloatArray, Params, ParamsLike
from .._validation import InputError, InputTypeError, check_array
from ..readout import apply_readout, check_readout, pull_back_output_error
from ..trajectory import Trajectory


@dataclass(frozen=True)
class Loss(ABC):
    """A number that says how far outputs are from their targets."""

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


def output_error(
    trajectory: Trajectory,
    readout: ParamsLike,
    targets: ArrayLike,
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
    targets : array_like, shape (B, T, O)
        Wanted outputs.
    mask : array_like, shape (B, T), optional
        Non-negative weight of each step; one by default.
    loss : Loss, optional
        The loss; by default :class:`MeanSquaredError`.

    Returns
    -------
    ndarray, shape (B, T, O)
        In the precision of the trajectory.

    Raises
    ------
    InputError
        If a shape does not fit, or anything is not finite, or no step has a positive weight.
    InputTypeError
        If an argument is of the wrong type.

    Notes
    -----
    ``2 B T H O`` flops.

    Examples
    --------
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> cell = kpf.VanillaRNN(n_inputs=3, n_units=8)
    >>> traj = kpf.simulate(cell, cell.init_params(rng=3), np.ones((2, 5, 3)))
    >>> kpf.output_error(traj, kpf.init_readout(8, 1, rng=5), np.zeros((2, 5, 1))).shape
    (2, 5, 1)
    """
    return _weights_and_output_error(trajectory, readout, targets, mask, loss)[1]


def state_error(
    trajectory: Trajectory,
    readout: ParamsLike,
    targets: ArrayLike,
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
    targets : array_like, shape (B, T, O)
        Wanted outputs.
    mask : array_like, shape (B, T), optional
        Non-negative weight of each step; one by default.
    loss : Loss, optional
        The loss; by default :class:`MeanSquaredError`.
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
        If a shape does not fit, or anything is not finite, or no step has a positive weight.
    InputTypeError
        If an argument is of the wrong type.

    Notes
    -----
    ``4 B T H O`` flops.

    Examples
    --------
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> from kpflow_numerics.training import init_readout, state_error
    >>> cell = kpf.VanillaRNN(n_inputs=3, n_units=8)
    >>> traj = kpf.simulate(cell, cell.init_params(rng=3), np.ones((2, 5, 3)))
    >>> state_error(traj, init_readout(8, 1, rng=5), np.zeros((2, 5, 1))).shape
    (2, 5, 8)
    """
    weights, error = _weights_and_output_error(trajectory, readout, targets, mask, loss)
    if feedback is not None:
        carried = check_array(feedback, "feedback", weights["weight"].shape, dtype=trajectory.dtype)
        weights = {"weight": carried}
    return pull_back_output_error(weights, error, trajectory.cell.n_state)


def _weights_and_output_error(
    trajectory: Trajectory,
    readout: ParamsLike,
    targets: ArrayLike,
    mask: ArrayLike | None,
    loss: Loss | None,
) -> tuple[Params, FloatArray]:
    if not isinstance(trajectory, Trajectory):
        raise InputTypeError(
            "trajectory must be a Trajectory, as kpf.simulate returns it; got "
            f"{type(trajectory).__name__}."
        )
    dtype = trajectory.dtype
    weights = check_readout(readout, trajectory.cell.n_units, dtype=dtype)
    shape = (trajectory.n_trials, trajectory.n_steps, len(weights["weight"]))
    wanted = check_array(targets, "targets", shape, dtype=dtype)
    if mask is None:
        mask = np.ones(shape[:2], dtype)
    checked_mask = check_array(mask, "mask", shape[:2], dtype=dtype)
    if checked_mask.min() < 0 or not checked_mask.any():
        raise InputError(
            "mask must be non-negative, with at least one positive entry; its entries are from "
            f"{checked_mask.min():g} to {checked_mask.max():g}."
        )
    outputs = apply_readout(weights, trajectory.hidden)
    _, error = check_loss(loss).value_and_output_error(outputs, wanted, checked_mask)
    return weights, error


def check_loss(loss: Loss | None) -> Loss:
    """Return `loss`, or the mean squared error for None."""
    if loss is None:
        return MeanSquaredError()
    if not isinstance(loss, Loss):
        raise InputTypeError(
            f"loss must be a loss of kpflow_numerics.training, such as MeanSquaredError(); got "
            f"{loss!r}."
        )
    return loss
