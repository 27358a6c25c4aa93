"""Smooth functions of several sampled means, their errors propagated by the jackknife."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..._typing import ArrayLike, FloatArray
from ..._validation import InputError, check_array
from .sampled import SampledTrace, interval_reach


def jackknife(
    function: Callable[[FloatArray], FloatArray],
    samples: ArrayLike,
    *,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> SampledTrace:
    """Estimate a smooth function of the means of several quantities that were sampled together.

    A ratio of two estimated traces is biased, and its error depends on how the two errors go
    together. Leaving out one probe at a time shows both (Quenouille, Biometrika 43, 1956; Miller,
    Biometrika 61, 1974).

    Parameters
    ----------
    function : callable
        Takes means, an array ``(..., q)``, and returns the numbers ``(...)``. Should be smooth
        near the means: ``lambda mean: mean[..., 0] ** 2 / mean[..., 1]``. Known numbers (an exact
        trace) are constants in it.
    samples : array_like, shape (m, q)
        A row for each independent probe, a column for each quantity; at least two rows. Quantities
        from the same probe share its row.
    bounds : tuple of float
        What is certain of the truth; value and interval stay within.

    Returns
    -------
    SampledTrace
        `value`, corrected for the bias of order ``1/m``; `standard_error`; and the 95 % interval
        ``[lower, upper]``, which reaches further to the side where the leave-one-out values have
        their long tail (see :func:`interval_reach`).

    Raises
    ------
    InputError
        If there are fewer than two rows, or the function is not finite at the means.

    Notes
    -----
    Takes m + 1 evaluations of the function, in one call, and no products.

    Examples
    --------
    >>> samples = np.random.default_rng(7).chisquare(3, (50, 2))
    >>> found = jackknife(lambda mean: mean[..., 0] / mean[..., 1], samples)
    >>> found.lower < 1 < found.upper
    True
    """
    rows = check_array(samples, "samples", ("m", "q"), dtype=np.float64)
    count = len(rows)
    if count < 2:
        raise InputError(f"samples must have at least 2 rows, a probe each; got {count}.")
    total = rows.sum(axis=0)
    whole = float(function((total / count)[None])[0])
    without = np.asarray(function((total - rows) / (count - 1)), np.float64)
    if not (math.isfinite(whole) and np.isfinite(without).all()):
        raise InputError(
            "function must be finite at the means of the samples, and with any one of them left "
            f"out; got {whole} and values from {np.min(without)} to {np.max(without)}."
        )
    pseudo = count * whole - (count - 1) * without
    value = float(np.mean(pseudo))
    error = float(np.std(pseudo, ddof=1)) / math.sqrt(count)
    below, above = interval_reach(count)
    if float(np.sum((pseudo - value) ** 3)) < 0:
        below, above = above, below
    # The interval is about the corrected value, but always holds the plain one.
    lower = min(value - below * error, whole)
    upper = max(value + above * error, whole)
    value, lower, upper = (min(max(each, bounds[0]), bounds[1]) for each in (value, lower, upper))
    return SampledTrace(value, lower, upper, error)
