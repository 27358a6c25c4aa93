"""Backpropagation through time, against autograd on the unrolled network and ``J* P* err``."""

from __future__ import annotations

import autograd
import autograd.numpy as anp
import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics.analysis.reference_steps import reference_step
from kpflow_numerics.tasks import FlipFlop, MemoryPro, TrialBatch
from kpflow_numerics.testing import default_tolerance
from kpflow_numerics.training import (
    Adam,
    apply_readout,
    evaluate,
    fit,
    init_readout,
    loss_and_gradient,
    state_error,
)
from tests.cases.cells import CELL_CASES, FLOAT32_CASES, SITE_CELLS, CellCase

O = 2  # noqa: E741


def scaled_step(params, x, h):
    return anp.tanh(h @ params["w_rec"].T + x @ params["w_in"].T) * params["scale"]


# A parameter without axes, which no cell of ours has.
SCALED = kpf.AutogradCell(
    scaled_step, {"w_in": (4, 2), "w_rec": (4, 4), "scale": ()}, n_inputs=2, n_units=4
)
CASES = {str(case): case for case in (*CELL_CASES, *FLOAT32_CASES, CellCase(SCALED))}
GRU, LSTM = (CellCase(cell) for cell in (kpf.GRU(2, 4), kpf.LSTM(2, 4)))


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


