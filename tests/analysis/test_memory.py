"""K's rank over time and P's retained directions against dense matrices, and their laws."""

from __future__ import annotations

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics._validation import InputError, InputTypeError, MemoryLimitError
from kpflow_numerics.analysis import memory, rank_over_time, retained_directions
from kpflow_numerics.testing import default_tolerance
from tests.cases.cells import EDGE_CASES, FLOAT32_CASES, OWN_CASES, SITE_CASES, CellCase
from tests.cases.operators import dense_network

CASES = pytest.mark.parametrize(
    "case", [*SITE_CASES, *EDGE_CASES, *FLOAT32_CASES[:2], *OWN_CASES[:2]], ids=str
)


def dense_rank_over_time(case: CellCase, *, fault: str = "") -> float:
    """Return the participation ratio of ``sum_i K[(b, t, i), (c, s, i)]``."""
    n_trials, n_steps, n_state = case.linearization().dims
    J = dense_network(case).J.astype(np.float64)
    K = (J @ J.T).reshape(n_trials * n_steps, n_state, n_trials * n_steps, n_state)
    R = np.einsum("sisj->ij" if fault == "over time" else "siti->st", K)
    weights = np.linalg.eigvalsh(R)
    return float(weights.sum() ** 2 / np.square(weights).sum()) if weights.any() else 0.0


def dense_retained(case: CellCase, n_early: int) -> float:
    """Return ``sum_i min(s_i^2 / n_early, 1)`` of the block of P from early steps to the last."""
    n_trials, n_steps, n_state = case.linearization().dims
    P = dense_network(case).block_products().astype(np.float64)
    P = P.reshape(n_trials, n_steps, n_state, n_trials, n_steps, n_state)
    total = 0.0
    for trial in range(n_trials):
        block = P[trial, -1, :, trial, :n_early].reshape(n_state, -1)
        gains = np.linalg.svd(block, compute_uv=False) ** 2 / n_early
        total += np.minimum(gains, 1.0).sum()
    return total / n_trials


@CASES
def test_the_rank_over_time_is_that_of_the_dense_matrix(case: CellCase) -> None:
    found = rank_over_time(case.linearization())
    slack = 100 * default_tolerance(case.dtype, found.value)
    assert found.value == pytest.approx(dense_rank_over_time(case), rel=slack, abs=slack)
    assert found.is_exact


@CASES
@pytest.mark.parametrize("n_early", [None, 1, -1])
def test_retained_directions_are_those_of_the_dense_matrix(case: CellCase, n_early) -> None:
    n_steps = case.linearization().dims[1]
    n_early = n_steps if n_early == -1 else n_early
    wanted = dense_retained(case, max(1, n_steps // 2) if n_early is None else n_early)
    found = retained_directions(case.linearization(), n_early)
    slack = 100 * default_tolerance(case.dtype, 10)
    assert found.value == pytest.approx(wanted, rel=slack, abs=slack)
    assert 0 <= found.value <= case.linearization().dims[2] * (1 + slack)


def test_planted_faults_are_caught() -> None:
    case = CellCase(kpf.GRU(2, 4))
    found = rank_over_time(case.linearization()).value
    assert found != pytest.approx(dense_rank_over_time(case, fault="over time"), rel=1e-3)
    kept = retained_directions(case.linearization(), 2).value
    assert kept != pytest.approx(dense_retained(case, 3), rel=1e-3)


def test_rows_are_taken_in_parts(monkeypatch) -> None:
    linearization = CellCase(kpf.LSTM(2, 5), n_trials=4, n_steps=9, seed=19).linearization()
    whole = rank_over_time(linearization).value
    for rows in (5, 36, 1):
        monkeypatch.setattr(memory, "ROWS_AT_A_TIME", rows)
        assert rank_over_time(linearization).value == pytest.approx(whole, rel=1e-12)


def linear_network(decay: float, n_steps: int = 12) -> kpf.cells.Cell:
    """Return the linearization of units that each keep `decay` of themselves a step."""
    cell = kpf.LeakyRNN(n_inputs=1, n_units=6, form="rate", leak=1.0 - decay, bias=False)
    params = {"weight_ih": np.ones((6, 1)), "weight_hh": np.zeros((6, 6))}
    return kpf.linearize(kpf.simulate(cell, params, np.zeros((2, n_steps, 1))))


@pytest.mark.parametrize("decay", [0.999, 0.5, 0.1])
def test_known_decay_gives_the_known_number(decay) -> None:
    # P[T, s] = decay^(T - s) I, so that each of the 6 units keeps the mean of decay^(2 (T - s)).
    lags = 12.0 - np.arange(1, 7)
    wanted = 6 * np.mean(decay ** (2 * lags))
    assert retained_directions(linear_network(decay)).value == pytest.approx(wanted, rel=1e-10)


def test_forgetting_at_once_has_the_largest_participation_ratio() -> None:
    forgetful, keeping = linear_network(1e-3), linear_network(0.97)
    assert kpf.effective_rank(kpf.Propagator(forgetful)).value > 0.99 * 2 * 12 * 6
    assert kpf.effective_rank(kpf.Propagator(keeping)).value < 0.5 * 2 * 12 * 6
    assert retained_directions(forgetful).value < 1e-20 < 1 < retained_directions(keeping).value


def test_bad_arguments_are_refused() -> None:
    linearization = linear_network(0.5)
    with pytest.raises(InputError, match="n_early must be from 1 to 12; got 13"):
        retained_directions(linearization, 13)
    with pytest.raises(InputTypeError, match="n_early must be an integer"):
        retained_directions(linearization, 2.5)
    with pytest.raises(MemoryLimitError, match="retained_directions needs about"):
        retained_directions(linearization, max_memory=10)
    with pytest.raises(MemoryLimitError, match="rank_over_time with B T = 24 needs about"):
        rank_over_time(linearization, max_memory=10)
    with pytest.raises(InputTypeError, match="linearization"):
        rank_over_time(3)
