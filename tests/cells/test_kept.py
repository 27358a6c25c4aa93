"""Derivatives from what a simulation keeps are those computed from the previous states."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics.testing import default_tolerance
from kpflow_numerics.trajectory import simulate_keeping
from tests.cases.cells import EDGE_CASES, FLOAT32_CASES, LOW_RANK_CASES, SITE_CASES, CellCase
from tests.cases.cells_large import LARGE_CASES

ALL_CASES = SITE_CASES + EDGE_CASES + FLOAT32_CASES + LOW_RANK_CASES + LARGE_CASES
KEEPING = (kpf.VanillaRNN, kpf.GRU, kpf.LSTM)


def keeping(case: CellCase) -> kpf.Trajectory:
    plain = case.trajectory()
    return simulate_keeping(case.cell, plain.params, plain.inputs, plain.h0)


def largest_difference(trajectory: kpf.Trajectory) -> float:
    """Return that of gains and carry, relative to the tolerance."""
    found = kpf.linearize(trajectory).weight_sites
    expected = kpf.linearize(replace(trajectory, kept=None)).weight_sites
    assert found is not None
    assert expected is not None
    tolerance = default_tolerance(trajectory.dtype, trajectory.states.size)
    assert np.array_equal(found.groups[0].features, expected.groups[0].features)
    return max(
        float(np.abs(getattr(found, name) - getattr(expected, name)).max())
        / (tolerance * max(1.0, float(np.abs(getattr(expected, name)).max())))
        for name in ("gains", "carry")
    )


@pytest.mark.parametrize("case", ALL_CASES, ids=str)
def test_the_states_are_the_same(case: CellCase) -> None:
    trajectory = keeping(case)
    assert np.array_equal(trajectory.states, case.trajectory().states)
    assert (trajectory.kept is not None) == isinstance(case.cell, KEEPING)


@pytest.mark.parametrize(
    "case", [case for case in ALL_CASES if isinstance(case.cell, KEEPING)], ids=str
)
def test_the_derivatives_are_the_same(case: CellCase) -> None:
    trajectory = keeping(case)
    assert largest_difference(trajectory) <= 1.0
    if case.n_steps > 1:
        wrong = replace(trajectory, kept=np.roll(trajectory.kept, 1, axis=1))
        assert largest_difference(wrong) > 1.0
