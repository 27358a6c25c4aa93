"""Lanczos on a coarse operator in float32, refined with products of the operator."""

import tracemalloc

import numpy as np
import pytest
import scipy.sparse
from scipy.sparse.linalg import aslinearoperator

from kpflow_numerics._validation import InputError
from kpflow_numerics.spectral import top_eigenpairs
from kpflow_numerics.spectral._leading import FINEST_REFINED
from kpflow_numerics.spectral._refinements import FactorRefinement, GivenRefinement
from kpflow_numerics.spectral._ritz_span import RitzSpan, orthonormalised
from kpflow_numerics.spectral.certificate import single_precision_certificate
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


def with_embedding(factor, rank, share=1.0):
    """Return ``S S*`` whose coarse one has the leading right singular vectors of S for columns.

    With a `share`, the operator in float32 is wrong: of S, it has that share.
    """
    W = np.linalg.svd(factor, full_matrices=False)[2][:rank].T
    core = Operator((factor @ W).astype(np.float32), embedding=aslinearoperator(W))
    twin = gram_operator(core.matrix)
    twin.factor = core
    single = gram_operator((share * factor).astype(np.float32))
    op = gram_operator(factor, coarse=lambda: twin, astype=lambda dtype: single)
    op.twin, op.single = twin, single
    return op


@pytest.mark.parametrize("tolerance", [1e-5, 1e-7, 1e-8, 2e-9])
@pytest.mark.parametrize("rank", [60, 120])
@pytest.mark.parametrize("decay", [0.8, 0.93])
def test_pairs_in_the_domain_of_the_factor(decay, rank, tolerance):
    factor = with_singular_values(decay ** np.arange(150), (400, 200))
    result = pairs(with_embedding(factor, rank), 8, tolerance=tolerance)
    assert result.method == LABEL
    assert_right(factor @ factor.T, result, 8, tolerance)


def test_in_the_domain_one_block_is_of_full_precision_and_one_column_confirms_it():
    op = with_embedding(with_singular_values(DECAY, (400, 200)), 60)
    result = pairs(op, 8)
    assert result.method == LABEL
    assert op.factor.columns == 2 * 8
    assert op.columns == 1
    assert op.twin.columns == 0
    assert op.twin.factor.widest == 1
    assert 0 < op.single.factor.widest <= 8
    assert op.single.columns == 0
    counted = (op, op.factor, op.twin.factor, op.single.factor)
    assert result.n_matvecs == sum(each.columns for each in counted)


def test_start_that_is_good_enough_takes_no_correction():
    op = with_embedding(with_singular_values(0.8 ** np.arange(150), (400, 200)), 60)
    result = pairs(op, 8, tolerance=1e-5)
    assert result.method == LABEL
    assert op.single.factor.widest == 1


def with_wrong_float32(tolerance):
    factor = with_singular_values(DECAY, (400, 200))
    result = pairs(with_embedding(factor, 60, share=1e-3), 8, tolerance=tolerance)
    residuals = factor @ (factor.T @ result.vectors) - result.vectors * result.values
    return result, np.linalg.norm(residuals, axis=0)


@pytest.mark.parametrize("tolerance", [1e-5, 1e-7, 1e-8, 2e-9])
def test_residuals_that_a_wrong_float32_operator_gives_are_disproved(tolerance):
    result, residuals = with_wrong_float32(tolerance)
    assert result.converged
    assert residuals.max() <= tolerance * result.values[0] * (1 + 1e-6)
    assert np.all(residuals <= 1.001 * result.residual_norms + 1e-14)


def test_without_the_look_a_wrong_float32_operator_is_believed(monkeypatch):
    """Planted fault: norms are returned as they came."""
    monkeypatch.setattr(FactorRefinement, "confirmed", GivenRefinement.confirmed)
    result, residuals = with_wrong_float32(1e-8)
    assert result.method == LABEL
    assert residuals.max() > 10 * result.residual_norms.max()


