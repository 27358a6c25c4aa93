import numpy as np
import pytest

from kpflow_numerics._validation import MemoryLimitError
from kpflow_numerics.spectral import top_eigenpairs
from kpflow_numerics.spectral.lanczos import Course, LanczosBasis, lanczos, lanczos_capacity
from kpflow_numerics.testing import default_tolerance
from tests.cases.spectra import (
    SPECTRA,
    Operator,
    repeated_stimuli,
    with_eigenvalues,
    with_singular_values,
)

DISTINCT = ["fast decay", "slow decay", "many pairs", "linear", "indefinite", "tiny", "huge"]


def run(matrix, k, *, seed=5, capacity=80, tolerance=None, **others):
    columns = []

    def apply(X):
        columns.append(X.shape[1])
        return matrix @ X

    tolerance = np.finfo(matrix.dtype).eps ** (2 / 3) if tolerance is None else tolerance
    settings = {"max_products": 4000, "rng": np.random.default_rng(seed), **others}
    found, _ = lanczos(
        apply,
        len(matrix),
        k,
        matrix.dtype,
        tolerance=tolerance,
        capacity=capacity,
        **settings,
    )
    assert columns == [1] * found.used
    return found


@pytest.mark.parametrize("capacity", [56, 400])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", DISTINCT)
def test_pairs_of_distinct_eigenvalues(name, dtype, capacity):
    values, k = SPECTRA[name]
    matrix = with_eigenvalues(values, dtype)
    found = run(matrix, k, capacity=capacity)
    assert found.converged
    norm = np.max(np.abs(values))
    atol = default_tolerance(dtype, len(values)) * norm
    np.testing.assert_allclose(found.values, np.sort(values)[::-1][:k], atol=atol)
    residuals = np.linalg.norm(matrix @ found.vectors - found.vectors * found.values, axis=0)
    assert residuals.max() <= 1.5 * np.finfo(dtype).eps ** (2 / 3) * norm


@pytest.mark.parametrize("tolerance", [1e-3, 1e-8, 1e-12])
def test_the_recurrence_knows_its_residuals(tolerance):
    # Rapid decay makes rounding lose the orthogonality soonest.
    matrix = with_eigenvalues(1.3 ** -np.arange(300.0))
    found = run(matrix, 20, capacity=40, tolerance=tolerance)
    assert found.converged
    residuals = np.linalg.norm(matrix @ found.vectors - found.vectors * found.values, axis=0)
    assert residuals.max() <= tolerance
    gram = found.vectors.T @ found.vectors
    np.testing.assert_allclose(gram, np.eye(20), atol=max(tolerance, 1e-13))


def lifted_residuals(factor, found):
    lifted = factor @ found.vectors
    lifted /= np.linalg.norm(lifted, axis=0)
    values = np.sum((factor.T @ lifted) ** 2, axis=0)
    return np.linalg.norm(factor @ (factor.T @ lifted) - lifted * values, axis=0)


@pytest.mark.parametrize("decay", [0.6, 0.9])
@pytest.mark.parametrize("tolerance", [1e-4, 1e-8, 1e-11])
def test_vectors_that_are_lifted_meet_the_tolerance_in_fewer_products(decay, tolerance):
    factor = with_singular_values(decay ** np.arange(150.0), (300, 200))
    matrix = factor.T @ factor
    options = {"capacity": 150, "tolerance": tolerance}
    own, lifted = run(matrix, 8, **options), run(matrix, 8, lifted=True, **options)
    assert lifted.converged
    assert lifted.used <= own.used
    assert lifted_residuals(factor, lifted).max() <= 1.5 * tolerance


def test_a_share_that_is_too_small_ends_the_iteration_too_early(monkeypatch):
    monkeypatch.setattr(LanczosBasis, "lifted_share", lambda self, values: 1e-4 * values)
    factor = with_singular_values(0.9 ** np.arange(150.0), (300, 200))
    found = run(factor.T @ factor, 8, capacity=150, tolerance=1e-8, lifted=True)
    assert lifted_residuals(factor, found).max() > 1e-7


@pytest.mark.parametrize("rank", [0, 3])
def test_lifted_vectors_of_zero_eigenvalues(rank):
    factor = with_singular_values(np.r_[[3.0, 2.0, 1.0][:rank], np.zeros(40)], (90, 60))
    found = run(factor.T @ factor, 6, lifted=True)
    assert found.converged
    np.testing.assert_allclose(
        found.values, np.r_[[9.0, 4.0, 1.0][:rank], np.zeros(6 - rank)], atol=1e-12
    )


def test_convergence_is_looked_for_more_often_as_it_comes_near():
    course = Course()
    assert course.until_next_test(60, 1e-3, 1e-8) == 5
    assert course.until_next_test(65, 1e-4, 1e-8) == 5
    assert course.until_next_test(70, 1e-7, 1e-8) == 1
    assert course.until_next_test(71, 2e-7, 1e-8) == 5


