"""Frobenius inner products ``tr(A* B)`` of operators that need not be self-adjoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._typing import FloatArray
from .._validation import InputError
from ..spectral._orthogonal import orthonormalise
from ..spectral._view import PRODUCT_COLUMNS, CountedOperator, ProductCounter
from ..spectral.dense import chunks, unit_columns
from ..spectral.estimators.forms import column_products, random_signs
from ..spectral.estimators.ratios import jackknife
from ..testing import default_tolerance

_SKETCHED_SHARE = 0.4
"""Share of the products that go to the exact part on the basis, and to making it."""

_LARGE = 20_000


@dataclass(frozen=True, eq=False)
class Cosines:
    """Cosines of operators with their standard errors and 95 % intervals, each ``(R, R)``."""

    value: FloatArray
    standard_error: FloatArray
    lower: FloatArray
    upper: FloatArray


@dataclass(frozen=True, eq=False)
class InnerProducts:
    """Inner products of R operators: a known part and samples of the rest.

    Attributes
    ----------
    known : ndarray, shape (R, R)
        Exact part.
    samples : ndarray, shape (q, R, R)
        Independent samples of what is left; none where the known part is everything.
    size : int
        Size of the operators, which the rounding error grows with.
    dtype : dtype
        Precision of the products.
    n_matvecs : int
        Products of single columns made.
    """

    known: FloatArray
    samples: FloatArray
    size: int
    dtype: np.dtype[Any]
    n_matvecs: int

    def cosines(self, names: Sequence[str]) -> Cosines:
        """Return the cosines.

        Raises
        ------
        InputError
            If an operator is zero.
        """
        count = len(self.known)
        means = self.known + (self.samples.mean(axis=0) if len(self.samples) else 0.0)
        for name, square in zip(names, np.diag(means), strict=True):
            if square <= 0:
                raise InputError(f"The alignment is not defined: the rule {name!r} is zero.")
        norms = np.sqrt(np.diag(means))
        value = np.clip(means / np.outer(norms, norms), -1.0, 1.0)
        np.fill_diagonal(value, 1.0)
        error, lower, upper = np.zeros_like(value), value.copy(), value.copy()
        rounding = default_tolerance(self.dtype, self.size)
        for i in range(count if len(self.samples) else 0):
            for j in range(i):
                columns = [
                    self.known[a, b] + self.samples[:, a, b] for a, b in ((i, j), (i, i), (j, j))
                ]
                found = jackknife(_ratio, np.stack(columns, axis=1), bounds=(-1.0, 1.0))
                for place in ((i, j), (j, i)):
                    value[place] = found.value
                    error[place] = max(found.standard_error, rounding)
                    lower[place] = max(found.lower - rounding, -1.0)
                    upper[place] = min(found.upper + rounding, 1.0)
        return Cosines(value, error, lower, upper)


def dense_inner_products(operators: Sequence[Any]) -> InnerProducts:
    """Return the inner products from the products with all unit vectors, exact to rounding."""
    counter = ProductCounter()
    counted = [CountedOperator(operator, counter) for operator in operators]
    n, dtype = operators[0].shape[0], counted[0].dtype
    known = np.zeros((len(counted), len(counted)))
    for first, last in chunks(n, _width(n)):
        known += _products(counted, unit_columns(first, last, n, dtype)).sum(axis=0)
    return InnerProducts(known, np.empty((0, *known.shape)), n, dtype, counter.columns)


def sampled_inner_products(
    operators: Sequence[Any], n_matvecs: int, rng: np.random.Generator
) -> InnerProducts:
    """Estimate all inner products from the same random vectors.

    With an orthonormal basis Q, ``tr(A* B) = tr(Q* A* B Q) + E <A z, B z>`` for random signs z with
    Q projected out, whatever Q is; it is a basis of random images of the adjoints, where the
    operators are large.

    Parameters
    ----------
    operators : sequence of LinearOperator, shape (n, n)
        The operators.
    n_matvecs : int
        Products with each of them.
    rng : Generator
        Source of the random columns.

    Notes
    -----
    Keeps a basis of ``0.4 n_matvecs`` columns of n.
    """
    counter = ProductCounter()
    counted = [CountedOperator(operator, counter) for operator in operators]
    n, dtype = operators[0].shape[0], counted[0].dtype
    columns = max(1, int(_SKETCHED_SHARE * n_matvecs) // (len(counted) + 1))
    images = []
    for operator in counted:
        image = operator.rmatmat(rng.standard_normal((n, columns)).astype(dtype))
        # Of equal scale: a small operator's directions must not drown in a large one's rounding.
        images.append(image / max(float(np.linalg.norm(image)), 1e-300))
    basis = orthonormalise(np.hstack(images).astype(dtype, copy=False))
    known = np.zeros((len(counted), len(counted)))
    for first, last in chunks(basis.shape[1], _width(n)):
        known += _products(counted, basis[:, first:last]).sum(axis=0)
    probes = max(2, n_matvecs - columns - basis.shape[1])
    samples = []
    for first, last in chunks(0 if basis.shape[1] == n else probes, _width(n)):
        signs = random_signs(n, last - first, dtype, rng)
        samples.append(_products(counted, signs - basis @ (basis.T @ signs)))
    drawn = np.concatenate([np.empty((0, *known.shape)), *samples])
    return InnerProducts(known, drawn, n, dtype, counter.columns)


def _products(counted: Sequence[CountedOperator], Z: FloatArray) -> FloatArray:
    """Return ``<A z, B z>`` for each column and each two operators: ``(k, R, R)``."""
    images = [operator.matmat(Z) for operator in counted]
    products = np.empty((Z.shape[1], len(images), len(images)))
    for i, first in enumerate(images):
        for j, second in enumerate(images[: i + 1]):
            products[:, i, j] = products[:, j, i] = column_products(first, second)
    return products


def _width(n: int) -> int:
    """Return how many columns to multiply at once: the images of all operators are kept."""
    return PRODUCT_COLUMNS if n <= _LARGE else PRODUCT_COLUMNS // 4


def _ratio(means: FloatArray) -> FloatArray:
    ratio: FloatArray = means[..., 0] / np.sqrt(means[..., 1] * means[..., 2])
    return ratio
