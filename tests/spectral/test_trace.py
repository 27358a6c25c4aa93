import numpy as np
import pytest

from kpflow_numerics._validation import InputError
from kpflow_numerics.results import Cost
from kpflow_numerics.spectral import TRACE_METHODS, frobenius_norm, trace
from kpflow_numerics.spectral._view import SpectralView
from kpflow_numerics.spectral.estimators.forms import (
    FactorForm,
    GramForm,
    SelfAdjointForm,
    chunk_widths,
    random_signs,
    squared_norm_form,
    trace_form,
)
from kpflow_numerics.spectral.estimators.hutch_plus_plus import hutch_plus_plus
from kpflow_numerics.spectral.estimators.hutchinson import hutchinson
from kpflow_numerics.spectral.estimators.sampled import mean_of_probes
from kpflow_numerics.testing import default_tolerance
from tests.cases.spectra import (
    SPECTRA,
    Operator,
    gram_operator,
    knows_exactly,
    with_eigenvalues,
    with_singular_values,
)

DTYPES = [np.float32, np.float64]
ESTIMATORS = ["hutchinson", "hutch++"]


def operators(dtype):
    rng = np.random.default_rng(9)
    tall = (rng.standard_normal((40, 12)) * 0.7 ** np.arange(12)).astype(dtype)
    square = rng.standard_normal((25, 25)).astype(dtype)
    return {
        "self-adjoint": Operator(with_eigenvalues(SPECTRA["slow decay"][0], dtype)),
        "indefinite": Operator(with_eigenvalues(SPECTRA["indefinite"][0], dtype)),
        "zero": Operator(np.zeros((9, 9), dtype)),
        "tall factor": gram_operator(tall),
        "wide factor": gram_operator(np.ascontiguousarray(tall.T)),
        "square": Operator(square),
        "tall": Operator(tall),
        "wide": Operator(np.ascontiguousarray(tall.T)),
        "one by one": Operator(np.array([[3.0]], dtype)),
    }


NAMES = tuple(operators(np.float64))


def dense_trace(op):
    A = op.matrix.astype(np.float64)
    symmetric = A.shape[0] == A.shape[1] and np.allclose(A, A.T, atol=1e-6)
    return np.trace(A) if symmetric else np.sum(A**2)


