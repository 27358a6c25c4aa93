"""Certain bounds of effective ranks, from the trace and the leading eigenvalues.

Let ``l_1 >= ... >= l_r`` be the leading eigenvalues of a positive semi-definite operator of rank at
most ``rho`` and ``rest = tr - sum l_i``. The other eigenvalues lie between 0 and ``l_r`` and sum to
``rest``: every recipe is largest or smallest where they are all equal, or where as many as
possible are equal to ``l_r``. Nothing here is random.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .._typing import ArrayLike, FloatArray
from .._validation import InputError, check_array, check_choice, check_integer, check_real
from ..testing import default_tolerance
from .rank_recipes import RECIPES, VARIANCE_FRACTION, leading_count, whole_count

_ROUNDING = 32 * float(np.finfo(np.float64).eps)
"""Relative rounding of the bounds: sums of terms of one sign, taken by pairs, and their ratios.

Less than :func:`whole_count` forgives, so that whole numbers stay what they are.
"""


@dataclass(frozen=True, eq=False)
class _Known:
    """What is known of a spectrum: leading eigenvalues from below and above, and the others."""

    trace: float
    low: FloatArray
    high: FloatArray
    rest_low: float
    rest_high: float
    cap: float
    others: int

    @property
    def rank_bound(self) -> int:
        return len(self.low) + self.others


def rank_bracket(
    recipe: str,
    trace: float,
    values: ArrayLike,
    residual_norms: ArrayLike,
    rank_bound: int,
    *,
    complete: bool = True,
) -> tuple[float, float]:
    """Return bounds of an effective rank by any recipe.

    Parameters
    ----------
    recipe : str
        A name of :func:`rank_from_weights`; the weights are the eigenvalues.
    trace : float
        The exact trace of the positive semi-definite operator.
    values : array_like, shape (r,)
        Its leading eigenvalues, descending, as Ritz values of an orthonormal basis.
    residual_norms : array_like, shape (r,)
        Norms of their residuals. The eigenvalues lie between the Ritz values and those plus the
        norm of the residual block.
    rank_bound : int
        A bound of the rank: ``min(n, p)`` for a factor of shape ``(n, p)``.
    complete : bool
        Whether no larger eigenvalue was left out. Without it the participation ratio still has
        (wide) bounds, and the other recipes have 1 and `rank_bound`.

    Returns
    -------
    lower, upper : float
        Rounding here is allowed for; that of the values and the trace is what their makers made.

    Raises
    ------
    InputError
        If the trace is smaller than the sum of the values.

    Examples
    --------
    >>> lower, upper = rank_bracket("stable", 6.0, [3.0], [0.0], 4)
    >>> lower < 2.0 < upper, round(upper - lower, 12)
    (True, 0.0)
    """
    recipe = check_choice(recipe, "recipe", RECIPES)
    known = _known(trace, values, residual_norms, rank_bound, complete=complete)
    if known.trace == 0:
        return 0.0, 0.0
    if recipe == "participation-ratio":
        residuals = np.asarray(residual_norms, np.float64)
        least, most = _squared_norm(known, residuals, complete=complete)
        lower, upper = known.trace**2 / most, known.trace**2 / least
    elif not complete:
        lower, upper = 0.0, float(known.rank_bound)
    else:
        lower, upper = _BRACKETS[recipe](known)
    lower, upper = (1.0 - _ROUNDING) * lower, (1.0 + _ROUNDING) * upper
    if recipe == "variance-95":
        lower, upper = whole_count(lower), whole_count(upper)
    smallest = VARIANCE_FRACTION if recipe == "variance-95-interpolated" else 1.0
    lower, upper = max(lower, smallest), min(upper, float(known.rank_bound))
    return min(lower, upper), max(lower, upper)


def participation_ratio_bracket(
    trace: float,
    values: ArrayLike,
    residual_norms: ArrayLike,
    rank_bound: int,
    *,
    complete: bool = True,
) -> tuple[float, float]:
    """Return bounds of the participation ratio ``tr^2 / |A|_F^2``.

    ``sum l_i^2 + rest^2 / (rho - r) <= |A|_F^2 <= sum l_i^2 + min(l_r rest, rest^2)``; the upper
    bound used is a little sharper: ``m l_r^2 + (rest - m l_r)^2`` with ``m = floor(rest / l_r)``
    in the place of the minimum.

    Parameters
    ----------
    trace, values, residual_norms, rank_bound, complete
        As in :func:`rank_bracket`.

    Returns
    -------
    lower, upper : float

    Examples
    --------
    >>> lower, upper = participation_ratio_bracket(10.0, [4.0, 3.0], [0.0, 0.0], 5)
    >>> round(lower, 3), round(upper, 3)
    (2.941, 3.571)
    """
    return rank_bracket(
        "participation-ratio", trace, values, residual_norms, rank_bound, complete=complete
    )


def norm_bracket(
    trace: float,
    values: ArrayLike,
    residual_norms: ArrayLike,
    rank_bound: int,
    *,
    complete: bool = True,
) -> tuple[float, float]:
    """Return bounds of the Frobenius norm of a positive semi-definite operator.

    Parameters
    ----------
    trace, values, residual_norms, rank_bound, complete
        As in :func:`rank_bracket`.

    Returns
    -------
    lower, upper : float

    Examples
    --------
    >>> lower, upper = norm_bracket(10.0, [4.0, 3.0], [0.0, 0.0], 5)
    >>> round(lower**2, 6), round(upper**2, 6)
    (28.0, 34.0)
    """
    known = _known(trace, values, residual_norms, rank_bound, complete=complete)
    residuals = np.asarray(residual_norms, np.float64)
    least, most = _squared_norm(known, residuals, complete=complete)
    return (1.0 - _ROUNDING) * math.sqrt(least), (1.0 + _ROUNDING) * math.sqrt(most)


def _known(
    trace: float,
    values: ArrayLike,
    residual_norms: ArrayLike,
    rank_bound: int,
    *,
    complete: bool,
) -> _Known:
    found = check_array(values, "values", ("r",))
    rounding = default_tolerance(found.dtype, rank_bound)
    low = np.maximum(found.astype(np.float64), 0)
    residuals = check_array(residual_norms, "residual_norms", (len(low),), dtype=np.float64)
    rank_bound = check_integer(rank_bound, "rank_bound", minimum=len(low))
    trace = check_real(trace, "trace", minimum=0)
    if float(np.sum(low)) > trace * (1 + rounding):
        raise InputError(
            f"trace must be at least the sum of the eigenvalues, {np.sum(low):.6g}; got "
            f"{trace:.6g}. The operator must be positive semi-definite."
        )
    slack = float(np.linalg.norm(residuals))
    others = rank_bound - len(low)
    # What is left over is the difference of two sums, each rounded.
    rest = max(trace - float(np.sum(low)), 0.0) if others > 0 else 0.0
    unsure = _ROUNDING / 4 * trace if others > 0 else 0.0
    cap = float(low[-1]) + slack if complete else rest
    return _Known(
        trace=trace,
        low=low,
        high=low + slack,
        # A trace equal to the sum to rounding may leave nothing over.
        rest_low=max(rest - slack * len(low) - unsure, 0.0) if rest > rounding * trace else 0.0,
        rest_high=rest + unsure,
        cap=cap,
        others=others,
    )


def _squared_norm(
    known: _Known, residual_norms: FloatArray, *, complete: bool
) -> tuple[float, float]:
    """Return bounds of ``|A|_F^2 = |V* A V|_F^2 + 2 |R|_F^2 + |A'|_F^2``.

    A' is the compression of A to the complement of the Ritz vectors V and R their residual block.
    The trace of A' is what the Ritz values leave, exactly; where none was left out its largest
    eigenvalue is at most the last of them plus ``2 |R|``, which is what the certificate tests.
    """
    inside = float(np.sum(known.low**2)) + 2 * float(np.sum(residual_norms**2))
    least = inside + known.rest_high**2 / known.rank_bound
    most = inside + known.rest_high**2
    if complete:
        if known.others > 0:
            spread = float(np.sum(known.low**2)) + known.rest_low**2 / known.others
            least = max(least, spread)
        cap = float(known.low[-1]) + 2 * float(np.linalg.norm(residual_norms))
        most = min(most, inside + _most(np.square, known.rest_high, cap))
    return least, max(least, most)


def _most(function: Callable[[float], float], total: float, cap: float) -> float:
    """Return the sum of a function over parts of a total, as many as possible equal to the cap."""
    if total <= 0 or cap <= 0:
        return 0.0
    count = math.floor(total / cap)
    return count * float(function(cap)) + float(function(max(total - count * cap, 0.0)))


def _stable(known: _Known) -> tuple[float, float]:
    return known.trace / float(known.high[0]), known.trace / float(known.low[0])


def _variance_interpolated(known: _Known) -> tuple[float, float]:
    target = VARIANCE_FRACTION * known.trace
    even = known.rest_low / max(known.others, 1)
    fewest = leading_count(known.high, (1.0 - _ROUNDING / 4) * target, known.cap)
    return fewest, leading_count(known.low, (1.0 + _ROUNDING / 4) * target, even)


def _entropy(known: _Known) -> tuple[float, float]:
    ends = _entropy_term(np.stack([known.low, known.high]) / known.trace)
    peak = (known.low / known.trace <= 1 / math.e) & (known.high / known.trace >= 1 / math.e)
    head_low = float(np.sum(np.min(ends, axis=0)))
    head_high = float(np.sum(np.where(peak, 1 / math.e, np.max(ends, axis=0))))
    rests = np.array([known.rest_low, known.rest_high]) / known.trace
    even = rests / max(known.others, 1)
    rest_high = max(known.others, 1) * float(np.max(_entropy_term(even)))
    if even[0] < 1 / math.e < even[1]:
        rest_high = known.others / math.e
    cap = known.cap / known.trace
    corners = [float(rests[0]), float(rests[1])]
    if cap > 0:
        corners += [
            cap * m for m in range(math.ceil(rests[0] / cap), math.floor(rests[1] / cap) + 1)
        ]
    rest_low = min(_most(_entropy_number, corner, cap) for corner in corners)
    return math.exp(head_low + rest_low), math.exp(head_high + rest_high)


def _entropy_term(shares: FloatArray) -> FloatArray:
    safe = np.where(shares > 0, shares, 1.0)
    terms: FloatArray = -safe * np.log(safe)
    return terms


def _entropy_number(share: float) -> float:
    return -share * math.log(share) if share > 0 else 0.0


_BRACKETS: dict[str, Callable[[_Known], tuple[float, float]]] = {
    "variance-95": _variance_interpolated,
    "variance-95-interpolated": _variance_interpolated,
    "entropy": _entropy,
    "stable": _stable,
}
