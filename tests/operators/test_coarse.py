"""The same operator in another precision, and a coarser one near it."""

from __future__ import annotations

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics.cells.parameters import ParameterLayout
from kpflow_numerics.core_compression import COARSE_TOLERANCE
from kpflow_numerics.spectral import top_eigenpairs
from kpflow_numerics.testing import assert_eigenpairs, default_tolerance
from tests.cases.cells import CELL_CASES, SITE_CASES, CellCase
from tests.cases.operators import OPERATOR_CELL_CASES, readout_of

READOUT = {"parameters": "all"}
CELLS = pytest.mark.parametrize("case", OPERATOR_CELL_CASES, ids=str)
KERNELS = pytest.mark.parametrize("kind", ["TangentKernel", "OutputKernel", "PropagatorGram"])
FACTORS = pytest.mark.parametrize("kind", ["Sensitivity", "OutputSensitivity", "Propagator"])

REFINABLE = pytest.mark.parametrize(
    "kind", ["TangentKernel", "OutputKernel", "Sensitivity", "PropagatorGram", "Propagator"]
)


def build(kind, lin):
    if kind.startswith("Output"):
        return getattr(kpf, kind)(lin, readout_of(lin.cell.n_units), **READOUT)
    return getattr(kpf, kind)(lin)


def states_gram(operator):
    matrix = operator.to_dense().astype(np.float64)
    return matrix if operator.self_adjoint else matrix @ matrix.T


@CELLS
@KERNELS
def test_a_kernel_in_single_precision_is_near_it(case: CellCase, kind: str) -> None:
    operator = build(kind, case.linearization())
    single = operator.astype(np.float32)
    assert type(single) is type(operator)
    assert single.dtype == np.float32
    assert single.shape == operator.shape
    whole = operator.to_dense()
    error = np.linalg.norm(single.to_dense() - whole)
    assert error <= 10 * default_tolerance(np.float32, len(whole)) * np.linalg.norm(whole)


@CELLS
@FACTORS
def test_a_factor_keeps_its_parameters(case: CellCase, kind: str) -> None:
    operator = build(kind, case.linearization())
    single = operator.astype(np.float32)
    assert single.shape == operator.shape
    whole = operator.to_dense()
    error = np.linalg.norm(single.to_dense() - whole)
    assert error <= 10 * default_tolerance(np.float32, len(whole)) * np.linalg.norm(whole)


@CELLS
@REFINABLE
def test_a_coarse_operator_is_near_it(case: CellCase, kind: str) -> None:
    lin = case.linearization()
    operator = build(kind, lin)
    coarse = operator.coarse()
    assert coarse.dtype == np.float32
    assert coarse.shape[0] == operator.shape[0]
    whole, P = states_gram(operator), kpf.Propagator(lin).to_dense()
    # What the features lose, P may make larger.
    cut = COARSE_TOLERANCE * np.linalg.norm(P, 2) ** 2
    cut *= np.linalg.norm(kpf.ParameterOperator(lin).to_dense(), 2)
    rounding = 10 * default_tolerance(np.float32, len(whole)) * np.linalg.norm(whole)
    error = np.linalg.norm(states_gram(coarse) - whole, 2)
    assert error <= 100 * cut + rounding


@pytest.mark.parametrize("case", SITE_CASES[-2:-1], ids=str)
def test_smooth_activity_leaves_few_parameters(case: CellCase) -> None:
    params = case.cell.init_params(gain=0.3, rng=3)
    inputs = np.repeat(np.ones((4, 1, case.cell.n_inputs)), 30, axis=1)
    lin = kpf.linearize(kpf.simulate(case.cell, params, inputs))
    S = kpf.Sensitivity(lin)
    assert S.coarse().shape[1] < S.shape[1]
    assert S.astype(np.float32).shape == S.shape


def test_a_compressed_core_keeps_its_coordinates() -> None:
    cell = kpf.GRU(3, 6)
    inputs = np.random.default_rng(5).standard_normal((3, 8, 3))
    lin = kpf.linearize(kpf.simulate(cell, cell.init_params(gain=0.3, rng=3), inputs))
    small = kpf.compress_core(lin, 1e-2)
    single = small.astype(np.float32)
    assert isinstance(single.layout, ParameterLayout)
    assert single.ranks == small.ranks
    assert single.dtype == np.float32
    assert small.dtype == np.float64
    S, less = kpf.Sensitivity(small).to_dense(), kpf.Sensitivity(single).to_dense()
    assert np.linalg.norm(S - less) <= default_tolerance(np.float32, len(S)) * np.linalg.norm(S)


def test_operators_that_cannot_be_made_again_have_none() -> None:
    J = kpf.ParameterJacobian(CELL_CASES[0].linearization())
    assert J.astype(np.float32) is None
    assert J.coarse() is None
    assert J.H.astype(np.float32) is None


def test_a_coarse_propagator_has_no_core_to_cut() -> None:
    lin = SITE_CASES[0].linearization()
    for operator in (kpf.Propagator(lin), kpf.PropagatorGram(lin)):
        assert not hasattr(operator.coarse().linearization, "ranks")


@pytest.mark.parametrize("case", CELL_CASES, ids=str)
@REFINABLE
def test_eigenpairs_are_refined_from_the_coarse_operator(case: CellCase, kind: str) -> None:
    operator = build(kind, case.linearization())
    k = min(3, *operator.shape)
    result = top_eigenpairs(operator, k, method="lanczos", tolerance=1e-8, rng=7)
    assert result.method.startswith("lanczos")
    assert result.converged
    assert result.complete
    gram = states_gram(operator)
    norm = np.linalg.norm(gram, 2)
    exact = np.linalg.eigvalsh(gram)[::-1][:k]
    np.testing.assert_allclose(result.values, exact, atol=2e-8 * norm)
    residuals = gram @ result.vectors - result.vectors * result.values
    assert np.linalg.norm(residuals, axis=0).max() <= 1.001e-8 * norm
    assert_eigenpairs(operator, top_eigenpairs(operator, k, rng=7), k=k)


@pytest.mark.parametrize("size", [1e-60, 1e60])
def test_activity_beyond_float32_takes_the_operator_itself(size: float) -> None:
    cell = kpf.LeakyRNN(3, 5, form="current", activation="relu", bias=False)
    inputs = size * np.random.default_rng(4).standard_normal((4, 6, 3))
    NTK = kpf.TangentKernel(kpf.linearize(kpf.simulate(cell, cell.init_params(rng=3), inputs)))
    result = top_eigenpairs(NTK, 3, method="lanczos", tolerance=1e-8, rng=7)
    assert result.method == "lanczos"
    assert result.complete
    exact = top_eigenpairs(NTK, 3, method="dense").values
    np.testing.assert_allclose(result.values, exact, rtol=1e-8)
