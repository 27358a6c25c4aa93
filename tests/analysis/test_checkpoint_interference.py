"""The interference that an analysis of a checkpoint holds."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics._validation import InputError, MemoryLimitError
from kpflow_numerics.analysis import ContributionIntegral, NetworkAnalysis, analyze_network

TASK = kpf.MultiTask(n_context=1, n_stimulus=2, n_memory=1, n_response=2)
CELL = kpf.LSTM(TASK.n_inputs, 5)
READOUT = kpf.init_readout(5, TASK.n_outputs, rng=91)
BARE = {"recipes": {}, "spectra": (), "quantities": ()}


def params(seed: int) -> dict[str, np.ndarray]:
    return CELL.init_params(gain=1.3, rng=seed)


def analyze(
    seed: int = 92, task: kpf.MultiTask | kpf.MemoryPro = TASK, n_trials: int = 8, **options
) -> NetworkAnalysis:
    cell = replace(CELL, n_inputs=task.n_inputs)
    weights = cell.init_params(gain=1.3, rng=seed)
    batch = options.pop("batch", task.evaluation_batch(n_trials))
    return analyze_network(cell, weights, batch, **({"readout": READOUT} | BARE | options))


def directly(seed: int, batch: kpf.TrialBatch) -> kpf.InterferenceResult:
    trajectory = kpf.simulate(CELL, params(seed), batch.inputs)
    error = kpf.state_error(trajectory, READOUT, batch.targets, mask=batch.mask)
    lin = kpf.linearize(trajectory)
    return kpf.interference(lin, error, batch.task_ids, names=batch.task_names)


def test_it_is_what_the_functions_give() -> None:
    batch = TASK.evaluation_batch(8)
    found, wanted = analyze().interference, directly(92, batch)
    assert found.names == batch.task_names
    for name in ("matrix", "cosines", "contribution_cosines"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
    np.testing.assert_array_equal(
        found.accumulated_contribution_cosines, wanted.contribution_cosines
    )
    trajectory = kpf.simulate(CELL, params(92), batch.inputs)
    similarity = kpf.task_similarity(trajectory.states, batch.task_ids)
    np.testing.assert_array_equal(found.state_similarity, similarity)
    by_cell = [part for name, part in found.by_parameter.items() if "readout" not in name]
    np.testing.assert_allclose(np.sum(by_cell, axis=0), found.matrix, rtol=1e-10, atol=1e-14)
    norm = kpf.loss_and_gradient(CELL, params(92), READOUT, batch).norm
    assert found.full_matrix.sum() == pytest.approx(norm**2, rel=1e-10)
    assert np.abs(found.full_cosines - found.cosines).max() > 1e-3
    np.testing.assert_allclose(found.full_cosines.diagonal(), 1.0)


def test_contributions_are_integrated_over_calls() -> None:
    iterations, seeds = (0, 10, 40), (92, 93, 94)
    integral = ContributionIntegral()
    analyses = [
        analyze(seed, iteration=iteration, contributions=integral)
        for seed, iteration in zip(seeds, iterations, strict=True)
    ]
    results = [directly(seed, TASK.evaluation_batch(8)) for seed in seeds]
    wanted = kpf.accumulated_contribution_cosines(results, times=iterations)
    for analysis, matrix in zip(analyses, wanted, strict=True):
        found = analysis.interference.accumulated_contribution_cosines
        np.testing.assert_allclose(found, matrix, atol=1e-12)
    alone = analyze(94, iteration=40).interference.accumulated_contribution_cosines
    assert np.abs(alone - wanted[-1]).max() > 1e-3


def test_tasks_without_trials_are_left_out() -> None:
    batch = TASK.evaluation_batch(8)
    some = batch.select(np.isin(batch.task_ids, (1, 3)))
    found = analyze(batch=some).interference
    assert found.names == ("memory-anti", "delay-anti")
    whole = analyze().interference.cosines
    # The mean of the loss is over half the trials; directions stay.
    np.testing.assert_allclose(found.cosines, whole[np.ix_([1, 3], [1, 3])], atol=1e-12)


def test_conditions_within_a_task() -> None:
    task = kpf.MemoryPro(n_stimulus=2, n_memory=1, n_response=2)
    batch = task.evaluation_batch(3)
    repeated = batch.select([0, 1, 2, 1])
    found = analyze(task=task, batch=repeated, interference="conditions").interference
    assert found.names == ("angle 0", "angle 2.09", "angle 4.19")
    assert analyze(task=task, batch=batch).interference is None
    pairs = analyze(interference="conditions").interference
    assert len(pairs.names) == 8
    assert pairs.names[2] == "memory-anti, angle 0"
    by_task = analyze().interference.matrix
    summed = pairs.matrix.reshape(4, 2, 4, 2).sum(axis=(1, 3))
    np.testing.assert_allclose(summed, by_task, rtol=1e-10, atol=1e-14)


def test_where_there_is_none() -> None:
    assert analyze(interference="none").interference is None
    assert analyze(readout=None).interference is None


def test_what_cannot_be_done_is_refused() -> None:
    with pytest.raises(InputError, match="interference must be one of 'tasks', 'conditions'"):
        analyze(interference="task")
    with pytest.raises(MemoryLimitError, match="between 4 tasks takes .* more than max_memory"):
        analyze(max_memory=10_000)
    batch = TASK.evaluation_batch(8)
    bare = kpf.TrialBatch(batch.inputs, batch.targets, task_ids=batch.task_ids,
                          task_names=batch.task_names)  # fmt: skip
    with pytest.raises(InputError, match="needs a batch with a condition table"):
        analyze(batch=bare, interference="conditions")


def test_the_sign_is_of_what_the_analyses_hold() -> None:
    analyses = [analyze(seed, iteration=seed) for seed in (92, 93)]
    sign = kpf.failure_signs(analyses)[2]
    means = np.mean([analysis.interference.cosines for analysis in analyses], axis=0)
    pairs = {pair: -means[pair] for pair in itertools.combinations(range(4), 2)}
    worst = max(pairs, key=pairs.get)
    assert sign.estimate.value == pytest.approx(pairs[worst], abs=1e-12)
    assert all(TASK.evaluation_batch(8).task_names[place] in sign.meaning for place in worst)
    planted = replace(analyses[0].interference, matrix=-0.9 * np.ones((4, 4)) + 1.9 * np.eye(4))
    raised = kpf.failure_signs([replace(analyses[0], interference=planted)])[2]
    assert raised.verdict == "raised"
    assert raised.estimate.value == pytest.approx(0.9)
