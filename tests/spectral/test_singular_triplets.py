import numpy as np
import pytest
from scipy.sparse.linalg import ArpackError

from kpflow_numerics._validation import InputError, InputTypeError, MemoryLimitError
from kpflow_numerics.spectral import (
    SINGULAR_METHODS,
    smallest_singular_triplets,
    top_singular_triplets,
)
from kpflow_numerics.testing import assert_singular_triplets
from tests.cases.spectra import SINGULAR_SPECTRA, Operator, with_singular_values


@pytest.mark.parametrize("method", SINGULAR_METHODS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(80, 60), (60, 80), (70, 70)])
@pytest.mark.parametrize("name", SINGULAR_SPECTRA)
def test_every_solver_on_every_spectrum(name, shape, dtype, method):
    sigma, k = SINGULAR_SPECTRA[name]
    A = with_singular_values(sigma[: min(shape)], shape, dtype)
    op = Operator(A)
    result = top_singular_triplets(op, k, method=method, rng=5)
    if method == "arpack" and not (result.converged and result.complete):
        return
    assert_singular_triplets(A, result, k=k)
    assert result.n_matvecs == op.columns
    assert result.left.dtype == result.values.dtype == result.right.dtype == dtype


def test_triplets_of_a_self_adjoint_operator_are_those_of_its_absolute_values():
    A = np.diag([-5.0, 3.0, 1.0, 0.0])
    result = top_singular_triplets(Operator(A, self_adjoint=True), 2)
    assert_singular_triplets(A, result, k=2)


def test_vectors_of_an_earlier_operator_save_products():
    A = with_singular_values(np.linspace(1, 0, 150), (200, 150))
    cold = top_singular_triplets(A, 4, method="block-krylov", rng=5)
    warm = top_singular_triplets(A, 4, method="block-krylov", rng=5, initial_vectors=cold.right)
    assert warm.n_matvecs < cold.n_matvecs
    assert_singular_triplets(A, warm, k=4)


def test_a_solver_that_gives_up_is_flagged(monkeypatch):
    def fail(*args, **options):
        raise ArpackError(-9999)

    monkeypatch.setattr("kpflow_numerics.spectral.arpack.eigsh", fail)
    result = top_singular_triplets(np.ones((9, 7)), 3, method="arpack")
    assert (result.left.shape, result.right.shape) == ((9, 0), (7, 0))
    assert not result.converged
    assert not result.complete


class TestSmallest:
    sigma = np.r_[np.linspace(4, 1, 35), 0.3, 0.1, 0.1, 0.1, 0.02]
    matrix = with_singular_values(sigma, (40, 40))

    @pytest.mark.parametrize("method", SINGULAR_METHODS)
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_through_the_inverse(self, method, dtype):
        A = self.matrix.astype(dtype)
        op = Operator(A, inverse=Operator(np.linalg.inv(self.matrix).astype(dtype)))
        result = smallest_singular_triplets(op, 5, method=method, rng=5)
        assert_singular_triplets(A, result, k=5, smallest=True)
        assert result.method.startswith("inverse, ")
        assert result.n_matvecs == op.columns + op.inverse.columns

    @pytest.mark.parametrize("shape", [(40, 40), (50, 40), (40, 50)])
    def test_of_a_small_matrix_without_an_inverse(self, shape):
        A = with_singular_values(self.sigma, shape)
        result = smallest_singular_triplets(A, 5)
        assert_singular_triplets(A, result, k=5, smallest=True)
        assert_singular_triplets(A, smallest_singular_triplets(A, 40), k=40, smallest=True)

    def test_refusals(self):
        with pytest.raises(InputError, match="need its inverse: it has no attribute `inverse`"):
            smallest_singular_triplets(Operator(np.empty((9000, 9000))), 2)
        with pytest.raises(InputError, match="zero singular value, so it is no inverse"):
            smallest_singular_triplets(Operator(np.eye(3), inverse=np.diag([1.0, 1.0, 0.0])), 3)
        with pytest.raises(InputError, match="method must be one of 'auto', 'dense'"):
            smallest_singular_triplets(np.eye(3), 2, method="lobpcg")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"k": 6}, InputError, "k must be from 1 to 5; got 6"),
        ({"k": "2"}, InputTypeError, "k must be an integer"),
        ({"method": "exact"}, InputError, "method must be one of"),
        ({"initial_vectors": np.ones((8, 2))}, InputError, r"must have shape \(5, j\)"),
        ({"method": "dense", "max_memory": 10}, MemoryLimitError, "The 5 x 8 matrix needs about"),
    ],
)
def test_arguments_are_checked(options, error, message):
    with pytest.raises(error, match=message):
        top_singular_triplets(np.ones((8, 5)), **{"k": 2, **options})
