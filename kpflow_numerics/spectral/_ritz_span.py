"""Rayleigh-Ritz in the span of a few long columns, in few passes over them."""

from __future__ import annotations

import numpy as np

from .._threads import map_in_threads, share_rows
from .._typing import FloatArray
from ..testing import default_tolerance
from ._orthogonal import column_norms

_DEPENDENT = 1e-6
_ROWS = 4_096
_WORTH_A_THREAD = 8 * _ROWS


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
        """Add a block and its images, which may be rounded if those before them are not.

        What couples a block to those before comes from their images: next to an eigenvector it is
        as small as a residual.
        """
        self._blocks.append(block)
        self._images.append(images)
        self._gram = _bordered(self._gram, [_products(each, block) for each in self._blocks])
        couplings = [_products(each, block) for each in self._images]
        self._quotient = _bordered(self._quotient, couplings)

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
        return combined(self._blocks, coefficients)

    def restarted(self, coefficients: FloatArray) -> RitzSpan:
        """Return the span of combinations of the columns, with those of the images."""
        span = RitzSpan()
        span.append(self.combine(coefficients), combined(self._images, coefficients))
        return span

    def residuals(self, values: FloatArray, coefficients: FloatArray) -> FloatArray:
        """Return ``A v - value v`` for Ritz pairs."""
        both = np.vstack([coefficients, -coefficients * values])
        return combined([*self._images, *self._blocks], both)

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


def combined(blocks: list[FloatArray], coefficients: FloatArray) -> FloatArray:
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
    share = max(share_rows(n_rows), _WORTH_A_THREAD)
    return [range(first, min(first + share, n_rows), _ROWS) for first in range(0, n_rows, share)]


def orthonormalised(vectors: FloatArray) -> FloatArray:
    """Take out of nearly orthonormal vectors, in their place, what rounding left of products."""
    error = _products(vectors, vectors) - np.eye(vectors.shape[1])
    if np.max(np.abs(error)) <= default_tolerance(vectors.dtype, vectors.shape[1]):
        return vectors
    correction = np.eye(len(error)) - error / 2

    def correct(share: range) -> None:
        for first in share:
            rows = slice(first, min(first + _ROWS, share.stop))
            vectors[rows] = vectors[rows] @ correction

    map_in_threads(correct, _shares(len(vectors)))
    return vectors
