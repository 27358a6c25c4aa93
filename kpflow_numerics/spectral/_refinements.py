"""What a refinement multiplies: the operator itself, or ``S* S`` of its factor S.

Ritz vectors are corrected by inexact inverse iteration, as Davidson's method does (J. Comput. Phys.
17, 1975): the inverse comes from the Krylov space of the coarse operator, which is there already.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from scipy.sparse.linalg import LinearOperator

from .._typing import FloatArray
from ._krylov_inverse import KrylovInverse
from ._orthogonal import column_norms
from ._ritz_span import RitzSpan, combined
from ._side import Side, factor_side, given_side, smaller_side
from ._view import CountedOperator, SpectralView

# S makes a residual, most of which is outside of the core, up to this much smaller: a bound further
# off than that need not be looked at.
_FAR = 100.0
# For orthogonal residuals the look is their root sum of squares; for others it scatters about it.
_DISPROVED = 2.0
# A wide block is copied on its way through S*, which fresh memory makes dear.
_COLUMNS_AT_A_TIME = 12


@dataclass(frozen=True, eq=False)
class SinglePrecision:
    """The operator in ``float32``, on the side where its eigenvectors are shorter.

    Attributes
    ----------
    side : Side
        Of nothing else than the operator rounded, or its factor.
    vectors : ndarray, shape (side.n, k)
        The eigenvectors there of the pairs found.
    """

    side: Side
    vectors: FloatArray


class Refinement(ABC):
    """Products and corrections for Rayleigh-Ritz in a growing span.

    Parameters
    ----------
    start : ndarray
        Approximate eigenvectors of what is multiplied, the first block of the span.
    """

    def __init__(self, start: FloatArray) -> None:
        self.start = start

    @abstractmethod
    def images(self, block: FloatArray) -> FloatArray:
        """Return the images of the next block of the span."""

    @abstractmethod
    def directions(self, residuals: FloatArray, values: FloatArray) -> FloatArray:
        """Return what corrects Ritz vectors with these residuals and values, up to its length."""

    def restart(self, coefficients: FloatArray) -> None:  # noqa: B027
        """Take combinations of the blocks so far for the blocks."""

    def residual_norms(
        self,
        residuals: FloatArray,
        values: FloatArray,  # noqa: ARG002
        limit: float,  # noqa: ARG002
    ) -> FloatArray:
        """Return the residual norms of the view's pairs; bounds where these decide already."""
        return column_norms(residuals)

    def vectors(
        self,
        span: RitzSpan,
        values: FloatArray,  # noqa: ARG002
        coefficients: FloatArray,
    ) -> FloatArray:
        """Return the view's eigenvectors, orthonormal up to the rounding of products."""
        return span.combine(coefficients)

    def confirmed(
        self,
        vectors: FloatArray,  # noqa: ARG002
        values: FloatArray,  # noqa: ARG002
        norms: FloatArray,
        rng: np.random.Generator,  # noqa: ARG002
    ) -> FloatArray:
        """Return the residual norms of pairs, made anew where a random look disproves them."""
        return norms

    @abstractmethod
    def single_precision(self, span: RitzSpan, coefficients: FloatArray) -> SinglePrecision | None:
        """Return what a certificate in ``float32`` can run on, if there is such an operator."""


class GivenRefinement(Refinement):
    """With products of the operator itself, in its own precision.

    Where the iteration ran on ``L* L``, ``-(L L* - theta)^-1`` is
    ``(1 - L (L* L - theta)^-1 L*) / theta``.

    Parameters
    ----------
    view : SpectralView
        The operator.
    side : Side
        Where the iteration ran.
    inverse : KrylovInverse
        On that side.
    found : ndarray, shape (side.n, k)
        The eigenvectors there.
    """

    def __init__(
        self, view: SpectralView, side: Side, inverse: KrylovInverse, found: FloatArray
    ) -> None:
        super().__init__(side.lift(found).astype(view.dtype))
        self._view, self._side, self._inverse = view, side, inverse

    def images(self, block: FloatArray) -> FloatArray:
        return self._view.apply(block)

    def directions(self, residuals: FloatArray, values: FloatArray) -> FloatArray:
        unit = _unit_columns(residuals, self._inverse.dtype)
        inverted = self._inverse.apply(self._side.lower(unit), values)
        if self._side.factor is None:
            return -inverted.astype(residuals.dtype)
        unit -= self._side.raised(inverted)
        return unit.astype(residuals.dtype)

    def single_precision(self, span: RitzSpan, coefficients: FloatArray) -> SinglePrecision | None:
        single = self._view.twin("astype", np.float32)
        if single is None:
            return None
        return SinglePrecision(given_side(single), span.combine(coefficients))