def test_eigenvalues_near_zero_are_left_to_the_operator_itself():
    factor = with_singular_values(0.05 ** np.arange(150), (400, 200))
    result = pairs(with_embedding(factor, 150), 8)
    assert result.method != LABEL
    assert_right(factor @ factor.T, result, 8)


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

    monkeypatch.setattr(GivenRefinement, "directions", anywhere)
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


class TestRitzSpan:
    matrix = with_eigenvalues(DECAY)
    columns = np.random.default_rng(5).standard_normal((150, 9)) * 10.0 ** np.arange(-4, 5)

    def span(self, columns):
        span = RitzSpan()
        for part in (columns[:, :4], columns[:, 4:]):
            span.append(part, self.matrix @ part)
        return span

    def test_pairs_are_those_of_an_orthonormal_basis(self):
        span = self.span(self.columns)
        values, coefficients = span.leading(3)
        Q = np.linalg.qr(self.columns)[0]
        np.testing.assert_allclose(values, np.linalg.eigvalsh(Q.T @ self.matrix @ Q)[:-4:-1])
        vectors = span.combine(coefficients)
        np.testing.assert_allclose(vectors.T @ vectors, np.eye(3), atol=1e-12)
        found = span.residuals(values, coefficients)
        np.testing.assert_allclose(found, self.matrix @ vectors - vectors * values, atol=1e-12)

    def test_a_restart_keeps_columns_and_images(self):
        span = self.span(self.columns)
        values, coefficients = span.leading(3)
        after = span.restarted(coefficients)
        np.testing.assert_allclose(after.combine(np.eye(3)), span.combine(coefficients))
        np.testing.assert_allclose(after.leading(3)[0], values)

    def couplings_left(self, span):
        """Return the residual outside of a span of rounded images, of eigenvectors off by 1e-6."""
        values, vectors = np.linalg.eigh(self.matrix)
        near = vectors[:, -3:] + 1e-6 * vectors[:, 20:23]
        span.append(near, self.matrix @ near)
        more = np.linalg.qr(vectors[:, 20:23] + 0.1 * vectors[:, 30:33])[0]
        noise = np.random.default_rng(7).standard_normal(more.shape)
        span.append(more, self.matrix @ more + 1e-4 * noise)
        values, coefficients = span.leading(3)
        exact = self.matrix @ span.combine(coefficients) - span.combine(coefficients) * values
        return np.abs(vectors[:, 20:23].T @ exact).max()

    def test_rounded_images_do_not_spoil_what_couples_a_block_to_those_before(self):
        class FromNewImages(RitzSpan):
            """Planted fault: couplings from the images of the new block."""

            def append(self, block, images):
                super().append(block, images)
                old = len(self._quotient) - block.shape[1]
                rows = [each.T @ images for each in self._blocks[:-1]]
                for part, first in zip(rows, range(0, old, 3), strict=True):
                    self._quotient[first : first + 3, old:] = part
                    self._quotient[old:, first : first + 3] = part.T

        assert self.couplings_left(RitzSpan()) < 0.1 * self.couplings_left(FromNewImages())

    def test_dependent_columns_are_left_out(self):
        twice = np.hstack([self.columns, self.columns[:, :3] + 1e-9 * self.columns[:, 3:6]])
        values, coefficients = self.span(twice).leading(4)
        np.testing.assert_allclose(values, self.span(self.columns).leading(4)[0], rtol=1e-6)
        assert np.abs(coefficients).max() < 1e8

    def test_the_rest_of_a_block_is_outside_the_span(self):
        more = np.random.default_rng(6).standard_normal((150, 3))
        rest = more.copy()
        self.span(self.columns).take_out_of(rest)
        Q = np.linalg.qr(self.columns)[0]
        assert np.abs(Q.T @ rest).max() < 1e-11
        np.testing.assert_allclose(np.linalg.norm(rest, axis=0), 1)


