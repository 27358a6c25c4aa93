"""The laws that every task obeys."""

from __future__ import annotations

import json
import pickle
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
import threadpoolctl

from kpflow_numerics._validation import InputError, InputTypeError
from kpflow_numerics.tasks import TASKS, FlipFlop, MemoryPro, MultiTask, task_from_config
from kpflow_numerics.training import loss_of_task
from tests.cases.tasks import TASK_CASES, assert_batches_equal, assert_white_noise

WITHOUT_PERIODS = ("flip-flop", "low-rank-forecast", "characters")
every_task = pytest.mark.parametrize("task", TASK_CASES.values(), ids=TASK_CASES)


def test_the_cases_cover_every_task():
    assert {task.name for task in TASK_CASES.values()} == set(TASKS)


@every_task
@pytest.mark.parametrize("n_trials", [1, 2, 9])
def test_shapes_and_types(task, n_trials):
    for batch in (task.sample(n_trials, rng=311), task.evaluation_batch(n_trials)):
        assert batch.inputs.shape == (n_trials, task.n_steps, task.n_inputs)
        assert batch.targets.shape == (n_trials, task.n_steps, task.n_outputs)
        assert (batch.n_inputs, batch.n_outputs) == (task.n_inputs, task.n_outputs)
        assert {a.dtype for a in (batch.inputs, batch.targets, batch.mask)} == {np.dtype("f8")}
        np.testing.assert_array_equal(batch.mask, np.ones((n_trials, task.n_steps)))
        assert task.primary_condition in batch.conditions
        assert all(column.shape == (n_trials,) for column in batch.conditions.values())


@every_task
def test_every_channel_has_a_label_of_its_own(task):
    assert len(set(task.input_names)) == task.n_inputs
    assert len(set(task.output_names)) == task.n_outputs


@every_task
def test_periods_follow_each_other_and_fill_the_trial(task):
    end = 0
    for period in task.periods.values():
        assert period.start == end
        assert period.stop > period.start
        end = period.stop
    assert end in (0, task.n_steps)
    assert (end == 0) == (task.name in WITHOUT_PERIODS)


@every_task
def test_same_seed_same_bits(task):
    batch = task.sample(6, rng=2027)
    assert_batches_equal(batch, task.sample(6, rng=np.random.SeedSequence(2027)))
    assert_batches_equal(batch, replace(task).sample(6, rng=np.random.default_rng(2027)))
    assert not np.array_equal(batch.inputs, task.sample(6, rng=2028).inputs)
    assert_batches_equal(task.sample(2), task.sample(2, rng=0))


@every_task
def test_a_generator_goes_on(task):
    generator = np.random.default_rng(88)
    first, second = task.sample(3, rng=generator), task.sample(3, rng=generator)
    assert not np.array_equal(first.inputs, second.inputs)


@every_task
def test_bits_do_not_depend_on_the_number_of_threads(task):
    batches = []
    for threads in (1, 2):
        with threadpoolctl.threadpool_limits(threads):
            batches.append(replace(task).sample(70, rng=5))
    assert_batches_equal(*batches)


@every_task
def test_the_global_random_state_is_neither_used_nor_changed(task):
    np.random.seed(9)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first = task.evaluation_batch(5)
    sampled = task.sample(5, rng=23)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002
    np.random.seed(10)  # noqa: NPY002
    assert_batches_equal(first, task.evaluation_batch(5))
    assert_batches_equal(sampled, task.sample(5, rng=23))


@every_task
def test_samples_carry_input_noise_and_nothing_else(task):
    n_trials = 60 + 4000 // (task.n_steps * task.n_inputs)
    noisy = task.sample(n_trials, rng=4711)
    quiet = replace(task, noise_std=0).sample(n_trials, rng=4711)
    np.testing.assert_array_equal(noisy.targets, quiet.targets)
    for name, column in noisy.conditions.items():
        np.testing.assert_array_equal(column, quiet.conditions[name])
    assert_white_noise(noisy.inputs - quiet.inputs, task.noise_std)


@every_task
def test_evaluation_trials_carry_no_noise(task):
    assert_batches_equal(
        task.evaluation_batch(7), replace(task, noise_std=task.noise_std + 3).evaluation_batch(7)
    )


@pytest.mark.parametrize(
    ("plant", "message"),
    [
        (lambda z: z + 0.1, "mean"),
        (lambda z: 1.1 * z, "variance"),
        (lambda z: np.sign(z), "fourth moment"),
        (lambda z: z * np.sqrt([0.5, 1.0, 1.5]), "variance along axis 2|fourth"),
        (lambda z: np.repeat(z[:, :, :1], 3, axis=2), "along axis 2"),
        (lambda z: np.repeat(z[:1], 50, axis=0), "along axis 0|mean|variance|fourth"),
        (lambda z: (z + np.roll(z, 1, axis=1)) / 2**0.5, "along axis 1"),
    ],
)
def test_the_check_of_noise_sees_faults(plant, message):
    noise = np.random.default_rng(77).standard_normal((50, 40, 3))
    assert_white_noise(0.3 * noise, 0.3)
    with pytest.raises(AssertionError, match=message):
        assert_white_noise(0.3 * plant(noise), 0.3)