@dataclass(frozen=True, eq=False)
class DomainFactors:
    """A factor S of the view with short rows, and what leads to it from a coarse one.

    Attributes
    ----------
    whole, single : CountedOperator
        S, and S in ``float32``.
    embedding : LinearOperator
        Orthonormal W with ``S W`` near the coarse factor.
    """

    whole: CountedOperator
    single: CountedOperator
    embedding: LinearOperator


def domain_factors(view: SpectralView, side: Side) -> DomainFactors | None:
    """Return them where the iteration runs on a side whose operator tells its embedding."""
    whole = smaller_side(view).factor
    if whole is None or side.factor is None:
        return None
    embedding = getattr(side.factor.operator, "embedding", None)
    single = view.twin("astype", np.float32)
    if embedding is None or single is None or single.factor is None:
        return None
    return DomainFactors(whole, single.factor, embedding)


class FactorRefinement(Refinement):
    """With products of ``S* S`` in the domain of ``S``, of which a coarse one has a part.

    An eigenvector x there is one of ``S S*`` as ``S x / sqrt(theta)``. The first block is
    multiplied in full precision. Corrections are small, so that their images in ``float32`` are
    as good.

    Parameters
    ----------
    view : SpectralView
        The operator.
    factors : DomainFactors
        S, and what leads to it from the coarse one.
    inverse : KrylovInverse
        On the coarse side, where it left out the eigenvectors that were found.
    """

    def __init__(self, view: SpectralView, factors: DomainFactors, inverse: KrylovInverse) -> None:
        self._view, self._whole, self._single = view, factors.whole, factors.single
        self._embedding, self._inverse = factors.embedding, inverse
        # Rounded to float32, they would bring residuals that a correction leaves a third of.
        super().__init__(self._embedding.matmat(inverse.leading_vectors(np.float64)))
        self._halves: list[FloatArray] = []

    def images(self, block: FloatArray) -> FloatArray:
        factor = self._single if self._halves else self._whole
        n_parts = -(-block.shape[1] // _COLUMNS_AT_A_TIME)
        parts = [factor.matmat(part) for part in np.array_split(block, n_parts, axis=1)]
        self._halves += parts
        return np.hstack([factor.rmatmat(part) for part in parts], dtype=block.dtype)

    def directions(self, residuals: FloatArray, values: FloatArray) -> FloatArray:
        unit = residuals / column_norms(residuals)
        core = self._embedding.rmatmat(unit)
        inverted = self._inverse.apply(core.astype(self._inverse.dtype), values)
        # Outside of the core, S* S is nothing next to theta.
        unit /= values
        unit -= self._embedding.matmat(core / values + inverted)
        return unit

    def restart(self, coefficients: FloatArray) -> None:
        self._halves = [combined(self._halves, coefficients)]

    def residual_norms(self, residuals: FloatArray, values: FloatArray, limit: float) -> FloatArray:
        """Return ``|S r| / sqrt(theta)``, or ``|S|`` in the place of S where this is far off."""
        sizes = column_norms(residuals)
        norms: FloatArray = sizes * np.sqrt(values[0] / values)
        open_ones = (norms > limit) & (norms <= _FAR * limit)
        if open_ones.any():
            unit = _unit_columns(residuals[:, open_ones], self._single.dtype)
            lifted = column_norms(self._single.matmat(unit))
            norms[open_ones] = lifted * sizes[open_ones] / np.sqrt(values[open_ones])
        return norms

    def vectors(
        self,
        span: RitzSpan,  # noqa: ARG002
        values: FloatArray,
        coefficients: FloatArray,
    ) -> FloatArray:
        return combined(self._halves, coefficients / np.sqrt(values))

    def single_precision(self, span: RitzSpan, coefficients: FloatArray) -> SinglePrecision | None:
        return SinglePrecision(factor_side(self._single), span.combine(coefficients))

    def confirmed(
        self,
        vectors: FloatArray,
        values: FloatArray,
        norms: FloatArray,
        rng: np.random.Generator,
    ) -> FloatArray:
        """Compare them with the residual of a random combination, in full precision.

        For random signs z, ``E |R z|^2`` is the sum of the squared norms.
        """
        signs = (2.0 * rng.integers(0, 2, len(values)) - 1.0)[:, np.newaxis]
        residual = self._view.apply(vectors @ signs) - vectors @ (values[:, np.newaxis] * signs)
        if np.linalg.norm(residual) <= _DISPROVED * np.linalg.norm(norms):
            return norms
        return column_norms(self._view.apply(vectors) - vectors * values)


def _unit_columns(columns: FloatArray, dtype: np.dtype[np.floating]) -> FloatArray:
    """Return columns of norm one, rounded to a precision that their own size may leave."""
    unit = np.empty(columns.shape, dtype)
    np.divide(columns, column_norms(columns), out=unit, casting="same_kind")
    return unit
