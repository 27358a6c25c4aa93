"""Backpropagation through time, against autograd on the unrolled network and ``J* P* err``."""

from __future__ import annotations

import autograd
import autograd.numpy as anp
import numpy as np
import pytest

from kpflow_numerics import (
    AutogradCell,
    ParameterJacobian,
    Propagator,
    Sensitivity,
    linearize,
    simulate,
)
from kpflow_numerics.analysis.reference_steps import reference_step
from kpflow_numerics.cells import GRU, LSTM, LeakyRNN, VanillaRNN
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

I, H, O = 3, 5, 2  # noqa: E741


def softplus_step(params, x, h):
    return anp.logaddexp(0.0, h @ params["w_rec"].T + x @ params["w_in"].T) * params["gain"]


CELLS = {
    "vanilla tanh": VanillaRNN(I, H),
    "vanilla relu without bias": VanillaRNN(I, H, activation="relu", bias=False),
    "leaky rate": LeakyRNN(I, H, form="rate", leak=0.3),
    "leaky rate relu without bias": LeakyRNN(I, H, leak=0.7, activation="relu", bias=False),
    "leaky current": LeakyRNN(I, H, form="current", leak=0.3),
    "leaky current relu": LeakyRNN(I, H, form="current", leak=0.6, activation="relu"),
    "gru": GRU(I, H),
    "gru without bias": GRU(I, H, bias=False),
    "lstm": LSTM(I, H),
    "lstm without bias": LSTM(I, H, bias=False),
    "autograd": AutogradCell(
        softplus_step, {"w_in": (H, I), "w_rec": (H, H), "gain": ()}, n_inputs=I, n_units=H
    ),
}
SIZES = {"all different": (4, 7), "one trial": (1, 6), "one step": (4, 1)}


@pytest.fixture(params=CELLS)
def cell(request):
    return CELLS[request.param]


