import math
import sys

import numpy as np
import pytest
from scipy import sparse

from kpflow_numerics._validation import InputError, InputTypeError, MemoryLimitError
from kpflow_numerics.results import Cost
from kpflow_numerics.spectral import (
    RANK_METHODS,
    RECIPES,
    WEIGHTINGS,
    brackets,
    effective_rank,
    participation_ratio_bracket,
    rank_bracket,
    rank_from_weights,
    top_eigenpairs,
)
from kpflow_numerics.spectral._budget import EXACT_FLOPS
from kpflow_numerics.testing import default_tolerance
from tests.cases.spectra import (
    Operator,
    gram_operator,
    knows_exactly,
    with_eigenvalues,
    with_singular_values,
)

DTYPES = [np.float32, np.float64]
DECAYS = {
    "fast": 0.6 ** np.arange(40),
    "slow": 1 / (1 + np.arange(60.0)),
    "flat": np.ones(30),
    "one": np.r_[1.0, np.zeros(30)],
    "steps": np.repeat([9.0, 3.0, 1.0, 0.0], [2, 7, 15, 20]),
    "dominant": np.r_[50.0, np.full(30, 0.1)],
}


class TestRecipes:
    @pytest.mark.parametrize("recipe", RECIPES)
    @pytest.mark.parametrize("rank", [1, 2, 7, 19, 20, 40, 100])
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_equal_weights(self, recipe, rank, dtype):
        expected = {
            "variance-95": math.ceil(round(0.95 * rank, 9)),
            "variance-95-interpolated": 0.95 * rank,
        }
        weights = np.r_[np.zeros(5), np.full(rank, 0.3)].astype(dtype)
        found = rank_from_weights(weights, recipe)
        assert found == pytest.approx(expected.get(recipe, rank), rel=1e-12)

    def test_hand_made_values(self):
        weights = [1.0, 4.0, 2.0, 1.0]
        found = {recipe: rank_from_weights(weights, recipe) for recipe in RECIPES}
        shares = np.array([0.5, 0.25, 0.125, 0.125])
        assert found == pytest.approx(
            {
                "participation-ratio": 64 / 22,
                "variance-95": 4.0,
                "variance-95-interpolated": 3 + 0.075 / 0.125,
                "entropy": np.exp(-np.sum(shares * np.log(shares))),
                "stable": 2.0,
            }
        )

    @pytest.mark.parametrize("recipe", RECIPES)
    def test_laws(self, recipe):
        weights = np.random.default_rng(7).random(50)
        found = rank_from_weights(weights, recipe)
        for scale in (1e-200, 1e200):
            assert rank_from_weights(scale * weights, recipe) == pytest.approx(found)
        assert rank_from_weights(np.r_[0, weights[::-1], 0], recipe) == pytest.approx(found)
        assert 0.95 <= found <= 50
        assert rank_from_weights(np.zeros(3), recipe) == 0
        assert rank_from_weights(np.r_[weights, -1e-17], recipe) == pytest.approx(found)

    def test_whole_numbers_follow_the_interpolated_ones(self):
        for seed in range(5, 25):
            weights = np.random.default_rng(seed).random(30) ** 3
            interpolated = rank_from_weights(weights, "variance-95-interpolated")
            whole = rank_from_weights(weights, "variance-95")
            assert whole == math.ceil(interpolated)
            sums = np.cumsum(np.sort(weights)[::-1]) / np.sum(weights)
            assert sums[int(whole) - 1] >= 0.95 > sums[int(whole) - 2]

    @pytest.mark.parametrize("recipe", RECIPES)
    def test_weightings_are_powers(self, recipe):
        weights = np.random.default_rng(7).random(20)
        for weighting, power in (("eigenvalue", 1), ("root", 0.5), ("squared", 2)):
            assert rank_from_weights(weights, recipe, weighting) == pytest.approx(
                rank_from_weights(weights**power, recipe)
            )

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (([1.0, -0.1],), r"weights must not be negative; the smallest is -0.1.*self_adjoint=F"),
            (([1.0, np.nan],), "weights must be finite"),
            (([],), r"weights must have shape \(n,\)"),
            (([[1.0]],), r"weights must have shape \(n,\)"),
            (([1.0], "stabel"), r"recipe must be one of.*Did you mean 'stable'"),
            (
                ([1.0], "stable", "cubed"),
                "weighting must be one of 'eigenvalue', 'root', 'squared'",
            ),
        ],
    )
    def test_arguments_are_checked(self, arguments, message):
        with pytest.raises(InputError, match=message):
            rank_from_weights(*arguments)