@pytest.mark.parametrize("method", ["auto", "dense"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_exact_by_unit_vectors(name, dtype, method):
    op = operators(dtype)[name]
    A = op.matrix.astype(np.float64)
    tolerance = default_tolerance(dtype, A.size) * np.linalg.norm(A) ** 2 + 1e-300
    for function, truth in ((trace, dense_trace(op)), (frobenius_norm, np.linalg.norm(A))):
        op.columns = 0
        found = function(op, method)
        assert abs(found.value - truth) <= tolerance
        assert found.is_exact
        assert found.method == "dense"
        factor = getattr(op, "factor", None)
        assert found.n_matvecs == op.columns + (factor.columns if factor else 0)
        if factor:
            factor.columns = 0


@pytest.mark.parametrize("method", ESTIMATORS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("budget", [10, 31])
def test_estimates_are_near_and_budgets_are_honoured(name, dtype, method, budget):
    op = operators(dtype)[name]
    A = op.matrix.astype(np.float64)
    for function, truth in ((trace, dense_trace(op)), (frobenius_norm, np.linalg.norm(A))):
        view = SpectralView(op)
        found = function(op, method, n_matvecs=budget, rng=7)
        assert found.lower <= found.value <= found.upper
        if budget == 31:
            rounding = default_tolerance(dtype, A.size) * abs(truth)
            assert abs(found.value - truth) <= 6 * found.standard_error + rounding
        asked = found.n_matvecs - view.n_matvecs
        assert asked <= budget
        if name == "square":
            assert asked == budget


@pytest.mark.parametrize("method", ESTIMATORS)
@pytest.mark.parametrize(
    "form",
    [
        lambda: trace_form(SpectralView(with_eigenvalues(1 / (1 + np.arange(40.0))))),
        lambda: trace_form(SpectralView(with_eigenvalues(np.linspace(-1, 1, 40)))),
        lambda: trace_form(SpectralView(with_singular_values(0.9 ** np.arange(30), (50, 30)))),
        lambda: squared_norm_form(
            SpectralView(gram_operator(with_singular_values(0.95 ** np.arange(20), (50, 20))))
        ),
    ],
    ids=["self-adjoint", "indefinite", "factor", "square of a Gram matrix"],
)
def test_intervals_cover_the_truth_as_often_as_they_say(method, form):
    form = form()
    exact = sum(float(np.sum(form.quadratic(column[:, None]))) for column in np.eye(form.size))
    estimator = hutch_plus_plus if method == "hutch++" else hutchinson
    budget = 36 * form.cost
    found = [estimator(form, budget, np.random.default_rng(seed)) for seed in range(100, 300)]
    covered = sum(each.lower <= exact <= each.upper for each in found)
    assert 180 <= covered <= 198
    errors = np.array([each.value for each in found]) - exact
    assert abs(np.mean(errors)) <= 3 * np.std(errors) / np.sqrt(len(errors))
    claimed = np.sqrt(np.mean([each.standard_error**2 for each in found]))
    assert 0.8 <= claimed / np.std(errors) <= 1.25


def test_an_interval_that_is_too_narrow_would_be_caught():
    form = trace_form(SpectralView(with_eigenvalues(1 / (1 + np.arange(40.0)))))
    exact = float(np.sum(1 / (1 + np.arange(40.0))))
    found = [hutchinson(form, 36, np.random.default_rng(seed)) for seed in range(100, 300)]
    assert sum(abs(each.value - exact) <= each.standard_error for each in found) < 180


def test_hutchinson_is_the_mean_over_the_same_signs():
    matrix = with_eigenvalues(SPECTRA["indefinite"][0])
    form = SelfAdjointForm(SpectralView(matrix, self_adjoint=True))
    found = hutchinson(form, 10, np.random.default_rng(7))
    signs = random_signs(len(matrix), 10, matrix.dtype, np.random.default_rng(7))
    samples = [z @ matrix @ z for z in signs.T]
    assert found.value == pytest.approx(np.mean(samples))
    assert found.standard_error == pytest.approx(np.std(samples, ddof=1) / np.sqrt(10))


def test_hutch_plus_plus_is_its_definition_on_the_same_random_numbers():
    matrix = with_eigenvalues(SPECTRA["slow decay"][0])
    form = SelfAdjointForm(SpectralView(matrix, self_adjoint=True))
    found = hutch_plus_plus(form, 17, np.random.default_rng(7))
    rng = np.random.default_rng(7)
    Q = np.linalg.qr(matrix @ rng.standard_normal((len(matrix), 5)))[0]
    Z = random_signs(len(matrix), 7, matrix.dtype, rng)
    Z = Z - Q @ (Q.T @ Z)
    value = np.trace(Q.T @ matrix @ Q) + np.mean(np.sum(Z * (matrix @ Z), axis=0))
    assert found.value == pytest.approx(value)


@pytest.mark.parametrize("rank", [1, 3, 5])
def test_hutch_plus_plus_is_exact_where_the_sketch_holds_the_range(rank):
    factor = with_singular_values(np.ones(rank), (60, 40))
    for op in (factor, gram_operator(factor)):
        found = trace(op, "hutch++", n_matvecs=16, rng=7)
        assert found.value == pytest.approx(rank, rel=default_tolerance("float64", 60))
        assert found.standard_error <= default_tolerance("float64", 60) * rank


def test_hutch_plus_plus_is_the_better_one_where_the_spectrum_decays():
    matrix = with_eigenvalues(0.8 ** np.arange(120))
    errors = {
        method: np.mean(
            [trace(matrix, method, n_matvecs=60, rng=seed).standard_error for seed in range(10, 20)]
        )
        for method in ESTIMATORS
    }
    assert errors["hutch++"] < errors["hutchinson"] / 10


def test_hutchinson_of_a_diagonal_is_exact_and_allows_for_rounding():
    values = np.random.default_rng(7).random(50)
    found = trace(np.diag(values), "hutchinson", n_matvecs=5)
    assert found.lower <= np.sum(values) <= found.upper
    assert found.standard_error <= default_tolerance("float64", 50) * found.value


@pytest.mark.parametrize("method", ["auto", "exact"])
def test_the_operator_is_asked(method):
    cost = Cost(5.0, 6.0)
    matrix = with_eigenvalues(np.arange(9.0))
    op = Operator(matrix, self_adjoint=True, **knows_exactly("trace", 36.0, cost))
    found = trace(op, method)
    assert (found.value, found.n_matvecs, found.method, found.cost) == (36.0, 0, "exact", cost)
    op = Operator(matrix, self_adjoint=True, **knows_exactly("frobenius_norm", 14.0, cost))
    found = frobenius_norm(op, method)
    assert (found.value, found.n_matvecs, found.cost) == (14.0, 0, cost)
    assert str(found) == "Frobenius norm: 14 (exact, 0 products)"


def test_the_norm_of_an_operator_that_is_not_self_adjoint_is_its_own():
    A = with_singular_values(np.array([3.0, 4.0]), (6, 4))
    gram = Operator(
        A @ A.T,
        self_adjoint=True,
        exact_trace=lambda: 25.0,
        exact_frobenius_norm=lambda: np.sqrt(81.0 + 256),
    )
    for op in (
        Operator(A),
        Operator(A, exact_trace=lambda: 25.0),
        Operator(A, gram=gram),
        Operator(A, exact_frobenius_norm=lambda: 5.0),
    ):
        assert frobenius_norm(op).value == pytest.approx(5)
        assert trace(op).value == pytest.approx(25)
    assert frobenius_norm(Operator(A, gram=gram)).n_matvecs == 0


def test_auto_estimates_what_is_too_large_for_unit_vectors():
    values = 1 / (1 + np.arange(2100.0))
    op = Operator(np.diag(values), self_adjoint=True)
    found = trace(op, n_matvecs=40)
    assert found.method == "hutch++"
    assert found.n_matvecs == 40
    assert found.cost.memory_bytes > 0
    assert trace(Operator(np.ones((2100, 3)))).method == "dense"


def test_forms_work_on_the_smaller_side():
    tall = with_singular_values(np.ones(5), (40, 8))
    view = SpectralView(gram_operator(tall))
    assert isinstance(trace_form(view), FactorForm)
    assert trace_form(view).size == 8
    assert isinstance(squared_norm_form(view), GramForm)
    assert squared_norm_form(SpectralView(gram_operator(tall.T.copy()))).size == 8
    assert chunk_widths(130) == [64, 64, 2]
    assert chunk_widths(0) == []


def test_intervals_of_nothing_sampled():
    exact = mean_of_probes(np.empty(0), 3.0, size=4, dtype=np.dtype(float), positive=True)
    assert (exact.value, exact.lower, exact.upper, exact.standard_error) == (3, 3, 3, 0)
    rough = mean_of_probes(np.array([0.0, 9.0]), 3.0, size=4, dtype=np.dtype(float), positive=True)
    assert rough.lower == pytest.approx(3.0)


@pytest.mark.parametrize("function", [trace, frobenius_norm])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "hutch"}, r"method must be one of.*Did you mean 'hutch"),
        ({"method": "exact"}, 'method="exact" needs a closed form'),
        ({"method": "hutchinson", "n_matvecs": 1}, "n_matvecs must be at least 2 for Hutchinson"),
        ({"method": "hutch++", "n_matvecs": 3}, r"n_matvecs must be at least 4 for Hutch\+\+"),
        ({"n_matvecs": 0}, "n_matvecs must be at least 1"),
        ({"max_memory": 0}, "max_memory must be"),
    ],
)
def test_arguments_are_checked(function, options, message):
    with pytest.raises(InputError, match=message):
        function(np.diag([3.0, 2.0]), **options)


def test_every_method_is_named_in_the_documentation():
    for method in TRACE_METHODS:
        assert f'"{method}"' in trace.__doc__
