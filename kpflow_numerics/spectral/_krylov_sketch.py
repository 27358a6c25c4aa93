"""A basis of leading eigenvectors, grown block by block, and what a probe sees outside of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .._threads import single_threaded_blas
from .._typing import FloatArray
from ._orthogonal import orthonormalise

COLUMNS = 16
"""Columns that a sketch grows by at a time."""


class KrylovSketch:
    """An orthonormal basis Q of a block Krylov space of G, with its images.

    With ``G'`` the compression of a self-adjoint G to the complement of Q,

        tr G = tr(Q* G Q) + tr G',
        |G|_F^2 = 2 |G Q|_F^2 - |Q* G Q|_F^2 + |G'|_F^2.

    The next block is made from the images of the last, so that q columns take q products, and as
    many as the first block has to begin with.

    Parameters
    ----------
    n : int
        Size of G.
    dtype : dtype
        Precision of its products.
    apply : callable
        Its product with a block ``(n, b)``.
    rng : Generator
        Source of the first block.
    start : callable, optional
        Makes a first block of so many columns in the place of products with normal vectors.

    Attributes
    ----------
    basis, images : ndarray, shape (n, q)
        Q and ``G Q``.
    trace, square : float
        ``tr(Q* G Q)`` and ``2 |G Q|_F^2 - |Q* G Q|_F^2``.
    """

    def __init__(
        self,
        n: int,
        dtype: np.dtype[Any],
        apply: Callable[[FloatArray], FloatArray],
        rng: np.random.Generator,
        start: Callable[[int], FloatArray] | None = None,
    ) -> None:
        self._apply, self._rng = apply, rng
        self._start = self._random_images if start is None else start
        self.basis: FloatArray = np.empty((n, 0), dtype)
        self.images: FloatArray = np.empty((n, 0), dtype)
        self._quotient: FloatArray = np.empty((0, 0))
        self._total = 0.0
        self._next: FloatArray | None = None
        self.complete = False

    @property
    def size(self) -> int:
        """Columns of the basis."""
        return int(self.basis.shape[1])

    @property
    def trace(self) -> float:
        """The part of the trace that the basis holds."""
        return float(np.trace(self._quotient))

    @property
    def square(self) -> float:
        """The part of the squared norm that the basis holds."""
        return 2.0 * self._total - float(np.sum(self._quotient**2))

    @property
    def values(self) -> FloatArray:
        """The Ritz values, descending."""
        found: FloatArray = np.linalg.eigvalsh(self._quotient)[::-1]
        return found

    def grow(self) -> None:
        """Add a block; `complete` says that there is nothing left to add."""
        if self._next is None:
            self._next = self._start(min(COLUMNS, len(self.basis)))
        with single_threaded_blas():
            new = orthonormalise(self._next, [self.basis])
        if new.shape[1] == 0:
            self.complete = True
            return
        images = self._apply(new)
        self._total += float(np.sum(np.square(images, dtype=np.float64)))
        with single_threaded_blas():
            across = (self.basis.T @ images).astype(np.float64)
            corner = (new.T @ images).astype(np.float64)
        self._quotient = np.block([[self._quotient, across], [across.T, (corner + corner.T) / 2]])
        self.basis = np.hstack([self.basis, new])
        self.images = np.hstack([self.images, images])
        self._next = images
        self.complete = self.size == len(self.basis)

    def _random_images(self, columns: int) -> FloatArray:
        normal = self._rng.standard_normal((len(self.basis), columns))
        return self._apply(normal.astype(self.basis.dtype, copy=False))

    def rest(self, Z: FloatArray, images: FloatArray) -> FloatArray:
        """Return ``(z* G' z, |G' z|^2)`` for each column of Z, whose images are known: a row each.

        It takes no product, so that probes drawn before the basis grew serve again.
        """
        if self.size:
            with single_threaded_blas():
                inside = self.basis.T @ Z
                Z = Z - self.basis @ inside
                images = images - self.images @ inside
                images -= self.basis @ (self.basis.T @ images)
        forms = np.einsum("ij,ij->j", Z, images, dtype=np.float64)
        return np.stack([forms, np.square(images, dtype=np.float64).sum(axis=0)], axis=1)
