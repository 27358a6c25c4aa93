import numpy as np
import pytest

from kpflow_numerics._validation import InputError, MemoryLimitError
from kpflow_numerics.spectral import spectral_density
from kpflow_numerics.spectral._scale import SCALE_PRODUCTS
from kpflow_numerics.spectral.spectral_density import lanczos_rules
from kpflow_numerics.testing import default_tolerance
from tests.cases.spectra import (
    SPECTRA,
    Operator,
    gram_operator,
    orthogonal,
    with_eigenvalues,
    with_singular_values,
)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", SPECTRA)
def test_every_kind_of_spectrum(name, dtype):
    values = SPECTRA[name][0]
    matrix = with_eigenvalues(values, dtype)
    found = spectral_density(Operator(matrix, self_adjoint=True), n_probes=8, rng=7)
    scale = np.max(np.abs(values))
    rounding = default_tolerance(dtype, len(values)) * max(scale, 1e-30)
    assert np.all(found.nodes >= values.min() - rounding)
    assert np.all(found.nodes <= values.max() + rounding)
    assert found.weights.sum(axis=1) == pytest.approx(1.0, rel=1e-5)
    assert np.trapezoid(found.density, found.grid) == pytest.approx(1.0, rel=1e-3)
    assert np.all(np.diff(found.cumulative) >= -1e-12)
    assert (found.cumulative[0], found.cumulative[-1]) == (0.0, pytest.approx(1.0, rel=1e-5))
    for power in (1, 2):
        moment = found.integrate(lambda x, power=power: x**power)
        allowed = 5 * moment.standard_error + len(values) * rounding * scale ** (power - 1)
        assert abs(moment.value - np.sum(values**power)) <= allowed


@pytest.mark.parametrize("value", [1.0, 0.0, -2.5])
def test_a_multiple_of_the_identity_is_one_node(value):
    found = spectral_density(value * np.eye(9), n_probes=3)
    assert found.integrate(np.square).value == pytest.approx(9 * value**2)
    assert np.sum(found.weights > 1e-12) == 3
    assert found.n_matvecs <= 4 + 3 + (0 if value else SCALE_PRODUCTS)
    assert found.cumulative_at([value])[0][0] == pytest.approx(0.5)


def test_rules_are_the_quadratures_of_their_columns():
    matrix = with_eigenvalues(SPECTRA["slow decay"][0])
    start = np.random.default_rng(7).standard_normal((len(matrix), 3))
    nodes, weights = lanczos_rules(lambda X: matrix @ X, start, 6)
    for column in range(3):
        z = start[:, column] / np.linalg.norm(start[:, column])
        power = z
        for degree in range(12):
            assert weights[column] @ nodes[column] ** degree == pytest.approx(z @ power)
            power = matrix @ power


def test_converged_eigenvalues_are_not_counted_twice():
    values = np.r_[1e3, 1e2, np.linspace(0, 1, 60)]
    matrix = with_eigenvalues(values)
    found = spectral_density(Operator(matrix, self_adjoint=True), n_steps=62, n_probes=2)
    assert np.sort(found.nodes[0]) == pytest.approx(np.sort(values), abs=1e-9)


@pytest.mark.parametrize("shape", [(60, 12), (12, 60), (30, 30)])
def test_of_an_operator_that_is_not_self_adjoint_it_is_that_of_its_squares(shape):
    sigma = np.linspace(1, 3, min(shape))
    A = with_singular_values(sigma, shape)
    for op in (Operator(A), gram_operator(A)):
        found = spectral_density(op, n_steps=30, n_probes=10, rng=7)
        assert found.n == shape[0]
        total = found.integrate(lambda x: x)
        assert abs(total.value - np.sum(sigma**2)) <= 5 * total.standard_error + 1e-9
        shares = found.cumulative_at([-0.1, 0.5, 10.0])[0]
        zeros = max(shape[0] - shape[1], 0) / shape[0]
        assert shares[0] == pytest.approx(0.0, abs=1e-12)
        assert shares[2] == pytest.approx(1.0)
        if found.size < found.n:
            assert shares[1] == pytest.approx(zeros)
    assert spectral_density(gram_operator(A), n_steps=3, n_probes=2).size == min(
        shape[0], 12 if shape[1] == 12 else 999
    )


