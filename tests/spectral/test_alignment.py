import sys
from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse.linalg import aslinearoperator

import kpflow_numerics as kpf
from kpflow_numerics._validation import InputError, MemoryLimitError
from kpflow_numerics.results import Cost
from kpflow_numerics.spectral import (
    ALIGNMENT_METHODS,
    INNER_PRODUCT_METHODS,
    alignment,
    inner_product,
)
from kpflow_numerics.spectral._view import SpectralView
from kpflow_numerics.spectral.estimators import products
from kpflow_numerics.testing import default_tolerance
from tests.cases.cells import OWN_CASES, SITE_CASES
from tests.cases.spectra import Operator, gram_operator, orthogonal, with_eigenvalues

UNIT_VECTORS = ["dense", "gram"]
ESTIMATORS = ["hutchinson", "hutch++"]


def cosine(A, B):
    return np.vdot(A, B) / (np.linalg.norm(A) * np.linalg.norm(B))


def matrices(dtype=np.float64):
    """Return pairs of operators with the self-adjoint matrices that they stand for."""
    rng = np.random.default_rng(19)
    tall = (rng.standard_normal((40, 9)) * 0.8 ** np.arange(9)).astype(dtype)
    near = (tall + 0.3 * rng.standard_normal(tall.shape)).astype(dtype)
    wide = rng.standard_normal((40, 60)).astype(dtype)
    indefinite = with_eigenvalues(np.linspace(-2, 3, 40), dtype)
    opposite = Operator((-indefinite).astype(dtype), self_adjoint=True)
    return {
        "two factors": (gram_operator(tall), gram_operator(near), tall @ tall.T, near @ near.T),
        "one factor": (
            gram_operator(tall),
            Operator(indefinite, self_adjoint=True),
            tall @ tall.T,
            indefinite,
        ),
        "no factor": (Operator(indefinite), opposite, indefinite, -indefinite),
        "not self-adjoint": (Operator(tall), Operator(wide), tall @ tall.T, wide @ wide.T),
        "wide factor": (gram_operator(wide), gram_operator(tall), wide @ wide.T, tall @ tall.T),
    }


NAMES = tuple(matrices())


@pytest.mark.parametrize("method", ["auto", *UNIT_VECTORS])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", NAMES)
def test_unit_vectors_give_the_cosine_to_rounding(name, dtype, method):
    A, B, dense_a, dense_b = matrices(dtype)[name]
    if (method, name) == ("gram", "no factor"):
        with pytest.raises(InputError, match=r'method="gram" needs an operator with a factor'):
            alignment(A, B, method)
        return
    tolerance = default_tolerance(dtype, 40, factor=100)
    dense_a, dense_b = dense_a.astype(np.float64), dense_b.astype(np.float64)
    truth = np.vdot(dense_a, dense_b)
    scale = np.linalg.norm(dense_a) * np.linalg.norm(dense_b)
    for first, second in ((A, B), (B, A)):
        found = alignment(first, second, method)
        assert found.is_exact
        assert abs(found.value - truth / scale) <= tolerance
        assert -1 <= found.value <= 1
        assert found.method in UNIT_VECTORS
        found = inner_product(first, second, method)
        assert abs(found.value - truth) <= tolerance * scale


@pytest.mark.parametrize("method", ESTIMATORS)
@pytest.mark.parametrize("budget", [13, 40, 151])
@pytest.mark.parametrize("name", NAMES)
def test_budgets_are_honoured_and_counted(name, budget, method):
    A, B, dense_a, dense_b = matrices()[name]
    flagless = sum(not hasattr(op, "self_adjoint") and op.shape[0] == op.shape[1] for op in (A, B))
    found = alignment(A, B, method, n_matvecs=budget, rng=7)
    counted = sum(op.columns + getattr(getattr(op, "factor", None), "columns", 0) for op in (A, B))
    assert found.n_matvecs == counted
    assert found.n_matvecs - 4 * flagless <= budget
    assert found.lower <= found.value <= found.upper
    assert found.lower >= -1
    assert found.upper <= 1
    slack = 6 * found.standard_error + default_tolerance(np.float64, 40)
    assert budget == 13 or abs(found.value - cosine(dense_a, dense_b)) <= slack


