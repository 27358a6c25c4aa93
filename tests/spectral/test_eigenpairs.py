import numpy as np
import pytest
import scipy.linalg
from scipy.sparse.linalg import ArpackError

from kpflow_numerics._validation import InputError, InputTypeError, MemoryLimitError
from kpflow_numerics.results import Cost
from kpflow_numerics.spectral import EIGEN_METHODS, top_eigenpairs
from kpflow_numerics.spectral._budget import EXACT_FLOPS
from kpflow_numerics.spectral.block_krylov import BLOCK_COLUMNS, basis_capacity, block_krylov
from kpflow_numerics.spectral.certificate import CERTIFICATE_PRODUCTS
from kpflow_numerics.testing import assert_eigenpairs, default_tolerance
from tests.cases.spectra import (
    SPECTRA,
    Operator,
    gram_operator,
    knows_exactly,
    repeated_stimuli,
    with_eigenvalues,
    with_singular_values,
)

DTYPES = [np.float32, np.float64]
ITERATIVE = ["block-diagonal", "lanczos", "block-krylov", "lobpcg", "arpack"]
SOLVERS = ["auto", "dense", *ITERATIVE]


def assert_right_or_flagged(matrix, result, k):
    """A result may be wrong only if it says so."""
    if result.converged and result.complete:
        assert_eigenpairs(matrix, result, k=k, self_adjoint=True)
        return True
    return False


@pytest.mark.parametrize("method", SOLVERS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SPECTRA)
def test_every_solver_on_every_spectrum(name, dtype, method):
    values, k = SPECTRA[name]
    matrix = with_eigenvalues(values, dtype)
    op = Operator(matrix, self_adjoint=True)
    result = top_eigenpairs(op, k, method=method, rng=5)
    right = assert_right_or_flagged(matrix, result, k)
    assert right or method == "arpack"
    assert result.n_matvecs == op.columns
    assert result.values.dtype == result.vectors.dtype == result.residual_norms.dtype == dtype
    assert result.method.startswith("dense" if method == "auto" else (method, "dense ("))


@pytest.mark.parametrize("method", ITERATIVE)
@pytest.mark.parametrize("seed", range(30, 50))
def test_repeated_stimuli_are_right_or_flagged(method, seed):
    matrix = repeated_stimuli(seed)
    result = top_eigenpairs(Operator(matrix, self_adjoint=True), 10, method=method, rng=seed)
    right = assert_right_or_flagged(matrix, result, 10)
    assert right or method == "arpack"


def test_arpack_alone_does_miss_copies_and_is_flagged():
    flagged = 0
    for seed in range(30, 50):
        matrix = with_eigenvalues(np.repeat([3.0, 2.0, 1.0], 40), np.float32, seed)
        result = top_eigenpairs(matrix, 20, method="arpack", rng=seed, self_adjoint=True)
        assert_right_or_flagged(matrix, result, 20)
        flagged += not result.complete
        assert result.complete == (result.certificate_value <= result.certificate_threshold)
    assert flagged > 0


@pytest.mark.parametrize("method", ["dense", "gram", *ITERATIVE])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(70, 30), (30, 70), (40, 40)])
@pytest.mark.parametrize("decay", [0.5, 0.95])
def test_pairs_of_an_operator_that_is_not_self_adjoint(method, dtype, shape, decay):
    A = with_singular_values(decay ** np.arange(min(shape)), shape, dtype)
    result = top_eigenpairs(Operator(A), 5, method=method, rng=5)
    assert_eigenpairs(A, result, k=5, self_adjoint=False)


@pytest.mark.parametrize("method", ["auto", "gram", "dense", "lanczos", "block-krylov"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "rank", "k"),
    [((60, 20), 20, 7), ((60, 20), 3, 7), ((60, 20), 20, 45), ((20, 60), 20, 20), ((50, 9), 0, 4)],
)
def test_pairs_from_a_factor(method, dtype, shape, rank, k):
    factor = with_singular_values(0.8 ** np.arange(rank), shape, dtype)
    op = gram_operator(factor)
    result = top_eigenpairs(op, k, method=method, rng=5)
    assert_eigenpairs(factor @ factor.T, result, k=k, self_adjoint=True)
    if method == "auto":
        assert result.method == ("gram" if shape[1] < shape[0] else "dense")
    if method == "gram":
        assert result.n_matvecs == op.columns + op.factor.columns


