import itertools

import numpy as np
import pytest

from kpflow_numerics._validation import InputError, InputTypeError, MemoryLimitError
from kpflow_numerics.results import Cost
from kpflow_numerics.spectral import AXES, partial_trace, trace, uniform_projection
from kpflow_numerics.testing import default_tolerance
from tests.cases.spectra import Operator, gram_operator, knows_exactly

DTYPES = [np.float32, np.float64]
DIMS = (2, 3, 5)
N = 30
SUBSETS = [subset for length in range(4) for subset in itertools.combinations(AXES, length)]


def operators(dtype):
    rng = np.random.default_rng(9)
    tall = rng.standard_normal((N, 8)).astype(dtype)
    wide = rng.standard_normal((N, 47)).astype(dtype)
    square = rng.standard_normal((N, N)).astype(dtype)
    dims = {"dimsd": DIMS}
    return {
        "self-adjoint": (Operator(square + square.T, self_adjoint=True, **dims), square + square.T),
        "tall factor": (gram_operator(tall, **dims), tall @ tall.T),
        "wide factor": (gram_operator(wide, **dims), wide @ wide.T),
        "tall": (Operator(tall, **dims), tall @ tall.T),
        "wide": (Operator(wide, **dims), wide @ wide.T),
        "square": (Operator(square, **dims), square @ square.T),
    }


NAMES = tuple(operators(np.float64))


def by_definition(matrix, over, *, diagonal):
    """Sum the entries one by one: all pairs of indices of the reduced axes, or equal ones."""
    array = matrix.astype(np.float64).reshape(*DIMS, *DIMS)
    kept = [axis for axis in range(3) if AXES[axis] not in over]
    size = int(np.prod([DIMS[axis] for axis in kept]))
    result = np.zeros((size, size))
    shape = [DIMS[axis] for axis in kept]
    for first in np.ndindex(*DIMS):
        for second in np.ndindex(*DIMS):
            reduced = [axis for axis in range(3) if axis not in kept]
            if diagonal and any(first[axis] != second[axis] for axis in reduced):
                continue
            row = np.ravel_multi_index([first[axis] for axis in kept], shape) if kept else 0
            column = np.ravel_multi_index([second[axis] for axis in kept], shape) if kept else 0
            result[row, column] += array[(*first, *second)]
    return result


@pytest.mark.parametrize(
    ("name", "method"),
    [
        (name, method)
        for name in NAMES
        for method in ("auto", "dense", "gram")
        if (name, method) != ("self-adjoint", "gram")
    ],
)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("over", SUBSETS)
def test_partial_trace_is_its_definition(over, name, dtype, method):
    op, matrix = operators(dtype)[name]
    found = partial_trace(op, over, method)
    expected = by_definition(matrix, over, diagonal=True)
    tolerance = default_tolerance(dtype, N) * np.linalg.norm(matrix)
    np.testing.assert_allclose(found, expected, atol=tolerance)
    assert found.matrix.dtype == dtype
    assert found.over == over
    assert found.kept == tuple(axis for axis in AXES if axis not in over)
    assert np.trace(found.matrix) == pytest.approx(trace(op).value, rel=1e-4)
    if method == "auto":
        assert found.method == ("gram" if name in ("tall factor", "tall", "square") else "dense")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("over", SUBSETS)
