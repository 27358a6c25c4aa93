"""Whether these are the extreme eigenpairs, all of them and no others."""

from __future__ import annotations

import numpy as np
from scipy.sparse.linalg import LinearOperator

from .._typing import ArrayLike, DTypeLike, FloatArray
from ..results import EigenResult, SingularResult
from .tolerances import default_tolerance, working_dtype


def assert_eigenpairs(
    operator: LinearOperator | ArrayLike,
    result: EigenResult,
    *,
    k: int | None = None,
    self_adjoint: bool | None = None,
    tolerance: float | None = None,
) -> None:
    """Assert that a result holds the leading eigenpairs: all of them, and no others.

    Checks the flags, the order, orthonormality, residuals (recomputed, and against those that
    the result reports) and the values against the dense spectrum. Vectors are never compared
    entry by entry.

    Parameters
    ----------
    operator : LinearOperator or array_like, shape (n, n)
        The operator, small enough for its matrix; any shape if it is not self-adjoint.
    result : EigenResult
        What to check.
    k : int, optional
        How many pairs there must be.
    self_adjoint : bool, optional
        False: the pairs are those of ``A A*``. By default, whether the matrix is symmetric.
    tolerance : float, optional
        Relative to the norm of the operator; by default what the result claims, but at least
        the rounding error of its dtype.

    Raises
    ------
    AssertionError
        Naming what is wrong.
    """
    matrix = _dense(operator)
    if self_adjoint is None:
        self_adjoint = _is_symmetric(matrix, result.vectors.dtype)
    if not self_adjoint:
        matrix = matrix @ matrix.T
    spectrum = np.linalg.eigvalsh(matrix)[::-1]
    norm = float(np.max(np.abs(spectrum)))
    values, vectors = (np.asarray(each, np.float64) for each in (result.values, result.vectors))
    rounding = default_tolerance(result.vectors.dtype, len(matrix))
    if tolerance is None:
        tolerance = max(rounding, np.nan_to_num(result.tolerance, nan=0.0))
    _assert_flags(result, len(values), k)
    assert vectors.shape == (len(matrix), len(values)), f"vectors have shape {vectors.shape}"
    assert np.all(np.diff(values) <= 0), f"values are not descending: {values}"
    _assert_orthonormal(vectors, "vectors", rounding)
    residuals = np.linalg.norm(matrix @ vectors - vectors * values, axis=0)
    _assert_residuals(residuals, result.residual_norms, 2 * tolerance * norm)
    _assert_values(values, spectrum[: len(values)], 2 * tolerance * norm)


def assert_singular_triplets(
    operator: LinearOperator | ArrayLike,
    result: SingularResult,
    *,
    k: int | None = None,
    smallest: bool = False,
    tolerance: float | None = None,
) -> None:
    """Assert that a result holds the extreme singular triplets: all of them, and no others.

    The counterpart of :func:`assert_eigenpairs`; the arguments mean the same. With `smallest`
    the values are the smallest, ascending.
    """
    matrix = _dense(operator)
    spectrum = np.linalg.svd(matrix, compute_uv=False)
    norm = float(spectrum[0])
    left, values, right = (
        np.asarray(each, np.float64) for each in (result.left, result.values, result.right)
    )
    rounding = default_tolerance(result.left.dtype, max(matrix.shape))
    if tolerance is None:
        tolerance = max(rounding, np.nan_to_num(result.tolerance, nan=0.0))
    _assert_flags(result, len(values), k)
    assert np.all(np.diff(values if smallest else -values) >= 0), f"values out of order: {values}"
    _assert_orthonormal(left, "left", rounding)
    _assert_orthonormal(right, "right", rounding)
    forward = np.linalg.norm(matrix @ right - left * values, axis=0)
    backward = np.linalg.norm(matrix.T @ left - right * values, axis=0)
    _assert_residuals(np.hypot(forward, backward), result.residual_norms, 3 * tolerance * norm)
    expected = spectrum[::-1] if smallest else spectrum
    _assert_values(values, expected[: len(values)], 3 * tolerance * norm)


def _assert_flags(result: EigenResult | SingularResult, found: int, k: int | None) -> None:
    assert k is None or found == k, f"{found} values, expected {k}"
    assert result.converged, f"not converged: {result!r}"
    assert result.complete, f"not complete: {result!r}"


def _assert_orthonormal(vectors: FloatArray, name: str, tolerance: float) -> None:
    error = float(np.max(np.abs(vectors.T @ vectors - np.eye(vectors.shape[1])), initial=0.0))
    assert error <= tolerance, f"{name} are not orthonormal: error {error:.1e} > {tolerance:.1e}"


def _assert_residuals(found: FloatArray, reported: FloatArray, limit: float) -> None:
    assert np.all(found <= limit), f"residuals {found.max():.1e} are above {limit:.1e}"
    error = float(np.max(np.abs(found - reported), initial=0.0))
    assert error <= limit, f"reported residual_norms are wrong by {error:.1e}, limit {limit:.1e}"


def _assert_values(found: FloatArray, expected: FloatArray, limit: float) -> None:
    wrong = ~(np.abs(found - expected) <= limit)
    assert not wrong.any(), (
        f"values differ from the dense spectrum by {np.max(np.abs(found - expected)):.1e}, limit "
        f"{limit:.1e}, first at {int(np.argmax(wrong))}: {found[wrong][0]:.6g}, expected "
        f"{expected[wrong][0]:.6g}"
    )


def _dense(operator: LinearOperator | ArrayLike) -> FloatArray:
    if isinstance(operator, LinearOperator):
        dtype = working_dtype(operator)
        return np.asarray(operator.matmat(np.eye(operator.shape[1], dtype=dtype)), np.float64)
    return np.asarray(operator, np.float64)


def _is_symmetric(matrix: FloatArray, dtype: DTypeLike) -> bool:
    if matrix.shape[0] != matrix.shape[1]:
        return False
    largest = float(np.max(np.abs(matrix)))
    return bool(
        np.max(np.abs(matrix - matrix.T)) <= default_tolerance(dtype, len(matrix)) * largest
    )
