"""The registry of operators with their dense oracles, which autograd makes from the bare equations.

Nothing of the package but the cell's sizes and the order of its parameters enters an oracle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import autograd
import autograd.numpy as anp
import numpy as np
from scipy.sparse.linalg import LinearOperator

import kpflow_numerics as kpf
from kpflow_numerics.analysis.reference_steps import reference_step
from kpflow_numerics.operators import StructuredOperator
from kpflow_numerics.operators.base import check_linearization
from kpflow_numerics.results import Cost
from kpflow_numerics.testing import default_tolerance
from tests.cases.cells import CELL_CASES, FLOAT32_CASES, OWN_CASES, CellCase

OPERATOR_CELL_CASES: tuple[CellCase, ...] = (
    CELL_CASES + FLOAT32_CASES + (OWN_CASES[0].in_float32(),)
)


@dataclass(frozen=True, eq=False)
class DenseNetwork:
    """A network's derivatives as matrices, in float64.

    Attributes
    ----------
    states : ndarray, shape (B, T, N)
        From the step, one after another.
    A : ndarray, shape (B, T, N, N)
        Jacobian of the step by the state.
    J : ndarray, shape (n, p)
        Jacobian of the step by the parameters.
    S : ndarray, shape (n, p)
        Jacobian of the whole simulation by the parameters.
    Y : ndarray, shape (B T O, p + O H + O)
        Jacobian of the outputs, through :func:`readout_of`, by all parameters.
    """

    states: np.ndarray
    A: np.ndarray
    J: np.ndarray
    S: np.ndarray
    Y: np.ndarray

    def block_products(self) -> np.ndarray:
        """Return P, block by block: ``P[t, s] = A_t ... A_{s+1}``."""
        n_trials, n_steps, n_state = self.states.shape
        P = np.zeros((n_trials, n_steps, n_state, n_trials, n_steps, n_state))
        for b in range(n_trials):
            for s in range(n_steps):
                product = np.eye(n_state)
                for t in range(s, n_steps):
                    product = self.A[b, t] @ product if t > s else product
                    P[b, t, :, b, s] = product
        return P.reshape(self.states.size, self.states.size)

    def subtracted_blocks(self) -> np.ndarray:
        """Return P^-1: the identity, and ``-A_t`` on the block sub-diagonal."""
        n_trials, n_steps, _ = self.states.shape
        matrix = np.eye(self.states.size).reshape(self.states.shape * 2)
        for b in range(n_trials):
            for t in range(1, n_steps):
                matrix[b, t, :, b, t - 1] = -self.A[b, t]
        return matrix.reshape(self.states.size, self.states.size)


N_OUTPUTS = 3


def readout_of(n_units: int) -> dict[str, np.ndarray]:
    """Return the readout that every operator of the outputs goes through."""
    return kpf.init_readout(n_units, N_OUTPUTS, rng=37)


@cache
def dense_network(case: CellCase) -> DenseNetwork:
    """Return a case's derivatives, from autograd in float64."""
    trajectory, cell = case.trajectory(), case.cell
    step, layout = reference_step(cell), cell.layout
    inputs, h0 = (np.asarray(each, np.float64) for each in (trajectory.inputs, trajectory.h0))
    theta = np.asarray(layout.pack(trajectory.params), np.float64)

    def simulate(theta):
        h, states = h0, []
        for t in range(case.n_steps):
            h = step(layout.unpack(theta), inputs[:, t], h)
            states.append(h)
        return anp.stack(states, axis=1)

    n_units, readout = cell.n_units, readout_of(cell.n_units)
    phi = np.concatenate([readout["weight"].ravel(), readout["bias"]])

    def outputs(both):
        weight = both[theta.size : -N_OUTPUTS].reshape(N_OUTPUTS, n_units)
        hidden = simulate(both[: theta.size])[..., :n_units]
        return anp.einsum("bth,oh->bto", hidden, weight) + both[-N_OUTPUTS:]

    def one_step(theta, x, h):
        return step(layout.unpack(theta), x[None], h[None])[0]

    states = simulate(theta)
    previous = np.concatenate([h0[:, None], states[:, :-1]], axis=1)
    points = list(
        zip(inputs.reshape(-1, cell.n_inputs), previous.reshape(-1, cell.n_state), strict=True)
    )
    A = np.stack([autograd.jacobian(partial(one_step, theta, x))(h) for x, h in points])
    J = np.concatenate([autograd.jacobian(one_step)(theta, x, h) for x, h in points])
    S = autograd.jacobian(simulate)(theta).reshape(states.size, -1)
    Y = autograd.jacobian(outputs)(np.concatenate([theta, phi]))
    Y = Y.reshape(-1, theta.size + phi.size)
    return DenseNetwork(states, A.reshape(*states.shape, cell.n_state), J, S, Y)


