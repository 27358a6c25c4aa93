"""Partial traces of K in closed form: over any axes, in any chunks, and what they cost."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics.operators import _site_gram
from kpflow_numerics.testing import default_tolerance
from tests.cases.cells import EDGE_CASES, FLOAT32_CASES, SITE_CASES, CellCase

AXES = ("trial", "time", "unit")
SUBSETS = tuple(over for size in range(4) for over in combinations(AXES, size))

CASES = pytest.mark.parametrize("case", SITE_CASES + EDGE_CASES, ids=str)
OVER = pytest.mark.parametrize("over", SUBSETS, ids="-".join)


def partial_trace_of_matrix(
    matrix: np.ndarray, dims: tuple[int, int, int], over: tuple[str, ...]
) -> np.ndarray:
    left = "btn"
    right = "".join(
        letter if name in over else letter.upper() for letter, name in zip(left, AXES, strict=True)
    )
    kept = "".join(letter for letter, name in zip(left, AXES, strict=True) if name not in over)
    return np.einsum(f"{left}{right}->{kept}{kept.upper()}", matrix.reshape(*dims, *dims))


def assert_partial_trace(
    operator: kpf.ParameterOperator, matrix: np.ndarray, over: tuple[str, ...]
) -> None:
    expected = partial_trace_of_matrix(matrix, operator.dims, over)
    found = operator.exact_partial_trace(over)
    assert found.shape == expected.shape
    assert found.dtype == np.float64
    tolerance = default_tolerance(operator.dtype, len(matrix)) * np.abs(expected).max()
    assert np.abs(found - expected).max() <= tolerance


@CASES
@OVER
def test_any_axes_can_be_traced(case: CellCase, over: tuple[str, ...]) -> None:
    lin = case.linearization()
    for normalization in ("sum", "mean"):
        K = kpf.ParameterOperator(lin, normalization=normalization)
        assert_partial_trace(K, K.to_dense(), over)


@pytest.mark.parametrize("case", FLOAT32_CASES, ids=str)
@OVER
def test_single_precision(case: CellCase, over: tuple[str, ...]) -> None:
    K = kpf.ParameterOperator(case.linearization())
    assert_partial_trace(K, K.to_dense().astype(np.float64), over)


@pytest.mark.parametrize("case", SITE_CASES[-4:], ids=str)
@pytest.mark.parametrize("rows", [1, 4, 7])
@OVER
def test_chunks_change_nothing(
    case: CellCase, rows: int, over: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    K = kpf.ParameterOperator(case.linearization())
    matrix = K.to_dense()
    monkeypatch.setattr(_site_gram, "ROWS_AT_A_TIME", rows)
    monkeypatch.setattr(_site_gram, "NORM_ROWS", rows)
    assert_partial_trace(K, matrix, over)
    norm = K.exact_frobenius_norm()
    assert abs(norm / np.linalg.norm(matrix) - 1.0) <= default_tolerance("float64", len(matrix))


@CASES
@OVER
def test_tracing_what_remains_gives_the_trace(case: CellCase, over: tuple[str, ...]) -> None:
    K = kpf.ParameterOperator(case.linearization())
    reduced = K.exact_partial_trace(over)
    side = round(reduced.size**0.5)
    trace = np.trace(reduced.reshape(side, side))
    assert abs(trace / K.exact_trace() - 1.0) <= default_tolerance("float64", K.shape[0])
    eigenvalues = np.linalg.eigvalsh(reduced.reshape(side, side))
    assert eigenvalues[0] >= -default_tolerance("float64", side) * eigenvalues[-1]


@pytest.mark.parametrize("case", SITE_CASES[-4::2], ids=str)
@pytest.mark.parametrize("fault", ["gains", "features"])
@OVER
def test_a_planted_fault_is_seen(case: CellCase, fault: str, over: tuple[str, ...]) -> None:
    lin = case.linearization()
    K = kpf.ParameterOperator(lin)
    matrix = K.to_dense()
    if fault == "gains":
        lin.weight_sites.gains[:, 1:, 0] *= 1.001
    else:
        lin.weight_sites.groups[0].features[1:, :, 0] += 0.001
    with pytest.raises(AssertionError):
        assert_partial_trace(K, matrix, over)


def test_the_cost_depends_on_the_axes() -> None:
    K = kpf.ParameterOperator(SITE_CASES[-2].linearization())
    costs = {over: K.exact_cost("partial_trace", over) for over in SUBSETS}
    assert K.exact_cost("partial_trace") == costs[("unit",)]
    for over, cost in costs.items():
        assert cost is not None
        assert cost.flops > 0
        assert cost.memory_bytes >= K.exact_partial_trace(over).nbytes
    assert costs[()].memory_bytes > costs[("unit",)].memory_bytes
    assert costs[("unit",)].memory_bytes > costs[("trial", "unit")].memory_bytes


def test_the_door_weighs_the_axes_that_are_asked_for() -> None:
    K = kpf.ParameterOperator(SITE_CASES[-2].linearization())
    memory = 1.01 * K.exact_cost("partial_trace", ("unit",)).memory_bytes
    assert kpf.partial_trace(K, "unit", max_memory=memory).method == "exact"
    with pytest.raises(MemoryError, match="exact_partial_trace"):
        kpf.partial_trace(K, (), method="exact", max_memory=memory)


def test_no_more_memory_than_the_result_and_some_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    import tracemalloc

    monkeypatch.setattr(_site_gram, "ROWS_AT_A_TIME", 16)
    case = CellCase(kpf.GRU(2, 24), n_trials=6, n_steps=40)
    K = kpf.ParameterOperator(case.linearization())
    for over in (("unit",), ("trial",), ("time",), ("time", "unit")):
        allowed = K.exact_cost("partial_trace", over).memory_bytes
        K.exact_partial_trace(over)
        tracemalloc.start()
        try:
            K.exact_partial_trace(over)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak <= 1.25 * allowed
