import numpy as np
import pytest

from kpflow_numerics.spectral._orthogonal import column_norms, orthonormalise
from kpflow_numerics.testing import default_tolerance
from tests.cases.spectra import orthogonal

DTYPES = [np.float32, np.float64]


def blocks(n, rng):
    random = rng.standard_normal((n, 6))
    return {
        "random": (random, 6),
        "zero columns": (random * [1, 0, 1, 0, 1, 1], 4),
        "dependent": (
            random
            @ rng.standard_normal((6, 6))
            @ np.diag([1, 1, 1, 0, 0, 0])
            @ rng.standard_normal((6, 6)),
            3,
        ),
        "graded": (random * 10.0 ** -np.arange(0, 12, 2), 6),
        "nearly dependent": (random[:, [0]] + 1e-5 * random, 6),
        "repeated": (random[:, [0, 0, 1, 1, 0, 2]], 3),
        "all zero": (0 * random, 0),
        "no columns": (random[:, :0], 0),
    }


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", blocks(5, np.random.default_rng(2)))
@pytest.mark.parametrize("n_bases", [0, 1, 2])
def test_columns_are_orthonormal_and_span_the_block(dtype, name, n_bases):
    n = 40
    block, rank = blocks(n, np.random.default_rng(7))[name]
    block = block.astype(dtype)
    Q = orthogonal(n, 5).astype(dtype)
    bases = [Q[:, :9], Q[:, 9:12]][:n_bases]
    before = block.copy()
    result = orthonormalise(block, bases)
    tolerance = default_tolerance(dtype, n)
    np.testing.assert_array_equal(block, before)
    assert result.dtype == dtype
    if dtype == np.float64 or name not in ("nearly dependent", "graded"):
        assert result.shape == (n, rank)
    together = np.hstack([*bases, result])
    np.testing.assert_allclose(together.T @ together, np.eye(together.shape[1]), atol=tolerance)
    rest = block - together @ (together.T @ block)
    # Directions that were dropped were rounding noise to begin with.
    assert np.all(column_norms(rest) <= 1e3 * tolerance * max(column_norms(block), default=1.0))


def test_never_more_columns_than_room():
    Q = orthogonal(12, 5)
    block = np.random.default_rng(8).standard_normal((12, 6))
    assert orthonormalise(block, (Q[:, :10],)).shape == (12, 2)
    assert orthonormalise(block, (Q,)).shape == (12, 0)
    assert orthonormalise(np.hstack([block, block, block])).shape == (12, 6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_block_inside_the_basis_adds_nothing_but_noise(dtype):
    Q = orthogonal(50, 5).astype(dtype)[:, :20]
    block = Q @ np.random.default_rng(8).standard_normal((20, 4)).astype(dtype)
    result = orthonormalise(block, (Q,))
    np.testing.assert_allclose(Q.T @ result, 0, atol=default_tolerance(dtype, 50))


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_the_scale_does_not_matter_in_float32(scale):
    block = (np.random.default_rng(8).standard_normal((30, 4)) * scale).astype(np.float32)
    result = orthonormalise(block)
    np.testing.assert_allclose(result.T @ result, np.eye(4), atol=default_tolerance("float32", 30))


def test_norms_of_long_float32_columns():
    ones = np.full((200_000, 2), 0.1, np.float32)
    np.testing.assert_allclose(column_norms(ones), 0.1 * np.sqrt(200_000), rtol=1e-6)
