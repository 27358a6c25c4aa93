"""The loop: checkpoints, stopping, resuming to the same bits, divergence, and that it learns."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics import AutogradCell, VanillaRNN, fit
from kpflow_numerics._errors import InputTypeError
from kpflow_numerics._recorder import MemoryRecorder
from kpflow_numerics.results import Checkpoint
from kpflow_numerics.tasks import FlipFlop, MemoryPro
from kpflow_numerics.training import (
    SGD,
    Adam,
    MeanSquaredError,
    Momentum,
    TrainingDiverged,
    evaluate,
    init_readout,
    loss_and_gradient,
)

TASK = MemoryPro(n_stimulus=3, n_memory=2, n_response=3)
CELL = VanillaRNN(n_inputs=3, n_units=7)
SETTINGS = {"n_iterations": 11, "batch_size": 5, "checkpoint_every": 4, "evaluation_trials": 6}
OPTIMIZERS = {"sgd": SGD(0.05), "momentum": Momentum(0.02, nesterov=True), "adam": Adam(0.01)}


def train(**changes):
    return fit(CELL, TASK, **(SETTINGS | {"rng": 41} | changes))


def assert_same_bits(left, right):
    """Fail unless two dicts of arrays agree in names, precision and every bit."""
    assert list(left) == list(right)
    for name, array in left.items():
        assert array.dtype == right[name].dtype, name
        assert array.tobytes() == right[name].tobytes(), name


def assert_same_checkpoint(left, right):
    """Fail unless two checkpoints agree in every bit."""
    for name in ("params", "readout", "optimizer_state"):
        assert_same_bits(getattr(left, name), getattr(right, name))
    for name in ("iteration", "loss", "evaluation_loss", "accuracy", "gradient_norm", "rng_state"):
        assert getattr(left, name) == getattr(right, name), name


class Stop(Exception):
    """Stands for whatever ends a run from outside."""


def stop_after(iteration, error=Stop):
    def progress(reached, _):
        if reached == iteration:
            raise error

    return progress


def test_checkpoints_are_at_the_start_at_every_multiple_and_at_the_end():
    assert [point.iteration for point in train().checkpoints] == [0, 4, 8, 11]
    assert [point.iteration for point in train(n_iterations=8).checkpoints] == [0, 4, 8]
    assert [point.iteration for point in train(n_iterations=0).checkpoints] == [0]


def test_a_run_holds_its_course():
    run = train()
    assert run.stop_reason == "iterations"
    assert run.first_iteration == 0
    assert run.losses.shape == run.gradient_norms.shape == (11,)
    assert run.cell == CELL
    assert run.task == TASK
    assert_same_bits(run.params, run.checkpoints[-1].params)
    assert_same_bits(run.readout, run.checkpoints[-1].readout)
    for point in run.checkpoints[:-1]:
        assert run.losses[point.iteration] == point.loss
        assert run.gradient_norms[point.iteration] == point.gradient_norm
    assert "stopped by iterations, Checkpoint(iteration 11: loss" in repr(run)


def test_everything_in_a_checkpoint_belongs_to_its_parameters():
    generator = np.random.default_rng(42)
    params, readout = CELL.init_params(rng=43), init_readout(7, 3, rng=44)
    run = train(params=params, readout=readout, rng=generator)
    reference = np.random.default_rng(42)
    batches = [TASK.sample(5, reference) for _ in range(12)]
    for point in run.checkpoints:
        found = loss_and_gradient(CELL, point.params, point.readout, batches[point.iteration])
        np.testing.assert_allclose(found.loss, point.loss, rtol=1e-12)
        np.testing.assert_allclose(found.norm, point.gradient_norm, rtol=1e-12)
        judged = evaluate(CELL, point.params, point.readout, TASK, TASK.evaluation_batch(6))
        np.testing.assert_allclose(judged.loss, point.evaluation_loss, rtol=1e-12)
        assert judged.accuracy == point.accuracy
    assert generator.bit_generator.state == reference.bit_generator.state


@pytest.mark.parametrize("clip_norm", [None, 0.03])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_updates_are_those_of_the_optimiser_along_the_clipped_gradient(name, clip_norm):
    rule = OPTIMIZERS[name]
    params, readout = CELL.init_params(rng=43), init_readout(7, 3, rng=44)
    run = train(
        params=params, readout=readout, rng=45, optimizer=rule, clip_norm=clip_norm, n_iterations=3
    )
    generator = np.random.default_rng(45)
    both = {**params, **{f"readout/{key}": array for key, array in readout.items()}}
    state = rule.init_state(both)
    for _ in range(3):
        found = loss_and_gradient(
            CELL,
            {key: both[key] for key in params},
            {key: both[f"readout/{key}"] for key in readout},
            TASK.sample(5, generator),
        )
        gradients = {**found.params, **{f"readout/{k}": v for k, v in found.readout.items()}}
        factor = 1 if clip_norm is None else min(1, clip_norm / (found.norm + 1e-6))
        gradients = {key: factor * array for key, array in gradients.items()}
        both, state = rule.update(both, gradients, state)
    for key in params:
        np.testing.assert_allclose(run.params[key], both[key], rtol=1e-10, atol=1e-13)
    for key in readout:
        np.testing.assert_allclose(run.readout[key], both[f"readout/{key}"], rtol=1e-10, atol=1e-13)


def test_what_the_user_gave_is_neither_changed_nor_kept():
    params, readout = CELL.init_params(rng=43), init_readout(7, 3, rng=44)
    copies = [{key: array.copy() for key, array in part.items()} for part in (params, readout)]
    run = train(params=params, readout=readout)
    assert_same_bits(params, copies[0])
    assert_same_bits(readout, copies[1])
    params["weight_hh"][:] = 0
    readout["weight"][:] = 0
    assert_same_bits(run.checkpoints[0].params, copies[0])
    assert_same_bits(run.checkpoints[0].readout, copies[1])


def test_the_same_seed_gives_the_same_bits_and_another_seed_others():
    first, second, other = train(), train(), train(rng=46)
    for left, right in zip(first.checkpoints, second.checkpoints, strict=True):
        assert_same_checkpoint(left, right)
    assert first.losses.tobytes() == second.losses.tobytes()
    assert not np.array_equal(first.params["weight_hh"], other.params["weight_hh"])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_precision_is_that_of_the_parameters_throughout(dtype):
    run = train(params=CELL.init_params(rng=43, dtype=dtype), readout=init_readout(7, 3, rng=44))
    for point in run.checkpoints:
        state = {name: array for name, array in point.optimizer_state.items() if name != "step"}
        for array in (*point.params.values(), *point.readout.values(), *state.values()):
            assert array.dtype == dtype


RESUMED = [
    *itertools.product(OPTIMIZERS, [None, 12], ["float64"], [0, 4, 8]),
    ("adam", None, "float32", 4),
]


@pytest.mark.parametrize(("name", "n_samples", "dtype", "iteration"), RESUMED)
def test_a_resumed_run_has_the_bits_of_an_uninterrupted_one(name, n_samples, dtype, iteration):
    settings = {"optimizer": OPTIMIZERS[name], "n_samples": n_samples, "h0": np.full(7, 0.3)}
    params = CELL.init_params(rng=43, dtype=dtype)
    whole = train(params=params, **settings)
    point = next(each for each in whole.checkpoints if each.iteration == iteration)
    # The other seed must not matter.
    resumed = train(resume_from=point, **(settings | {"rng": 47}))
    assert resumed.first_iteration == iteration
    assert resumed.losses.tobytes() == whole.losses[iteration:].tobytes()
    assert resumed.gradient_norms.tobytes() == whole.gradient_norms[iteration:].tobytes()
    later = [each for each in whole.checkpoints if each.iteration >= iteration]
    for left, right in zip(resumed.checkpoints, later, strict=True):
        assert_same_checkpoint(left, right)
    assert_same_bits(resumed.params, whole.params)
    assert_same_bits(resumed.readout, whole.readout)


def test_a_run_can_be_made_longer_from_its_last_checkpoint():
    whole = train(n_iterations=15)
    longer = train(n_iterations=15, resume_from=train(n_iterations=6).checkpoints[-1])
    assert [point.iteration for point in longer.checkpoints] == [6, 8, 12, 15]
    assert_same_checkpoint(longer.checkpoints[-1], whole.checkpoints[-1])


def test_resuming_what_is_complete_does_nothing():
    recorder = MemoryRecorder()
    last = train().checkpoints[-1]
    run = train(resume_from=last, recorder=recorder)
    assert run.checkpoints == (last,)
    assert run.losses.shape == (0,)
    assert not recorder.losses
    assert not recorder.checkpoints


def test_the_comparison_of_bits_sees_a_lost_state_of_the_optimiser():
    whole = train(optimizer=OPTIMIZERS["adam"])
    point = whole.checkpoints[1]
    fields = {name: getattr(point, name) for name in Checkpoint.__dataclass_fields__}
    fields["optimizer_state"] = {
        name: np.zeros_like(array) for name, array in point.optimizer_state.items()
    }
    damaged = train(optimizer=OPTIMIZERS["adam"], resume_from=Checkpoint(**fields))
    with pytest.raises(AssertionError):
        assert_same_checkpoint(damaged.checkpoints[-1], whole.checkpoints[-1])


def test_a_recorder_is_told_of_every_iteration_and_then_of_the_checkpoint():
    events = []

    class Recorder(MemoryRecorder):
        def record_iteration(self, iteration, loss, gradient_norm):
            super().record_iteration(iteration, loss, gradient_norm)
            events.append(iteration)

        def commit(self, checkpoint):
            super().commit(checkpoint)
            events.append(f"commit {checkpoint.iteration}")

    recorder = Recorder()
    run = train(recorder=recorder, n_iterations=6)
    assert events == ["commit 0", 0, 1, 2, 3, "commit 4", 4, 5, "commit 6"]
    assert list(recorder.losses.values()) == run.losses.tolist()
    assert list(recorder.gradient_norms.values()) == run.gradient_norms.tolist()
    assert tuple(recorder.checkpoints.values()) == run.checkpoints


def test_progress_is_told_of_every_update():
    seen = []
    run = train(progress=lambda iteration, loss: seen.append((iteration, loss)))
    assert seen == list(enumerate(run.losses.tolist()))


def test_training_stops_at_the_tolerance_with_the_parameters_that_reached_it():
    free = train(n_iterations=60, optimizer=Adam(0.03))
    tolerance = free.losses[30:].min()
    reached = int(np.argmax(free.losses <= tolerance))
    assert reached % SETTINGS["checkpoint_every"]
    run = train(n_iterations=60, optimizer=Adam(0.03), tolerance=tolerance)
    assert run.stop_reason == "tolerance"
    assert run.losses.tobytes() == free.losses[:reached].tobytes()
    assert run.checkpoints[-1].iteration == reached
    assert run.checkpoints[-1].loss == tolerance
    again = train(
        n_iterations=60,
        optimizer=Adam(0.03),
        tolerance=tolerance,
        resume_from=run.checkpoints[-1],
    )
    assert again.stop_reason == "tolerance"
    assert again.checkpoints == run.checkpoints[-1:]


@pytest.mark.parametrize("error", [KeyboardInterrupt, Stop])
def test_an_interrupt_passes_through_and_leaves_what_was_committed(error):
    whole, recorder = train(), MemoryRecorder()
    with pytest.raises(error):
        train(recorder=recorder, progress=stop_after(6, error))
    assert list(recorder.checkpoints) == [0, 4]
    resumed = train(resume_from=recorder.checkpoints[4], recorder=recorder)
    assert_same_checkpoint(resumed.checkpoints[-1], whole.checkpoints[-1])
    assert recorder.losses == dict(enumerate(whole.losses.tolist()))
    assert list(recorder.checkpoints) == [0, 4, 8, 11]


def test_a_failure_to_commit_passes_through():
    class Full(MemoryRecorder):
        def commit(self, checkpoint):
            if checkpoint.iteration:
                raise OSError("no space left on device")
            super().commit(checkpoint)

    recorder = Full()
    with pytest.raises(OSError, match="no space left"):
        train(recorder=recorder)
    assert list(recorder.checkpoints) == [0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_divergence_is_one_error_that_keeps_what_was_committed(dtype):
    cell = VanillaRNN(n_inputs=3, n_units=7, activation="relu")
    recorder = MemoryRecorder()
    with pytest.raises(
        TrainingDiverged, match=r"diverged at iteration \d+: the .* The last good checkpoint is"
    ) as caught:
        fit(
            cell,
            TASK,
            params=cell.init_params(rng=43, dtype=dtype),
            optimizer=SGD(1e4),
            clip_norm=None,
            recorder=recorder,
            **(SETTINGS | {"n_iterations": 200, "checkpoint_every": 1}),
        )
    error = caught.value
    assert error.checkpoints == tuple(recorder.checkpoints.values())
    assert error.checkpoint is error.checkpoints[-1]
    assert error.iteration == error.checkpoint.iteration + 1
    for array in (*error.checkpoint.params.values(), *error.checkpoint.readout.values()):
        assert np.isfinite(array).all()
    assert np.isfinite(
        [error.checkpoint.loss, error.checkpoint.evaluation_loss, error.checkpoint.gradient_norm]
    ).all()


def test_an_initial_network_that_explodes_says_so():
    cell = VanillaRNN(n_inputs=3, n_units=7, activation="relu")
    params = cell.init_params(gain=1e100, rng=43)
    with pytest.raises(
        TrainingDiverged, match=r"at iteration 0.*The initial network explodes: reduce its gain"
    ) as caught:
        fit(cell, TASK, params=params, **SETTINGS)
    assert caught.value.checkpoint is None


def test_parameters_that_are_not_finite_are_not_committed():
    class Reckless(SGD):
        def update(self, params, gradients, state):
            # A unit whose bias is minus infinity is silent for ever: the loss does not see it.
            updated, state = super().update(params, gradients, state)
            return updated | {"bias_ih": np.full(7, -np.inf)}, state

    cell = VanillaRNN(n_inputs=3, n_units=7, activation="relu")
    recorder = MemoryRecorder()
    with pytest.raises(TrainingDiverged, match="at iteration 4: a parameter is not finite"):
        fit(cell, TASK, optimizer=Reckless(0.1), recorder=recorder, **SETTINGS)
    assert list(recorder.checkpoints) == [0]
    assert len(recorder.losses) == 4


def test_an_evaluation_that_is_not_finite_is_not_committed():
    class FailsOnEvaluation(MeanSquaredError):
        def value_and_output_error(self, outputs, targets, mask):
            value, error = super().value_and_output_error(outputs, targets, mask)
            return value if len(outputs) == SETTINGS["batch_size"] else np.inf, error

    with pytest.raises(TrainingDiverged, match="at iteration 0: the evaluation loss is inf"):
        train(loss=FailsOnEvaluation())


def test_a_cell_that_refuses_its_own_states_has_diverged():
    def doubling(params, x, h):
        return (x @ params["w"].T + h) ** 2

    cell = AutogradCell(doubling, {"w": (4, 3)}, n_inputs=3, n_units=4)
    with pytest.raises(TrainingDiverged, match=r"at iteration \d+: the cell failed"):
        fit(cell, TASK, optimizer=SGD(1e30), clip_norm=None, **SETTINGS)


def test_h0_is_where_every_trial_starts():
    h0 = np.random.default_rng(48).standard_normal(7)
    params, readout = CELL.init_params(rng=43), init_readout(7, 3, rng=44)
    run = train(params=params, readout=readout, h0=h0, n_iterations=0)
    batch = TASK.evaluation_batch(6)
    judged = evaluate(CELL, params, readout, TASK, batch, h0=h0)
    without = evaluate(CELL, params, readout, TASK, batch)
    np.testing.assert_allclose(run.checkpoints[0].evaluation_loss, judged.loss, rtol=1e-12)
    assert abs(without.loss - judged.loss) > 1e-6


def test_another_loss_is_the_one_that_is_trained_on():
    class Scaled(MeanSquaredError):
        def value_and_output_error(self, outputs, targets, mask):
            value, error = super().value_and_output_error(outputs, targets, mask)
            return 4 * value, 4 * error

    plain, scaled = (train(loss=loss, n_iterations=0) for loss in (None, Scaled()))
    for name in ("loss", "evaluation_loss", "gradient_norm"):
        np.testing.assert_allclose(
            getattr(scaled.checkpoints[0], name),
            4 * getattr(plain.checkpoints[0], name),
            rtol=1e-12,
        )


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"n_iterations": -1}, ValueError, "n_iterations must be at least 0; got -1"),
        ({"n_iterations": 1.5}, TypeError, "n_iterations must be an integer"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1"),
        ({"checkpoint_every": 0}, ValueError, "checkpoint_every must be at least 1"),
        ({"evaluation_trials": 0}, ValueError, "evaluation_trials must be at least 1"),
        ({"n_samples": 4}, ValueError, "n_samples must be at least 5; got 4"),
        ({"clip_norm": 0.0}, ValueError, "clip_norm must be finite and greater than 0"),
        ({"tolerance": -1e-3}, ValueError, "tolerance must be finite and at least 0"),
        ({"optimizer": "adam"}, TypeError, "optimizer must be an optimiser.*got 'adam'"),
        ({"loss": "mse"}, TypeError, "loss must be a loss of kpflow_numerics.training"),
        ({"rng": None}, TypeError, "rng must be an integer seed"),
        ({"h0": np.ones(8)}, ValueError, r"h0 must have shape \(7,\); got \(8,\)"),
        ({"params": {}}, ValueError, "params lacks 'weight_ih'"),
        ({"readout": init_readout(7, 2)}, ValueError, r"must have shape \(3, 7\); got \(2, 7\)"),
        ({"resume_from": {}}, TypeError, "resume_from must be a Checkpoint.*got {}"),
    ],
)
def test_arguments_are_checked_at_the_door(change, error, match):
    with pytest.raises(error, match=match):
        train(**change)


def test_cell_and_task_must_be_ones_and_fit_each_other():
    with pytest.raises(TypeError, match=r"cell must be a cell of kpflow_numerics.*got str"):
        fit("gru", TASK)
    with pytest.raises(
        TypeError, match=r"task must be a task of kpflow_numerics.*got 'memory-pro'"
    ):
        fit(CELL, "memory-pro")
    with pytest.raises(
        ValueError,
        match=r"the 3 inputs of task memory-pro \(fixation, cos, sin\); it has n_inputs=4",
    ):
        fit(VanillaRNN(n_inputs=4, n_units=7), TASK)
    with pytest.raises(ValueError, match=r"the 9 inputs .*pulse 8, \.\.\.\); it has n_inputs=3"):
        fit(CELL, FlipFlop(n_bits=9))


def test_a_checkpoint_must_fit_the_run():
    point = train(n_iterations=2).checkpoints[-1]
    other = VanillaRNN(n_inputs=3, n_units=8)
    with pytest.raises(
        ValueError, match=r"resume_from.params\['weight_ih'\] must have shape \(8, 3"
    ):
        fit(other, TASK, resume_from=point, **SETTINGS)
    with pytest.raises(
        ValueError, match=r"resume_from.optimizer_state does not belong to SGD.*Resume with the opt"
    ):
        train(resume_from=point, optimizer=SGD(0.1))
    with pytest.raises(ValueError, match="Resume with n_samples=None"):
        train(resume_from=point, n_samples=20)
    with pytest.raises(ValueError, match=r"n_iterations must be at least 2.*resumed from; got 1"):
        train(resume_from=point, n_iterations=1)
    with pytest.raises(ValueError, match="params and readout must not be given with resume_from"):
        train(resume_from=point, params=point.params)


def test_a_network_learns_a_short_task():
    cell = VanillaRNN(n_inputs=3, n_units=32)
    run = fit(
        cell, TASK, n_iterations=400, batch_size=32, optimizer=Adam(5e-3), rng=49,
        checkpoint_every=400,
    )  # fmt: skip
    first, last = run.checkpoints
    assert first.accuracy < 0.5
    assert last.accuracy > 0.95
    assert last.evaluation_loss < 0.01
    assert last.evaluation_loss < first.evaluation_loss / 20


def test_a_readout_without_bias_is_trained_without_one():
    params, readout = CELL.init_params(rng=43), {"weight": init_readout(7, 3, rng=44)["weight"]}
    run = train(params=params, readout=readout, rng=45, n_iterations=6)
    assert list(run.readout) == ["weight"]
    assert not np.array_equal(run.readout["weight"], readout["weight"])
    resumed = train(resume_from=run.checkpoints[0], n_iterations=6)
    assert_same_bits(resumed.readout, run.readout)


def test_train_refuses_what_is_no_task_or_cell_before_it_draws_anything(tmp_path):
    for arguments, match in (
        (
            (CELL, "memory-pro"),
            r"task must be a task .*, such as kpf.MemoryPro\(\); got 'memory-pro'",
        ),
        (("gru", TASK), "cell must be a cell of kpflow_numerics"),
    ):
        with pytest.raises(InputTypeError, match=match):
            kpf.train(*arguments, store=tmp_path / "run.h5")
    assert not list(tmp_path.iterdir())