@dataclass(frozen=True)
class OperatorCase:
    """An operator, and the matrix that it must be."""

    name: str
    build: Callable[[kpf.Linearization], StructuredOperator]
    oracle: Callable[[DenseNetwork], np.ndarray]

    def __str__(self) -> str:
        return self.name


def _mean_of_gram(dense: DenseNetwork) -> np.ndarray:
    return dense.J @ dense.J.T / np.prod(dense.states.shape[:2])


OPERATOR_CASES: tuple[OperatorCase, ...] = (
    OperatorCase("J", kpf.ParameterJacobian, lambda dense: dense.J),
    OperatorCase("K", kpf.ParameterOperator, lambda dense: dense.J @ dense.J.T),
    OperatorCase("K-mean", partial(kpf.ParameterOperator, normalization="mean"), _mean_of_gram),
    OperatorCase("P", kpf.Propagator, DenseNetwork.block_products),
    OperatorCase("P^-1", kpf.InversePropagator, DenseNetwork.subtracted_blocks),
    OperatorCase(
        "PP*",
        kpf.PropagatorGram,
        lambda dense: dense.block_products() @ dense.block_products().T,
    ),
    OperatorCase("S", kpf.Sensitivity, lambda dense: dense.S),
    OperatorCase("NTK", kpf.TangentKernel, lambda dense: dense.S @ dense.S.T),
)


def _carried(dense: DenseNetwork, carries: Callable[[int, int], bool]) -> np.ndarray:
    """Return P with only the blocks ``[t, s]`` that are carried."""
    n_steps = dense.states.shape[1]
    P = dense.block_products().reshape(dense.states.shape * 2)
    for t in range(n_steps):
        for s in range(n_steps):
            if not carries(t, s):
                P[:, t, :, :, s] = 0.0
    return P.reshape(dense.states.size, dense.states.size)


def _truncated(carries: Callable[[int, int], bool]) -> Callable[[DenseNetwork], np.ndarray]:
    def oracle(dense: DenseNetwork) -> np.ndarray:
        return dense.S @ (_carried(dense, carries) @ dense.J).T

    return oracle


DAMPING = 20.0


def _gauss_newton(dense: DenseNetwork) -> np.ndarray:
    S = dense.S
    return S @ np.linalg.solve(S.T @ S + DAMPING * np.eye(S.shape[1]), S.T)


def diagonal_of(n_parameters: int) -> np.ndarray:
    """Return a positive preconditioner of the parameters."""
    return np.random.default_rng(38).uniform(0.1, 2.0, n_parameters)


def _preconditioned(lin: kpf.Linearization) -> StructuredOperator:
    layout = check_linearization(lin).layout
    return kpf.PreconditionedKernel(lin, layout.unpack(diagonal_of(layout.size)))


def _preconditioned_oracle(dense: DenseNetwork) -> np.ndarray:
    return (dense.S * diagonal_of(dense.S.shape[1])) @ dense.S.T


def _one_sided(lin: kpf.Linearization) -> StructuredOperator:
    """A preconditioner that is not symmetric: each parameter moved by the one before it."""
    matrix = np.roll(np.diag(diagonal_of(check_linearization(lin).n_parameters)), 1, axis=0)
    return kpf.PreconditionedKernel(lin, _CostedMatrix(matrix.astype(lin.dtype)))


def _one_sided_oracle(dense: DenseNetwork) -> np.ndarray:
    matrix = np.roll(np.diag(diagonal_of(dense.S.shape[1])), 1, axis=0)
    return dense.S @ matrix @ dense.S.T


class _CostedMatrix(LinearOperator):
    """A matrix as an operator that tells its cost."""

    def __init__(self, matrix: np.ndarray) -> None:
        self.matrix = matrix
        super().__init__(matrix.dtype, matrix.shape)

    def _matmat(self, X: np.ndarray) -> np.ndarray:
        return self.matrix @ X

    def _rmatmat(self, X: np.ndarray) -> np.ndarray:
        return self.matrix.T @ X

    def product_cost(self, k: int = 1) -> Cost:
        return Cost(2.0 * self.matrix.size * k, float(len(self.matrix) * k * self.dtype.itemsize))


def _momentum(lin: kpf.Linearization) -> StructuredOperator:
    return kpf.MomentumKernel([check_linearization(lin)] * 3, 0.6)


def _momentum_oracle(dense: DenseNetwork) -> np.ndarray:
    return np.concatenate([c * (dense.S @ dense.S.T) for c in (0.36, 0.6, 1.0)], axis=1)


