"""The side on which an iteration runs: of ``L L*``, or of ``L* L`` where that is much smaller."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .._typing import FloatArray
from ._view import CountedOperator, SpectralView

_SMALLER = 0.75
"""The other side is taken where its size is below this share: its vectors are what costs."""


@dataclass(frozen=True, eq=False)
class Side:
    """A self-adjoint operator with the leading eigenvalues that are looked for.

    Attributes
    ----------
    n : int
        Its size.
    apply : callable
        Its product with a block ``(n, b)``.
    n_products : int
        Counted products that a column takes.
    lift : callable
        Makes eigenvectors of the view, not normalised, of eigenvectors of this.
    lower : callable
        Makes starting vectors for this of vectors of the view's size.
    """

    n: int
    apply: Callable[[FloatArray], FloatArray]
    n_products: int
    lift: Callable[[FloatArray], FloatArray]
    lower: Callable[[FloatArray], FloatArray]

    @property
    def is_lifted(self) -> bool:
        """Whether this is the other side than the view's."""
        return self.lift is not _same


def given_side(view: SpectralView) -> Side:
    """Return the side that the view itself is on."""
    return Side(view.n, view.apply, 1 if view.self_adjoint else 2, _same, _same)


def smaller_side(view: SpectralView) -> Side:
    """Return the side of ``L* L`` where a factor is known whose columns are much fewer."""
    factor = view.factor
    if factor is None or factor.shape[1] > _SMALLER * view.n:
        return given_side(view)
    known: CountedOperator = factor

    def apply(X: FloatArray) -> FloatArray:
        return known.rmatmat(known.matmat(X))

    def lift(vectors: FloatArray) -> FloatArray:
        images = known.matmat(vectors)
        sizes = np.linalg.norm(images, axis=0)
        return images / np.where(sizes > 0, sizes, 1)

    return Side(known.shape[1], apply, 2, lift, known.rmatmat)


def _same(vectors: FloatArray) -> FloatArray:
    return vectors
