"""The closed forms of P P* through the Gramians, on every cell."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics._validation import MemoryLimitError
from kpflow_numerics.testing import default_tolerance
from tests.cases.cells import CELL_CASES, FLOAT32_CASES, OWN_CASES, SITE_CASES, CellCase
from tests.cases.operators import dense_network

AXES = ("trial", "time", "unit")
SUBSETS = [subset for length in range(4) for subset in itertools.combinations(AXES, length)]


def assert_equal(found: object, expected: np.ndarray, tolerance: float) -> None:
    found = np.asarray(found)
    assert found.shape == expected.shape
    assert found.dtype == np.float64
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


def by_definition(matrix: np.ndarray, dims: tuple[int, ...], over: tuple[str, ...]) -> np.ndarray:
    """Sum over equal indices of the traced axes, those of the others kept twice."""
    rows = "bta"
    columns = "".join(
        row if name in over else other for name, row, other in zip(AXES, rows, "cde", strict=True)
    )
    kept = [index for index, name in enumerate(AXES) if name not in over]
    out = "".join(rows[i] for i in kept) + "".join(columns[i] for i in kept)
    return np.einsum(f"{rows}{columns}->{out}", matrix.reshape(*dims, *dims))


@pytest.mark.parametrize("case", CELL_CASES, ids=str)
@pytest.mark.parametrize("over", SUBSETS)
def test_every_partial_trace(case: CellCase, over: tuple[str, ...]) -> None:
    lin, P = case.linearization(), dense_network(case).block_products()
    expected = by_definition(P @ P.T, lin.dims, over)
    gram = kpf.PropagatorGram(lin)
    assert_equal(gram.exact_partial_trace(over), expected, 1e-12)
    for operator in (gram, kpf.Propagator(lin)):
        found = kpf.partial_trace(operator, over, method="exact")
        assert found.n_matvecs == 0
        assert_equal(found.matrix, expected.reshape(found.shape), 1e-12)


@pytest.mark.parametrize("case", CELL_CASES, ids=str)
def test_trace_norm_and_rank(case: CellCase) -> None:
    lin, P = case.linearization(), dense_network(case).block_products()
    PP = P @ P.T
    gram = kpf.PropagatorGram(lin)
    rank = np.trace(PP) ** 2 / np.linalg.norm(PP) ** 2
    assert gram.exact_trace() == pytest.approx(np.trace(PP), rel=1e-12)
    assert gram.exact_frobenius_norm() == pytest.approx(np.linalg.norm(PP), rel=1e-12)
    for operator in (gram, kpf.Propagator(lin)):
        found = kpf.effective_rank(operator)
        assert found.is_exact
        assert found.value == pytest.approx(rank, rel=1e-12)


@pytest.mark.parametrize("case", [*FLOAT32_CASES, OWN_CASES[0].in_float32()], ids=str)
@pytest.mark.parametrize("over", SUBSETS)
def test_single_precision(case: CellCase, over: tuple[str, ...]) -> None:
    lin, P = case.linearization(), dense_network(case).block_products()
    expected = by_definition(P @ P.T, lin.dims, over)
    tolerance = default_tolerance(np.float32, len(P))
    assert_equal(kpf.PropagatorGram(lin).exact_partial_trace(over), expected, tolerance)


def test_costs_depend_on_the_axes() -> None:
    gram = kpf.PropagatorGram(SITE_CASES[0].linearization())
    costs = {over: gram.exact_cost("partial_trace", over) for over in SUBSETS}
    assert all(cost.flops > 0 and cost.memory_bytes > 0 for cost in costs.values())
    assert costs["trial", "time"].flops < costs["trial", "unit"].flops
    assert costs["trial", "time"].memory_bytes < costs["time",].memory_bytes
    assert costs["unit",].memory_bytes < costs["trial",].memory_bytes < costs[()].memory_bytes
    assert gram.exact_cost("partial_trace") == costs[()]


@pytest.mark.parametrize("over", SUBSETS)
def test_what_does_not_fit_is_refused(over: tuple[str, ...]) -> None:
    gram = kpf.PropagatorGram(SITE_CASES[0].linearization())
    needed = gram.exact_cost("partial_trace", over).memory_bytes
    with pytest.raises(MemoryLimitError, match=r"exact_partial_trace\(\) needs about"):
        kpf.partial_trace(gram, over, method="exact", max_memory=needed - 1)
    assert kpf.partial_trace(gram, over, method="exact", max_memory=needed).method == "exact"


@pytest.mark.parametrize("over", [over for over in SUBSETS if "time" not in over])
def test_a_planted_fault_is_seen(over: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    # Off by one in the scan: each block is carried by the Jacobian of the step before.
    case = SITE_CASES[-2]
    lin, P = case.linearization(), dense_network(case).block_products()
    expected = by_definition(P @ P.T, lin.dims, over)
    right = lin.state_jacobians

    def shifted(trials: slice, **options: object) -> np.ndarray:
        return np.roll(right(trials), 1, axis=1)

    monkeypatch.setattr(lin, "state_jacobians", shifted)
    with pytest.raises(AssertionError):
        assert_equal(kpf.PropagatorGram(lin).exact_partial_trace(over), expected, 1e-12)
