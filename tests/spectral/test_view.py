import numpy as np
import pytest
import scipy.sparse

from kpflow_numerics._validation import InputError, InputTypeError, MemoryLimitError
from kpflow_numerics.results import Cost
from kpflow_numerics.spectral import trace
from kpflow_numerics.spectral._budget import (
    DEFAULT_MAX_MEMORY,
    EXACT_FLOPS,
    ask_exact,
    check_max_memory,
)
from kpflow_numerics.spectral._view import PRODUCT_COLUMNS, SpectralView
from kpflow_numerics.testing import default_tolerance
from tests.cases.spectra import Operator, knows_exactly, with_eigenvalues

A = np.random.default_rng(4).standard_normal((7, 7))
SYMMETRIC = A + A.T


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 2, 30, 400])
def test_whether_an_operator_is_self_adjoint_is_tested_where_it_does_not_say(dtype, n):
    for seed in range(3, 8):
        rng = np.random.default_rng(seed)
        matrix = rng.standard_normal((n, n))
        symmetric = SpectralView((matrix + matrix.T).astype(dtype))
        assert symmetric.self_adjoint
        assert symmetric.n_matvecs == 4
        if n > 1:
            assert not SpectralView(matrix.astype(dtype)).self_adjoint
            almost = matrix + matrix.T
            almost[0] *= 1.02
            assert not SpectralView(almost.astype(dtype)).self_adjoint


@pytest.mark.parametrize("size", [1e-11, 1e-8, 1e-5])
def test_what_is_nearly_self_adjoint_is_not_taken_for_something_else(size):
    rng = np.random.default_rng(3)
    S = rng.standard_normal((60, 20))
    nearly = S @ S.T * (1 + size * rng.standard_normal((60, 60)))
    with pytest.raises(InputError, match=r"self-adjoint up to .* made in float32"):
        trace(nearly)
    truth = np.sum(S**2)
    assert trace(nearly, self_adjoint=True).value == pytest.approx(truth, rel=10 * size)
    assert trace((nearly + nearly.T) / 2).value == pytest.approx(truth, rel=10 * size)
    of_the_squares = trace(nearly, self_adjoint=False).value
    assert of_the_squares == pytest.approx(np.sum((S @ S.T) ** 2), rel=10 * size)
    if size < 1e-7:
        single = nearly.astype(np.float32)
        assert trace(single).value == pytest.approx(truth, rel=default_tolerance("float32", 60))


def test_flags_are_believed_and_can_be_overridden():
    flagged = Operator(SYMMETRIC, self_adjoint=True, positive_semidefinite=True)
    view = SpectralView(flagged)
    assert view.self_adjoint
    assert view.positive_semidefinite
    assert view.n_matvecs == 0
    overridden = SpectralView(flagged, self_adjoint=False, positive_semidefinite=False)
    assert not overridden.self_adjoint
    assert not SpectralView(Operator(SYMMETRIC)).positive_semidefinite


def test_the_view_of_an_operator_that_is_not_self_adjoint_is_its_gram_operator():
    B = np.random.default_rng(5).standard_normal((5, 8))
    view = SpectralView(Operator(B))
    X = np.random.default_rng(6).standard_normal((5, 3))
    np.testing.assert_allclose(view.apply(X), B @ B.T @ X, rtol=default_tolerance("float64", 8))
    assert view.n_matvecs == 6
    assert view.factor is not None
    assert view.smaller_side == 5
    assert 0 < view.norm_estimate <= np.linalg.norm(B, 2) ** 2


@pytest.mark.parametrize(
    "op", [SYMMETRIC, SYMMETRIC.tolist(), scipy.sparse.csr_array(SYMMETRIC), Operator(SYMMETRIC)]
)
def test_what_counts_as_an_operator(op):
    np.testing.assert_allclose(SpectralView(op).apply(np.eye(7)), SYMMETRIC)


def test_masked_entries_are_no_entries():
    masked = np.ma.masked_greater(SYMMETRIC, 1.0)
    with pytest.raises(InputError, match="op .*mask"):
        SpectralView(masked)
    np.testing.assert_array_equal(
        SpectralView(np.ma.asarray(SYMMETRIC)).apply(np.eye(7)), SYMMETRIC
    )


def test_integers_are_worked_on_in_double_precision():
    view = SpectralView(np.diag([1, 2, 3]))
    assert view.dtype == np.float64
    assert view.apply(np.eye(3)).dtype == np.float64


def test_products_are_made_in_bounded_blocks():
    op = Operator(np.eye(300), self_adjoint=True)
    view = SpectralView(op)
    X = np.random.default_rng(6).standard_normal((300, 2 * PRODUCT_COLUMNS + 5))
    np.testing.assert_array_equal(view.apply(X), X)
    assert op.widest == PRODUCT_COLUMNS
    assert view.n_matvecs == op.columns == X.shape[1]


@pytest.mark.parametrize(
    ("op", "error", "message"),
    [
        (object(), InputTypeError, r"op must be a scipy.*LinearOperator.*; got object"),
        (np.eye(3) * 1j, InputTypeError, "op must be of float32 or float64; got dtype complex128"),
        (np.empty((0, 3)), InputError, r"op must not be empty; got shape \(0, 3\)"),
        ([[1.0, 2.0], [3.0]], InputError, "op must be a rectangular array"),
    ],
)
def test_what_is_no_operator(op, error, message):
    with pytest.raises(error, match=message):
        SpectralView(op)


