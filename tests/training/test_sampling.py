"""Where trials come from: fresh or from a pool, and the same bits after a restore."""

from __future__ import annotations

import json

import numpy as np
import pytest

from kpflow_numerics.tasks import FlipFlop, MemoryPro
from kpflow_numerics.training.sampling import make_source, restore_source, state_to_json

BIT_GENERATORS = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")
TASK = MemoryPro(n_stimulus=2, n_memory=1, n_response=2)


def generator(name="PCG64", seed=31):
    return np.random.Generator(getattr(np.random, name)(seed))


def inputs(source, count):
    return [source.next_batch().inputs for _ in range(count)]


@pytest.mark.parametrize("n_samples", [None, 7, 12])
@pytest.mark.parametrize("name", BIT_GENERATORS)
@pytest.mark.parametrize("n_before", [0, 1, 2, 3, 5])
def test_a_restored_source_gives_the_same_batches(n_samples, name, n_before):
    source = make_source(TASK, 3, generator(name), np.float64, n_samples)
    inputs(source, n_before)
    stored = state_to_json(source.state())
    expected = inputs(source, 6)
    restored = restore_source(stored, TASK, 3, np.float64, n_samples)
    assert state_to_json(restored.state()) == stored
    for found, wanted in zip(inputs(restored, 6), expected, strict=True):
        assert found.tobytes() == wanted.tobytes()


def test_a_generator_with_half_a_number_left_is_restored():
    source_generator = generator()
    source_generator.integers(5, dtype=np.uint32)
    source = make_source(FlipFlop(n_steps=5), 3, source_generator, np.float64, None)
    restored = restore_source(
        state_to_json(source.state()), FlipFlop(n_steps=5), 3, np.float64, None
    )
    assert inputs(restored, 1)[0].tobytes() == inputs(source, 1)[0].tobytes()


def test_fresh_trials_are_those_of_the_task():
    source = make_source(TASK, 4, generator(), np.float32, None)
    reference = generator()
    for _ in range(3):
        batch, expected = source.next_batch(), TASK.sample(4, reference)
        assert batch.dtype == np.float32
        np.testing.assert_array_equal(batch.inputs, expected.inputs.astype(np.float32))
        np.testing.assert_array_equal(batch.targets, expected.targets.astype(np.float32))


@pytest.mark.parametrize("n_samples", [12, 14])
def test_each_pass_takes_every_trial_of_the_pool_at_most_once_and_in_a_new_order(n_samples):
    source = make_source(TASK, 4, generator(), np.float64, n_samples)
    pool = TASK.sample(n_samples, generator()).conditions["angle"]
    passes = [
        np.concatenate([source.next_batch().conditions["angle"] for _ in range(3)])
        for _ in range(3)
    ]
    for angles in passes:
        assert len(np.unique(angles)) == 12
        assert set(angles) <= set(pool)
    assert not np.array_equal(passes[0], passes[1])
    assert not np.array_equal(passes[1], passes[2])


def test_a_pool_of_one_batch_is_used_whole_every_time():
    source = make_source(TASK, 4, generator(), np.float64, 4)
    first, second = (np.sort(source.next_batch().conditions["angle"]) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def stored_state(n_samples=None):
    return state_to_json(make_source(TASK, 3, generator(), np.float64, n_samples).state())


@pytest.mark.parametrize(
    ("stored", "wanted", "match"),
    [
        (None, 6, "drew fresh trials.*would draw a pool of 6 trials. Resume with n_samples=None"),
        (6, None, "drew a pool of 6 trials.*would draw fresh trials.*Resume with n_samples=6"),
        (6, 7, "drew a pool of 6 trials; this one would draw a pool of 7 trials"),
    ],
)
def test_another_kind_of_source_is_refused(stored, wanted, match):
    with pytest.raises(ValueError, match=match):
        restore_source(stored_state(stored), TASK, 3, np.float64, wanted)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", "{}", '{"generator": {"bit_generator": "system"}}', None],
)
def test_a_state_that_cannot_be_read_is_refused(text):
    with pytest.raises(ValueError, match="rng_state cannot be read: it must be the JSON text"):
        restore_source(text, TASK, 3, np.float64, None)


def test_a_damaged_generator_is_refused():
    state = json.loads(stored_state())
    del state["generator"]["state"]
    with pytest.raises(ValueError, match=r"rng_state cannot be read.*KeyError"):
        restore_source(json.dumps(state), TASK, 3, np.float64, None)
