"""Losses: values, derivatives, the mask, and the state error."""

from __future__ import annotations

import numpy as np
import pytest

from kpflow_numerics import VanillaRNN, simulate
from kpflow_numerics.testing import default_tolerance, taylor_test
from kpflow_numerics.training import MeanSquaredError, apply_readout, init_readout, state_error

B, T, O = 3, 5, 2  # noqa: E741


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    return request.param


def problem(dtype, seed=21):
    generator = np.random.default_rng(seed)
    outputs, targets = (generator.standard_normal((B, T, O)).astype(dtype) for _ in range(2))
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


def test_only_the_ratios_of_the_mask_matter(dtype):
    outputs, targets, mask = problem(dtype)
    loss = MeanSquaredError()
    value, error = loss.value_and_output_error(outputs, targets, mask)
    scaled_value, scaled_error = loss.value_and_output_error(outputs, targets, 4 * mask)
    assert scaled_value == value
    np.testing.assert_array_equal(scaled_error, error)


def test_output_error_is_the_derivative():
    outputs, targets, mask = problem("float64")
    loss = MeanSquaredError()
    _, error = loss.value_and_output_error(outputs, targets, mask)
    directions = np.random.default_rng(22).standard_normal((3, *outputs.shape))
    assert taylor_test(
        lambda y: loss.value(y, targets, mask),
        lambda d: (error * d).sum(),
        outputs,
        directions,
    ).passed


def test_the_derivative_test_sees_a_lost_factor_of_two():
    outputs, targets, mask = problem("float64")
    loss = MeanSquaredError()
    _, error = loss.value_and_output_error(outputs, targets, mask)
    directions = np.random.default_rng(22).standard_normal((3, *outputs.shape))
    assert not taylor_test(
        lambda y: loss.value(y, targets, mask),
        lambda d: (error * d).sum() / 2,
        outputs,
        directions,
    ).passed


def test_masked_steps_have_no_error_and_no_effect(dtype):
    outputs, targets, mask = problem(dtype)
    loss = MeanSquaredError()
    value, error = loss.value_and_output_error(outputs, targets, mask)
    assert not error[1, 2].any()
    outputs[1, 2] = 1e3
    assert loss.value(outputs, targets, mask) == value


def network():
    cell = VanillaRNN(n_inputs=3, n_units=4)
    inputs = np.random.default_rng(23).standard_normal((B, T, 3))
    return simulate(cell, cell.init_params(rng=24), inputs), init_readout(4, O, rng=25)


def test_state_error_is_the_derivative_by_the_states_through_the_readout_alone():
    trajectory, readout = network()
    _, targets, mask = problem("float64")
    err = state_error(trajectory, readout, targets, mask=mask)
    directions = np.random.default_rng(26).standard_normal((3, *trajectory.states.shape))
    assert taylor_test(
        lambda h: MeanSquaredError().value(apply_readout(readout, h), targets, mask),
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
