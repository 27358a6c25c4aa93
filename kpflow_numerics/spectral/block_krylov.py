"""Block Krylov iteration with thick restarts, full reorthogonalisation and locking.

The basis grows by the residuals of the leading Ritz vectors that have not converged. Started from
random columns, those residuals span the next block of the Krylov space, so that the iteration is
thick-restarted block Lanczos; unlike its three-term form it takes any start (a warm one, or one
that a certificate has corrected) and finds its residuals exactly, not by recurrence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._typing import FloatArray
from .._validation import MemoryLimitError
from ..results import format_bytes
from ._orthogonal import column_norms, orthonormalise

BLOCK_COLUMNS = 16
"""Columns of a block: copies of a repeated eigenvalue up to this number are found at once."""

_SMALLEST_BLOCK = 4
_RESTARTS_WITHOUT_GAIN = 25
_ROWS = 32_768


@dataclass(frozen=True, eq=False)
class RitzPairs:
    """What an iteration ended with; `values` descending, `used` products."""

    values: FloatArray
    vectors: FloatArray
    residual_norms: FloatArray
    converged: bool
    used: int


class RitzBasis:
    """An orthonormal basis V, its image A V, and the eigenpairs of ``V* A V``."""

    def __init__(self, n: int, capacity: int, dtype: np.dtype[Any]) -> None:
        self.capacity = capacity
        self.size = 0
        self._vectors = np.empty((n, capacity), dtype=dtype, order="F")
        self._images = np.empty((n, capacity), dtype=dtype, order="F")
        self._quotient = np.zeros((capacity, capacity))

    @property
    def vectors(self) -> FloatArray:
        """The basis."""
        return self._vectors[:, : self.size]

    def append(self, vectors: FloatArray, images: FloatArray) -> None:
        """Add orthonormal columns and what the operator makes of them."""
        old, new = self.size, self.size + vectors.shape[1]
        self._vectors[:, old:new] = vectors
        self._images[:, old:new] = images
        coupling = self._vectors[:, :new].T @ images
        self._quotient[:new, old:new] = coupling
        self._quotient[old:new, :old] = coupling[:old].T
        corner = self._quotient[old:new, old:new]
        self._quotient[old:new, old:new] = (corner + corner.T) / 2
        self.size = new

    def ritz(self) -> tuple[FloatArray, FloatArray]:
        """Return the Ritz values, descending, and their coefficients in the basis."""
        values, coefficients = np.linalg.eigh(self._quotient[: self.size, : self.size])
        return values[::-1], coefficients[:, ::-1]

    def combine(self, coefficients: FloatArray) -> FloatArray:
        """Return combinations of the basis."""
        return self.vectors @ coefficients.astype(self._vectors.dtype)

    def residuals(self, values: FloatArray, coefficients: FloatArray) -> FloatArray:
        """Return ``A v - value v`` for Ritz pairs."""
        images: FloatArray = self._images[:, : self.size] @ coefficients.astype(self._images.dtype)
        images -= self.combine(coefficients * values)
        return images

    def restart(self, values: FloatArray, coefficients: FloatArray) -> None:
        """Keep these Ritz pairs only."""
        kept = len(values)
        weights = np.ascontiguousarray(coefficients, dtype=self._vectors.dtype)
        for array in (self._vectors, self._images):
            for first in range(0, len(array), _ROWS):
                rows = array[first : first + _ROWS]
                rows[:, :kept] = rows[:, : self.size] @ weights
        self._quotient[:kept, :kept] = np.diag(values)
        self.size = kept


def basis_capacity(
    n: int,
    k: int,
    dtype: np.dtype[Any],
    max_memory: float,
    block: int = BLOCK_COLUMNS,
    largest: int | None = None,
) -> int:
    """Return how many columns the basis may have; never more than `largest`, by default n.

    Raises
    ------
    MemoryLimitError
        If fewer fit than k pairs need.
    """
    column = n * dtype.itemsize
    fitting = int((max_memory / column - 6 * block) / 2)
    largest = n if largest is None else largest
    needed = min(largest, k + 2 * _SMALLEST_BLOCK)
    if fitting < needed:
        raise MemoryLimitError(
            f"{k} eigenvectors of length {n:,} need about "
            f"{format_bytes((2 * needed + 6 * block) * column)}, more than "
            f"max_memory={format_bytes(max_memory)}. Raise max_memory or ask for fewer pairs."
        )
    return min(largest, fitting, max(k + 8 * block, 3 * k))


def block_krylov(
    apply: Callable[[FloatArray], FloatArray],
    n: int,
    k: int,
    dtype: np.dtype[Any],
    *,
    tolerance: float,
    rng: np.random.Generator,
    max_products: int,
    capacity: int,
    block: int = BLOCK_COLUMNS,
    start: FloatArray | None = None,
    deflated: FloatArray | None = None,
    stop: Callable[[float, float, int], bool] | None = None,
    enough: Callable[[FloatArray], int] | None = None,
) -> RitzPairs:
    """Find the k leading eigenpairs of a self-adjoint operator.

    Parameters
    ----------
    apply : callable
        Product of the operator with a block ``(n, b)``.
    n, k : int
        Size of the operator, number of pairs.
    dtype : dtype
        Precision of the vectors.
    tolerance : float
        A pair has converged when its residual is at most this times the largest absolute Ritz
        value met.
    rng : Generator
        Source of the random columns.
    max_products : int
        Never more columns than this are multiplied.
    capacity : int
        Columns of the basis at which it restarts.
    block : int
        Columns of a block.
    start : ndarray, shape (n, b), optional
        Columns to begin with; random ones fill them up to a block.
    deflated : ndarray, shape (n, m), optional
        Orthonormal columns to work in the complement of.
    stop : callable, optional
        Called with the leading Ritz value, its residual norm and the products used; ends the
        iteration by returning True.
    enough : callable, optional
        Called with the values whenever all k have converged; returns how many are wanted, and
        the iteration goes on where that is more, as far as the basis has room.

    Returns
    -------
    RitzPairs
        Of length k, as `enough` had it last, or shorter where the products did not suffice.
    """
    fixed = np.empty((n, 0), dtype) if deflated is None else deflated
    dimension = n - fixed.shape[1]
    capacity = min(capacity, dimension)
    block = min(block, max(_SMALLEST_BLOCK, (capacity - k) // 2))
    basis = RitzBasis(n, capacity, dtype)
    candidate = first_block(n, block, dtype, rng, start)
    progress = Progress()
    used, locked, scale = 0, 0, 0.0
    locked_values: FloatArray = np.empty(0)
    while True:
        fresh = orthonormalise(candidate, (fixed, basis.vectors))
        if fresh.shape[1] == 0:
            # An invariant subspace has been found whole: look for the rest elsewhere.
            random = rng.standard_normal((n, block)).astype(dtype, copy=False)
            fresh = orthonormalise(random, (fixed, basis.vectors))
        fresh = fresh[:, : min(capacity - basis.size, max_products - used)]
        images = apply(fresh)
        used += fresh.shape[1]
        if deflated is not None:
            images = images - fixed @ (fixed.T @ images)
        basis.append(fresh, images)
        values, coefficients = basis.ritz()
        scale = max(scale, float(np.max(np.abs(values))))
        limit = tolerance * scale
        wanted = min(k, basis.size)
        if np.any(np.abs(values[:locked] - locked_values) > limit):
            locked = 0
        locked, residuals = advance(basis, values, coefficients, locked, wanted, block, limit)
        if locked == k:
            locked, residuals = advance(basis, values, coefficients, 0, wanted, block, limit)
        while locked == k and enough is not None:
            more = min(enough(values[:k]), capacity - 2 * block)
            if more <= k:
                break
            k, wanted = more, min(more, basis.size)
            locked, residuals = advance(basis, values, coefficients, locked, wanted, block, limit)
        locked_values = values[:locked].copy()
        norms = column_norms(residuals)
        if locked == k or basis.size == dimension or used == max_products:
            break
        if stop is not None and stop(float(values[0]), float(norms[0]), used):
            break
        candidate = residuals[:, norms > limit]
        if (
            capacity < dimension
            and basis.size + max(candidate.shape[1], _SMALLEST_BLOCK) > capacity
        ):
            if progress.stalled(locked, float(np.max(norms, initial=0.0))):
                break
            kept = min(capacity - block, k + max(block, (capacity - k) // 3))
            basis.restart(values[:kept], coefficients[:, :kept])
    windows = [slice(first, min(first + block, wanted)) for first in range(0, wanted, block)]
    norms = np.concatenate(
        [column_norms(basis.residuals(values[each], coefficients[:, each])) for each in windows]
    )
    vectors = basis.combine(coefficients[:, :wanted])
    converged = bool(wanted == k and np.all(norms <= limit))
    return RitzPairs(values[:wanted].copy(), vectors, norms, converged, used)


class Progress:
    """Whether restarts still lead anywhere; products may be too noisy for the tolerance."""

    def __init__(self) -> None:
        self._best = (-1, 0.0)
        self._restarts = 0

    def stalled(self, locked: int, norm: float) -> bool:
        """Say at a restart how many pairs have converged, and the largest residual norm."""
        if locked > self._best[0] or (locked == self._best[0] and norm < 0.9 * self._best[1]):
            self._best = (locked, norm)
            self._restarts = 0
        else:
            self._restarts += 1
        return self._restarts > _RESTARTS_WITHOUT_GAIN


def first_block(
    n: int, block: int, dtype: np.dtype[Any], rng: np.random.Generator, start: FloatArray | None
) -> FloatArray:
    """Return the columns to begin with: those given, and random ones."""
    given = np.empty((n, 0), dtype) if start is None else start.astype(dtype, copy=False)
    # Random columns are added to a warm start too: without them it may miss what it lacks.
    missing = max(block - given.shape[1], _SMALLEST_BLOCK if given.shape[1] else 0)
    return np.hstack([given, rng.standard_normal((n, missing)).astype(dtype, copy=False)])


def advance(
    basis: RitzBasis,
    values: FloatArray,
    coefficients: FloatArray,
    locked: int,
    wanted: int,
    block: int,
    limit: float,
) -> tuple[int, FloatArray]:
    """Return the first pair that has not converged, and the residuals of the block from there.

    Pairs before `locked` are taken as converged; none after `wanted` is looked at, but the
    residuals of those that follow fill the block.
    """
    while True:
        window = slice(locked, min(locked + block, basis.size))
        residuals = basis.residuals(values[window], coefficients[:, window])
        converged = column_norms(residuals) <= limit
        leading = int(np.argmin(np.append(converged, False)))
        if leading < len(converged) or locked + leading >= wanted:
            return min(locked + leading, wanted), residuals
        locked += leading
