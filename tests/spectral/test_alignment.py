import sys
from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse.linalg import aslinearoperator

import kpflow_numerics as kpf
from kpflow_numerics._validation import InputError, MemoryLimitError
from kpflow_numerics.results import Cost
from kpflow_numerics.spectral import ALIGNMENT_METHODS, alignment, inner_product
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


def artificial_pair():
    values = 1 / (1 + np.arange(60.0))
    Q = orthogonal(60, 8)
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
    """Let the mixtures sample what is small enough for unit vectors."""
    if "mixtures" in request.node.name:
        monkeypatch.setattr(sys.modules["kpflow_numerics.spectral.alignment"], "DENSE_SIZE", 10)


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


@pytest.mark.parametrize("case", SITE_CASES, ids=str)
def test_every_pair_of_operators_of_a_network(case):
    lin, later = case.linearization(), replace(case, seed=41).linearization()
    kinds = (
        kpf.ParameterOperator,
        kpf.Propagator,
        kpf.PropagatorGram,
        kpf.TangentKernel,
        kpf.KroneckerCore,
    )
    for first in kinds:
        for second in kinds:
            A, B = first(lin), second(later)
            dense_a, dense_b = (
                op.to_dense() if op.self_adjoint else op.to_dense() @ op.to_dense().T
                for op in (A, B)
            )
            found = alignment(A, B)
            expected = cosine(dense_a, dense_b)
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
    assert found.method == "exact, norm by hutch++"
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
    for method in ALIGNMENT_METHODS:
        assert f'"{method}"' in alignment.__doc__
        assert f'"{method}"' in inner_product.__doc__
