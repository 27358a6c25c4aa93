"""The delayed-response tasks: what a trial holds, and which answers are right."""

from __future__ import annotations

import numpy as np
import pytest

from kpflow_numerics.tasks import (
    DelayAnti,
    DelayAntiOneHot,
    DelayPro,
    DelayProOneHot,
    MemoryAnti,
    MemoryAntiOneHot,
    MemoryPro,
    MemoryProOneHot,
    MultiTask,
    TrialBatch,
)
from tests.cases.tasks import assert_equally_spaced

PERIODS = {"n_stimulus": 4, "n_memory": 6, "n_response": 3}
RULES = {
    "memory-pro": (+1, False),
    "memory-anti": (-1, False),
    "delay-pro": (+1, True),
    "delay-anti": (-1, True),
}
ANGLE_TASKS = [MemoryPro, MemoryAnti, DelayPro, DelayAnti]
ONE_HOT_TASKS = [MemoryProOneHot, MemoryAntiOneHot, DelayProOneHot, DelayAntiOneHot]


def twin(code, rule, n_stimulus, n_memory, n_response):
    """Return inputs and targets of one trial, written step by step."""
    sign, sustained = RULES[rule]
    inputs, targets = [], []
    for step in range(n_stimulus + n_memory + n_response):
        fixating = step < n_stimulus + n_memory
        seen = sustained or step < n_stimulus
        inputs.append([float(fixating), *(value if seen else 0.0 for value in code)])
        targets.append([float(fixating), *(0.0 if fixating else sign * value for value in code)])
    return np.array(inputs), np.array(targets)


@pytest.mark.parametrize("task_type", ANGLE_TASKS)
def test_angle_trials_equal_the_twin(task_type):
    task = task_type(**PERIODS, noise_std=0)
    for batch in (task.sample(9, rng=41), task.evaluation_batch(9)):
        for trial, angle in enumerate(batch.conditions["angle"]):
            inputs, targets = twin((np.cos(angle), np.sin(angle)), task.name, **PERIODS)
            np.testing.assert_array_equal(batch.inputs[trial], inputs)
            np.testing.assert_array_equal(batch.targets[trial], targets)


@pytest.mark.parametrize("task_type", ONE_HOT_TASKS)
def test_one_hot_trials_equal_the_twin(task_type):
    task = task_type(**PERIODS, n_buckets=7, noise_std=0)
    rule = task.name.removesuffix("-one-hot")
    for batch in (task.sample(9, rng=41), task.evaluation_batch(9)):
        for trial, bucket in enumerate(batch.conditions["bucket"]):
            inputs, targets = twin([float(bucket == i) for i in range(7)], rule, **PERIODS)
            np.testing.assert_array_equal(batch.inputs[trial], inputs)
            np.testing.assert_array_equal(batch.targets[trial], targets)
        np.testing.assert_array_equal(
            batch.conditions["angle"], 2 * np.pi * batch.conditions["bucket"] / 7
        )


def test_multi_task_trials_equal_the_twin():
    task = MultiTask(**PERIODS, n_context=5, noise_std=0)
    for batch in (task.sample(23, rng=8), task.evaluation_batch(14)):
        assert batch.task_names == tuple(RULES)
        np.testing.assert_array_equal(batch.conditions["task"], batch.task_ids)
        for trial, angle in enumerate(batch.conditions["angle"]):
            rule = batch.task_names[batch.task_ids[trial]]
            inputs, targets = twin((np.cos(angle), np.sin(angle)), rule, **PERIODS)
            cue = [float(rule == name) for name in RULES]
            inputs = np.block([[np.tile([1.0, 0, 0, *cue], (5, 1))], [inputs, np.zeros((13, 4))]])
            targets = np.block([[np.tile([1.0, 0, 0], (5, 1))], [targets]])
            np.testing.assert_array_equal(batch.inputs[trial], inputs)
            np.testing.assert_array_equal(batch.targets[trial], targets)


def test_the_default_sizes_are_those_of_the_papers():
    task = MemoryPro()
    assert dict(task.periods) == {
        "stimulus": slice(0, 30),
        "memory": slice(30, 60),
        "response": slice(60, 90),
    }
    assert (task.n_steps, task.n_inputs, task.n_outputs) == (90, 3, 3)
    multi = MultiTask()
    assert dict(multi.periods) == {
        "context": slice(0, 30),
        "stimulus": slice(30, 60),
        "memory": slice(60, 90),
        "response": slice(90, 120),
    }
    assert (multi.n_steps, multi.n_inputs, multi.n_outputs) == (120, 7, 3)
    one_hot = MemoryProOneHot()
    assert (one_hot.n_steps, one_hot.n_inputs, one_hot.n_outputs) == (90, 31, 31)
    assert {task.noise_std, multi.noise_std, one_hot.noise_std} == {0.1 * np.sqrt(2)}


