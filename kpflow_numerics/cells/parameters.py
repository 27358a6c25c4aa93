"""The order of a cell's parameters in one flat vector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .._typing import FloatArray, Params


@dataclass(frozen=True)
class ParameterLayout:
    """Names and shapes of parameters, laid out one after another in C order.

    Parameters
    ----------
    shapes : mapping of str to tuple of int
        The shape of each parameter, in the order of the vector.
    """

    shapes: Mapping[str, tuple[int, ...]]

    @property
    def size(self) -> int:
        """Number of parameters ``p``."""
        return sum(int(np.prod(shape)) for shape in self.shapes.values())

    @property
    def slices(self) -> dict[str, slice]:
        """Where each parameter stands in the vector."""
        slices, start = {}, 0
        for name, shape in self.shapes.items():
            stop = start + int(np.prod(shape))
            slices[name] = slice(start, stop)
            start = stop
        return slices

    def pack(self, arrays: Mapping[str, FloatArray]) -> FloatArray:
        """Return the vector ``(p,)``, or the block ``(p, k)`` if the arrays have an axis more."""
        parts = []
        for name, shape in self.shapes.items():
            array = arrays[name]
            parts.append(array.reshape(-1, *array.shape[len(shape) :]))
        return np.concatenate(parts)

    def unpack(self, vector: FloatArray) -> Params:
        """Return views of the vector ``(p,)`` or block ``(p, k)``, in the parameters' shapes."""
        return {
            name: vector[part].reshape((*self.shapes[name], *vector.shape[1:]))
            for name, part in self.slices.items()
        }