@pytest.mark.parametrize(
    "other",
    [
        MultiTask().sample(4, rng=6),
        MultiTask().sample(4, rng=5).select([1, 0, 2, 3]),
        replace(MultiTask(), noise_std=0).sample(4, rng=5),
        MultiTask().sample(4, rng=5).astype(np.float32),
    ],
)
def test_the_comparison_of_batches_sees_faults(other):
    with pytest.raises(AssertionError):
        assert_batches_equal(MultiTask().sample(4, rng=5), other)


@every_task
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_accuracy_is_one_on_targets_and_low_on_wrong_outputs(task, dtype):
    batch = task.evaluation_batch(24).astype(dtype)
    accuracy = task.accuracy(batch.targets, batch)
    assert type(accuracy) is float
    assert accuracy == 1.0
    assert task.accuracy(np.zeros_like(batch.targets), batch) < 0.45
    assert task.accuracy(-batch.targets, batch) < 0.45
    assert task.accuracy(np.roll(batch.targets, 11, axis=0), batch) < 0.6
    noise = 9 * np.random.default_rng(3).standard_normal(batch.targets.shape)
    assert 0 <= task.accuracy(noise, batch) < 0.4


@every_task
def test_accuracy_counts_trials_of_delayed_responses(task):
    if "response" not in task.periods:
        assert task.name in WITHOUT_PERIODS
        return
    batch = task.evaluation_batch(24)
    outputs = np.where(np.arange(24)[:, None, None] < 18, batch.targets, -batch.targets)
    assert task.accuracy(outputs, batch) == 18 / 24


@every_task
def test_accuracy_counts_no_step_that_the_mask_leaves_out(task):
    batch = task.evaluation_batch(8)
    mask = np.ones_like(batch.mask)
    mask[:, -1] = 0
    wrong_at_the_end = batch.targets.copy()
    wrong_at_the_end[:, -1] = 1e4 * np.random.default_rng(6).standard_normal(
        wrong_at_the_end[:, -1].shape
    )
    assert task.accuracy(wrong_at_the_end, batch) < 1
    one_step_response = "response" in task.periods and task.n_response == 1
    expected = 0 if one_step_response else 1
    assert task.accuracy(wrong_at_the_end, replace(batch, mask=mask)) == expected


@every_task
def test_accuracy_says_what_it_counts(task):
    assert task.accuracy_meaning.startswith("fraction of ")
    assert len(task.accuracy_meaning.split()) >= 10


@every_task
def test_accuracy_refuses_what_it_cannot_judge(task):
    batch = task.evaluation_batch(3)
    with pytest.raises(InputError, match=r"outputs must have shape \(3, "):
        task.accuracy(batch.targets[:2], batch)
    diverged = batch.targets.copy()
    diverged[1, 0, 0] = np.nan
    with pytest.raises(InputError, match="outputs must be finite; 1 of"):
        task.accuracy(diverged, batch)
    with pytest.raises(InputTypeError, match="outputs must be real"):
        task.accuracy(batch.targets + 0j, batch)
    with pytest.raises(InputTypeError, match="batch must be a TrialBatch; got ndarray"):
        task.accuracy(batch.targets, batch.targets)
    other = FlipFlop(n_bits=4, n_steps=5).evaluation_batch(3)
    with pytest.raises(InputError, match=rf"batch must hold trials of {task.name} .*got \(5, 4"):
        task.accuracy(other.targets, other)


@every_task
def test_a_task_is_a_value(task):
    same = task_from_config(task.name, json.loads(json.dumps(task.to_dict())))
    assert same == task
    assert hash(same) == hash(task)
    assert type(same) is type(task)
    assert replace(task, noise_std=task.noise_std + 1) != task
    assert repr(task).startswith(type(task).__name__ + "(")
    with pytest.raises(FrozenInstanceError):
        task.noise_std = 2.0


def test_variants_with_the_same_options_differ():
    memory = [task() for name, task in TASKS.items() if "memory" in name or "delay" in name]
    assert len(set(memory)) == len(memory) == 8


@every_task
def test_tasks_and_batches_can_be_pickled(task):
    batch = task.sample(3, rng=17)
    copy = pickle.loads(pickle.dumps(task))
    assert copy == task
    assert_batches_equal(batch, pickle.loads(pickle.dumps(batch)))
    assert_batches_equal(batch, copy.sample(3, rng=17))


