"""Eigenpairs of block diagonal operators, from all blocks at once."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import block_diag

import kpflow_numerics as kpf
from kpflow_numerics._validation import InputError, MemoryLimitError
from kpflow_numerics.spectral import block_diagonal, top_eigenpairs, top_singular_triplets
from kpflow_numerics.spectral._finish import Pairs
from kpflow_numerics.spectral._view import SpectralView
from kpflow_numerics.spectral.certificate import CERTIFICATE_PRODUCTS
from kpflow_numerics.testing import assert_eigenpairs, assert_singular_triplets
from tests.cases.spectra import SPECTRA, Operator, repeated_stimuli, with_eigenvalues

DTYPES = [np.float32, np.float64]


def blocks_of(*spectra: np.ndarray, dtype: type = np.float64) -> np.ndarray:
    return block_diag(
        *[with_eigenvalues(each, dtype, seed=3 + i) for i, each in enumerate(spectra)]
    )


def solve(matrix: np.ndarray, n_blocks: int, k: int, **options: object) -> kpf.results.EigenResult:
    op = Operator(matrix, self_adjoint=True, n_blocks=n_blocks)
    result = top_eigenpairs(op, k, method="block-diagonal", **{"rng": 5, **options})
    assert result.n_matvecs == op.columns
    assert result.method == "block-diagonal"
    assert result.vectors.dtype == matrix.dtype
    return result


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_blocks", [1, 3])
@pytest.mark.parametrize("name", SPECTRA)
def test_equal_blocks_of_every_spectrum(name, n_blocks, dtype):
    values, k = SPECTRA[name]
    matrix = block_diag(*[with_eigenvalues(values, dtype)] * n_blocks)
    assert_eigenpairs(matrix, solve(matrix, n_blocks, k), k=k, self_adjoint=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", [1, 9, 45, 240])
def test_blocks_of_different_spectra(k, dtype):
    spectra = [SPECTRA[name][0][:60] for name in ("fast decay", "slow decay", "indefinite", "zero")]
    matrix = blocks_of(*spectra, dtype=dtype)
    assert_eigenpairs(matrix, solve(matrix, 4, k), k=k, self_adjoint=True)


@pytest.mark.parametrize("seed", range(30, 50))
def test_repeated_stimuli(seed):
    matrix = repeated_stimuli(seed)
    for k in (1, 10, 30):
        assert_eigenpairs(matrix, solve(matrix, 8, k, rng=seed), k=k, self_adjoint=True)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_more_pairs_than_a_block_has(size):
    matrix = blocks_of(*np.random.default_rng(9).standard_normal((7, size)))
    for k in (1, size + 1, 7 * size):
        assert_eigenpairs(matrix, solve(matrix, 7, k), k=k, self_adjoint=True)


def test_all_pairs_wanted_of_one_block():
    large, small = np.linspace(5, 4, 80), np.linspace(1, 0, 80)
    matrix = blocks_of(small, large, small)
    result = solve(matrix, 3, 20)
    assert_eigenpairs(matrix, result, k=20, self_adjoint=True)
    assert np.all(result.vectors[:80] == 0)


def test_one_product_serves_all_blocks():
    spectrum = 1 / (1 + np.arange(150.0))
    alone = solve(with_eigenvalues(spectrum), 1, 1)
    matrix = block_diag(*[with_eigenvalues(spectrum, seed=seed) for seed in range(3, 11)])
    together = solve(matrix, 8, 8)
    assert together.n_matvecs <= 1.2 * alone.n_matvecs
    ordinary = top_eigenpairs(Operator(matrix, self_adjoint=True), 8, method="block-krylov", rng=5)
    assert together.n_matvecs < 0.7 * ordinary.n_matvecs


def test_more_copies_within_a_block_than_its_columns():
    values = np.repeat([3.0, 2.0, 1.0], [3 * block_diagonal.DIAGONAL_BLOCK_COLUMNS, 20, 40])
    matrix = block_diag(*[with_eigenvalues(values)] * 2)
    assert_eigenpairs(matrix, solve(matrix, 2, 60), k=60, self_adjoint=True)


def test_restarts_within_little_memory():
    matrix = block_diag(*[with_eigenvalues(np.linspace(1, 0, 150))] * 4)
    column = 8.0 * len(matrix)
    result = solve(matrix, 4, 6, max_memory=120 * column)
    assert result.cost.memory_bytes <= 120 * column
    assert_eigenpairs(matrix, result, k=6, self_adjoint=True)
    with pytest.raises(MemoryLimitError, match="6 eigenvectors of length 600 need about"):
        solve(matrix, 4, 6, max_memory=20 * column)


def test_a_budget_that_is_too_small_is_honoured_and_said():
    matrix = block_diag(*[with_eigenvalues(np.linspace(1, 0, 150))] * 4)
    result = solve(matrix, 4, 5, max_products=21)
    assert not result.converged
    assert result.n_matvecs <= 21 + 5 + 2 * CERTIFICATE_PRODUCTS


def test_an_earlier_result_is_where_it_starts():
    matrix = blocks_of(np.linspace(1, 0, 150), np.linspace(0.99, 0, 150))
    cold = solve(matrix, 2, 6)
    warm = solve(matrix, 2, 6, initial_vectors=cold.vectors)
    assert_eigenpairs(matrix, warm, k=6, self_adjoint=True)
    assert warm.n_matvecs < 0.8 * cold.n_matvecs


def pairs_without(view, matrix, n_blocks, k, missing):
    """Return the leading pairs but one, exact, and their vectors by block."""
    size = len(matrix) // n_blocks
    values, vectors, owners = [], [], []
    for number in range(n_blocks):
        rows = slice(number * size, (number + 1) * size)
        found, columns = np.linalg.eigh(matrix[rows, rows].astype(np.float64))
        values, owners = [*values, *found], [*owners, *[number] * size]
        vectors += [np.r_[np.zeros(rows.start), column, np.zeros(len(matrix) - rows.stop)]
                    for column in columns.T]  # fmt: skip
    order = np.delete(np.argsort(values)[::-1][: k + 1], missing)
    chosen = np.stack([vectors[i] for i in order], axis=1).astype(view.dtype)
    kept = [
        chosen[number * size : (number + 1) * size, [owners[i] == number for i in order]]
        for number in range(n_blocks)
    ]
    values = np.array(values)[order].astype(view.dtype)
    norms = np.linalg.norm(matrix @ chosen - chosen * values, axis=0)
    return Pairs(values, chosen, norms, float(np.abs(matrix).sum(axis=0).max())), kept


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("missing", [0, 3, 7])
def test_a_missing_eigenvalue_is_seen(missing, dtype):
    matrix = blocks_of(*[np.linspace(high, 0, 50) for high in (1.0, 1.1, 0.97, 1.03)], dtype=dtype)
    for seed in range(5, 15):
        view = SpectralView(Operator(matrix, self_adjoint=True, n_blocks=4))
        options = {
            "tolerance": np.finfo(dtype).eps ** (2 / 3),
            "n_products": CERTIFICATE_PRODUCTS,
            "rng": np.random.default_rng(seed),
        }
        right, kept = pairs_without(view, matrix, 4, 8, missing=8)
        assert block_diagonal.certify_blocks(view, right, kept, **options)[0].complete
        wrong, kept = pairs_without(view, matrix, 4, 8, missing=missing)
        certificate, outside = block_diagonal.certify_blocks(view, wrong, kept, **options)
        assert not certificate.complete
        assert certificate.value > certificate.threshold
        assert certificate.vectors.shape == (200, 1)
        assert [each.shape for each in outside] == [(50, 1)] * 4


def test_what_was_missed_is_found_in_the_end(monkeypatch):
    # The first iteration is blind to the leading eigenvector of the last block.
    matrix = blocks_of(np.linspace(1, 0, 60), np.linspace(1.2, 0, 60))
    blind = np.linalg.eigh(matrix[60:, 60:])[1][:, -1:]
    right, calls = block_diagonal.krylov_of_blocks, []

    def first_blind(view, n_blocks, k, **options):
        calls.append(k)
        if len(calls) == 1:
            options["fixed"] = [np.empty((60, 0)), blind]
        return right(view, n_blocks, k, **options)

    monkeypatch.setattr(block_diagonal, "krylov_of_blocks", first_blind)
    result = solve(matrix, 2, 5)
    assert len(calls) > 2
    assert_eigenpairs(matrix, result, k=5, self_adjoint=True)


def test_operators_that_are_not_self_adjoint():
    rng = np.random.default_rng(9)
    A = block_diag(*rng.standard_normal((5, 30, 20)))
    op = Operator(A, n_blocks=5)
    found = top_eigenpairs(op, 12, method="block-diagonal", rng=5)
    assert_eigenpairs(A, found, k=12, self_adjoint=False)
    assert found.n_matvecs == op.columns


@pytest.mark.parametrize("dtype", DTYPES)
def test_of_a_network(dtype):
    cell = kpf.GRU(2, 12)
    inputs = np.repeat(np.random.default_rng(9).standard_normal((2, 20, 2)), [4, 2], axis=0)
    params = cell.init_params(gain=1.4, rng=23, dtype=dtype)
    lin = kpf.linearize(kpf.simulate(cell, params, inputs.astype(dtype)))
    gram, P = kpf.PropagatorGram(lin), kpf.Propagator(lin)
    assert gram.n_blocks == P.n_blocks == P.H.n_blocks == P.inverse.n_blocks == 6
    assert kpf.ParameterOperator(lin).n_blocks == kpf.TangentKernel(lin).n_blocks == 1
    dense = P.to_dense().astype(np.float64)
    for op in (gram, P):
        result = top_eigenpairs(op, 15, method="block-diagonal", rng=7)
        assert_eigenpairs(dense @ dense.T, result, k=15, self_adjoint=True)
        assert result.n_matvecs < 400
    triplets = top_singular_triplets(P, 15, method="block-diagonal", rng=7)
    assert_singular_triplets(dense, triplets, k=15)


def test_it_is_taken_by_itself_where_the_operator_has_blocks():
    spectrum = np.diag(1 / (1 + np.arange(1100.0)))
    op = Operator(block_diag(spectrum, spectrum), self_adjoint=True, n_blocks=2)
    result = top_eigenpairs(op, 4)
    assert result.method == "block-diagonal"
    np.testing.assert_allclose(result.values, [1, 1, 0.5, 0.5], rtol=1e-9)


def test_blocks_must_divide_the_rows():
    with pytest.raises(InputError, match="n_blocks must divide its 10 rows into equal diagonal"):
        top_eigenpairs(Operator(np.eye(10), self_adjoint=True, n_blocks=3), 2,
                       method="block-diagonal")  # fmt: skip
