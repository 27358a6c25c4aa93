"""Every operator of every cell is the matrix that autograd makes, and obeys its laws."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from scipy.sparse.linalg import LinearOperator, aslinearoperator, eigsh

import kpflow_numerics as kpf
from kpflow_numerics.cells.base import Cell
from kpflow_numerics.operators import StructuredOperator
from kpflow_numerics.testing import (
    assert_operator_matches_dense,
    default_tolerance,
    dot_test,
    taylor_test,
)
from tests.cases.cells import CELL_CASES, OWN_CASES, SITE_CASES, CellCase
from tests.cases.operators import (
    ALL_CASES,
    OPERATOR_CASES,
    OPERATOR_CELL_CASES,
    SELF_ADJOINT,
    OperatorCase,
    assert_self_adjoint,
    dense_network,
)

CELLS = pytest.mark.parametrize("case", OPERATOR_CELL_CASES, ids=str)
CELLS_IN_DOUBLE = pytest.mark.parametrize("case", CELL_CASES, ids=str)
ONE_CELL = pytest.mark.parametrize("case", SITE_CASES[-2:-1], ids=str)
OPERATORS = pytest.mark.parametrize("operator_case", ALL_CASES, ids=str)
BASIC = pytest.mark.parametrize("operator_case", OPERATOR_CASES, ids=str)


@CELLS
@OPERATORS
def test_the_operator_is_its_matrix(case: CellCase, operator_case: OperatorCase) -> None:
    operator = operator_case.build(case.linearization())
    assert operator.dtype == case.dtype
    assert_operator_matches_dense(operator, operator_case.oracle(dense_network(case)), rng=11)


@CELLS
@OPERATORS
def test_the_adjoint_belongs_to_the_operator(case: CellCase, operator_case: OperatorCase) -> None:
    assert dot_test(operator_case.build(case.linearization()), rng=12).passed


@CELLS
@OPERATORS
def test_flags(case: CellCase, operator_case: OperatorCase) -> None:
    operator = operator_case.build(case.linearization())
    assert operator.self_adjoint == (operator_case.name in SELF_ADJOINT)
    assert operator.positive_semidefinite == (operator_case.name in SELF_ADJOINT)
    if operator.self_adjoint:
        assert operator.H is operator
        assert_self_adjoint(operator)


@CELLS
def test_identities_between_the_operators(case: CellCase) -> None:
    lin = case.linearization()
    J, K, _, P, inverse, PP, S, NTK = (each.build(lin).to_dense() for each in OPERATOR_CASES)
    identity = np.eye(len(P))
    for found, expected in (
        (P @ inverse, identity),
        (inverse @ P, identity),
        (J @ J.T, K),
        (P @ J, S),
        (P @ P.T, PP),
        (P @ K @ P.T, NTK),
        (S @ S.T, NTK),
    ):
        scale = max(np.linalg.norm(P), np.linalg.norm(expected))
        assert np.linalg.norm(found - expected) <= default_tolerance(case.dtype, len(P)) * scale
    assert kpf.Propagator(lin).inverse.to_dense().tolist() == inverse.tolist()


@CELLS_IN_DOUBLE
def test_the_sensitivity_is_the_derivative_of_the_simulation(case: CellCase) -> None:
    trajectory, cell = case.trajectory(), case.cell
    S = kpf.Sensitivity(kpf.linearize(trajectory))
    rng = np.random.default_rng(31)

    def simulate(theta: np.ndarray) -> np.ndarray:
        params = cell.layout.unpack(theta)
        return kpf.simulate(cell, params, trajectory.inputs, trajectory.h0).states

    # Close to the point a relu has no kinks, and the remainder of any cell is rounding.
    has_kinks = vars(cell).get("activation") == "relu"
    result = taylor_test(
        simulate,
        S.apply,
        cell.layout.pack(trajectory.params),
        rng.standard_normal((3, cell.n_parameters)),
        largest_step=1e-7 if has_kinks else 0.1,
    )
    assert result.passed
    assert result.exact.all() or not has_kinks


@pytest.mark.parametrize("case", [*SITE_CASES[-2:], OWN_CASES[0].in_float32()], ids=str)
@OPERATORS
def test_arguments_are_left_alone(case: CellCase, operator_case: OperatorCase) -> None:
    operator = operator_case.build(case.linearization())
    rng = np.random.default_rng(13)
    for width in (1, 3):
        for product, size in ((operator.matmat, 1), (operator.rmatmat, 0)):
            block = rng.standard_normal((operator.shape[size], width)).astype(operator.dtype)
            before = block.copy()
            first = product(block)
            np.testing.assert_array_equal(block, before)
            np.testing.assert_array_equal(product(block), first)


@pytest.mark.parametrize("case", [*SITE_CASES[-2:], OWN_CASES[0].in_float32()], ids=str)
@OPERATORS
def test_arrays_keep_their_shape(case: CellCase, operator_case: OperatorCase) -> None:
    operator = operator_case.build(case.linearization())
    matrix = operator.to_dense()
    rng = np.random.default_rng(13)
    for apply, taken, given, oracle in (
        (operator.apply, operator.dims, operator.dimsd, matrix),
        (operator.apply_adjoint, operator.dimsd, operator.dims, matrix.T),
    ):
        for columns in ((), (1,), (3,)):
            array = rng.standard_normal((*taken, *columns)).astype(case.dtype)
            found = apply(array)
            assert found.shape == (*given, *columns)
            assert found.dtype == case.dtype
            expected = oracle @ array.reshape(oracle.shape[1], -1)
            tolerance = default_tolerance(case.dtype, max(matrix.shape))
            scale = np.linalg.norm(np.abs(oracle)) * np.linalg.norm(array)
            error = np.linalg.norm(found.reshape(expected.shape) - expected)
            assert error <= tolerance * scale


@ONE_CELL
@OPERATORS
def test_views_of_an_operator(case: CellCase, operator_case: OperatorCase) -> None:
    operator = operator_case.build(case.linearization())
    assert operator.shape == (np.prod(operator.dimsd), np.prod(operator.dims))
    for adjoint in (operator.H, operator.T):
        assert isinstance(adjoint, StructuredOperator)
        assert (adjoint.dims, adjoint.dimsd) == (operator.dimsd, operator.dims)
        assert adjoint.H is operator
    sizes = f"({operator.dims} -> {operator.dimsd}, {operator.dtype})"
    assert repr(operator) == f"{type(operator).__name__}{sizes}"
    assert repr(operator.H) == repr(operator) + ("" if operator.self_adjoint else ".H")


@ONE_CELL
def test_scipy_composes_the_operators(case: CellCase) -> None:
    lin = case.linearization()
    K, P, NTK = kpf.ParameterOperator(lin), kpf.Propagator(lin), kpf.TangentKernel(lin)
    composed = P @ K @ P.H + 0.5 * aslinearoperator(NTK)
    assert isinstance(composed, LinearOperator)
    assert_operator_matches_dense(composed, 1.5 * NTK.to_dense(), rng=14, tolerance=1e-12)


@ONE_CELL
def test_scipy_solves_for_eigenvalues(case: CellCase) -> None:
    K = kpf.ParameterOperator(case.linearization())
    found = eigsh(K, k=3, return_eigenvectors=False, rng=np.random.default_rng(15))
    expected = np.linalg.eigvalsh(K.to_dense())[-3:]
    np.testing.assert_allclose(np.sort(found), expected, rtol=default_tolerance("float64", 1000))


@pytest.mark.parametrize("cell", [kpf.VanillaRNN(3, 40), kpf.GRU(3, 40), kpf.LSTM(3, 40)], ids=str)
@BASIC
def test_threads_change_rounding_at_most(cell: Cell, operator_case: OperatorCase) -> None:
    # Large enough that the kernels share the work, and in shares of different sizes.
    operator = operator_case.build(CellCase(cell, n_trials=7, n_steps=50).linearization())
    allowed = numba.get_num_threads()
    rng = np.random.default_rng(16)
    for columns in ((), (9,)):
        array = rng.standard_normal((*operator.dims, *columns))
        shared = operator.apply(array)
        numba.set_num_threads(1)
        try:
            alone = operator.apply(array)
        finally:
            numba.set_num_threads(allowed)
        tolerance = default_tolerance("float64", 7 * 50)
        assert np.linalg.norm(shared - alone) <= tolerance * np.linalg.norm(alone)
