"""A mean over random probes, with its standard error and its interval."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

from ..._typing import FloatArray
from ...testing import default_tolerance

CONFIDENCE = 0.95
"""Probability with which the intervals of the estimators hold the truth."""


@dataclass(frozen=True)
class SampledTrace:
    """An estimated trace."""

    value: float
    lower: float
    upper: float
    standard_error: float


def mean_of_probes(
    samples: FloatArray,
    known: float,
    *,
    size: int,
    dtype: np.dtype[Any],
    positive: bool,
) -> SampledTrace:
    """Return a known part plus the mean of independent samples, and Student's interval for it.

    Parameters
    ----------
    samples : ndarray, shape (m,)
        At least two; none where the known part is everything.
    known : float
        What needs no sampling.
    size : int
        Size of the operator; with `dtype` it gives the rounding error, which is all there is
        where every sample is the same.
    dtype : dtype
        Precision of the products.
    positive : bool
        Whether what is sampled cannot be negative, so that the interval begins at `known`.
    """
    count = len(samples)
    if count == 0:
        return SampledTrace(known, known, known, 0.0)
    value = known + float(np.mean(samples))
    error = float(np.std(samples, ddof=1)) / math.sqrt(count)
    rounding = default_tolerance(dtype, size) * abs(value)
    half = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2)) * error + rounding
    lower = value - half
    if positive:
        lower = max(lower, min(known, value))
    return SampledTrace(value, lower, value + half, max(error, rounding))
