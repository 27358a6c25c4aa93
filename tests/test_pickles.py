"""Results that were pickled, as a worker process sends them."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics import results

CELL = kpf.GRU(3, 4)
TASK = kpf.MemoryPro(n_stimulus=2, n_memory=1, n_response=2)
BATCH = TASK.evaluation_batch(3)
TRAJECTORY = kpf.simulate(CELL, CELL.init_params(rng=3), BATCH.inputs)
LIN = kpf.linearize(TRAJECTORY)
K, KERNEL = kpf.ParameterOperator(LIN), kpf.TangentKernel(LIN)
READOUT = kpf.init_readout(4, 3, rng=5)
REPORT = kpf.validate(TRAJECTORY, targets=BATCH, readout=READOUT)
ERROR = kpf.state_error(TRAJECTORY, READOUT, BATCH)

RESULTS = (
    kpf.trace(KERNEL, "hutchinson", n_matvecs=20),
    kpf.top_eigenpairs(KERNEL, 3),
    kpf.top_singular_triplets(kpf.Propagator(LIN), 3),
    kpf.eigenvalues(KERNEL),
    kpf.partial_trace(K, ("trial", "time")),
    kpf.spectral_density(KERNEL, n_steps=5),
    kpf.schmidt_decomposition(K),
    kpf.learning_rule_alignments(
        {"bptt": KERNEL, "truncated": kpf.TruncatedBPTT(LIN, 1)}, errors=ERROR
    ),
    kpf.self_referential_bias(LIN, ERROR),
    kpf.spatial_rank(CELL.init_params(rng=3)["weight_hh"][:4]),
    kpf.train(CELL, TASK, n_iterations=2, batch_size=3, rng=7),
    K.product_cost(2),
    REPORT,
    REPORT.checks[0],
    TRAJECTORY,
    BATCH,
)


def assert_same(copy: Any, original: Any) -> None:
    """Assert that two results have the same kind and numbers, all the way down."""
    assert type(copy) is type(original)
    if dataclasses.is_dataclass(original):
        for field in dataclasses.fields(original):
            assert_same(getattr(copy, field.name), getattr(original, field.name))
    elif isinstance(original, Mapping):
        assert list(copy) == list(original)
        assert_same(tuple(copy.values()), tuple(original.values()))
    elif isinstance(original, (tuple, list)):
        assert len(copy) == len(original)
        for ours, theirs in zip(copy, original, strict=True):
            assert_same(ours, theirs)
    else:
        np.testing.assert_array_equal(copy, original)


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: type(result).__name__)
def test_results_can_be_pickled(result: Any) -> None:
    assert_same(pickle.loads(pickle.dumps(result)), result)


def test_every_result_is_among_them() -> None:
    public = {
        value
        for value in vars(results).values()
        if isinstance(value, type) and dataclasses.is_dataclass(value)
    }
    assert public - {type(result) for result in RESULTS} == {results.Checkpoint}


def test_a_changed_copy_is_caught() -> None:
    changed = dataclasses.replace(RESULTS[1], residual_norms=RESULTS[1].residual_norms + 1.0)
    with pytest.raises(AssertionError):
        assert_same(changed, RESULTS[1])
