"""The median of a few repetitions, and an interval that needs no distribution."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .._typing import ArrayLike


@dataclass(frozen=True)
class MedianInterval:
    """The median of independent repetitions.

    Attributes
    ----------
    median : float
        Of the sample; NaN where it is empty.
    lower, upper : float
        Two of the values; the median of the distribution lies between them with the probability
        `confidence`.
    confidence : float
        At least the one that was asked for, where there are values enough; otherwise what the
        smallest and the largest of them give: 0.94 for five, 0.75 for three, 0 for one.
    n_values : int
        Size of the sample.
    """

    median: float
    lower: float
    upper: float
    confidence: float
    n_values: int


def median_interval(values: ArrayLike, confidence: float = 0.95) -> MedianInterval:
    """Return the median with an interval from order statistics.

    Parameters
    ----------
    values : array_like
        Independent repetitions, such as those of several seeds. NaN are left out; infinity stands
        for what never happened.
    confidence : float
        The probability asked for.

    Returns
    -------
    MedianInterval

    Notes
    -----
    Between the k-th smallest and the k-th largest of n values the median of any continuous
    distribution lies with the probability ``1 - 2 sum_{i<k} binomial(n, i) / 2^n``.

    Examples
    --------
    >>> from kpflow_numerics.analysis.median import median_interval
    >>> median_interval([3.0, 1.0, 2.0])
    MedianInterval(median=2.0, lower=1.0, upper=3.0, confidence=0.75, n_values=3)
    """
    array = np.asarray(values, dtype=np.float64).ravel()
    ordered = np.sort(array[~np.isnan(array)])
    count = len(ordered)
    if not count:
        return MedianInterval(math.nan, math.nan, math.nan, 0.0, 0)
    depth = 1
    while 2 * (depth + 1) <= count and _coverage(count, depth + 1) >= confidence:
        depth += 1
    lower, upper = float(ordered[depth - 1]), float(ordered[count - depth])
    middle = ordered[(count - 1) // 2 : count // 2 + 1]
    return MedianInterval(float(middle.mean()), lower, upper, _coverage(count, depth), count)


def _coverage(count: int, depth: int) -> float:
    tail = sum(math.comb(count, i) for i in range(depth))
    return 1.0 - 2.0 * tail / 2.0**count
