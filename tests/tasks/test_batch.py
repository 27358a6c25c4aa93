"""Batches of trials: what they hold, how they are cut, and what they refuse."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from kpflow_numerics._validation import InputError, InputTypeError
from kpflow_numerics.tasks import MultiTask, TrialBatch

INPUTS = np.random.default_rng(21).standard_normal((5, 7, 3))
TARGETS = np.random.default_rng(22).standard_normal((5, 7, 2))


def test_defaults():
    batch = TrialBatch(INPUTS, TARGETS)
    assert (batch.n_trials, batch.n_steps, batch.n_inputs, batch.n_outputs) == (5, 7, 3, 2)
    np.testing.assert_array_equal(batch.mask, np.ones((5, 7)))
    np.testing.assert_array_equal(batch.task_ids, np.zeros(5, dtype=np.int64))
    assert batch.task_names == ("task",)
    assert batch.conditions == {}
    assert batch.loss_name is None
    with pytest.raises(FrozenInstanceError):
        batch.inputs = INPUTS


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_inputs_set_the_precision(dtype):
    batch = TrialBatch(INPUTS.astype(dtype), TARGETS, np.ones((5, 7)), task_ids=[0] * 5)
    assert batch.dtype == batch.inputs.dtype == batch.targets.dtype == batch.mask.dtype == dtype
    assert batch.task_ids.dtype == np.int64
    assert batch.inputs.flags.c_contiguous


def test_integers_become_float64():
    assert TrialBatch(np.ones((1, 2, 3), dtype=int), [[[0], [1]]]).targets.dtype == np.float64


@pytest.mark.parametrize(
    ("trials", "rows"),
    [
        (2, [2]),
        (-1, [4]),
        (np.int64(3), [3]),
        ([3, 0, 3], [3, 0, 3]),
        (slice(1, None, 2), [1, 3]),
        (np.array([True, False, False, True, False]), [0, 3]),
        ([False, True, False, False, False], [1]),
    ],
)
def test_select(trials, rows):
    batch = MultiTask().sample(5, rng=31).select(trials)
    whole = MultiTask().sample(5, rng=31)
    for name in ("inputs", "targets", "mask", "task_ids"):
        np.testing.assert_array_equal(getattr(batch, name), getattr(whole, name)[rows])
    for name, column in whole.conditions.items():
        np.testing.assert_array_equal(batch.conditions[name], column[rows])
    assert batch.task_names == whole.task_names
    batch.inputs[:] = 0
    assert whole.inputs.any()


@pytest.mark.parametrize("trials", [slice(1, 3), slice(None)])
def test_a_selection_is_a_copy(trials):
    whole = TrialBatch(INPUTS.copy(), TARGETS, conditions={"c": np.arange(5)})
    part = whole.select(trials)
    part.inputs[:] = 7
    part.conditions["c"][:] = 7
    np.testing.assert_array_equal(whole.inputs, INPUTS)
    np.testing.assert_array_equal(whole.conditions["c"], np.arange(5))


@pytest.mark.parametrize(
    ("trials", "message"),
    [
        (5, "trials must index the 5 trials of the batch"),
        ([0, -6], "trials must index the 5 trials of the batch"),
        ([True, False], "trials must index the 5 trials of the batch"),
        (slice(2, 2), r"trials must select at least one trial along one axis; got shape \(0,\)"),
        ([], r"trials must select at least one trial along one axis; got shape \(0,\)"),
        (np.zeros(5, dtype=bool), "trials must select at least one trial"),
        ([[0, 1], [2]], "trials must be a rectangular array"),
        ([[0, 1], [2, 3]], r"along one axis; got shape \(2, 2\)"),
    ],
)
def test_select_refuses_trials_that_do_not_exist(trials, message):
    with pytest.raises(InputError, match=message):
        TrialBatch(INPUTS, TARGETS).select(trials)


@pytest.mark.parametrize("trials", [1.0, "0", [0.5], None])
def test_select_refuses_what_is_no_index(trials):
    with pytest.raises(InputTypeError, match="trials must be an integer, a slice, integers or"):
        TrialBatch(INPUTS, TARGETS).select(trials)


def test_astype():
    batch = MultiTask().sample(3, rng=11)
    single = batch.astype("float32")
    assert {single.inputs.dtype, single.targets.dtype, single.mask.dtype} == {np.dtype("f4")}
    np.testing.assert_array_equal(single.inputs, batch.inputs.astype("f4"))
    assert single.conditions["angle"].dtype == np.float64
    assert batch.dtype == np.float64
    assert single.astype(np.float64).dtype == np.float64
    with pytest.raises(InputTypeError, match="dtype must be float32 or float64; got float16"):
        batch.astype(np.float16)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"inputs": INPUTS[0]}, InputError, r"inputs must have shape \(B, T, I\); got \(7, 3\)"),
        ({"inputs": INPUTS[:, :0]}, InputError, r"inputs must have shape \(B, T, I\)"),
        ({"inputs": INPUTS + 1j}, InputTypeError, "inputs must be real"),
        ({"inputs": INPUTS * np.nan}, InputError, "inputs must be finite; 105 of its 105"),
        ({"targets": TARGETS[:4]}, InputError, r"targets must have shape \(5, 7, O\); got \(4,"),
        ({"targets": TARGETS[:, :6]}, InputError, r"targets must have shape \(5, 7, O\)"),
        ({"targets": TARGETS * np.inf}, InputError, "targets must be finite"),
        ({"mask": np.ones((5, 6))}, InputError, r"mask must have shape \(5, 7\); got \(5, 6\)"),
        (
            {"mask": -np.eye(5, 7)},
            InputError,
            "mask must be non-negative; its smallest entry is -1",
        ),
        ({"mask": np.zeros((5, 7))}, InputError, "mask must have at least one positive entry"),
        ({"mask": np.full((5, 7), np.inf)}, InputError, "mask must be finite"),
        ({"conditions": [1, 2]}, InputTypeError, "conditions must map names to one value a trial"),
        ({"conditions": {3: np.arange(5)}}, InputTypeError, "names that are strings; got 3"),
        (
            {"conditions": {"angle": np.arange(4)}},
            InputError,
            r"conditions\['angle'\] must have shape \(5,\), a value for each trial; got \(4,\)",
        ),
        (
            {"conditions": {"x": [[1], [1, 2], 3, 4, 5]}},
            InputError,
            r"conditions\['x'\] must be a rectangular array",
        ),
        (
            {"conditions": {"x": [None] * 5}},
            InputTypeError,
            r"conditions\['x'\] must hold numbers, booleans or strings; got dtype object",
        ),
        ({"task_ids": [[1], 2]}, InputError, "task_ids must be a rectangular array"),
        ({"task_ids": np.zeros(5)}, InputTypeError, "task_ids must be integers; got dtype float64"),
        ({"task_ids": [0, 0]}, InputError, r"task_ids must have shape \(5,\); got \(2,\)"),
        ({"task_ids": [0, 0, 1, 0, 0]}, InputError, "task_ids must be from 0 to 0, an index into"),
        ({"task_ids": [0, 0, -1, 0, 0]}, InputError, "got values from -1 to 0"),
        (
            {"task_names": "ab"},
            InputTypeError,
            "task_names must be a sequence of strings; got 'ab'",
        ),
        ({"task_names": (1,)}, InputTypeError, "task_names must be a sequence of strings"),
        ({"task_names": ()}, InputError, "task_names must name at least one task"),
        ({"task_names": 3}, InputTypeError, "task_names must be a sequence of strings; got 3"),
        ({"loss_name": 3}, InputTypeError, "loss_name must be the name of a loss.*or None; got 3"),
    ],
)
def test_what_a_batch_refuses(arguments, error, message):
    with pytest.raises(error, match=message):
        TrialBatch(**{"inputs": INPUTS, "targets": TARGETS, **arguments})
