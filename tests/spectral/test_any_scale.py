"""Every spectral function at scales whose squares leave the range: right, or refused."""

import dataclasses

import numpy as np
import pytest
from scipy.sparse.linalg import aslinearoperator

import kpflow_numerics as kpf
from kpflow_numerics._validation import InputError
from kpflow_numerics.results import Estimate
from kpflow_numerics.spectral._any_scale import _NUMBERS, at_any_scale
from kpflow_numerics.spectral._bounded import TRACE_WIDTH
from kpflow_numerics.spectral._scale import (
    SCALE_PRODUCTS,
    RescaledOperator,
    exponent_for,
    is_usable,
    largest_scale,
    norm_of,
)
from kpflow_numerics.spectral._view import CountedOperator
from kpflow_numerics.testing import default_tolerance
from tests.cases.spectra import Operator, with_singular_values

N, P = 60, 30
DIMS = (3, 4, 5)
SCALES = [(np.float32, -100), (np.float32, 100), (np.float64, -500), (np.float64, 500)]

RECIPES_BY_BOUNDS = ("variance-95", "entropy", "stable")

# name -> (function of an operator and options, power of the eigenvalues in the result)
FUNCTIONS = {
    **{
        f"trace {method}": (lambda op, _, method=method: kpf.trace(op, method, n_matvecs=40), 1)
        for method in ("auto", "dense", "hutchinson", "hutch++", "xtrace")
    },
    **{
        f"norm {method}": (
            lambda op, _, method=method: kpf.frobenius_norm(op, method, n_matvecs=40),
            1,
        )
        for method in ("auto", "dense", "hutchinson", "hutch++", "xtrace")
    },
    **{
        f"rank {method}": (
            lambda op, _, method=method: kpf.effective_rank(op, method=method, n_matvecs=60),
            0,
        )
        for method in ("auto", "dense", "bounds", "hutchinson", "hutch++")
    },
    **{
        f"rank {recipe}": (
            lambda op, _, recipe=recipe: kpf.effective_rank(op, recipe, method="bounds"),
            0,
        )
        for recipe in RECIPES_BY_BOUNDS
    },
    **{
        f"pairs {method}": (
            lambda op, _, method=method: kpf.top_eigenpairs(op, 3, method=method).values,
            1,
        )
        for method in ("auto", "dense", "lanczos", "block-krylov", "block-diagonal", "lobpcg")
    },
    "pairs arpack": (lambda op, _: kpf.top_eigenpairs(op, 3, method="arpack").values[:1], 1),
    "eigenvalues": (lambda op, _: kpf.eigenvalues(op, "dense").values[:5], 1),
    "triplets": (lambda op, _: kpf.top_singular_triplets(op, 3).values, 1),
    "density": (lambda op, _: np.max(kpf.spectral_density(op, n_steps=8).nodes), 1),
    "peak": (lambda op, _: np.max(kpf.spectral_density(op, n_steps=8).density), -1),
    "partial trace": (
        lambda op, options: kpf.partial_trace(op, ("trial", "time"), "dense", **options).matrix,
        1,
    ),
    "projection": (
        lambda op, options: kpf.uniform_projection(op, ("trial", "unit"), **options).matrix,
        1,
    ),
    "published": (lambda op, options: kpf.published_rank(op, **options), 0),
    **{
        f"alignment {method}": (
            lambda op, _, method=method: kpf.alignment(
                op, np.diag(np.arange(1.0, N + 1)).astype(op.dtype), method, n_matvecs=80
            ),
            0,
        )
        for method in ("auto", "dense", "hutchinson", "hutch++")
    },
    "inner product": (
        lambda op, _: kpf.inner_product(op, np.diag(np.arange(1.0, N + 1)).astype(op.dtype)),
        1,
    ),
}


