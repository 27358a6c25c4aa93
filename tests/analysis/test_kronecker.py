"""Schmidt decompositions and cosines with the core equal what dense matrices give."""

from __future__ import annotations

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics._validation import InputError
from kpflow_numerics.operators import StructuredOperator, _schmidt
from kpflow_numerics.testing import default_tolerance
from tests.cases.cells import EDGE_CASES, FLOAT32_CASES, OWN_CASES, SITE_CASES, CellCase

CASES = pytest.mark.parametrize("case", SITE_CASES + EDGE_CASES, ids=str)
CONSTANT_GAIN = tuple(
    CellCase(kpf.LeakyRNN(2, 4, form="current", leak=0.3, activation=activation, bias=bias))
    for activation in ("tanh", "relu")
    for bias in (True, False)
)


def realigned(matrix: np.ndarray, dims: tuple[int, int, int]) -> np.ndarray:
    n_rows, n_state = dims[0] * dims[1], dims[2]
    blocks = matrix.reshape(n_rows, n_state, n_rows, n_state).transpose(0, 2, 1, 3)
    return blocks.reshape(n_rows**2, n_state**2)


def assert_schmidt(result: kpf.SchmidtResult, operator: StructuredOperator) -> None:
    matrix = operator.to_dense().astype(np.float64)
    singular = np.linalg.svd(realigned(matrix, operator.dims), compute_uv=False)
    tolerance = default_tolerance("float64", len(matrix))
    norm = np.linalg.norm(matrix)
    count = min(len(singular), len(result.values))
    squares = np.square(result.values[:count])
    assert np.abs(squares - np.square(singular[:count])).max() <= tolerance * norm**2
    assert abs(np.square(result.values).sum() - norm**2) <= tolerance * norm**2
    weights = np.square(singular) / norm**2
    assert abs(result.rank * np.square(weights).sum() - 1.0) <= tolerance
    assert abs(result.distance - np.linalg.norm(singular[1:]) / norm) <= tolerance
    # The nearest Kronecker product, which only a separated leading value makes unique.
    course = realigned(matrix, operator.dims) @ result.unit_factor.ravel()
    product = np.multiply.outer(course, result.unit_factor.ravel())
    rest = np.linalg.norm(realigned(matrix, operator.dims) - product) / norm
    assert abs(rest - result.distance) <= tolerance
    assert np.trace(result.unit_factor) >= 0
    assert abs(np.linalg.norm(result.unit_factor) - 1.0) <= tolerance


@CASES
def test_k_and_its_sites(case: CellCase) -> None:
    K = kpf.ParameterOperator(case.linearization(), normalization="mean")
    for operator in (K, *K.sites.values()):
        result = kpf.schmidt_decomposition(operator)
        assert (result.method, result.n_matvecs) == ("exact", 0)
        assert_schmidt(result, operator)
        norm = operator.exact_frobenius_norm()
        assert abs(np.linalg.norm(result.values) / norm - 1.0) <= 1e-12


@pytest.mark.parametrize("case", [SITE_CASES[0], SITE_CASES[6], SITE_CASES[8]], ids=str)
@pytest.mark.parametrize("tile", [1, 4, 7])
def test_tiles_change_nothing(case: CellCase, tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_schmidt, "TILE", tile)
    K = kpf.ParameterOperator(case.linearization())
    assert_schmidt(kpf.schmidt_decomposition(K, method="exact"), K)


@pytest.mark.parametrize("case", [*SITE_CASES[::3], OWN_CASES[0]], ids=str)
def test_the_dense_way_is_the_same(case: CellCase) -> None:
    lin = case.linearization()
    for operator in (kpf.ParameterOperator(lin), kpf.KroneckerCore(lin), kpf.TangentKernel(lin)):
        result = kpf.schmidt_decomposition(operator, method="dense")
        assert (result.method, result.n_matvecs) == ("dense", operator.shape[0])
        assert_schmidt(result, operator)


def test_an_operator_that_is_not_self_adjoint_means_its_gram_operator() -> None:
    lin = SITE_CASES[6].linearization()
    assert_schmidt(kpf.schmidt_decomposition(kpf.Propagator(lin)), kpf.PropagatorGram(lin))


@pytest.mark.parametrize("case", FLOAT32_CASES, ids=str)
def test_single_precision(case: CellCase) -> None:
    K = kpf.ParameterOperator(case.linearization())
    expected = np.linalg.svd(realigned(K.to_dense(), K.dims), compute_uv=False)
    result = kpf.schmidt_decomposition(K)
    tolerance = default_tolerance("float32", K.shape[0]) * expected[0]
    assert abs(result.values[0] - expected[0]) <= tolerance


