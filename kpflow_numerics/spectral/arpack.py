"""ARPACK's implicitly restarted Lanczos iteration, through SciPy.

It grows one Krylov space from one vector: repeated eigenvalues may be missed with tiny residuals.
The certificate sees that, the residuals do not.
"""

from __future__ import annotations

import inspect

import numpy as np
from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, LinearOperator, eigsh

from .._typing import FloatArray
from ._view import SpectralView


def lanczos_vectors(k: int, n: int) -> int:
    """Return the dimension of the Krylov space."""
    return min(n, max(2 * k + 1, 20))


def arpack_vectors(
    view: SpectralView,
    k: int,
    *,
    tolerance: float,
    rng: np.random.Generator,
    max_products: int,
    start: FloatArray | None,
) -> FloatArray:
    """Return the vectors that ARPACK has converged, at most k; ``k < n`` is needed."""
    first = view.random_block(1, rng)[:, 0] if start is None else start.sum(axis=1)
    if start is None and not view.apply(first[:, None]).any():
        # Only the zero operator takes a random vector to zero; ARPACK cannot start on it.
        return view.random_block(k, rng)
    operator = LinearOperator(
        (view.n, view.n), matvec=lambda x: view.apply(x.reshape(-1, 1))[:, 0], dtype=view.dtype
    )
    dimension = lanczos_vectors(k, view.n)
    options = {"rng": rng} if "rng" in inspect.signature(eigsh).parameters else {}
    try:
        _, vectors = eigsh(
            operator,
            k,
            which="LA",
            v0=first,
            ncv=dimension,
            tol=tolerance,
            maxiter=max(1, max_products // (dimension - k)),
            **options,
        )
    except ArpackNoConvergence as partial:
        vectors = partial.eigenvectors
    except ArpackError:
        vectors = np.empty((view.n, 0))
    return np.ascontiguousarray(vectors, dtype=view.dtype)
