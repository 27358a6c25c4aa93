"""What is true of the effective rank of a site over trials and time, and what is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics.analysis import rank_bound
from kpflow_numerics.cells.sites import Segment, SiteGroup, WeightSites
from kpflow_numerics.testing import default_tolerance
from tests.cases.cells import EDGE_CASES, OWN_CASES, SITE_CASES, CellCase

CASES = pytest.mark.parametrize("case", SITE_CASES + EDGE_CASES, ids=str)
CURRENT_CASES = tuple(case for case in SITE_CASES if vars(case.cell).get("form") == "current")


def participation_ratio(matrix: np.ndarray) -> float:
    weights = np.linalg.eigvalsh(matrix)
    return float(weights.sum() ** 2 / np.square(weights).sum())


def site_of(X: np.ndarray, D: np.ndarray) -> WeightSites:
    """Return one site with features ``X (M, m)`` and gains ``D (M, H)``."""
    M, H = D.shape
    segments = (Segment(slice(0, X.shape[1]), ("weight",)),)
    group = SiteGroup(X[None], segments, first_site=0, row_blocks=(0,))
    gains = np.ascontiguousarray(D).reshape(1, M, 1, 1, H)
    carry = np.zeros((1, M, 1, 1, H))
    return WeightSites(("a",), gains, carry, None, np.zeros((0, H)), (group,))


def bound_of(X: np.ndarray, D: np.ndarray) -> kpf.RankBound:
    return rank_bound._site_bound("a", site_of(X, D))


def random_site(rng: np.random.Generator, kind: int) -> tuple[np.ndarray, np.ndarray]:
    """Return features and gains of many kinds: turning, of one sign, of low rank, sparse."""
    M, m, H = (int(size) for size in rng.integers((2, 1, 1), (30, 12, 12)))
    X, D = rng.standard_normal((M, m)), rng.standard_normal((M, H))
    if kind % 2:
        X = X[:, :1] + 0.1 * X
    if kind % 3 == 1:
        D = np.abs(D) ** rng.uniform(0.1, 3.0)
    if kind % 5 == 2:
        D *= np.exp(rng.standard_normal((M, 1)))
    if kind % 7 == 3:
        D[rng.random((M, H)) < 0.5] = 0.0
        X[rng.random(M) < 0.2] = 0.0
    return X, D


@CASES
def test_every_number_against_dense_matrices(case: CellCase) -> None:
    lin = case.linearization()
    K = kpf.ParameterOperator(lin)
    results = kpf.rank_bounds(lin)
    assert [each.site for each in results] == [*K.sites]
    n_rows = case.n_trials * case.n_steps
    for each, operator in zip(results, K.sites.values(), strict=True):
        matrix = operator.to_dense()
        kernel = np.einsum("btncsn->btcs", matrix.reshape(*lin.dims, *lin.dims))
        kernel = kernel.reshape(n_rows, n_rows)
        tolerance = default_tolerance("float64", len(matrix))
        assert abs(each.effective_rank / participation_ratio(kernel) - 1.0) <= tolerance
        group = operator._sites.groups[0]
        X = group.weighted_features.reshape(n_rows, -1)
        assert abs(each.effective_dimension / participation_ratio(X @ X.T) - 1.0) <= tolerance
        weighted = np.sqrt(np.diag(kernel)[:, None] / np.square(X).sum(axis=1)[:, None]) * X
        expected = participation_ratio(weighted @ weighted.T)
        assert abs(each.weighted_dimension / expected - 1.0) <= tolerance
        S, H = operator._sites.n_slots, case.cell.n_units
        blocks = matrix.reshape(n_rows, S, H, n_rows, S, H)
        units = [
            participation_ratio(blocks[:, :, i, :, :, i].reshape(S * n_rows, -1))
            for i in range(H)
            if np.abs(blocks[:, :, i]).max() > 0
        ]
        assert abs(each.largest_unit_rank / max(units) - 1.0) <= tolerance
        above = sum(rank > each.effective_dimension * (1 + tolerance) for rank in units)
        assert each.n_units_above == above
        assert each.algebraic_rank == np.linalg.matrix_rank(kernel, hermitian=True)
        assert each.feature_rank == np.linalg.matrix_rank(X)
        assert each.algebraic_rank <= min(n_rows, each.feature_rank * each.gain_rank)
        for i in range(H):
            block = blocks[:, :, i, :, :, i].reshape(S * n_rows, -1)
            assert np.linalg.matrix_rank(block, hermitian=True) <= each.feature_rank


@CASES
def test_the_proven_bounds_hold(case: CellCase) -> None:
    for each in kpf.rank_bounds(case.linearization()):
        assert each.bound_holds
        assert 0.0 <= each.coherence <= 1.0


@pytest.mark.parametrize("kind", range(60))
def test_the_proven_bounds_hold_for_any_features_and_gains(kind: int) -> None:
    rng = np.random.default_rng(1000 + kind)
    each = bound_of(*random_site(rng, kind))
    assert each.bound_holds
    assert each.effective_rank > 0


@pytest.mark.parametrize("kind", range(20))
def test_the_coherence_bounds_every_weighting(kind: int) -> None:
    # The inequality behind the bound, for features that the gains know nothing of.
    rng = np.random.default_rng(2000 + kind)
    _, D = random_site(rng, kind)
    D = D[np.square(D).sum(axis=1) > 0]
    E = D @ D.T
    coherence = rank_bound._coherence(E)
    norms = np.sqrt(E.diagonal())
    squared_cosines = np.square(E / np.multiply.outer(norms, norms))
    for rank in (1, 2, len(E)):
        X = rng.standard_normal((len(E), rank)) * np.exp(rng.standard_normal((len(E), 1)))
        W = np.square(X @ X.T)
        lhs = float((W * squared_cosines).sum())
        assert lhs >= (coherence - default_tolerance("float64", len(E))) * W.sum()


@pytest.mark.parametrize("case", CURRENT_CASES, ids=str)
def test_constant_gains_reach_the_published_bound(case: CellCase) -> None:
    (each,) = kpf.rank_bounds(case.linearization())
    tolerance = default_tolerance("float64", case.n_trials * case.n_steps)
    assert each.literal_holds
    assert abs(each.effective_rank / each.effective_dimension - 1.0) <= tolerance
    assert abs(each.bound / each.effective_dimension - 1.0) <= tolerance
    assert abs(each.coherence - 1.0) <= tolerance
    assert (each.gain_rank, each.n_units_above) == (1, 0)


@pytest.mark.parametrize("n_rows", [2, 9])
def test_orthogonal_gains_contradict_the_published_bound(n_rows: int) -> None:
    each = bound_of(np.ones((n_rows, 1)), np.eye(n_rows))
    assert each.effective_rank == pytest.approx(n_rows, rel=1e-12)
    assert each.effective_dimension == pytest.approx(1.0, rel=1e-12)
    assert not each.literal_holds
    assert each.bound_holds
    assert each.bound == pytest.approx(n_rows, rel=1e-4)
    assert each.coherence == pytest.approx(1 / n_rows, rel=1e-4)


def test_a_gru_with_constant_inputs_contradicts_it() -> None:
    cell = kpf.GRU(3, 8)
    lin = kpf.linearize(kpf.simulate(cell, cell.init_params(rng=3), np.ones((2, 5, 3))))
    each = kpf.rank_bounds(lin)[-1]
    assert each.site == "n"
    assert each.feature_rank == 1
    assert each.effective_rank > 1.001 > each.effective_dimension
    assert (each.literal_holds, each.bound_holds) == (False, True)


def test_gains_of_equal_norm_reverse_it() -> None:
    rng = np.random.default_rng(51)
    X, D = rng.standard_normal((12, 5)), rng.standard_normal((12, 4))
    D /= np.linalg.norm(D, axis=1)[:, None]
    each = bound_of(X, D)
    assert each.weighted_dimension == pytest.approx(each.effective_dimension, rel=1e-12)
    assert each.effective_rank > each.effective_dimension


def test_parallel_gains_may_go_either_way() -> None:
    X = np.diag([1.0, 0.1])
    raised = bound_of(X, np.array([[0.1], [1.0]]))
    lowered = bound_of(np.eye(2), np.array([[0.1], [1.0]]))
    assert not raised.literal_holds
    assert lowered.literal_holds
    for each in (raised, lowered):
        assert each.coherence == pytest.approx(1.0, rel=1e-12)
        assert each.bound == pytest.approx(each.effective_rank, rel=1e-9)
    assert raised.n_units_above == 1


def test_stationary_gains_multiply_the_ranks() -> None:
    # Q 1 is constant for gains that turn uniformly: the bound is PR(W) PR(C).
    angles = 2 * np.pi * np.arange(10) / 10
    D = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    each = bound_of(np.ones((10, 1)), D)
    assert each.bound == pytest.approx(participation_ratio(D @ D.T), rel=1e-4)
    assert each.effective_rank == pytest.approx(each.bound, rel=1e-4)


def test_a_site_without_gains() -> None:
    each = bound_of(np.ones((4, 2)), np.zeros((4, 3)))
    assert (each.effective_rank, each.bound, each.algebraic_rank) == (0.0, 0.0, 0)
    assert each.literal_holds
    assert each.bound_holds


@pytest.mark.parametrize("fault", ["coherence", "entries"])
def test_a_bound_that_is_too_small_is_seen(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    X, D = np.ones((6, 1)), np.eye(6)
    if fault == "coherence":
        monkeypatch.setattr(rank_bound, "_coherence", lambda E: 1.0)
    else:
        monkeypatch.setattr(rank_bound, "_bound_by_entries", lambda norms, squared, E: 2.0)
    assert not bound_of(X, D).bound_holds


def test_results_are_frozen_and_compare() -> None:
    first, second = (kpf.rank_bounds(SITE_CASES[6].linearization()) for _ in range(2))
    assert first == second
    with pytest.raises(AttributeError, match="cannot assign"):
        first[0].site = "a"
    assert replace(first[0], site="a") != first[0]


def test_errors() -> None:
    with pytest.raises(TypeError, match="linearization must be a Linearization"):
        kpf.rank_bounds(SITE_CASES[0].trajectory())
    with pytest.raises(ValueError, match="must be of a cell with weight sites"):
        kpf.rank_bounds(OWN_CASES[0].linearization())
    with pytest.raises(MemoryError, match="rank_bounds with B T = 15 needs"):
        kpf.rank_bounds(SITE_CASES[0].linearization(), max_memory=1000)


def test_one_line_for_people() -> None:
    cell = kpf.GRU(n_inputs=3, n_units=8)
    lin = kpf.linearize(kpf.simulate(cell, cell.init_params(rng=3), np.ones((2, 5, 3))))
    assert repr(kpf.rank_bounds(lin)[-1]) == (
        "RankBound(site 'n': effective rank 1.002, above the features' 1; proven bound 1.008)"
    )
