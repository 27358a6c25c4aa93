"""The parts of K by weight site: they sum to K, and each is a Gram operator of its own."""

from __future__ import annotations

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics.testing import assert_operator_matches_dense, default_tolerance, dot_test
from tests.cases.cells import EDGE_CASES, FLOAT32_CASES, OWN_CASES, SITE_CASES, CellCase
from tests.cases.operators import assert_self_adjoint, dense_network

ALL = pytest.mark.parametrize("case", SITE_CASES + EDGE_CASES + FLOAT32_CASES, ids=str)
IN_DOUBLE = pytest.mark.parametrize("case", SITE_CASES + EDGE_CASES, ids=str)
NORMALIZATIONS = pytest.mark.parametrize("normalization", ["sum", "mean"])


def site_columns(case: CellCase) -> dict[str, np.ndarray]:
    """The columns of J that belong to each site, from PyTorch's layout alone."""
    cell = case.cell
    places = cell.layout.unpack(np.arange(cell.n_parameters))
    H = cell.n_units
    gates = {"gru": ("r", "z", "n"), "lstm": ("i", "f", "g", "o")}.get(cell.kind, ("a",))
    columns: dict[str, list[np.ndarray]] = {}
    for name, indices in places.items():
        for gate, block in zip(gates, indices.reshape(len(gates), H, -1), strict=True):
            site = "nh" if gate == "n" and name.endswith("hh") else gate
            columns.setdefault(site, []).append(block.ravel())
    return {site: np.concatenate(parts) for site, parts in columns.items()}


@ALL
def test_each_site_is_the_gram_matrix_of_its_own_parameters(case: CellCase) -> None:
    J = dense_network(case).J
    sites = kpf.ParameterOperator(case.linearization()).sites
    expected = site_columns(case)
    assert set(sites) == set(expected)
    for name, operator in sites.items():
        own = np.zeros_like(J)
        own[:, expected[name]] = J[:, expected[name]]
        assert operator.dtype == case.dtype
        assert_operator_matches_dense(operator, own @ own.T, rng=21)
        assert_operator_matches_dense(operator.factor, own, rng=22)
        assert dot_test(operator.factor, rng=23).passed


@ALL
@NORMALIZATIONS
def test_the_sites_sum_to_k(case: CellCase, normalization: str) -> None:
    K = kpf.ParameterOperator(case.linearization(), normalization=normalization)
    matrix = K.to_dense()
    total = sum(site.to_dense() for site in K.sites.values())
    tolerance = default_tolerance(case.dtype, len(matrix)) * np.abs(matrix).max()
    assert np.abs(total - matrix).max() <= tolerance
    over_units = sum(site.exact_partial_trace(("unit",)) for site in K.sites.values())
    np.testing.assert_allclose(over_units, K.exact_partial_trace(("unit",)), rtol=1e-12)


@IN_DOUBLE
@NORMALIZATIONS
def test_closed_forms(case: CellCase, normalization: str) -> None:
    lin = case.linearization()
    for name, site in kpf.ParameterOperator(lin, normalization=normalization).sites.items():
        assert (site.site, site.normalization) == (name, normalization)
        matrix = site.to_dense()
        assert_self_adjoint(site)
        scale = np.linalg.norm(matrix)
        tolerance = default_tolerance("float64", len(matrix)) * scale
        assert abs(site.exact_trace() - np.trace(matrix)) <= tolerance
        assert abs(site.exact_frobenius_norm() - scale) <= tolerance
        eigenvalues = np.linalg.eigvalsh(matrix)[::-1]
        assert np.abs(site.exact_eigenvalues() - eigenvalues).max() <= tolerance
        values, vectors = site.exact_eigenpairs(3)
        assert np.abs(matrix @ vectors - vectors * values).max() <= tolerance
        factor = site.factor.to_dense()
        assert np.abs(factor @ factor.T - matrix).max() <= tolerance


def test_costs() -> None:
    site = kpf.ParameterOperator(SITE_CASES[-2].linearization()).sites["o"]
    for quantity in ("trace", "frobenius_norm", "eigenvalues", "eigenpairs", "schmidt"):
        assert site.exact_cost(quantity).flops > 0
    assert site.product_cost(3).flops == 3 * site.product_cost().flops
    assert kpf.frobenius_norm(site).method == "exact"


def test_a_swapped_site_is_seen() -> None:
    case = SITE_CASES[-2]
    lin = case.linearization()
    lin.weight_sites.gains[:, :, [0, 1]] = lin.weight_sites.gains[:, :, [1, 0]]
    J = dense_network(case).J[:, site_columns(case)["i"]]
    with pytest.raises(AssertionError):
        assert_operator_matches_dense(kpf.SiteOperator(lin, "i"), J @ J.T, rng=24)


def test_errors() -> None:
    lin = SITE_CASES[6].linearization()
    with pytest.raises(ValueError, match="site must be one of 'r', 'z', 'nh', 'n'; got 'h'"):
        kpf.SiteOperator(lin, "h")
    with pytest.raises(ValueError, match="normalization must be one of 'sum', 'mean'"):
        kpf.SiteOperator(lin, "r", normalization="average")
    with pytest.raises(TypeError, match="linearization must be a Linearization"):
        kpf.SiteOperator(lin.trajectory, "r")
    own = OWN_CASES[0].linearization()
    with pytest.raises(ValueError, match="must be of a cell with weight sites"):
        kpf.SiteOperator(own, "a")
    with pytest.raises(AttributeError, match="no weight sites"):
        _ = kpf.ParameterOperator(own).sites
    with pytest.raises(ValueError, match="name must be one of 'r', 'z', 'nh', 'n'"):
        lin.weight_sites.restricted_to("q")


@IN_DOUBLE
def test_a_restricted_site_holds_the_others_fixed(case: CellCase) -> None:
    sites = case.linearization().weight_sites
    everything = slice(None)
    whole = sites.state_jacobians(everything)
    parts = [sites.restricted_to(name).state_jacobians(everything) for name in sites.names]
    carried = np.zeros_like(whole)
    diagonal = np.arange(sites.n_units)
    slots = carried.reshape(*whole.shape[:2], sites.n_slots, sites.n_units, sites.n_slots, -1)
    slots[:, :, :, diagonal, :, diagonal] = sites.carry.transpose(4, 0, 1, 2, 3)
    total = sum(part - carried for part in parts) + carried
    np.testing.assert_allclose(total, whole, atol=default_tolerance("float64", 4))
