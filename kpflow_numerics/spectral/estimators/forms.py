"""What the trace estimators see: the quadratic form of a self-adjoint operator, and a sketch."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from ..._typing import FloatArray
from ..._validation import InputError
from ...results import Cost
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
    flops : float or None
        Flops of ``z* G z``, where they are known.
    """

    size: int
    dtype: np.dtype[Any]
    cost: int
    positive: bool
    flops: float | None

    def quadratic(self, Z: FloatArray) -> FloatArray:
        """Return ``z* G z`` for each column of Z, in double precision."""

    def sketch(self, columns: int, rng: np.random.Generator) -> FloatArray:
        """Return columns whose span approximates the leading eigenvectors of G."""


class BilinearForm(QuadraticForm, Protocol):
    """A quadratic form that also gives ``x* G y`` and ``G y``, through images of the columns.

    Attributes
    ----------
    product_cost : int
        Products that an image and ``G y`` from it take together.
    """

    product_cost: int

    def images(self, X: FloatArray) -> FloatArray:
        """Return what `gram` and `products` need of X: ``G X``, or ``L X`` where ``G = L* L``."""

    def gram(self, X: FloatArray, images: FloatArray) -> FloatArray:
        """Return ``X* G X`` in double precision, from the images of X and no products."""

    def products(self, images: FloatArray) -> FloatArray:
        """Return ``G X`` from the images of X."""


class SelfAdjointForm:
    """A self-adjoint operator without a known factor."""

    cost = 1
    product_cost = 1

    def __init__(self, view: SpectralView) -> None:
        self._view = view
        self.size = view.n
        self.dtype = view.dtype
        self.positive = view.positive_semidefinite
        self.flops = view.product_flops

    def quadratic(self, Z: FloatArray) -> FloatArray:
        """Return ``z* A z`` for each column."""
        return column_products(Z, self._view.apply(Z))

    def sketch(self, columns: int, rng: np.random.Generator) -> FloatArray:
        """Return the operator's products with random columns."""
        return self._view.apply(self._view.random_block(columns, rng))

    def images(self, X: FloatArray) -> FloatArray:
        """Return ``A X``."""
        return self._view.apply(X)

    def gram(self, X: FloatArray, images: FloatArray) -> FloatArray:
        """Return ``X* A X``, made symmetric."""
        matrix = (X.T @ images).astype(np.float64)
        return (matrix + matrix.T) / 2

    def products(self, images: FloatArray) -> FloatArray:
        """Return the images, which are the products."""
        return images


class Factor(Protocol):
    """What a form needs of L: its block products."""

    shape: tuple[int, int]
    dtype: np.dtype[Any]

    def product_cost(self, k: int = 1) -> Cost | None:
        """Return what a block product takes, where that is known."""

    def matmat(self, X: FloatArray) -> FloatArray:
        """Return ``L X``."""

    def rmatmat(self, X: FloatArray) -> FloatArray:
        """Return ``L* X``."""