def problem(case):
    """Return parameters, a readout, a batch with a mask, and h0, all with nothing zero."""
    generator = np.random.default_rng(51)
    trajectory = case.trajectory()
    n_trials, n_steps = trajectory.n_trials, trajectory.n_steps
    mask = generator.uniform(0.2, 2, (n_trials, n_steps))
    mask[-1, n_steps // 2] = 0
    targets = generator.standard_normal((n_trials, n_steps, O))
    batch = TrialBatch(trajectory.inputs, targets, mask=mask).astype(case.dtype)
    readout = init_readout(case.cell.n_units, O, rng=generator, dtype=case.dtype)
    return trajectory.params, readout, batch, trajectory.h0


def unrolled(cell, params, readout, batch, h0):
    """Return the loss, and autograd's gradient of it through every step of the network."""
    step = reference_step(cell)

    def loss(both):
        h, total = h0, 0.0
        for t in range(batch.n_steps):
            h = step(both[0], batch.inputs[:, t], h)
            y = anp.dot(h[:, : cell.n_units], both[1]["weight"].T) + both[1]["bias"]
            total = total + anp.sum(batch.mask[:, t, None] * (y - batch.targets[:, t]) ** 2)
        return total / (batch.n_outputs * batch.mask.sum())

    return loss((params, readout)), *autograd.grad(loss)((params, readout))


def assert_gradient_matches(found, expected, size):
    """Fail unless loss and gradients agree to rounding, relative to the norm of the gradient."""
    loss, params, readout = expected
    dtype = found.readout["bias"].dtype
    tolerance = default_tolerance(dtype, size)
    assert abs(found.loss - loss) <= tolerance * abs(loss), "loss"
    total = 0.0
    for part, wanted in ((found.params, params), (found.readout, readout)):
        assert list(part) == list(wanted)
        norm = np.sqrt(sum(np.sum(array**2) for array in wanted.values()))
        total += norm**2
        for name, array in wanted.items():
            assert part[name].shape == np.shape(array), name
            assert part[name].dtype == dtype, name
            error = np.linalg.norm(part[name] - array)
            assert error <= tolerance * norm, f"{name}: {error:.1e} of {norm:.1e}"
    assert abs(found.norm - np.sqrt(total)) <= tolerance * found.norm, "norm"


def test_gradient_is_autograds(case):
    params, readout, batch, h0 = problem(case)
    found = loss_and_gradient(case.cell, params, readout, batch, h0=h0)
    exact = [{k: a.astype(np.float64) for k, a in part.items()} for part in (params, readout)]
    expected = unrolled(case.cell, *exact, batch.astype("float64"), h0.astype(np.float64))
    assert_gradient_matches(found, expected, case.n_trials * case.n_steps * case.cell.n_state)


def test_gradient_is_the_adjoint_of_the_sensitivity_on_the_state_error(case):
    params, readout, batch, h0 = problem(case)
    found = loss_and_gradient(case.cell, params, readout, batch, h0=h0)
    vector = case.cell.layout.pack(found.params)
    trajectory = kpf.simulate(case.cell, params, batch.inputs, h0)
    lin = kpf.linearize(trajectory)
    err = state_error(trajectory, readout, batch.targets, mask=batch.mask)
    tolerance = default_tolerance(case.dtype, err.size) * np.linalg.norm(vector)
    by_sensitivity = kpf.Sensitivity(lin).apply_adjoint(err)
    by_parts = kpf.ParameterJacobian(lin).H @ (kpf.Propagator(lin).H @ err.ravel())
    assert np.linalg.norm(by_sensitivity - vector) <= tolerance
    assert np.linalg.norm(by_parts - vector) <= tolerance


def test_an_lstms_cell_state_has_no_direct_error():
    params, readout, batch, h0 = problem(LSTM)
    err = state_error(kpf.simulate(LSTM.cell, params, batch.inputs, h0), readout, batch.targets)
    H = LSTM.cell.n_units
    assert err.shape == (3, 5, 2 * H)
    assert err[..., :H].all()
    assert not err[..., H:].any()


FAULTS = {
    "states in place of the previous states": lambda t: t.states,
    "h0 lost": lambda t: np.concatenate([0 * t.h0[:, None], t.states[:, :-1]], axis=1),
    "a trial taken for another": lambda t: np.concatenate([t.h0[:, None], t.states[:, :-1]], 1)[
        ::-1
    ].copy(),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("planted", [CellCase(kpf.VanillaRNN(2, 4)), GRU, LSTM], ids=str)
def test_the_comparison_sees_a_planted_fault(monkeypatch, planted, fault):
    params, readout, batch, h0 = problem(planted)
    expected = unrolled(planted.cell, params, readout, batch, h0)
    monkeypatch.setattr(kpf.Trajectory, "previous", property(FAULTS[fault]))
    found = loss_and_gradient(planted.cell, params, readout, batch, h0=h0)
    with pytest.raises(AssertionError, match="weight_"):
        assert_gradient_matches(found, expected, batch.inputs.size)


def test_the_comparison_sees_a_lost_mask():
    params, readout, batch, h0 = problem(GRU)
    expected = unrolled(GRU.cell, params, readout, batch, h0)
    bare = TrialBatch(batch.inputs, batch.targets)
    found = loss_and_gradient(GRU.cell, params, readout, bare, h0=h0)
    with pytest.raises(AssertionError, match="loss"):
        assert_gradient_matches(found, expected, batch.inputs.size)


def test_one_initial_state_serves_all_trials():
    params, readout, batch, h0 = problem(GRU)
    one = loss_and_gradient(GRU.cell, params, readout, batch, h0=h0[0])
    each = loss_and_gradient(GRU.cell, params, readout, batch, h0=np.repeat(h0[:1], 3, axis=0))
    assert one.loss == each.loss
    assert one.norm == each.norm


def test_evaluation_is_the_loss_and_the_tasks_own_accuracy():
    task = MemoryPro(n_stimulus=2, n_memory=1, n_response=2)
    cell, batch = kpf.GRU(3, 5), task.evaluation_batch(9)
    params, readout = cell.init_params(rng=52), init_readout(5, 3, rng=53)
    outputs = apply_readout(readout, kpf.simulate(cell, params, batch.inputs).hidden)
    found = evaluate(cell, params, readout, task, batch)
    assert found.accuracy == task.accuracy(outputs, batch)
    np.testing.assert_allclose(found.loss, np.mean((outputs - batch.targets) ** 2), rtol=1e-12)


@pytest.mark.parametrize("cell", [*SITE_CELLS, SCALED], ids=str)
def test_every_cell_can_be_trained(cell):
    run = fit(
        cell, FlipFlop(n_bits=2, n_steps=6), n_iterations=40, batch_size=32, optimizer=Adam(0.02),
        rng=54, checkpoint_every=40, evaluation_trials=32,
    )  # fmt: skip
    first, last = run.checkpoints
    assert last.evaluation_loss < first.evaluation_loss
    for key, array in first.params.items():
        assert not np.array_equal(last.params[key], array), f"{key} was not trained"


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"batch": [1]}, TypeError, "batch must be a TrialBatch.*got list"),
        ({"cell": "gru"}, TypeError, "cell must be a cell of kpflow_numerics.*got str"),
        ({"readout": init_readout(4, 3)}, ValueError, "as many outputs as .* channels, 2.* 3 rows"),
        ({"loss": 2}, TypeError, "loss must be a loss of kpflow_numerics.training"),
        ({"params": {}}, ValueError, "params lacks"),
        ({"h0": np.ones(5)}, ValueError, r"h0 must have shape \(4,\)"),
    ],
)
def test_what_does_not_fit_is_refused(change, error, match):
    params, readout, batch, h0 = problem(GRU)
    arguments = {"cell": GRU.cell, "params": params, "readout": readout, "batch": batch, "h0": h0}
    with pytest.raises(error, match=match):
        loss_and_gradient(**(arguments | change))


def test_evaluation_wants_a_task():
    params, readout, batch, _ = problem(GRU)
    with pytest.raises(TypeError, match="task must be a task of kpflow_numerics.*got 'memory-pro'"):
        evaluate(GRU.cell, params, readout, "memory-pro", batch)
