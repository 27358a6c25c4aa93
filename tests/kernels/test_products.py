"""The product of the kernels is NumPy's, at every edge of its tiles, and writes nothing else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from numba.core.errors import TypingError

from kpflow_numerics.kernels import products
from kpflow_numerics.kernels.products import VECTOR_BYTES, WIDE, multiply
from kpflow_numerics.testing import default_tolerance

Multiply = Callable[[np.ndarray, bool, np.ndarray, np.ndarray], None]

PRECISIONS = pytest.mark.parametrize("dtype", [np.float64, np.float32])
ROWS = (1, 2, 3, 4, 5, 6, 7, 8, 11, 31)
INNER = (1, 15, 16, 17, 23, 40)


def column_counts(dtype) -> tuple[int, ...]:
    """Every edge: less than a vector, whole vectors and tiles, and one number around them."""
    lanes = VECTOR_BYTES // np.dtype(dtype).itemsize
    wide = WIDE * lanes
    edges = {lanes, 2 * lanes, wide, 2 * wide, wide + lanes}
    return (1, *sorted(edge + more for edge in edges for more in (-1, 0, 1)))


def guarded(shape: tuple[int, int], fill: float, dtype) -> tuple[np.ndarray, np.ndarray]:
    """Return a C-ordered matrix, and the memory that it is the middle of, full of `fill`."""
    size, margin = shape[0] * shape[1], 300
    memory = np.full(size + 2 * margin, fill, dtype)
    return memory[margin : margin + size].reshape(shape), memory


def assert_product(
    multiply: Multiply, n_rows: int, is_transposed: bool, n_inner: int, n_columns: int, dtype
) -> None:
    """Compare with NumPy in float64; the memory around the factors is NaN, and stays unread."""
    rng = np.random.default_rng(7 * n_rows + 11 * n_inner + n_columns)
    shape = (n_inner, n_rows) if is_transposed else (n_rows, n_inner)
    left, right = guarded(shape, np.nan, dtype)[0], guarded((n_inner, n_columns), np.nan, dtype)[0]
    left[:], right[:] = rng.standard_normal(left.shape), rng.standard_normal(right.shape)
    out, memory = guarded((n_rows, n_columns), 5.0, dtype)
    out[:] = np.nan
    multiply(left, is_transposed, right, out)

    factor = (left.T if is_transposed else left).astype(np.float64)
    expected = factor @ right.astype(np.float64)
    scale = np.abs(factor) @ np.abs(right).astype(np.float64)
    error = np.abs(out - expected)
    # Written so that NaN is not close.
    close = error <= default_tolerance(dtype, n_inner, factor=4) * scale
    assert close.all(), f"{(~close).sum()} of {out.size} entries differ"
    out[:] = 5.0
    np.testing.assert_array_equal(memory, 5.0)


@PRECISIONS
@pytest.mark.parametrize("is_transposed", [False, True])
@pytest.mark.parametrize("n_rows", ROWS)
def test_products_are_those_of_numpy(n_rows: int, is_transposed: bool, dtype) -> None:
    for n_inner in INNER:
        for n_columns in column_counts(dtype):
            assert_product(multiply, n_rows, is_transposed, n_inner, n_columns, dtype)


@PRECISIONS
def test_entries_do_not_depend_on_how_the_rows_are_divided(dtype) -> None:
    rng = np.random.default_rng(17)
    n_columns = column_counts(dtype)[-1]
    left = rng.standard_normal((13, 33)).astype(dtype)
    right = rng.standard_normal((33, n_columns)).astype(dtype)
    whole = np.empty((13, n_columns), dtype)
    multiply(left, False, right, whole)
    for first, last in ((0, 3), (3, 7), (2, 13), (8, 13)):
        part = np.empty((last - first, n_columns), dtype)
        multiply(left[first:last], False, right, part)
        np.testing.assert_array_equal(part, whole[first:last])


@PRECISIONS
def test_infinities_and_nan_stay_in_their_rows_and_columns(dtype) -> None:
    n_columns = column_counts(dtype)[-1]
    left, right = np.ones((7, 20), dtype), np.ones((20, n_columns), dtype)
    left[4, 3], right[5, 2] = np.nan, np.inf
    out = np.empty((7, n_columns), dtype)
    multiply(left, False, right, out)
    expected = np.full_like(out, 20)
    expected[:, 2], expected[4] = np.inf, np.nan
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("place", [0, 1])
def test_another_order_is_refused(place: int) -> None:
    factors = [np.ones((6, 20)), np.ones((20, 40))]
    factors[place] = np.asfortranarray(factors[place])
    with pytest.raises(TypingError, match="multiply takes C-ordered arrays of one dtype"):
        multiply(factors[0], False, factors[1], np.empty((6, 40)))


def without_last_rows(left, is_transposed, right, out):
    whole = len(out) // products.LEAST_ROWS * products.LEAST_ROWS
    multiply(
        np.ascontiguousarray((left.T if is_transposed else left)[:whole]), False, right, out[:whole]
    )


def without_last_columns(left, is_transposed, right, out):
    lanes = VECTOR_BYTES // out.itemsize
    whole = out.shape[1] // lanes * lanes
    out[:, :whole] = (left.T if is_transposed else left) @ right[:, :whole]


def without_last_inner(left, is_transposed, right, out):
    whole = len(right) // 8 * 8
    out[:] = (left.T if is_transposed else left)[:, :whole] @ right[:whole]


def with_the_last_tile_added(left, is_transposed, right, out):
    multiply(left, is_transposed, right, out)
    out[-1] *= 2


def beyond_the_last_column(left, is_transposed, right, out):
    multiply(left, is_transposed, right, out)
    memory = out.base if out.base.ndim == 1 else out.base.base
    memory[-300] = 1.0


@PRECISIONS
@pytest.mark.parametrize("is_transposed", [False, True])
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (without_last_rows, "entries differ"),
        (without_last_columns, "entries differ"),
        (without_last_inner, "entries differ"),
        (with_the_last_tile_added, "entries differ"),
        (beyond_the_last_column, "not equal"),
    ],
)
def test_a_planted_fault_is_seen(fault: Multiply, message: str, is_transposed: bool, dtype) -> None:
    n_columns = column_counts(dtype)[-1]
    assert_product(multiply, 7, is_transposed, 23, n_columns, dtype)
    with pytest.raises(AssertionError, match=message):
        assert_product(fault, 7, is_transposed, 23, n_columns, dtype)


@pytest.mark.parametrize(
    ("features", "expected"),
    [("+sse2,+avx,+avx2,+avx512f", (64, 4)), ("+avx,+fma,-avx512f", (32, 2)), ("+neon", (16, 2))],
)
def test_tiles_fit_the_registers(features: str, expected: tuple[int, int]) -> None:
    assert products._registers(features) == expected
    n_bytes, n_vectors = expected
    n_registers = 32 if n_bytes == 64 else 16
    assert (products.MOST_ROWS + 1) * n_vectors + 1 <= n_registers


@pytest.mark.parametrize(
    ("name", "features", "expected"),
    [("generic", None, (16, 2)), ("haswell", "+avx,+avx2,+fma", (32, 2))],
)
def test_tiles_are_those_of_the_processor_that_numba_compiles_for(
    name: str, features: str | None, expected: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_CPU_NAME", name)
    monkeypatch.delenv("NUMBA_CPU_FEATURES", raising=False)
    if features is not None:
        monkeypatch.setenv("NUMBA_CPU_FEATURES", features)
    code = "from kpflow_numerics.kernels.products import *; print(VECTOR_BYTES, WIDE)"
    output = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout
    assert output.split() == [str(each) for each in expected]


@pytest.mark.parametrize(
    ("n_rows", "expected"), [(3, 3), (4, 4), (5, 5), (6, 3), (7, 4), (10, 5), (13, 5), (250, 5)]
)
def test_tiles_of_rows_overlap_little(n_rows: int, expected: int) -> None:
    assert products._rows_of_a_tile(n_rows) == expected
