import dataclasses

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics._validation import InputError, MemoryLimitError
from kpflow_numerics.spectral import published_rank
from kpflow_numerics.testing import default_tolerance
from tests.cases.cells import FLOAT32_CASES, SITE_CASES, CellCase
from tests.cases.operators import dense_network
from tests.cases.spectra import Operator

DIMS = (2, 6, 3)


def recomputed(matrix: np.ndarray, dims: tuple[int, int, int], n_leading: int | None = None):
    """Return the rank from its definition, one sum after the other."""
    n_trials, n_steps, n_units = dims
    A = matrix.astype(np.float64)
    gram = (A @ A.T).reshape(*dims, *dims)
    averaged = np.zeros((n_steps, n_steps))
    for b in range(n_trials):
        for i in range(n_units):
            averaged += gram[b, :, i].sum(axis=(1, 3)) / (n_trials * n_units)
    weights = np.sort(np.linalg.svd(averaged, compute_uv=False))[::-1] ** 2
    weights = weights[: 2 * n_steps // 3 if n_leading is None else n_leading]
    shares = np.concatenate([[0.0], np.cumsum(weights) / weights.sum()])
    count = np.flatnonzero(shares >= 0.95)[0]
    return count - 1 + (0.95 - shares[count - 1]) / (shares[count] - shares[count - 1])


def assert_published(estimate, matrix, dims, n_leading=None) -> None:
    wanted = recomputed(matrix, dims, n_leading)
    slack = 1e3 * default_tolerance(matrix.dtype, matrix.shape[0])
    assert abs(estimate.value - wanted) <= slack * wanted
    assert estimate.is_exact
    assert estimate.recipe == "paper-figure-4"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_leading", [None, 1, 5, 6])
@pytest.mark.parametrize("columns", [36, 20, 50])
def test_it_is_the_formula_on_any_matrix(dtype, n_leading, columns) -> None:
    matrix = np.random.default_rng(17).standard_normal((36, columns)).astype(dtype)
    estimate = published_rank(Operator(matrix, dimsd=DIMS), n_leading=n_leading)
    assert_published(estimate, matrix, DIMS, n_leading)
    assert estimate.n_matvecs == 2 * DIMS[1]


def test_a_self_adjoint_operator_is_squared_too() -> None:
    matrix = np.diag(np.repeat([1.0, 0.9, 0.8, 0.7], 3))
    op = Operator(matrix, self_adjoint=True, dimsd=(1, 4, 3))
    weights = np.array([1.0, 0.9, 0.8, 0.7]) ** 4
    sums = np.cumsum(weights)
    assert_published(published_rank(op, n_leading=4), matrix, (1, 4, 3), 4)
    target = 0.95 * sums[-1]
    by_hand = 3 + (target - sums[2]) / weights[3]
    assert published_rank(op, n_leading=4).value == pytest.approx(by_hand, rel=1e-12)


@pytest.mark.parametrize("case", [*SITE_CASES[:4], *FLOAT32_CASES[:2]], ids=str)
def test_it_is_the_formula_on_a_network(case: CellCase) -> None:
    dense, linearization = dense_network(case), case.linearization()
    P = dense.block_products().astype(case.dtype)
    assert_published(published_rank(kpf.Propagator(linearization)), P, linearization.dims)
    K = (dense.J @ dense.J.T).astype(case.dtype)
    assert_published(published_rank(kpf.ParameterOperator(linearization)), K, linearization.dims)


@pytest.mark.parametrize("fault", ["partial trace", "square root", "not truncated"])
def test_another_reading_is_told_apart(fault) -> None:
    matrix = np.random.default_rng(18).standard_normal((36, 36))
    estimate = published_rank(Operator(matrix, dimsd=DIMS))
    if fault == "partial trace":
        traced = kpf.partial_trace(Operator(matrix, dimsd=DIMS), ("trial", "unit")).matrix
        values = np.linalg.eigvalsh(traced)[::-1][:4]
        wrong = kpf.spectral.rank_from_weights(values, "variance-95-interpolated", "squared")
    elif fault == "square root":
        wrong = recomputed(np.linalg.cholesky(matrix @ matrix.T + 36 * np.eye(36)), DIMS)
    else:
        wrong = recomputed(matrix, DIMS, 6)
    with pytest.raises(AssertionError):
        assert_published(dataclasses.replace(estimate, value=wrong), matrix, DIMS)


def test_nothing_has_rank_zero_and_the_identity_nearly_the_number_kept() -> None:
    assert published_rank(Operator(np.zeros((36, 36)), dimsd=DIMS)).value == 0
    identity = published_rank(np.eye(36), dims=DIMS)
    assert identity.value == pytest.approx(0.95 * 4, rel=1e-12)
    assert published_rank(np.eye(1), dims=(1, 1, 1)).value == pytest.approx(0.95)


def test_bad_arguments_are_refused() -> None:
    op = Operator(np.eye(36), dimsd=DIMS)
    with pytest.raises(InputError, match="recipe must be one of 'paper-figure-4'; got 'paper'"):
        published_rank(op, "paper")
    for n_leading in (0, 7):
        with pytest.raises(InputError, match="n_leading must be"):
            published_rank(op, n_leading=n_leading)
    with pytest.raises(InputError, match="does not say its axes: pass dims"):
        published_rank(np.eye(36))
    with pytest.raises(MemoryLimitError, match="max_memory"):
        published_rank(op, max_memory=10)
