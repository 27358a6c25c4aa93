"""Lanczos on a coarse operator in float32, refined with products of the operator."""

import numpy as np
import pytest

from kpflow_numerics.spectral import top_eigenpairs
from kpflow_numerics.spectral._leading import FINEST_REFINED
from kpflow_numerics.spectral._refined import KrylovInverse
from kpflow_numerics.testing import assert_eigenpairs
from tests.cases.spectra import (
    SPECTRA,
    Operator,
    gram_operator,
    repeated_stimuli,
    with_eigenvalues,
    with_singular_values,
)

TOLERANCE = 1e-8
LABEL = "lanczos, float32, refined"
DECAY = 0.93 ** np.arange(150)


def with_coarse(matrix, coarse=None):
    """Return an operator that makes a coarse one of itself, by default itself in float32."""
    twin = Operator(np.asarray(matrix if coarse is None else coarse, np.float32), self_adjoint=True)
    return Operator(matrix, self_adjoint=True, coarse=lambda: twin, twin=twin)


def gram_with_coarse(factor, coarse=None):
    twin = gram_operator(np.asarray(factor if coarse is None else coarse, np.float32))
    return gram_operator(factor, coarse=lambda: twin, twin=twin)


def pairs(op, k, **options):
    settings = {"method": "lanczos", "tolerance": TOLERANCE, "rng": 5}
    return top_eigenpairs(op, k, **settings | options)


def assert_right(matrix, result, k, tolerance=TOLERANCE):
    assert result.converged
    assert result.complete
    norm = np.linalg.norm(matrix, 2)
    residuals = matrix @ result.vectors - result.vectors * result.values
    assert np.linalg.norm(residuals, axis=0).max() <= tolerance * norm * (1 + 1e-6)
    exact = np.linalg.eigvalsh(matrix)[::-1][:k]
    np.testing.assert_allclose(result.values, exact, atol=2 * tolerance * norm)
    np.testing.assert_allclose(result.vectors.T @ result.vectors, np.eye(k), atol=1e-12)


@pytest.mark.parametrize("name", SPECTRA)
def test_every_spectrum(name):
    values, k = SPECTRA[name]
    matrix = with_eigenvalues(values)
    op = with_coarse(matrix)
    result = pairs(op, k)
    assert_right(matrix, result, k)
    assert result.n_matvecs == op.columns + op.twin.columns
    assert result.vectors.dtype == np.float64


@pytest.mark.parametrize("shape", [(300, 60), (60, 300), (70, 60)])
@pytest.mark.parametrize("decay", [0.5, 0.93, 0.99])
def test_pairs_from_a_factor(shape, decay):
    factor = with_singular_values(decay ** np.arange(60), shape)
    op = gram_with_coarse(factor)
    assert_right(factor @ factor.T, pairs(op, 6), 6)


@pytest.mark.parametrize("seed", range(30, 40))
def test_repeated_stimuli(seed):
    matrix = repeated_stimuli(seed)
    assert_right(matrix, pairs(with_coarse(matrix), 10, rng=seed), 10)


def test_most_products_are_those_of_the_coarse_operator():
    op = with_coarse(with_eigenvalues(DECAY))
    result = pairs(op, 8)
    assert result.method == LABEL
    assert op.columns <= 2 * 8 + 48
    assert op.widest <= 8
    assert op.twin.widest == 1
    assert result.n_matvecs == op.columns + op.twin.columns
    assert result.cost.flops > 0


def test_the_factor_of_the_coarse_operator_carries_the_iteration_and_the_corrections():
    op = gram_with_coarse(with_singular_values(DECAY, (300, 150)))
    result = pairs(op, 8)
    assert result.method == LABEL
    assert op.factor.columns == op.twin.columns == 0
    assert op.twin.factor.widest == 8
    assert result.n_matvecs == op.columns + op.twin.factor.columns


def test_finer_tolerances_and_float32_are_not_refined():
    matrix = with_eigenvalues(DECAY)
    assert pairs(with_coarse(matrix), 8, tolerance=0.5 * FINEST_REFINED).method == "lanczos"
    single = with_coarse(matrix.astype(np.float32))
    assert pairs(single, 8, tolerance=1e-4).method == "lanczos"
    assert single.twin.columns == 0


def test_an_operator_without_a_coarse_one_is_not_refined():
    op = Operator(with_eigenvalues(DECAY), self_adjoint=True, coarse=lambda: None)
    assert pairs(op, 8).method == "lanczos"


@pytest.mark.parametrize("size", [1e-60, 1e-30, 1e25, 1e60])
def test_numbers_that_leave_the_range_of_float32(size):
    matrix = with_eigenvalues(DECAY) * size
    with np.errstate(over="ignore"):
        op = with_coarse(matrix)
    result = pairs(op, 8)
    assert result.converged
    assert result.complete
    np.testing.assert_allclose(result.values / size, DECAY[:8], rtol=1e-8)


def test_what_the_coarse_operator_lacks_is_seen_and_found():
    values = DECAY.copy()
    matrix = with_eigenvalues(values)
    values[2] = 0
    result = pairs(with_coarse(matrix, with_eigenvalues(values)), 8)
    assert_right(matrix, result, 8)
    assert result.method == f"{LABEL}, block-krylov"


def test_a_coarse_operator_that_is_too_coarse_only_costs_time():
    matrix = with_eigenvalues(DECAY)
    noise = np.random.default_rng(5).standard_normal(matrix.shape)
    result = pairs(with_coarse(matrix, matrix + 0.05 * (noise + noise.T)), 8)
    assert_right(matrix, result, 8)


def test_corrections_that_lead_nowhere_are_noticed(monkeypatch):
    def anywhere(self, residuals, values):
        return np.random.default_rng(5).standard_normal(residuals.shape)

    monkeypatch.setattr(KrylovInverse, "directions", anywhere)
    matrix = with_eigenvalues(DECAY)
    result = pairs(with_coarse(matrix), 8)
    assert result.method == f"{LABEL}, block-krylov"
    assert_right(matrix, result, 8)


def test_a_correction_makes_residuals_much_smaller():
    matrix = with_eigenvalues(1 / (1 + np.arange(400.0)) ** 2)
    result = pairs(with_coarse(matrix), 6, tolerance=2e-9)
    assert result.method == LABEL
    assert result.residual_norms.max() < 2e-9


def test_a_small_budget_is_kept():
    op = with_coarse(with_eigenvalues(np.linspace(0, 1, 400)))
    result = pairs(op, 6, max_products=30, certificate_products=4)
    assert not result.converged
    assert len(result.values) == 6
    assert result.n_matvecs <= 2 * 30 + 6 + 8


def test_little_memory_is_enough_for_lanczos_alone():
    matrix = with_eigenvalues(DECAY)
    result = pairs(with_coarse(matrix), 8, max_memory=8 * 150 * 60)
    assert result.method == "lanczos"
    assert_right(matrix, result, 8)


def test_equal_seeds_give_equal_bits():
    matrix = with_eigenvalues(DECAY)
    first, second, other = (pairs(with_coarse(matrix), 8, rng=seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.vectors, second.vectors)
    assert not np.array_equal(first.vectors, other.vectors)


def test_pairs_are_those_of_the_default_tolerance():
    matrix = with_eigenvalues(DECAY)
    result = pairs(with_coarse(matrix), 8, tolerance=None)
    assert_eigenpairs(matrix, result, k=8, self_adjoint=True)