@pytest.mark.parametrize("case", CONSTANT_GAIN, ids=str)
def test_constant_gains_give_a_kronecker_product(case: CellCase) -> None:
    lin = case.linearization()
    for operator in (kpf.ParameterOperator(lin), kpf.KroneckerCore(lin)):
        result = kpf.schmidt_decomposition(operator)
        tolerance = default_tolerance("float64", operator.shape[0])
        assert abs(result.rank - 1.0) <= tolerance
        assert result.n_above == 1
        assert result.distance <= tolerance
        expected = np.eye(case.cell.n_units) / np.sqrt(case.cell.n_units)
        assert np.abs(result.unit_factor - expected).max() <= tolerance


def test_other_gains_do_not() -> None:
    for case in (SITE_CASES[0], SITE_CASES[2], SITE_CASES[6], SITE_CASES[8]):
        result = kpf.schmidt_decomposition(kpf.ParameterOperator(case.linearization()))
        assert result.rank > 1.001
        assert result.n_above > 1
        assert result.distance > 0.01


def test_nothing_has_no_schmidt_values() -> None:
    cell = kpf.GRU(2, 4, bias=False)
    lin = kpf.linearize(kpf.simulate(cell, cell.init_params(rng=5), np.zeros((2, 3, 2))))
    result = kpf.schmidt_decomposition(kpf.ParameterOperator(lin))
    assert (result.rank, result.n_above, result.distance) == (0.0, 0, 0.0)


def test_a_planted_fault_is_seen() -> None:
    lin = SITE_CASES[8].linearization()
    K = kpf.ParameterOperator(lin)
    result = kpf.schmidt_decomposition(K)
    lin.weight_sites.gains[:, 1:, 0, 1] *= 1.001
    with pytest.raises(AssertionError):
        assert_schmidt(result, kpf.ParameterOperator(lin))


def test_schmidt_errors_and_repr() -> None:
    lin = SITE_CASES[0].linearization()
    K = kpf.ParameterOperator(lin)
    assert repr(kpf.schmidt_decomposition(K)).startswith("SchmidtResult(rank 1.")
    with pytest.raises(ValueError, match="must be an operator on states"):
        kpf.schmidt_decomposition(np.eye(4))
    with pytest.raises(ValueError, match="method must be one of 'auto', 'exact', 'dense'"):
        kpf.schmidt_decomposition(K, method="svd")
    with pytest.raises(ValueError, match="tolerance must be"):
        kpf.schmidt_decomposition(K, tolerance=-1.0)
    with pytest.raises(ValueError, match="needs a closed form, exact_schmidt"):
        kpf.schmidt_decomposition(kpf.TangentKernel(lin), method="exact")
    with pytest.raises(MemoryError, match="exact_schmidt"):
        kpf.schmidt_decomposition(K, method="exact", max_memory=1000)
    with pytest.raises(MemoryError, match="The realigned matrix needs"):
        kpf.schmidt_decomposition(kpf.TangentKernel(lin), max_memory=1000)
    large = CellCase(kpf.VanillaRNN(2, 41), n_trials=10, n_steps=20).linearization()
    with pytest.raises(ValueError, match="has no closed form of its Schmidt values"):
        kpf.schmidt_decomposition(kpf.TangentKernel(large))


@CASES
def test_cosines_with_the_core(case: CellCase) -> None:
    lin = case.linearization()
    n_state = case.cell.n_state
    core = kpf.KroneckerCore(lin).exact_partial_trace(("unit",)).ravel() / n_state
    K = kpf.ParameterOperator(lin)
    for operator in (K, *K.sites.values(), kpf.TangentKernel(lin)):
        blocks = operator.to_dense().reshape(*lin.dims, *lin.dims)
        kernel = np.einsum("btncsn->btcs", blocks).ravel()
        expected = kernel @ core / np.linalg.norm(kernel) / np.linalg.norm(core)
        found = kpf.core_cosine(operator)
        assert found.is_exact
        assert abs(found.value - expected) <= default_tolerance("float64", len(core))
        assert 0.0 <= found.value <= 1.0 + default_tolerance("float64")


@pytest.mark.parametrize("case", CONSTANT_GAIN, ids=str)
def test_constant_gains_are_the_core(case: CellCase) -> None:
    found = kpf.core_cosine(kpf.ParameterOperator(case.linearization()))
    assert abs(found.value - 1.0) <= 1e-12
    assert (found.method, found.n_matvecs) == ("exact", 0)


def test_core_cosine_errors() -> None:
    with pytest.raises(TypeError, match="op must be an operator of a linearisation"):
        kpf.core_cosine(np.eye(3))
    kernel = kpf.TangentKernel(SITE_CASES[0].linearization())
    with pytest.raises(ValueError, match="max_products"):
        kpf.core_cosine(kernel, max_products=2)


