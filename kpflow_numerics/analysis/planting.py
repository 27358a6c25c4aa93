"""Recurrent weights that have given fixed points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg

from .._typing import ArrayLike, FloatArray, Params, ParamsLike
from .._validation import InputError, InputTypeError, check_array
from ..cells import GRU, LeakyRNN, LowRankRNN, VanillaRNN
from ..cells.base import Cell
from ..testing import default_tolerance


@dataclass(frozen=True)
class _Demand:
    """What rows of one parameter must do: ``W[rows] features* = wanted*``.

    ``features (m, k)`` are what they multiply at each point, ``wanted (m, R)`` what must come out.
    """

    parameter: str
    rows: slice
    features: FloatArray
    wanted: FloatArray


def plant_fixed_points(
    cell: Cell, params: ParamsLike, inputs: ArrayLike, points: ArrayLike
) -> Params:
    """Return parameters under which given states are fixed points of a cell.

    Of all changes of the recurrent weights that make ``f(x, h_j) = h_j`` for every point, the one
    of least Frobenius norm is made, so that directions that no point has keep their weights. With
    recurrent weights of zero it is ``W = phi^-1(H) H^+`` for points in the columns of H, where
    nothing else drives the units. Points may be stable or not: see
    :func:`~kpflow_numerics.fixed_points`.

    Parameters
    ----------
    cell : VanillaRNN, LeakyRNN, LowRankRNN or GRU
        The cell. Of a low-rank cell, ``left`` alone is changed, and the points must differ in
        what ``right`` reads: there can be no more than its rank of them in general. Of a GRU, the
        rows of the candidate alone are changed; gates stay as they are.
    params : mapping of str to array_like
        Its parameters.
    inputs : array_like, shape (I,)
        The constant input ``x`` under which the points are fixed.
    points : array_like, shape (m, H)
        The points. Within (-1, 1) where they are values of tanh, at least 0 where of relu; in the
        current form of leaky cells any.

    Returns
    -------
    dict of str to ndarray
        New parameters, of which one array differs from those given.

    Raises
    ------
    InputError
        If a point cannot be the state of the cell, or no weights have all the points: they, or
        what the weights see of them, depend on each other linearly.
    InputTypeError
        If an argument is of the wrong type, or the cell is of another kind.

    Notes
    -----
    ``O(m^2 H + m H^2)`` flops. Points whose features depend almost linearly take large weights.

    Examples
    --------
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> cell = kpf.VanillaRNN(n_inputs=2, n_units=16)
    >>> points = np.random.default_rng(3).choice([-0.7, 0.7], (2, 16))
    >>> params = kpf.plant_fixed_points(cell, cell.init_params(rng=3), [1.0, 0.0], points)
    >>> found = kpf.fixed_points(cell, params, [1.0, 0.0], points)
    >>> found.stable.tolist(), bool(np.allclose(found.states, points))
    ([True, True], True)
    """
    if not isinstance(cell, Cell):
        raise InputTypeError(
            f"cell must be a cell of kpflow_numerics, such as VanillaRNN; got "
            f"{type(cell).__name__}."
        )
    checked = cell.check_params(params)
    dtype = next(iter(checked.values())).dtype
    doubles: Params = {name: array.astype(np.float64) for name, array in checked.items()}
    x = check_array(inputs, "inputs", (cell.n_inputs,), dtype=np.float64)
    states = check_array(points, "points", ("m", cell.n_state), dtype=np.float64)
    demand = _demand(cell, doubles, x, states)
    weight = doubles[demand.parameter][demand.rows]
    missing = demand.wanted - demand.features @ weight.T
    change = scipy.linalg.lstsq(demand.features, missing, lapack_driver="gelsd")[0]
    left_over = float(np.linalg.norm(demand.features @ change - missing))
    # What is left of a system that has a solution is rounding, grown by what the solution needs.
    scale = float(np.linalg.norm(demand.features) * np.linalg.norm(change))
    scale += float(np.linalg.norm(missing))
    if left_over > default_tolerance(np.float64, missing.size) * scale:
        raise InputError(
            f"points must be such that some recurrent weights have them all: the {len(states)} "
            f"points are {np.linalg.matrix_rank(demand.features)} independent ones for "
            f"{demand.parameter}. Use fewer points, or a cell of higher rank."
        )
    changed = dict(checked)
    array = doubles[demand.parameter].copy()
    array[demand.rows] = weight + change.T
    largest = float(np.abs(array).max())
    if largest > float(np.finfo(dtype).max):
        raise InputError(
            f"points must have weights within {dtype}; those of {demand.parameter} would reach "
            f"{largest:.1e}. Take points further from zero, smaller inputs, or float64."
        )
    changed[demand.parameter] = array.astype(dtype)
    return changed


def _demand(cell: Cell, params: Params, x: FloatArray, points: FloatArray) -> _Demand:
    match cell:
        case VanillaRNN():
            wanted = _inverse(cell.activation, points) - _drive(params, x)
            return _Demand("weight_hh", slice(None), points, wanted)
        case LeakyRNN() | LowRankRNN():
            features, wanted = points, points - _drive(params, x)
            if cell.form == "rate":
                wanted = _inverse(cell.activation, points) - _drive(params, x)
            else:
                features = np.tanh(points) if cell.activation == "tanh" else np.maximum(points, 0)
            if isinstance(cell, LowRankRNN):
                return _Demand("left", slice(None), features @ params["right"], wanted)
            return _Demand("weight_hh", slice(None), features, wanted)
        case GRU():
            return _gru_demand(cell, params, x, points)
    raise InputTypeError(
        f"cell must be a VanillaRNN, LeakyRNN, LowRankRNN or GRU, whose states follow from one "
        f"product with recurrent weights; got {cell!r}."
    )


def _gru_demand(cell: GRU, params: Params, x: FloatArray, points: FloatArray) -> _Demand:
    """Return the demand that the candidate be the point, which no update gate then moves."""
    H = cell.n_units
    zero = np.zeros(3 * H)
    hidden_bias = params.get("bias_hh", zero)
    driven = params["weight_ih"] @ x + params.get("bias_ih", zero)
    reset_sum = points @ params["weight_hh"][:H].T + hidden_bias[:H] + driven[:H]
    reset = 0.5 * np.tanh(0.5 * reset_sum) + 0.5
    if reset.min() == 0.0:
        raise InputError(
            "points must leave the reset gates open, so that recurrent weights act; under inputs "
            f"the one of unit {int(reset.min(axis=0).argmin())} is 0. Change the inputs, or the "
            "biases of the gate."
        )
    wanted = (_inverse("tanh", points) - driven[2 * H :]) / reset - hidden_bias[2 * H :]
    return _Demand("weight_hh", slice(2 * H, None), points, wanted)


def _drive(params: Params, x: FloatArray) -> FloatArray:
    """Return what units get besides their recurrent input."""
    biases = [params[name] for name in ("bias", "bias_ih", "bias_hh") if name in params]
    return params["weight_ih"] @ x + sum(biases, start=np.zeros(len(params["weight_ih"])))


def _inverse(activation: str, points: FloatArray) -> FloatArray:
    """Return pre-activations whose values are the points."""
    if activation == "tanh":
        if np.abs(points).max() >= 1.0:
            raise InputError(
                "points must lie within (-1, 1), the values of tanh; the largest modulus is "
                f"{np.abs(points).max():g}."
            )
        return np.arctanh(points)
    if points.min() < 0.0:
        raise InputError(
            f"points must be at least 0, the values of relu; the smallest is {points.min():g}."
        )
    return points