def matrix(dtype, exponent):
    """A positive semi-definite matrix with a factor, times a power of two."""
    factor = with_singular_values(0.8 ** np.arange(P), (N, P), dtype)
    return Operator(
        np.ldexp(factor @ factor.T, exponent),
        self_adjoint=True,
        positive_semidefinite=True,
        factor=Operator(np.ldexp(factor, exponent // 2)),
    )


def kernel(dtype, exponent):
    """The tangent kernel of activity times a power of two: of units that are linear."""
    cell = kpf.LeakyRNN(3, DIMS[2], form="current", activation="relu", bias=False)
    params = {name: value.astype(dtype) for name, value in cell.init_params(rng=3).items()}
    inputs = np.random.default_rng(4).standard_normal((*DIMS[:2], 3)).astype(dtype)
    return kpf.TangentKernel(
        kpf.linearize(kpf.simulate(cell, params, np.ldexp(inputs, exponent // 2)))
    )


def propagator(dtype, exponent):
    """A propagator times a power of two: square, not self-adjoint, without a factor."""
    P = kpf.Propagator(kernel(dtype, 0).linearization).to_dense()
    return Operator(np.ldexp(P, exponent), self_adjoint=False)


def power_of(name, make):
    """Return the power of the operator's unit in a result: of ``A A*`` where that is meant."""
    power = FUNCTIONS[name][1]
    of_square = make is propagator and not name.startswith(("norm", "triplets"))
    return 2 * power if of_square else power


def verdict(name, make, dtype, exponent):
    """Return whether a function is right, refuses, or is wrong at a scale."""
    function, _ = FUNCTIONS[name]
    power = power_of(name, make)
    plain = make(dtype, 0)
    options = {} if hasattr(plain, "dims") else {"dims": DIMS}
    wanted = np.asarray(function(plain, options), np.longdouble)
    try:
        found = function(make(dtype, exponent), options)
    except InputError as error:
        return "refused" if "out of the range" in str(error) else "wrong"
    found = np.ldexp(np.asarray(found, np.longdouble), -power * exponent)
    # The bounds' iterations end elsewhere, so that their middle is only as near as they are.
    allowed = 0.05 if "bounds" in name else default_tolerance(dtype, N**2, factor=500)
    if name.removeprefix("rank ") in RECIPES_BY_BOUNDS:
        # Bounds of the trace are in float32 where it can hold them, and that wide at any scale.
        allowed = max(allowed, TRACE_WIDTH)
    near = np.abs(found - wanted) <= allowed * np.max(np.abs(wanted))
    return "right" if np.all(near) else "wrong"


@pytest.mark.parametrize(("dtype", "exponent"), SCALES)
@pytest.mark.parametrize("make", [matrix, kernel])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_right_at_any_scale_that_their_results_have(name, make, dtype, exponent):
    assert verdict(name, make, dtype, exponent) == "right"


@pytest.mark.parametrize("exponent", [-240, 240])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_results_beyond_float32_are_refused_and_ranks_are_not(name, exponent):
    found = verdict(name, kernel, np.float32, exponent)
    _, power = FUNCTIONS[name]
    plain_floats = name.startswith(("trace", "norm", "density", "peak", "inner"))
    assert found == ("right" if power == 0 or plain_floats else "refused")


# Alignments and inner products take self-adjoint operators only.
OF_ANY_OPERATOR = [name for name in FUNCTIONS if not name.startswith(("alignment", "inner"))]


@pytest.mark.parametrize(
    ("dtype", "exponent"), [(np.float32, -100), (np.float32, 100), (float, -532), (float, 532)]
)
@pytest.mark.parametrize("name", OF_ANY_OPERATOR)
def test_operators_that_are_not_self_adjoint_are_right_or_refused(name, dtype, exponent):
    found = verdict(name, propagator, dtype, exponent)
    plain_floats = dtype is np.float32 and name.startswith(("trace", "density", "peak"))
    in_range = abs(power_of(name, propagator)) < 2 or plain_floats
    assert found == ("right" if in_range else "refused")


def test_bounds_whose_trace_is_taken_at_its_own_scale_are_caught(monkeypatch):
    monkeypatch.setattr("kpflow_numerics.spectral._bounded.trace_in_range", kpf.trace)
    assert verdict("rank bounds", propagator, float, 532) == "refused"


ESTIMATES = {
    "trace": lambda op: kpf.trace(op, "hutchinson", n_matvecs=40),
    "norm": lambda op: kpf.frobenius_norm(op, "hutchinson", n_matvecs=40),
}


def numbers_that_are_off(name, make, dtype, exponent):
    """Return what of an estimate is wrong at a scale, of its value, error and interval."""
    plain, found = (ESTIMATES[name](make(dtype, each)) for each in (0, exponent))
    power = 2 if make is propagator and name == "trace" else 1
    allowed = default_tolerance(dtype, N**2, factor=500) * plain.value
    assert plain.standard_error > 0
    return {
        field
        for field in ("value", "lower", "upper", "standard_error")
        if abs(np.ldexp(getattr(found, field), -power * exponent) - getattr(plain, field)) > allowed
    }


@pytest.mark.parametrize(("dtype", "exponent"), SCALES)
@pytest.mark.parametrize("make", [matrix, kernel, propagator])
@pytest.mark.parametrize("name", ESTIMATES)
def test_errors_and_intervals_have_the_scale_of_the_value(name, make, dtype, exponent):
    assert numbers_that_are_off(name, make, dtype, exponent) == set()


@pytest.mark.parametrize("field", ["value", "lower", "upper", "standard_error"])
@pytest.mark.parametrize("name", ESTIMATES)
def test_a_number_left_at_another_scale_is_caught(name, field, monkeypatch):
    scaled = tuple(each for each in _NUMBERS[Estimate] if each != field)
    monkeypatch.setitem(_NUMBERS, Estimate, scaled)
    assert numbers_that_are_off(name, matrix, np.float32, 100) == {field}


@pytest.mark.parametrize("make", [matrix, kernel])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_without_the_look_at_scales_functions_are_wrong(make, dtype, monkeypatch):
    monkeypatch.setattr(CountedOperator, "_check_scale", lambda *_: None)
    name, exponent = ("xtrace", -120) if dtype is np.float32 else ("hutchinson", -1000)
    with np.errstate(all="ignore"):
        assert verdict(f"norm {name}", make, dtype, exponent) == "wrong"


@pytest.mark.parametrize("exponent", [-1000, 1000])
def test_closed_forms_that_leave_the_range_are_not_taken(exponent):
    K = kpf.ParameterOperator(kernel(np.float64, exponent).linearization)
    plain = kpf.ParameterOperator(kernel(np.float64, 0).linearization)
    rank = kpf.effective_rank(K)
    assert rank.value == pytest.approx(kpf.effective_rank(plain).value, rel=1e-9)
    with pytest.raises(InputError, match=r"exact_frobenius_norm\(\) leaves the range"):
        kpf.frobenius_norm(K, "exact")
    nothing = kpf.ParameterOperator(kernel(np.float64, -100_000).linearization)
    assert kpf.frobenius_norm(nothing, "exact").value == 0


def test_known_pairs_serve_at_their_own_scale():
    op = matrix(np.float32, 100)
    pairs = kpf.top_eigenpairs(op, 20)
    found = kpf.effective_rank(op, method="bounds", known_pairs=pairs)
    plain = kpf.effective_rank(matrix(np.float32, 0), method="bounds", n_pairs=20)
    assert found.value == pytest.approx(plain.value, rel=1e-3)


def test_products_that_find_the_scale_are_counted():
    op = matrix(np.float32, 100)
    found = kpf.trace(op, "hutchinson", n_matvecs=20)
    assert found.n_matvecs == op.columns + op.factor.columns
    assert kpf.trace(matrix(np.float32, 30), "hutchinson", n_matvecs=20).n_matvecs == 20


def test_what_is_in_range_is_left_alone():
    op = matrix(np.float32, 12)
    assert at_any_scale(lambda each: each is op and EMPTY, (op,), (1, 2)) is EMPTY


EMPTY = kpf.trace(np.eye(2))


def test_the_scale_of_operators():
    for dtype, limit in ((np.float32, 1e12), (np.float64, 1e138)):
        assert 0.1 * limit < largest_scale(np.dtype(dtype)) < 10 * limit
    tiny, _ = norm_of(aslinearoperator(kernel(np.float32, -240)), np.dtype(np.float32))
    plain, products = norm_of(aslinearoperator(kernel(np.float32, 0)), np.dtype(np.float32))
    assert products == 1
    assert abs(np.log2(tiny / plain) + 240) < 1
    assert norm_of(aslinearoperator(np.zeros((3, 3))), np.dtype(float)) == (0.0, SCALE_PRODUCTS)
    assert norm_of(aslinearoperator(np.full((3, 3), np.nan)), np.dtype(float))[0] == np.inf
    assert exponent_for(0.0) == 0
    assert exponent_for(2.0**-239) == -240
    assert not is_usable("trace", 0.0)
    assert not is_usable("frobenius_norm", 1e-160)
    assert is_usable("trace", np.float32(1e-30))


def test_a_rescaled_operator_says_what_the_operator_says():
    op = kernel(np.float32, 100)
    scaled = RescaledOperator(op, 100)
    X = np.eye(N, 2, dtype=np.float32)
    np.testing.assert_array_equal(scaled.matmat(X), np.ldexp(op.matmat(X), -100))
    np.testing.assert_array_equal(scaled.rmatmat(X), scaled.matmat(X))
    np.testing.assert_array_equal(scaled.H.matvec(X[:, 0]), scaled.matmat(X)[:, 0])
    np.testing.assert_array_equal(scaled.rmatvec(X[:, 0]), scaled.matmat(X)[:, 0])
    assert scaled.dims == op.dims
    assert scaled.exact_trace() == np.ldexp(op.exact_trace(), -100)
    assert scaled.exact_cost("trace") == op.exact_cost("trace")
    assert scaled.exact_cost("eigenvalues") is None
    assert scaled.product_cost(2).flops > op.product_cost(2).flops
    assert scaled.factor.exponent == 50
    assert scaled.factor.gram.exponent == 100
    assert RescaledOperator(kpf.Propagator(op.linearization), 8).inverse.exponent == -8
    silent = RescaledOperator(aslinearoperator(np.eye(3)), 4)
    assert silent.product_cost() is None
    assert silent.factor is None
    assert dataclasses.is_dataclass(kpf.trace(silent))