def ritz_pairs(values, r, slack, rng):
    """Return Ritz values and residual norms of a diagonal matrix in a nearly invariant subspace."""
    basis = np.eye(len(values), r) + slack * rng.standard_normal((len(values), r)) / len(values)
    if slack:
        basis = np.linalg.qr(basis)[0]
    matrix = np.diag(values)
    ritz, coefficients = np.linalg.eigh(basis.T @ matrix @ basis)
    vectors = basis @ coefficients[:, ::-1]
    residuals = matrix @ vectors - vectors * ritz[::-1]
    return ritz[::-1], np.linalg.norm(residuals, axis=0)


class TestBrackets:
    @pytest.mark.parametrize("recipe", RECIPES)
    @pytest.mark.parametrize("name", DECAYS)
    @pytest.mark.parametrize("slack", [0.0, 1e-6, 1e-2])
    def test_they_hold_the_truth_and_shrink(self, recipe, name, slack):
        values = DECAYS[name]
        truth = rank_from_weights(values, recipe)
        total = float(np.sum(values))
        rounding = default_tolerance(np.float64, len(values) ** 2, factor=100) * truth
        widths = []
        for r in range(1, len(values) + 1):
            ritz, residuals = ritz_pairs(values, r, slack, np.random.default_rng(r))
            lower, upper = rank_bracket(recipe, total, ritz, residuals, len(values))
            assert lower <= truth <= upper
            widths.append(upper - lower)
        if slack == 0:
            assert np.all(np.diff(widths) <= rounding)
            assert widths[-1] <= rounding

    def test_bounds_that_allow_no_rounding_break(self, monkeypatch):
        monkeypatch.setattr(brackets, "_ROUNDING", 0.0)
        with pytest.raises(AssertionError):
            self.test_they_hold_the_truth_and_shrink("variance-95-interpolated", "dominant", 0.0)

    def test_the_participation_ratio_is_no_wider_than_the_formula(self):
        values = np.sort(np.random.default_rng(7).random(40) ** 2)[::-1]
        total = float(np.sum(values))
        for r in (2, 8, 20):
            rest = total - np.sum(values[:r])
            square = np.sum(values[:r] ** 2)
            most = square + min(values[r - 1] * rest, rest**2)
            least = square + rest**2 / (40 - r)
            lower, upper = participation_ratio_bracket(total, values[:r], np.zeros(r), 40)
            assert lower >= total**2 / most * (1 - 1e-12)
            assert upper == pytest.approx(total**2 / least)

    def test_the_example_of_the_mathematics(self):
        # Eight of forty eigenvalues leave a few percent.
        values = 0.8 ** np.arange(40)
        truth = rank_from_weights(values)
        lower, upper = participation_ratio_bracket(
            float(np.sum(values)), values[:8], np.zeros(8), 40
        )
        assert lower < truth < upper
        assert upper - lower < 0.1 * truth

    @pytest.mark.parametrize("recipe", RECIPES)
    def test_a_planted_fault_leaves_the_bracket(self, recipe):
        # Without a copy of the largest eigenvalue, bounds that believe the others are wrong.
        values = np.r_[np.ones(6), np.full(30, 0.01)]
        truth = rank_from_weights(values, recipe)
        total = float(np.sum(values))
        seen = values[5:12]
        lower, upper = rank_bracket(recipe, total, seen, np.zeros(7), 36)
        safe = rank_bracket(recipe, total, seen, np.zeros(7), 36, complete=False)
        assert safe[0] <= truth <= safe[1]
        if recipe in ("participation-ratio", "entropy", "variance-95"):
            assert not lower <= truth <= upper

    @pytest.mark.parametrize("recipe", RECIPES)
    def test_incomplete_pairs_give_wider_bounds_that_hold(self, recipe):
        rng = np.random.default_rng(7)
        matrix = with_eigenvalues(DECAYS["slow"])
        basis = np.linalg.qr(rng.standard_normal((60, 5)))[0]
        ritz, rotation = np.linalg.eigh(basis.T @ matrix @ basis)
        ritz, basis = ritz[::-1], (basis @ rotation)[:, ::-1]
        residuals = np.linalg.norm(matrix @ basis - basis * ritz, axis=0)
        total = float(np.trace(matrix))
        lower, upper = rank_bracket(recipe, total, ritz, residuals, 60, complete=False)
        assert lower <= rank_from_weights(DECAYS["slow"], recipe) <= upper

    def test_nothing_has_no_rank(self):
        assert participation_ratio_bracket(0.0, [0.0, 0.0], [0.0, 0.0], 9) == (0.0, 0.0)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ((1.0, [2.0], [0.0], 3), "trace must be at least the sum of the eigenvalues, 2"),
            ((-1.0, [2.0], [0.0], 3), "trace must be"),
            ((9.0, [2.0, 1.0], [0.0], 3), r"residual_norms must have shape \(2,\)"),
            ((9.0, [2.0, 1.0], [0.0, 0.0], 1), "rank_bound must be at least 2"),
        ],
    )
    def test_arguments_are_checked(self, arguments, message):
        with pytest.raises(InputError, match=message):
            participation_ratio_bracket(*arguments)


