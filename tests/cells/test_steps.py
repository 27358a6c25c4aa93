"""Every cell's kernel computes the step of its plain twin, along whole trajectories."""

from __future__ import annotations

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics import _threads
from kpflow_numerics.analysis.reference_steps import reference_step
from kpflow_numerics.testing import default_tolerance
from tests.cases.cells import EDGE_CASES, FLOAT32_CASES, LOW_RANK_CASES, SITE_CASES, CellCase
from tests.cases.cells_large import LARGE_CASES, WIDE_CASES

ALL_CASES = SITE_CASES + EDGE_CASES + FLOAT32_CASES + LOW_RANK_CASES + LARGE_CASES + WIDE_CASES
GATED = {"gru": 3, "lstm": 4}


def twin_states(case: CellCase, params, trajectory) -> np.ndarray:
    """The states by the twin in float64."""
    step = reference_step(case.cell)
    assert step is not None
    params = {name: np.asarray(value, np.float64) for name, value in params.items()}
    h, states = trajectory.h0.astype(np.float64), []
    for t in range(trajectory.n_steps):
        h = step(params, trajectory.inputs[:, t].astype(np.float64), h)
        states.append(h)
    return np.stack(states, axis=1)


def assert_states_equal(found: np.ndarray, expected: np.ndarray) -> None:
    size = found.shape[1] * found.shape[2]
    tolerance = default_tolerance(found.dtype, size, factor=4) * max(1.0, np.abs(expected).max())
    error = np.abs(found - expected).max()
    assert error <= tolerance, f"states differ by {error:.1e}, tolerance {tolerance:.1e}"


@pytest.mark.parametrize("case", ALL_CASES, ids=str)
def test_states_equal_those_of_the_twin(case: CellCase) -> None:
    trajectory = case.trajectory()
    assert trajectory.states.dtype == case.dtype
    assert trajectory.states.shape == (case.n_trials, case.n_steps, case.cell.n_state)
    assert_states_equal(trajectory.states, twin_states(case, trajectory.params, trajectory))


@pytest.mark.parametrize("case", LARGE_CASES, ids=str)
def test_threads_share_the_trials(case: CellCase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_threads, "_WORTH_SHARING", np.inf)
    alone = case.trajectory().states
    monkeypatch.setattr(_threads, "_WORTH_SHARING", 0.0)
    shared = case.trajectory().states
    assert_states_equal(shared, alone)
    np.testing.assert_array_equal(case.trajectory().states, shared)


@pytest.mark.parametrize("case", SITE_CASES + LOW_RANK_CASES, ids=str)
def test_zero_is_the_default_initial_state(case: CellCase) -> None:
    inputs = case.trajectory().inputs
    zero = np.zeros(case.cell.n_state)
    found = kpf.simulate(case.cell, case.params(), inputs)
    given = kpf.simulate(case.cell, case.params(), inputs, zero)
    np.testing.assert_array_equal(found.states, given.states)
    assert_states_equal(found.states, twin_states(case, found.params, found))


@pytest.mark.parametrize("case", SITE_CASES + LOW_RANK_CASES[:4], ids=str)
def test_trials_do_not_see_one_another(case: CellCase) -> None:
    trajectory = case.trajectory()
    alone = kpf.simulate(case.cell, trajectory.params, trajectory.inputs[1:2], trajectory.h0[1:2])
    assert_states_equal(alone.states, trajectory.states[1:2])


@pytest.mark.parametrize("case", SITE_CASES + LOW_RANK_CASES[:4], ids=str)
def test_a_trajectory_continues_from_any_of_its_states(case: CellCase) -> None:
    whole = case.trajectory()
    rest = kpf.simulate(case.cell, whole.params, whole.inputs[:, 2:], whole.states[:, 1])
    assert_states_equal(rest.states, whole.states[:, 2:])


@pytest.mark.parametrize("case", SITE_CASES, ids=str)
def test_extreme_parameters_saturate_without_warning(case: CellCase) -> None:
    trajectory = case.trajectory()
    params = {name: np.sign(value) * 1e3 for name, value in trajectory.params.items()}
    # relu may explode over many steps, which simulate refuses; one step may not.
    steps = 1 if vars(case.cell).get("activation") == "relu" else trajectory.n_steps
    inputs = trajectory.inputs[:, :steps]
    states = kpf.simulate(case.cell, params, inputs, trajectory.h0).states
    assert np.isfinite(states).all()
    sites = kpf.linearize(kpf.simulate(case.cell, params, inputs, trajectory.h0)).weight_sites
    assert sites is not None
    assert np.isfinite(sites.gains).all()
    assert np.isfinite(sites.carry).all()


def test_an_explosion_is_named() -> None:
    cell = kpf.VanillaRNN(2, 3, activation="relu", bias=False)
    params = {"weight_ih": np.ones((3, 2)), "weight_hh": 1e200 * np.ones((3, 3))}
    with pytest.raises(ValueError, match="The states overflow at step 3 of 5 in float64"):
        kpf.simulate(cell, params, np.ones((2, 5, 2)))


def faulty(params, fault: str, n_gates: int):
    params = {name: value.copy() for name, value in params.items()}
    if fault == "wrong gate order":
        for name, value in params.items():
            gates = np.split(value, n_gates)
            params[name] = np.concatenate([gates[1], gates[0], *gates[2:]])
    elif fault == "missing transpose":
        if "weight_hh" in params:
            gates = np.split(params["weight_hh"], n_gates)
            params["weight_hh"] = np.concatenate([gate.T for gate in gates])
        else:
            params["left"], params["right"] = params["right"], params["left"]
    else:
        name = next(name for name in params if name.startswith("bias"))
        params[name][:] = 0.0
    return params


def faults_of(case: CellCase) -> list[str]:
    gates = ["wrong gate order"] if case.cell.kind in GATED else []
    return [*gates, "missing transpose", *(["dropped bias"] if vars(case.cell)["bias"] else [])]


@pytest.mark.parametrize(
    ("case", "fault"),
    [
        pytest.param(case, fault, id=f"{fault}-{case}")
        for case in SITE_CASES + LOW_RANK_CASES[:4]
        for fault in faults_of(case)
    ],
)
def test_a_planted_fault_is_seen(case: CellCase, fault: str) -> None:
    trajectory = case.trajectory()
    wrong = faulty(trajectory.params, fault, GATED.get(case.cell.kind, 1))
    with pytest.raises(AssertionError, match="states differ"):
        assert_states_equal(trajectory.states, twin_states(case, wrong, trajectory))
