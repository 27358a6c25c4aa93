"""Products with one column, whose kernels are their own, are those with a block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics import _threads
from kpflow_numerics.testing import default_tolerance
from tests.cases.cells import CellCase
from tests.cases.cells_large import WIDE_CASES

CASES = WIDE_CASES + tuple(case.in_float32() for case in WIDE_CASES)
PRODUCTS = ("propagate", "propagate_adjoint", "param_gram")


def assert_columns_are_those_of_a_block(
    product: Callable[[np.ndarray], np.ndarray], case: CellCase
) -> None:
    dims = (case.n_trials, case.n_steps, case.cell.n_state)
    block = np.random.default_rng(19).standard_normal((*dims, 2)).astype(case.dtype)
    expected = product(block)
    tolerance = default_tolerance(case.dtype, case.n_steps * case.cell.n_units)
    for column in range(2):
        found = product(np.ascontiguousarray(block[..., column : column + 1]))[..., 0]
        assert found.dtype == case.dtype
        error = np.linalg.norm(found - expected[..., column])
        size = np.linalg.norm(expected[..., column])
        assert error <= tolerance * size, f"a column differs by {error / size:.1e}"


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_columns_are_those_of_a_block(case: CellCase, name: str) -> None:
    assert_columns_are_those_of_a_block(getattr(case.linearization(), name), case)


@pytest.mark.parametrize("n_trials", [1, 2, 3, 13])
@pytest.mark.parametrize("case", WIDE_CASES, ids=str)
def test_columns_of_few_trials(case: CellCase, n_trials: int) -> None:
    few = replace(case, n_trials=n_trials)
    for name in PRODUCTS:
        assert_columns_are_those_of_a_block(getattr(few.linearization(), name), few)


@pytest.mark.parametrize("case", WIDE_CASES, ids=str)
def test_equal_calls_give_equal_bits(case: CellCase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_threads, "_WORTH_SHARING", 0.0)
    lin = case.linearization()
    q = np.random.default_rng(23).standard_normal((*lin.dims, 1)).astype(case.dtype)
    for name in PRODUCTS:
        product = getattr(lin, name)
        np.testing.assert_array_equal(product(q), product(q))


@pytest.mark.parametrize("case", WIDE_CASES, ids=str)
def test_a_dropped_unit_is_seen(case: CellCase) -> None:
    lin = case.linearization()

    def without_the_last_unit(block: np.ndarray) -> np.ndarray:
        found = lin.propagate(block)
        if block.shape[-1] == 1:
            found[:, -1, -1] = block[:, -1, -1]
        return found

    assert isinstance(lin, kpf.Linearization)
    with pytest.raises(AssertionError, match="a column differs"):
        assert_columns_are_those_of_a_block(without_the_last_unit, case)
