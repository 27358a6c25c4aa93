"""The spectrum of ``L L*`` through the Gram matrix on the smaller side of its factor L.

The non-zero eigenvalues of ``L L*`` (size n) are those of ``L* L`` (size p).
"""

from __future__ import annotations

import numpy as np

from .._typing import FloatArray
from .._validation import InputError
from ..results import Cost
from ._budget import check_memory, dense_memory
from ._finish import Pairs, rayleigh_ritz
from ._orthogonal import orthonormalise
from ._view import CountedOperator, SpectralView
from .dense import chunks, leading_eigh, symmetric_part, unit_columns

_REMEDY = 'Raise max_memory, or use method="block-krylov".'


def required_factor(view: SpectralView) -> CountedOperator:
    """Return the factor, or raise InputError where there is none."""
    if view.factor is None:
        raise InputError(
            f'method="gram" needs an operator that is not self-adjoint, or one with a factor L '
            f'(op = L L*), which this {view.name} does not offer; use method="dense".'
        )
    return view.factor


def gram_matrix(factor: CountedOperator, max_memory: float) -> FloatArray:
    """Return ``L* L`` or ``L L*``, whichever is smaller, by two products a column."""
    n, p = factor.shape
    size = min(n, p)
    check_memory(
        dense_memory(size, factor.dtype), max_memory, f"The {size} x {size} Gram matrix", _REMEDY
    )
    matrix = np.empty((size, size), dtype=factor.dtype)
    for first, last in chunks(size):
        columns = unit_columns(first, last, size, factor.dtype)
        if p <= n:
            matrix[:, first:last] = factor.rmatmat(factor.matmat(columns))
        else:
            matrix[:, first:last] = factor.matmat(factor.rmatmat(columns))
    return symmetric_part(matrix, type(factor.operator).__name__)


def gram_pairs(
    view: SpectralView, k: int, max_memory: float, rng: np.random.Generator
) -> tuple[Pairs, Cost]:
    """Return the k leading eigenpairs by the Gram matrix of the factor.

    Eigenvalues below the rounding error of the largest come out as rounding noise, as they do
    from the matrix of ``L L*`` itself. Where the rank is below k, random vectors of the null space
    fill the result.
    """
    factor = required_factor(view)
    n, p = factor.shape
    size = min(n, p)
    values, vectors = leading_eigh(gram_matrix(factor, max_memory), min(k, size))
    if p <= n:
        cutoff = size * float(np.finfo(view.dtype).eps) * max(float(values[0]), 0.0)
        kept = values > cutoff
        vectors = factor.matmat(vectors[:, kept]) / np.sqrt(values[kept])
    vectors = orthonormalise(vectors)
    if vectors.shape[1] < k:
        null = view.random_block(k - vectors.shape[1], rng)
        vectors = np.hstack([vectors, orthonormalise(null, (vectors,))])
    cost = Cost(
        4.0 * size**3 + 4.0 * n * k**2,
        dense_memory(size, view.dtype) + 4.0 * n * k * view.dtype.itemsize,
    )
    return rayleigh_ritz(view, vectors), cost
