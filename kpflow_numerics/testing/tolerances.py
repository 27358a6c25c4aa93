"""The one place where tolerances come from."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator

from .._typing import DTypeLike


def default_tolerance(dtype: DTypeLike, size: int = 1, factor: float = 50) -> float:
    """Return ``factor * eps * sqrt(size)``: the relative rounding error to expect.

    Parameters
    ----------
    dtype : dtype_like
        The working precision; integers are worked on in ``float64``.
    size : int
        How many numbers enter each result (the length of the sums).
    factor : float
        How many roundings of each number to allow for.

    Examples
    --------
    >>> round(default_tolerance("float64", 100) / 2.2e-16)
    505
    """
    dtype = np.dtype(dtype)
    precision = np.finfo(dtype if dtype.kind == "f" else np.float64).eps
    return float(factor * precision * math.sqrt(max(size, 1)))


def working_dtype(operator: LinearOperator) -> np.dtype[Any]:
    """Return the precision of an operator's products: ``float64`` for integers."""
    dtype = np.dtype(operator.dtype)
    return dtype if dtype.kind == "f" else np.dtype(np.float64)
