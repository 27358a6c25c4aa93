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

import kpflow_numerics as kpf
from kpflow_numerics.analysis.reference_steps import reference_step
from kpflow_numerics.operators import StructuredOperator
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
    """

    states: np.ndarray
    A: np.ndarray
    J: np.ndarray
    S: np.ndarray

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
    return DenseNetwork(states, A.reshape(*states.shape, cell.n_state), J, S)


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
SELF_ADJOINT = ("K", "K-mean", "PP*", "NTK")


def assert_self_adjoint(operator: StructuredOperator) -> None:
    """Assert that an operator which says so is symmetric and positive semi-definite."""
    matrix = operator.to_dense().astype(np.float64)
    scale = np.abs(matrix).max()
    tolerance = default_tolerance(operator.dtype, len(matrix)) * scale
    assert np.abs(matrix - matrix.T).max() <= tolerance
    if operator.positive_semidefinite:
        assert np.linalg.eigvalsh(matrix)[0] >= -tolerance * len(matrix)