@every_task
@pytest.mark.parametrize("method", ["sample", "evaluation_batch"])
def test_the_number_of_trials_is_checked(task, method):
    with pytest.raises(InputError, match="n_trials must be at least 1; got 0"):
        getattr(task, method)(0)
    for wrong in (2.0, "3", True, None):
        with pytest.raises(InputTypeError, match="n_trials must be an integer; got"):
            getattr(task, method)(wrong)
    assert getattr(task, method)(np.int32(2)).n_trials == 2


def test_the_seed_is_checked():
    with pytest.raises(InputError, match="rng must be a seed of at least 0; got -3"):
        MemoryPro().sample(2, rng=-3)
    for wrong in (None, 1.5, "7", np.random.RandomState(3)):
        with pytest.raises(InputTypeError, match="rng must be an integer seed"):
            MemoryPro().sample(2, rng=wrong)


_DELAYED = {"n_stimulus": 1, "n_memory": 0, "n_response": 1}
_MINIMA = {
    "memory-pro": _DELAYED,
    "memory-anti": _DELAYED,
    "delay-pro": _DELAYED,
    "delay-anti": _DELAYED,
    "memory-pro-one-hot": {**_DELAYED, "n_buckets": 2},
    "memory-anti-one-hot": {**_DELAYED, "n_buckets": 2},
    "delay-pro-one-hot": {**_DELAYED, "n_buckets": 2},
    "delay-anti-one-hot": {**_DELAYED, "n_buckets": 2},
    "multi-task": {**_DELAYED, "n_context": 1},
    "flip-flop": {"n_bits": 1, "n_steps": 1, "evaluation_seed": 0},
    "low-rank-forecast": {
        "n_latent": 1,
        "n_observed": 1,
        "n_embedded_inputs": 1,
        "n_embedded_outputs": 1,
        "n_steps": 1,
        "system_seed": 0,
        "evaluation_seed": 0,
    },
    "characters": {"n_steps": 1},
}
INTEGER_OPTIONS = [
    (name, option, minimum) for name in _MINIMA for option, minimum in _MINIMA[name].items()
]
REAL_OPTIONS = [
    *((name, "noise_std", "at least 0", -0.1) for name in TASKS),
    ("flip-flop", "mean_interval", "at least 1", 0.5),
    ("low-rank-forecast", "gain", "greater than 0", 0.0),
]


def test_every_option_is_among_those_tested():
    tested = {(name, option) for name, option, *_ in [*INTEGER_OPTIONS, *REAL_OPTIONS]}
    tested |= {("characters", "loss")}
    assert tested == {(name, option) for name in TASKS for option in TASKS[name]().to_dict()}


@pytest.mark.parametrize(("name", "option", "minimum"), INTEGER_OPTIONS)
def test_integer_options_are_checked(name, option, minimum):
    with pytest.raises(InputError, match=f"{option} must be at least {minimum}; got {minimum - 1}"):
        TASKS[name](**{option: minimum - 1})
    for wrong in (30.0, "30", True, None):
        with pytest.raises(InputTypeError, match=f"{option} must be an integer; got"):
            TASKS[name](**{option: wrong})
    smallest = {"n_latent": 1} if option == "n_observed" else {}
    held = getattr(TASKS[name](**{option: np.int64(minimum), **smallest}), option)
    assert type(held) is int
    assert held == minimum


@pytest.mark.parametrize(("name", "option", "bound", "below"), REAL_OPTIONS)
def test_real_options_are_checked(name, option, bound, below):
    for wrong in (below, np.nan, np.inf):
        with pytest.raises(InputError, match=f"{option} must be finite and {bound}; got"):
            TASKS[name](**{option: wrong})
    for wrong in ("0.1", True, None, 1j):
        with pytest.raises(InputTypeError, match=f"{option} must be a real number; got"):
            TASKS[name](**{option: wrong})
    assert type(getattr(TASKS[name](**{option: np.float32(3)}), option)) is float


@pytest.mark.parametrize("name", TASKS)
def test_a_trial_of_the_smallest_size(name):
    tiny = TASKS[name](**_MINIMA[name])
    batch = tiny.sample(1, rng=12)
    assert batch.n_steps == tiny.n_steps <= 3
    assert tiny.accuracy(batch.targets, batch) == 1.0


@every_task
def test_batches_name_the_loss_of_their_task(task):
    for batch in (task.sample(3, rng=313), task.evaluation_batch(3)):
        for part in (batch, batch.select([1]), batch.astype("float32")):
            assert part.loss_name == task.loss_name


@every_task
def test_the_loss_is_one_that_training_has(task):
    loss_of_task(task).check_targets(
        *[getattr(task.evaluation_batch(5), key) for key in ("targets", "mask")]
    )
