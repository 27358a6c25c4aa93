"""A basis of leading eigenvectors of an operator, and what a probe sees outside of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._typing import FloatArray
from ._orthogonal import orthonormalise


class KrylovSketch:
    """An orthonormal basis Q of a block Krylov space of G, with its images.

    With ``G'`` the compression of a self-adjoint G to the complement of Q,

        tr G = tr(Q* G Q) + tr G',
        |G|_F^2 = 2 |G Q|_F^2 - |Q* G Q|_F^2 + |G'|_F^2.

    Parameters
    ----------
    n : int
        Size of G.
    dtype : dtype
        Precision of its products.

    Attributes
    ----------
    basis, images : ndarray, shape (n, q)
        Q and ``G Q``.
    complete : bool
        Whether there is nothing left to add.
    """

    def __init__(self, n: int, dtype: np.dtype[Any]) -> None:
        self.basis: FloatArray = np.empty((n, 0), dtype)
        self.images: FloatArray = np.empty((n, 0), dtype)
        self._quotient: FloatArray = np.empty((0, 0))
        self._total = 0.0
        self.complete = False

    @property
    def size(self) -> int:
        """Columns of the basis."""
        return int(self.basis.shape[1])

    @property
    def trace(self) -> float:
        """The part of the trace that the basis holds, ``tr(Q* G Q)``."""
        return float(np.trace(self._quotient))

    @property
    def square(self) -> float:
        """The part of the squared norm that it holds, ``2 |G Q|_F^2 - |Q* G Q|_F^2``."""
        return 2.0 * self._total - float(np.sum(self._quotient**2))

    def directions(self, columns: FloatArray) -> FloatArray:
        """Return an orthonormal basis of what columns ``(n, b)`` add; with none it is complete.

        In a block Krylov space they are the images of what was added last.
        """
        new = orthonormalise(columns, [self.basis])
        self.complete = new.shape[1] == 0
        return new

    def add(self, new: FloatArray, images: FloatArray) -> None:
        """Add directions to the basis, given their products with G."""
        self._total += float(np.sum(np.square(images, dtype=np.float64)))
        across = (self.basis.T @ images).astype(np.float64)
        corner = (new.T @ images).astype(np.float64)
        self._quotient = np.block([[self._quotient, across], [across.T, (corner + corner.T) / 2]])
        self.basis = np.hstack([self.basis, new])
        self.images = np.hstack([self.images, images])
        self.complete = self.size == len(self.basis)

    def rest(self, Z: FloatArray, images: FloatArray) -> FloatArray:
        """Return ``(z* G' z, |G' z|^2)`` for each column of Z, whose images are known: a row each.

        It takes no product, so that probes drawn before the basis grew serve again.
        """
        if self.size:
            inside = self.basis.T @ Z
            Z = Z - self.basis @ inside
            images = images - self.images @ inside
            images -= self.basis @ (self.basis.T @ images)
        forms = np.einsum("ij,ij->j", Z, images, dtype=np.float64)
        return np.stack([forms, np.square(images, dtype=np.float64).sum(axis=0)], axis=1)
