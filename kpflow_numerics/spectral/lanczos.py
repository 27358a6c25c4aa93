"""Lanczos iteration from a single vector, with partial reorthogonalisation and thick restarts.

A Krylov space of one vector reaches the leading eigenvalues with the fewest products: the degree of
its polynomials grows with each of them, and not with each block. Of a repeated eigenvalue it sees
one copy, and leaves it to the completeness certificate to notice.

A new vector is orthogonalised against the whole basis only where a recurrence says that rounding
has made it depend on the basis by more than the residuals can bear (H. D. Simon, Math. Comp. 42,
1984). Restarts keep the leading Ritz vectors (K. Wu and H. Simon, SIAM J. Matrix Anal. Appl. 22,
2000).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg

from .._threads import single_threaded_blas
from .._typing import DTypeLike, FloatArray
from .._validation import MemoryLimitError
from ..results import format_bytes
from .block_krylov import Progress, RitzPairs

_ROWS = 32_768
_MOST_PASSES = 4
_SPARE = 8
_PATIENCE = 12
_SHARE_OF_THE_WAY = 0.7


class LanczosBasis:
    """An orthonormal basis Q, the vector that comes next, and ``Q* A Q``.

    Parameters
    ----------
    n : int
        Length of the vectors.
    capacity : int
        Most vectors of the basis, the next one apart.
    dtype : dtype
        Their precision.
    rng : Generator
        Source of the first vector, and of another wherever an invariant subspace is complete.
    deflated : ndarray, shape (n, m)
        Orthonormal columns that all vectors are kept orthogonal to.
    tolerance : float
        Of the residuals. What is taken out of a vector when it is orthogonalised again is missing
        in ``Q* A Q``, so that it must stay below this.
    norm : float
        What is known of the operator's norm; smaller images are rounding next to it.
    """

    def __init__(
        self,
        n: int,
        capacity: int,
        dtype: np.dtype[Any],
        rng: np.random.Generator,
        deflated: FloatArray,
        tolerance: float,
        norm: float,
    ) -> None:
        self.size = 0
        self._rng, self._deflated = rng, deflated
        self._dimension = n - deflated.shape[1]
        self._precision = float(np.finfo(dtype).eps)
        most = math.sqrt(self._precision)
        self._allowed_overlap = min(max(0.1 * tolerance, 10 * self._precision), most)
        self._scale = norm
        self._vectors = np.empty((n, capacity + 1), dtype=dtype, order="F")
        self._quotient = np.zeros((capacity + 1, capacity + 1))
        # Estimated products of the next vector, and of the one before, with the basis.
        self._overlap: FloatArray = np.zeros(capacity + 1)
        self._overlap_before: FloatArray = self._overlap
        self._orthogonalise_next = False
        self._set_random_next()

    @property
    def next(self) -> FloatArray:
        """The vector to multiply next, as a block ``(n, 1)``."""
        return self._vectors[:, self.size : self.size + 1]

    def append(self, image: FloatArray) -> None:
        """Add `next`, of which the operator made `image`, to the basis, and find another."""
        j, T, Q = self.size, self._quotient, self._vectors
        rest: FloatArray = np.array(image[:, 0])
        self._scale = max(self._scale, _norm(rest))
        # The vector before, and after a restart the whole basis.
        coupled = slice(int(np.flatnonzero(np.append(T[:j, j], 1.0))[0]), j)
        rest -= Q[:, coupled] @ T[coupled, j].astype(rest.dtype)
        T[j, j] = float(Q[:, j] @ rest)
        rest -= T[j, j].astype(rest.dtype) * Q[:, j]
        rest -= self._deflated @ (self._deflated.T @ rest)
        self.size = j + 1
        norm = _norm(rest)
        if self._negligible(norm):
            self._set_random_next()
            return
        overlap: FloatArray = self._grown_overlap(norm)
        lost = float(np.max(np.abs(overlap[: j + 1]))) > self._allowed_overlap
        if lost or self._orthogonalise_next:
            rest, norm = self._orthogonal(rest, norm)
            if self._negligible(norm):
                self._set_random_next()
                return
            overlap[: j + 1] = self._precision
            # The recurrence has two terms: what the vector before has lost would come back.
            self._orthogonalise_next = not self._orthogonalise_next
        self._overlap_before, self._overlap = self._overlap, overlap
        T[j + 1, j] = T[j, j + 1] = norm
        np.divide(rest, rest.dtype.type(norm), out=Q[:, j + 1])

    def ritz(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return the Ritz values, descending, their coefficients and their residual norms."""
        m = self.size
        values, coefficients = np.linalg.eigh(self._quotient[:m, :m])
        residual_norms = np.abs(self._quotient[m, m - 1] * coefficients[-1])
        return values[::-1], coefficients[:, ::-1], residual_norms[::-1]

    def lifted_share(self, values: FloatArray) -> FloatArray:
        """Return what is left of the residual norms of Ritz pairs when ``A = S* S`` is left by S.

        The residual of ``(theta, x)`` is a multiple of the next vector q, and that of the vector
        ``S x / sqrt(theta)`` of ``S S*`` the same multiple of ``S q / sqrt(theta)``, where
        ``|S q|^2 = q* A q`` is the next diagonal entry of ``Q* A Q``: :attr:`last_quotient`.
        """
        if self.last_quotient <= 0:
            return np.ones_like(values)
        share: FloatArray = np.sqrt(self.last_quotient / np.maximum(values, self.last_quotient))
        return share

    @property
    def last_quotient(self) -> float:
        """What the operator is on the last vectors: the largest of three diagonal entries."""
        return float(np.max(np.diagonal(self._quotient)[max(0, self.size - 3) : self.size]))

    def parts(self, vectors: FloatArray) -> FloatArray:
        """Return the coefficients of the projections of vectors onto the basis."""
        return self._vectors[:, : self.size].T @ vectors

    def combine(self, coefficients: FloatArray, dtype: DTypeLike | None = None) -> FloatArray:
        """Return combinations of the basis, by default in its precision."""
        basis = self._vectors[:, : self.size]
        dtype = np.dtype(basis.dtype if dtype is None else dtype)
        weights = np.ascontiguousarray(coefficients, dtype=dtype)
        combined = np.empty((len(basis), weights.shape[1]), dtype)
        for first in range(0, len(basis), _ROWS):
            rows = slice(first, first + _ROWS)
            np.matmul(basis[rows].astype(dtype, copy=False), weights, out=combined[rows])
        return combined

    def restart(self, values: FloatArray, coefficients: FloatArray) -> None:
        """Keep these Ritz pairs only, and the next vector."""
        kept, m, T, Q = len(values), self.size, self._quotient, self._vectors
        couplings = T[m, m - 1] * coefficients[-1]
        weights = np.ascontiguousarray(coefficients, dtype=Q.dtype)
        for first in range(0, len(Q), _ROWS):
            rows = Q[first : first + _ROWS]
            rows[:, :kept] = rows[:, :m] @ weights
        self.size = kept
        following, norm = self._orthogonal(Q[:, m].copy(), 1.0)
        np.divide(following, following.dtype.type(norm), out=Q[:, kept])
        T[:] = 0
        T[:kept, :kept] = np.diag(values)
        T[kept, :kept] = T[:kept, kept] = couplings
        self._overlap = np.full(len(T), self._precision)
        self._orthogonalise_next = True

    def _negligible(self, norm: float) -> bool:
        return self.size == self._dimension or norm <= 10 * self._precision * self._scale

    def _grown_overlap(self, norm: float) -> FloatArray:
        """Return the estimated products of the next vector, of that norm before, with the basis."""
        j, T = self.size - 1, self._quotient
        grown = np.zeros(len(T))
        own, before = self._overlap[:j], self._overlap_before[:j].copy()
        before[j - 1 :] = 1.0
        grown[:j] = T[:j, :j] @ own + T[:j, j] - T[j, j] * own
        if j:
            grown[:j] -= T[j - 1, j] * before
        grown[: j + 1] /= norm
        grown[: j + 1] += np.copysign(self._precision * self._scale / norm, grown[: j + 1])
        return grown

    def _orthogonal(self, vector: FloatArray, norm: float) -> tuple[FloatArray, float]:
        """Return what a vector adds to the basis, and its norm."""
        basis = self._vectors[:, : self.size]
        for _ in range(_MOST_PASSES):
            parts = basis.T @ vector
            vector = vector - basis @ parts
            norm = _norm(vector)
            if _norm(parts) <= math.sqrt(self._precision) * norm:
                break
        return vector, norm

    def _set_random_next(self) -> None:
        if self.size == self._dimension:
            return
        vector = self._rng.standard_normal(len(self._vectors)).astype(self._vectors.dtype)
        for _ in range(2):
            vector -= self._deflated @ (self._deflated.T @ vector)
            vector, norm = self._orthogonal(vector, 1.0)
        np.divide(vector, vector.dtype.type(norm), out=self._vectors[:, self.size])
        self._overlap = np.full(len(self._quotient), self._precision)
        self._orthogonalise_next = True


