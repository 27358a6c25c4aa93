"""Iterations on the smaller side of a factor, and ones that find out how many pairs they need."""

import dataclasses

import numpy as np
import pytest

from kpflow_numerics.spectral import top_eigenpairs
from kpflow_numerics.spectral._leading import Options
from kpflow_numerics.spectral._side import given_side, smaller_side
from kpflow_numerics.spectral._view import SpectralView
from kpflow_numerics.spectral.top_eigenpairs import EIGEN_METHODS, eigen_result
from kpflow_numerics.testing import assert_eigenpairs, default_tolerance
from tests.cases.spectra import Operator, gram_operator, with_singular_values

SIGMA = 0.93 ** np.arange(60)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(300, 60), (60, 300), (70, 60)])
def test_the_smaller_side_is_taken_where_it_is_much_smaller(shape, dtype):
    factor = Operator(with_singular_values(SIGMA, shape, dtype))
    side = smaller_side(SpectralView(factor, self_adjoint=False))
    assert side.n == min(shape[0], 60 if shape[1] <= 0.75 * shape[0] else shape[0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(300, 60), (60, 300)])
def test_the_pairs_are_those_of_the_given_side(shape, dtype):
    A = with_singular_values(SIGMA, shape, dtype)
    op = gram_operator(A)
    result = top_eigenpairs(op, 7, method="block-krylov", rng=7)
    assert result.converged
    assert result.complete
    assert_eigenpairs(op, result, k=7)
    scale = default_tolerance(dtype, 300)
    np.testing.assert_allclose(result.values, SIGMA[:7] ** 2, rtol=10 * scale)


def test_all_pairs_of_the_view_start_it_too():
    A = with_singular_values(SIGMA, (300, 60))
    known = top_eigenpairs(gram_operator(A), 7, method="block-krylov", rng=7)
    again = top_eigenpairs(
        gram_operator(A), 7, method="block-krylov", initial_vectors=known.vectors, rng=9
    )
    assert again.n_matvecs < known.n_matvecs
    np.testing.assert_allclose(again.values, known.values, rtol=1e-10)


@pytest.mark.parametrize("rank", [1, 3])
def test_null_directions_are_completed_on_the_given_side(rank):
    A = with_singular_values(np.r_[SIGMA[:rank], np.zeros(57)], (300, rank + 57))
    result = top_eigenpairs(gram_operator(A), rank + 4, method="block-krylov", rng=7)
    assert len(result.values) == rank + 4
    assert result.converged
    np.testing.assert_allclose(result.vectors.T @ result.vectors, np.eye(rank + 4), atol=1e-10)


def test_a_lift_that_forgets_the_factor_is_caught():
    A = with_singular_values(SIGMA, (300, 60))
    view = SpectralView(gram_operator(A))
    side = smaller_side(view)
    wrong = given_side(view)
    vectors = np.eye(60, 2)
    assert side.lift(vectors).shape == (300, 2)
    assert wrong.lift(vectors).shape == (60, 2)


@pytest.mark.parametrize("wanted", [3, 9, 20])
def test_the_iteration_goes_on_until_there_are_enough(wanted):
    A = with_singular_values(SIGMA, (300, 60))
    view = SpectralView(gram_operator(A))
    asked = []

    def enough(values):
        asked.append(len(values))
        return min(len(values) + 3, wanted)

    options = Options.checked(
        view,
        3,
        "block-krylov",
        EIGEN_METHODS,
        largest_k=300,
        tolerance=1e-9,
        max_products=None,
        max_memory=None,
        initial_vectors=None,
        certificate_products=48,
        rng=7,
    )
    result = eigen_result(view, dataclasses.replace(options, enough=enough))
    assert len(result.values) == wanted
    assert asked[0] == 3
    assert asked[-1] == wanted
    assert result.converged
    assert result.complete
    np.testing.assert_allclose(result.values, SIGMA[:wanted] ** 2, rtol=1e-9)
