"""The activations of the kernels: accurate everywhere, in both precisions."""

from __future__ import annotations

import numba
import numpy as np
import pytest

from kpflow_numerics.kernels import activations
from kpflow_numerics.kernels.activations import (
    RELU,
    TANH,
    activate,
    activation_derivative,
    sigmoid,
    tanh,
)

PRECISIONS = pytest.mark.parametrize("dtype", [np.float64, np.float32])
# Stated in the docstrings, in eps of relative error; 1.62 and 1.47 were measured.
ACCURACY = 2.0


@numba.njit(error_model="numpy")
def apply_tanh(a, out):
    for i in range(a.size):
        out[i] = tanh(a[i])


@numba.njit(error_model="numpy")
def apply_sigmoid(a, out):
    for i in range(a.size):
        out[i] = sigmoid(a[i])


@numba.njit(error_model="numpy")
def apply_activation(a, activation, value, derivative):
    for i in range(a.size):
        value[i] = activate(a[i], activation)
        derivative[i] = activation_derivative(a[i], activation)


def exact_tanh(a):
    return np.tanh(a.astype(np.longdouble))


def exact_sigmoid(a):
    # exp of negative arguments only, so that nothing overflows or cancels.
    small = np.exp(-np.abs(a.astype(np.longdouble)))
    return np.where(a < 0, small, 1) / (1 + small)


FUNCTIONS = pytest.mark.parametrize(
    ("apply", "exact"), [(apply_tanh, exact_tanh), (apply_sigmoid, exact_sigmoid)]
)


def arguments(dtype) -> np.ndarray:
    """Every magnitude from the smallest normal number up, dense where the functions bend."""
    rng = np.random.default_rng(91)
    tiny = float(np.finfo(dtype).tiny)
    sizes = np.concatenate([
        np.exp(rng.uniform(np.log(tiny), np.log(1e4), 200_000)),
        rng.uniform(0, 1, 200_000),
        rng.uniform(0, 25, 200_000),
        rng.uniform(80, 110, 20_000),
        rng.uniform(700, 750, 20_000),
        # Where the multiple of log 2 changes.
        np.log(2) * (np.arange(1, 60) / 2)[:, None].repeat(200, 1).ravel()
        * (1 + rng.uniform(-1e-6, 1e-6, 59 * 200)),
    ])  # fmt: skip
    return np.concatenate([sizes, -sizes]).astype(dtype)


def assert_accurate(values, exact, dtype) -> None:
    """Relative error, and absolute below the smallest normal number."""
    info = np.finfo(dtype)
    assert values.dtype == dtype
    error = np.abs(values.astype(np.longdouble) - exact)
    scale = np.maximum(np.abs(exact) * float(info.eps), float(info.tiny))
    worst = int(np.argmax(error / scale))
    assert error[worst] <= ACCURACY * scale[worst], f"{values[worst]!r} for {exact[worst]!r}"


@PRECISIONS
@FUNCTIONS
def test_accuracy_over_the_whole_range(apply, exact, dtype) -> None:
    a = arguments(dtype)
    values = np.empty_like(a)
    apply(a, values)
    assert_accurate(values, exact(a), dtype)


@PRECISIONS
def test_tanh_is_odd_and_bounded(dtype) -> None:
    a = arguments(dtype)
    values, mirrored = np.empty_like(a), np.empty_like(a)
    apply_tanh(a, values)
    apply_tanh(-a, mirrored)
    np.testing.assert_array_equal(mirrored, -values)
    assert np.abs(values).max() == 1.0


@PRECISIONS
def test_special_arguments_of_tanh(dtype) -> None:
    smallest = np.finfo(dtype).smallest_subnormal
    a = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, smallest, -smallest, 1e30, -1e30], dtype)
    values = np.empty_like(a)
    apply_tanh(a, values)
    np.testing.assert_array_equal(values, np.tanh(a))
    np.testing.assert_array_equal(np.signbit(values[:2]), [False, True])


@PRECISIONS
def test_special_arguments_of_sigmoid(dtype) -> None:
    smallest = np.finfo(dtype).smallest_subnormal
    a = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, smallest, -smallest, 1e30, -1e30], dtype)
    values = np.empty_like(a)
    apply_sigmoid(a, values)
    np.testing.assert_array_equal(values, [0.5, 0.5, 1, 0, np.nan, 0.5, 0.5, 1, 0])


@PRECISIONS
def test_relu_and_its_derivative(dtype) -> None:
    a = np.array([-2.5, -0.0, 0.0, 1.5, np.nan, np.inf, -np.inf], dtype)
    value, derivative = np.empty_like(a), np.empty_like(a)
    apply_activation(a, RELU, value, derivative)
    np.testing.assert_array_equal(value, [0, 0, 0, 1.5, np.nan, np.inf, 0])
    np.testing.assert_array_equal(derivative[:4], [0, 0, 0, 1])


@PRECISIONS
def test_derivative_of_tanh(dtype) -> None:
    a = np.linspace(-8, 8, 1001).astype(dtype)
    value, derivative = np.empty_like(a), np.empty_like(a)
    apply_activation(a, TANH, value, derivative)
    expected = 1 - exact_tanh(a) ** 2
    assert np.abs(derivative - expected).max() <= 4 * np.finfo(dtype).eps


def test_numpy_itself_agrees_with_the_stubs() -> None:
    a = np.linspace(-4, 4, 17)
    np.testing.assert_allclose(activations.tanh(a), np.tanh(a))
    np.testing.assert_allclose(activations.sigmoid(a), 1 / (1 + np.exp(-a)))


@PRECISIONS
@pytest.mark.parametrize("fault", ["one wrong digit", "a dropped sign", "a flushed denormal"])
def test_a_planted_fault_is_seen(dtype, fault) -> None:
    a = arguments(dtype)
    values = np.empty_like(a)
    apply_tanh(a, values)
    if fault == "one wrong digit":
        values[1000] *= 1 + 4 * np.finfo(dtype).eps
    elif fault == "a dropped sign":
        values[np.argmin(np.abs(a + 1))] *= -1
    else:
        values[np.abs(a) < 1e-30] = 0
    with pytest.raises(AssertionError, match="for"):
        assert_accurate(values, exact_tanh(a), dtype)
