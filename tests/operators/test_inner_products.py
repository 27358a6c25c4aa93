"""Exact inner products ``tr(A B)`` equal what the dense matrices give, for every pair."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import product

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics.operators import StructuredOperator, _inner_products, _kernel_seeds
from kpflow_numerics.operators._site_terms import SiteTerms, site_terms
from kpflow_numerics.testing import default_tolerance
from tests.cases.cells import (
    EDGE_CASES,
    FLOAT32_CASES,
    OWN_CASES,
    SITE_CASES,
    CellCase,
)

CASES = pytest.mark.parametrize("case", SITE_CASES + EDGE_CASES, ids=str)

KINDS: dict[str, Callable[[kpf.Linearization], StructuredOperator]] = {
    "K": kpf.ParameterOperator,
    "K-mean": partial(kpf.ParameterOperator, normalization="mean"),
    "K_g": lambda lin: next(reversed(kpf.ParameterOperator(lin).sites.values())),
    "core": kpf.KroneckerCore,
    "PP*": kpf.PropagatorGram,
    "NTK": kpf.TangentKernel,
}
OF_SITES = ("K", "K-mean", "K_g", "core")
CLOSED = {*product(OF_SITES, OF_SITES), *product((*OF_SITES, "PP*", "NTK"), ["PP*"])}


def is_closed(first: str, second: str) -> bool:
    return (first, second) in CLOSED or (second, first) in CLOSED


def assert_is_inner_product(found: float | None, A: np.ndarray, B: np.ndarray) -> None:
    """Assert ``tr(A B)`` relative to the norms: near-orthogonal pairs lose digits to no one."""
    assert found is not None
    scale = np.linalg.norm(A) * np.linalg.norm(B)
    assert abs(found - np.vdot(A, B)) <= default_tolerance(np.float64, len(A), factor=20) * scale


def other_checkpoint(case: CellCase) -> kpf.Linearization:
    return replace(case, seed=case.seed + 11).linearization()


def assert_every_pair(first: kpf.Linearization, second: kpf.Linearization) -> None:
    of_first = {name: make(first) for name, make in KINDS.items()}
    of_second = {name: make(second) for name, make in KINDS.items()}
    dense_first = {name: operator.to_dense() for name, operator in of_first.items()}
    dense_second = {name: operator.to_dense() for name, operator in of_second.items()}
    for a, b in product(KINDS, KINDS):
        A, B = of_first[a], of_second[b]
        found, swapped = A.exact_inner_product(B), B.exact_inner_product(A)
        if not is_closed(a, b):
            assert found is None
            assert swapped is None
            assert A.exact_inner_product_cost(B) is None
            continue
        assert_is_inner_product(found, dense_first[a], dense_second[b])
        assert_is_inner_product(swapped, dense_first[a], dense_second[b])
        cost = A.exact_inner_product_cost(B)
        assert cost is not None
        assert cost.flops > 0
        assert cost.memory_bytes > 0


@CASES
def test_every_pair_of_one_linearization(case: CellCase) -> None:
    lin = case.linearization()
    assert_every_pair(lin, lin)


@CASES
def test_every_pair_of_two_checkpoints(case: CellCase) -> None:
    assert_every_pair(case.linearization(), other_checkpoint(case))


CELLS = [kpf.VanillaRNN(2, 4), kpf.LeakyRNN(2, 4, form="current"), kpf.GRU(2, 4), kpf.LSTM(2, 2)]


@pytest.mark.parametrize("first", CELLS, ids=lambda cell: cell.kind)
@pytest.mark.parametrize("second", CELLS, ids=lambda cell: cell.kind)
def test_every_pair_of_two_cells_of_one_state_size(first, second) -> None:
    assert_every_pair(CellCase(first).linearization(), CellCase(second, seed=77).linearization())


@pytest.mark.parametrize("case", SITE_CASES, ids=str)
@pytest.mark.parametrize("rows", [1, 4, 15, 16])
def test_chunks_of_rows_add_up(case: CellCase, rows: int, monkeypatch) -> None:
    monkeypatch.setattr(_inner_products, "ROWS_AT_A_TIME", rows)
    K, other = (
        kpf.ParameterOperator(case.linearization()),
        kpf.ParameterOperator(other_checkpoint(case)),
    )
    assert_is_inner_product(K.exact_inner_product(other), K.to_dense(), other.to_dense())


@pytest.mark.parametrize("case", SITE_CASES, ids=str)
@pytest.mark.parametrize("columns", [1, 3, 1000])
def test_chunks_of_columns_add_up(case: CellCase, columns: int, monkeypatch) -> None:
    monkeypatch.setattr(_kernel_seeds, "COLUMNS_AT_A_TIME", columns)
    NTK, gram = kpf.TangentKernel(case.linearization()), kpf.PropagatorGram(other_checkpoint(case))
    assert_is_inner_product(NTK.exact_inner_product(gram), NTK.to_dense(), gram.to_dense())


@CASES
def test_the_two_ways_to_k_with_the_gramian_agree(case: CellCase) -> None:
    lin = case.linearization()
    terms, A = site_terms(lin.weight_sites).of_trial(0), _inner_products.trial_jacobians(lin, 0)
    seeds = _kernel_seeds.unit_seeds(terms)
    scans = sum(_inner_products.squared_norm_of_adjoint_scan(A, Z) for Z in seeds.blocks())
    blocks = _inner_products.trial_of_sites_and_gramian(terms, A)
    size = lin.dims[1] * lin.dims[2]
    assert scans == pytest.approx(blocks, rel=default_tolerance(np.float64, size))


def smooth_gru() -> kpf.Linearization:
    """Return one whose activity in a trial has a low rank: nearly constant inputs."""
    cell = kpf.GRU(2, 6)
    time = np.linspace(0, 1, 24)
    inputs = np.stack([np.stack([np.cos(time), np.sin(b + time)], axis=-1) for b in range(2)])
    return kpf.linearize(kpf.simulate(cell, cell.init_params(gain=0.4, rng=5), inputs))


def test_low_rank_activity_takes_few_seeds_and_the_scans(monkeypatch) -> None:
    lin = smooth_gru()
    K, gram, NTK = kpf.ParameterOperator(lin), kpf.PropagatorGram(lin), kpf.TangentKernel(lin)
    terms = site_terms(lin.weight_sites).of_trial(0)
    seeds = _kernel_seeds.unit_seeds(terms)
    assert seeds.n_above_rounding < terms.n_units * lin.dims[1] / 2

    def refuse(*arguments: object) -> float:
        raise AssertionError("the dearer way was taken")

    monkeypatch.setattr(_inner_products, "trial_of_sites_and_gramian", refuse)
    for operator in (K, NTK):
        found = operator.exact_inner_product(gram)
        assert_is_inner_product(found, operator.to_dense(), gram.to_dense())


@pytest.mark.parametrize("case", SITE_CASES, ids=str)
def test_seeds_are_a_factor_of_the_trial(case: CellCase) -> None:
    lin = case.linearization()
    terms = site_terms(lin.weight_sites).of_trial(1)
    (block,) = _kernel_seeds.unit_seeds(terms).blocks()
    L = block.reshape(-1, block.shape[-1])
    K = kpf.ParameterOperator(lin).to_dense().reshape(*lin.dims, *lin.dims)[1, :, :, 1]
    K = K.reshape(len(L), -1)
    assert np.abs(L @ L.T - K).max() <= default_tolerance(np.float64, len(L)) * np.abs(K).max()


@CASES
def test_an_operator_with_itself_gives_its_squared_norm(case: CellCase) -> None:
    lin = case.linearization()
    for name in ("K", "K-mean", "core", "PP*"):
        operator = KINDS[name](lin)
        assert operator.exact_inner_product(operator) == pytest.approx(
            operator.exact_frobenius_norm() ** 2, rel=default_tolerance(np.float64, 1000)
        )


@pytest.mark.parametrize("case", FLOAT32_CASES, ids=str)
def test_single_precision_operators_are_worked_on_in_double(case: CellCase) -> None:
    lin = case.linearization()
    for a, b in CLOSED:
        A, B = KINDS[a](lin), KINDS[b](lin)
        dense_a, dense_b = (each.to_dense().astype(np.float64) for each in (A, B))
        scale = np.linalg.norm(dense_a) * np.linalg.norm(dense_b)
        error = abs(A.exact_inner_product(B) - np.vdot(dense_a, dense_b))
        assert error <= default_tolerance(np.float32, len(dense_a)) * scale


@pytest.mark.parametrize("case", OWN_CASES, ids=str)
def test_a_cell_without_sites_has_what_needs_none(case: CellCase) -> None:
    lin = case.linearization()
    K, gram, NTK = kpf.ParameterOperator(lin), kpf.PropagatorGram(lin), kpf.TangentKernel(lin)
    core = kpf.KroneckerCore(lin)
    assert_is_inner_product(core.exact_inner_product(gram), core.to_dense(), gram.to_dense())
    for pair in ((K, K), (K, core), (K, gram), (NTK, gram), (gram, NTK), (NTK, K)):
        assert pair[0].exact_inner_product(pair[1]) is None
        assert pair[0].exact_inner_product_cost(pair[1]) is None
    site_case = CellCase(
        kpf.GRU(2, lin.dims[2]), n_trials=case.n_trials, n_steps=case.n_steps
    ).linearization()
    for kind in (kpf.ParameterOperator, kpf.PropagatorGram, kpf.TangentKernel):
        other = kind(site_case)
        found = gram.exact_inner_product(other)
        assert_is_inner_product(found, gram.to_dense(), other.to_dense())


def test_other_shapes_and_other_operators_have_no_closed_form() -> None:
    lin = SITE_CASES[0].linearization()
    K = kpf.ParameterOperator(lin)
    others = [
        kpf.ParameterOperator(replace(SITE_CASES[0], n_steps=4).linearization()),
        kpf.Propagator(lin),
        np.eye(K.shape[0]),
    ]
    for other in others:
        assert K.exact_inner_product(other) is None
        assert K.exact_inner_product_cost(other) is None


def test_the_costs_follow_the_sizes() -> None:
    def flops(first: str, second: str, **sizes: int) -> float:
        case = replace(CellCase(kpf.GRU(2, sizes.pop("units", 8)), n_steps=24), **sizes)
        rng = np.random.default_rng(5)
        inputs = rng.standard_normal((case.n_trials, case.n_steps, 2))
        lin = kpf.linearize(kpf.simulate(case.cell, case.params(), inputs))
        cost = KINDS[first](lin).exact_inner_product_cost(KINDS[second](lin))
        assert cost is not None
        return cost.flops

    assert flops("K", "K", n_trials=6) == pytest.approx(4 * flops("K", "K"))
    assert flops("PP*", "PP*", n_trials=6) == pytest.approx(2 * flops("PP*", "PP*"))
    assert flops("PP*", "PP*", units=16) == pytest.approx(8 * flops("PP*", "PP*"))
    assert flops("NTK", "PP*", n_trials=6) == pytest.approx(2 * flops("NTK", "PP*"), rel=0.1)


def without_a_slot(terms: SiteTerms) -> SiteTerms:
    gains = tuple(D * np.array([1.0, 0.0])[:, None] for D in terms.gains)
    return SiteTerms(terms.dims, terms.features, gains, terms.scale)


def without_a_group(terms: SiteTerms) -> SiteTerms:
    return SiteTerms(terms.dims, terms.features[:-1], terms.gains[:-1], terms.scale)


def with_unweighted_bias(terms: SiteTerms) -> SiteTerms:
    features = tuple(X / np.where(np.ptp(X, axis=0) == 0, np.sqrt(2), 1.0) for X in terms.features)
    return SiteTerms(terms.dims, features, terms.gains, terms.scale)


@pytest.mark.parametrize(
    ("cell", "fault"),
    [
        (kpf.LSTM(2, 4), without_a_slot),
        (kpf.LSTM(2, 4), SiteTerms.without_coupling_of_slots),
        (kpf.GRU(2, 4), without_a_group),
        (kpf.LSTM(2, 4), with_unweighted_bias),
    ],
)
def test_planted_faults_in_the_sites_are_seen(cell, fault, monkeypatch) -> None:
    lin, other = CellCase(cell).linearization(), other_checkpoint(CellCase(cell))
    monkeypatch.setattr(
        _inner_products, "site_terms", lambda *arguments: fault(site_terms(*arguments))
    )
    for a, b in (("K", "K"), ("K", "PP*"), ("NTK", "PP*")):
        A, B = KINDS[a](lin), KINDS[b](other)
        with pytest.raises(AssertionError):
            assert_is_inner_product(A.exact_inner_product(B), A.to_dense(), B.to_dense())


@pytest.mark.parametrize("fault", ["swapped", "late"])
def test_planted_faults_in_the_jacobians_are_seen(fault, monkeypatch) -> None:
    case = CellCase(kpf.GRU(2, 4))
    lin, other = case.linearization(), other_checkpoint(case)
    sound = _inner_products.trial_jacobians

    def faulty(linearization: kpf.Linearization, trial: int) -> np.ndarray:
        A = sound(linearization, trial)
        return A.transpose(0, 2, 1) if fault == "swapped" else np.roll(A, 1, axis=0)

    monkeypatch.setattr(_inner_products, "trial_jacobians", faulty)
    for a in ("K", "PP*", "NTK"):
        A, B = KINDS[a](lin), kpf.PropagatorGram(other)
        with pytest.raises(AssertionError):
            assert_is_inner_product(A.exact_inner_product(B), A.to_dense(), B.to_dense())