def truth_of(matrix, recipe, weighting="eigenvalue", *, self_adjoint=True):
    matrix = matrix.astype(np.float64)
    values = np.linalg.eigvalsh(matrix if self_adjoint else matrix @ matrix.T)
    return rank_from_weights(np.maximum(values, 0), recipe, weighting)


class TestEffectiveRank:
    @pytest.mark.parametrize("recipe", RECIPES)
    @pytest.mark.parametrize(
        ("name", "weighting"),
        # The root of rounding noise is not small: no zeros for it.
        [(name, weighting) for name in DECAYS for weighting in ("eigenvalue", "squared")]
        + [("slow", "root"), ("flat", "root"), ("dominant", "root")],
    )
    @pytest.mark.parametrize("method", ["auto", "dense"])
    def test_of_a_positive_operator(self, recipe, name, weighting, method):
        found = effective_rank(with_eigenvalues(DECAYS[name]), recipe, method, weighting=weighting)
        expected = rank_from_weights(DECAYS[name], recipe, weighting)
        assert found.value == pytest.approx(expected, rel=default_tolerance("float64", 1000))
        assert found.is_exact
        assert (found.recipe, found.quantity) == (recipe, "effective rank")

    @pytest.mark.parametrize("recipe", RECIPES)
    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("shape", [(60, 40), (40, 60)])
    def test_of_an_operator_that_is_not_self_adjoint(self, recipe, dtype, shape):
        sigma = np.sqrt(DECAYS["fast"])
        A = with_singular_values(sigma, shape, dtype)
        expected = rank_from_weights(DECAYS["fast"], recipe)
        tolerance = default_tolerance(dtype, 60) * 10
        for op, method in (
            (A, "auto"),
            (A, "dense"),
            (A, "gram"),
            (gram_operator(A), "auto"),
            (gram_operator(A), "gram"),
        ):
            found = effective_rank(op, recipe, method)
            assert found.value == pytest.approx(expected, rel=tolerance)

    def test_an_indefinite_operator_is_refused_unless_squared(self):
        matrix = np.diag([3.0, 2.0, -1.0])
        with pytest.raises(InputError, match="pass self_adjoint=False"):
            effective_rank(matrix)
        squared = effective_rank(matrix, self_adjoint=False)
        assert squared.value == pytest.approx(rank_from_weights([9.0, 4.0, 1.0]))