def test_methods_that_cannot_run_say_what_ran_instead():
    matrix = with_eigenvalues(np.arange(12.0))
    assert top_eigenpairs(matrix, 12, method="arpack").method == "dense (arpack needs k < n)"
    assert top_eigenpairs(matrix, 3, method="lobpcg").method == "dense (lobpcg needs n >= 35)"


class TestExact:
    values, k = SPECTRA["slow decay"]
    matrix = with_eigenvalues(values)

    def operator(self, cost=None):
        spectrum, vectors = np.linalg.eigh(self.matrix)
        pairs = spectrum[::-1][: self.k], vectors[:, ::-1][:, : self.k]
        return Operator(self.matrix, self_adjoint=True, **knows_exactly("eigenpairs", pairs, cost))

    @pytest.mark.parametrize("method", ["auto", "exact"])
    def test_the_operator_is_asked_and_its_answer_is_checked(self, method):
        result = top_eigenpairs(self.operator(Cost(1.0, 1.0)), self.k, method=method)
        assert_eigenpairs(self.matrix, result, k=self.k)
        assert result.method == "exact"
        assert result.n_matvecs == self.k
        assert result.cost == Cost(1.0, 1.0)

    def test_what_is_too_dear_is_not_asked(self):
        dear = self.operator(Cost(2 * EXACT_FLOPS, 1.0))
        assert top_eigenpairs(dear, self.k).method == "dense"
        with pytest.raises(InputError, match='method="exact" needs a closed form'):
            top_eigenpairs(self.matrix, 3, method="exact")

    def test_a_wrong_answer_has_large_residuals(self):
        pairs = self.values[: self.k], np.eye(len(self.values))[:, : self.k]
        op = Operator(self.matrix, self_adjoint=True, **knows_exactly("eigenpairs", pairs))
        assert not top_eigenpairs(op, self.k).converged


class TestAuto:
    def test_large_operators_are_iterated_on(self):
        values = 1 / (1 + np.arange(2100.0))
        op = Operator(np.diag(values), self_adjoint=True)
        result = top_eigenpairs(op, 4)
        assert result.method == "lanczos"
        np.testing.assert_allclose(result.values, values[:4], rtol=default_tolerance("float64"))

    def test_many_pairs_of_a_moderately_large_operator_are_taken_from_its_matrix(self):
        from kpflow_numerics.spectral._leading import _cheapest
        from kpflow_numerics.spectral._view import SpectralView

        view = SpectralView(Operator(np.empty((5000, 5000)), self_adjoint=True))
        assert _cheapest(view, 300, 4e9) == "dense"
        assert _cheapest(view, 300, 1e8) == "lanczos"
        assert _cheapest(view, 30, 4e9) == "lanczos"
        tall = SpectralView(Operator(np.empty((5000, 40))))
        assert _cheapest(tall, 30, 4e9) == "gram"

    def test_memory_decides(self):
        matrix = with_eigenvalues(1 / (1 + np.arange(600.0)))
        result = top_eigenpairs(matrix, 3, max_memory=2e6)
        assert result.method == "lanczos"
        assert result.cost.memory_bytes <= 2e6
        assert_eigenpairs(matrix, result, k=3)


class TestWarmStart:
    values, k = SPECTRA["linear"]
    matrix = with_eigenvalues(values)

    @pytest.mark.parametrize("method", ITERATIVE)
    def test_known_vectors_save_products(self, method):
        cold = top_eigenpairs(self.matrix, self.k, method=method, rng=5)
        warm = top_eigenpairs(
            self.matrix, self.k, method=method, rng=5, initial_vectors=cold.vectors
        )
        assert_eigenpairs(self.matrix, warm, k=self.k)
        assert warm.n_matvecs < cold.n_matvecs

    def test_vectors_of_a_wrong_space_do_no_harm(self):
        worst = np.linalg.eigh(self.matrix)[1][:, : self.k]
        for method in ("block-krylov", "lobpcg"):
            result = top_eigenpairs(
                self.matrix, self.k, method=method, rng=5, initial_vectors=worst
            )
            assert_eigenpairs(self.matrix, result, k=self.k)


