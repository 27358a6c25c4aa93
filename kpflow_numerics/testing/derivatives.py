"""The Taylor test: whether a derivative is one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .._typing import ArrayLike, BoolArray, FloatArray
from .._validation import InputError, check_array, check_real

_STEPS_A_DECADE = 4
_NOISE_FACTOR = 300


@dataclass(frozen=True, repr=False, eq=False)
class TaylorResult:
    """Outcome of :func:`taylor_test`.

    Attributes
    ----------
    slope : float
        The fitted slope furthest from 2; NaN where every direction is exact.
    slopes : ndarray, shape (m,)
        Slope for each direction; NaN where it is exact, or where too few steps stand above the
        rounding noise to fit one.
    exact : ndarray of bool, shape (m,)
        Whether the remainder is rounding noise at every step: the function is linear along the
        direction, and the derivative is right.
    steps : ndarray, shape (s,)
        Step sizes, relative to the norm of the point.
    remainders : ndarray, shape (m, s)
        ``|f(x + h d) - f(x) - h J d|``.
    passed : bool
        Whether each direction is exact or has a slope of 2.0 +- 0.1.
    """

    slope: float
    slopes: FloatArray
    exact: BoolArray
    steps: FloatArray
    remainders: FloatArray
    passed: bool

    def __repr__(self) -> str:
        verdict = "passed" if self.passed else "FAILED"
        found = "exact" if self.exact.all() else f"slope {self.slope:.3f}"
        return f"TaylorResult({verdict}: {found})"


def taylor_test(
    function: Callable[[FloatArray], ArrayLike],
    jvp: Callable[[FloatArray], ArrayLike],
    x: ArrayLike,
    directions: ArrayLike,
    *,
    largest_step: float = 1.0,
) -> TaylorResult:
    r"""Check a derivative by the order at which the first-order Taylor remainder vanishes.

    ``|f(x + h d) - f(x) - h J d|`` falls as ``h^2`` if, and only if, ``J d`` is the derivative
    along `d`. The slope is a least-squares fit over the two lowest decades of `h` whose remainder
    stands clear of the rounding noise: there a small error of the derivative shows most.

    Parameters
    ----------
    function : callable
        Takes an array of the shape of `x`, returns an array (or a number).
    jvp : callable
        The derivative at `x`: takes a direction of the shape of `x`, returns what `function` does.
    x : array_like
        The point. The precision of the test is that of what `function` returns.
    directions : array_like, shape of `x` or (m, \*shape of `x`)
        One direction, or several.
    largest_step : float
        Largest length of a step, relative to ``|x|`` (to ``sqrt(x.size)`` where `x` is zero).

    Returns
    -------
    TaylorResult

    Raises
    ------
    InputError
        If a direction is zero or has another shape than `x`.

    Notes
    -----
    At a point where the second derivative vanishes along the direction (an odd function at zero)
    the slope is 3 and the test fails; take another point.

    Examples
    --------
    >>> x = np.linspace(0.1, 1, 5)
    >>> taylor_test(np.sin, lambda d: np.cos(x) * d, x, np.ones(5))
    TaylorResult(passed: slope 2.000)
    >>> taylor_test(np.sin, lambda d: 1.01 * np.cos(x) * d, x, np.ones(5)).passed
    False
    """
    point = check_array(x, "x")
    stack = check_array(directions, "directions", dtype=point.dtype)
    if stack.shape == point.shape:
        stack = stack[None]
    if stack.shape[1:] != point.shape or stack.shape[0] == 0:
        raise InputError(
            f"directions must have the shape of x, {point.shape}, or one more leading axis; "
            f"got {np.shape(directions)}."
        )
    largest_step = check_real(largest_step, "largest_step", minimum=0, open_minimum=True)
    norm = float(np.linalg.norm(point)) or math.sqrt(point.size)
    centre = np.asarray(function(point))
    precision = np.finfo(np.result_type(centre.dtype, np.float32)).eps
    decades = math.log10(1 / precision) / 2
    n_steps = round(decades * _STEPS_A_DECADE) + 1
    steps = largest_step * 10.0 ** np.linspace(-decades, 0, n_steps)
    remainders = np.empty((len(stack), n_steps))
    slopes = np.full(len(stack), np.nan)
    exact = np.zeros(len(stack), dtype=bool)
    for i, direction in enumerate(stack):
        length = float(np.linalg.norm(direction))
        if length == 0:
            raise InputError(f"directions[{i}] must not be zero.")
        unit = direction * (norm / length)
        derivative = np.asarray(jvp(unit), dtype=np.float64)
        for j, step in enumerate(steps):
            change = np.asarray(function(point + unit * unit.dtype.type(step)), np.float64) - centre
            remainders[i, j] = np.linalg.norm(change - step * derivative)
        size = float(np.linalg.norm(derivative))
        noise = _NOISE_FACTOR * precision * (float(np.linalg.norm(centre)) + size)
        slopes[i] = _fitted_slope(steps, remainders[i], noise)
        # Noise alone says nothing where the linear term would drown in it too.
        visible = largest_step * size > noise or not remainders[i].any()
        exact[i] = visible and bool(np.all(remainders[i] <= noise))
    right = exact | (np.abs(slopes - 2) <= 0.1)
    fitted = slopes[~exact]
    slope = float(fitted[np.argmax(np.abs(fitted - 2))]) if len(fitted) else math.nan
    return TaylorResult(slope, slopes, exact, steps, remainders, bool(right.all()))


def _fitted_slope(steps: FloatArray, remainders: FloatArray, noise: float) -> float:
    """Return the slope over the two lowest decades above the noise, or NaN without them."""
    clear = ~(remainders <= noise)
    first = 0 if clear.all() else len(steps) - int(np.argmin(clear[::-1]))
    window = slice(first, min(first + 2 * _STEPS_A_DECADE + 1, len(steps)))
    if window.stop - window.start < _STEPS_A_DECADE or not np.isfinite(remainders[window]).all():
        return math.nan
    return float(np.polyfit(np.log10(steps[window]), np.log10(remainders[window]), 1)[0])
