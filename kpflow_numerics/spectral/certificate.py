"""The completeness certificate: whether an eigenvalue has been left out.

Residuals cannot tell: every pair of a wrong answer may be exact. Solvers that grow one Krylov
space from one vector see one copy of a repeated eigenvalue, and further ones only through
rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._typing import FloatArray
from .._validation import InputError
from ..testing import default_tolerance
from .lanczos import lanczos

CERTIFICATE_PRODUCTS = 24
"""Products of the random Krylov iteration; twice as many where it ends undecided."""


@dataclass(frozen=True, eq=False)
class Certificate:
    """Outcome of :func:`completeness_certificate`.

    Attributes
    ----------
    complete : bool
        Whether no larger eigenvalue was found outside the given vectors.
    value : float
        Largest Ritz value outside them; NaN where nothing lies outside.
    threshold : float
        What it must not exceed.
    vectors : ndarray, shape (n, b)
        Leading Ritz vector outside them, to continue from where something was left out; ``b`` is 1,
        or 0 where nothing lies outside.
    """

    complete: bool
    value: float
    threshold: float
    vectors: FloatArray


def certificate_threshold(
    values: FloatArray,
    residual_norms: FloatArray,
    tolerance: float,
    norm: float,
    n: int,
    dtype: np.dtype[Any],
) -> float:
    """Return what no eigenvalue outside the pairs may exceed, unless one was left out."""
    allowed = min(float(np.linalg.norm(residual_norms)), math.sqrt(len(values)) * tolerance * norm)
    return float(np.min(values)) + 2 * allowed + default_tolerance(dtype, n) * norm


def completeness_certificate(
    apply: Callable[[FloatArray], FloatArray],
    values: FloatArray,
    vectors: FloatArray,
    residual_norms: FloatArray,
    *,
    tolerance: float,
    norm: float,
    rng: np.random.Generator,
    n_products: int = CERTIFICATE_PRODUCTS,
) -> Certificate:
    """Look for an eigenvalue larger than the smallest of those given, outside their vectors.

    A Krylov iteration from a random vector runs on the deflated operator
    ``(I - V V*) A (I - V V*)``: of a repeated eigenvalue one copy is enough to see. Its top Ritz
    value is never above an eigenvalue of A restricted to the complement, so that an alarm is always
    right; silence means that nothing larger showed in that many products.

    Parameters
    ----------
    apply : callable
        Product of the self-adjoint operator with a block ``(n, b)``.
    values, vectors, residual_norms : ndarray, shapes (k,), (n, k), (k,)
        The pairs found; the vectors orthonormal.
    tolerance : float
        The relative tolerance that the residuals were asked to meet.
    norm : float
        An estimate of the norm of the operator.
    rng : Generator
        Source of the random start. It must not be the one that the solver began with.
    n_products : int
        Number of products; up to twice as many where the residual of the top Ritz pair leaves it
        open on which side of the threshold it lies.

    Returns
    -------
    Certificate

    Notes
    -----
    With the residual block R of the pairs, the complement has no eigenvalue above
    ``lambda_k + 2 |R|`` unless one was left out. The threshold is that, with ``|R|`` at most what
    the tolerance allows, and an allowance for rounding.

    What lies just above ``lambda_k``, by less than about 1 % of the norm, may stay unseen when n is
    large: the harm that it does to the values is as small.
    """
    n, k = vectors.shape
    if k == n:
        return Certificate(True, math.nan, math.nan, np.empty((n, 0), vectors.dtype))
    threshold = certificate_threshold(values, residual_norms, tolerance, norm, n, vectors.dtype)

    def stop(value: float, residual: float, used: int) -> bool:
        decided = value > threshold or value + residual <= threshold
        return used >= n_products and decided

    found, _ = lanczos(
        apply,
        n,
        1,
        vectors.dtype,
        tolerance=tolerance,
        rng=rng,
        max_products=2 * n_products,
        capacity=2 * n_products,
        deflated=vectors,
        norm=norm,
        stop=stop,
    )
    value = float(found.values[0])
    return Certificate(not value > threshold, value, threshold, found.vectors)


def single_precision_certificate(
    apply: Callable[[FloatArray], FloatArray],
    values: FloatArray,
    vectors: FloatArray,
    *,
    norm: float,
    rng: np.random.Generator,
    n_products: int = CERTIFICATE_PRODUCTS,
) -> Certificate | None:
    """Look for an eigenvalue left out with products in ``float32``, where these can tell.

    Parameters
    ----------
    apply : callable
        Product of the operator in ``float32``, of nothing else than itself rounded: what a coarse
        operator lacks, its certificate would not see.
    values, vectors, norm, rng, n_products
        As for :func:`completeness_certificate`.

    Returns
    -------
    Certificate or None
        Complete, where the largest eigenvalue outside the vectors lies below the smallest inside
        by more than its residual and what ``float32`` may be wrong by. Otherwise None: the
        certificate in full precision must decide.

    Notes
    -----
    A Ritz value adds up the rounding of as many products as there were. The allowance is 50
    roundings of each.
    """
    n, k = vectors.shape
    if k == n:
        return None
    rounding = default_tolerance(np.float32, (2 * n_products) ** 2) * norm
    threshold = float(np.min(values)) - rounding

    def stop(value: float, residual: float, used: int) -> bool:
        return value > threshold or (used >= n_products and value + residual <= threshold)

    try:
        found, _ = lanczos(
            apply,
            n,
            1,
            np.dtype(np.float32),
            tolerance=float(np.finfo(np.float32).eps),
            rng=rng,
            max_products=2 * n_products,
            capacity=2 * n_products,
            deflated=vectors.astype(np.float32),
            norm=norm,
            stop=stop,
        )
    except InputError:
        return None
    value = float(found.values[0])
    if value + float(found.residual_norms[0]) > threshold:
        return None
    return Certificate(True, value, threshold, found.vectors)