class TestExact:
    values = DECAYS["slow"]
    matrix = with_eigenvalues(values)
    trace, norm = float(np.sum(values)), float(np.linalg.norm(values))

    def operator(self, cost=None, **more):
        return Operator(
            self.matrix,
            self_adjoint=True,
            positive_semidefinite=True,
            exact_trace=lambda: self.trace,
            exact_frobenius_norm=lambda: self.norm,
            **({"exact_cost": lambda quantity: cost} if cost else {}),
            **more,
        )

    @pytest.mark.parametrize("method", ["auto", "exact"])
    def test_trace_and_norm_give_the_participation_ratio(self, method):
        found = effective_rank(self.operator(Cost(2.0, 3.0)), method=method)
        assert found.value == pytest.approx(rank_from_weights(self.values))
        assert (found.method, found.n_matvecs) == ("exact", 0)
        assert found.cost == Cost(4.0, 3.0)

    def test_they_do_not_give_another_recipe(self):
        with pytest.raises(InputError, match=r"exact_eigenvalues\(\)"):
            effective_rank(self.operator(), "entropy", "exact")
        with pytest.raises(InputError, match=r"exact_eigenvalues\(\)"):
            effective_rank(self.operator(), method="exact", weighting="root")
        assert effective_rank(self.operator(), "entropy").method == "dense"

    @pytest.mark.parametrize("recipe", RECIPES)
    def test_the_whole_spectrum_gives_every_recipe(self, recipe):
        op = Operator(self.matrix, self_adjoint=True, **knows_exactly("eigenvalues", self.values))
        for weighting in WEIGHTINGS:
            found = effective_rank(op, recipe, "exact", weighting=weighting)
            assert found.value == rank_from_weights(self.values, recipe, weighting)
            assert found.n_matvecs == op.columns == 0

    def test_what_is_too_dear_is_not_asked(self):
        dear = self.operator(Cost(2 * EXACT_FLOPS, 1.0))
        assert effective_rank(dear).method == "dense"

    def test_the_gram_operator_stands_for_one_that_is_not_self_adjoint(self):
        A = with_singular_values(np.sqrt(self.values), (60, 60))
        gram = Operator(
            A @ A.T,
            self_adjoint=True,
            exact_trace=lambda: self.trace,
            exact_frobenius_norm=lambda: self.norm,
        )
        op = Operator(A, gram=gram, exact_frobenius_norm=lambda: math.sqrt(self.trace))
        found = effective_rank(op, self_adjoint=False)
        assert found.value == pytest.approx(rank_from_weights(self.values))
        assert found.method == "exact"

    @pytest.mark.parametrize("flag", [True, False])
    def test_an_overridden_flag_silences_them(self, flag):
        op = self.operator()
        op.self_adjoint = flag
        found = effective_rank(op, self_adjoint=not flag)
        assert found.method in ("dense", "gram")
        expected = self.values**2 if flag else self.values
        assert found.value == pytest.approx(rank_from_weights(expected))

    def test_nothing_has_no_rank(self):
        op = Operator(
            np.zeros((4, 4)),
            self_adjoint=True,
            exact_trace=lambda: 0.0,
            exact_frobenius_norm=lambda: 0.0,
        )
        assert effective_rank(op).value == 0