def test_refusals():
    with pytest.raises(InputError, match=r"not square.*got shape \(2, 3\)"):
        SpectralView(np.ones((2, 3)), self_adjoint=True)
    with pytest.raises(InputError, match=r"factor must have 7 rows.*got shape \(5, 7\)"):
        SpectralView(Operator(SYMMETRIC, self_adjoint=True, factor=np.ones((5, 7))))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_products_that_are_not_finite_are_refused(bad):
    spoiled = SYMMETRIC.copy()
    spoiled[2, 3] = bad
    with pytest.raises(InputError, match=r"op \(Operator, float64\) gave NaN or infinite"):
        SpectralView(Operator(spoiled))
    overflowing = (1e30 * SYMMETRIC).astype(np.float32)
    with pytest.raises(InputError, match=r"norm of about 7.4e\+30, whose squares are out of range"):
        SpectralView(overflowing, self_adjoint=False).apply(np.eye(7, dtype=np.float32))


def test_an_operator_without_adjoint_products():
    from scipy.sparse.linalg import LinearOperator

    op = LinearOperator((3, 3), matvec=lambda x: x, dtype=np.float64)
    assert SpectralView(op).self_adjoint
    with pytest.raises(InputError, match="no adjoint product"):
        SpectralView(op, self_adjoint=False).apply(np.eye(3))
    faulty = LinearOperator((3, 3), matvec=lambda x: x, rmatvec=lambda x: x + "1", dtype=np.float64)
    with pytest.raises(TypeError, match="ufunc"):
        SpectralView(faulty, self_adjoint=False).apply(np.eye(3))


class TestAskExact:
    cheap = Cost(1e6, 1e6)
    dear = Cost(2 * EXACT_FLOPS, 1e6)
    large = Cost(1e6, 1e12)
    matrix = with_eigenvalues(np.arange(5.0))

    def ask(self, cost, **options):
        op = Operator(self.matrix, **knows_exactly("trace", 10.0, cost))
        return ask_exact(op, "trace", max_memory=DEFAULT_MAX_MEMORY, **options)

    def test_what_is_affordable_is_asked(self):
        assert self.ask(self.cheap) == (10.0, self.cheap)
        assert self.ask(None) == (10.0, None)
        assert self.ask(self.dear) is None
        assert self.ask(self.large) is None

    def test_what_is_required_is_asked_whatever_its_flops(self):
        assert self.ask(self.dear, required=True) == (10.0, self.dear)
        with pytest.raises(MemoryLimitError, match=r"exact_trace\(\) needs about 931 GiB"):
            self.ask(self.large, required=True)

    @pytest.mark.parametrize(
        "knows",
        [
            {},
            {"exact_trace": lambda: None},
            {"exact_trace": lambda: 10.0, "exact_cost": lambda quantity: None},
        ],
    )
    def test_what_is_not_offered(self, knows):
        op = Operator(self.matrix, **knows)
        assert ask_exact(op, "trace", max_memory=1e9) is None
        with pytest.raises(
            InputError, match=r"exact_trace\(\), which this Operator does not offer"
        ):
            ask_exact(op, "trace", max_memory=1e9, required=True)

    def test_the_gram_operator_is_asked_for_an_operator_that_is_not_self_adjoint(self):
        gram = Operator(A @ A.T, self_adjoint=True, **knows_exactly("trace", 5.0))
        view = SpectralView(Operator(A, gram=gram))
        assert view.ask_exact("trace", max_memory=1e9) == (5.0, None)
        own = SpectralView(Operator(A, gram=gram, **knows_exactly("trace", 6.0)))
        assert own.ask_exact("trace", max_memory=1e9) == (6.0, None)
        dear = Cost(2 * EXACT_FLOPS, 1.0)
        own = SpectralView(Operator(A, gram=Operator(A), **knows_exactly("trace", 6.0, dear)))
        assert own.ask_exact("trace", max_memory=1e9) is None
        assert own.ask_exact("trace", max_memory=1e9, required=True) == (6.0, dear)

    def test_exact_methods_do_not_speak_of_an_operator_whose_flag_is_overridden(self):
        for flag in (True, False):
            op = Operator(SYMMETRIC, self_adjoint=flag, gram=None, **knows_exactly("trace", 6.0))
            believed = SpectralView(op, self_adjoint=flag)
            assert believed.ask_exact("trace", max_memory=1e9) == (6.0, None)
            overridden = SpectralView(op, self_adjoint=not flag)
            assert overridden.ask_exact("trace", max_memory=1e9) is None
            with pytest.raises(InputError, match="this operator does not offer here"):
                overridden.ask_exact("trace", max_memory=1e9, required=True)


def test_memory_limits():
    assert check_max_memory(None) == DEFAULT_MAX_MEMORY
    assert check_max_memory(10) == 10
    with pytest.raises(InputError, match="max_memory must be"):
        check_max_memory(0)
