import sys

import numpy as np
import pytest

from kpflow_numerics._validation import InputError, MemoryLimitError
from kpflow_numerics.results import Cost
from kpflow_numerics.spectral import (
    TRACE_METHODS,
    eigenvalues,
    frobenius_norm,
    top_eigenpairs,
    trace,
)
from kpflow_numerics.spectral._scale import SCALE_PRODUCTS
from kpflow_numerics.spectral._view import SpectralView
from kpflow_numerics.spectral.estimators.forms import (
    FactorForm,
    GramForm,
    SelfAdjointForm,
    chunk_widths,
    on_sphere,
    random_signs,
    squared_norm_form,
    trace_form,
)
from kpflow_numerics.spectral.estimators.hutch_plus_plus import hutch_plus_plus
from kpflow_numerics.spectral.estimators.hutchinson import hutchinson
from kpflow_numerics.spectral.estimators.leave_one_out import GrowingQR
from kpflow_numerics.spectral.estimators.running import ESTIMATORS as ESTIMATORS_BY_NAME
from kpflow_numerics.spectral.estimators.sampled import mean_of_probes
from kpflow_numerics.spectral.estimators.xnystrace import xnystrace
from kpflow_numerics.spectral.estimators.xtrace import xtrace
from kpflow_numerics.spectral.trace import _sketched
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
EXCHANGEABLE = ["xtrace", "xnystrace"]
ONE_SIDED = ["one-sided-forward", "one-sided-reverse"]


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
        assert asked <= budget + (SCALE_PRODUCTS if name == "zero" else 0)
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


def naive_xtrace(matrix, tests):
    """Return the leave-one-out estimates of the paper, each from its own decomposition."""
    n, count = tests.shape
    estimates = []
    for i in range(count):
        Q = np.linalg.qr(matrix @ np.delete(tests, i, axis=1))[0]
        z = tests[:, i] - Q @ (Q.T @ tests[:, i])
        z *= np.sqrt(n - count + 1) / np.linalg.norm(z)
        estimates.append(np.trace(Q.T @ matrix @ Q) + z @ matrix @ z)
    return np.array(estimates)


def naive_xnystrace(matrix, tests):
    n, count = tests.shape
    estimates = []
    for i in range(count):
        others = np.delete(tests, i, axis=1)
        Y = matrix @ others
        left = Y @ np.linalg.solve(others.T @ Y, Y.T)
        Q = np.linalg.qr(others)[0]
        z = tests[:, i] - Q @ (Q.T @ tests[:, i])
        z *= np.sqrt(n - count + 1) / np.linalg.norm(z)
        estimates.append(np.trace(left) + z @ (matrix - left) @ z)
    return np.array(estimates)


def test_xtrace_is_its_definition_on_the_same_random_numbers():
    matrix = with_eigenvalues(SPECTRA["indefinite"][0])
    form = SelfAdjointForm(SpectralView(matrix, self_adjoint=True))
    found = xtrace(form, 13, np.random.default_rng(7))
    tests = on_sphere(len(matrix), 6, matrix.dtype, np.random.default_rng(7))
    assert found.value == pytest.approx(np.mean(naive_xtrace(matrix, tests)))


def test_exchangeable_estimates_with_a_factor_are_their_definitions():
    factor = with_singular_values(1 / (1 + np.arange(30.0)), (50, 30))
    form = trace_form(SpectralView(gram_operator(factor)))
    matrix = factor.T @ factor
    for estimator, naive, budget in (
        (xtrace, naive_xtrace, 20),
        (xnystrace, naive_xnystrace, 13),
    ):
        found = estimator(form, budget, np.random.default_rng(7))
        tests = on_sphere(30, 6, matrix.dtype, np.random.default_rng(7))
        assert found.value == pytest.approx(np.mean(naive(matrix, tests)))


def test_the_jackknife_leaves_one_test_vector_out_of_everything():
    matrix = with_eigenvalues(SPECTRA["slow decay"][0])
    form = SelfAdjointForm(SpectralView(matrix, self_adjoint=True))
    found = xtrace(form, 12, np.random.default_rng(7))
    tests = on_sphere(len(matrix), 6, matrix.dtype, np.random.default_rng(7))
    sample = np.std(naive_xtrace(matrix, tests), ddof=1) / np.sqrt(6)
    means = [np.mean(naive_xtrace(matrix, np.delete(tests, i, axis=1))) for i in range(6)]
    jackknife = np.sqrt(5 * np.var(means))
    assert found.standard_error == pytest.approx(sample**0.75 * jackknife**0.25)