def test_a_budget_that_is_too_small_is_honoured_and_said():
    matrix = with_eigenvalues(SPECTRA["linear"][0])
    for method in ITERATIVE:
        result = top_eigenpairs(matrix, 5, method=method, rng=5, max_products=45)
        assert not result.converged
        assert result.n_matvecs <= 45 + 2 * CERTIFICATE_PRODUCTS + 2 * 9 + 45
        assert "NOT converged" in repr(result)


def test_the_budget_of_block_krylov_is_exact():
    matrix = with_eigenvalues(SPECTRA["linear"][0])
    used = []

    def apply(X):
        used.append(X.shape[1])
        return matrix @ X

    for budget in (5, 17, 41):
        used.clear()
        found = block_krylov(
            apply,
            len(matrix),
            5,
            matrix.dtype,
            tolerance=1e-13,
            rng=np.random.default_rng(5),
            max_products=budget,
            capacity=60,
        )
        assert found.used == sum(used) == budget
        assert not found.converged


def test_tolerance_is_met_and_saves_products():
    matrix = np.diag(np.linspace(0, 1, 600))
    loose = top_eigenpairs(matrix, 5, method="block-krylov", tolerance=1e-3, rng=5)
    tight = top_eigenpairs(matrix, 5, method="block-krylov", tolerance=1e-13, rng=5)
    for result, tolerance in ((loose, 1e-3), (tight, 1e-13)):
        assert result.converged
        assert np.all(result.residual_norms <= tolerance)
    assert loose.n_matvecs < tight.n_matvecs


def test_products_too_noisy_for_the_tolerance_end_in_a_result():
    matrix = with_eigenvalues(1 / (1 + np.arange(150.0)))
    rng = np.random.default_rng(5)
    op = Operator(matrix, self_adjoint=True)
    op._matmat = lambda X: matrix @ X + 1e-6 * rng.standard_normal(X.shape)
    result = top_eigenpairs(op, 40, method="block-krylov", rng=5, max_products=20_000)
    assert not result.converged
    assert result.n_matvecs < 15_000


def test_restarts_keep_the_memory_bounded():
    n, k = 500, 5
    values = np.linspace(0, 1, n)
    capacity = basis_capacity(n, k, np.dtype(np.float64), 1e6)
    assert capacity < 100
    result = top_eigenpairs(np.diag(values), k, method="block-krylov", max_memory=1e6, rng=5)
    assert result.converged
    np.testing.assert_allclose(
        result.values, values[::-1][:k], atol=default_tolerance("float64", n)
    )
    with pytest.raises(MemoryLimitError, match=r"5 eigenvectors of length 500 need about 4.* KiB"):
        top_eigenpairs(np.diag(values), k, method="block-krylov", max_memory=1e5)


def test_same_seed_same_bits():
    matrix = with_eigenvalues(SPECTRA["slow decay"][0])
    for method in ITERATIVE:
        first, second, other = (
            top_eigenpairs(matrix, 4, method=method, rng=seed) for seed in (5, 5, 6)
        )
        np.testing.assert_array_equal(first.vectors, second.vectors)
        assert not np.array_equal(first.vectors, other.vectors)


def test_arpack_that_gives_up_is_flagged(monkeypatch):
    def fail(*args, **options):
        raise ArpackError(-9999)

    monkeypatch.setattr("kpflow_numerics.spectral.arpack.eigsh", fail)
    result = top_eigenpairs(with_eigenvalues(np.arange(20.0)), 3, method="arpack")
    assert result.values.shape == (0,)
    assert result.vectors.shape == (20, 0)
    assert not result.converged
    assert not result.complete


