"""Whether an operator is the matrix that it should be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator

from .._typing import ArrayLike, FloatArray, RNGLike
from .._validation import check_integer, check_rng
from .tolerances import default_tolerance


def assert_operator_matches_dense(
    operator: LinearOperator,
    dense: ArrayLike,
    *,
    rng: RNGLike = 0,
    n_columns: int = 3,
    tolerance: float | None = None,
) -> None:
    """Assert that an operator is a matrix, in every product that SciPy's protocol offers.

    Compares shape, dtype, vectors, one-column matrices, blocks (also in Fortran order and with
    strides), products from the left, and the same of the adjoint and the transpose. Arguments
    must come back unchanged, results must have the operator's dtype.

    Parameters
    ----------
    operator : LinearOperator, shape (n, p)
        The operator under test.
    dense : array_like, shape (n, p)
        What it must be.
    rng : int, SeedSequence or Generator
        Source of the random vectors.
    n_columns : int
        Columns of a block; at least 2.
    tolerance : float, optional
        Relative to ``| |A| |x| |``; by default that of the dtype and the larger side.

    Raises
    ------
    AssertionError
        Naming the product that differs.
    """
    matrix = np.asarray(dense)
    generator = check_rng(rng)
    n_columns = check_integer(n_columns, "n_columns", minimum=2)
    if tolerance is None:
        tolerance = default_tolerance(operator.dtype, max(matrix.shape))
    assert operator.shape == matrix.shape, f"shape {operator.shape}, expected {matrix.shape}"
    for name, each, oracle in (
        ("A", operator, matrix),
        ("A.H", operator.H, matrix.T),
        ("A.T", operator.T, matrix.T),
        ("A.H.H", operator.H.H, matrix),
    ):
        assert each.shape == oracle.shape, f"{name}: shape {each.shape}, expected {oracle.shape}"
        assert each.dtype == operator.dtype, f"{name}: {each.dtype}, expected {operator.dtype}"
        _assert_products(name, each, oracle, generator, n_columns, tolerance)


def _assert_products(
    name: str,
    operator: LinearOperator,
    dense: FloatArray,
    generator: np.random.Generator,
    n_columns: int,
    tolerance: float,
) -> None:
    dtype = operator.dtype
    n, p = dense.shape
    X = generator.standard_normal((p, n_columns)).astype(dtype)
    Y = generator.standard_normal((n, n_columns)).astype(dtype)
    wide = np.repeat(X, 2, axis=1)
    products: list[tuple[str, Callable[[FloatArray], Any], FloatArray, FloatArray]] = [
        ("matvec(vector)", operator.matvec, X[:, 0].copy(), dense),
        ("matvec(column)", operator.matvec, X[:, :1].copy(), dense),
        ("matmat(one column)", operator.matmat, X[:, :1].copy(), dense),
        ("matmat(block)", operator.matmat, X, dense),
        ("matmat(Fortran block)", operator.matmat, np.asfortranarray(X), dense),
        ("matmat(strided block)", operator.matmat, wide[:, ::2], dense),
        ("rmatvec(vector)", operator.rmatvec, Y[:, 0].copy(), dense.T),
        ("rmatmat(block)", operator.rmatmat, Y, dense.T),
        ("A @ x", lambda x: operator @ x, X[:, 0].copy(), dense),
        ("A @ X", lambda x: operator @ x, X, dense),
        ("y @ A", lambda y: y @ operator, Y[:, 0].copy(), dense.T),
        ("Y.T @ A", lambda y: (y.T @ operator).T, Y, dense.T),
    ]
    for product, multiply, argument, oracle in products:
        where = f"{name}: {product}"
        before = argument.copy()
        found = np.asarray(multiply(argument))
        expected = oracle @ np.asarray(argument, dtype=np.float64)
        assert np.array_equal(argument, before), f"{where} changed its argument"
        assert found.shape == expected.shape, f"{where}: {found.shape}, expected {expected.shape}"
        assert found.dtype == dtype, f"{where}: dtype {found.dtype}, expected {dtype}"
        error = float(np.linalg.norm(found - expected))
        scale = float(np.linalg.norm(np.abs(oracle) @ np.abs(argument)))
        assert error <= tolerance * scale, (
            f"{where}: error {error:.1e} is above {tolerance:.1e} of the scale {scale:.1e}"
        )
