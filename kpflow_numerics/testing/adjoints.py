"""The dot test: whether the adjoint products belong to the forward ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse.linalg import LinearOperator, aslinearoperator

from .._typing import FloatArray, RNGLike
from .._validation import check_integer, check_rng
from .tolerances import working_dtype

DOT_TEST_FACTOR = 50
"""The dot test's threshold, in units of the machine epsilon."""


@dataclass(frozen=True, repr=False, eq=False)
class DotTestResult:
    """Outcome of :func:`dot_test`.

    Attributes
    ----------
    error : float
        The largest of `errors`.
    threshold : float
        What the error must not exceed.
    errors : ndarray
        ``|<A x, y> - <x, A* y>| / max(|A x| |y|, |x| |A* y|)`` for each pair.
    passed : bool
        Whether the adjoint is right.
    """

    error: float
    threshold: float
    errors: FloatArray
    passed: bool

    def __repr__(self) -> str:
        verdict = "passed" if self.passed else "FAILED"
        return f"DotTestResult({verdict}: error {self.error:.1e}, threshold {self.threshold:.1e})"


def dot_test(
    operator: LinearOperator, *, rng: RNGLike = 0, n_pairs: int = 5, factor: float = DOT_TEST_FACTOR
) -> DotTestResult:
    """Check that an operator's adjoint products belong to its forward products.

    The error is scaled by the norms ``|A x| |y|``, not by the inner product, which is small by
    chance often enough to reject correct ``float32`` code.

    Parameters
    ----------
    operator : LinearOperator, shape (n, p)
        The operator A.
    rng : int, SeedSequence or Generator
        Source of the random pairs.
    n_pairs : int
        Number of pairs of vectors. The same pairs are tested once more as a block, in which
        every left vector meets every right one.
    factor : float
        The threshold, in units of the machine epsilon.

    Returns
    -------
    DotTestResult

    Notes
    -----
    Takes ``4 n_pairs`` products.

    Examples
    --------
    >>> dot_test(np.arange(6.0).reshape(2, 3)).passed
    True
    """
    operator = aslinearoperator(operator)
    n_pairs = check_integer(n_pairs, "n_pairs")
    generator = check_rng(rng)
    dtype = working_dtype(operator)
    X = generator.standard_normal((operator.shape[1], n_pairs)).astype(dtype)
    Y = generator.standard_normal((operator.shape[0], n_pairs)).astype(dtype)
    by_vector = [
        _dot_errors(x, operator.matvec(x[:, 0])[:, None], y, operator.rmatvec(y[:, 0])[:, None])
        for x, y in (
            (np.ascontiguousarray(X[:, [i]]), np.ascontiguousarray(Y[:, [i]]))
            for i in range(n_pairs)
        )
    ]
    by_block = _dot_errors(X, operator.matmat(X), Y, operator.rmatmat(Y))
    errors = np.concatenate([np.ravel(each) for each in (*by_vector, by_block)])
    error = float(np.max(errors))
    threshold = factor * float(np.finfo(dtype).eps)
    return DotTestResult(error, threshold, errors, error <= threshold)


def _dot_errors(
    X: FloatArray, forward: FloatArray, Y: FloatArray, backward: FloatArray
) -> FloatArray:
    X, forward, Y, backward = (np.asarray(each, np.float64) for each in (X, forward, Y, backward))
    difference = np.abs(Y.T @ forward - backward.T @ X)
    scale = np.maximum(
        np.outer(np.linalg.norm(Y, axis=0), np.linalg.norm(forward, axis=0)),
        np.outer(np.linalg.norm(backward, axis=0), np.linalg.norm(X, axis=0)),
    )
    return np.where(difference == 0, 0.0, difference / np.where(scale == 0, 1.0, scale))
