"""Block Krylov iteration on every diagonal block of an operator at once.

An operator that is block diagonal, such as ``P P*`` over trials, has blocks whose spectra are often
near-copies of each other: together they look like one operator with B-fold eigenvalues, on which an
ordinary Krylov space makes slow progress. Each block by itself has none of that. One product
with b columns advances b columns of the Krylov space of every block, since their rows are disjoint.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .._typing import FloatArray
from .._validation import InputError
from ..results import Cost
from ._finish import Pairs
from ._orthogonal import column_norms, orthonormalise
from ._view import SpectralView
from .block_krylov import Progress, RitzBasis, advance, basis_capacity, first_block
from .certificate import Certificate, certificate_threshold

DIAGONAL_BLOCK_COLUMNS = 4
"""Columns by which the space of every diagonal block grows with a product.

Within a block eigenvalues are seldom repeated, and a deep space finds close ones with fewer
products than a wide one.
"""

_SMALLEST_BLOCK = 4
_CAPACITY_BLOCKS = 2 * DIAGONAL_BLOCK_COLUMNS


def n_diagonal_blocks(view: SpectralView) -> int:
    """Return how many equal diagonal blocks the operator says that it has."""
    n_blocks = int(getattr(view.operator, "n_blocks", 1))
    if n_blocks < 1 or view.n % n_blocks:
        raise InputError(
            f"{view.name}.n_blocks must divide its {view.n} rows into equal diagonal blocks; got "
            f"{n_blocks}."
        )
    return n_blocks


@dataclass(frozen=True, eq=False)
class BlockPairs:
    """Leading Ritz pairs of every diagonal block; ``values[b]`` descending, `used` products.

    `scale` is the largest absolute Ritz value met.
    """

    values: list[FloatArray]
    vectors: list[FloatArray]
    converged: bool
    used: int
    scale: float


class BlockSpace:
    """The Krylov space of one diagonal block of size m.

    Parameters
    ----------
    basis : RitzBasis
        Empty, of vectors of length m.
    fixed : ndarray, shape (m, f)
        Orthonormal columns to work in the complement of.
    candidate : ndarray, shape (m, b)
        Columns to begin with.
    rng : Generator
        Source of the random columns that go on where an invariant subspace has been found whole.
    """

    def __init__(
        self, basis: RitzBasis, fixed: FloatArray, candidate: FloatArray, rng: np.random.Generator
    ) -> None:
        self.basis = basis
        self.dimension = len(fixed) - fixed.shape[1]
        self.values: FloatArray = np.empty(0)
        self.locked = 0
        self.norms: FloatArray = np.empty(0)
        self._fixed = fixed
        self._candidate = candidate
        self._coefficients: FloatArray = np.empty((0, 0))
        self._locked_values: FloatArray = np.empty(0)
        self._rng = rng

    def next_block(self, block: int) -> FloatArray:
        """Return orthonormal columns to multiply; none where the whole block is spanned."""
        against = (self._fixed, self.basis.vectors)
        room = min(self.basis.capacity, self.dimension) - self.basis.size
        fresh = orthonormalise(self._candidate, against)
        if fresh.shape[1] == 0 and room > 0:
            random = self._rng.standard_normal((len(self._fixed), block))
            fresh = orthonormalise(random.astype(self._fixed.dtype, copy=False), against)
        return fresh[:, :room]

    def append(self, fresh: FloatArray, images: FloatArray) -> None:
        """Add columns and what the operator makes of them, and find the Ritz values."""
        if fresh.shape[1] == 0:
            return
        if self._fixed.shape[1]:
            images = images - self._fixed @ (self._fixed.T @ images)
        self.basis.append(fresh, np.ascontiguousarray(images))
        self.values, self._coefficients = self.basis.ritz()

    def advance(self, wanted: int, block: int, limit: float, *, afresh: bool = False) -> None:
        """Count the leading pairs that have converged, and keep the residuals of those after."""
        locked = min(self.locked, wanted)
        moved = np.abs(self.values[:locked] - self._locked_values[:locked]) > limit
        if afresh or np.any(moved):
            locked = 0
        self.locked, residuals = advance(
            self.basis, self.values, self._coefficients, locked, wanted, block, limit
        )
        self._locked_values = self.values[: self.locked].copy()
        self.norms = column_norms(residuals)
        self._candidate = residuals[:, self.norms > limit]

    def is_full(self, block: int) -> bool:
        """Whether the next block does not fit, though the basis is not all there is."""
        width = max(self._candidate.shape[1], block)
        capacity = self.basis.capacity
        return capacity < self.dimension and self.basis.size + width > capacity

    def restart(self, wanted: int, block: int) -> None:
        """Keep the leading Ritz vectors only."""
        capacity = self.basis.capacity
        kept = min(capacity - block, wanted + max(block, (capacity - wanted) // 3))
        self.basis.restart(self.values[:kept], self._coefficients[:, :kept])

    def leading_norm(self, limit: float) -> float:
        """Return the residual norm of the leading pair, or its bound where it has converged."""
        return limit if self.locked else float(self.norms[0])

    def vectors(self, count: int) -> FloatArray:
        """Return the leading Ritz vectors."""
        return self.basis.combine(self._coefficients[:, :count])


def packed_product(view: SpectralView, blocks: Sequence[FloatArray]) -> list[FloatArray]:
    """Return the product of each diagonal block with its own columns, all by the same products."""
    n_blocks, size = len(blocks), len(blocks[0])
    width = max(each.shape[1] for each in blocks)
    if width == 0:
        return list(blocks)
    packed = np.zeros((n_blocks, size, width), dtype=view.dtype)
    for number, columns in enumerate(blocks):
        packed[number, :, : columns.shape[1]] = columns
    images = view.apply(packed.reshape(view.n, width)).reshape(packed.shape)
    return [images[number, :, : each.shape[1]] for number, each in enumerate(blocks)]


def krylov_of_blocks(
    view: SpectralView,
    n_blocks: int,
    k: int,
    *,
    tolerance: float,
    rng: np.random.Generator,
    max_products: int,
    capacity: int,
    block: int,
    of_each: bool = False,
    start: Sequence[FloatArray] | None = None,
    fixed: Sequence[FloatArray] | None = None,
    stop: Callable[[FloatArray, FloatArray, int], bool] | None = None,
) -> BlockPairs:
    """Find the leading eigenpairs of all diagonal blocks together, or of each.

    Parameters
    ----------
    view : SpectralView
        The operator, of ``n_blocks * m`` rows.
    n_blocks : int
        Number of diagonal blocks.
    k : int
        Number of pairs, of all blocks together.
    tolerance, rng, max_products, capacity, block
        As in :func:`~kpflow_numerics.spectral.block_krylov.block_krylov`, for each diagonal block.
        A product with one column serves all of them, and counts once.
    of_each : bool
        Whether k pairs are wanted of each block.
    start, fixed : sequence of ndarray, shapes (m, b) and (m, f), optional
        For each block, the columns to begin with, and orthonormal ones to work in the complement
        of.
    stop : callable, optional
        Called with the leading Ritz value of each block, their residual norms and the products
        used; ends the iteration by returning True.

    Returns
    -------
    BlockPairs
        The pairs of each block that are wanted.
    """
    size, dtype = view.n // n_blocks, view.dtype
    capacity = min(capacity, size)
    block = min(block, max(_SMALLEST_BLOCK, (capacity - min(k, size)) // 2))
    kept_out = [np.empty((size, 0), dtype)] * n_blocks if fixed is None else fixed
    given = [None] * n_blocks if start is None else start
    spaces = [
        BlockSpace(
            RitzBasis(size, min(capacity, size - outside.shape[1]), dtype),
            outside,
            first_block(size, block, dtype, rng, begin),
            rng,
        )
        for outside, begin in zip(kept_out, given, strict=True)
    ]
    live = [space for space in spaces if space.dimension]
    most = sum(min(k, space.dimension) if of_each else space.dimension for space in live)
    progress = Progress()
    used, scale, converged = 0, 0.0, False
    wanted = [0] * n_blocks
    while used < max_products:
        fresh = [space.next_block(block)[:, : max_products - used] for space in spaces]
        width = max(each.shape[1] for each in fresh)
        if width == 0:
            break
        for space, columns, images in zip(spaces, fresh, packed_product(view, fresh), strict=True):
            space.append(columns, images)
        used += width
        values = [space.values for space in spaces]
        wanted = [min(k, len(each)) for each in values] if of_each else _among_leading(values, k)
        scale = max(scale, *(float(np.max(np.abs(space.values))) for space in live))
        limit = tolerance * scale
        locked = _advance_all(spaces, wanted, block, limit, afresh=False)
        if locked == wanted:
            locked = _advance_all(spaces, wanted, block, limit, afresh=True)
        converged = locked == wanted and sum(wanted) >= min(most, k)
        if converged:
            break
        if stop is not None:
            leading = np.array([space.values[0] for space in live])
            if stop(leading, np.array([space.leading_norm(limit) for space in live]), used):
                break
        full = [number for number, space in enumerate(spaces) if space.is_full(block)]
        if full:
            worst = max(float(np.max(space.norms, initial=0.0)) for space in spaces)
            if progress.stalled(sum(locked), worst):
                break
            for number in full:
                spaces[number].restart(wanted[number], block)
    return BlockPairs(
        [space.values[:count] for space, count in zip(spaces, wanted, strict=True)],
        [space.vectors(count) for space, count in zip(spaces, wanted, strict=True)],
        converged,
        used,
        scale,
    )


def _among_leading(values: Sequence[FloatArray], k: int) -> list[int]:
    """Return how many values of each block are among the k leading of all."""
    owners = np.repeat(np.arange(len(values)), [len(each) for each in values])
    order = np.argsort(-np.concatenate(values), kind="stable")[:k]
    counts: list[int] = np.bincount(owners[order], minlength=len(values)).tolist()
    return counts


def _advance_all(
    spaces: Sequence[BlockSpace], wanted: Sequence[int], block: int, limit: float, *, afresh: bool
) -> list[int]:
    for space, count in zip(spaces, wanted, strict=True):
        space.advance(count, block, limit, afresh=afresh)
    return [space.locked for space in spaces]


def rayleigh_ritz_of_blocks(
    view: SpectralView, vectors: Sequence[FloatArray], k: int, scale: float
) -> tuple[Pairs, list[FloatArray]]:
    """Return the k leading Ritz pairs of all blocks together, and their vectors in each block.

    From as many products as the block with most vectors has; `scale` is a lower bound of the
    operator's norm.
    """
    bases = [orthonormalise(each) for each in vectors]
    all_values, all_norms = [], []
    for number, images in enumerate(packed_product(view, bases)):
        quotient = (bases[number].T @ images).astype(np.float64)
        values, coefficients = np.linalg.eigh((quotient + quotient.T) / 2)
        values = values[::-1].astype(view.dtype)
        coefficients = coefficients[:, ::-1].astype(view.dtype)
        bases[number] = bases[number] @ coefficients
        all_values.append(values)
        all_norms.append(column_norms(images @ coefficients - bases[number] * values))
    owners = np.repeat(np.arange(len(bases)), [len(each) for each in all_values])
    order = np.argsort(-np.concatenate(all_values), kind="stable")[:k]
    result = np.zeros((len(bases), len(bases[0]), len(order)), dtype=view.dtype)
    kept = []
    for number, basis in enumerate(bases):
        columns = np.flatnonzero(owners[order] == number)
        kept.append(basis[:, : len(columns)])
        result[number][:, columns] = kept[-1]
    values = np.concatenate(all_values)[order]
    norm = max(view.norm_estimate, scale, float(np.max(np.abs(values), initial=0.0)))
    norms = np.concatenate(all_norms)[order]
    return Pairs(values, result.reshape(view.n, len(order)), norms, norm), kept


def certify_blocks(
    view: SpectralView,
    pairs: Pairs,
    kept: Sequence[FloatArray],
    *,
    tolerance: float,
    rng: np.random.Generator,
    n_products: int,
) -> tuple[Certificate, list[FloatArray]]:
    """Look in every block for an eigenvalue larger than the smallest of those given.

    The completeness certificate of :func:`~kpflow_numerics.spectral.completeness_certificate`,
    with a random block of its own in the complement of what was found in each diagonal block.

    Parameters
    ----------
    view : SpectralView
        The operator.
    pairs : Pairs
        What was found, of all blocks together.
    kept : sequence of ndarray, shape (m, c)
        The vectors found in each diagonal block.
    tolerance, rng, n_products
        As in the certificate.

    Returns
    -------
    tuple of Certificate and list of ndarray
        The certificate, whose value is the largest over the blocks and whose vector is the one
        that has it; and the leading Ritz vector of every block, to continue from.
    """
    size, n_blocks = len(kept[0]), len(kept)
    if len(pairs.values) == view.n:
        nothing = np.empty((view.n, 0), view.dtype)
        return Certificate(True, math.nan, math.nan, nothing), [nothing[:size]] * n_blocks
    threshold = certificate_threshold(
        pairs.values, pairs.residual_norms, tolerance, pairs.norm, view.n, view.dtype
    )

    def stop(values: FloatArray, norms: FloatArray, used: int) -> bool:
        if np.any(values > threshold):
            return True
        return used >= n_products and bool(np.all(values + norms <= threshold))

    found = krylov_of_blocks(
        view,
        n_blocks,
        1,
        of_each=True,
        tolerance=tolerance,
        rng=rng,
        max_products=2 * n_products,
        capacity=n_products,
        block=_SMALLEST_BLOCK,
        fixed=kept,
        stop=stop,
    )
    tops = np.array([values[0] if len(values) else -math.inf for values in found.values])
    largest = int(np.argmax(tops))
    vectors = np.zeros((n_blocks, size, 1), view.dtype)
    vectors[largest] = found.vectors[largest]
    value = float(tops[largest])
    certificate = Certificate(not value > threshold, value, threshold, vectors.reshape(view.n, 1))
    return certificate, found.vectors


def block_diagonal_pairs(
    view: SpectralView,
    k: int,
    *,
    tolerance: float,
    max_products: int,
    max_memory: float,
    start: FloatArray | None,
    certificate_products: int,
    rng: np.random.Generator,
) -> tuple[Pairs, Certificate | None, Cost]:
    """Find the k leading eigenpairs, and again from what the certificate found outside them.

    Memory: two bases of ``max(k + 64, 3 k)`` columns of length n, fewer where a diagonal block is
    smaller or `max_memory` asks for it.
    """
    n_blocks = n_diagonal_blocks(view)
    size, block = view.n // n_blocks, DIAGONAL_BLOCK_COLUMNS
    capacity = basis_capacity(view.n, k, view.dtype, max_memory, _CAPACITY_BLOCKS, largest=size)
    begin = None if start is None else list(start.reshape(n_blocks, size, -1))
    remaining = max_products
    certificate = None
    while True:
        found = krylov_of_blocks(
            view,
            n_blocks,
            k,
            tolerance=0.5 * tolerance,
            rng=rng,
            max_products=remaining,
            capacity=capacity,
            block=block,
            start=begin,
        )
        remaining -= found.used
        pairs, kept = rayleigh_ritz_of_blocks(view, found.vectors, k, found.scale)
        # Blocks of several columns need more products than a single vector to see as far.
        certificate, outside = certify_blocks(
            view, pairs, kept, tolerance=tolerance, rng=rng, n_products=2 * certificate_products
        )
        if certificate.complete or not found.converged or remaining < k + block:
            break
        begin = [
            np.hstack([*each, rng.standard_normal((size, block)).astype(view.dtype, copy=False)])
            for each in zip(kept, outside, strict=True)
        ]
    flops = 12.0 * view.n * capacity * (max_products - remaining)
    memory = (2.0 * capacity + 6 * _CAPACITY_BLOCKS) * view.n * view.dtype.itemsize
    return pairs, certificate, Cost(flops, memory)
