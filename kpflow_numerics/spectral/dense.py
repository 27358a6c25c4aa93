"""The spectrum of an operator taken apart as a matrix, by one product with each unit vector."""

from __future__ import annotations

import numpy as np
import scipy.linalg

from .._typing import FloatArray
from .._validation import InputError
from ..results import Cost
from ._budget import check_memory, dense_memory
from ._finish import Pairs
from ._orthogonal import column_norms
from ._view import PRODUCT_COLUMNS, CountedOperator, SpectralView

_REMEDY = 'Raise max_memory, or use method="block-krylov" (or "gram" where a side is small).'


def unit_columns(first: int, last: int, size: int, dtype: np.dtype[np.floating]) -> FloatArray:
    """Return the unit vectors `first` to `last` (exclusive) as columns."""
    columns = np.zeros((size, last - first), dtype=dtype)
    columns[np.arange(first, last), np.arange(last - first)] = 1
    return columns


def chunks(size: int, width: int = PRODUCT_COLUMNS) -> list[tuple[int, int]]:
    """Return the bounds of consecutive chunks."""
    return [(first, min(first + width, size)) for first in range(0, size, width)]


def self_adjoint_matrix(view: SpectralView, max_memory: float) -> FloatArray:
    """Return the matrix of the self-adjoint operator, made symmetric.

    Raises
    ------
    MemoryLimitError
        If it does not fit, with its decomposition.
    InputError
        If it is not self-adjoint, although it was said to be.
    """
    n = view.n
    check_memory(dense_memory(n, view.dtype), max_memory, f"The {n} x {n} matrix", _REMEDY)
    matrix = np.empty((n, n), dtype=view.dtype)
    for first, last in chunks(n):
        matrix[:, first:last] = view.apply(unit_columns(first, last, n, view.dtype))
    return symmetric_part(matrix, view.name)


def symmetric_part(matrix: FloatArray, name: str) -> FloatArray:
    """Return ``(M + M*) / 2``, refusing a matrix that is not symmetric to half the digits."""
    asymmetry = float(np.max(np.abs(matrix - matrix.T)))
    if asymmetry > np.sqrt(np.finfo(matrix.dtype).eps) * float(np.max(np.abs(matrix))):
        raise InputError(
            f"{name} is not self-adjoint, although it says so (or self_adjoint=True was passed): "
            f"its matrix differs from its transpose by {asymmetry:.1e}. Pass self_adjoint=False."
        )
    symmetric: FloatArray = (matrix + matrix.T) / 2
    return symmetric


def matrix_of(operator: CountedOperator, max_memory: float) -> FloatArray:
    """Return the matrix of any operator, by products on its smaller side."""
    n, p = operator.shape
    needed = 3.0 * n * p * operator.dtype.itemsize
    check_memory(needed, max_memory, f"The {n} x {p} matrix", _REMEDY)
    matrix = np.empty((n, p), dtype=operator.dtype)
    if p <= n:
        for first, last in chunks(p):
            matrix[:, first:last] = operator.matmat(unit_columns(first, last, p, operator.dtype))
    else:
        for first, last in chunks(n):
            rows = operator.rmatmat(unit_columns(first, last, n, operator.dtype))
            matrix[first:last] = rows.T
    return matrix


def leading_eigh(matrix: FloatArray, k: int) -> tuple[FloatArray, FloatArray]:
    """Return the k largest eigenvalues, descending, and their vectors. The matrix is spent.

    By divide and conquer on the whole matrix: LAPACK's faster search for a part of the spectrum
    (``syevr``) leaves pairs out where eigenvalues repeat to rounding, with no error.
    """
    # The transpose of a symmetric matrix has the order that LAPACK takes without a copy.
    values, vectors = scipy.linalg.eigh(
        matrix.T, driver="evd", overwrite_a=True, check_finite=False
    )
    return values[::-1][:k], np.ascontiguousarray(vectors[:, ::-1][:, :k])


def dense_pairs(view: SpectralView, k: int, max_memory: float) -> tuple[Pairs, Cost]:
    """Return the k leading eigenpairs from the whole matrix.

    For a self-adjoint operator by n products and the symmetric eigenproblem; for another one by
    products on its smaller side and the singular value decomposition, which loses no digits to
    squaring.
    """
    if not view.self_adjoint:
        return _pairs_of_singular_values(view, k, max_memory)
    needed = dense_memory(view.n, view.dtype, k)
    check_memory(needed, max_memory, f"The {view.n} x {view.n} matrix", _REMEDY)
    matrix = self_adjoint_matrix(view, max_memory)
    values, vectors = leading_eigh(matrix.copy(), k)
    residuals = matrix @ vectors - vectors * values
    norm = max(view.norm_estimate, float(np.max(np.abs(values))))
    cost = Cost(4.0 * view.n**3 + 2.0 * view.n**2 * k, needed)
    return Pairs(values, vectors, column_norms(residuals), norm), cost


def _pairs_of_singular_values(view: SpectralView, k: int, max_memory: float) -> tuple[Pairs, Cost]:
    operator = view.counted(view.operator)
    n, p = operator.shape
    matrix = matrix_of(operator, max_memory)
    left, sigma, _ = scipy.linalg.svd(
        matrix, full_matrices=k > min(n, p), check_finite=False, lapack_driver="gesdd"
    )
    values = np.zeros(k, dtype=view.dtype)
    values[: len(sigma)] = sigma[:k] ** 2
    vectors = np.ascontiguousarray(left[:, :k])
    residuals = matrix @ (matrix.T @ vectors) - vectors * values
    needed = (3.0 * n * p + 5.0 * min(n, p) ** 2) * view.dtype.itemsize
    cost = Cost(6.0 * n * p * min(n, p), needed)
    return Pairs(values, vectors, column_norms(residuals), float(values[0])), cost