def test_the_cumulative_distribution_is_that_of_the_dense_spectrum():
    rng = np.random.default_rng(8)
    factor = rng.standard_normal((150, 300)) / np.sqrt(300)
    matrix = factor @ factor.T
    values = np.linalg.eigvalsh(matrix)
    found = spectral_density(matrix, n_steps=25, n_probes=30, rng=7)
    true = np.searchsorted(values, found.grid, side="right") / len(values)
    # A node's weight is what the quadrature cannot place.
    resolution = np.max(found.weights)
    assert np.all(np.abs(found.cumulative - true) <= 5 * found.cumulative_error + resolution)
    assert np.max(np.abs(found.cumulative - true)) < 0.06


@pytest.mark.parametrize("function", [np.square, np.sqrt, lambda x: np.log1p(10 * x)])
@pytest.mark.parametrize("name", ["slow decay", "linear", "one dominant"])
def test_intervals_of_integrals_cover_the_truth(name, function):
    values = np.r_[20.0, np.ones(30)] if name == "one dominant" else SPECTRA[name][0][:40]
    values = values + 0.05
    Q = orthogonal(len(values), 3)
    op = Operator((Q * values) @ Q.T, self_adjoint=True, positive_semidefinite=True)
    truth = np.sum(function(values))
    found = [
        spectral_density(op, n_steps=20, n_probes=8, rng=seed).integrate(function)
        for seed in range(300, 500)
    ]
    covered = sum(each.lower <= truth <= each.upper for each in found)
    assert 180 <= covered <= 199
    halves = sum(abs(each.value - truth) <= (each.upper - each.lower) / 8 for each in found)
    assert halves < 180
    errors = np.array([each.value for each in found]) - truth
    assert abs(errors.mean()) < 0.3 * np.mean([each.standard_error for each in found])


def test_the_budget_is_kept():
    matrix = with_eigenvalues(SPECTRA["linear"][0])
    op = Operator(matrix, self_adjoint=True)
    found = spectral_density(op, n_steps=10, n_probes=50, n_matvecs=75)
    assert op.columns == found.n_matvecs == 70
    assert op.widest == 7
    assert repr(found).startswith("SpectralDensity(n=120, 7 probes of 10 steps")
    assert found.cost.flops > 0
    again = spectral_density(op, n_steps=10, n_probes=50, n_matvecs=75)
    assert np.array_equal(found.nodes, again.nodes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_steps": 0}, "n_steps must be at least 1"),
        ({"n_probes": 1}, "n_probes must be at least 2"),
        ({"n_matvecs": 3}, "n_matvecs must be at least 4 .two probes of 2 steps"),
    ],
)
def test_arguments_are_checked(options, message):
    with pytest.raises(InputError, match=message):
        spectral_density(np.diag([3.0, 2.0]), **options)


def test_memory_is_refused():
    with pytest.raises(MemoryLimitError, match="40 steps of 16 probes"):
        spectral_density(np.eye(100), max_memory=1000)


def test_a_function_that_is_not_finite_is_refused():
    found = spectral_density(np.diag([1.0, 0.0]), n_probes=2)
    with np.errstate(divide="ignore"), pytest.raises(InputError, match="function must be finite"):
        found.integrate(lambda x: 1 / np.where(x < 0.5, 0.0, x))


def test_what_is_integrated_must_be_a_function_of_arrays():
    found = spectral_density(np.diag([3.0, 2.0]), n_probes=2)
    with pytest.raises(TypeError, match="function must be callable"):
        found.integrate(3)
    with pytest.raises(InputError, match="of the shape that it is given"):
        found.integrate(lambda x: x[0])
