"""The median of repetitions and its interval."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kpflow_numerics.analysis.median import median_interval


@pytest.mark.parametrize("count", [1, 2, 5, 6, 9, 20, 41])
def test_the_median_is_that_of_numpy(count) -> None:
    values = np.random.default_rng(count).standard_normal(count)
    found = median_interval(values)
    assert found.median == np.median(values)
    assert found.lower <= found.median <= found.upper
    assert {found.lower, found.upper} <= set(values)
    assert found.n_values == count


@pytest.mark.parametrize(
    ("count", "confidence"), [(1, 0.0), (2, 0.5), (3, 0.75), (5, 0.9375), (6, 0.96875)]
)
def test_few_values_say_how_little_they_know(count, confidence) -> None:
    assert median_interval(range(count)).confidence == confidence


@pytest.mark.parametrize("count", [5, 8, 15, 30])
def test_coverage(count) -> None:
    samples = np.random.default_rng(count + 90).standard_exponential((4000, count))
    truth = math.log(2.0)
    found = [median_interval(sample) for sample in samples]
    covered = np.mean([each.lower <= truth <= each.upper for each in found])
    nominal = found[0].confidence
    assert abs(covered - nominal) < 4 * math.sqrt(nominal * (1 - nominal) / 4000)
    assert count < 6 or nominal >= 0.95


def test_what_is_missing_and_what_never_happened() -> None:
    assert math.isnan(median_interval([math.nan]).median)
    found = median_interval([1.0, math.nan, math.inf, 2.0])
    assert (found.median, found.upper, found.n_values) == (2.0, math.inf, 3)
    assert median_interval([1.0, math.inf]).median == math.inf
    assert median_interval([math.inf, math.inf]).median == math.inf
