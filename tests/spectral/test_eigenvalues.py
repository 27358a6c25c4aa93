import numpy as np
import pytest

from kpflow_numerics._validation import InputError, MemoryLimitError
from kpflow_numerics.spectral import SPECTRUM_METHODS, eigenvalues
from kpflow_numerics.spectral._scale import SCALE_PRODUCTS
from kpflow_numerics.testing import default_tolerance
from tests.cases.spectra import (
    SPECTRA,
    Operator,
    gram_operator,
    knows_exactly,
    with_eigenvalues,
    with_singular_values,
)

DTYPES = [np.float32, np.float64]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SPECTRA)
def test_every_spectrum(name, dtype):
    values = np.sort(SPECTRA[name][0])[::-1]
    op = Operator(with_eigenvalues(values, dtype), self_adjoint=True)
    found = eigenvalues(op)
    scale = np.max(np.abs(values))
    atol = default_tolerance(dtype, len(values)) * scale
    np.testing.assert_allclose(found, values, atol=atol)
    assert found.values.dtype == dtype
    assert found.method == "dense"
    looked = SCALE_PRODUCTS if name in ("zero", "tiny") else 0
    assert len(values) <= found.n_matvecs == op.columns <= len(values) + looked


@pytest.mark.parametrize("method", ["auto", "dense", "gram"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(30, 12), (12, 30), (20, 20)])
def test_squared_singular_values_and_zeros(method, dtype, shape):
    sigma = 0.8 ** np.arange(9)
    A = with_singular_values(sigma, shape, dtype)
    expected = np.r_[sigma**2, np.zeros(shape[0] - 9)]
    atol = default_tolerance(dtype, max(shape))
    found = eigenvalues(Operator(A), method)
    np.testing.assert_allclose(found, expected, atol=atol)
    assert np.all(found.values >= 0)
    assert found.method == ("gram" if method == "auto" else method)
    np.testing.assert_allclose(eigenvalues(gram_operator(A), method), expected, atol=atol)
    if shape[0] > shape[1]:
        assert eigenvalues(gram_operator(A)).method == "gram"


@pytest.mark.parametrize("method", ["auto", "exact"])
def test_the_operator_is_asked_and_its_answer_is_sorted(method):
    op = Operator(np.eye(3), self_adjoint=True, **knows_exactly("eigenvalues", [1.0, 3.0, 2.0]))
    found = eigenvalues(op, method)
    assert list(found) == [3.0, 2.0, 1.0]
    assert found.n_matvecs == op.columns == 0


def test_an_operator_can_be_said_to_be_self_adjoint_or_not():
    A = np.diag([2.0, -3.0])
    assert list(eigenvalues(A)) == [2.0, -3.0]
    np.testing.assert_allclose(eigenvalues(A, self_adjoint=False), [9.0, 4.0])


def test_what_is_too_large_is_refused_with_a_remedy():
    large = Operator(np.empty((9000, 9000)), self_adjoint=True)
    with pytest.raises(
        InputError, match=r"9000 x 9000 matrix, larger than max_size=8000.*Use top_"
    ):
        eigenvalues(large)
    with pytest.raises(InputError, match="larger than max_size=3"):
        eigenvalues(np.eye(4), max_size=3)
    with pytest.raises(MemoryLimitError, match="4 x 4 matrix needs about 384 B"):
        eigenvalues(np.eye(4), max_memory=100)
    with pytest.raises(InputError, match='method="gram" needs an operator that is not'):
        eigenvalues(np.eye(4), "gram")
    with pytest.raises(InputError, match='method="exact" needs a closed form'):
        eigenvalues(np.eye(4), "exact")


def test_every_method_is_named_in_the_documentation():
    for method in SPECTRUM_METHODS:
        assert f'"{method}"' in eigenvalues.__doc__
