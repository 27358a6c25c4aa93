"""The participation ratio where bounds from the leading eigenpairs alone are wide."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import scipy.stats

from .._typing import FloatArray
from ..results import EigenResult
from ._view import PRODUCT_COLUMNS

CONFIDENCE = 0.95
"""Probability that the interval of a sampled rank holds the rank."""


def sampled_participation_ratio(
    apply: Callable[[FloatArray], FloatArray],
    trace: float,
    pairs: EigenResult,
    bounds: tuple[float, float],
    n_samples: int,
    rng: np.random.Generator,
) -> tuple[float, float, float, float]:
    """Return the participation ratio with what the eigenpairs leave of the norm sampled.

    With the Ritz vectors ``V``, their residual block ``R`` and the operator ``A'`` compressed to
    the complement of V, ``|A|_F^2 = sum l_i^2 + 2 |R|_F^2 + |A'|_F^2``, and ``|A'|_F^2`` is the
    mean of ``|A' z|^2`` over standard normal ``z``. The leading pairs, where most of the norm is,
    carry no sampling error.

    Parameters
    ----------
    apply : callable
        Returns products of the positive semi-definite operator with blocks ``(n, k)``.
    trace : float
        Its exact trace.
    pairs : EigenResult
        Leading eigenpairs; none left out is needed.
    bounds : tuple of float
        Certain bounds of the participation ratio, which the interval never leaves.
    n_samples : int
        Number of normal vectors, at least 2: a product each.
    rng : Generator
        Source of the vectors.

    Returns
    -------
    value, lower, upper, standard_error : float
        The interval holds the ratio with probability 95 %.
    """
    vectors = pairs.vectors
    samples: list[FloatArray] = []
    for first in range(0, n_samples, PRODUCT_COLUMNS):
        shape = (vectors.shape[0], min(PRODUCT_COLUMNS, n_samples - first))
        z = rng.standard_normal(shape).astype(vectors.dtype)
        z -= vectors @ (vectors.T @ z)
        z = apply(z)
        z -= vectors @ (vectors.T @ z)
        samples.append(np.square(z, dtype=np.float64).sum(axis=0))
    rest = np.concatenate(samples)
    known = float(np.sum(np.square(pairs.values, dtype=np.float64)))
    known += 2.0 * float(np.sum(np.square(pairs.residual_norms, dtype=np.float64)))
    mean = known + float(rest.mean())
    error = float(rest.std(ddof=1)) / math.sqrt(n_samples)
    reach = float(scipy.stats.t.ppf((1 + CONFIDENCE) / 2, n_samples - 1)) * error
    most, least = (trace**2 / max(norm, known) for norm in (mean - reach, mean + reach))
    value, lower, upper = (
        min(max(ratio, bounds[0]), bounds[1]) for ratio in (trace**2 / mean, least, most)
    )
    return value, lower, upper, trace**2 / mean * error / mean