def gru_pair(first: str, second: str):
    cell = kpf.GRU(3, 8)
    rng = np.random.default_rng(5)
    inputs = 0.3 * np.cumsum(rng.standard_normal((3, 12, 3)), axis=1)
    lin, later = (
        kpf.linearize(kpf.simulate(cell, cell.init_params(gain=1.5, rng=seed), inputs))
        for seed in (3, 4)
    )
    operators = {
        "K": kpf.ParameterOperator(lin),
        "NTK": kpf.TangentKernel(lin),
        "PP*": kpf.PropagatorGram(lin),
        "later NTK": kpf.TangentKernel(later),
    }
    A, B = operators[first], operators[second]
    return A, B, A.to_dense(), B.to_dense()


def artificial_pair(size=60):
    values = 1 / (1 + np.arange(float(size)))
    Q = orthogonal(size, 8)
    A = with_eigenvalues(values)
    B = 0.5 * A + (Q * values[::-1]) @ Q.T
    return Operator(A, self_adjoint=True), Operator(B, self_adjoint=True), A, B


PAIRS = {
    "artificial": artificial_pair,
    "K and NTK": lambda: gru_pair("K", "NTK"),
    "NTK and PP*": lambda: gru_pair("NTK", "PP*"),
    "two checkpoints": lambda: gru_pair("NTK", "later NTK"),
}


def assert_honest(found, truth, count=200):
    """Assert coverage of 90 to 99 %, a bias below the standard error, and its right size."""
    covered = np.mean([each.lower <= truth <= each.upper for each in found])
    assert 0.9 <= covered <= 0.99
    errors = np.array([each.value for each in found]) - truth
    claimed = np.sqrt(np.mean([each.standard_error**2 for each in found]))
    assert abs(np.mean(errors)) <= 0.3 * claimed
    assert 0.8 <= claimed / np.std(errors) <= 1.4


@pytest.mark.parametrize("method", ESTIMATORS)
@pytest.mark.parametrize("known", [(False, False), (True, False), (True, True)], ids=str)
@pytest.mark.parametrize("pair", PAIRS)
def test_intervals_cover_the_truth_as_often_as_they_say(pair, known, method):
    _, _, dense_a, dense_b = PAIRS[pair]()
    squares = tuple(
        np.linalg.norm(matrix) ** 2 if is_known else None
        for matrix, is_known in zip((dense_a, dense_b), known, strict=True)
    )
    found = [
        products.sampled_alignment(
            SpectralView(aslinearoperator(dense_a), self_adjoint=True),
            SpectralView(aslinearoperator(dense_b), self_adjoint=True),
            squares,
            90,
            np.random.default_rng(seed),
            sketched=method == "hutch++",
        )
        for seed in range(300, 500)
    ]
    assert_honest(found, cosine(dense_a, dense_b))


def test_an_interval_that_is_too_narrow_would_be_caught():
    A, B, dense_a, dense_b = artificial_pair()
    found = [alignment(A, B, "hutch++", rng=seed) for seed in range(300, 500)]
    narrow = [
        replace(
            each,
            lower=each.value - each.standard_error,
            upper=each.value + each.standard_error,
        )
        for each in found
    ]
    with pytest.raises(AssertionError):
        assert_honest(narrow, cosine(dense_a, dense_b))


def test_a_deflation_that_is_forgotten_would_be_caught(monkeypatch):
    A, B, dense_a, dense_b = artificial_pair()
    sound = products._interval
    monkeypatch.setattr(
        products,
        "_interval",
        lambda samples, known, *rest: sound(samples, 2 * known, *rest),
    )
    found = [alignment(A, B, "hutch++", rng=seed) for seed in range(300, 400)]
    with pytest.raises(AssertionError):
        assert_honest(found, cosine(dense_a, dense_b))


