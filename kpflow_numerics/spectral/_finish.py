"""From the vectors of any solver to eigenpairs: Rayleigh-Ritz, residuals, certificate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._typing import FloatArray
from ._orthogonal import orthonormalise
from ._view import SpectralView
from .certificate import Certificate, completeness_certificate

# Rows rotated at once, so that no second copy of the vectors is made.
_ROWS = 32_768


@dataclass(frozen=True, eq=False)
class Pairs:
    """Eigenpairs with residuals from products of their own."""

    values: FloatArray
    vectors: FloatArray
    residual_norms: FloatArray
    norm: float

    def leading(self, k: int) -> Pairs:
        """Return the first k pairs."""
        return Pairs(self.values[:k], self.vectors[:, :k], self.residual_norms[:k], self.norm)

    def meet(self, k: int, tolerance: float) -> bool:
        """Whether there are k pairs, and all are within the tolerance."""
        within = bool(np.all(self.residual_norms <= tolerance * self.norm))
        return len(self.values) == k and within


def rayleigh_ritz(view: SpectralView, vectors: FloatArray) -> Pairs:
    """Return the Ritz pairs in the span of some vectors, from one product with each.

    Dependent vectors (an eigenvector found twice) are merged, so that there may be fewer pairs.
    """
    basis = orthonormalise(vectors)
    if basis.shape[1] == 0:
        return Pairs(np.empty(0, view.dtype), basis, np.empty(0), view.norm_estimate)
    images = view.apply(basis)
    quotient = (basis.T @ images).astype(np.float64)
    values, coefficients = np.linalg.eigh((quotient + quotient.T) / 2)
    values = values[::-1].astype(view.dtype)
    coefficients = coefficients[:, ::-1].astype(view.dtype)
    squares = np.zeros(len(values))
    for first in range(0, len(basis), _ROWS):
        rows = slice(first, first + _ROWS)
        basis[rows] = basis[rows] @ coefficients
        residuals = images[rows] @ coefficients - basis[rows] * values
        squares += np.square(residuals, dtype=np.float64).sum(axis=0)
    norm = max(view.norm_estimate, float(np.max(np.abs(values), initial=0.0)))
    return Pairs(values, basis, np.sqrt(squares), norm)


def certify(
    view: SpectralView,
    pairs: Pairs,
    tolerance: float,
    rng: np.random.Generator,
    n_products: int,
) -> Certificate:
    """Run the certificate on pairs."""
    return completeness_certificate(
        view.apply,
        pairs.values,
        pairs.vectors,
        pairs.residual_norms,
        tolerance=tolerance,
        norm=pairs.norm,
        rng=rng,
        n_products=n_products,
    )
