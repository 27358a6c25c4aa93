"""The check that a Taylor remainder is of order 2, kinks considered."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from .._typing import BoolArray, FloatArray
from .._validation import InputError
from ..cells.base import Cell
from ..results import Check
from ..testing import TaylorResult, taylor_test
from ._subject import Subject, judge

SLOPE_TOLERANCE = 0.1
# Multiplications of one simulation, of which a Taylor test makes seventy, and twice that at kinks.
_SIMULATION_WORK = 3e7
_LOCAL_STEP = 1e-8
# Roundings of the point and of the function, as the change amplifies them.
_LOCAL_FACTOR = 1000
_LARGEST_GROWTH = 1e8
_KINK_RATIO = 1e-3

Function = Callable[[FloatArray], FloatArray]


def run(cell: Cell, parameters: FloatArray, inputs: FloatArray, h0: FloatArray) -> FloatArray:
    """Return the states for a parameter vector; NaN where a step of the user's refuses it."""
    try:
        return cell.simulate_states(cell.layout.unpack(parameters), inputs, h0)
    except InputError:
        return np.full((*inputs.shape[:2], cell.n_state), np.nan)


def trial_subset(subject: Subject) -> slice:
    """Return as many first trials as may be simulated again and again."""
    n_trials, n_steps, _ = subject.linearization.dims
    affordable = _SIMULATION_WORK / (n_steps * subject.cell.n_parameters)
    return slice(0, int(min(n_trials, max(1.0, affordable))))


def simulation(subject: Subject, trials: slice) -> Function:
    """Return the map from the parameter vector to the states of some trials."""
    trajectory, cell = subject.trajectory, subject.cell
    inputs, h0 = trajectory.inputs[trials], trajectory.h0[trials]
    return lambda parameters: run(cell, parameters, inputs, h0)


def has_kink(
    function: Function, point: FloatArray, directions: FloatArray, step: float = 1e-6
) -> BoolArray:
    """Return for each row of what a function gives whether it has a kink exactly at a point.

    There its even part is of the order of the step, elsewhere of the step squared; the step is
    relative to the length of the point. The derivative under test does not enter.
    """
    centre = function(point)
    kinks = np.zeros(centre.shape[:-1], dtype=bool)
    for direction in directions:
        change = _scaled(direction, step * _length(point))
        ahead, behind = function(point + change), function(point - change)
        even = np.linalg.norm(ahead + behind - 2 * centre, axis=-1)
        odd = np.linalg.norm(ahead - behind, axis=-1)
        rounding = 100 * np.finfo(centre.dtype).eps * np.linalg.norm(centre, axis=-1)
        kinks |= even > _KINK_RATIO * odd + rounding
    return kinks


def taylor_check(
    name: str,
    formula: str,
    function: Function,
    jvp: Function,
    point: FloatArray,
    directions: FloatArray,
    explanation: str,
) -> Check:
    """Return the check that the Taylor remainder of a function is of order 2.

    Kinks (of relu) and a vanishing curvature give other slopes to right derivatives. There the
    remainder must vanish so close to the point that nothing but the derivative can show; the
    error is then the remainder relative to the change.
    """
    with np.errstate(all="ignore"):
        units = [_scaled(direction, _length(point)) for direction in directions]
        changes = np.array([np.linalg.norm(jvp(unit)) for unit in units])
        size = float(np.linalg.norm(function(point)))
        growth = min(max(1.0, changes.max() / size if size else 1.0), _LARGEST_GROWTH)
        result = taylor_test(function, jvp, point, directions, largest_step=1.0 / growth)
        error, found = _slope_error(result), f"{explanation} {_found(result)}"
        if error <= SLOPE_TOLERANCE:
            return judge(name, formula, error, SLOPE_TOLERANCE, found)
        nearest = _LOCAL_STEP / math.sqrt(growth)
        local = taylor_test(function, jvp, point, directions, largest_step=nearest)
        remainder = float((local.remainders[:, -1] / (nearest * changes)).max())
        limit = _LOCAL_FACTOR * float(np.finfo(np.float64).eps) / nearest
        if remainder <= limit:
            found += f" There are kinks (of relu) nearby, or no curvature. {_LOCAL.format(nearest)}"
            return judge(name, formula, remainder, limit, found)
        if has_kink(function, point, directions, nearest).any():
            found += " The function has a kink (of relu) exactly here, hence no derivative."
        return judge(name, formula, error, SLOPE_TOLERANCE, found)


_LOCAL = "The error is the remainder at e = {:.0e}, relative to the change that the formula gives."


def _scaled(direction: FloatArray, length: float) -> FloatArray:
    return direction * (length / np.linalg.norm(direction))


def _length(point: FloatArray) -> float:
    return float(np.linalg.norm(point)) or math.sqrt(point.size)


def _slope_error(result: TaylorResult) -> float:
    return 0.0 if result.exact.all() else abs(result.slope - 2)


def _found(result: TaylorResult) -> str:
    if result.exact.all():
        return "The remainder is rounding alone: the function is linear along the direction."
    if math.isnan(result.slope):
        return "Too few steps e stand clear of rounding to fit a slope."
    return f"Slope {result.slope:.3f} over two decades of e; the error is its distance from 2."