def test_costs_count_the_products_and_the_method_comes_second() -> None:
    cell = kpf.GRU(n_inputs=3, n_units=8)
    lin = kpf.linearize(kpf.simulate(cell, cell.init_params(rng=3), np.ones((2, 5, 3))))
    kernel = kpf.TangentKernel(lin)
    found = kpf.schmidt_decomposition(kernel, "dense")
    assert found.n_matvecs == kernel.shape[0]
    assert found.cost.flops > found.n_matvecs * kernel.product_cost().flops
    reduced = kpf.partial_trace(kernel, "unit")
    assert kpf.core_cosine(kernel).cost.flops > reduced.cost.flops
    core = kpf.KroneckerCore(lin)
    assert 2 * core.factor.product_cost(3).flops == core.product_cost(3).flops
    for site in kpf.ParameterOperator(lin).sites.values():
        assert 2 * site.factor.product_cost(3).flops == site.product_cost(3).flops


# Powers of two of the activity: K has their squares, the Gram matrix of its blocks their fourths.
ACTIVITIES = (-500, -300, 300, 500)


def linear_kernel(exponent: int, dtype: str = "float64") -> kpf.Linearization:
    """Return units that are linear in activity times a power of two, with gains that differ."""
    cell = kpf.LeakyRNN(3, 5, form="rate", activation="relu", bias=False)
    params = cell.init_params(rng=3, dtype=dtype)
    inputs = np.random.default_rng(4).standard_normal((3, 4, 3)).astype(dtype)
    lin = kpf.linearize(kpf.simulate(cell, params, np.ldexp(inputs, exponent)))
    assert np.any(lin.weight_sites.gains == 0.0)
    return lin


def assert_scaled(
    found: kpf.SchmidtResult, plain: kpf.SchmidtResult, power: int, factor: float = 100
) -> None:
    """Raise unless a result is another one times a power of two."""
    tolerance = default_tolerance("float64", 60, factor=factor)
    assert np.abs(np.ldexp(found.values, -power) - plain.values).max() <= (
        tolerance * plain.values[0]
    )
    for name in ("weights", "rank", "distance", "unit_factor"):
        assert np.abs(getattr(found, name) - getattr(plain, name)).max() <= tolerance, name
    assert plain.rank > 1.01


@pytest.mark.parametrize("exponent", ACTIVITIES)
@pytest.mark.parametrize("operator", [kpf.ParameterOperator, kpf.KroneckerCore])
def test_closed_forms_are_right_at_any_scale(operator: type, exponent: int) -> None:
    plain, scaled = (operator(linear_kernel(each)) for each in (0, exponent))
    found, wanted = (kpf.schmidt_decomposition(each, "exact") for each in (scaled, plain))
    if operator is kpf.KroneckerCore:
        assert (found.rank, found.distance) == (1.0, 0.0)
        assert abs(np.ldexp(found.values[0], -2 * exponent) / wanted.values[0] - 1.0) <= 1e-12
    else:
        assert_scaled(found, wanted, 2 * exponent)


@pytest.mark.parametrize("exponent", ACTIVITIES)
def test_the_dense_way_is_right_at_any_scale(exponent: int) -> None:
    plain, scaled = (kpf.TangentKernel(linear_kernel(each)) for each in (0, exponent))
    found, wanted = (kpf.schmidt_decomposition(each) for each in (scaled, plain))
    assert found.method == "dense"
    assert_scaled(found, wanted, 2 * exponent)
    assert abs(kpf.core_cosine(scaled).value - kpf.core_cosine(plain).value) <= 1e-12


@pytest.mark.parametrize("exponent", [-60, 60])
def test_kernels_that_leave_float32_are_right(exponent: int) -> None:
    plain, scaled = (kpf.TangentKernel(linear_kernel(each, "float32")) for each in (0, exponent))
    found, wanted = (kpf.schmidt_decomposition(each) for each in (scaled, plain))
    eps = float(np.finfo(np.float32).eps) / float(np.finfo(np.float64).eps)
    assert_scaled(found, wanted, 2 * exponent, factor=100 * eps)


@pytest.mark.parametrize("exponent", [-530, 520])
def test_values_beyond_float64_are_refused(exponent: int) -> None:
    lin = linear_kernel(exponent)
    with pytest.raises(InputError, match="Schmidt values of this K are about 1e.*scale inputs"):
        kpf.schmidt_decomposition(kpf.ParameterOperator(lin))


def test_a_closed_form_that_is_not_scaled_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = kpf.schmidt_decomposition(kpf.ParameterOperator(linear_kernel(0)))
    K = kpf.ParameterOperator(linear_kernel(-500))
    monkeypatch.setattr(_schmidt, "over_power_of_two", lambda array: (array, 0))
    with pytest.raises(AssertionError):
        assert_scaled(kpf.schmidt_decomposition(K), wanted, -1000)
