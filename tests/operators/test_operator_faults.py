"""The faults that the laws of the operators exist for are caught by those same laws."""

from __future__ import annotations

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics.operators import StructuredOperator
from kpflow_numerics.testing import assert_operator_matches_dense, dot_test, taylor_test
from tests.cases.cells import OWN_CASES, SITE_CASES, CellCase
from tests.cases.operators import assert_self_adjoint, dense_network

CELLS = pytest.mark.parametrize("case", [*SITE_CASES, OWN_CASES[0]], ids=str)


class Planted(StructuredOperator):
    """An operator made of two functions on blocks of states."""

    def __init__(self, lin, apply, apply_adjoint, **flags) -> None:
        super().__init__(lin.dims, lin.dims, lin.dtype)
        self._functions = apply, apply_adjoint
        vars(self).update(flags)

    def _apply_block(self, block):
        return self._functions[0](block)

    def _apply_adjoint_block(self, block):
        return self._functions[1](block)


def scan_off_by_one(lin: kpf.Linearization, block: np.ndarray) -> np.ndarray:
    """Return P block with ``A_{t-1}`` in the place of ``A_t``."""
    A, out = lin.state_jacobians(), block.copy()
    for t in range(1, out.shape[1]):
        out[:, t] += A[:, t - 1] @ out[:, t - 1]
    return out


def scan_off_by_one_adjoint(lin: kpf.Linearization, block: np.ndarray) -> np.ndarray:
    A, out = lin.state_jacobians().swapaxes(2, 3), block.copy()
    for t in range(out.shape[1] - 1, 0, -1):
        out[:, t - 1] += A[:, t - 1] @ out[:, t]
    return out


def without_last_trial(block: np.ndarray) -> np.ndarray:
    out = block.copy()
    out[-1] = 0
    return out


@CELLS
def test_a_missing_transposition_is_caught(case: CellCase) -> None:
    lin = case.linearization()
    fault = Planted(
        lin,
        lin.unpropagate,
        lambda q: q - np.concatenate([lin.state_jvp(q)[:, 1:], 0 * q[:, :1]], axis=1),
    )
    assert not dot_test(fault, rng=21).passed
    with pytest.raises(AssertionError, match="rmatvec|y @ A"):
        assert_operator_matches_dense(fault, dense_network(case).subtracted_blocks(), rng=22)


@CELLS
def test_a_scan_that_is_off_by_one_step_is_caught(case: CellCase) -> None:
    lin = case.linearization()
    fault = Planted(
        lin, lambda q: scan_off_by_one(lin, q), lambda q: scan_off_by_one_adjoint(lin, q)
    )
    assert dot_test(fault, rng=23).passed  # It is a right adjoint of the wrong operator.
    with pytest.raises(AssertionError, match="A: matvec"):
        assert_operator_matches_dense(fault, dense_network(case).block_products(), rng=24)
    q = np.random.default_rng(25).standard_normal(lin.dims)
    assert not np.allclose(kpf.InversePropagator(lin).apply(fault.apply(q)), q)


@CELLS
def test_a_dropped_trial_is_caught(case: CellCase) -> None:
    lin = case.linearization()
    K = kpf.ParameterOperator(lin)
    fault = Planted(lin, *2 * [lambda q: without_last_trial(lin.param_gram(without_last_trial(q)))])
    assert dot_test(fault, rng=26).passed
    with pytest.raises(AssertionError, match="A: matvec"):
        assert_operator_matches_dense(fault, K.to_dense(), rng=27)
    one_way = Planted(lin, lambda q: without_last_trial(lin.param_gram(q)), lin.param_gram)
    assert not dot_test(one_way, rng=28).passed


@CELLS
def test_a_false_flag_is_caught(case: CellCase) -> None:
    lin = case.linearization()
    claims = {"self_adjoint": True, "positive_semidefinite": True}
    asymmetric = Planted(lin, lin.propagate, lin.propagate_adjoint, **claims)
    with pytest.raises(AssertionError):
        assert_self_adjoint(asymmetric)
    negative = Planted(lin, *2 * [lambda q: -lin.param_gram(q)], **claims)
    with pytest.raises(AssertionError):
        assert_self_adjoint(negative)


@CELLS
def test_a_sensitivity_without_the_propagator_is_caught(case: CellCase) -> None:
    trajectory, cell = case.trajectory(), case.cell
    J = kpf.ParameterJacobian(kpf.linearize(trajectory))
    result = taylor_test(
        lambda theta: cell.simulate_states(
            cell.layout.unpack(theta), trajectory.inputs, trajectory.h0
        ),
        J.apply,
        cell.layout.pack(trajectory.params),
        np.random.default_rng(29).standard_normal(cell.n_parameters),
        largest_step=1e-7,
    )
    assert not result.exact.any()
