"""Inexact inverse iteration through a Krylov space that is there already."""

from __future__ import annotations

import numpy as np

from .._threads import single_threaded_blas
from .._typing import DTypeLike, FloatArray
from .lanczos import LanczosBasis

_SMALLEST_GAP = 1e-3


class KrylovInverse:
    """``(A - theta)^-1`` outside the leading Ritz vectors of a Lanczos basis.

    In the basis V the operator is taken as its quotient ``V* A V``. Outside it is between zero and
    what the last vectors of the basis saw of it: half of that, times the identity.

    Parameters
    ----------
    basis : LanczosBasis
        What an iteration left.
    leading : int
        How many Ritz vectors to leave out: Rayleigh-Ritz takes care of them.

    Attributes
    ----------
    dtype : dtype
        Precision of the basis.
    """

    def __init__(self, basis: LanczosBasis, leading: int) -> None:
        self._basis = basis
        self.dtype = basis.next.dtype
        values, coefficients, _ = basis.ritz()
        self._scale = float(np.max(np.abs(values)))
        self._leading = coefficients[:, :leading]
        self._values, self._coefficients = values[leading:], coefficients[:, leading:]

    def leading_vectors(self, dtype: DTypeLike) -> FloatArray:
        """Return the Ritz vectors that are left out, combined in a precision."""
        return self._basis.combine(self._leading, dtype)

    def apply(self, vectors: FloatArray, values: FloatArray) -> FloatArray:
        """Return ``(A - theta_j)^-1`` of column j, in the precision of the basis."""
        theta = np.maximum(np.abs(values), float(np.finfo(self.dtype).eps) * self._scale)
        below = np.minimum(self._values[:, np.newaxis] - values, -_SMALLEST_GAP * self._scale)
        outside = theta - 0.5 * min(self._basis.last_quotient, float(np.min(theta)))
        with single_threaded_blas():
            parts = self._basis.parts(vectors).astype(np.float64)
            within = self._coefficients @ ((self._coefficients.T @ parts) / below)
            inverted = self._basis.combine(within + parts / outside)
            inverted -= vectors / outside.astype(self.dtype)
        return inverted
