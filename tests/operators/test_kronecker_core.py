"""The Kronecker core equals ``(V V*) kron I``, and K of the current form is a multiple of it."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics.testing import assert_operator_matches_dense, default_tolerance, dot_test
from tests.cases.cells import CELL_CASES, FLOAT32_CASES, OWN_CASES, SITE_CASES, CellCase
from tests.cases.operators import assert_self_adjoint, dense_network

AXES = ("trial", "time", "unit")
TOLERANCE = 1e-12

CURRENT_CASES = tuple(
    CellCase(kpf.LeakyRNN(2, 4, form="current", leak=0.3, activation=activation, bias=bias))
    for activation in ("tanh", "relu")
    for bias in (True, False)
)
CASES = pytest.mark.parametrize("case", CELL_CASES, ids=str)


def features_of(case: CellCase) -> np.ndarray:
    """``V (B T, m)`` from the trajectory: what multiplies each column of each parameter."""
    trajectory, cell = case.trajectory(), case.cell
    H = cell.n_units
    hidden = trajectory.previous if cell.kind == "autograd" else trajectory.previous[..., :H]
    if vars(cell).get("form") == "current":
        hidden = {"tanh": np.tanh, "relu": lambda h: np.maximum(h, 0)}[cell.activation](hidden)
    n_ones = 1
    if cell.kind != "autograd":
        n_ones = sum(name.startswith("bias") for name in cell.parameter_shapes)
    ones = np.ones((*hidden.shape[:2], n_ones), hidden.dtype)
    joined = np.concatenate([hidden, trajectory.inputs, ones], axis=-1)
    return joined.reshape(-1, joined.shape[-1]).astype(np.float64)


def core_matrix(case: CellCase) -> np.ndarray:
    V = features_of(case)
    return np.kron(V @ V.T, np.eye(case.cell.n_state))


@pytest.mark.parametrize("case", CELL_CASES + FLOAT32_CASES, ids=str)
def test_the_operator_is_its_matrix(case: CellCase) -> None:
    core = kpf.KroneckerCore(case.linearization())
    assert core.dtype == case.dtype
    assert_operator_matches_dense(core, core_matrix(case), rng=31)
    assert_self_adjoint(core)
    assert dot_test(core.factor, rng=32).passed
    factor = core.factor.to_dense().astype(np.float64)
    tolerance = default_tolerance(case.dtype, len(factor))
    matrix = core_matrix(case)
    assert np.abs(factor @ factor.T - matrix).max() <= tolerance * np.abs(matrix).max()


@pytest.mark.parametrize("case", CURRENT_CASES, ids=str)
def test_k_of_the_current_form_is_a_multiple(case: CellCase) -> None:
    J = dense_network(case).J
    core = kpf.KroneckerCore(case.linearization())
    K = J @ J.T
    assert np.abs(case.cell.leak**2 * core.to_dense() - K).max() <= TOLERANCE * np.abs(K).max()


@pytest.mark.parametrize("form", ["rate", "current"])
def test_no_other_cell_has_that_identity(form: str) -> None:
    case = CellCase(kpf.LeakyRNN(2, 4, form=form, leak=0.3))
    lin = case.linearization()
    K, core = kpf.ParameterOperator(lin), kpf.KroneckerCore(lin)
    ratio = K.to_dense() - 0.09 * core.to_dense()
    assert (np.abs(ratio).max() <= TOLERANCE) == (form == "current")


@CASES
def test_closed_forms(case: CellCase) -> None:
    core, matrix = kpf.KroneckerCore(case.linearization()), core_matrix(case)
    norm = np.linalg.norm(matrix)
    assert abs(core.exact_trace() - np.trace(matrix)) <= TOLERANCE * norm
    assert abs(core.exact_frobenius_norm() - norm) <= TOLERANCE * norm
    expected = np.linalg.eigvalsh(matrix)[::-1]
    assert np.abs(core.exact_eigenvalues() - expected).max() <= TOLERANCE * norm
    for k in (1, len(matrix) // 2, len(matrix)):
        values, vectors = core.exact_eigenpairs(k)
        assert np.abs(values - expected[:k]).max(initial=0.0) <= TOLERANCE * norm
        assert np.abs(vectors.T @ vectors - np.eye(k)).max(initial=0.0) <= TOLERANCE
        residuals = matrix @ vectors - vectors * values
        assert np.abs(residuals).max(initial=0.0) <= TOLERANCE * norm


@CASES
@pytest.mark.parametrize("size", range(4))
def test_partial_traces(case: CellCase, size: int) -> None:
    core, matrix = kpf.KroneckerCore(case.linearization()), core_matrix(case)
    for over in combinations(AXES, size):
        dense = kpf.partial_trace(matrix, over, dims=core.dims).matrix
        found = core.exact_partial_trace(over)
        kept = [length for name, length in zip(AXES, core.dims, strict=True) if name not in over]
        assert found.shape == (*kept, *kept)
        assert np.abs(found.reshape(dense.shape) - dense).max() <= TOLERANCE * np.abs(dense).max()


def test_the_doors_find_the_closed_forms() -> None:
    core = kpf.KroneckerCore(SITE_CASES[6].linearization())
    assert kpf.trace(core).method == "exact"
    assert kpf.frobenius_norm(core).method == "exact"
    assert kpf.effective_rank(core).method == "exact"
    assert kpf.eigenvalues(core).method == "exact"
    assert kpf.partial_trace(core, ("trial", "time")).method == "exact"
    assert core.exact_cost("determinant") is None
    for arguments in (("trace",), ("eigenpairs", 3), ("partial_trace", ("unit",)), ("schmidt",)):
        assert core.exact_cost(*arguments).flops > 0
    assert core.product_cost(4).flops == 4 * core.product_cost().flops


def test_a_planted_fault_is_seen() -> None:
    case = SITE_CASES[6]
    lin = case.linearization()
    lin.weight_sites.groups[0].features[:, 1:, 0] *= 1.001
    with pytest.raises(AssertionError):
        assert_operator_matches_dense(kpf.KroneckerCore(lin), core_matrix(case), rng=33)


def test_errors() -> None:
    with pytest.raises(TypeError, match="linearization must be a Linearization"):
        kpf.KroneckerCore(OWN_CASES[0].trajectory())
