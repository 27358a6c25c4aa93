"""The closed forms of K, P P* and the NTK equal what their dense matrices give."""

from __future__ import annotations

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics.cells.sites import WeightSites
from kpflow_numerics.testing import default_tolerance
from tests.cases.cells import EDGE_CASES, FLOAT32_CASES, OWN_CASES, SITE_CASES, CellCase

CASES = pytest.mark.parametrize("case", SITE_CASES + EDGE_CASES, ids=str)

# Axes of a matrix on states viewed as (B, T, N, B, T, N): b t a | c d e.
PARTIAL_TRACES: dict[tuple[str, ...], str] = {
    ("unit",): "btacda->btcd",
    ("unit", "trial"): "btabda->td",
    ("unit", "time"): "btacta->bc",
    ("trial", "time"): "btabtc->ac",
}


def assert_equal_to_rounding(found: object, expected: object, size: int) -> None:
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    scale = np.abs(expected).max()
    assert np.abs(found - expected).max() <= default_tolerance(np.float64, size, factor=20) * scale


def dense(case: CellCase) -> tuple[kpf.Linearization, np.ndarray, np.ndarray, np.ndarray]:
    lin = case.linearization()
    K, P = kpf.ParameterOperator(lin).to_dense(), kpf.Propagator(lin).to_dense()
    return lin, K, P @ P.T, P @ K @ P.T


@CASES
def test_traces_and_norms(case: CellCase) -> None:
    lin, K, PP, NTK = dense(case)
    size = len(K)
    parameter_operator, gram = kpf.ParameterOperator(lin), kpf.PropagatorGram(lin)
    assert_equal_to_rounding(parameter_operator.exact_trace(), np.trace(K), size)
    assert_equal_to_rounding(parameter_operator.exact_frobenius_norm(), np.linalg.norm(K), size)
    assert_equal_to_rounding(gram.exact_trace(), np.trace(PP), size)
    assert_equal_to_rounding(gram.exact_frobenius_norm(), np.linalg.norm(PP), size)
    assert_equal_to_rounding(kpf.TangentKernel(lin).exact_trace(), np.trace(NTK), size)


@CASES
def test_the_spectrum_of_k(case: CellCase) -> None:
    lin, K, _, _ = dense(case)
    expected = np.linalg.eigvalsh(K)[::-1]
    found = kpf.ParameterOperator(lin).exact_eigenvalues()
    assert_equal_to_rounding(found, expected, len(K))


@CASES
@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_the_eigenpairs_of_k(case: CellCase, share: float) -> None:
    lin, K, _, _ = dense(case)
    k = max(1, int(share * len(K)))
    values, vectors = kpf.ParameterOperator(lin).exact_eigenpairs(k)
    size = len(K)
    assert_equal_to_rounding(values, np.linalg.eigvalsh(K)[::-1][:k], size)
    assert_equal_to_rounding(vectors.T @ vectors, np.eye(k), size)
    residual = np.abs(K @ vectors - vectors * values).max()
    assert residual <= default_tolerance(np.float64, size) * values[0]


@CASES
@pytest.mark.parametrize("over", PARTIAL_TRACES)
def test_partial_traces(case: CellCase, over: tuple[str, ...]) -> None:
    lin, K, PP, _ = dense(case)
    for operator, matrix in ((kpf.ParameterOperator(lin), K), (kpf.PropagatorGram(lin), PP)):
        expected = np.einsum(PARTIAL_TRACES[over], matrix.reshape(*lin.dims, *lin.dims))
        found = operator.exact_partial_trace(over)
        if found is not None:
            assert_equal_to_rounding(found, expected, len(matrix))


@pytest.mark.parametrize("case", SITE_CASES[:1], ids=str)
def test_which_partial_traces_are_closed(case: CellCase) -> None:
    K = kpf.ParameterOperator(case.linearization())
    assert all(K.exact_partial_trace(over) is not None for over in PARTIAL_TRACES)


