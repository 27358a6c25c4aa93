"""The flip-flop task: its pulses and what is held."""

from __future__ import annotations

import numpy as np
import pytest

from kpflow_numerics.tasks import FlipFlop, TrialBatch
from kpflow_numerics.tasks.flip_flop import held_pulses


def held_twin(pulses):
    """Return the held pulses, written step by step."""
    held = np.empty_like(pulses)
    for trial in range(pulses.shape[0]):
        for bit in range(pulses.shape[2]):
            value = 0.0
            for step in range(pulses.shape[1]):
                if pulses[trial, step, bit] != 0:
                    value = pulses[trial, step, bit]
                held[trial, step, bit] = value
    return held


@pytest.mark.parametrize("task", [FlipFlop(), FlipFlop(n_bits=1, n_steps=7, mean_interval=2)])
def test_targets_hold_the_last_pulse(task):
    batch = task.evaluation_batch(13)
    np.testing.assert_array_equal(batch.targets, held_twin(batch.inputs))


def test_a_pulse_at_the_first_step_is_held():
    pulses = np.array([[[0.0, -1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]])
    held = np.array([[[0.0, -1.0, 0.0], [0.0, -1.0, 1.0], [0.0, -1.0, 1.0]]])
    np.testing.assert_array_equal(held_pulses(pulses), held)


@pytest.mark.parametrize("network", ["lstm_flip_flop_48", "rnn_relu_flip_flop_48"])
def test_targets_are_those_of_networks_trained_elsewhere(shared_data, network):
    with np.load(shared_data / "pytorch" / f"{network}_trajectory.npz") as file:
        inputs, targets, outputs = file["inputs"], file["targets"], file["outputs"]
    np.testing.assert_array_equal(held_pulses(inputs), targets)
    task = FlipFlop()
    assert inputs.shape[1:] == (task.n_steps, task.n_inputs)
    assert task.accuracy(outputs, TrialBatch(inputs, targets)) > 0.9


def test_the_default_sizes_are_those_of_the_papers():
    task = FlipFlop()
    assert (task.n_steps, task.n_inputs, task.n_outputs, task.mean_interval) == (90, 3, 3, 20)
    assert task.noise_std == 0.03 * np.sqrt(2)


@pytest.mark.parametrize("mean_interval", [1, 3.5, 20])
def test_pulses_are_independent_with_the_stated_rate(mean_interval):
    task = FlipFlop(mean_interval=mean_interval, noise_std=0)
    pulses = task.sample(300, rng=37).inputs
    assert set(np.unique(pulses)) <= {-1.0, 0.0, 1.0}
    rate, count = 1 / mean_interval, pulses.size
    present = pulses != 0
    assert abs(present.mean() - rate) <= 5 * (rate * (1 - rate) / count) ** 0.5
    assert abs(pulses.mean()) < 5 * (rate / count) ** 0.5
    # Each step and each channel has the rate, and neighbours are independent.
    for axes in ((0, 1), (0, 2)):
        rates = present.mean(axis=axes)
        assert np.abs(rates - rate).max() <= 5 * (rate * (1 - rate) * rates.size / count) ** 0.5
    for axis in range(3):
        both = np.take(present, range(1, pulses.shape[axis]), axis) & np.take(
            present, range(pulses.shape[axis] - 1), axis
        )
        assert abs(both.mean() - rate**2) <= 5 * (rate**2 * (1 - rate**2) / both.size) ** 0.5
        signs = np.take(pulses, range(1, pulses.shape[axis]), axis) * np.take(
            pulses, range(pulses.shape[axis] - 1), axis
        )
        assert abs(signs.mean()) <= 5 * rate / signs.size**0.5
    if mean_interval > 1:
        intervals = np.concatenate(
            [np.diff(np.flatnonzero(row)) for row in np.moveaxis(present, 2, 1).reshape(900, 90)]
        )
        assert intervals.min() == 1


def test_the_condition_table_describes_the_trials():
    batch = FlipFlop().evaluation_batch(11)
    for trial in range(11):
        assert batch.conditions["n_pulses"][trial] == (batch.inputs[trial] != 0).sum()
        for bit in range(3):
            assert batch.conditions[f"final_bit_{bit + 1}"][trial] == batch.targets[trial, -1, bit]


def test_evaluation_trials_follow_their_seed_and_no_seed_of_samples():
    task = FlipFlop(noise_std=0)
    batch = task.evaluation_batch(6)
    other = FlipFlop(evaluation_seed=task.evaluation_seed + 1).evaluation_batch(6)
    assert not np.array_equal(batch.inputs, other.inputs)
    assert not np.array_equal(batch.inputs, task.sample(6, rng=task.evaluation_seed).inputs)


def test_an_output_is_right_within_a_half():
    task = FlipFlop()
    batch = task.evaluation_batch(5)
    assert task.accuracy(batch.targets + 0.49, batch) == 1
    assert task.accuracy(batch.targets - 0.51, batch) == 0
    outputs = batch.targets.copy()
    outputs[:, :, 1] += 1
    np.testing.assert_allclose(task.accuracy(outputs, batch), 2 / 3, rtol=1e-12)