@pytest.mark.parametrize("form", ["inner product", "one norm", "one factor"])
def test_mixtures_of_exact_and_sampled_parts_are_honest(form):
    _, _, dense_a, dense_b = gru_pair("NTK", "PP*")
    knows = {"self_adjoint": True, "positive_semidefinite": True}
    A, B = Operator(dense_a, **knows), Operator(dense_b, **knows)
    for op in (A, B):
        op.exact_frobenius_norm = lambda op=op: np.linalg.norm(op.matrix)
    found = []
    if form == "one norm":
        del A.exact_frobenius_norm
        A.exact_inner_product = lambda other: np.vdot(dense_a, other.matrix)
    if form == "one factor":
        A.factor = Operator(np.linalg.cholesky(dense_a + 1e-9 * np.eye(len(dense_a)))[:, :150])
        dense_a = A.factor.matrix @ A.factor.matrix.T
        A.matrix = dense_a
    found = [alignment(A, B, n_matvecs=80, rng=seed, max_memory=1e9) for seed in range(300, 500)]
    if found[0].is_exact:
        pytest.fail("nothing was sampled")
    assert_honest(found, cosine(dense_a, dense_b))


@pytest.fixture(autouse=True)
def small_limits(monkeypatch, request):
    """Let mixtures sample what is small enough for unit vectors."""
    if "mixture" in request.node.name:
        monkeypatch.setattr(sys.modules["kpflow_numerics.spectral.trace"], "DENSE_SIZE", 10)


def test_the_sketch_and_the_shared_products_are_worth_it():
    A, B, _, _ = gru_pair("NTK", "later NTK")
    errors = {
        method: np.mean([alignment(A, B, method, rng=seed).standard_error for seed in range(9, 19)])
        for method in ESTIMATORS
    }
    assert errors["hutch++"] < errors["hutchinson"]
    for method in ESTIMATORS:
        same = alignment(A, A, method, n_matvecs=20)
        assert same.value == pytest.approx(1.0)
        assert same.standard_error <= default_tolerance(np.float64, A.shape[0]) * 2


def test_a_known_norm_is_used_where_it_helps():
    A, B, dense_a, dense_b = artificial_pair()
    squares = (np.linalg.norm(dense_a) ** 2, np.linalg.norm(dense_b) ** 2)
    errors = []
    for known in ((None, None), squares):
        found = [
            products.sampled_alignment(
                SpectralView(A), SpectralView(B), known, 90, np.random.default_rng(seed)
            ).standard_error
            for seed in range(300, 330)
        ]
        errors.append(np.mean(found))
    assert errors[1] < errors[0]
    # Of an operator with itself, the sampled norm cancels all error: the known one must not enter.
    found = products.sampled_alignment(
        SpectralView(A), SpectralView(A), (squares[0], None), 40, np.random.default_rng(7)
    )
    assert found.value == pytest.approx(1.0)


def test_relative_accuracy_is_reached_with_fewer_products():
    A, B, dense_a, dense_b = artificial_pair()
    limit = 4000
    rough, fine = (
        alignment(A, B, "hutchinson", n_matvecs=limit, rtol=r, rng=7) for r in (0.1, 0.03)
    )
    assert rough.n_matvecs < fine.n_matvecs <= limit
    for found, aim in ((rough, 0.1), (fine, 0.03)):
        assert (found.upper - found.lower) / 2 <= aim * found.value
    truth = cosine(dense_a, dense_b)
    covered = 0
    for seed in range(300, 400):
        found = alignment(A, B, "hutchinson", n_matvecs=limit, rtol=0.05, rng=seed)
        covered += found.lower <= truth <= found.upper
    assert covered >= 90
    starved = alignment(A, B, "hutch++", n_matvecs=31, rtol=1e-9, rng=7)
    assert starved.n_matvecs <= 31


def mixture(unknown):
    """Return operators of which only `unknown` has to be sampled, and their alignment."""
    A, B, dense_a, dense_b = artificial_pair(400)
    for op in (A, B):
        op.positive_semidefinite = True
    if unknown != "two norms":
        B.exact_frobenius_norm = lambda: np.linalg.norm(dense_b)
    if unknown == "inner product":
        A.exact_frobenius_norm = lambda: np.linalg.norm(dense_a)
    else:
        A.exact_inner_product = lambda other: np.vdot(dense_a, other.matrix)
    return A, B, cosine(dense_a, dense_b)


