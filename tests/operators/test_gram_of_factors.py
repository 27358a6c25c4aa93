"""J and S are spoken for by their Gram operators, K and the tangent kernel."""

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics.testing import default_tolerance
from tests.cases.cells import OWN_CASES, SITE_CASES

FACTORS = {"J": kpf.ParameterJacobian, "S": kpf.Sensitivity}
TOLERANCE = default_tolerance(np.float64, 1000)


@pytest.mark.parametrize("case", SITE_CASES + OWN_CASES, ids=str)
@pytest.mark.parametrize("name", FACTORS)
def test_the_gram_operator_is_the_square(name, case):
    factor = FACTORS[name](case.linearization())
    L = factor.to_dense().astype(np.float64)
    assert type(factor.gram) is (kpf.ParameterOperator if name == "J" else kpf.TangentKernel)
    assert factor.gram is factor.gram
    error = np.abs(factor.gram.to_dense() - L @ L.T).max()
    assert error <= default_tolerance(factor.dtype, len(L)) * np.abs(L @ L.T).max()


@pytest.mark.parametrize("case", SITE_CASES, ids=str)
@pytest.mark.parametrize("name", FACTORS)
def test_traces_and_norms_go_through_the_closed_forms(name, case):
    factor = FACTORS[name](case.linearization())
    truth = np.linalg.norm(factor.to_dense())
    for found, expected in (
        (kpf.trace(factor), truth**2),
        (kpf.frobenius_norm(factor), truth),
        (kpf.trace(factor, "exact"), truth**2),
    ):
        assert (found.method, found.n_matvecs) == ("exact", 0)
        assert found.value == pytest.approx(expected, rel=TOLERANCE)


def test_certain_bounds_of_the_trace_of_the_sensitivity():
    S = kpf.Sensitivity(SITE_CASES[0].linearization())
    found = kpf.trace(S, "bounds", rtol=0.1)
    truth = np.linalg.norm(S.to_dense()) ** 2
    assert found.lower <= truth * (1 + TOLERANCE)
    assert truth <= found.upper * (1 + TOLERANCE)


@pytest.mark.parametrize("case", SITE_CASES, ids=str)
def test_spectra_and_ranks_of_the_jacobian(case):
    J = kpf.ParameterJacobian(case.linearization())
    values = np.linalg.svd(J.to_dense(), compute_uv=False) ** 2
    rank = kpf.effective_rank(J)
    assert (rank.method, rank.n_matvecs) == ("exact", 0)
    assert rank.value == pytest.approx(values.sum() ** 2 / np.sum(values**2), rel=TOLERANCE)
    spectrum = kpf.eigenvalues(J)
    assert spectrum.method == "exact"
    tolerance = TOLERANCE * values[0]
    np.testing.assert_allclose(spectrum.values[: len(values)], values, atol=tolerance)
    matrix = J.to_dense().reshape(*J.dimsd, -1)
    over_units = kpf.partial_trace(J, "unit")
    assert over_units.method == "exact"
    expected = np.einsum("btnp,csnp->btcs", matrix, matrix).reshape(over_units.matrix.shape)
    np.testing.assert_allclose(over_units.matrix, expected, atol=TOLERANCE * expected.max())


@pytest.mark.parametrize("case", SITE_CASES, ids=str)
def test_the_rank_of_the_sensitivity_is_that_of_the_kernel(case):
    lin = case.linearization()
    values = np.linalg.svd(kpf.Sensitivity(lin).to_dense(), compute_uv=False) ** 2
    truth = values.sum() ** 2 / np.sum(values**2)
    bounds = kpf.effective_rank(kpf.Sensitivity(lin), method="bounds", n_pairs=3)
    assert bounds.is_certified
    assert bounds.method == "bounds"
    assert bounds.lower * (1 - TOLERANCE) <= truth <= bounds.upper * (1 + TOLERANCE)
    assert kpf.effective_rank(kpf.Sensitivity(lin)).value == pytest.approx(truth, rel=TOLERANCE)


@pytest.mark.parametrize("case", SITE_CASES, ids=str)
@pytest.mark.parametrize(("first", "second"), [("J", "P"), ("J", "PP*"), ("J", "K")])
def test_alignments_are_exact(first, second, case):
    lin = case.linearization()
    kinds = {
        **FACTORS,
        "P": kpf.Propagator,
        "PP*": kpf.PropagatorGram,
        "K": kpf.ParameterOperator,
    }
    A, B = kinds[first](lin), kinds[second](lin)
    dense_a, dense_b = (
        op.to_dense() if op.self_adjoint else op.to_dense() @ op.to_dense().T for op in (A, B)
    )
    truth = np.vdot(dense_a, dense_b) / (np.linalg.norm(dense_a) * np.linalg.norm(dense_b))
    for pair in ((A, B), (B, A)):
        found = kpf.alignment(*pair)
        assert (found.method, found.n_matvecs) == ("exact", 0)
        assert found.value == pytest.approx(truth, rel=TOLERANCE)


def test_the_numerator_of_the_sensitivity_with_the_propagator_is_exact():
    lin = SITE_CASES[0].linearization()
    S, P = (kind(lin).to_dense() for kind in (kpf.Sensitivity, kpf.Propagator))
    found = kpf.inner_product(kpf.Sensitivity(lin), kpf.Propagator(lin))
    assert found.method == "exact"
    assert found.value == pytest.approx(np.linalg.norm(P.T @ S) ** 2, rel=TOLERANCE)


def test_a_gram_operator_of_another_factor_would_be_caught(monkeypatch):
    lin = SITE_CASES[0].linearization()
    monkeypatch.setattr(
        kpf.Sensitivity, "gram", kpf.ParameterJacobian.gram.func(kpf.Sensitivity(lin))
    )
    found = kpf.trace(kpf.Sensitivity(lin))
    truth = np.linalg.norm(kpf.Sensitivity(lin).to_dense()) ** 2
    assert found.value != pytest.approx(truth, rel=1e-3)