@pytest.mark.parametrize("case", FLOAT32_CASES, ids=str)
def test_single_precision_operators_have_the_same_forms(case: CellCase) -> None:
    lin, K, PP, NTK = dense(case)
    tolerance = default_tolerance(np.float32, len(K))
    for operator, matrix in (
        (kpf.ParameterOperator(lin), K),
        (kpf.PropagatorGram(lin), PP),
        (kpf.TangentKernel(lin), NTK),
    ):
        assert abs(operator.exact_trace() / np.trace(matrix) - 1.0) <= tolerance
    vectors = kpf.ParameterOperator(lin).exact_eigenpairs(3)[1]
    assert vectors.dtype == np.float32


@CASES
def test_the_mean_is_the_sum_over_trials_and_steps(case: CellCase) -> None:
    lin = case.linearization()
    total, mean = kpf.ParameterOperator(lin), kpf.ParameterOperator(lin, normalization="mean")
    n_terms = lin.dims[0] * lin.dims[1]
    size = n_terms * lin.dims[2]
    assert_equal_to_rounding(n_terms * mean.to_dense(), total.to_dense(), size)
    for quantity in ("exact_trace", "exact_frobenius_norm", "exact_eigenvalues"):
        found, whole = getattr(mean, quantity)(), getattr(total, quantity)()
        assert_equal_to_rounding(n_terms * np.asarray(found), whole, size)
    factor = mean.factor.to_dense()
    assert_equal_to_rounding(factor @ factor.T, mean.to_dense(), size)


def test_normalization_is_checked() -> None:
    lin = SITE_CASES[0].linearization()
    with pytest.raises(ValueError, match="normalization must be one of 'sum', 'mean'"):
        kpf.ParameterOperator(lin, normalization="average")


@pytest.mark.parametrize("case", OWN_CASES[:1], ids=str)
def test_a_cell_without_sites_has_no_closed_forms_of_k(case: CellCase) -> None:
    lin, _, PP, _ = dense(case)
    K, NTK = kpf.ParameterOperator(lin), kpf.TangentKernel(lin)
    assert K.exact_cost("trace") is None
    assert NTK.exact_cost("trace") is None
    with pytest.raises(AttributeError, match="no weight sites"):
        K.exact_trace()
    with pytest.raises(AttributeError, match="no weight sites"):
        NTK.exact_trace()
    gram = kpf.PropagatorGram(lin)
    assert_equal_to_rounding(gram.exact_frobenius_norm(), np.linalg.norm(PP), len(PP))


def test_every_closed_form_tells_its_cost() -> None:
    lin = SITE_CASES[0].linearization()
    quantities = {
        kpf.ParameterOperator: (
            "trace", "frobenius_norm", "eigenvalues", "eigenpairs", "partial_trace",
        ),
        kpf.PropagatorGram: ("trace", "frobenius_norm", "partial_trace"),
        kpf.TangentKernel: ("trace",),
    }  # fmt: skip
    for kind, offered in quantities.items():
        for quantity in offered:
            cost = kind(lin).exact_cost(quantity)
            assert cost is not None
            assert cost.flops > 0
            assert cost.memory_bytes > 0
        assert kind(lin).exact_cost("determinant") is None


@pytest.mark.parametrize("fault", ["gains", "features", "carry"])
def test_a_planted_fault_is_seen(fault: str) -> None:
    lin = SITE_CASES[-2].linearization()
    matrix = kpf.TangentKernel(lin).to_dense()
    sites: WeightSites = lin.weight_sites
    if fault == "features":
        sites.groups[0].features[:, 1:, 0] += 0.1
    else:
        getattr(sites, fault)[:, 1:] *= 1.01
    with pytest.raises(AssertionError):
        assert_equal_to_rounding(
            kpf.TangentKernel(lin).exact_trace(), np.trace(matrix), len(matrix)
        )