class TestBounds:
    @pytest.mark.parametrize("recipe", RECIPES)
    @pytest.mark.parametrize("name", DECAYS)
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_they_hold_the_truth(self, recipe, name, dtype):
        values = DECAYS[name]
        op = Operator(
            with_eigenvalues(values, dtype), self_adjoint=True, positive_semidefinite=True
        )
        found = effective_rank(op, recipe, "bounds", n_pairs=5, rng=7)
        rounding = 1e-9 if dtype == np.float64 else 2e-3
        truth = rank_from_weights(values, recipe)
        assert found.lower * (1 - rounding) <= truth <= found.upper * (1 + rounding)
        assert found.lower <= found.value <= found.upper
        assert (found.method, found.confidence) == ("bounds", 1.0)
        assert found.n_matvecs == op.columns

    @pytest.mark.parametrize("shape", [(70, 40), (40, 70)])
    def test_of_factors_and_of_operators_that_are_not_self_adjoint(self, shape):
        A = with_singular_values(np.sqrt(DECAYS["fast"]), shape)
        truth = rank_from_weights(DECAYS["fast"])
        for op in (A, gram_operator(A)):
            found = effective_rank(op, method="bounds", n_pairs=9)
            assert found.lower <= truth <= found.upper
            assert found.upper - found.lower < 0.05 * truth

    def test_more_pairs_narrow_them(self):
        matrix = with_eigenvalues(DECAYS["slow"])
        widths = []
        for n_pairs in (2, 8, 30, 60, 90):
            found = effective_rank(
                matrix, method="bounds", n_pairs=n_pairs, positive_semidefinite=True
            )
            widths.append(found.upper - found.lower)
        assert np.all(np.diff(widths) <= 1e-9)
        assert widths[-1] <= 1e-9

    @pytest.mark.parametrize(
        ("recipe", "rtol"),
        [
            *[("participation-ratio", rtol) for rtol in (0.3, 0.05, 0.01)],
            *[("stable", rtol) for rtol in (0.3, 0.01)],
            ("entropy", 0.5),
        ],
    )
    @pytest.mark.parametrize("cells", [1.0, 2.0])
    def test_they_are_refined_until_they_are_as_close_as_asked(self, recipe, rtol, cells):
        values = 1 / (1 + np.arange(2500.0)) ** cells
        op = Operator(
            sparse.diags_array(values),
            self_adjoint=True,
            positive_semidefinite=True,
            exact_trace=lambda: float(np.sum(values)),
        )
        found = effective_rank(op, recipe, "bounds", rtol=rtol, rng=7)
        rounding = default_tolerance("float64") * found.value
        truth = rank_from_weights(values, recipe)
        assert found.lower - rounding <= truth <= found.upper + rounding
        assert found.n_matvecs == op.columns
        if recipe != "entropy":
            assert found.upper - found.lower <= 2 * rtol * found.value

    def test_a_spectrum_that_does_not_decay_ends_with_what_can_be_had(self):
        values = np.ones(2500)
        op = Operator(
            sparse.diags_array(values),
            self_adjoint=True,
            positive_semidefinite=True,
            exact_trace=lambda: 2500.0,
        )
        found = effective_rank(op, "entropy", "bounds", rtol=1e-3, max_memory=4e6)
        assert found.lower <= 2500 * (1 + 1e-9)
        assert found.upper >= 2500 * (1 - 1e-9)
        assert found.n_matvecs < 1500

    @pytest.mark.parametrize("rtol", [0.0, 1.5, "0.1"])
    def test_rtol_is_checked(self, rtol):
        with pytest.raises((InputError, InputTypeError), match="rtol must be"):
            effective_rank(np.eye(3), rtol=rtol)

    def test_certain_bounds_of_the_trace_serve(self):
        values = 0.8 ** np.arange(60)
        total = float(np.sum(values))
        op = Operator(
            with_eigenvalues(values),
            self_adjoint=True,
            positive_semidefinite=True,
            exact_trace_bounds=lambda width: (total * (1 - width / 2), total * (1 + width / 2)),
        )
        truth = rank_from_weights(values)
        found = effective_rank(op, method="bounds", rtol=0.01)
        assert found.is_certified
        assert found.lower < truth < found.upper
        assert found.upper - found.lower <= 0.02 * truth

    @pytest.mark.parametrize("recipe", RECIPES)
    def test_known_pairs_stand_for_new_ones(self, recipe):
        op = Operator(
            with_eigenvalues(DECAYS["slow"]), self_adjoint=True, positive_semidefinite=True
        )
        pairs = top_eigenpairs(op, 7)
        op.columns = 0
        known = effective_rank(op, recipe, "bounds", known_pairs=pairs)
        assert known.n_matvecs == op.columns
        fresh = effective_rank(op, recipe, "bounds", n_pairs=7)
        assert known.lower == pytest.approx(fresh.lower)
        assert known.upper == pytest.approx(fresh.upper)
        assert known.n_matvecs < fresh.n_matvecs

    def test_known_pairs_beyond_the_rank_are_left_out(self):
        op = gram_operator(with_singular_values(np.sqrt(DECAYS["fast"][:6]), (30, 6)))
        pairs = top_eigenpairs(op, 9)
        found = effective_rank(op, method="bounds", known_pairs=pairs)
        assert found.value == pytest.approx(rank_from_weights(DECAYS["fast"][:6]))

    def test_known_pairs_of_something_else_are_refused(self):
        op = Operator(np.eye(5), self_adjoint=True, positive_semidefinite=True)
        other = top_eigenpairs(np.eye(4), 2)
        with pytest.raises(InputError, match="with vectors of length 5; got EigenResult"):
            effective_rank(op, method="bounds", known_pairs=other)
        with pytest.raises(InputTypeError, match="known_pairs must be an EigenResult"):
            effective_rank(op, method="bounds", known_pairs=np.ones(3))

    def test_large_operators_get_bounds_and_an_estimated_trace(self):
        values = 1 / (1 + np.arange(2100.0))
        op = Operator(np.diag(values), self_adjoint=True, positive_semidefinite=True)
        truth = rank_from_weights(values)
        found = effective_rank(op, n_pairs=12, n_matvecs=60)
        assert found.method == "bounds, trace by hutch++"
        assert found.confidence == 0.95
        assert found.standard_error > 0
        assert found.lower <= truth <= found.upper
        exact = Operator(
            np.diag(values),
            self_adjoint=True,
            positive_semidefinite=True,
            exact_trace=lambda: float(np.sum(values)),
        )
        certain = effective_rank(exact, n_pairs=12)
        assert certain.method == "bounds"
        assert certain.is_certified
        assert certain.lower <= truth <= certain.upper
        assert certain.upper - certain.lower < found.upper - found.lower

    def test_with_an_estimated_trace_they_cover_as_often_as_they_say(self, monkeypatch):
        # Unit vectors are made unaffordable.
        monkeypatch.setattr(sys.modules["kpflow_numerics.spectral.trace"], "DENSE_SIZE", 1)
        values = 1 / (1 + np.arange(150.0))
        truth = rank_from_weights(values)
        op = Operator(with_eigenvalues(values), self_adjoint=True, positive_semidefinite=True)
        found = [
            effective_rank(op, method="bounds", n_pairs=5, n_matvecs=30, rng=seed)
            for seed in range(100, 160)
        ]
        assert all(each.method == "bounds, trace by hutch++" for each in found)
        assert sum(each.lower <= truth <= each.upper for each in found) >= 54

    def test_refusals(self):
        matrix = with_eigenvalues(DECAYS["slow"])
        with pytest.raises(InputError, match="pass positive_semidefinite=True if it is"):
            effective_rank(matrix, method="bounds")
        with pytest.raises(InputError, match=r"weighting='root' needs the whole spectrum"):
            effective_rank(matrix, method="bounds", weighting="root", positive_semidefinite=True)
        with pytest.raises(MemoryLimitError, match="eigenvectors of length 60 need about"):
            effective_rank(matrix, method="bounds", positive_semidefinite=True, max_memory=1000)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recipe": "participation"}, r"recipe must be one of.*Did you mean"),
        ({"method": "xtrace"}, "method must be one of"),
        ({"weighting": "sigma"}, "weighting must be one of"),
        ({"n_pairs": 0}, "n_pairs must be at least 1"),
        ({"max_size": 2, "method": "dense"}, "larger than max_size=2"),
        ({"max_memory": 0}, "max_memory must be"),
    ],
)
def test_arguments_are_checked(options, message):
    with pytest.raises(InputError, match=message):
        effective_rank(np.eye(3), **options)


