"""Locally optimal block preconditioned conjugate gradients, through SciPy."""

from __future__ import annotations

import warnings

import numpy as np
from scipy.sparse.linalg import LinearOperator, lobpcg

from .._typing import FloatArray
from ._finish import rayleigh_ritz
from ._orthogonal import orthonormalise
from ._view import SpectralView

_GUARDS = 4
_ITERATIONS = 40
_STRETCHES_WITHOUT_GAIN = 5


def lobpcg_block(k: int) -> int:
    """Return the block's width: k, and guard vectors that separate the last pairs wanted."""
    return k + max(_GUARDS, k // 4)


def lobpcg_vectors(
    view: SpectralView,
    k: int,
    *,
    tolerance: float,
    rng: np.random.Generator,
    max_products: int,
    start: FloatArray | None,
) -> FloatArray:
    """Return k vectors (and guards) by LOBPCG; ``n >= 5 lobpcg_block(k)`` is needed.

    SciPy's iteration ends only when the guards have converged too, which may be long after the
    pairs that are wanted. So it runs in stretches, until those have.
    """
    block = lobpcg_block(k)
    given = np.empty((view.n, 0), view.dtype) if start is None else start[:, :block]
    operator = LinearOperator(
        (view.n, view.n),
        matvec=lambda x: view.apply(x.reshape(-1, 1))[:, 0],
        matmat=view.apply,
        dtype=view.dtype,
    )
    pairs = rayleigh_ritz(view, _filled(view, given, block, rng))
    last_budget = view.n_matvecs + max_products
    best, stretches = np.inf, 0
    while not pairs.leading(k).meet(k, tolerance) and stretches < _STRETCHES_WITHOUT_GAIN:
        iterations = min(_ITERATIONS, (last_budget - view.n_matvecs) // block - 1)
        if iterations < 1:
            break
        basis = _filled(view, pairs.vectors, block, rng)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                warnings.simplefilter("ignore", RuntimeWarning)
                _, basis = lobpcg(
                    operator,
                    basis,
                    largest=True,
                    tol=0.5 * tolerance * max(pairs.norm, float(np.finfo(view.dtype).tiny)),
                    maxiter=iterations,
                )
        except (np.linalg.LinAlgError, ValueError):
            # Its Gram matrices have become singular: what was reached before is kept.
            break
        pairs = rayleigh_ritz(view, np.ascontiguousarray(basis, dtype=view.dtype))
        worst = float(np.max(pairs.residual_norms[:k]))
        stretches = 0 if worst < 0.9 * best else stretches + 1
        best = min(best, worst)
    return pairs.vectors[:, :k]


def _filled(
    view: SpectralView, vectors: FloatArray, block: int, rng: np.random.Generator
) -> FloatArray:
    """Return an orthonormal block of the vectors and random columns."""
    missing = view.random_block(block - vectors.shape[1], rng)
    return np.ascontiguousarray(orthonormalise(np.hstack([vectors, missing])))
