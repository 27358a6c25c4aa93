"""What weight sites promise: shapes, features, and K, J, A and P from them alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics.cells.sites import WeightSites
from kpflow_numerics.kernels.columns import MOST_COLUMNS
from kpflow_numerics.testing import default_tolerance
from tests.cases.cells import EDGE_CASES, FLOAT32_CASES, SITE_CASES, CellCase
from tests.cases.cells_large import LARGE_CASES
from tests.cases.jacobians import Points, complex_step_jacobians

ALL = pytest.mark.parametrize("case", SITE_CASES + EDGE_CASES + FLOAT32_CASES, ids=str)
NAMES = {
    "vanilla-rnn": ("a",),
    "leaky-rnn": ("a",),
    "gru": ("r", "z", "nh", "n"),
    "lstm": ("i", "f", "g", "o"),
}


def sites_of(case: CellCase) -> WeightSites:
    sites = case.linearization().weight_sites
    assert sites is not None
    return sites


def k_from_features(sites: WeightSites) -> np.ndarray:
    """K as the sum of ``D X X* D`` over sites, a dense matrix on ``(B, T, S, H)`` flattened."""
    n_rows, n_slots, H = sites.gains[..., 0, 0, 0].size, sites.n_slots, sites.n_units
    gains = sites.gains.reshape(n_rows, -1, n_slots, H).astype(np.float64)
    K = np.zeros((n_rows, n_slots, H, n_rows, n_slots, H))
    units = np.arange(H)
    for group in sites.groups:
        X = group.weighted_features.reshape(n_rows, -1).astype(np.float64)
        for site in range(group.first_site, group.first_site + len(group.row_blocks)):
            D = gains[:, site]
            part = np.einsum("mah,mn,nbh->hmanb", D, X @ X.T, D)
            K[:, :, units, :, :, units] += part
    return K.reshape(n_rows * n_slots * H, -1)


def state_jacobians_from_sites(sites: WeightSites) -> np.ndarray:
    """``A (M, N, N)``, assembled entry by entry."""
    n_rows, n_slots, H = sites.gains[..., 0, 0, 0].size, sites.n_slots, sites.n_units
    gains = sites.gains.reshape(n_rows, -1, n_slots, H)
    carry = sites.carry.reshape(n_rows, n_slots, n_slots, H)
    inner = np.ones((n_rows, H)) if sites.inner is None else sites.inner.reshape(n_rows, H)
    A = np.zeros((n_rows, n_slots, H, n_slots, H))
    for site, weight in enumerate(
        np.split(sites.recurrent_weight, len(sites.recurrent_weight) // H)
    ):
        for slot in range(n_slots):
            A[:, slot, :, 0] += gains[:, site, slot, :, None] * weight * inner[:, None, :]
    for slot in range(n_slots):
        for source in range(n_slots):
            for unit in range(H):
                A[:, slot, unit, source, unit] += carry[:, slot, source, unit]
    return A.reshape(n_rows, n_slots * H, n_slots * H)


def assert_equal_matrices(found: np.ndarray, expected: np.ndarray, dtype: type) -> None:
    tolerance = default_tolerance(dtype, len(expected)) * np.abs(expected).max()
    error = np.abs(found - expected).max()
    assert error <= tolerance, f"matrices differ by {error:.1e}, tolerance {tolerance:.1e}"


@ALL
def test_shapes_precision_and_names(case: CellCase) -> None:
    cell, sites = case.cell, sites_of(case)
    n_slots = cell.n_state // cell.n_units
    n_sites = len(NAMES[cell.kind])
    assert sites.names == NAMES[cell.kind]
    grid = (case.n_trials, case.n_steps)
    assert sites.gains.shape == (*grid, n_sites, n_slots, cell.n_units)
    assert sites.carry.shape == (*grid, n_slots, n_slots, cell.n_units)
    assert (sites.inner is not None) == (vars(cell).get("form") == "current")
    arrays = [sites.gains, sites.carry, *(group.features for group in sites.groups)]
    if sites.inner is not None:
        assert sites.inner.shape == (*grid, cell.n_units)
        arrays.append(sites.inner)
    assert {array.dtype for array in arrays} == {np.dtype(case.dtype)}


@ALL
def test_every_parameter_stands_behind_one_column_of_one_site(case: CellCase) -> None:
    sites, counts = sites_of(case), {}
    for name, shape in case.cell.parameter_shapes.items():
        counts[name] = np.zeros(shape, int)
    members = []
    for group in sites.groups:
        members += range(group.first_site, group.first_site + len(group.row_blocks))
        columns = np.zeros(group.features.shape[-1], int)
        for segment in group.segments:
            columns[segment.columns] += len(segment.parameters)
            for name in segment.parameters:
                for rows in group.row_slices(sites.n_units):
                    part = counts[name][rows]
                    assert part.reshape(len(part), -1).shape[1] == len(
                        range(*segment.columns.indices(len(columns)))
                    )
                    part += 1
        np.testing.assert_array_equal(columns, group.multiplicity)
    assert members == list(range(len(sites.names)))
    for name, count in counts.items():
        np.testing.assert_array_equal(count, 1, err_msg=name)


@ALL
def test_a_column_of_ones_counts_its_biases(case: CellCase) -> None:
    for group in sites_of(case).groups:
        for segment in group.segments:
            is_bias = all(name.startswith("bias") for name in segment.parameters)
            features = group.features[..., segment.columns]
            if is_bias:
                np.testing.assert_array_equal(features, 1.0)
            else:
                assert len(segment.parameters) == 1
            squares = np.square(group.weighted_features[..., segment.columns])
            tolerance = default_tolerance(case.dtype)
            np.testing.assert_allclose(
                squares, len(segment.parameters) * np.square(features), rtol=tolerance
            )


@ALL
def test_k_from_the_features_is_j_times_its_adjoint(case: CellCase) -> None:
    lin = case.linearization()
    sites = sites_of(case)
    J = kpf.ParameterJacobian(lin).to_dense().astype(np.float64)
    K = k_from_features(sites)
    assert_equal_matrices(J @ J.T, K, case.dtype)
    assert_equal_matrices(kpf.ParameterOperator(lin).to_dense(), K, case.dtype)


@ALL
def test_one_column_equals_several(case: CellCase) -> None:
    sites, cell = sites_of(case), case.cell
    rng = np.random.default_rng(53)
    block = rng.standard_normal((case.n_trials, case.n_steps, cell.n_state, 3)).astype(case.dtype)
    theta = rng.standard_normal((cell.n_parameters, 3)).astype(case.dtype)
    shapes, unpack, pack = cell.parameter_shapes, cell.layout.unpack, cell.layout.pack
    for product, argument in (
        (sites.propagate, block),
        (sites.propagate_adjoint, block),
        (sites.state_jvp, block),
        (sites.state_vjp, block),
        (sites.param_gram, block),
        (lambda q: pack(sites.param_vjp(q, shapes)), block),
        (lambda v: sites.param_jvp(unpack(v)), theta),
    ):
        together = product(argument)
        for j in range(3):
            alone = product(np.ascontiguousarray(argument[..., j : j + 1]))
            scale = np.linalg.norm(together)
            error = np.linalg.norm(together[..., j] - alone[..., 0])
            assert error <= default_tolerance(case.dtype, block.size) * scale


@ALL
def test_k_in_the_place_of_its_argument_has_the_same_bits(case: CellCase) -> None:
    lin = case.linearization()
    rng = np.random.default_rng(59)
    block = rng.standard_normal((*lin.dims, 5)).astype(case.dtype)
    given = block.copy()
    expected = lin.param_gram(block)
    assert np.array_equal(block, given)
    assert np.array_equal(lin.param_gram(block, overwrite=True), expected)
    kernel = kpf.TangentKernel(lin)
    kernel.matmat(given.reshape(-1, 5))
    assert np.array_equal(
        given, np.random.default_rng(59).standard_normal(given.shape).astype(case.dtype)
    )


@pytest.mark.parametrize("k", [3, MOST_COLUMNS, MOST_COLUMNS + 1])
def test_sites_that_write_before_all_have_read_are_seen(k: int) -> None:
    # The fault that a product in place could have: one site after another on the same memory.
    case = next(each for each in SITE_CASES if str(each).startswith("gru"))
    sites = sites_of(case)
    block = np.random.default_rng(61).standard_normal((*case.linearization().dims, k))
    expected = sites.param_gram(block)
    parts = [sites.restricted_to(name) for name in sites.names]
    one_by_one = block.copy()
    for part in parts:
        one_by_one += part.param_gram(one_by_one)
    assert not np.allclose(one_by_one - block, expected)
    apart = sum(part.param_gram(block) for part in parts)
    assert_equal_matrices(apart.reshape(-1, 1), expected.reshape(-1, 1), case.dtype)


@pytest.mark.parametrize("case", SITE_CASES + EDGE_CASES + LARGE_CASES, ids=str)
def test_gains_and_carry_make_the_state_jacobians(case: CellCase) -> None:
    A, _ = complex_step_jacobians(Points.along(case.trajectory()).first(40))
    found = state_jacobians_from_sites(sites_of(case))[:40]
    assert np.abs(found - A).max() <= default_tolerance(np.float64, A.shape[1]) * np.abs(A).max()


@pytest.mark.parametrize("case", SITE_CASES + EDGE_CASES, ids=str)
def test_propagator_from_products_of_state_jacobians(case: CellCase) -> None:
    lin = case.linearization()
    n_trials, n_steps, n_state = lin.dims
    A = state_jacobians_from_sites(sites_of(case)).reshape(n_trials, n_steps, n_state, n_state)
    P = np.zeros((*lin.dims, *lin.dims))
    for b in range(n_trials):
        for s in range(n_steps):
            block = np.eye(n_state)
            for t in range(s, n_steps):
                P[b, t, :, b, s] = block
                if t + 1 < n_steps:
                    block = A[b, t + 1] @ block
    size = n_trials * n_steps * n_state
    assert_equal_matrices(kpf.Propagator(lin).to_dense(), P.reshape(size, size), case.dtype)


def test_k_of_the_current_form_is_a_kronecker_product() -> None:
    case = CellCase(kpf.LeakyRNN(2, 4, form="current", leak=0.3))
    lin, trajectory = case.linearization(), case.trajectory()
    n_rows = case.n_trials * case.n_steps
    V = np.concatenate(
        [
            np.tanh(trajectory.previous),
            trajectory.inputs,
            np.ones((*trajectory.inputs.shape[:2], 1)),
        ],
        axis=-1,
    ).reshape(n_rows, -1)
    expected = 0.3**2 * np.kron(V @ V.T, np.eye(4))
    assert_equal_matrices(kpf.ParameterOperator(lin).to_dense(), expected, np.float64)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_a_leak_of_one_is_the_vanilla_cell(activation: str) -> None:
    leaky = kpf.LeakyRNN(2, 4, leak=1.0, activation=activation, bias=False)
    vanilla = kpf.VanillaRNN(2, 4, activation=activation, bias=False)
    for found, expected in zip(
        (CellCase(leaky).trajectory().states, sites_of(CellCase(leaky)).gains),
        (CellCase(vanilla).trajectory().states, sites_of(CellCase(vanilla)).gains),
        strict=True,
    ):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("fault", ["gains", "features", "multiplicity", "order"])
def test_a_planted_fault_is_seen(fault: str) -> None:
    case = CellCase(kpf.GRU(2, 4))
    lin, sites = case.linearization(), sites_of(case)
    K = kpf.ParameterOperator(lin).to_dense()
    if fault == "gains":
        sites = replace(sites, gains=np.roll(sites.gains, 1, axis=1))
    elif fault == "features":
        first = sites.groups[0]
        wrong = replace(first, features=np.roll(first.features, 1, axis=1))
        sites = replace(sites, groups=(wrong, *sites.groups[1:]))
    elif fault == "multiplicity":
        first = sites.groups[0]
        one = tuple(replace(part, parameters=part.parameters[:1]) for part in first.segments)
        sites = replace(sites, groups=(replace(first, segments=one), *sites.groups[1:]))
    else:
        sites = replace(sites, gains=sites.gains[:, :, [1, 0, 2, 3]][:, ::-1])
    with pytest.raises(AssertionError, match="matrices differ"):
        assert_equal_matrices(K, k_from_features(sites), np.float64)