def test_uniform_projection_is_its_definition(over, name, dtype):
    op, matrix = operators(dtype)[name]
    tolerance = default_tolerance(dtype, N) * np.linalg.norm(matrix) * N
    expected = by_definition(matrix, over, diagonal=False)
    found = uniform_projection(op, over)
    np.testing.assert_allclose(found, expected, atol=tolerance)
    assert found.matrix.dtype == dtype
    assert found.quantity == "uniform projection"
    mean = uniform_projection(op, over, normalization="mean")
    np.testing.assert_allclose(mean, expected / (N // len(expected)), atol=tolerance)
    products = 1 if op.shape[0] == op.shape[1] and hasattr(op, "self_adjoint") else 2
    probes = 4 if name == "square" else 0
    assert found.n_matvecs == products * len(expected) + probes


def test_the_two_are_not_the_same():
    op, _ = operators(np.float64)["tall factor"]
    over = ("trial", "unit")
    partial, projection = partial_trace(op, over).matrix, uniform_projection(op, over).matrix
    assert np.linalg.norm(partial - projection) > 0.1 * np.linalg.norm(partial)


def test_the_mean_projection_is_a_compression():
    op, matrix = operators(np.float64)["tall factor"]
    for over in SUBSETS:
        mean = uniform_projection(op, over, normalization="mean").matrix
        largest = np.linalg.eigvalsh(matrix)[-1]
        assert np.linalg.eigvalsh(mean)[-1] <= largest * (1 + 1e-12)


def test_products_are_as_few_as_the_factor_allows():
    op, _ = operators(np.float64)["tall factor"]
    assert partial_trace(op, "unit").n_matvecs == op.factor.columns == 8
    assert op.columns == 0
    op, _ = operators(np.float64)["wide factor"]
    assert partial_trace(op, "unit").n_matvecs == op.columns == N


@pytest.mark.parametrize("method", ["auto", "exact"])
@pytest.mark.parametrize("shape", [(3, 3), (1, 3, 3), (3, 1, 3)])
def test_the_operator_is_asked(method, shape):
    known = np.arange(9.0).reshape(shape)
    cost = Cost(1.0, 2.0)
    op = Operator(
        np.eye(N), dimsd=DIMS, self_adjoint=True, **knows_exactly("partial_trace", known, cost)
    )
    found = partial_trace(op, ("unit", "trial"), method)
    np.testing.assert_array_equal(found, np.arange(9.0).reshape(3, 3))
    assert (found.method, found.n_matvecs, found.cost) == ("exact", 0, cost)


def test_the_operator_is_given_the_axes_in_order():
    asked = []
    op = Operator(
        np.eye(N),
        dimsd=DIMS,
        self_adjoint=True,
        exact_partial_trace=lambda over: asked.append(over),
    )
    assert partial_trace(op, ("unit", "trial")).method == "dense"
    partial_trace(op, "time")
    assert asked == [("trial", "unit"), ("time",)]


@pytest.mark.parametrize("name", ["self-adjoint", "tall factor", "tall"])
@pytest.mark.parametrize(
    ("product_flops", "exact_flops", "max_products", "is_exact"),
    [
        (None, 1.9e12, 10_000, True),
        (None, 2.1e12, 10_000, False),
        (None, 2.1e12, 5, True),
        (1.0, 0.9e10, 10_000, True),
        (1.0, 1.1e10, 10_000, False),
        (1.0, 1e30, 5, True),
        (1e13, 7.9e13, 10_000, True),
        (1e13, 7e14, 10_000, False),
    ],
)
def test_the_closed_form_is_compared_with_products_that_are_allowed(
    name, product_flops, exact_flops, max_products, is_exact
):
    op, matrix = operators(np.float64)[name]
    for each in (op, getattr(op, "factor", op)):
        if product_flops is not None:
            each.product_cost = lambda k=1: Cost(product_flops * k, 1.0)
    known = by_definition(matrix, ("time",), diagonal=True)
    for attribute, value in knows_exactly("partial_trace", known, Cost(exact_flops, 2.0)).items():
        setattr(op, attribute, value)
    found = partial_trace(op, "time", max_products=max_products)
    assert (found.method == "exact") == is_exact
    np.testing.assert_allclose(found, known, atol=1e-12)
    if max_products == 5:
        with pytest.raises(MemoryLimitError):
            partial_trace(op, "time", "exact", max_products=5, max_memory=1.0)
        # Memory that holds the products' blocks, but not the closed form.
        op.exact_cost = lambda quantity: Cost(exact_flops, 1e12)
        with pytest.raises(InputError, match="more than max_products=5"):
            partial_trace(op, "time", max_products=5)


def test_a_closed_form_does_not_know_other_axes():
    known = knows_exactly("partial_trace", np.ones((10, 10)))
    op = Operator(np.eye(N), dimsd=(5, 3, 2), self_adjoint=True, **known)
    found = partial_trace(op, "time", dims=DIMS)
    assert found.method == "dense"
    np.testing.assert_array_equal(found, 3 * np.eye(10))
    with pytest.raises(InputError, match=r"knows the axes \(5, 3, 2\) of this Operator only; got"):
        partial_trace(op, "time", "exact", dims=DIMS)
    assert partial_trace(op, "time").method == "exact"


def test_axes_of_an_operator_that_does_not_have_them():
    found = partial_trace(np.eye(N), "time", dims=DIMS)
    np.testing.assert_array_equal(found, 3 * np.eye(10))
    np.testing.assert_array_equal(uniform_projection(np.eye(N), "time", dims=DIMS), 3 * np.eye(10))


@pytest.mark.parametrize("function", [partial_trace, uniform_projection])
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"over": "step"}, InputError, r"over must name axes among .*; got 'step'"),
        ({"over": "trials"}, InputError, "Did you mean 'trial'"),
        ({"over": 3}, InputTypeError, "over must name axes among"),
        ({"over": [3]}, InputError, "got 3"),
        ({"over": ("unit", "unit")}, InputError, "over must name each axis once"),
        ({"dims": None}, InputError, r"does not say its axes: pass dims=\(B, T, N\)"),
        ({"dims": (2, 3, 4)}, InputError, r"dims must be the three lengths .* product is 30"),
        ({"dims": (5, 6)}, InputError, "dims must be the three lengths"),
        ({"max_products": 2}, InputError, "more than max_products=2. Raise max_products"),
        ({"max_memory": 100}, MemoryLimitError, "The 10 x 10 p.* needs about"),
    ],
)
def test_arguments_are_checked(function, options, error, message):
    with pytest.raises(error, match=message):
        function(np.eye(N), **{"over": "time", "dims": DIMS, **options})


def test_choices_are_checked():
    with pytest.raises(InputError, match="method must be one of"):
        partial_trace(np.eye(N), "time", "hutch++", dims=DIMS)
    with pytest.raises(InputError, match="normalization must be one of 'sum', 'mean'"):
        uniform_projection(np.eye(N), "time", normalization="unit", dims=DIMS)
    with pytest.raises(InputError, match='method="gram" needs an operator that is not'):
        partial_trace(np.eye(N), "time", "gram", dims=DIMS)
    with pytest.raises(InputError, match='method="exact" needs a closed form'):
        partial_trace(np.eye(N), "time", "exact", dims=DIMS)
