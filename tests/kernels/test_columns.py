"""Products with narrow blocks, whose kernels are their own, are those with a wide block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics import _threads
from kpflow_numerics.cells import sites
from kpflow_numerics.kernels.columns import MOST_COLUMNS, ROWS_AT_A_TIME, steps_at_a_time
from kpflow_numerics.testing import default_tolerance
from tests.cases.cells import LOW_RANK_CELLS, CellCase
from tests.cases.cells_large import WIDE_CASES
from tests.cases.operators import dense_network

CASES = WIDE_CASES + tuple(case.in_float32() for case in WIDE_CASES)
PRODUCTS = (
    "propagate",
    "propagate_adjoint",
    "param_gram",
    "tangent_kernel",
    "param_vjp",
    "sensitivity_adjoint",
)
PRODUCTS_OF_PARAMETERS = ("param_jvp", "sensitivity")
DENSE_CASES = tuple(
    replace(case, n_trials=5, n_steps=3)
    for case in (*CASES, *(CellCase(replace(cell, n_units=21)) for cell in LOW_RANK_CELLS))
)
WIDTHS = (1, 2, 5, MOST_COLUMNS)
Product = Callable[[np.ndarray], np.ndarray]


def assert_columns_are_those_of_a_block(
    product: Product, shape: tuple[int, ...], case: CellCase
) -> None:
    """Compare blocks of all widths, columns last, with one that is not narrow."""
    wide = (*shape, MOST_COLUMNS + 1)
    block = np.random.default_rng(19).standard_normal(wide).astype(case.dtype)
    expected = product(block)
    tolerance = default_tolerance(case.dtype, case.n_steps * case.cell.n_units)
    for width in WIDTHS:
        found = product(np.ascontiguousarray(block[..., 1 : 1 + width]))
        assert found.dtype == case.dtype
        assert found.shape[-1] == width
        for column in range(width):
            truth = expected[..., 1 + column]
            error, size = np.linalg.norm(found[..., column] - truth), np.linalg.norm(truth)
            # Written so that NaN is not close.
            assert error <= tolerance * size, (
                f"column {column} of {width} differs by {error / size:.1e}"
            )


def states(case: CellCase) -> tuple[int, ...]:
    return case.n_trials, case.n_steps, case.cell.n_state


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_columns_are_those_of_a_block(case: CellCase, name: str) -> None:
    product = getattr(case.linearization(), name)
    assert_columns_are_those_of_a_block(product, states(case), case)


@pytest.mark.parametrize("name", PRODUCTS_OF_PARAMETERS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_columns_of_parameters_are_those_of_a_block(case: CellCase, name: str) -> None:
    lin = case.linearization()
    assert_columns_are_those_of_a_block(getattr(lin, name), (lin.n_parameters,), case)


# One trial, fewer than a share, uneven shares; many trials a step, and many steps in uneven parts.
@pytest.mark.parametrize(
    ("n_trials", "n_steps"), [(1, 5), (2, 5), (3, 5), (13, 5), (300, 5), (7, 71)]
)
@pytest.mark.parametrize("case", WIDE_CASES, ids=str)
def test_columns_of_few_and_many_trials(case: CellCase, n_trials: int, n_steps: int) -> None:
    some = replace(case, n_trials=n_trials, n_steps=n_steps)
    lin = some.linearization()
    for name in PRODUCTS:
        assert_columns_are_those_of_a_block(getattr(lin, name), states(some), some)
    for name in PRODUCTS_OF_PARAMETERS:
        assert_columns_are_those_of_a_block(getattr(lin, name), (lin.n_parameters,), some)


def assert_products_are_those_of_matrices(lin: kpf.Linearization, case: CellCase) -> None:
    """Compare the products at all widths, the first that is not narrow too, with autograd's."""
    dense = dense_network(case)
    P, J, S = dense.block_products(), dense.J, dense.S
    matrices = {
        "propagate": P,
        "propagate_adjoint": P.T,
        "param_gram": J @ J.T,
        "tangent_kernel": S @ S.T,
        "param_vjp": J.T,
        "sensitivity_adjoint": S.T,
        "param_jvp": J,
        "sensitivity": S,
    }
    assert set(matrices) == {*PRODUCTS, *PRODUCTS_OF_PARAMETERS}
    rng = np.random.default_rng(31)
    for name, matrix in matrices.items():
        shape = lin.dims if name in PRODUCTS else (lin.n_parameters,)
        for width in (*WIDTHS, MOST_COLUMNS + 1):
            block = rng.standard_normal((*shape, width)).astype(case.dtype)
            found = getattr(lin, name)(block.copy()).reshape(-1, width)
            expected = matrix @ block.reshape(-1, width).astype(np.float64)
            error, size = np.linalg.norm(found - expected), np.linalg.norm(expected)
            tolerance = default_tolerance(case.dtype, max(matrix.shape))
            # Written so that NaN is not close.
            assert error <= tolerance * size, f"{name} of {width} differs by {error / size:.1e}"


