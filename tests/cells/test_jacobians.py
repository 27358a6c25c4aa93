"""The hand-derived Jacobian products of every cell are those of its step."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from scipy.sparse.linalg import LinearOperator

import kpflow_numerics as kpf
from kpflow_numerics import _threads
from kpflow_numerics.cells.base import Cell
from kpflow_numerics.testing import default_tolerance, dot_test, taylor_test
from tests.cases.cells import (
    CELL_CASES,
    EDGE_CASES,
    FLOAT32_CASES,
    LOW_RANK_CASES,
    SITE_CASES,
    CellCase,
)
from tests.cases.cells_large import LARGE_CASES
from tests.cases.jacobians import Points, autograd_jacobians, complex_step_jacobians

SOURCES = {"autograd": autograd_jacobians, "complex step": complex_step_jacobians}
# The specification's 1e-12 relative holds with room to spare: 1e-13 at these sizes.
ACCURACY = 1e-13
# One column runs other kernels than several.
WIDTHS = pytest.mark.parametrize("k", [1, 3])


class StateJacobian(LinearOperator):
    """Block-diagonal ``A`` over the points, from the cell's own products."""

    def __init__(self, points: Points) -> None:
        self.points = points
        super().__init__(points.previous.dtype, (points.previous.size,) * 2)

    def _product(self, method: str, X: np.ndarray) -> np.ndarray:
        points = self.points
        block = X.reshape(*points.previous.shape, -1)
        multiply = getattr(points.cell, method)
        return multiply(points.params, points.inputs, points.previous, block).reshape(X.shape)

    def _matmat(self, X):
        return self._product("state_jvp", X)

    def _rmatmat(self, X):
        return self._product("state_vjp", X)

    def _matvec(self, x):
        return self._matmat(x.reshape(-1, 1))

    def _rmatvec(self, x):
        return self._rmatmat(x.reshape(-1, 1))


class ParameterJacobian(LinearOperator):
    """``J`` at the points, from the cell's own products."""

    def __init__(self, points: Points) -> None:
        self.points = points
        shape = (points.previous.size, points.cell.n_parameters)
        super().__init__(points.previous.dtype, shape)

    def _arguments(self):
        return self.points.params, self.points.inputs, self.points.previous

    def _matmat(self, X):
        return self.points.cell.param_jvp(*self._arguments(), X).reshape(self.shape[0], -1)

    def _rmatmat(self, X):
        block = X.reshape(*self.points.previous.shape, -1)
        return self.points.cell.param_vjp(*self._arguments(), block)

    def _matvec(self, x):
        return self._matmat(x.reshape(-1, 1))

    def _rmatvec(self, x):
        return self._rmatmat(x.reshape(-1, 1))


def assert_products(operator: LinearOperator, matrix: np.ndarray, k: int) -> None:
    """Compare both products with the matrix, relative to the norms."""
    rng = np.random.default_rng(77)
    for name, multiply, oracle in (
        ("forward", operator.matmat, matrix),
        ("adjoint", operator.rmatmat, matrix.T),
    ):
        X = rng.standard_normal((oracle.shape[1], k))
        error = np.linalg.norm(multiply(X) - oracle @ X)
        scale = np.linalg.norm(oracle) * np.linalg.norm(X) or 1.0
        assert error <= ACCURACY * scale, f"{name} product is wrong by {error / scale:.1e}"


def block_diagonal(A: np.ndarray) -> np.ndarray:
    n_points, n_state, _ = A.shape
    dense = np.zeros((n_points, n_state, n_points, n_state))
    diagonal = np.arange(n_points)
    dense[diagonal, :, diagonal] = A
    return dense.reshape(n_points * n_state, -1)


@WIDTHS
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("case", SITE_CASES + EDGE_CASES + LOW_RANK_CASES, ids=str)
def test_products_are_those_of_the_step(case: CellCase, source: str, k: int) -> None:
    points = Points.along(case.trajectory()).first(6)
    A, J = SOURCES[source](points)
    assert_products(StateJacobian(points), block_diagonal(A), k)
    assert_products(ParameterJacobian(points), J, k)


@functools.cache
def along_many_rows(case: CellCase) -> tuple[kpf.Trajectory, Points, np.ndarray, np.ndarray]:
    trajectory = case.trajectory()
    points = Points.along(trajectory)
    return trajectory, points, *complex_step_jacobians(points)


@WIDTHS
@pytest.mark.parametrize("shared", [False, True], ids=["one thread", "all threads"])
@pytest.mark.parametrize("case", LARGE_CASES, ids=str)
def test_products_along_many_rows(
    case: CellCase, shared: bool, k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_threads, "_WORTH_SHARING", 0.0 if shared else np.inf)
    trajectory, points, A, J = along_many_rows(case)
    rng = np.random.default_rng(78)
    X = rng.standard_normal((*points.previous.shape, k))
    for found, expected in (
        (StateJacobian(points).matmat(X.reshape(-1, k)), np.einsum("mij,mjk->mik", A, X)),
        (StateJacobian(points).rmatmat(X.reshape(-1, k)), np.einsum("mji,mjk->mik", A, X)),
    ):
        error = np.linalg.norm(found - expected.reshape(-1, k))
        assert error <= ACCURACY * np.linalg.norm(expected)
    assert_products(ParameterJacobian(points), J, k)
    K = kpf.ParameterOperator(kpf.linearize(trajectory))
    expected = J @ (J.T @ X.reshape(-1, k))
    error = np.linalg.norm(K.matmat(X.reshape(-1, k)) - expected)
    assert error <= ACCURACY * np.linalg.norm(J) ** 2 * np.linalg.norm(X)


