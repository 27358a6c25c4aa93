import numpy as np
import pytest

from kpflow_numerics._validation import InputError
from kpflow_numerics.spectral.estimators.ratios import jackknife
from kpflow_numerics.spectral.estimators.sampled import interval_reach

SPECTRA = {
    "flat": np.r_[np.ones(99), 3.0],
    "fast decay": 0.8 ** np.arange(100),
    "one dominant": np.r_[20.0, np.ones(100)],
    "low rank": np.array([4.0, 3.0, 2.0]),
}


def participation_ratio(mean):
    return mean[..., 0] ** 2 / mean[..., 1]


def samples(values, count, seed):
    """Normal probes of tr A and |A|_F^2, made together: exactly their joint distribution."""
    squares = np.random.default_rng(seed).standard_normal((count, len(values))) ** 2
    return np.stack([squares @ values, squares @ values**2], axis=1)


def covered(values, count, shrink=1.0):
    truth = participation_ratio(np.array([values.sum(), (values**2).sum()]))
    found = [jackknife(participation_ratio, samples(values, count, seed)) for seed in range(9, 209)]
    inside = [
        each.value - shrink * (each.value - each.lower)
        <= truth
        <= each.value + shrink * (each.upper - each.value)
        for each in found
    ]
    errors = np.array([each.value for each in found]) - truth
    return sum(inside), abs(errors.mean()) / np.mean([each.standard_error for each in found])


@pytest.mark.parametrize("count", [8, 40])
@pytest.mark.parametrize("name", SPECTRA)
def test_intervals_of_a_ratio_cover_it(name, count):
    inside, bias = covered(SPECTRA[name], count)
    assert 180 <= inside <= 198
    assert bias < 0.5


def test_an_interval_of_half_the_width_is_caught():
    assert covered(SPECTRA["fast decay"], 40, shrink=0.5)[0] < 180


def test_of_a_linear_function_it_is_the_mean_and_its_error():
    data = np.random.default_rng(7).random((9, 1))
    found = jackknife(lambda mean: 2 * mean[..., 0], data)
    error = 2 * data.std(ddof=1) / 3
    assert found.value == pytest.approx(2 * data.mean())
    assert found.standard_error == pytest.approx(error)
    reach = sorted(interval_reach(9))
    assert sorted([found.upper - found.value, found.value - found.lower]) == pytest.approx(
        [each * error for each in reach]
    )


def test_the_bias_of_a_square_is_removed():
    data = np.random.default_rng(7).standard_normal((5, 1))
    found = jackknife(lambda mean: mean[..., 0] ** 2, data)
    assert found.value == pytest.approx(data.mean() ** 2 - data.var(ddof=1) / 5)
    assert found.lower <= data.mean() ** 2 <= found.upper


def test_certain_bounds_are_kept():
    found = jackknife(participation_ratio, samples(np.ones(3), 6, 8), bounds=(2.0, 3.0))
    assert 2 <= found.lower <= found.value <= found.upper <= 3


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.ones((1, 2)), "samples must have at least 2 rows"),
        (np.zeros((3, 2)), "function must be finite at the means"),
    ],
)
def test_what_cannot_be_used_is_said(data, message):
    with (
        np.errstate(invalid="ignore", divide="ignore"),
        pytest.raises(InputError, match=message),
    ):
        jackknife(participation_ratio, data)
