"""Figures of learning rules over training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics import plotting
from kpflow_numerics._validation import InputError, InputTypeError

NAMES = ("bptt", "truncated-0", "truncated-10", "chunks-4", "functional", "mine")


def alignments(seed: int, *, sampled: bool) -> kpf.LearningRuleAlignments:
    rng = np.random.default_rng([71, seed])
    value = rng.uniform(0.2, 0.9, (6, 6))
    error = np.full((6, 6), 0.02 if sampled else 0.0)
    updates = value.copy()
    updates[4] = np.nan
    return kpf.LearningRuleAlignments(
        NAMES, "bptt", value, error, value - 2 * error, value + 2 * error, value, updates,
        "sampled" if sampled else "dense", 100,
    )  # fmt: skip


def dynamics(seed: int, *, sampled: bool = False) -> kpf.LearningRuleDynamics:
    found = tuple(alignments(10 * seed + each, sampled=sampled) for each in range(3))
    return kpf.LearningRuleDynamics((0, 50, 100), (1.0, 0.5, 0.2), found, ({}, {}, {}))


def test_a_line_a_rule_with_its_interval() -> None:
    run = dynamics(1, sampled=True)
    ax = plotting.learning_rules(run)
    lines, labels = ax.get_legend_handles_labels()
    assert labels == [
        f"{name} (95 % interval, dashed)"
        for name in ("$PK$", "$PKP_{10}^*$", "chunks of 5", "$PP^*$", "mine")
    ]
    expected = [float(each) for _, each in run.course("truncated-10")]
    np.testing.assert_allclose(lines[1].get_ydata(), expected)
    assert sum(each.get_gid() == "probable bars" for each in ax.collections) == 5
    assert "with $PKP^*$" in ax.get_ylabel()


def test_several_runs_have_mean_and_range() -> None:
    runs = [dynamics(seed) for seed in (1, 2, 3)]
    ax = plotting.learning_rules(runs, quantity="updates")
    lines, labels = ax.get_legend_handles_labels()
    assert labels == ["$PK$", "$PKP_{10}^*$", "chunks of 5", "mine"]
    values = np.array([[float(e) for _, e in run.course("mine", "updates")] for run in runs])
    np.testing.assert_allclose(lines[3].get_ydata(), values.mean(axis=0))
    ends = np.array([segment[:, 1] for segment in ax.collections[3].get_segments()])
    np.testing.assert_allclose(ends, np.stack([values.min(axis=0), values.max(axis=0)], axis=1))
    assert "range of 3 runs" in ax.get_ylabel()


def test_a_rule_looks_the_same_in_every_figure() -> None:
    looks = []
    for quantity in ("operators", "updates"):
        ax = plotting.learning_rules([dynamics(1), dynamics(2)], quantity=quantity)
        looks.append(
            {line.get_label(): (line.get_color(), line.get_marker()) for line in ax.get_lines()}
        )
    assert "$PP^*$" not in looks[1]
    assert all(looks[0][label] == look for label, look in looks[1].items())


def test_what_cannot_be_drawn() -> None:
    run = dynamics(1)
    with pytest.raises(InputTypeError, match="source must be a LearningRuleDynamics"):
        plotting.learning_rules("run.h5")
    with pytest.raises(InputError, match="at least one LearningRuleDynamics; got none"):
        plotting.learning_rules([])
    with pytest.raises(InputError, match="same rules at the same iterations"):
        plotting.learning_rules([run, replace(run, iterations=(0, 50, 99))])
    with pytest.raises(InputError, match="quantity must be one of"):
        plotting.learning_rules(run, quantity="moves")
    bare = replace(run, alignments=tuple(replace(each, states=None) for each in run.alignments))
    with pytest.raises(InputError, match="There is no cosine of states to draw"):
        plotting.learning_rules(bare, quantity="states")