def test_every_method_and_recipe_is_named_in_the_documentation():
    for word in (*RANK_METHODS, *RECIPES, *WEIGHTINGS):
        assert f'"{word}"' in effective_rank.__doc__


def test_the_published_recipe_is_another_functions():
    with pytest.raises(ValueError, match=r"use published_rank\(op\)"):
        effective_rank(np.eye(4), "paper-figure-4")


def test_exact_is_not_refused_for_its_flops_where_it_is_asked_for():
    class Dear(Operator):
        def exact_cost(self, quantity):
            return Cost(1e15, 8.0) if quantity != "eigenvalues" else None

        def exact_trace(self):
            return 7.0

        def exact_frobenius_norm(self):
            return 3.5

    dear = Dear(np.eye(5), self_adjoint=True)
    assert effective_rank(dear, method="exact").value == 4.0
    assert effective_rank(dear).method == "dense"


def test_closed_bounds_are_not_refused_for_their_flops_where_an_accuracy_is_asked_for():
    class Dear(Operator):
        def exact_cost(self, quantity, *arguments):
            return Cost(1e15, 8.0)

        def exact_participation_ratio_bounds(self, width):
            return 5.0 - width, 5.0 + width

    dear = Dear(np.eye(5), self_adjoint=True, positive_semidefinite=True)
    found = effective_rank(dear, method="bounds", rtol=1e-3)
    assert (found.lower, found.upper, found.n_matvecs) == (5.0 - 2e-3, 5.0 + 2e-3, 0)


def test_a_large_matrix_of_unknown_sign_is_taken_apart():
    weights = np.linspace(1.0, 2.0, 2100)
    found = effective_rank(sparse.diags_array(weights), self_adjoint=True)
    assert found.method == "dense"
    assert np.isclose(found.value, weights.sum() ** 2 / np.sum(weights**2))