@pytest.mark.parametrize("unknown", ["inner product", "one norm", "two norms"])
def test_a_mixture_is_sampled_until_the_ratio_is_accurate(unknown):
    A, B, truth = mixture(unknown)
    limit, used = 390, []
    for aim in (0.3, 0.01, 0.005):
        found = alignment(A, B, n_matvecs=limit, rtol=aim, rng=7)
        used.append(found.n_matvecs)
        assert found.upper - found.lower <= 2 * aim * found.value
        assert found.lower <= truth <= found.upper
    assert used == sorted(used)
    assert used[0] < used[-1] < limit
    starved = alignment(A, B, n_matvecs=40, rtol=1e-6, rng=7)
    assert starved.n_matvecs <= 40
    assert starved.upper - starved.lower > 2e-6 * starved.value


@pytest.mark.parametrize(
    ("unknown", "rtol"), [("inner product", 0.012), ("one norm", 0.014), ("two norms", 0.022)]
)
def test_a_mixture_that_stops_when_accurate_still_covers(unknown, rtol):
    A, B, truth = mixture(unknown)
    found = [alignment(A, B, n_matvecs=390, rtol=rtol, rng=seed) for seed in range(300, 500)]
    used = {each.n_matvecs for each in found}
    assert len(used) > 1
    assert max(used) < 390
    assert all(each.upper - each.lower <= 2 * rtol * each.value for each in found)
    assert np.mean([each.lower <= truth <= each.upper for each in found]) >= 0.9


def test_inner_products_of_a_mixture_are_as_accurate_as_asked():
    A, B, dense_a, dense_b = artificial_pair(400)
    truth = np.vdot(dense_a, dense_b)
    for method, rtol in (("auto", 0.01), ("hutch++", 0.01), ("hutchinson", 0.1)):
        rough, fine = (
            inner_product(A, B, method, n_matvecs=790, rtol=aim, rng=7) for aim in (0.5, rtol)
        )
        assert rough.n_matvecs < fine.n_matvecs < 790
        for found, aim in ((rough, 0.5), (fine, rtol)):
            assert found.upper - found.lower <= 2 * aim * found.value
            assert abs(found.value - truth) <= 6 * found.standard_error


def test_a_mixture_of_two_factors_takes_the_best_estimator():
    rng = np.random.default_rng(9)
    tall, other = (rng.standard_normal((300, 80)) * 0.9 ** np.arange(80) for _ in range(2))
    A, B = gram_operator(tall), gram_operator(other)
    truth = np.linalg.norm(other.T @ tall) ** 2
    found = inner_product(A, B, n_matvecs=79, rng=7)
    assert found.method == "xnystrace"
    assert found.n_matvecs == A.factor.columns + B.factor.columns <= 79
    assert found.lower <= truth <= found.upper
    errors = {
        method: np.mean(
            [
                abs(inner_product(A, B, method, n_matvecs=79, rng=seed).value - truth)
                for seed in range(30, 70)
            ]
        )
        for method in ("auto", "hutch++")
    }
    assert errors["auto"] < errors["hutch++"]


class Priced(Operator):
    """An operator that tells what a product costs, and what its exact quantities do."""

    def __init__(self, matrix, flops):
        super().__init__(matrix, self_adjoint=True, positive_semidefinite=True)
        self.flops = flops

    def product_cost(self, k=1):
        return Cost(self.flops * k, 8.0 * k)


@pytest.mark.parametrize(
    ("flops", "rtol", "method"),
    [
        # A sample is a product with each, 5e9 flops; an estimate to 1 % takes 300 of them.
        (1.4e12, None, "exact"),
        (1.6e12, None, "hutch++"),
        (0.9e10, 1.0, "exact"),
        (2e10, 0.1, "hutch++"),
        (1.4e14, 1e-3, "exact"),
    ],
)
def test_exact_products_are_compared_with_an_estimate(flops, rtol, method):
    values = 1 / (1 + np.arange(500.0))
    A, B = Priced(np.diag(values), 4e9), Priced(np.diag(values[::-1].copy()), 1e9)
    A.exact_inner_product = lambda other: np.vdot(A.matrix, other.matrix)
    A.exact_inner_product_cost = lambda other: Cost(flops, 5.0)
    for pair in ((A, B), (B, A)):
        assert inner_product(*pair, n_matvecs=30, rtol=rtol).method == method
    for op in (A, B):
        op.exact_frobenius_norm = lambda op=op: np.linalg.norm(op.matrix)
        op.exact_cost = lambda quantity: Cost(1e9, 7.0)
    found = alignment(A, B, n_matvecs=60, rtol=rtol)
    assert found.method == ("exact" if method == "exact" else "hutch++, norm by exact")
    if method == "exact":
        assert found.cost == Cost(flops + 2e9, 7.0)


