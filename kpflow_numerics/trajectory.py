"""Hidden states of a network along its inputs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ._typing import ArrayLike, DTypeLike, FloatArray, Params, ParamsLike
from ._validation import InputError, InputTypeError, check_array
from .cells.base import Cell


@dataclass(frozen=True, repr=False, eq=False)
class Trajectory:
    """States that a cell passes through.

    Parameters
    ----------
    cell : Cell
        The cell.
    params : dict of str to ndarray
        Its parameters.
    inputs : ndarray, shape (B, T, I)
        Inputs ``x_1 .. x_T``.
    h0 : ndarray, shape (B, N)
        Initial state ``h_0`` of each trial.
    states : ndarray, shape (B, T, N)
        States ``h_1 .. h_T``.
    kept : ndarray, shape (B, T, ...), optional
        What the cell kept of its steps for their derivatives, of which training makes use. The
        derivatives follow from the previous states without it.
    """

    cell: Cell
    params: Params
    inputs: FloatArray
    h0: FloatArray
    states: FloatArray
    kept: FloatArray | None = None

    def __repr__(self) -> str:
        return f"Trajectory({self.cell!r}, {self.states.shape}, {self.dtype})"

    @property
    def n_trials(self) -> int:
        """Number of trials ``B``."""
        return int(self.states.shape[0])

    @property
    def n_steps(self) -> int:
        """Number of steps ``T``."""
        return int(self.states.shape[1])

    @property
    def dtype(self) -> np.dtype:
        """Precision of the states."""
        return self.states.dtype

    @property
    def hidden(self) -> FloatArray:
        """What a readout sees, shape ``(B, T, H)``: for an LSTM the ``h`` half of the state."""
        return self.states[..., : self.cell.n_units]

    def astype(self, dtype: DTypeLike) -> Trajectory:
        """Return the trajectory with every number rounded to another precision.

        What the cell kept of its steps is left out.
        """
        return Trajectory(
            self.cell,
            {name: array.astype(dtype) for name, array in self.params.items()},
            self.inputs.astype(dtype),
            self.h0.astype(dtype),
            self.states.astype(dtype),
        )

    def of_trials(self, trials: slice) -> Trajectory:
        """Return the trajectory of some trials, which shares these arrays."""
        return Trajectory(
            self.cell, self.params, self.inputs[trials], self.h0[trials], self.states[trials]
        )

    @cached_property
    def previous(self) -> FloatArray:
        """States ``h_0`` to ``h_{T-1}``, which the steps start from, shape ``(B, T, N)``."""
        return np.concatenate([self.h0[:, None], self.states[:, :-1]], axis=1)


def simulate(
    cell: Cell, params: ParamsLike, inputs: ArrayLike, h0: ArrayLike | None = None
) -> Trajectory:
    """Run a cell along inputs.

    Parameters
    ----------
    cell : Cell
        The cell.
    params : mapping of str to array_like
        Its parameters. Their precision is that of the whole computation: float32 if all of them
        are, otherwise float64.
    inputs : array_like, shape (B, T, I)
        Inputs, cast to that precision. Trials come first: what a PyTorch module without
        ``batch_first`` takes is ``(T, B, I)``, and needs ``.transpose(1, 0, 2)``.
    h0 : array_like, shape (N,) or (B, N), optional
        Initial state, one for all trials or one for each; zero by default.

    Returns
    -------
    Trajectory
        With copies of all that was given.

    Raises
    ------
    InputError
        If a shape does not fit, a parameter is missing or unknown, anything is not finite, or the
        states overflow.
    InputTypeError
        If anything is complex or not numeric.

    Notes
    -----
    ``2 B T p`` flops for ``p`` weights. Memory: ``b (B (T (N + I) + N) + p)`` bytes for ``b``-byte
    numbers (the trajectory), and ``B T N`` (whether each state is finite), or ``2 b p`` where that
    is more.

    Examples
    --------
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> cell = kpf.VanillaRNN(n_inputs=3, n_units=8)
    >>> traj = kpf.simulate(cell, cell.init_params(rng=3), np.ones((2, 5, 3)))
    >>> traj.states.shape
    (2, 5, 8)
    """
    checked, inputs, h0 = _check(cell, params, inputs, h0)
    # Arrays of the caller's may change: those of a PyTorch module do with each of its steps.
    checked = {name: array.copy() for name, array in checked.items()}
    inputs, h0 = inputs.copy(), h0.copy()
    states = cell.simulate_states(checked, inputs, h0)
    _check_finite(states)
    return Trajectory(cell, checked, inputs, h0, states)


def simulate_keeping(
    cell: Cell, params: ParamsLike, inputs: ArrayLike, h0: ArrayLike | None = None
) -> Trajectory:
    """Return what :func:`simulate` does, and keep what makes the derivatives quicker."""
    checked, inputs, h0 = _check(cell, params, inputs, h0)
    states, kept = cell.simulate_keeping(checked, inputs, h0)
    _check_finite(states)
    return Trajectory(cell, checked, inputs, h0, states, kept)


def _check(
    cell: Cell, params: ParamsLike, inputs: ArrayLike, h0: ArrayLike | None
) -> tuple[Params, FloatArray, FloatArray]:
    if not isinstance(cell, Cell):
        raise InputTypeError(
            f"cell must be a cell of kpflow_numerics, such as GRU; got {type(cell).__name__}."
        )
    checked = cell.check_params(params)
    dtype = next(iter(checked.values())).dtype
    inputs = check_array(inputs, "inputs", ("B", "T", cell.n_inputs), dtype=dtype)
    n_trials = inputs.shape[0]
    if h0 is None:
        h0 = np.zeros((n_trials, cell.n_state), dtype)
    elif np.ndim(h0) == 1:
        h0 = check_array(h0, "h0", (cell.n_state,), dtype=dtype)
        h0 = np.ascontiguousarray(np.broadcast_to(h0, (n_trials, cell.n_state)))
    else:
        h0 = check_array(h0, "h0", (n_trials, cell.n_state), dtype=dtype)
    return checked, inputs, h0


def _check_finite(states: FloatArray) -> None:
    if not np.isfinite(states).all():
        step = int(np.argmax(~np.isfinite(states).all(axis=(0, 2)))) + 1
        raise InputError(
            f"The states overflow at step {step} of {states.shape[1]} in {states.dtype}. The "
            "parameters make the activity explode: reduce weight_hh, the inputs or h0."
        )