@pytest.mark.parametrize("case", DENSE_CASES, ids=str)
def test_products_are_those_of_the_matrices_of_autograd(case: CellCase) -> None:
    assert_products_are_those_of_matrices(case.linearization(), case)


@pytest.mark.parametrize(
    ("fault", "message"),
    [("no carry", "propagate of 1 differs"), ("shared biases counted once", "param_gram of 1 ")],
)
def test_a_planted_fault_is_seen_by_the_matrices(
    fault: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = next(case for case in DENSE_CASES if case.cell.kind == "gru")
    lin = case.linearization()
    if fault == "no carry":
        carry, is_carried, *others = lin.weight_sites._flow
        vars(lin.weight_sites)["_flow"] = (carry, np.zeros_like(is_carried), *others)
    else:
        monkeypatch.setattr(sites.WeightSites, "_count_shared", lambda self, core, k: None)
    with pytest.raises(AssertionError, match=message):
        assert_products_are_those_of_matrices(lin, case)


@pytest.mark.parametrize("case", WIDE_CASES, ids=str)
def test_adjoints_of_single_scans_are_adjoint(case: CellCase) -> None:
    lin, rng = case.linearization(), np.random.default_rng(37)
    for width in WIDTHS:
        q = rng.standard_normal((*lin.dims, width))
        v = rng.standard_normal((lin.n_parameters, width))
        Sv, Sq = lin.sensitivity(v), lin.sensitivity_adjoint(q)
        found, expected = np.vdot(q, Sv), np.vdot(Sq, v)
        size = np.linalg.norm(q) * np.linalg.norm(Sv)
        assert abs(found - expected) <= default_tolerance(case.dtype, q.size) * size


@pytest.mark.parametrize("case", WIDE_CASES, ids=str)
def test_the_kernel_in_two_scans_is_that_of_its_factors(case: CellCase) -> None:
    lin = case.linearization()
    assert lin.weight_sites is not None
    assert lin.weight_sites.fuses(MOST_COLUMNS)
    assert not lin.weight_sites.fuses(MOST_COLUMNS + 1)
    q = np.random.default_rng(29).standard_normal((*lin.dims, 3)).astype(case.dtype)
    expected = lin.propagate(lin.param_gram(lin.propagate_adjoint(q)))
    kept = q.copy()
    found = lin.tangent_kernel(q)
    tolerance = default_tolerance(case.dtype, case.n_steps * case.cell.n_units)
    assert np.linalg.norm(found - expected) <= tolerance * np.linalg.norm(expected)
    np.testing.assert_array_equal(q, kept)
    np.testing.assert_array_equal(lin.tangent_kernel(q, overwrite=True), found)
    np.testing.assert_array_equal(q, found)


def test_fewer_trials_than_threads_are_not_scanned_through_the_parameters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = replace(WIDE_CASES[0], n_trials=3)
    found = case.linearization().weight_sites
    assert found is not None
    for n_threads in (3, 4):
        monkeypatch.setattr(sites, "n_threads", lambda n=n_threads: n)
        assert found.fuses(1) == (n_threads == 3)


@pytest.mark.parametrize("case", WIDE_CASES, ids=str)
def test_equal_calls_give_equal_bits(case: CellCase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_threads, "_WORTH_SHARING", 0.0)
    lin = case.linearization()
    q = np.random.default_rng(23).standard_normal((*lin.dims, 1)).astype(case.dtype)
    for name in PRODUCTS:
        product = getattr(lin, name)
        np.testing.assert_array_equal(product(q), product(q))


@pytest.mark.parametrize("width", [1, MOST_COLUMNS])
@pytest.mark.parametrize("case", WIDE_CASES, ids=str)
def test_a_dropped_unit_is_seen(case: CellCase, width: int) -> None:
    lin = case.linearization()

    def without_the_last_unit(block: np.ndarray) -> np.ndarray:
        found = lin.propagate(block)
        if block.shape[-1] == width:
            found[:, -1, -1, -1] = block[:, -1, -1, -1]
        return found

    assert isinstance(lin, kpf.Linearization)
    with pytest.raises(AssertionError, match="differs by"):
        assert_columns_are_those_of_a_block(without_the_last_unit, states(case), case)


@pytest.mark.parametrize("n_trials", [1, 7, 10, 128])
@pytest.mark.parametrize("n_steps", [1, 2, 30, 90, 1000])
def test_steps_are_taken_in_equal_parts_of_about_the_rows(n_trials: int, n_steps: int) -> None:
    steps = steps_at_a_time(n_trials, n_steps)
    assert 1 <= steps <= n_steps
    assert steps * n_trials <= max(2 * ROWS_AT_A_TIME, n_trials)
    assert -(-n_steps // steps) * steps - n_steps < steps
    if n_steps * n_trials > ROWS_AT_A_TIME > n_trials:
        assert 2 * steps * n_trials >= ROWS_AT_A_TIME