@pytest.mark.parametrize("method", EXCHANGEABLE)
@pytest.mark.parametrize("rank", [0, 1, 3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_exchangeable_estimates_are_exact_where_the_sketch_holds_the_range(method, rank, dtype):
    factor = with_singular_values(np.ones(rank), (60, 40), dtype)
    for op in (factor, gram_operator(factor)):
        found = trace(op, method, n_matvecs=24, rng=7)
        allowed = 10 * default_tolerance(dtype, 60) * max(rank, 1)
        assert abs(found.value - rank) <= allowed
        assert found.standard_error <= allowed


@pytest.mark.parametrize("method", EXCHANGEABLE)
@pytest.mark.parametrize("size", [1, 2, 7])
def test_exchangeable_estimates_are_exact_where_the_budget_spans_the_space(method, size):
    factor = np.random.default_rng(7).standard_normal((9, size))
    for op in (factor, factor.T.copy()):
        found = trace(op, method, n_matvecs=100)
        assert found.is_exact
        assert found.value == pytest.approx(np.sum(factor**2))
        assert found.n_matvecs <= 3 * size
    with pytest.raises(InputError, match="needs a factor L"):
        trace(np.diag([1.0, 2.0]), "xnystrace", self_adjoint=True)


@pytest.mark.parametrize("method", [*ESTIMATORS, *EXCHANGEABLE])
def test_more_products_continue_an_estimate(method):
    form = trace_form(
        SpectralView(gram_operator(with_singular_values(0.9 ** np.arange(40), (60, 40))))
    )
    estimate = ESTIMATORS_BY_NAME[method](form, np.random.default_rng(7))
    errors = []
    for _ in range(3):
        estimate.extend(24)
        errors.append(estimate.result().standard_error)
    assert estimate.used == 72
    assert errors[2] < errors[1] < errors[0]


def test_growing_decompositions_are_those_of_all_columns():
    rng = np.random.default_rng(7)
    columns = rng.standard_normal((20, 9))
    columns[:, 6] = columns[:, 1]
    grown = GrowingQR(20, np.dtype(float))
    for part in (columns[:, :3], columns[:, 3:7], columns[:, 7:]):
        grown.append(part)
    assert pytest.approx(columns) == grown.Q @ grown.R
    assert pytest.approx(np.eye(9)) == grown.Q.T @ grown.Q


@pytest.mark.parametrize(
    ("method", "budget", "used"),
    [
        ("hutchinson", 11, 11),
        ("hutch++", 13, 13),
        ("hutch++", 14, 14),
        ("hutch++", 15, 15),
        ("xtrace", 14, 12),
        ("xnystrace", 15, 14),
        ("one-sided-forward", 7, 7),
        ("one-sided-reverse", 7, 7),
    ],
)
def test_budgets_are_used(method, budget, used):
    op = Operator(with_singular_values(1 / (1 + np.arange(30.0)), (50, 30)), self_adjoint=False)
    assert trace(op, method, n_matvecs=budget).n_matvecs == op.columns == used


@pytest.mark.parametrize("method", ONE_SIDED)
def test_one_sided_estimates_need_products_with_one_side_only(method):
    factor = np.random.default_rng(7).standard_normal((30, 20))
    left_out = "_rmatmat" if method == "one-sided-forward" else "_matmat"

    def fail(x):
        raise AssertionError("the other side was multiplied")

    op = Operator(factor, self_adjoint=False)
    setattr(op, left_out, fail)
    found = trace(op, method, n_matvecs=40, rng=7)
    assert abs(found.value - np.sum(factor**2)) <= 5 * found.standard_error
    norm = frobenius_norm(op, method, n_matvecs=40, rng=7)
    assert norm.value == pytest.approx(np.sqrt(found.value))
    with pytest.raises(InputError, match="One-sided estimates need a factor L"):
        trace(np.eye(3), method, self_adjoint=True)


class Priced(Operator):
    """An operator that tells what a product costs."""

    def __init__(self, matrix, flops, **knows):
        super().__init__(matrix, **knows)
        self.flops = flops

    def product_cost(self, k=1):
        return Cost(self.flops * k, 8.0 * k)


@pytest.mark.parametrize(
    ("exact_flops", "rtol", "method"),
    [
        (2.9e11, None, "exact"),
        (3.1e11, None, "sampled"),
        # 16 samples are the least of an estimate.
        (1.5e10, 0.2, "exact"),
        (2.9e11, 0.2, "sampled"),
        # No estimate is so accurate: the cheaper of the closed form and all unit vectors is.
        (4.9e11, 1e-9, "exact"),
        (5.1e11, 1e-9, "dense"),
    ],
)
def test_auto_compares_the_closed_form_with_an_estimate(exact_flops, rtol, method):
    values = 1 / (1 + np.arange(500.0))
    for quantity, function in (("trace", trace), ("frobenius_norm", frobenius_norm)):
        op = Priced(
            np.diag(values),
            1e9,
            self_adjoint=True,
            positive_semidefinite=True,
            **knows_exactly(quantity, 7.0, Cost(exact_flops, 1.0)),
        )
        found = function(op, rtol=rtol, n_matvecs=30 if rtol is None else None)
        if method == "sampled":
            assert found.confidence == 0.95
        else:
            assert found.method == method
        if method == "exact":
            assert found.value == 7.0
        elif rtol is not None:
            truth = np.sum(values) if quantity == "trace" else np.linalg.norm(values)
            assert found.upper - found.lower <= 2 * rtol * found.value
            assert abs(found.value - truth) <= 2 * rtol * truth


@pytest.mark.parametrize("function", [trace, frobenius_norm])
def test_a_cost_model_that_lies_changes_the_choice(function):
    values = np.full(3000, 2.0)
    quantity = function.__name__
    truth = np.sum(values) if function is trace else np.linalg.norm(values)

    def found(exact_flops):
        op = Priced(
            np.diag(values),
            1e9,
            self_adjoint=True,
            positive_semidefinite=True,
            **knows_exactly(quantity, truth, Cost(exact_flops, 1.0)),
        )
        estimate = function(op, rtol=0.01)
        # Twice the price of the cheapest way is the most that is ever spent.
        assert op.columns * 1e9 <= max(exact_flops, 0.0)
        return estimate.method

    assert found(1e13) != "exact"
    assert found(1.0) == "exact"


def test_a_budget_that_does_not_do_leaves_the_closed_form():
    values = 1 / (1 + np.arange(3000.0))
    known = knows_exactly("trace", 7.0, Cost(1e12, 1.0))
    for knows, exact in ((known, True), ({}, False)):
        op = Priced(np.diag(values), 1e9, self_adjoint=True, **knows)
        found = trace(op, rtol=1e-4, n_matvecs=40)
        assert op.columns <= 40
        assert (found.method == "exact") == exact


def test_a_closed_form_that_needs_too_much_memory_is_not_taken():
    cost = Cost(10.0, 1e9)
    op = Operator(np.eye(50), self_adjoint=True, **knows_exactly("trace", 50.0, cost))
    assert trace(op, max_memory=1e8).method == "dense"
    assert trace(op, max_memory=2e9).method == "exact"


@pytest.mark.parametrize("budget", [11, 12, 40])
def test_auto_takes_the_smaller_side_for_few_products(budget):
    # A broadcast matrix of 4000 x 3000 takes no memory.
    tall = Operator(np.broadcast_to(np.float64(0.5), (4000, 3000)), self_adjoint=False)
    wide = Operator(np.broadcast_to(np.float64(0.5), (3000, 4000)), self_adjoint=False)
    expected = ["one-sided-forward", "one-sided-reverse"] if budget == 11 else ["xnystrace"] * 2
    assert [trace(op, n_matvecs=budget).method for op in (tall, wide)] == expected


def test_auto_takes_what_the_memory_has_room_for():
    tall = Operator(np.broadcast_to(np.float64(0.5), (4000, 3000)), self_adjoint=False)
    block = 2 * 64 * (4000 + 3000) * 8
    methods = [
        trace(tall, n_matvecs=40, max_memory=block + 40 * vectors * 8).method
        for vectors in (10_000, 9_999, 3_000, 2_999)
    ]
    assert methods == ["xnystrace", "hutch++", "hutch++", "one-sided-forward"]
    square = Operator(np.broadcast_to(np.float64(0.5), (2500, 2500)), self_adjoint=True)
    assert trace(square, n_matvecs=40, max_memory=2 * 64 * 5000 * 8 + 400).method == "hutchinson"


def test_auto_leaves_xnystrace_where_its_own_work_is_dearer_than_the_products():
    form = trace_form(SpectralView(Operator(np.broadcast_to(1.0, (4000, 3000)))))
    for flops, budget, pays in (
        (None, 400, True),
        (None, 1600, False),
        (1e9, 1600, True),
        (1e9, 6000, False),
        (1e10, 6000, True),
    ):
        form.flops = flops
        assert _sketched(form, budget, 4e9) == ("xnystrace" if pays else "hutch++")


@pytest.mark.parametrize("factored", [True, False])
@pytest.mark.parametrize(
    ("values", "rtol", "sketched"),
    [
        (np.ones(500), None, False),
        (0.9 ** np.arange(500), None, True),
        (0.9 ** np.arange(500), 0.5, False),
        (np.r_[40.0, np.ones(499)], None, False),
        (np.zeros(500), None, False),
    ],
    ids=["flat", "decaying", "decaying, roughly", "one dominant", "zero"],
)
def test_auto_makes_a_sketch_where_it_pays(values, rtol, sketched, factored, monkeypatch):
    monkeypatch.setattr(sys.modules["kpflow_numerics.spectral.trace"], "DENSE_SIZE", 1)
    if factored:
        op = Operator(np.diag(np.sqrt(values)), self_adjoint=False)
    else:
        op = Operator(np.diag(values), self_adjoint=True, positive_semidefinite=True)
    found = trace(op, n_matvecs=90, rtol=rtol, rng=7)
    with_sketch, without = (
        ("xnystrace", "one-sided-forward") if factored else ("hutch++", "hutchinson")
    )
    assert found.method == (with_sketch if sketched else without)
    assert found.n_matvecs <= 90 + (0 if np.any(values) else SCALE_PRODUCTS)
    assert found.lower - 1e-9 <= np.sum(values) <= found.upper + 1e-9


@pytest.mark.parametrize("name", ["tall", "wide"])
def test_what_auto_takes_is_nearer_than_hutch_plus_plus(name, monkeypatch):
    monkeypatch.setattr(sys.modules["kpflow_numerics.spectral.trace"], "DENSE_SIZE", 1)
    factor = with_singular_values(0.9 ** np.arange(100), (150, 100))
    op = Operator(factor if name == "tall" else factor.T.copy(), self_adjoint=False)
    errors = {}
    for method in ("auto", "hutch++"):
        found = [trace(op, method, n_matvecs=60, rng=seed) for seed in range(30, 50)]
        errors[method] = np.mean([abs(each.value - np.sum(factor**2)) for each in found])
    assert found[0].method != trace(op, n_matvecs=60).method == "xnystrace"
    assert errors["auto"] < errors["hutch++"]


@pytest.mark.parametrize("method", [*ESTIMATORS, *EXCHANGEABLE])
@pytest.mark.parametrize("function", [trace, frobenius_norm])
def test_adaptive_estimates_stop_when_they_are_accurate_or_spent(function, method):
    factor = with_singular_values(0.95 ** np.arange(150), (300, 200))
    loose = function(factor, method, rtol=0.2, n_matvecs=400, rng=7)
    tight = function(factor, method, rtol=0.02, n_matvecs=4000, rng=7)
    assert loose.n_matvecs < tight.n_matvecs < 4000
    for found, rtol in ((loose, 0.2), (tight, 0.02)):
        assert found.upper - found.lower <= 2.02 * rtol * found.value
    spent = function(factor, "hutchinson", rtol=1e-4, n_matvecs=50, rng=7)
    assert 48 <= spent.n_matvecs <= 50
    assert spent.upper - spent.lower > 2e-4 * spent.value


def test_the_cost_counts_the_products():
    matrix = with_eigenvalues(1 / (1 + np.arange(40.0)))
    op = Priced(matrix, 1e6, self_adjoint=True)
    plain = trace(Operator(matrix, self_adjoint=True), "hutch++", n_matvecs=20).cost
    whole = trace(op, "hutch++", n_matvecs=20).cost
    assert whole.flops == plain.flops + 20e6
    assert whole.memory_bytes > plain.memory_bytes
    assert trace(op, "dense").cost.flops == 40e6 + 2 * 40**2
    assert top_eigenpairs(op, 3).cost.flops >= 40e6
    assert eigenvalues(op).cost.flops >= 40e6


@pytest.mark.parametrize("method", ["hutch++", "xtrace"])
def test_memory_is_refused(method):
    with pytest.raises(MemoryLimitError, match=r"with n_matvecs=90 needs.*hutchinson"):
        trace(np.eye(500), method, max_memory=1.1e6, self_adjoint=True)


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
        ({"method": "xtrac"}, "Did you mean 'xtrace'"),
        ({"method": "xtrace", "n_matvecs": 3}, "n_matvecs must be at least [46] for XTrace"),
        ({"rtol": 0}, "rtol must be finite and greater than 0"),
        ({"rtol": 1.5}, "rtol must be.*at most 1"),
        ({"max_memory": 0}, "max_memory must be"),
    ],
)
def test_arguments_are_checked(function, options, message):
    with pytest.raises(InputError, match=message):
        function(np.diag([3.0, 2.0]), **options)


def test_every_method_is_named_in_the_documentation():
    for method in TRACE_METHODS:
        assert f'"{method}"' in trace.__doc__