@pytest.mark.parametrize("network", ["gru_memory_pro_64", "rnn_memory_pro_64"])
def test_evaluation_trials_are_those_of_networks_trained_elsewhere(shared_data, network):
    with np.load(shared_data / "pytorch" / f"{network}_trajectory.npz") as file:
        inputs, targets, outputs = file["inputs"], file["targets"], file["outputs"]
    task = MemoryPro()
    batch = task.evaluation_batch(len(inputs)).astype(np.float32)
    np.testing.assert_array_equal(batch.inputs, inputs)
    np.testing.assert_array_equal(batch.targets, targets)
    # One of the two has learned the task, the other only when to respond.
    accuracy = task.accuracy(outputs, batch)
    assert accuracy == 1 if network.startswith("gru") else accuracy < 0.2


@pytest.mark.parametrize("task_type", ANGLE_TASKS)
@pytest.mark.parametrize("n_trials", [1, 2, 7, 16])
def test_evaluation_angles_are_equally_spaced(task_type, n_trials):
    assert_equally_spaced(task_type().evaluation_batch(n_trials).conditions["angle"])


def test_the_check_of_equal_spacing_sees_faults():
    angles = 2 * np.pi * np.arange(8) / 8
    assert_equally_spaced(angles)
    for wrong in (
        angles[::-1],
        angles + 0.01,
        np.linspace(0, 2 * np.pi, 8),
        angles[[0, *range(7)]],
    ):
        with pytest.raises(AssertionError, match="Not equal to tolerance"):
            assert_equally_spaced(wrong)


@pytest.mark.parametrize("task_type", [*ANGLE_TASKS, MultiTask])
def test_sampled_angles_are_uniform(task_type):
    angles = (
        task_type(n_stimulus=1, n_memory=0, n_response=1).sample(4000, rng=19).conditions["angle"]
    )
    assert angles.min() >= 0
    assert angles.max() < 2 * np.pi
    # The distance of the distribution functions exceeds 1.95 / sqrt(B) once in a thousand seeds.
    distance = np.abs(np.sort(angles) / (2 * np.pi) - np.arange(4000) / 4000).max()
    assert distance < 1.95 / 4000**0.5


@pytest.mark.parametrize("n_buckets", [2, 5, 30])
def test_sampled_buckets_are_uniform(n_buckets):
    task = MemoryProOneHot(n_stimulus=1, n_memory=0, n_response=1, n_buckets=n_buckets)
    counts = np.bincount(task.sample(3000, rng=29).conditions["bucket"], minlength=n_buckets)
    expected = 3000 / n_buckets
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert chi_square < n_buckets - 1 + 5 * (2 * (n_buckets - 1)) ** 0.5


