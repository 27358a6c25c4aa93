"""Scalar activation functions and their derivatives, inlined into the kernels."""

from __future__ import annotations

import math
from typing import Any

import numba

TANH = 0
RELU = 1


@numba.njit(inline="always")
def sigmoid(a: Any) -> Any:
    """Return the logistic function, through tanh so that it neither overflows nor branches."""
    half = a * type(a)(0.5)
    return type(a)(0.5) * math.tanh(half) + type(a)(0.5)


@numba.njit(inline="always")
def activate(a: Any, activation: int) -> Any:
    """Return ``tanh(a)`` or ``max(a, 0)``."""
    if activation == TANH:
        return math.tanh(a)
    return max(a, type(a)(0.0))


@numba.njit(inline="always")
def activation_derivative(a: Any, activation: int) -> Any:
    """Return the derivative of the activation at `a`; that of relu at 0 is 0, as in PyTorch."""
    one = type(a)(1.0)
    if activation == TANH:
        value = math.tanh(a)
        return one - value * value
    return one if a > type(a)(0.0) else type(a)(0.0)