class Course:
    """When to look for convergence: an eigenproblem of the basis' size each time."""

    def __init__(self) -> None:
        self._size, self._worst = 0, math.nan

    def until_next_test(self, size: int, worst: float, limit: float) -> int:
        """Return how many products to make first, from the course of the largest residual."""
        most = max(1, size // _PATIENCE)
        steps = most
        if limit < worst < self._worst:
            rate = math.log(self._worst / worst) / (size - self._size)
            steps = min(most, int(_SHARE_OF_THE_WAY * math.log(worst / limit) / rate))
        self._size, self._worst = size, worst
        return max(1, steps)


def lanczos_capacity(n: int, k: int, dtype: np.dtype[Any], max_memory: float) -> int:
    """Return how many vectors the basis may have.

    Raises
    ------
    MemoryLimitError
        If fewer fit than k pairs need.
    """
    column = n * dtype.itemsize
    fitting = int(max_memory / column) - k - _SPARE
    needed = min(n, k + _SPARE)
    if fitting < needed:
        raise MemoryLimitError(
            f"{k} eigenvectors of length {n:,} need about "
            f"{format_bytes((needed + k + _SPARE) * column)}, more than "
            f"max_memory={format_bytes(max_memory)}. Raise max_memory or ask for fewer pairs."
        )
    return min(n, fitting, max(2 * k + 256, 4 * k))


def lanczos(
    apply: Callable[[FloatArray], FloatArray],
    n: int,
    k: int,
    dtype: np.dtype[Any],
    *,
    tolerance: float,
    rng: np.random.Generator,
    max_products: int,
    capacity: int,
    deflated: FloatArray | None = None,
    norm: float = 0.0,
    lifted: bool = False,
    stop: Callable[[float, float, int], bool] | None = None,
    enough: Callable[[FloatArray], int] | None = None,
) -> tuple[RitzPairs, LanczosBasis]:
    """Find k leading eigenpairs of a self-adjoint operator, one of each repeated eigenvalue.

    Parameters
    ----------
    apply, n, k, dtype, tolerance, rng, max_products, deflated, stop, enough
        As for :func:`~kpflow_numerics.spectral.block_krylov.block_krylov`; `apply` is given one
        column at a time.
    capacity : int
        Vectors of the basis at which it restarts.
    norm : float
        A lower estimate of the operator's norm, which rounding is measured by; of use where
        `deflated` takes the leading eigenvectors away.
    lifted : bool
        Whether the operator is ``S* S`` and it is the pairs of ``S S*``, with the vectors ``S x``,
        that must meet the tolerance. Theirs do some products earlier.

    Returns
    -------
    tuple of RitzPairs and LanczosBasis
        The pairs, of length k, as `enough` had it last, or shorter where the products did not
        suffice; their residual norms come from the recurrence, and are of these pairs, lifted or
        not. And the basis at the end.

    Notes
    -----
    Each product is followed by ``4 n`` flops, and by ``4 n m`` where the m vectors of the basis are
    orthogonalised against. Memory: the basis and the pairs.
    """
    fixed = np.empty((n, 0), dtype) if deflated is None else deflated
    dimension = n - fixed.shape[1]
    capacity = min(capacity, dimension)
    basis = LanczosBasis(n, capacity, dtype, rng, fixed, tolerance, norm)
    progress = Progress()
    course = Course()
    used, scale, checked = 0, 0.0, 0
    while True:
        image = apply(basis.next)
        # Threads of the BLAS go on turning after a product, in the way of those of the operator.
        with single_threaded_blas():
            basis.append(image)
        used += 1
        ended = basis.size in (dimension, capacity) or used == max_products
        if not ended and basis.size < max(k, checked):
            continue
        with single_threaded_blas():
            values, coefficients, norms = basis.ritz()
        scale = max(scale, float(np.max(np.abs(values))))
        limit = tolerance * scale
        if basis.size == dimension:
            norms = np.zeros_like(norms)
        asked = norms * basis.lifted_share(values) if lifted else norms
        found = _n_converged(asked, min(k, basis.size), limit)
        while found == k and enough is not None:
            more = min(enough(values[:k]), 2 * capacity // 3)
            if more <= k:
                break
            k = more
            found = _n_converged(asked, min(k, basis.size), limit)
        if found == k or basis.size == dimension or used == max_products:
            break
        if stop is not None and stop(float(values[0]), float(norms[0]), used):
            break
        if basis.size == capacity:
            if progress.stalled(found, float(np.max(norms[:k], initial=0.0))):
                break
            kept = min(capacity - _SPARE // 2, k + max(_SPARE, (capacity - k) // 3))
            basis.restart(values[:kept], coefficients[:, :kept])
            checked = 0
            course = Course()
        else:
            worst = float(np.max(asked[:k]))
            checked = basis.size + course.until_next_test(basis.size, worst, limit)
    count = min(k, basis.size)
    converged = bool(count == k and np.all(asked[:count] <= limit))
    vectors = basis.combine(coefficients[:, :count])
    pairs = RitzPairs(values[:count].copy(), vectors, norms[:count].copy(), converged, used)
    return pairs, basis


def _norm(vector: FloatArray) -> float:
    """Return the Euclidean norm, whose squares neither vanish nor overflow."""
    return float(scipy.linalg.norm(vector, check_finite=False))


def _n_converged(norms: FloatArray, wanted: int, limit: float) -> int:
    return int(np.argmin(np.append(norms[:wanted] <= limit, False)))
