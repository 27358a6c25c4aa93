"""Leading eigenpairs by Lanczos on a cheaper operator in ``float32``, refined with the operator.

The residuals of the refinement are those of the operator itself. What the cheaper operator is wrong
in is repaired by inexact inverse iteration, as Davidson's method does (J. Comput. Phys. 17, 1975):
the inverse comes from the Krylov space that is there already.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._threads import map_in_threads, share_rows, single_threaded_blas
from .._typing import FloatArray
from .._validation import InputError, MemoryLimitError
from ..results import Cost
from ..testing import default_tolerance
from ._finish import Pairs
from ._orthogonal import column_norms
from ._side import Side, smaller_side
from ._view import SpectralView
from .lanczos import LanczosBasis, lanczos, lanczos_capacity

_MOST_BASES = 4
_MOST_CORRECTIONS = 4
_LEAST_GAIN = 0.5
_BLOCKS = 3
_SMALLEST_GAP = 1e-3
_DEPENDENT = 1e-6
_ROWS = 4_096


class RitzSpan:
    """The span of some columns, which need not be orthonormal, and of their images.

    Only Gram matrices and combinations pass through the long arrays, as seldom as can be.
    """

    def __init__(self) -> None:
        self._blocks: list[FloatArray] = []
        self._images: list[FloatArray] = []
        self._gram: FloatArray = np.empty((0, 0))
        self._quotient: FloatArray = np.empty((0, 0))

    @property
    def n_columns(self) -> int:
        """Columns of all blocks."""
        return len(self._gram)

    def append(self, block: FloatArray, images: FloatArray) -> None:
        """Add a block and its images."""
        self._blocks.append(block)
        self._images.append(images)
        self._gram = _bordered(self._gram, [_products(each, block) for each in self._blocks])
        self._quotient = _bordered(
            self._quotient, [_products(each, images) for each in self._blocks]
        )

    def leading(self, k: int) -> tuple[FloatArray, FloatArray]:
        """Return the k leading Ritz values, and the coefficients of orthonormal Ritz vectors."""
        basis = self._orthonormal()
        quotient = basis.T @ self._quotient @ basis
        values, coefficients = np.linalg.eigh((quotient + quotient.T) / 2)
        return values[::-1][:k], basis @ coefficients[:, ::-1][:, :k]

    def _orthonormal(self) -> FloatArray:
        """Return the coefficients of an orthonormal basis; columns that depend are left out."""
        sizes = np.sqrt(np.diagonal(self._gram))
        shares, directions = np.linalg.eigh(self._gram / np.outer(sizes, sizes))
        kept = shares > _DEPENDENT
        return directions[:, kept] / np.sqrt(shares[kept]) / sizes[:, np.newaxis]

    def combine(self, coefficients: FloatArray) -> FloatArray:
        """Return combinations of the columns."""
        return _combined(self._blocks, coefficients)

    def combine_images(self, coefficients: FloatArray) -> FloatArray:
        """Return combinations of the images."""
        return _combined(self._images, coefficients)

    def residuals(self, values: FloatArray, coefficients: FloatArray) -> FloatArray:
        """Return ``A v - value v`` for Ritz pairs."""
        both = np.vstack([coefficients, -coefficients * values])
        return _combined([*self._images, *self._blocks], both)

    def take_out_of(self, block: FloatArray) -> None:
        """Take the projections onto the span out of columns, and make their norms one."""
        parts = np.vstack([_products(each, block) for each in self._blocks])
        basis = self._orthonormal()
        _add_combined(block, self._blocks, -basis @ (basis.T @ parts))
        block /= column_norms(block)


def _bordered(matrix: FloatArray, columns: list[FloatArray]) -> FloatArray:
    """Return a symmetric matrix with some more columns, and rows."""
    old, new = len(matrix), np.vstack(columns)
    bordered = np.empty((len(new), len(new)))
    bordered[:old, :old] = matrix
    bordered[:, old:] = new
    bordered[old:, :old] = new[:old].T
    bordered[old:, old:] = (new[old:] + new[old:].T) / 2
    return bordered


def _combined(blocks: list[FloatArray], coefficients: FloatArray) -> FloatArray:
    """Return the sum of blocks times their rows of the coefficients."""
    result = np.zeros((len(blocks[0]), coefficients.shape[1]))
    _add_combined(result, blocks, coefficients)
    return result


def _add_combined(result: FloatArray, blocks: list[FloatArray], coefficients: FloatArray) -> None:
    """Add the sum of blocks times their rows of the coefficients, some rows at a time."""
    ends = np.cumsum([each.shape[1] for each in blocks])[:-1]
    weights = np.split(np.ascontiguousarray(coefficients), ends)

    def add(share: range) -> None:
        for first in share:
            rows = slice(first, min(first + _ROWS, share.stop))
            for each, weight in zip(blocks, weights, strict=True):
                result[rows] += each[rows] @ weight

    map_in_threads(add, _shares(len(result)))


def _products(left: FloatArray, right: FloatArray) -> FloatArray:
    """Return ``left* right`` of long arrays."""

    def product(share: range) -> FloatArray:
        rows = slice(share.start, share.stop)
        return left[rows].T @ right[rows]

    return np.sum(map_in_threads(product, _shares(len(left))), axis=0)


def _shares(n_rows: int) -> list[range]:
    """Return the rows that each thread takes; the steps are those that stay in its cache."""
    share = share_rows(n_rows)
    return [range(first, min(first + share, n_rows), _ROWS) for first in range(0, n_rows, share)]


def orthonormalised(vectors: FloatArray) -> FloatArray:
    """Return nearly orthonormal vectors without what rounding left of their products."""
    error = _products(vectors, vectors) - np.eye(vectors.shape[1])
    if np.max(np.abs(error)) <= default_tolerance(vectors.dtype, vectors.shape[1]):
        return vectors
    return _combined([vectors], np.eye(len(error)) - error / 2)


class KrylovInverse:
    """``-(A - theta)^-1`` of residuals, outside the leading Ritz vectors of a Lanczos basis.

    With V the basis on the side of ``L* L``, and ``L* L`` taken as ``V T V*``,

        ``-(L L* - theta)^-1 = (1 - L (L* L - theta)^-1 L*) / theta``.

    Parameters
    ----------
    side : Side
        Where the iteration ran.
    basis : LanczosBasis
        What it left.
    leading : int
        How many Ritz vectors to leave out: Rayleigh-Ritz takes care of them.
    """

    def __init__(self, side: Side, basis: LanczosBasis, leading: int) -> None:
        self._side, self._basis = side, basis
        values, coefficients, _ = basis.ritz()
        self._scale = float(np.max(np.abs(values)))
        self._values, self._coefficients = values[leading:], coefficients[:, leading:]

    def directions(self, residuals: FloatArray, values: FloatArray) -> FloatArray:
        """Return what corrects Ritz vectors with these residuals and values, up to its length."""
        dtype = self._basis.next.dtype
        unit = np.empty(residuals.shape, dtype)
        np.divide(residuals, column_norms(residuals), out=unit, casting="same_kind")
        theta = np.maximum(np.abs(values), float(np.finfo(dtype).eps) * self._scale)
        below = np.minimum(self._values[:, np.newaxis] - values, -_SMALLEST_GAP * self._scale)
        lowered = self._side.lower(unit)
        with single_threaded_blas():
            parts = self._basis.parts(lowered).astype(np.float64)
            within = self._coefficients @ ((self._coefficients.T @ parts) / below)
            inverted = self._basis.combine(within + parts / theta)
            inverted -= lowered / theta.astype(dtype)
        if self._side.factor is None:
            return -inverted.astype(residuals.dtype)
        unit -= self._side.raised(inverted)
        return unit.astype(residuals.dtype)


def refined_lanczos(
    view: SpectralView,
    coarse: SpectralView,
    k: int,
    *,
    tolerance: float,
    rng: np.random.Generator,
    max_products: int,
    max_memory: float,
) -> tuple[Pairs, Cost] | None:
    """Find leading eigenpairs, one of each repeated eigenvalue, with few products of the operator.

    Parameters
    ----------
    view : SpectralView
        The operator.
    coarse : SpectralView
        One near it whose products are cheaper.
    k, tolerance, rng, max_products
        As for :func:`~kpflow_numerics.spectral.lanczos.lanczos`.
    max_memory : float
        Bytes that the bases may take.

    Returns
    -------
    tuple of Pairs and Cost, or None
        The pairs, with residuals of the operator itself, whether or not they meet the tolerance;
        and what was used beside the products. None where the coarse operator's numbers leave
        the range of the floats, its iteration does not converge or ends with eigenvalues near
        zero, or memory does not suffice.
    """
    side = smaller_side(coarse)
    k = min(k, side.n)
    try:
        blocks = 2.0 * (_BLOCKS + 2) * k * view.n * view.dtype.itemsize
        capacity = lanczos_capacity(side.n, k, coarse.dtype, max_memory - blocks)
        found, basis = lanczos(
            side.apply,
            side.n,
            k,
            coarse.dtype,
            tolerance=0.5 * tolerance,
            rng=rng,
            max_products=min(max_products // side.n_products, _MOST_BASES * capacity),
            capacity=capacity,
            lifted=side.factor is not None,
        )
        if not found.converged:
            return None
        if not _well_in_range(float(found.values[0]), coarse.dtype):
            return None
        start = side.lift(found.vectors)
        if np.min(column_norms(start)) < 0.5:
            return None
        pairs = _refined(view, start.astype(view.dtype), KrylovInverse(side, basis, k), tolerance)
    except (InputError, MemoryLimitError):
        return None
    own = 4.0 * side.n * capacity * (found.used + 2.0 * k) + 12.0 * view.n * (_BLOCKS * k) ** 2
    columns = (capacity + k + 4.0) * side.n * coarse.dtype.itemsize
    return pairs, Cost(own, blocks + columns)


def _well_in_range(value: float, dtype: np.dtype[Any]) -> bool:
    """Whether an eigenvalue, its inverse and a thousandth of them are numbers of full precision."""
    info = np.finfo(dtype)
    return bool(float(info.tiny) ** (2 / 3) < value < float(info.max) ** (2 / 3))


def _refined(
    view: SpectralView, start: FloatArray, inverse: KrylovInverse, tolerance: float
) -> Pairs:
    """Return Ritz pairs in the span of some columns and of corrections to them."""
    k = start.shape[1]
    ritz = RitzSpan()
    fresh, worst = start, np.inf
    for n_corrections in range(_MOST_CORRECTIONS + 1):
        ritz.append(fresh, view.apply(fresh))
        values, coefficients = ritz.leading(k)
        residuals = ritz.residuals(values, coefficients)
        norms = column_norms(residuals)
        norm = max(view.norm_estimate, float(np.max(np.abs(values))))
        before, worst = worst, float(np.max(norms))
        left = norms > tolerance * norm
        idle = worst > _LEAST_GAIN * before or n_corrections == _MOST_CORRECTIONS
        if idle or not left.any():
            break
        chosen = residuals if left.all() else residuals[:, left]
        fresh = inverse.directions(chosen, values[left])
        if ritz.n_columns + fresh.shape[1] > _BLOCKS * k:
            kept, images = ritz.combine(coefficients), ritz.combine_images(coefficients)
            ritz = RitzSpan()
            ritz.append(kept, images)
        ritz.take_out_of(fresh)
    return Pairs(
        values.astype(view.dtype), orthonormalised(ritz.combine(coefficients)), norms, norm
    )
