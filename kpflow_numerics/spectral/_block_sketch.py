"""Sketches of all diagonal blocks of an operator, which grow together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from .._threads import map_in_threads
from .._typing import FloatArray
from ._krylov_sketch import KrylovSketch

Result = TypeVar("Result")

_COLUMNS = 16
_COLUMNS_OF_BLOCKS = 8


class BlockSketch:
    """A :class:`KrylovSketch` of each of the equal diagonal blocks of G.

    A product with G is one with every block: for the products that one sketch takes, as many are
    made as there are blocks, which hold what one with all of their columns would hold. The next
    columns are made from the images of the last, so that q columns take q products, and as many as
    the first have to begin with.

    Parameters
    ----------
    n : int
        Size of G.
    n_blocks : int
        Equal diagonal blocks of which it consists; 1 where there are none.
    dtype : dtype
        Precision of its products.
    apply : callable
        Its product with columns ``(n, b)``.
    start : callable
        Makes the first columns, as many as it is told, near the range of G.

    Attributes
    ----------
    columns : int
        How many every basis grows by at a time.
    of_blocks : list of KrylovSketch
        The sketch of each block.
    """

    def __init__(
        self,
        n: int,
        n_blocks: int,
        dtype: np.dtype[Any],
        apply: Callable[[FloatArray], FloatArray],
        start: Callable[[int], FloatArray],
    ) -> None:
        self._shape, self._dtype = (n_blocks, n // n_blocks), dtype
        self._apply, self._start = apply, start
        self._next: FloatArray | None = None
        self.columns = _COLUMNS if n_blocks == 1 else _COLUMNS_OF_BLOCKS
        self.of_blocks = [KrylovSketch(self._shape[1], dtype) for _ in range(n_blocks)]

    @property
    def size(self) -> int:
        """Columns of the largest basis."""
        return max(sketch.size for sketch in self.of_blocks)

    @property
    def trace(self) -> float:
        """The part of the trace that the bases hold."""
        return sum(sketch.trace for sketch in self.of_blocks)

    @property
    def square(self) -> float:
        """The part of the squared norm that they hold."""
        return sum(sketch.square for sketch in self.of_blocks)

    @property
    def complete(self) -> bool:
        """Whether there is nothing left to add to any of them."""
        return all(sketch.complete for sketch in self.of_blocks)

    def grow(self) -> None:
        """Add up to `columns` to every basis; `complete` says that there are no more."""
        if self._next is None:
            self._next = self._of_blocks(self._start(min(self.columns, self._shape[1])))
        own = self._next
        found = self._in_threads(lambda block: self.of_blocks[block].directions(own[block]))
        width = max(new.shape[1] for new in found)
        if width == 0:
            return
        joined = np.zeros((*self._shape, width), self._dtype)
        for columns, new in zip(joined, found, strict=True):
            columns[:, : new.shape[1]] = new
        images = self._next = self._of_blocks(self._apply(joined.reshape(-1, width)))

        def add(block: int) -> None:
            new = found[block]
            if new.shape[1]:
                self.of_blocks[block].add(new, images[block, :, : new.shape[1]])

        self._in_threads(add)

    def rest(self, Z: FloatArray, images: FloatArray) -> FloatArray:
        """Return what :meth:`KrylovSketch.rest` does of m probes on each block, ``(m, B, 2)``."""
        probes, images = self._of_blocks(Z), self._of_blocks(images)
        found = self._in_threads(
            lambda block: self.of_blocks[block].rest(probes[block], images[block])
        )
        return np.stack(found, axis=1)

    def _in_threads(self, function: Callable[[int], Result]) -> list[Result]:
        return map_in_threads(function, range(len(self.of_blocks)))

    def _of_blocks(self, columns: FloatArray) -> FloatArray:
        return columns.reshape(*self._shape, columns.shape[1])