def test_exact_norms_are_compared_with_an_estimate():
    values = 1 / (1 + np.arange(500.0))
    for flops, method in ((2.9e11, "exact"), (3.1e11, "exact, norm by xnystrace")):
        A, B = (Priced(np.diag(values), 1e9) for _ in range(2))
        A.exact_inner_product = lambda other: np.vdot(other.matrix, other.matrix)
        for op in (A, B):
            op.exact_frobenius_norm = lambda op=op: np.linalg.norm(op.matrix)
            op.exact_cost = lambda quantity, flops=flops: Cost(flops, 7.0)
        assert alignment(A, B, n_matvecs=60).method == method


@pytest.mark.parametrize("method", [*UNIT_VECTORS, *ESTIMATORS, "bounds"])
def test_the_cost_counts_the_products(method):
    factor = np.random.default_rng(9).standard_normal((40, 12))
    free, priced = [], []
    for flops, ops in ((0.0, free), (1e9, priced)):
        for _ in range(2):
            op = gram_operator(factor)
            op.factor.product_cost = lambda k=1, flops=flops: Cost(flops * k, 8.0 * k)
            op.product_cost = lambda k=1, flops=flops: Cost(2 * flops * k, 8.0 * k)
            op.exact_trace = lambda: np.sum(factor**2)
            ops.append(op)
    for function in (alignment,) if method == "bounds" else (alignment, inner_product):
        for op in (*free, *priced):
            op.columns = op.factor.columns = 0
        plain, whole = (function(*ops, method, rng=7) for ops in (free, priced))
        counted = sum(2 * op.columns + op.factor.columns for op in priced)
        assert whole.n_matvecs == sum(op.columns + op.factor.columns for op in priced)
        assert whole.cost.flops - plain.cost.flops == pytest.approx(1e9 * counted)


def test_the_split_needs_room():
    A, B, _, _ = artificial_pair(400)
    block = 6 * 64 * 400 * 8
    mixture = {"n_matvecs": 59, "max_memory": block + 100}
    A.product_cost = B.product_cost = lambda k=1: Cost(1e12 * k, 1.0)
    assert alignment(A, B, n_matvecs=59).method == "hutch++"
    assert alignment(A, B, **mixture).method == "hutchinson"
    with pytest.raises(MemoryLimitError, match="A sampled alignment with n_matvecs=59 needs about"):
        alignment(A, B, "hutch++", **mixture)


KINDS = (
    kpf.ParameterOperator,
    kpf.Propagator,
    kpf.PropagatorGram,
    kpf.TangentKernel,
    kpf.KroneckerCore,
)


def network_pairs(case):
    """Yield every pair of operators of two checkpoints, and the alignment of their matrices."""
    lin, later = case.linearization(), replace(case, seed=41).linearization()
    for first in KINDS:
        for second in KINDS:
            A, B = first(lin), second(later)
            dense_a, dense_b = (
                op.to_dense() if op.self_adjoint else op.to_dense() @ op.to_dense().T
                for op in (A, B)
            )
            yield A, B, cosine(dense_a, dense_b)


@pytest.mark.parametrize("case", SITE_CASES, ids=str)
def test_bounds_hold_the_truth_of_every_pair(case):
    rounding = default_tolerance(np.float64, 1000)
    for A, B, truth in network_pairs(case):
        widths = []
        for n_pairs, rtol in ((1, None), (8, None), (2, 0.02)):
            found = alignment(A, B, "bounds", n_pairs=n_pairs, rtol=rtol)
            assert found.is_certified
            assert found.standard_error == 0
            assert found.lower - rounding <= truth <= found.upper + rounding
            assert 0 <= found.lower <= found.value <= found.upper <= 1
            widths.append(found.upper - found.lower)
        uncertain = kpf.TangentKernel in (type(A), type(B))
        assert found.method == ("bounds" if uncertain else "exact")
        assert found.is_exact != uncertain
        assert widths[1] < widths[0] or not uncertain
        assert widths[2] <= 2 * 0.02 * found.value


