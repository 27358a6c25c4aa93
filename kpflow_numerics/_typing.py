"""Aliases of types: ``*Like`` is what a function accepts, the bare name what it holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

Array: TypeAlias = NDArray[Any]
FloatArray: TypeAlias = NDArray[np.floating[Any]]
IntArray: TypeAlias = NDArray[np.integer[Any]]
BoolArray: TypeAlias = NDArray[np.bool_]
Params: TypeAlias = dict[str, FloatArray]
ParamsLike: TypeAlias = Mapping[str, ArrayLike]
RNGLike: TypeAlias = int | np.random.SeedSequence | np.random.Generator

__all__ = [
    "Array",
    "ArrayLike",
    "BoolArray",
    "DTypeLike",
    "FloatArray",
    "IntArray",
    "Params",
    "ParamsLike",
    "RNGLike",
]