def test_rounding_of_products_is_taken_out():
    Q = np.linalg.qr(np.random.default_rng(5).standard_normal((90, 6)))[0]
    assert orthonormalised(Q) is Q
    rough = orthonormalised(Q + 1e-8 * np.random.default_rng(6).standard_normal(Q.shape))
    np.testing.assert_allclose(rough.T @ rough, np.eye(6), atol=1e-14)


class TestCertificateInSinglePrecision:
    matrix = with_eigenvalues(DECAY)

    def certify(self, chosen, matrix=None, seed=5, **options):
        values, vectors = np.linalg.eigh(self.matrix if matrix is None else matrix)
        single = (self.matrix if matrix is None else matrix).astype(np.float32)
        return single_precision_certificate(
            options.get("apply", lambda X: single @ X),
            values[::-1][chosen],
            vectors[:, ::-1][:, chosen],
            norm=float(values[-1]),
            rng=np.random.default_rng(seed),
        )

    @pytest.mark.parametrize("seed", range(5, 15))
    def test_a_margin_is_enough(self, seed):
        found = self.certify(np.arange(8), seed=seed)
        assert found.complete
        assert found.value <= found.threshold < DECAY[7]

    @pytest.mark.parametrize("missing", range(7))
    def test_whatever_is_left_out_is_never_called_complete(self, missing):
        assert self.certify(np.delete(np.arange(8), missing)) is None

    @pytest.mark.parametrize("seed", range(30, 40))
    def test_a_missing_copy_is_never_called_complete(self, seed):
        assert self.certify(np.r_[0:3, 4:11], repeated_stimuli(seed), seed) is None

    @pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
    @pytest.mark.parametrize("gap", [0.0, 1e-6, 1e-5, 1e-4])
    def test_a_gap_that_float32_does_not_resolve_decides_nothing(self, gap, size):
        values = np.r_[np.linspace(2, 1, 6), 1 - gap, np.linspace(0.5, 0, 60)]
        assert self.certify(np.arange(6), with_eigenvalues(size * values)) is None

    def test_what_so_few_products_do_not_resolve_decides_nothing(self):
        matrix = np.diag(np.r_[np.linspace(2, 1, 6), np.linspace(0.9995, 0, 800)])
        assert self.certify(np.arange(6), matrix) is None

    def test_all_pairs_leave_nothing_to_look_at(self):
        assert self.certify(np.arange(150)) is None

    def test_numbers_that_overflow_decide_nothing(self):
        def overflow(X):
            raise InputError("gave NaN or infinite entries")

        assert self.certify(np.arange(8), apply=overflow) is None


def test_a_certificate_in_single_precision_stands_for_the_other():
    matrix = with_eigenvalues(DECAY)
    single = Operator(matrix.astype(np.float32), self_adjoint=True)
    op = with_coarse(matrix)
    op.astype = lambda dtype: single
    result = pairs(op, 8)
    assert_right(matrix, result, 8)
    assert op.columns == 16
    assert 0 < single.columns <= 48
    assert result.n_matvecs == op.columns + op.twin.columns + single.columns
    assert result.certificate_value <= result.certificate_threshold < result.values[-1]


def test_what_is_missing_is_found_through_both_certificates():
    values = DECAY.copy()
    matrix = with_eigenvalues(values)
    values[2] = 0
    op = with_coarse(matrix, with_eigenvalues(values))
    op.astype = lambda dtype: Operator(matrix.astype(dtype), self_adjoint=True)
    assert_right(matrix, pairs(op, 8), 8)


@pytest.mark.parametrize("k", [8, 40])
def test_memory_is_at_most_what_the_result_says(k):
    values = 1 / (1 + np.arange(30_000.0))
    op, twin = (
        aslinearoperator(scipy.sparse.diags_array(values.astype(dtype)).tocsr())
        for dtype in (np.float64, np.float32)
    )
    op.self_adjoint = twin.self_adjoint = True
    op.coarse = lambda: twin
    pairs(op, k)
    tracemalloc.start()
    result = pairs(op, k)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert result.method == LABEL
    assert 0.5 * result.cost.memory_bytes <= peak <= result.cost.memory_bytes