def test_bounds_of_an_operator_that_lies_about_its_trace_are_caught():
    lin = SITE_CASES[0].linearization()
    NTK, PP = kpf.TangentKernel(lin), kpf.PropagatorGram(lin)
    truth = cosine(NTK.to_dense(), PP.to_dense())
    sound, trace = alignment(NTK, PP, "bounds", n_pairs=2), NTK.exact_trace()
    NTK.exact_trace_bounds = lambda width: (1.5 * trace, 1.5 * trace)
    wrong = alignment(NTK, PP, "bounds", n_pairs=2)
    assert sound.lower <= truth <= sound.upper
    assert not wrong.lower <= truth <= wrong.upper


def test_bounds_of_factors_go_through_their_gram_operators():
    lin = SITE_CASES[0].linearization()
    S, P = kpf.Sensitivity(lin), kpf.Propagator(lin)
    found = alignment(S, P, "bounds", rtol=0.01)
    same = alignment(kpf.TangentKernel(lin), kpf.PropagatorGram(lin), "bounds", rtol=0.01)
    assert found.is_certified
    assert found.lower <= same.upper
    assert same.lower <= found.upper


def test_bounds_of_negative_inner_products():
    A, B = np.diag([3.0, 1.0, 0.1]), np.diag([-1.0, -2.0, 0.0])
    first = Operator(A, self_adjoint=True, positive_semidefinite=True, exact_trace=lambda: 4.1)
    second = Operator(B, self_adjoint=True, exact_frobenius_norm=lambda: np.linalg.norm(B))
    found = alignment(first, second, "bounds", n_pairs=1)
    assert found.lower <= cosine(A, B) <= found.upper < 0
    assert found.is_certified
    with pytest.raises(InputError, match="needs a positive semi-definite operator"):
        alignment(B, first, "bounds")


def test_bounds_with_an_estimated_trace_are_not_certain(monkeypatch):
    monkeypatch.setattr(sys.modules["kpflow_numerics.spectral.trace"], "DENSE_SIZE", 1)
    values = 1 / (1 + np.arange(150.0))
    A = Operator(np.diag(values), self_adjoint=True, positive_semidefinite=True)
    found = alignment(A, A, "bounds", n_matvecs=40)
    assert found.method == "bounds, trace by hutch++"
    assert found.confidence < 1
    assert found.standard_error > 0


def test_bounds_are_refused_where_the_inner_product_is_too_dear():
    A = Operator(np.eye(2100), self_adjoint=True, positive_semidefinite=True)
    with pytest.raises(InputError, match=r"needs tr\(A B\).*2,100 unit vectors.*Raise n_matvecs"):
        alignment(A, A, "bounds")


@pytest.mark.parametrize("case", SITE_CASES, ids=str)
def test_every_pair_of_operators_of_a_network(case):
    for A, B, expected in network_pairs(case):
        first, second = type(A), type(B)
        found = alignment(A, B)
        assert found.is_exact
        assert abs(found.value - expected) <= default_tolerance(np.float64, A.shape[0])
        assert 0 <= found.value <= 1
        closed = kpf.TangentKernel not in (first, second)
        assert (found.method == "exact") == closed
        if closed:
            assert found.n_matvecs == 0
            assert alignment(A, B, "exact") == found


@pytest.mark.parametrize("case", OWN_CASES, ids=str)
def test_a_cell_without_sites_falls_back_to_products(case):
    lin = case.linearization()
    K, P, NTK = kpf.ParameterOperator(lin), kpf.PropagatorGram(lin), kpf.TangentKernel(lin)
    for A, B in ((K, P), (NTK, P), (K, NTK), (P, P)):
        found = alignment(A, B)
        expected = cosine(A.to_dense(), B.to_dense())
        assert abs(found.value - expected) <= default_tolerance(np.float64, A.shape[0])
    with pytest.raises(InputError, match=r'method="exact" needs a closed form.*ParameterOperator'):
        alignment(K, NTK, "exact")