def problem(cell, n_trials=4, n_steps=7, dtype="float64", seed=51):
    """Return parameters, a readout, a batch with a mask, and h0, all with nothing zero."""
    generator = np.random.default_rng(seed)
    mask = generator.uniform(0.2, 2, (n_trials, n_steps))
    if n_trials * n_steps > 1:
        mask[-1, n_steps // 2] = 0
    batch = TrialBatch(
        generator.standard_normal((n_trials, n_steps, I)),
        generator.standard_normal((n_trials, n_steps, O)),
        mask=mask,
    )
    params = cell.init_params(gain=1.3, rng=generator)
    readout = init_readout(H, O, rng=generator)
    h0 = 0.4 * generator.standard_normal((n_trials, cell.n_state))
    to = {name: array.astype(dtype) for name, array in params.items()}
    return to, {name: array.astype(dtype) for name, array in readout.items()}, batch, h0


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


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sizes", SIZES)
def test_gradient_is_autograds(cell, sizes, dtype):
    n_trials, n_steps = SIZES[sizes]
    params, readout, batch, h0 = problem(cell, n_trials, n_steps, dtype)
    found = loss_and_gradient(cell, params, readout, batch, h0=h0)
    exact = [{k: a.astype(np.float64) for k, a in part.items()} for part in (params, readout)]
    expected = unrolled(cell, *exact, batch, h0)
    assert_gradient_matches(found, expected, n_trials * n_steps * cell.n_state)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradient_is_the_adjoint_of_the_sensitivity_on_the_state_error(cell, dtype):
    params, readout, batch, h0 = problem(cell, dtype=dtype)
    found = loss_and_gradient(cell, params, readout, batch, h0=h0)
    vector = cell.layout.pack(found.params)
    trajectory = simulate(cell, params, batch.inputs, h0)
    lin = linearize(trajectory)
    err = state_error(trajectory, readout, batch.targets, mask=batch.mask)
    tolerance = default_tolerance(dtype, err.size) * np.linalg.norm(vector)
    by_sensitivity = Sensitivity(lin).apply_adjoint(err)
    by_parts = ParameterJacobian(lin).H @ (Propagator(lin).H @ err.ravel())
    assert np.linalg.norm(by_sensitivity - vector) <= tolerance
    assert np.linalg.norm(by_parts - vector) <= tolerance


def test_an_lstms_cell_state_has_no_direct_error():
    cell = CELLS["lstm"]
    params, readout, batch, h0 = problem(cell)
    err = state_error(simulate(cell, params, batch.inputs, h0), readout, batch.targets)
    assert err.shape == (4, 7, 2 * H)
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
@pytest.mark.parametrize("name", ["vanilla tanh", "gru", "lstm"])
def test_the_comparison_sees_a_planted_fault(monkeypatch, name, fault):
    from kpflow_numerics.trajectory import Trajectory

    cell = CELLS[name]
    params, readout, batch, h0 = problem(cell)
    expected = unrolled(cell, params, readout, batch, h0)
    monkeypatch.setattr(Trajectory, "previous", property(FAULTS[fault]))
    found = loss_and_gradient(cell, params, readout, batch, h0=h0)
    with pytest.raises(AssertionError, match="weight_"):
        assert_gradient_matches(found, expected, batch.inputs.size)


def test_the_comparison_sees_a_lost_mask():
    cell = CELLS["gru"]
    params, readout, batch, h0 = problem(cell)
    expected = unrolled(cell, params, readout, batch, h0)
    bare = TrialBatch(batch.inputs, batch.targets)
    found = loss_and_gradient(cell, params, readout, bare, h0=h0)
    with pytest.raises(AssertionError, match="loss"):
        assert_gradient_matches(found, expected, batch.inputs.size)


def test_one_initial_state_serves_all_trials():
    cell = CELLS["gru"]
    params, readout, batch, h0 = problem(cell)
    one = loss_and_gradient(cell, params, readout, batch, h0=h0[0])
    each = loss_and_gradient(cell, params, readout, batch, h0=np.repeat(h0[:1], 4, axis=0))
    assert one.loss == each.loss
    assert one.norm == each.norm


def test_evaluation_is_the_loss_and_the_tasks_own_accuracy():
    task = MemoryPro(n_stimulus=2, n_memory=1, n_response=2)
    cell, batch = GRU(3, H), task.evaluation_batch(9)
    params, readout = cell.init_params(rng=52), init_readout(H, 3, rng=53)
    outputs = apply_readout(readout, simulate(cell, params, batch.inputs).hidden)
    found = evaluate(cell, params, readout, task, batch)
    assert found.accuracy == task.accuracy(outputs, batch)
    np.testing.assert_allclose(found.loss, np.mean((outputs - batch.targets) ** 2), rtol=1e-12)


@pytest.mark.parametrize("name", CELLS)
def test_every_cell_can_be_trained(name):
    cell = CELLS[name]
    task = FlipFlop(n_bits=3, n_steps=6)
    run = fit(
        cell, task, n_iterations=12, batch_size=8, optimizer=Adam(0.02), rng=54,
        checkpoint_every=12, evaluation_trials=8,
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
        ({"readout": init_readout(H, 3)}, ValueError, "as many outputs as .* channels, 2.* 3 rows"),
        ({"loss": 2}, TypeError, "loss must be a loss of kpflow_numerics.training"),
        ({"params": {}}, ValueError, "params lacks"),
        ({"h0": np.ones(H + 1)}, ValueError, r"h0 must have shape \(5,\)"),
    ],
)
def test_what_does_not_fit_is_refused(change, error, match):
    cell = CELLS["gru"]
    params, readout, batch, h0 = problem(cell)
    arguments = {"cell": cell, "params": params, "readout": readout, "batch": batch, "h0": h0}
    with pytest.raises(error, match=match):
        loss_and_gradient(**(arguments | change))


def test_evaluation_wants_a_task():
    cell = CELLS["gru"]
    params, readout, batch, _ = problem(cell)
    with pytest.raises(TypeError, match="task must be a task of kpflow_numerics.*got 'memory-pro'"):
        evaluate(cell, params, readout, "memory-pro", batch)
