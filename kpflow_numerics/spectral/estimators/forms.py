"""What the trace estimators see: the quadratic form of a self-adjoint operator, and a sketch."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from ..._typing import FloatArray
from .._view import PRODUCT_COLUMNS, CountedOperator, SpectralView


class QuadraticForm(Protocol):
    """A self-adjoint operator G known by ``z* G z``.

    Attributes
    ----------
    size : int
        Size of G.
    dtype : dtype
        Precision of the products.
    cost : int
        Products of single columns that ``z* G z`` takes; a column of the sketch takes as many.
    positive : bool
        Whether G is positive semi-definite.
    """

    size: int
    dtype: np.dtype[Any]
    cost: int
    positive: bool

    def quadratic(self, Z: FloatArray) -> FloatArray:
        """Return ``z* G z`` for each column of Z, in double precision."""

    def sketch(self, columns: int, rng: np.random.Generator) -> FloatArray:
        """Return columns whose span approximates the leading eigenvectors of G."""


class SelfAdjointForm:
    """A self-adjoint operator without a known factor."""

    cost = 1

    def __init__(self, view: SpectralView) -> None:
        self._view = view
        self.size = view.n
        self.dtype = view.dtype
        self.positive = view.positive_semidefinite

    def quadratic(self, Z: FloatArray) -> FloatArray:
        """Return ``z* A z`` for each column."""
        return _column_products(Z, self._view.apply(Z))

    def sketch(self, columns: int, rng: np.random.Generator) -> FloatArray:
        """Return the operator's products with random columns."""
        return self._view.apply(self._view.random_block(columns, rng))


class FactorForm:
    """``L* L`` or ``L L*``, whichever is smaller: the trace is ``|L|_F^2`` either way.

    One-sided: ``|L z|^2`` needs products with L only (on the smaller side), a sketch needs products
    with its adjoint only.
    """

    cost = 1
    positive = True

    def __init__(self, factor: CountedOperator) -> None:
        n, p = factor.shape
        self.size = min(n, p)
        self.dtype = factor.dtype
        self._larger = max(n, p)
        forward, backward = factor.matmat, factor.rmatmat
        self._to_larger, self._to_smaller = (forward, backward) if p <= n else (backward, forward)

    def quadratic(self, Z: FloatArray) -> FloatArray:
        """Return ``|L z|^2`` for each column."""
        images = self._to_larger(Z)
        return _column_products(images, images)

    def sketch(self, columns: int, rng: np.random.Generator) -> FloatArray:
        """Return the adjoint's products with random columns."""
        random = rng.standard_normal((self._larger, columns))
        return self._to_smaller(random.astype(self.dtype, copy=False))


class GramForm(FactorForm):
    """The square of ``L* L`` (or of ``L L*``): its trace is ``|L L*|_F^2``."""

    cost = 2

    def quadratic(self, Z: FloatArray) -> FloatArray:
        """Return ``|L* L z|^2`` for each column."""
        images = self._to_smaller(self._to_larger(Z))
        return _column_products(images, images)

    def sketch(self, columns: int, rng: np.random.Generator) -> FloatArray:
        """Return products of ``L* L`` with random columns."""
        random = rng.standard_normal((self.size, columns)).astype(self.dtype, copy=False)
        return self._to_smaller(self._to_larger(random))


def trace_form(view: SpectralView) -> QuadraticForm:
    """Return the form whose trace is that of the view, on the smaller side."""
    return SelfAdjointForm(view) if view.factor is None else FactorForm(view.factor)


def squared_norm_form(view: SpectralView) -> QuadraticForm:
    """Return the form whose trace is the squared Frobenius norm of the operator itself."""
    if view.self_adjoint and view.factor is not None and 2 * view.smaller_side < view.n:
        return GramForm(view.factor)
    return FactorForm(view.counted(view.operator))


def chunk_widths(columns: int) -> list[int]:
    """Return the widths of consecutive chunks of that many columns."""
    full, rest = divmod(columns, PRODUCT_COLUMNS)
    return [PRODUCT_COLUMNS] * full + [rest] * (rest > 0)


def random_signs(
    size: int, columns: int, dtype: np.dtype[Any], rng: np.random.Generator
) -> FloatArray:
    """Return independent entries of +1 and -1 (Rademacher probes)."""
    return (2 * rng.integers(0, 2, (size, columns), dtype=np.int8) - 1).astype(dtype)


def _column_products(X: FloatArray, Y: FloatArray) -> FloatArray:
    products: FloatArray = np.einsum("ij,ij->j", X, Y, dtype=np.float64)
    return products