class FactorForm:
    """``L* L`` or ``L L*``: the trace is ``|L|_F^2`` either way.

    One-sided: ``|L z|^2`` needs products with L only, ``|L* z|^2`` only with its adjoint; a sketch
    needs products with the other one.

    Parameters
    ----------
    factor : Factor, shape (n, p)
        L.
    forward : bool, optional
        Whether the probes are on the column side (``|L z|^2``) or on the row side (``|L* z|^2``).
        By default on the smaller side.

    Attributes
    ----------
    forward : bool
        On which side the probes are.
    """

    cost = 1
    product_cost = 2
    positive = True

    def __init__(self, factor: Factor, *, forward: bool | None = None) -> None:
        n, p = factor.shape
        if forward is None:
            forward = p <= n
        self.forward = forward
        self.size, self.image_size = (p, n) if forward else (n, p)
        self.dtype = factor.dtype
        cost = factor.product_cost()
        self.flops = None if cost is None else self.cost * cost.flops
        self._multiply, self._multiply_adjoint = (
            (factor.matmat, factor.rmatmat) if forward else (factor.rmatmat, factor.matmat)
        )

    def quadratic(self, Z: FloatArray) -> FloatArray:
        """Return ``|L z|^2`` for each column."""
        images = self.images(Z)
        return column_products(images, images)

    def sketch(self, columns: int, rng: np.random.Generator) -> FloatArray:
        """Return the adjoint's products with random columns."""
        random = rng.standard_normal((self.image_size, columns))
        return self.adjoint_images(random.astype(self.dtype, copy=False))

    def images(self, X: FloatArray) -> FloatArray:
        """Return ``L X``."""
        return self._multiply(X)

    def adjoint_images(self, X: FloatArray) -> FloatArray:
        """Return ``L* X`` for X on the other side."""
        return self._multiply_adjoint(X)

    def gram(self, X: FloatArray, images: FloatArray) -> FloatArray:  # noqa: ARG002
        """Return ``X* L* L X``."""
        return (images.T @ images).astype(np.float64)

    def products(self, images: FloatArray) -> FloatArray:
        """Return ``L* L X``."""
        return self.adjoint_images(images)


class GramForm(FactorForm):
    """The square of ``L* L`` (or of ``L L*``): its trace is ``|L L*|_F^2``."""

    cost = 2
    product_cost = 4

    def __init__(self, factor: CountedOperator) -> None:
        super().__init__(factor)
        self.image_size = self.size

    def images(self, X: FloatArray) -> FloatArray:
        """Return ``L* L X``."""
        return self._multiply_adjoint(self._multiply(X))

    def adjoint_images(self, X: FloatArray) -> FloatArray:
        """Return ``L* L X``, which is self-adjoint."""
        return self.images(X)


def trace_form(view: SpectralView, *, forward: bool | None = None) -> SelfAdjointForm | FactorForm:
    """Return the form whose trace is that of the view, on the side asked for or the smaller."""
    if view.factor is not None:
        return FactorForm(view.factor, forward=forward)
    if forward is not None:
        raise InputError(
            f"One-sided estimates need a factor L with op = L L*, which this {view.name} does not "
            'have: give it a `factor`, pass self_adjoint=False, or use method="hutchinson".'
        )
    return SelfAdjointForm(view)


def squared_norm_form(view: SpectralView, *, forward: bool | None = None) -> FactorForm:
    """Return the form whose trace is the squared Frobenius norm of the operator itself."""
    narrow = view.self_adjoint and view.factor is not None and 2 * view.smaller_side < view.n
    if narrow and forward is None and view.factor is not None:
        return GramForm(view.factor)
    return FactorForm(view.counted(view.operator), forward=forward)


def chunk_widths(columns: int) -> list[int]:
    """Return the widths of consecutive chunks of that many columns."""
    full, rest = divmod(columns, PRODUCT_COLUMNS)
    return [PRODUCT_COLUMNS] * full + [rest] * (rest > 0)


def random_signs(
    size: int, columns: int, dtype: np.dtype[Any], rng: np.random.Generator
) -> FloatArray:
    """Return independent entries of +1 and -1 (Rademacher probes)."""
    return (2 * rng.integers(0, 2, (size, columns), dtype=np.int8) - 1).astype(dtype)


def on_sphere(
    size: int, columns: int, dtype: np.dtype[Any], rng: np.random.Generator
) -> FloatArray:
    """Return independent columns, uniform on the sphere of radius ``sqrt(size)``."""
    block = rng.standard_normal((size, columns))
    block *= np.sqrt(size / np.sum(block**2, axis=0))
    return block.astype(dtype, copy=False)


def column_products(X: FloatArray, Y: FloatArray) -> FloatArray:
    """Return ``x* y`` for each pair of columns, accumulated in double precision."""
    products: FloatArray = np.einsum("ij,ij->j", X, Y, dtype=np.float64)
    return products
