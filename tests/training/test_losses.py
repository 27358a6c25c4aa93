"""Losses: values, derivatives, the mask, and the state error."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kpflow_numerics import MemoryPro, VanillaRNN, fit, simulate, validate
from kpflow_numerics._validation import InputError
from kpflow_numerics.tasks import Characters, TrialBatch
from kpflow_numerics.testing import default_tolerance, taylor_test
from kpflow_numerics.training import (
    LOSSES,
    CrossEntropy,
    MeanSquaredError,
    apply_readout,
    evaluate,
    init_readout,
    loss_and_gradient,
    loss_of_task,
    output_error,
    state_error,
)

B, T, O = 3, 5, 2  # noqa: E741


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    return request.param


@pytest.fixture(params=LOSSES.values(), ids=LOSSES)
def loss(request):
    return request.param()


def problem(dtype, loss=None, seed=21):
    generator = np.random.default_rng(seed)
    outputs, targets = (generator.standard_normal((B, T, O)).astype(dtype) for _ in range(2))
    if loss == CrossEntropy():
        targets = np.abs(targets) / np.abs(targets).sum(axis=2, keepdims=True)
    mask = generator.uniform(0, 2, (B, T)).astype(dtype)
    mask[1, 2] = 0
    return outputs, targets, mask


def test_equals_pytorch_where_the_mask_is_one(dtype):
    # torch.nn.MSELoss() of PyTorch 2.13.0 on these outputs and targets, and its gradient.
    outputs = np.array([[[0.5, -1.0], [2.0, 0.25]]], dtype)
    targets = np.array([[[1.0, 0.0], [-1.0, 0.5]]], dtype)
    value, error = MeanSquaredError().value_and_output_error(
        outputs, targets, np.ones((1, 2), dtype)
    )
    assert value == 2.578125
    assert error.dtype == dtype
    np.testing.assert_array_equal(error, [[[-0.25, -0.5], [1.5, -0.125]]])


def test_cross_entropy_equals_pytorch_where_the_mask_is_one(dtype):
    # torch.nn.CrossEntropyLoss() of PyTorch 2.13.0 on these outputs and targets, and its gradient.
    outputs = np.array([[[0.5, -1.0, 2.0], [2.0, 0.25, -0.5]]], dtype)
    targets = np.array([[[0.0, 0.0, 1.0], [0.25, 0.75, 0.0]]], dtype)
    value, error = CrossEntropy().value_and_output_error(outputs, targets, np.ones((1, 2), dtype))
    tolerance = default_tolerance(dtype, 6)
    assert abs(value - 0.8908155255652904) <= tolerance
    assert error.dtype == dtype
    expected = [
        [0.08764519607001835, 0.019556286635343725, -0.10720148270536206],
        [0.2731338853025432, -0.3058147047297298, 0.03268081942718674],
    ]
    np.testing.assert_allclose(error, [expected], rtol=0, atol=tolerance)


def test_cross_entropy_neither_overflows_nor_depends_on_a_constant_added(dtype):
    outputs = np.array([[[2e4, 0.0, -2e4], [1.0, 2.0, 3.0]]], dtype)
    targets = np.array([[[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]], dtype)
    mask = np.ones((1, 2), dtype)
    value, error = CrossEntropy().value_and_output_error(outputs, targets, mask)
    expected = (2e4 + np.log(1 + np.exp(-1.0) + np.exp(-2.0))) / 2
    assert abs(value - expected) <= default_tolerance(dtype, 3) * expected
    np.testing.assert_array_equal(error[0, 0], [0.5, -0.5, 0.0])
    moved, moved_error = CrossEntropy().value_and_output_error(outputs + 64, targets, mask)
    assert moved == value
    np.testing.assert_array_equal(moved_error, error)


def test_value_is_the_mean_weighted_by_the_mask(dtype):
    outputs, targets, mask = problem(dtype)
    total, weight = 0.0, 0.0
    for b in range(B):
        for t in range(T):
            weight += float(mask[b, t])
            for o in range(O):
                total += (
                    float(mask[b, t]) * (float(outputs[b, t, o]) - float(targets[b, t, o])) ** 2
                )
    value = MeanSquaredError().value(outputs, targets, mask)
    assert abs(value - total / (O * weight)) <= default_tolerance(dtype, B * T * O) * value


def test_cross_entropy_is_the_mean_of_logarithms_weighted_by_the_mask(dtype):
    outputs, targets, mask = problem(dtype, CrossEntropy())
    total = 0.0
    for b in range(B):
        for t in range(T):
            odds = [np.exp(float(y)) for y in outputs[b, t]]
            for o in range(O):
                total -= float(mask[b, t]) * float(targets[b, t, o]) * np.log(odds[o] / sum(odds))
    expected = total / float(mask.sum(dtype=np.float64))
    value = CrossEntropy().value(outputs, targets, mask)
    assert abs(value - expected) <= default_tolerance(dtype, B * T * O) * expected


def test_only_the_ratios_of_the_mask_matter(dtype, loss):
    outputs, targets, mask = problem(dtype, loss)
    value, error = loss.value_and_output_error(outputs, targets, mask)
    scaled_value, scaled_error = loss.value_and_output_error(outputs, targets, 4 * mask)
    assert scaled_value == value
    np.testing.assert_array_equal(scaled_error, error)


def test_output_error_is_the_derivative(loss):
    outputs, targets, mask = problem("float64", loss)
    _, error = loss.value_and_output_error(outputs, targets, mask)
    directions = np.random.default_rng(22).standard_normal((3, *outputs.shape))
    assert taylor_test(
        lambda y: loss.value(y, targets, mask),
        lambda d: (error * d).sum(),
        outputs,
        directions,
    ).passed


def test_the_derivative_test_sees_a_lost_factor_of_two(loss):
    outputs, targets, mask = problem("float64", loss)
    _, error = loss.value_and_output_error(outputs, targets, mask)
    directions = np.random.default_rng(22).standard_normal((3, *outputs.shape))
    assert not taylor_test(
        lambda y: loss.value(y, targets, mask),
        lambda d: (error * d).sum() / 2,
        outputs,
        directions,
    ).passed


def test_masked_steps_have_no_error_and_no_effect(dtype, loss):
    outputs, targets, mask = problem(dtype, loss)
    value, error = loss.value_and_output_error(outputs, targets, mask)
    assert not error[1, 2].any()
    outputs[1, 2] = 1e3
    targets[1, 2] = -7
    loss.check_targets(targets, mask)
    assert loss.value(outputs, targets, mask) == value


def network():
    cell = VanillaRNN(n_inputs=3, n_units=4)
    inputs = np.random.default_rng(23).standard_normal((B, T, 3))
    return simulate(cell, cell.init_params(rng=24), inputs), init_readout(4, O, rng=25)


def test_state_error_is_the_derivative_by_the_states_through_the_readout_alone(loss):
    trajectory, readout = network()
    _, targets, mask = problem("float64", loss)
    err = state_error(trajectory, readout, targets, mask=mask, loss=loss)
    directions = np.random.default_rng(26).standard_normal((3, *trajectory.states.shape))
    assert taylor_test(
        lambda h: loss.value(apply_readout(readout, h), targets, mask),
        lambda d: (err * d).sum(),
        trajectory.states,
        directions,
    ).passed


def test_state_error_without_a_mask_weighs_all_steps_alike():
    trajectory, readout = network()
    _, targets, _ = problem("float64")
    np.testing.assert_array_equal(
        state_error(trajectory, readout, targets),
        state_error(trajectory, readout, targets.tolist(), mask=np.ones((B, T)), loss=None),
    )


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"trajectory": "run"}, TypeError, "trajectory must be a Trajectory.*got str"),
        ({"readout": {}}, ValueError, "readout lacks 'weight'"),
        (
            {"targets": np.ones((B, T, O + 1))},
            ValueError,
            r"targets must have shape \(3, 5, 2\); got \(3, 5, 3\)",
        ),
        ({"mask": np.ones((T, B))}, ValueError, r"mask must have shape \(3, 5\); got \(5, 3\)"),
        ({"mask": np.zeros((B, T))}, ValueError, "mask must be non-negative, with at least one"),
        ({"mask": -np.ones((B, T))}, ValueError, "mask must be non-negative.*from -1 to -1"),
        ({"loss": "mse"}, TypeError, "loss must be a loss of kpflow_numerics.training.*'mse'"),
    ],
)
def test_state_error_refuses_what_does_not_fit(change, error, match):
    trajectory, readout = network()
    arguments = {"trajectory": trajectory, "readout": readout, "targets": np.ones((B, T, O))}
    with pytest.raises(error, match=match):
        state_error(**(arguments | change))


def test_errors_are_of_the_trials_that_were_simulated():
    task = MemoryPro(n_stimulus=2, n_memory=1, n_response=2)
    batch, other = task.evaluation_batch(4), task.sample(4, rng=61)
    cell = VanillaRNN(3, 5)
    params, readout = cell.init_params(rng=62, dtype=np.float32), init_readout(5, 3, rng=63)
    trajectory = simulate(cell, params, batch.inputs)
    for function in (state_error, output_error):
        function(trajectory, readout, batch)
        function(trajectory, readout, batch.astype("float32"))
        function(trajectory, readout, other.targets, mask=other.mask)
        with pytest.raises(
            ValueError, match="the inputs of 4 of 4 trials differ, first .* trial 0"
        ):
            function(trajectory, readout, other)
        with pytest.raises(
            ValueError, match="the inputs of 2 of 4 trials differ, first .* trial 1"
        ):
            function(trajectory, readout, batch.select([0, 3, 2, 1]))
    with pytest.raises(ValueError, match="a batch of other trials than the trajectory's"):
        validate(trajectory, targets=other, readout=readout)


def test_losses_have_their_names():
    assert {name: loss().name for name, loss in LOSSES.items()} == {name: name for name in LOSSES}
    with pytest.raises(TypeError, match="does not support item assignment"):
        LOSSES["mine"] = MeanSquaredError


@pytest.mark.parametrize("wrong", [[0.7, 0.4], [1.5, -0.5], [0.0, 0.0]])
def test_cross_entropy_refuses_targets_that_are_no_probabilities(dtype, wrong):
    _, targets, mask = problem(dtype, CrossEntropy())
    CrossEntropy().check_targets(targets, mask)
    targets[2, 3] = wrong
    with pytest.raises(InputError, match="must be probabilities.*Use one-hot targets, or Mean"):
        CrossEntropy().check_targets(targets, mask)


def test_every_door_refuses_targets_that_are_no_probabilities():
    task = MemoryPro(n_stimulus=2, n_memory=1, n_response=2)
    cell = VanillaRNN(n_inputs=3, n_units=4)
    params, readout = cell.init_params(rng=31), init_readout(4, 3, rng=32)
    batch = task.sample(B, rng=33)
    trajectory = simulate(cell, params, batch.inputs)
    for call in (
        lambda loss: fit(cell, task, n_iterations=1, loss=loss),
        lambda loss: loss_and_gradient(cell, params, readout, batch, loss),
        lambda loss: evaluate(cell, params, readout, task, batch, loss),
        lambda loss: state_error(trajectory, readout, batch.targets, loss=loss),
    ):
        call(MeanSquaredError())
        with pytest.raises(InputError, match="targets of the cross-entropy must be probabilities"):
            call(CrossEntropy())


def test_training_and_evaluation_take_the_loss_of_the_task():
    task = Characters("abcd" * 30, n_steps=5)
    cell = VanillaRNN(n_inputs=4, n_units=6)
    params, readout = cell.init_params(rng=34), init_readout(6, 4, rng=35)
    for loss_name, loss in (("cross-entropy", CrossEntropy()), ("mean-squared-error", None)):
        judged = Characters(task.text, n_steps=5, loss=loss_name)
        batch = judged.evaluation_batch(7)
        expected = loss_and_gradient(cell, params, readout, batch, loss).loss
        assert evaluate(cell, params, readout, judged, batch).loss == expected
        run = fit(cell, judged, params=params, readout=readout, n_iterations=0,
                  evaluation_trials=7, rng=36)  # fmt: skip
        assert run.checkpoints[0].evaluation_loss == expected


def test_a_task_that_names_no_loss_is_refused():
    class Odd(MemoryPro):
        loss_name = "hinge"

    with pytest.raises(InputError, match="loss of task 'memory-pro' must be one of.*hinge"):
        loss_of_task(Odd())


def characters(loss="cross-entropy"):
    """Return the network, the trajectory and a batch of a task of one-hot targets."""
    task = Characters("abcd" * 30, n_steps=5, loss=loss)
    cell = VanillaRNN(n_inputs=4, n_units=6)
    params, readout = cell.init_params(rng=34), init_readout(6, 4, rng=35)
    batch = task.evaluation_batch(B)
    return cell, params, readout, batch, simulate(cell, params, batch.inputs)


@pytest.mark.parametrize("call", [state_error, output_error])
@pytest.mark.parametrize("name", LOSSES)
def test_errors_are_of_the_loss_that_the_batch_names(call, name):
    _, _, readout, batch, trajectory = characters(name)
    mask = np.arange(1.0, 1 + B * T).reshape(B, T)
    wanted = call(trajectory, readout, batch.targets, mask=mask, loss=LOSSES[name]())
    np.testing.assert_array_equal(call(trajectory, readout, replace(batch, mask=mask)), wanted)
    other = next(loss() for key, loss in LOSSES.items() if key != name)
    told = call(trajectory, readout, batch, loss=other)
    np.testing.assert_array_equal(
        told, call(trajectory, readout, batch.targets, mask=batch.mask, loss=other)
    )
    assert np.abs(told - call(trajectory, readout, batch)).max() > 1e-3


@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_is_of_the_loss_that_the_batch_names(name):
    cell, params, readout, batch, _ = characters(name)
    found = loss_and_gradient(cell, params, readout, batch)
    wanted = loss_and_gradient(
        cell, params, readout, replace(batch, loss_name=None), LOSSES[name]()
    )
    assert (found.loss, found.norm) == (wanted.loss, wanted.norm)


def silent_doors():
    """Calls of batches or targets whose loss nothing tells."""
    cell, params, readout, batch, trajectory = characters()
    bare = TrialBatch(batch.inputs, batch.targets)
    return {
        "gradient": lambda **loss: loss_and_gradient(cell, params, readout, bare, **loss),
        "state error": lambda **loss: state_error(trajectory, readout, bare, **loss),
        "output error": lambda **loss: output_error(trajectory, readout, batch.targets, **loss),
        "validate": lambda **loss: validate(
            trajectory, targets=batch.targets, readout=readout, **loss
        ),
    }


@pytest.mark.parametrize("door", silent_doors())
def test_the_loss_of_classes_is_never_guessed(door):
    call = silent_doors()[door]
    with pytest.raises(InputError, match="probabilities of 4 classes.*give the task's own batch"):
        call()
    call(loss=CrossEntropy())
    call(loss=MeanSquaredError())


@pytest.mark.parametrize(
    "targets",
    [
        pytest.param(np.ones((B, T, 1)), id="one channel"),
        pytest.param(np.full((B, T, O), 0.4), id="other sums"),
        pytest.param(np.tile([1.5, -0.5], (B, T, 1)), id="negative"),
    ],
)
def test_what_no_cross_entropy_takes_has_a_squared_error(targets):
    trajectory, _ = network()
    readout = init_readout(4, targets.shape[-1], rng=25)
    np.testing.assert_array_equal(
        state_error(trajectory, readout, targets),
        state_error(trajectory, readout, targets, loss=MeanSquaredError()),
    )


def test_a_batch_has_its_own_mask_and_a_known_loss():
    _, _, readout, batch, trajectory = characters()
    with pytest.raises(InputError, match="mask is that of the batch where targets are a batch"):
        state_error(trajectory, readout, batch, mask=batch.mask)
    with pytest.raises(InputError, match="loss_name of the batch must be one of.*hinge"):
        state_error(trajectory, readout, replace(batch, loss_name="hinge"))


def test_validation_takes_the_loss_of_the_batch():
    _, _, readout, batch, trajectory = characters()
    by_batch = validate(trajectory, targets=batch, readout=readout, rng=37)
    told = validate(
        trajectory, targets=batch.targets, mask=batch.mask, readout=readout, rng=37,
        loss=CrossEntropy(),
    )  # fmt: skip
    assert by_batch == told
