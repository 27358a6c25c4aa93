"""What a gradient takes, told before it runs."""

from __future__ import annotations

import numpy as np

from .._typing import DTypeLike, Params
from .._validation import InputTypeError, check_dtype, check_integer
from ..cells.base import Cell
from ..linearization import linearize
from ..results import Cost
from ..trajectory import Trajectory
from .bptt import trials_at_a_time


def gradient_cost(
    cell: Cell,
    n_trials: int,
    n_steps: int,
    n_outputs: int = 1,
    dtype: DTypeLike = np.float32,
) -> Cost | None:
    """Return what a gradient of the loss takes: an iteration of training, without the optimiser.

    Parameters
    ----------
    cell : Cell
        The cell.
    n_trials, n_steps, n_outputs : int
        Trials ``B`` of a batch, steps ``T`` and outputs ``O``.
    dtype : dtype_like
        Precision of the parameters and the batch.

    Returns
    -------
    Cost or None
        Of :func:`loss_and_gradient`: memory is the peak of the result and the temporaries, beside
        what is given. None for a cell without weight sites, whose derivatives are not known before.

    Raises
    ------
    InputError
        If a number is out of range or `dtype` is not float32 or float64.
    InputTypeError
        If an argument is of the wrong type.

    Notes
    -----
    ``6 B T p`` flops. Held for all trials are the states, a copy of the batch, and the ``q``
    numbers that a cell keeps of a step (``4 H`` for GRU and LSTM, none for the others); for the
    trials of one part, about 96 MiB, the error and the ``d`` derivatives of a step (gains, carry,
    features and previous state). With ``b`` bytes a number that is
    ``b (B T (N + q + I + 2 O + 1) + B_part T (d + N) + 6 p)``, or while the loss is found
    ``b B T (N + q + I + 6 O + 1)``, if that is more.

    Examples
    --------
    >>> import kpflow_numerics as kpf
    >>> kpf.gradient_cost(kpf.GRU(n_inputs=3, n_units=256), n_trials=500, n_steps=90)
    Cost(flops=54120960000.0, memory_bytes=340375752.0)
    """
    if not isinstance(cell, Cell):
        raise InputTypeError(
            f"cell must be a cell of kpflow_numerics, such as GRU; got {type(cell).__name__}."
        )
    n_trials = check_integer(n_trials, "n_trials")
    n_steps = check_integer(n_steps, "n_steps")
    n_outputs = check_integer(n_outputs, "n_outputs")
    itemsize = check_dtype(dtype).itemsize
    found = _numbers_of_a_step(cell)
    if found is None:
        return None
    kept, derivatives = found
    steps = float(n_trials) * n_steps
    part = trials_at_a_time(n_trials, n_steps, cell.n_state, itemsize) * n_steps
    held = steps * (cell.n_state + kept)
    batch = steps * (cell.n_inputs + n_outputs + 1.0)
    loss = 5.0 * steps * n_outputs
    backward = steps * n_outputs + part * (derivatives + cell.n_state) + 6.0 * cell.n_parameters
    return Cost(6.0 * steps * cell.n_parameters, itemsize * (held + batch + max(loss, backward)))


def _numbers_of_a_step(cell: Cell) -> tuple[float, float] | None:
    """Return how many numbers a cell keeps of a step, and how many its derivatives are.

    Read off two steps of a network of zeros, so that each cell says it in one place only.
    """
    params: Params = {name: np.zeros(shape) for name, shape in cell.parameter_shapes.items()}
    inputs, initial = np.zeros((1, 2, cell.n_inputs)), np.zeros((1, cell.n_state))
    states, kept = cell.simulate_keeping(params, inputs, initial)
    lin = linearize(Trajectory(cell, params, inputs, initial, states, kept))
    sites = lin.weight_sites
    if sites is None:
        return None
    own = 0 if kept is None or kept is states else kept.size // 2
    of_weights = 2 * sites.recurrent_weight.nbytes
    return float(own), (sites.memory_bytes - of_weights) / (2 * 8) + cell.n_state