@pytest.mark.parametrize("case", CELL_CASES + FLOAT32_CASES + LARGE_CASES, ids=str)
def test_adjoints(case: CellCase) -> None:
    points = Points.along(case.trajectory())
    for operator in (StateJacobian(points), ParameterJacobian(points)):
        result = dot_test(operator, rng=29)
        assert result.passed, result


@pytest.mark.parametrize("case", CELL_CASES, ids=str)
def test_taylor_slope_in_the_state(case: CellCase) -> None:
    points = Points.along(case.trajectory())
    result = taylor_test(
        lambda h: one_step(points, points.params, h),
        lambda v: StateJacobian(points).matvec(v.ravel()).reshape(v.shape),
        points.previous,
        np.random.default_rng(31).standard_normal((2, *points.previous.shape)),
        largest_step=taylor_step(case.cell),
    )
    assert result.passed, result


@pytest.mark.parametrize("case", CELL_CASES, ids=str)
def test_taylor_slope_in_the_parameters(case: CellCase) -> None:
    points = Points.along(case.trajectory())
    layout = case.cell.layout
    result = taylor_test(
        lambda theta: one_step(points, layout.unpack(theta), points.previous),
        lambda v: ParameterJacobian(points).matvec(v).reshape(points.previous.shape),
        layout.pack(points.params),
        np.random.default_rng(37).standard_normal((2, layout.size)),
        largest_step=taylor_step(case.cell),
    )
    assert result.passed, result


def one_step(points: Points, params, previous: np.ndarray) -> np.ndarray:
    return points.cell.simulate_states(params, points.inputs[:, None], previous)[:, 0]


def taylor_step(cell: Cell) -> float:
    # Short of the kinks of relu, before which the step is linear.
    return 1e-4 if vars(cell).get("activation") == "relu" else 1.0


@pytest.mark.parametrize("case", SITE_CASES + LOW_RANK_CASES, ids=str)
def test_float32_products_are_those_of_float64(case: CellCase) -> None:
    double = Points.along(case.trajectory())
    single = Points(
        case.cell,
        {name: value.astype(np.float32) for name, value in double.params.items()},
        double.inputs.astype(np.float32),
        double.previous.astype(np.float32),
    )
    rng = np.random.default_rng(41)
    for kind in (StateJacobian, ParameterJacobian):
        X = rng.standard_normal((kind(double).shape[1], 2))
        found, expected = kind(single).matmat(X.astype(np.float32)), kind(double).matmat(X)
        assert found.dtype == np.float32
        tolerance = default_tolerance(np.float32, X.shape[0])
        assert np.linalg.norm(found - expected) <= tolerance * np.linalg.norm(expected)


class Faulty(LinearOperator):
    """An operator whose products are wrong in one way."""

    def __init__(self, operator: LinearOperator, fault: str) -> None:
        self.operator, self.fault = operator, fault
        super().__init__(operator.dtype, operator.shape)

    def _matmat(self, X):
        product = self.operator.matmat(X)
        if self.fault == "a gain that is off":
            product[0] *= 1.001
        return product

    def _rmatmat(self, X):
        if self.fault == "missing transpose":
            return self.operator.matmat(X)
        product = self.operator.rmatmat(X)
        if self.fault == "dropped bias":
            layout = self.operator.points.cell.layout
            product[layout.slices[next(n for n in layout.slices if n.startswith("bias"))]] = 0.0
        return product

    def _rmatvec(self, x):
        return self._rmatmat(x.reshape(-1, 1))


BIASED = [case for case in SITE_CASES + LOW_RANK_CASES[:4] if vars(case.cell)["bias"]]


@pytest.mark.parametrize("case", BIASED, ids=str)
def test_planted_faults_are_seen(case: CellCase) -> None:
    points = Points.along(case.trajectory()).first(5)
    A, J = complex_step_jacobians(points)
    state, parameters = StateJacobian(points), ParameterJacobian(points)
    for operator, matrix, fault in (
        (state, block_diagonal(A), "missing transpose"),
        (state, block_diagonal(A), "a gain that is off"),
        (parameters, J, "a gain that is off"),
        (parameters, J, "dropped bias"),
    ):
        assert_products(operator, matrix, 2)
        wrong = Faulty(operator, fault)
        with pytest.raises(AssertionError, match="product is wrong"):
            assert_products(wrong, matrix, 2)
        assert not dot_test(wrong, rng=43).passed
