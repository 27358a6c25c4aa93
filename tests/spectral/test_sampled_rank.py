import dataclasses

import numpy as np
import pytest

from kpflow_numerics._validation import InputError, InputTypeError
from kpflow_numerics.spectral import effective_rank, top_eigenpairs
from tests.cases.spectra import with_eigenvalues

VALUES = np.r_[10 * 0.9 ** np.arange(20.0), 0.98 ** np.arange(180.0)]
TRUTH = VALUES.sum() ** 2 / (VALUES**2).sum()
FLAGS = {"method": "bounds", "self_adjoint": True, "positive_semidefinite": True}


@pytest.fixture(scope="module")
def matrix():
    return with_eigenvalues(VALUES)


@pytest.fixture(scope="module")
def pairs(matrix):
    return top_eigenpairs(matrix, 5, self_adjoint=True)


def coverage(matrix, pairs, n_seeds=300, n_samples=16):
    estimates = [
        effective_rank(matrix, known_pairs=pairs, n_samples=n_samples, rng=seed, **FLAGS)
        for seed in range(1000, 1000 + n_seeds)
    ]
    return np.mean([each.lower <= TRUTH <= each.upper for each in estimates]), estimates


def test_the_interval_holds_the_truth_as_often_as_it_says(matrix, pairs):
    covered, estimates = coverage(matrix, pairs)
    assert 0.90 <= covered <= 0.99
    values = np.array([each.value for each in estimates])
    stated = np.mean([each.standard_error for each in estimates])
    assert abs(values.mean() - TRUTH) <= 0.02 * TRUTH
    assert 0.8 <= stated / values.std() <= 1.2


@pytest.mark.parametrize("fault", ["a pair dropped from the vectors", "values halved"])
def test_a_planted_fault_is_caught(matrix, pairs, fault):
    if fault == "values halved":
        wrong = dataclasses.replace(pairs, values=pairs.values / 2)
    else:
        vectors = pairs.vectors.copy()
        vectors[:, 0] = 0
        wrong = dataclasses.replace(pairs, vectors=vectors)
    assert coverage(matrix, wrong, n_seeds=60)[0] < 0.8


def test_sampling_narrows_the_certain_bounds_and_never_leaves_them(matrix, pairs):
    certain = effective_rank(matrix, known_pairs=pairs, **FLAGS)
    sampled = effective_rank(matrix, known_pairs=pairs, n_samples=32, rng=5, **FLAGS)
    assert certain.is_certified
    assert certain.method == "bounds"
    assert sampled.method == "bounds, rest sampled"
    assert sampled.confidence == 0.95
    assert certain.lower <= sampled.lower < sampled.value < sampled.upper <= certain.upper
    assert sampled.upper - sampled.lower < 0.5 * (certain.upper - certain.lower)
    assert sampled.n_matvecs == certain.n_matvecs + 32


def test_narrow_bounds_stay_certain(matrix):
    pairs = top_eigenpairs(matrix, 150, self_adjoint=True)
    estimate = effective_rank(matrix, known_pairs=pairs, n_samples=32, **FLAGS)
    assert estimate.is_certified
    assert estimate.method == "bounds"


@pytest.mark.parametrize("recipe", ["entropy", "variance-95-interpolated"])
def test_other_recipes_keep_their_bounds(matrix, pairs, recipe):
    options = FLAGS | {"recipe": recipe, "known_pairs": pairs}
    assert effective_rank(matrix, n_samples=32, **options).is_certified


def test_known_pairs_give_the_bounds_of_new_ones_without_their_products(matrix, pairs):
    new = effective_rank(matrix, n_pairs=5, **FLAGS)
    known = effective_rank(matrix, known_pairs=pairs, **FLAGS)
    assert (known.lower, known.upper) == pytest.approx((new.lower, new.upper), rel=1e-12)
    assert new.n_matvecs == known.n_matvecs + pairs.n_matvecs


def test_float32_and_one_seed(pairs, matrix):
    single = dataclasses.replace(pairs, vectors=pairs.vectors.astype(np.float32))
    rough, again = (
        effective_rank(matrix.astype(np.float32), known_pairs=single, n_samples=16, rng=9, **FLAGS)
        for _ in range(2)
    )
    assert rough == again
    fine = effective_rank(matrix, known_pairs=pairs, n_samples=16, rng=9, **FLAGS)
    assert rough.value == pytest.approx(fine.value, rel=1e-4)


@pytest.mark.parametrize(
    ("n_samples", "error", "match"),
    [
        (1, InputError, "n_samples must be 0 or at least 2; one sample has no error; got 1"),
        (-3, InputError, "n_samples must be at least 0; got -3"),
        (2.0, InputTypeError, "n_samples must be an integer"),
    ],
)
def test_bad_numbers_of_samples_are_refused(matrix, n_samples, error, match):
    with pytest.raises(error, match=match):
        effective_rank(matrix, n_samples=n_samples, **FLAGS)
