"""Both ends of the spectrum of P: from its products, and from those of its sparse inverse."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics.testing import assert_singular_triplets, default_tolerance
from tests.cases.cells import CELL_CASES, FLOAT32_CASES, CellCase
from tests.cases.operators import dense_network

METHODS = ("auto", "block-diagonal", "block-krylov")


@pytest.mark.parametrize("case", CELL_CASES, ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_both_ends(case: CellCase, method: str) -> None:
    matrix = dense_network(case).block_products()
    P = kpf.Propagator(case.linearization())
    k = min(4, len(matrix))
    top = kpf.top_singular_triplets(P, k, method=method, rng=7)
    assert_singular_triplets(matrix, top, k=k)
    bottom = kpf.smallest_singular_triplets(P, k, method=method, rng=7)
    assert_singular_triplets(matrix, bottom, k=k, smallest=True)
    assert bottom.method.startswith("inverse, ")


@pytest.mark.parametrize("case", CELL_CASES, ids=str)
def test_the_largest_are_the_inverses_of_the_smallest_of_the_inverse(case: CellCase) -> None:
    sigma = np.linalg.svd(dense_network(case).block_products(), compute_uv=False)
    P = kpf.Propagator(case.linearization())
    largest = kpf.top_singular_triplets(P, 1, method="dense").values[0]
    through_p = kpf.smallest_singular_triplets(P.inverse, 1, method="dense")
    assert through_p.method == "inverse, dense"
    assert 1 / through_p.values[0] == pytest.approx(sigma[0], rel=1e-12)
    smallest = kpf.smallest_singular_triplets(P.inverse.to_dense(), 1, method="dense").values[0]
    assert largest == pytest.approx(sigma[0], rel=1e-12)
    condition = sigma[0] / sigma[-1]
    assert 1 / smallest == pytest.approx(sigma[0], rel=1e-12 * condition)
    bottom = kpf.smallest_singular_triplets(P, 1, method="dense").values[0]
    top = kpf.top_singular_triplets(P.inverse, 1, method="dense").values[0]
    assert bottom * top == pytest.approx(1, rel=1e-12)
    assert bottom == pytest.approx(sigma[-1], rel=1e-12 * condition)


@pytest.mark.parametrize("case", FLOAT32_CASES, ids=str)
def test_single_precision(case: CellCase) -> None:
    sigma = np.linalg.svd(dense_network(case).block_products(), compute_uv=False)
    P = kpf.Propagator(case.linearization())
    tolerance = default_tolerance(np.float32, len(sigma))
    for method in METHODS:
        top = kpf.top_singular_triplets(P, 3, method=method, rng=7)
        bottom = kpf.smallest_singular_triplets(P, 3, method=method, rng=7)
        assert top.values.dtype == bottom.values.dtype == np.float32
        np.testing.assert_allclose(top.values, sigma[:3], rtol=max(tolerance, top.tolerance))
        np.testing.assert_allclose(bottom.values, sigma[:-4:-1], rtol=10 * tolerance)


def test_a_planted_fault_is_seen() -> None:
    case = CELL_CASES[0]
    matrix = dense_network(case).block_products()
    P = kpf.Propagator(case.linearization())
    bottom = kpf.smallest_singular_triplets(P, 3)
    shifted = dataclasses.replace(bottom, values=bottom.values * 1.001)
    with pytest.raises(AssertionError, match="residuals"):
        assert_singular_triplets(matrix, shifted, k=3, smallest=True)
