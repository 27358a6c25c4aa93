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
    factor : CountedOperator or None
        L with ``L* L`` equal to this operator and ``L L*`` to that of the view; None where the
        side is the view's own.
    """

    n: int
    apply: Callable[[FloatArray], FloatArray]
    n_products: int
    factor: CountedOperator | None = None

    def raised(self, vectors: FloatArray) -> FloatArray:
        """Return ``L V``, of the view's size."""
        return vectors if self.factor is None else self.factor.matmat(vectors)

    def lower(self, vectors: FloatArray) -> FloatArray:
        """Return ``L* V``, of this side's size: what an iteration here may start from."""
        return vectors if self.factor is None else self.factor.rmatmat(vectors)

    def lift(self, vectors: FloatArray) -> FloatArray:
        """Return eigenvectors of the view for eigenvectors of this, of norm one if not zero."""
        if self.factor is None:
            return vectors
        images = self.raised(vectors)
        sizes = np.linalg.norm(images, axis=0)
        return images / np.where(sizes > 0, sizes, 1)


def given_side(view: SpectralView) -> Side:
    """Return the side that the view itself is on."""
    return Side(view.n, view.apply, 1 if view.self_adjoint else 2)


def factor_side(known: CountedOperator) -> Side:
    """Return the side of ``L* L``, of a factor L."""

    def apply(X: FloatArray) -> FloatArray:
        return known.rmatmat(known.matmat(X))

    return Side(known.shape[1], apply, 2, known)


def smaller_side(view: SpectralView) -> Side:
    """Return the side of ``L* L`` where a factor is known whose columns are much fewer."""
    factor = view.factor
    if factor is None or factor.shape[1] > _SMALLER * view.n:
        return given_side(view)
    return factor_side(factor)