@pytest.mark.parametrize(("n_trials", "n_buckets"), [(1, 5), (3, 30), (30, 30), (7, 5), (60, 30)])
def test_evaluation_buckets_are_spread_evenly(n_trials, n_buckets):
    buckets = MemoryProOneHot(n_buckets=n_buckets).evaluation_batch(n_trials).conditions["bucket"]
    counts = np.bincount(buckets, minlength=n_buckets)
    assert np.ptp(counts) <= 1
    assert set(np.diff(buckets)) <= {n_buckets // n_trials, -(-n_buckets // n_trials)}


@pytest.mark.parametrize("n_trials", [1, 3, 4, 10, 40])
def test_evaluation_trials_are_divided_evenly_among_tasks(n_trials):
    batch = MultiTask().evaluation_batch(n_trials)
    counts = np.bincount(batch.task_ids, minlength=4)
    assert counts.sum() == n_trials
    assert np.ptp(counts) <= 1
    assert (np.diff(batch.task_ids) >= 0).all()
    for task_id in range(min(4, n_trials)):
        assert_equally_spaced(batch.conditions["angle"][batch.task_ids == task_id])


def test_sampled_tasks_are_uniform_and_independent_of_the_angle():
    batch = MultiTask(n_stimulus=1, n_memory=0, n_response=1, n_context=1).sample(4000, rng=13)
    counts = np.bincount(batch.task_ids, minlength=4)
    assert np.abs(counts - 1000).max() < 5 * 750**0.5
    for task_id in range(4):
        angles = batch.conditions["angle"][batch.task_ids == task_id]
        assert np.hypot(np.cos(angles).mean(), np.sin(angles).mean()) < 5 / angles.size**0.5


def rotated(values, degrees):
    """Return the values with the angle channels turned."""
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    turned = values.copy()
    turned[..., 1] = cos * values[..., 1] - sin * values[..., 2]
    turned[..., 2] = sin * values[..., 1] + cos * values[..., 2]
    return turned


@pytest.mark.parametrize("task", [MemoryPro(), MemoryAnti(), DelayPro(), DelayAnti(), MultiTask()])
def test_an_angle_is_right_within_eighteen_degrees(task):
    batch = task.evaluation_batch(20)
    for degrees, expected in [(17.9, 1), (-17.9, 1), (18.1, 0), (-18.1, 0), (90, 0), (180, 0)]:
        assert task.accuracy(rotated(batch.targets, degrees), batch) == expected
    assert task.accuracy(0.01 * batch.targets, batch) == 1


@pytest.mark.parametrize("task_types", [(MemoryPro, MemoryAnti), (DelayPro, DelayAnti)])
def test_answers_of_the_opposite_task_are_wrong(task_types):
    pro, anti = (task_type() for task_type in task_types)
    batch, opposite = pro.evaluation_batch(12), anti.evaluation_batch(12)
    assert pro.accuracy(opposite.targets, batch) == 0
    assert anti.accuracy(batch.targets, opposite) == 0


@pytest.mark.parametrize(
    "task_types", [(MemoryProOneHot, MemoryAntiOneHot), (DelayProOneHot, DelayAntiOneHot)]
)
def test_one_hot_answers_of_the_opposite_task_are_wrong(task_types):
    pro, anti = (task_type() for task_type in task_types)
    batch, opposite = pro.evaluation_batch(30), anti.evaluation_batch(30)
    assert pro.accuracy(opposite.targets, batch) == 0
    assert anti.accuracy(batch.targets, opposite) == 0


@pytest.mark.parametrize("task", [MemoryProOneHot(), MemoryAntiOneHot()])
def test_the_neighbouring_bucket_is_wrong(task):
    batch = task.evaluation_batch(30)
    outputs = batch.targets.copy()
    outputs[:, :, 1:] = np.roll(outputs[:, :, 1:], 1, axis=2)
    assert task.accuracy(outputs, batch) == 0
    assert task.accuracy(0.6 * batch.targets + 0.4 * outputs, batch) == 1


@pytest.mark.parametrize("task", [MemoryPro(), MemoryProOneHot(), MultiTask()])
def test_accuracy_averages_over_the_response_alone(task):
    batch = task.evaluation_batch(12)
    response = task.periods["response"]
    outputs = np.random.default_rng(5).standard_normal(batch.targets.shape)
    outputs[:, response] = batch.targets[:, response]
    swing = np.where(np.arange(task.n_response) % 2, 50.0, -50.0)
    outputs[:, response, 1:] += swing[:, np.newaxis]
    assert task.accuracy(outputs, batch) == 1


@pytest.mark.parametrize("task_type", [*ANGLE_TASKS, *ONE_HOT_TASKS, MultiTask])
def test_no_answer_is_a_wrong_answer(task_type):
    batch = task_type().evaluation_batch(8)
    silent = batch.targets * np.array([1.0, *(0.0,) * (batch.n_outputs - 1)])
    assert task_type().accuracy(silent, batch) == 0


def test_accuracy_of_each_task_of_a_mixture():
    task = MultiTask()
    batch = task.evaluation_batch(40)
    always_pro = np.where(
        np.isin(batch.task_ids, [1, 3])[:, None, None] & (np.arange(3) > 0),
        -batch.targets,
        batch.targets,
    )
    assert task.accuracy(always_pro, batch) == 0.5
    for task_id, expected in enumerate([1, 0, 1, 0]):
        chosen = batch.task_ids == task_id
        assert task.accuracy(always_pro[chosen], batch.select(chosen)) == expected


def test_a_trial_without_weight_in_the_response_counts_as_wrong():
    task = MemoryPro()
    batch = task.evaluation_batch(4)
    mask = np.ones_like(batch.mask)
    mask[1, task.periods["response"]] = 0
    masked = TrialBatch(batch.inputs, batch.targets, mask)
    assert task.accuracy(batch.targets, masked) == 0.75
