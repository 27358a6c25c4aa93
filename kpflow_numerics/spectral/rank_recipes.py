"""Effective ranks of a spectrum, by name."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from .._typing import ArrayLike, FloatArray
from .._validation import InputError, check_array, check_choice
from ..testing import default_tolerance

QUANTITY = "effective rank"
"""What estimates of a rank call it."""

VARIANCE_FRACTION = 0.95
"""Share of the sum that the leading weights of the variance recipes hold."""

WEIGHTINGS = ("eigenvalue", "root", "squared")
"""What a recipe's weights are, for an eigenvalue ``l``: ``l``, ``sqrt(l)`` or ``l^2``."""


def rank_from_weights(
    weights: ArrayLike, recipe: str = "participation-ratio", weighting: str = "eigenvalue"
) -> float:
    """Return the effective rank of a spectrum by the recipe named.

    ============================ =====================================================
    ``participation-ratio``      ``(sum w)^2 / sum w^2``
    ``variance-95``              number of leading w that hold 95 % of the sum
    ``variance-95-interpolated`` the same, interpolated linearly between whole numbers
    ``entropy``                  ``exp(-sum q log q)``, ``q = w / sum w``
    ``stable``                   ``sum w / max w``
    ============================ =====================================================

    Parameters
    ----------
    weights : array_like, shape (n,)
        Eigenvalues l, in any order. They must not be negative beyond rounding.
    recipe : str
        One of the above.
    weighting : {"eigenvalue", "root", "squared"}
        ``w = l``, ``w = sqrt(l)`` or ``w = l^2``. Of an operator that is not self-adjoint the
        eigenvalues are squared singular values s, so that these mean ``w = s^2``, ``w = s`` and
        ``w = s^4``; of a positive semi-definite operator singular values and eigenvalues are the
        same, and they mean ``w = s``, ``w = sqrt(s)`` and ``w = s^2``.

    Returns
    -------
    float
        From 1 to n (from 0.95, where interpolated); 0 where all weights are zero.

    Raises
    ------
    InputError
        If a weight is negative or not finite, or a name is unknown.

    Examples
    --------
    >>> rank_from_weights([2.0, 2.0, 2.0, 0.0])
    3.0
    >>> rank_from_weights([3.0, 1.0], "stable")
    1.3333333333333333
    """
    function = _RECIPES[check_choice(recipe, "recipe", _RECIPES)]
    weighting = check_choice(weighting, "weighting", WEIGHTINGS)
    values = check_array(weights, "weights", ("n",))
    largest = float(np.max(np.abs(values)))
    if largest == 0:
        return 0.0
    rounding = default_tolerance(values.dtype, len(values))
    scaled = np.asarray(values, np.float64) / largest
    if np.min(scaled) < -rounding:
        raise InputError(
            f"weights must not be negative; the smallest is {np.min(values):.3g}, beside a "
            f"largest of {largest:.3g}. The effective rank of an indefinite operator is that of "
            "its squared singular values: pass self_adjoint=False."
        )
    scaled = np.sort(np.maximum(scaled, 0))[::-1]
    if weighting == "root":
        scaled = np.sqrt(scaled)
    elif weighting == "squared":
        scaled = scaled**2
    return function(scaled)


def _participation_ratio(weights: FloatArray) -> float:
    return float(np.sum(weights) ** 2 / np.sum(weights**2))


def _entropy(weights: FloatArray) -> float:
    shares = weights[weights > 0] / np.sum(weights)
    return float(np.exp(-np.sum(shares * np.log(shares))))


def _stable(weights: FloatArray) -> float:
    return float(np.sum(weights) / weights[0])


def _variance_interpolated(weights: FloatArray) -> float:
    target = VARIANCE_FRACTION * float(np.sum(weights))
    return leading_count(weights, target)


def _variance(weights: FloatArray) -> float:
    return whole_count(_variance_interpolated(weights))


def leading_count(weights: FloatArray, target: float, further: float = 0.0) -> float:
    """Return how many leading weights sum to a target, interpolated; `further` weights follow."""
    sums = np.cumsum(weights)
    reached = int(np.searchsorted(sums, target))
    if reached < len(sums):
        before = float(sums[reached - 1]) if reached else 0.0
        return reached + (target - before) / float(weights[reached])
    missing = target - float(sums[-1])
    return len(sums) + (missing / further if further > 0 else 0.0)


def whole_count(count: float) -> float:
    """Return the next whole number, unless rounding alone lifts a count above one."""
    return float(math.ceil(count - default_tolerance(np.float64) * max(count, 1)))


_RECIPES: dict[str, Callable[[FloatArray], float]] = {
    "participation-ratio": _participation_ratio,
    "variance-95": _variance,
    "variance-95-interpolated": _variance_interpolated,
    "entropy": _entropy,
    "stable": _stable,
}

RECIPES = tuple(_RECIPES)
"""Names of the recipes."""