def test_scaling_changes_nothing_but_the_sign():
    A, B, _, _ = matrices()["no factor"]
    value = alignment(A, B).value
    for factor in (1e-150, 3.0, 1e100):
        assert alignment(A.matrix * factor, B.matrix).value == pytest.approx(value)
        assert alignment(A.matrix, -factor * B.matrix).value == pytest.approx(-value)
    pair = gru_pair("K", "NTK")[:2]
    lin = pair[0].linearization
    mean = kpf.ParameterOperator(lin, normalization="mean")
    assert alignment(mean, pair[1]).value == pytest.approx(alignment(*pair).value)


def test_the_operators_are_asked_and_dear_answers_are_not_taken():
    A, B, dense_a, dense_b = artificial_pair()
    A.exact_inner_product = lambda other: np.vdot(dense_a, other.matrix)
    cost = Cost(5.0, 6.0)
    A.exact_inner_product_cost = lambda other: cost
    for first, second in ((A, B), (B, A)):
        found = inner_product(first, second)
        assert found.method == "exact"
        assert found.n_matvecs == 0
        assert found.cost == cost
        assert found.value == pytest.approx(np.vdot(dense_a, dense_b))
    cost = Cost(1e30, 6.0)
    assert inner_product(A, B).method == "dense"
    assert inner_product(A, B, "exact").method == "exact"
    cost = Cost(5.0, 1e12)
    assert inner_product(A, B).method == "dense"
    with pytest.raises(MemoryLimitError, match=r"exact_inner_product\(\) needs about 931 GiB"):
        inner_product(A, B, "exact")
    with pytest.raises(InputError, match="needs a closed form of both norms.*this Operator"):
        alignment(A, B, "exact", max_memory=2e12)


def test_auto_samples_what_is_too_large_for_unit_vectors():
    values = 1 / (1 + np.arange(2100.0))
    op, flat = (Operator(np.diag(each), self_adjoint=True) for each in (values, 0 * values + 1))
    found = alignment(op, flat, n_matvecs=40)
    assert found.method == "hutch++"
    assert found.n_matvecs <= 40
    assert found.cost.memory_bytes > 0
    assert str(found).startswith("alignment: ")
    for each in (op, flat):
        each.exact_frobenius_norm = lambda each=each: np.linalg.norm(each.matrix)
    found = alignment(op, flat, n_matvecs=40)
    assert found.method == "hutch++, norm by exact"
    op.exact_inner_product = lambda other: np.vdot(op.matrix, other.matrix)
    del flat.exact_frobenius_norm
    found = alignment(op, flat, n_matvecs=40)
    assert found.method == "exact, norm by xnystrace"
    assert found.n_matvecs <= 40


@pytest.mark.parametrize("method", ["auto", *UNIT_VECTORS, *ESTIMATORS])
def test_the_alignment_with_nothing_is_not_defined(method):
    zero, factor = np.zeros((30, 4)), np.ones((30, 4))
    for pair in ((gram_operator(zero), gram_operator(factor)), (factor, zero)):
        with pytest.raises(InputError, match=r"alignment is not defined.*zero"):
            alignment(*pair, method)
    assert inner_product(zero, factor).value == 0


@pytest.mark.parametrize("function", [alignment, inner_product])
@pytest.mark.parametrize(
    ("second", "options", "message"),
    [
        (np.eye(5), {}, "A and B must act on the same space.*has 6 rows.*has 5"),
        (np.eye(6), {"method": "hutch"}, r"method must be one of.*Did you mean 'hutch"),
        (np.eye(6), {"method": "exact"}, r"closed form"),
        (np.eye(6), {"method": "hutch++", "n_matvecs": 1}, "n_matvecs must be at least"),
        (np.eye(6), {"n_matvecs": 0}, "n_matvecs must be at least 1"),
        (np.eye(6), {"max_memory": 0}, "max_memory must be"),
    ],
)
def test_arguments_are_checked(function, second, options, message):
    with pytest.raises(InputError, match=message):
        function(np.diag([3.0, 2.0, 1.0, 1.0, 1.0, 4.0]), second, **options)


def test_the_accuracy_is_checked():
    with pytest.raises(InputError, match="rtol must be"):
        alignment(np.eye(4), np.eye(4), rtol=0)


def test_every_method_is_named_in_the_documentation():
    for function, methods in (
        (alignment, ALIGNMENT_METHODS),
        (inner_product, INNER_PRODUCT_METHODS),
    ):
        for method in methods:
            assert f'"{method}"' in function.__doc__