def _decoupled(dense: DenseNetwork, n_groups: int) -> np.ndarray:
    """Return the rows of S of each group of trials beside those of the others."""
    n_trials, size = len(dense.states), dense.states[0].size
    matrix = np.zeros((dense.states.size, n_groups, dense.S.shape[1]))
    for group in range(n_groups):
        first, end = (n_trials * each // n_groups for each in (group, group + 1))
        rows = slice(first * size, end * size)
        matrix[rows, group] = dense.S[rows]
    return matrix.reshape(dense.states.size, -1)


DECOUPLED_CASES: tuple[OperatorCase, ...] = (
    OperatorCase(
        "S, trials apart",
        kpf.DecoupledSensitivity,
        lambda dense: _decoupled(dense, len(dense.states)),
    ),
    OperatorCase(
        "S, one group",
        partial(kpf.DecoupledSensitivity, n_groups=1),
        lambda dense: dense.S,
    ),
)
"""The sensitivity with parameters of its own for groups of trials."""

RULE_CASES: tuple[OperatorCase, ...] = (
    OperatorCase(
        "P K P_2*",
        lambda lin: kpf.TruncatedBPTT(lin, 2),
        _truncated(lambda t, s: t - s <= 2),
    ),
    OperatorCase(
        "P K",
        lambda lin: kpf.TruncatedBPTT(lin, 0),
        lambda dense: dense.S @ dense.J.T,
    ),
    OperatorCase(
        "P K P_chunks*",
        lambda lin: kpf.TruncatedBPTT(lin, 1, truncation="chunks"),
        _truncated(lambda t, s: t // 2 == s // 2),
    ),
    OperatorCase("Gauss-Newton", partial(kpf.GaussNewton, damping=DAMPING), _gauss_newton),
    OperatorCase("S M S*", _preconditioned, _preconditioned_oracle),
    OperatorCase("S M S*, one-sided", _one_sided, _one_sided_oracle),
    OperatorCase("momentum", _momentum, _momentum_oracle),
)
"""The learning rules that every cell has; feedback alignment has tests of its own."""


def _of_outputs(
    kind: type, parameters: str, *, bias: bool = True
) -> Callable[[kpf.Linearization], StructuredOperator]:
    def build(lin: kpf.Linearization) -> StructuredOperator:
        readout = readout_of(check_linearization(lin).cell.n_units)
        if not bias:
            readout = {"weight": readout["weight"]}
        return kind(lin, readout, parameters=parameters)

    return build


def _by_cell(dense: DenseNetwork) -> np.ndarray:
    return dense.Y[:, : dense.S.shape[1]]


def _without_bias(dense: DenseNetwork) -> np.ndarray:
    return dense.Y[:, :-N_OUTPUTS]


OUTPUT_CASES: tuple[OperatorCase, ...] = (
    OperatorCase("C S", _of_outputs(kpf.OutputSensitivity, "cell"), _by_cell),
    OperatorCase("[C S, F]", _of_outputs(kpf.OutputSensitivity, "all"), lambda dense: dense.Y),
    OperatorCase(
        "C NTK C*",
        _of_outputs(kpf.OutputKernel, "cell"),
        lambda dense: _by_cell(dense) @ _by_cell(dense).T,
    ),
    OperatorCase(
        "C NTK C* + F F*",
        _of_outputs(kpf.OutputKernel, "all"),
        lambda dense: dense.Y @ dense.Y.T,
    ),
    OperatorCase(
        "[C S, F], no bias", _of_outputs(kpf.OutputSensitivity, "all", bias=False), _without_bias
    ),
    OperatorCase(
        "C NTK C* + F F*, no bias",
        _of_outputs(kpf.OutputKernel, "all", bias=False),
        lambda dense: _without_bias(dense) @ _without_bias(dense).T,
    ),
)
"""Derivatives of the outputs, by the cell's parameters and by all."""

ALL_CASES = OPERATOR_CASES + DECOUPLED_CASES + RULE_CASES + OUTPUT_CASES

SELF_ADJOINT = (
    "K", "K-mean", "PP*", "NTK", "Gauss-Newton", "S M S*", "C NTK C*", "C NTK C* + F F*",
    "C NTK C* + F F*, no bias",
)  # fmt: skip


def assert_self_adjoint(operator: StructuredOperator) -> None:
    """Assert that an operator which says so is symmetric and positive semi-definite."""
    matrix = operator.to_dense().astype(np.float64)
    scale = np.abs(matrix).max()
    tolerance = default_tolerance(operator.dtype, len(matrix)) * scale
    assert np.abs(matrix - matrix.T).max() <= tolerance
    if operator.positive_semidefinite:
        assert np.linalg.eigvalsh(matrix)[0] >= -tolerance * len(matrix)
