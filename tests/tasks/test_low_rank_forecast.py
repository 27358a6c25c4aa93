"""The low-rank forecast: its system, its trials and its accuracy."""

from __future__ import annotations

import numpy as np
import pytest

from kpflow_numerics._validation import InputError
from kpflow_numerics.tasks import LowRankForecast
from kpflow_numerics.testing import default_tolerance

SMALL = {"n_latent": 3, "n_observed": 8, "n_embedded_inputs": 6, "n_embedded_outputs": 5}


def twin(task, initial):
    """Return inputs and targets of one trial by matrix products, state by state."""
    system = task.system
    states = [initial]
    for _ in range(task.n_steps):
        states.append(0.8 * states[-1] + 0.2 * system.rotation @ states[-1])
    observed = [system.observation @ state for state in states]
    inputs = [np.sin(system.input_weight @ y + system.input_bias) for y in observed[:-1]]
    targets = [np.sin(system.target_weight @ y + system.target_bias) for y in observed[1:]]
    return np.array(inputs), np.array(targets)


@pytest.mark.parametrize("task", [LowRankForecast(), LowRankForecast(**SMALL, gain=3.0)])
def test_trials_equal_the_twin(task):
    quiet = LowRankForecast(**{**task.to_dict(), "noise_std": 0})
    batch = quiet.sample(4, rng=61)
    initial = np.random.default_rng(61).standard_normal((4, task.n_latent))
    tolerance = default_tolerance(np.float64, task.n_latent * task.n_observed) * task.gain
    for trial in range(4):
        inputs, targets = twin(task, initial[trial])
        np.testing.assert_allclose(batch.inputs[trial], inputs, atol=tolerance)
        np.testing.assert_allclose(batch.targets[trial], targets, atol=tolerance)
    np.testing.assert_array_equal(batch.conditions["latent_1"], initial[:, 0])
    np.testing.assert_array_equal(batch.conditions["latent_2"], initial[:, 1])
    np.testing.assert_allclose(
        batch.conditions["latent_norm"], np.linalg.norm(initial, axis=1), rtol=tolerance
    )


def test_the_target_is_the_next_observation():
    """With one embedding for both, the targets are the inputs one step later."""
    task = LowRankForecast(noise_std=0)
    object.__setattr__(task.system, "target_weight", task.system.input_weight)
    object.__setattr__(task.system, "target_bias", task.system.input_bias)
    batch = task.sample(3, rng=71)
    np.testing.assert_array_equal(batch.targets[:, :-1], batch.inputs[:, 1:])


def test_the_matrix_of_the_dynamics_is_orthogonal():
    for seed in (5, 6, 7):
        A = LowRankForecast(system_seed=seed).system.rotation
        np.testing.assert_allclose(A @ A.T, np.eye(10), atol=default_tolerance(np.float64, 10))


def test_the_matrix_of_the_dynamics_is_uniform():
    """Entries of a uniform orthogonal matrix have mean 0 and variance 1 / L; QR alone has not."""
    matrices = np.array(
        [LowRankForecast(**SMALL, system_seed=seed).system.rotation for seed in range(100, 900)]
    )
    assert np.abs(matrices.mean(axis=0)).max() < 5 * (1 / 3 / 800) ** 0.5
    fourth = 3 / (3 * 5)
    assert np.abs((matrices**2).mean(axis=0) - 1 / 3).max() < 5 * ((fourth - 1 / 9) / 800) ** 0.5


def test_phases_have_the_stated_deviation():
    squares = []
    for seed in range(200, 260):
        system = LowRankForecast(gain=1.5, n_embedded_outputs=90, system_seed=seed).system
        state = np.random.default_rng(seed).standard_normal((10, 50))
        squares.append(
            [
                np.mean((weight @ system.observation @ state) ** 2)
                for weight in (system.input_weight, system.target_weight)
            ]
        )
    squares = np.array(squares)
    error = squares.std(axis=0) / squares.shape[0] ** 0.5
    assert (np.abs(squares.mean(axis=0) - 1.5**2) < 5 * error).all()


def test_the_system_is_fixed_by_its_seed_alone():
    first, again = LowRankForecast(n_steps=4), LowRankForecast(n_steps=9, evaluation_seed=3)
    other = LowRankForecast(n_steps=4, system_seed=first.system_seed + 1)
    for name in vars(first.system):
        np.testing.assert_array_equal(getattr(first.system, name), getattr(again.system, name))
        assert not np.array_equal(getattr(first.system, name), getattr(other.system, name))


def test_evaluation_trials_follow_their_seed_and_no_seed_of_samples():
    task = LowRankForecast(noise_std=0)
    batch = task.evaluation_batch(6)
    other = LowRankForecast(evaluation_seed=task.evaluation_seed + 1).evaluation_batch(6)
    assert not np.array_equal(batch.inputs, other.inputs)
    assert not np.array_equal(batch.inputs, task.sample(6, rng=task.evaluation_seed).inputs)


def test_observations_have_the_rank_of_the_latent_state():
    task = LowRankForecast(noise_std=0, gain=1e-3)
    batch = task.sample(40, rng=83)
    centred = np.arcsin(batch.inputs) - np.arcsin(np.sin(task.system.input_bias))
    values = np.linalg.svd(centred.reshape(-1, 100), compute_uv=False)
    floor = default_tolerance(np.float64, centred.size) * values[0]
    assert values[9] > floor / task.gain
    # Where the bias is near a turning point of the sine, arcsine loses half the digits.
    assert values[10] < values[9] / 10


def test_a_latent_state_of_one_dimension():
    batch = LowRankForecast(n_latent=1, n_observed=2).sample(3, rng=5)
    assert set(batch.conditions) == {"latent_norm", "latent_1"}


def test_accuracy_is_the_explained_variance():
    task = LowRankForecast(**SMALL)
    batch = task.sample(50, rng=91)
    mean = batch.targets.mean(axis=(0, 1))
    tolerance = default_tolerance(np.float64, batch.targets.size)
    for share in (0.0, 0.5, 0.9):
        outputs = mean + share * (batch.targets - mean)
        expected = 1 - (1 - share) ** 2
        np.testing.assert_allclose(task.accuracy(outputs, batch), expected, atol=tolerance)
    assert task.accuracy(mean - 0.1 * (batch.targets - mean), batch) == 0


def test_accuracy_without_variance_is_all_or_nothing():
    task = LowRankForecast(**SMALL, n_steps=1)
    batch = task.sample(1, rng=3)
    assert task.accuracy(batch.targets, batch) == 1
    assert task.accuracy(batch.targets + 0.1, batch) == 0


def test_fewer_observations_than_latents_are_refused():
    with pytest.raises(InputError, match=r"n_observed must be at least n_latent = 12, .* got 11"):
        LowRankForecast(n_latent=12, n_observed=11)