def test_lobpcg_that_breaks_down_is_flagged(monkeypatch):
    def fail(*args, **options):
        raise np.linalg.LinAlgError

    monkeypatch.setattr("kpflow_numerics.spectral.lobpcg.lobpcg", fail)
    result = top_eigenpairs(with_eigenvalues(np.arange(60.0)), 3, method="lobpcg")
    assert not result.converged
    assert not result.complete


def test_lapack_leaves_out_nothing_where_eigenvalues_repeat_to_rounding():
    matrix = with_eigenvalues(np.ones(150), np.float32)
    result = top_eigenpairs(matrix, 10, method="dense", self_adjoint=True)
    assert_eigenpairs(matrix, result, k=10)
    assert scipy.linalg.eigh(matrix, driver="evd")[0].shape == (150,)


@pytest.mark.parametrize("method", ["dense", "gram", *ITERATIVE])
def test_products_that_are_not_finite_end_in_one_error(method):
    factor = np.random.default_rng(5).standard_normal((60, 50))
    factor[3, 4] = np.nan
    op = Operator(factor @ factor.T, self_adjoint=True, factor=Operator(factor))
    with pytest.raises(InputError, match="gave NaN or infinite entries in a product"):
        top_eigenpairs(op, 3, method=method)


def test_a_late_nan_ends_in_one_error():
    matrix = with_eigenvalues(SPECTRA["linear"][0])
    for method in ITERATIVE:
        op = Operator(matrix, self_adjoint=True)
        clean = op._matmat
        op._matmat = op._matvec = lambda X, op=op, clean=clean: (
            clean(X) * (np.nan if op.columns > 40 else 1.0)
        )
        with pytest.raises(InputError, match="gave NaN"):
            top_eigenpairs(op, 5, method=method)


def test_an_operator_that_lies_about_symmetry_is_refused():
    A = np.random.default_rng(5).standard_normal((20, 20))
    with pytest.raises(InputError, match="is not self-adjoint, although it says so"):
        top_eigenpairs(Operator(A, self_adjoint=True), 3, method="dense")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"k": 0}, InputError, "k must be from 1 to 8; got 0"),
        ({"k": 9}, InputError, "k must be from 1 to 8; got 9"),
        ({"k": 2.0}, InputTypeError, "k must be an integer"),
        ({"method": "krylov"}, InputError, r"method must be one of 'auto'.*Did you mean"),
        ({"tolerance": 0}, InputError, "tolerance must be"),
        ({"max_products": 1}, InputError, "max_products must be at least 2"),
        ({"max_memory": -1}, InputError, "max_memory must be"),
        (
            {"initial_vectors": np.ones((7, 2))},
            InputError,
            r"initial_vectors must have shape \(8, j\)",
        ),
        (
            {"initial_vectors": np.full((8, 2), np.nan)},
            InputError,
            "initial_vectors must be finite",
        ),
        ({"certificate_products": 3}, InputError, "certificate_products must be at least 4"),
        ({"rng": None}, InputTypeError, "rng must be"),
        (
            {"method": "gram"},
            InputError,
            'method="gram" needs an operator that is not self-adjoint',
        ),
        ({"method": "dense", "max_memory": 100}, MemoryLimitError, "The 8 x 8 matrix needs about"),
    ],
)
def test_arguments_are_checked(options, error, message):
    with pytest.raises(error, match=message):
        top_eigenpairs(np.diag(np.arange(8.0)), **{"k": 2, **options})


def test_memory_of_the_gram_matrix_is_checked():
    factor = np.ones((90, 40))
    with pytest.raises(MemoryLimitError, match="The 40 x 40 Gram matrix needs about"):
        top_eigenpairs(factor, 2, method="gram", max_memory=1000)
    with pytest.raises(MemoryLimitError, match="The 90 x 40 matrix needs about"):
        top_eigenpairs(factor, 2, method="dense", max_memory=1000)


def test_every_method_is_named_in_the_documentation():
    for method in EIGEN_METHODS:
        assert f'"{method}"' in top_eigenpairs.__doc__
    assert BLOCK_COLUMNS >= 4