def test_vectors_that_are_never_orthogonalised_again_go_wrong(monkeypatch):
    def forget(self, norm):
        return np.zeros(len(self._quotient))

    monkeypatch.setattr(LanczosBasis, "_grown_overlap", forget)
    found = run(with_eigenvalues(1.3 ** -np.arange(300.0)), 20, capacity=300)
    gram = found.vectors.T @ found.vectors
    assert np.abs(gram - np.eye(len(gram))).max() > 0.1


def test_few_vectors_are_orthogonalised_again():
    calls = []

    class Counted(LanczosBasis):
        def _orthogonal(self, vector, norm):
            calls.append(self.size)
            return super()._orthogonal(vector, norm)

    matrix = with_eigenvalues(1 / (1 + np.arange(400.0)) ** 2)
    basis = Counted(400, 60, matrix.dtype, np.random.default_rng(5), np.empty((400, 0)), 1e-6, 0.0)
    calls.clear()
    for _ in range(60):
        basis.append(matrix @ basis.next)
    assert 0 < len(calls) < 40
    Q = basis.combine(np.eye(60))
    np.testing.assert_allclose(Q.T @ Q, np.eye(60), atol=1e-6)


def test_one_copy_of_a_repeated_eigenvalue_and_the_certificate_sees_it():
    matrix = repeated_stimuli(31)
    found = run(matrix, 5, capacity=len(matrix), max_products=30)
    assert np.all(np.diff(found.values) < -1e-6 * found.values[0])
    result = top_eigenpairs(Operator(matrix, self_adjoint=True), 10, method="lanczos", rng=5)
    assert result.complete
    assert result.method == "lanczos"
    exact = np.linalg.eigvalsh(matrix)[::-1][:10]
    np.testing.assert_allclose(result.values, exact, rtol=1e-9)


def test_an_invariant_subspace_is_not_the_end():
    found = run(with_eigenvalues(np.r_[4.0, 3.0, 2.0, np.zeros(97)]), 8)
    assert found.converged
    np.testing.assert_allclose(found.values, [4, 3, 2, 0, 0, 0, 0, 0], atol=1e-13)


def test_what_is_deflated_stays_away():
    values = np.linspace(1, 60, 60)
    matrix = with_eigenvalues(values)
    vectors = np.linalg.eigh(matrix)[1]
    leading = np.ascontiguousarray(vectors[:, -3:])
    found = run(matrix, 2, deflated=leading, norm=60.0)
    np.testing.assert_allclose(found.values, [57, 56], rtol=1e-12)
    assert np.abs(leading.T @ found.vectors).max() < 1e-12


def test_more_pairs_where_they_are_wanted():
    matrix = with_eigenvalues(1 / (1 + np.arange(200.0)))
    asked = []

    def enough(values):
        asked.append(len(values))
        return 12

    found = run(matrix, 4, enough=enough, capacity=100)
    assert asked[0] == 4
    assert len(found.values) == 12
    assert found.converged


def test_fewer_products_than_in_blocks():
    op = Operator(np.diag(1 / (1 + np.arange(3000.0))), self_adjoint=True)
    single = top_eigenpairs(op, 10, method="lanczos", rng=5)
    blocks = top_eigenpairs(op, 10, method="block-krylov", rng=5)
    assert single.complete
    assert single.n_matvecs < 0.7 * blocks.n_matvecs


def test_a_budget_that_does_not_suffice_is_kept():
    found = run(with_eigenvalues(np.linspace(0, 1, 400)), 6, max_products=15)
    assert found.used == 15
    assert not found.converged
    assert len(found.values) == 6


def test_the_basis_fits_into_memory():
    assert lanczos_capacity(10_000, 5, np.dtype(float), 1e9) == 266
    small = lanczos_capacity(10_000, 5, np.dtype(float), 8e6)
    assert 13 <= small <= 100
    with pytest.raises(MemoryLimitError, match="Raise max_memory or ask for fewer pairs"):
        lanczos_capacity(10_000, 5, np.dtype(float), 1e6)


@pytest.mark.parametrize(("dtype", "size"), [(np.float32, 1e-30), (np.float32, 1e30)])
def test_eigenvalues_whose_squares_leave_the_range_of_the_floats(dtype, size):
    values = np.linspace(1, 2, 60)
    found = run(with_eigenvalues(values, dtype) * dtype(size), 4)
    assert found.converged
    np.testing.assert_allclose(found.values / size, values[:-5:-1], rtol=1e-4)


def test_equal_seeds_give_equal_bits():
    matrix = with_eigenvalues(1 / (1 + np.arange(150.0)))
    first, second = (run(matrix, 6, seed=9) for _ in range(2))
    np.testing.assert_array_equal(first.vectors, second.vectors)
