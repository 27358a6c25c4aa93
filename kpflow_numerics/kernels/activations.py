"""Activation functions for the kernels, written so that LLVM can vectorise loops over them.

Numba calls the scalar functions of the C library, a few million a second. Those below have no
branch and no call: the argument is reduced by a multiple of ``log 2``, ``expm1`` of the rest is a
polynomial, and the power of two is assembled from bits (the method is Cody and Waite's). The
polynomials are the Remez minimax fits of ``(expm1(r) - r - r^2/2) / r^3`` on
``|r| <= log(2)/2``; their errors are 0.11 eps of either precision.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba.core import types
from numba.extending import overload

TANH = 0
RELU = 1
ACTIVATIONS = {"tanh": TANH, "relu": RELU}

ScalarFunction = Callable[[Any], Any]


def _vectorisable(
    real: Any,
    integer: Any,
    log2_parts: tuple[float, float],
    tanh_limit: float,
    polynomial: ScalarFunction,
) -> tuple[ScalarFunction, ScalarFunction]:
    """Return ``tanh`` and the logistic function for one precision.

    `log2_parts` sum to ``log 2``; the first has so few bits that small multiples are exact.
    Beyond `tanh_limit` the result is one to rounding.
    """
    info = np.finfo(real)
    mantissa_bits = integer(info.nmant)
    exponent_of_one = np.array(1.0, real).view(integer)[()]
    # Adding this leaves the nearest integer in the lowest bits of the sum.
    rounder = real(1.5 * 2.0**info.nmant)
    inverse_log2 = real(1.0 / np.log(2.0))
    log2_high, log2_low = real(log2_parts[0]), real(log2_parts[1])
    limit = real(tanh_limit)
    exponential_limit = real(-np.log(float(info.tiny)) * (1.0 - float(info.eps)))
    zero, half, one, two = real(0.0), real(0.5), real(1.0), real(2.0)

    @numba.njit
    def split_exponential(y: Any) -> Any:
        # exp(y) = scale (1 + p), for y from -exponential_limit to 0.
        shifted = y * inverse_log2 + rounder
        multiple = shifted - rounder
        r = (y - multiple * log2_high) - multiple * log2_low
        p = r + r * r * (half + r * polynomial(r))
        bits = (real(shifted).view(integer) << mantissa_bits) + exponent_of_one
        return integer(bits).view(real), p

    @numba.njit
    def tanh(a: Any) -> Any:
        size = abs(a)
        size = limit if size > limit else size
        scale, p = split_exponential(-two * size)
        expm1 = scale * p + (scale - one)
        return math.copysign(-expm1 / (two + expm1), a)

    @numba.njit
    def sigmoid(a: Any) -> Any:
        size = abs(a)
        scale, p = split_exponential(-(exponential_limit if size > exponential_limit else size))
        exponential = zero if size > exponential_limit else scale + scale * p
        return (exponential if a < zero else one) / (one + exponential)

    return tanh, sigmoid


@numba.njit
def _polynomial_64(r: Any) -> Any:
    r2 = r * r
    r4 = r2 * r2
    low = (0.16666666666666678492 + r * 0.041666666666619697545) + r2 * (
        0.0083333333333190210602 + r * 0.0013888888920632986616
    )
    high = (0.0001984126989418315627 + r * 0.000024801516185391554254) + r2 * (
        2.7557235274172649068e-6 + r * 2.7622293096271711052e-7
    )
    return low + r4 * (high + r4 * 2.5112315648344292748e-8)


_C0, _C1, _C2, _C3 = (
    np.float32(0.16666544623214705574),
    np.float32(0.041666404802068962449),
    np.float32(0.0083664306744929339786),
    np.float32(0.0013940521764608925603),
)


@numba.njit
def _polynomial_32(r: Any) -> Any:
    return (_C0 + r * _C1) + r * r * (_C2 + r * _C3)


_TANH_64, _SIGMOID_64 = _vectorisable(
    np.float64, np.int64, (0.6931471803691238, 1.9082149292705877e-10), 22.0, _polynomial_64
)
_TANH_32, _SIGMOID_32 = _vectorisable(
    np.float32, np.int32, (0.693145751953125, 1.428606765330187e-06), 10.0, _polynomial_32
)


def tanh(a: Any) -> Any:
    """Return the hyperbolic tangent of a scalar: within 2 eps, odd, NaN of NaN."""
    return np.tanh(a)


def sigmoid(a: Any) -> Any:
    """Return ``1 / (1 + exp(-a))`` of a scalar: within 2 eps, 0 where exp underflows."""
    return 1.0 / (1.0 + np.exp(-a))


@overload(tanh)
def _tanh_of(a: Any) -> Any:
    compiled = _TANH_32 if a == types.float32 else _TANH_64

    def implementation(a: Any) -> Any:
        return compiled(a)

    return implementation


@overload(sigmoid)
def _sigmoid_of(a: Any) -> Any:
    compiled = _SIGMOID_32 if a == types.float32 else _SIGMOID_64

    def implementation(a: Any) -> Any:
        return compiled(a)

    return implementation


@numba.njit
def activate(a: Any, activation: int) -> Any:
    """Return ``tanh(a)`` or ``max(a, 0)``."""
    if activation == TANH:
        return tanh(a)
    zero = type(a)(0.0)
    # Written so that NaN stays NaN.
    return zero if a < zero else a


@numba.njit
def activation_derivative_of_value(value: Any, activation: int) -> Any:
    """Return the derivative of the activation where it has the `value`."""
    one = type(value)(1.0)
    if activation == TANH:
        return one - value * value
    return one if value > type(value)(0.0) else type(value)(0.0)


@numba.njit
def activation_derivative(a: Any, activation: int) -> Any:
    """Return the derivative of the activation at `a`; that of relu at 0 is 0, as in PyTorch."""
    return activation_derivative_of_value(activate(a, activation), activation)
