"""A participation ratio from the gradients of blocks: its interval, its sketch, what it lacks."""

import math
import sys

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics._validation import InputError
from kpflow_numerics.results import Cost
from kpflow_numerics.spectral import effective_rank, rank_from_weights
from kpflow_numerics.spectral._gradient_ratio import FIRST_COLUMNS, GradientRatio
from kpflow_numerics.spectral._gradients_by_block import (
    KnownSums,
    products_of_gradients,
    ratio_of_products,
)
from kpflow_numerics.spectral._sampled_ratio import is_narrow
from kpflow_numerics.spectral._side import factor_side
from kpflow_numerics.spectral._view import SpectralView
from kpflow_numerics.testing import default_tolerance
from tests.cases.spectra import Operator

# The package's name of it is the function.
MODULE = sys.modules["kpflow_numerics.spectral.effective_rank"]
N_BLOCKS, ROWS, COLUMNS_OF_L = 6, 40, 90
SEEDS = range(200)


class Blocks(Operator):
    """A factor whose blocks of rows can be given columns of their own."""

    def __init__(self, blocks):
        super().__init__(np.concatenate(blocks), self_adjoint=False)
        self.blocks = blocks

    def decoupled(self, n_groups=None):
        matrix = np.zeros((self.shape[0], len(self.blocks) * self.shape[1]))
        end = 0
        for number, block in enumerate(self.blocks):
            columns = slice(number * self.shape[1], (number + 1) * self.shape[1])
            matrix[end : end + len(block), columns] = block
            end += len(block)
        return Decoupled(matrix)


class Decoupled(Operator):
    """A block diagonal matrix whose products take a thousand flops a column."""

    def __init__(self, matrix):
        super().__init__(matrix, self_adjoint=False)

    def product_cost(self, k=1):
        return Cost(1e3 * k, 8.0 * k)


def factor(decay, common=0.7, seed=17):
    """Return blocks of rows that share their leading right singular vectors in part."""
    rng = np.random.default_rng(seed)
    shared = np.linalg.qr(rng.standard_normal((COLUMNS_OF_L, COLUMNS_OF_L)))[0]
    weights = decay ** np.arange(COLUMNS_OF_L)
    blocks = []
    for _ in range(N_BLOCKS):
        own = np.linalg.qr(rng.standard_normal((COLUMNS_OF_L, COLUMNS_OF_L)))[0]
        mixed = common * shared + (1 - common) * own
        left = rng.standard_normal((ROWS, COLUMNS_OF_L)) / math.sqrt(ROWS)
        blocks.append((left * weights) @ mixed.T)
    return Blocks(blocks)


DECAYS = {"fast": 0.8, "slow": 0.95, "flat": 1.0}


def truth_of(L):
    return rank_from_weights(np.linalg.svd(L.matrix, compute_uv=False) ** 2)


def ratio_for(L, seed, whole=None, most_columns=COLUMNS_OF_L):
    view = SpectralView(L, self_adjoint=False)
    return GradientRatio(
        factor_side(view.factor),
        view.counted(L.decoupled()),
        None if whole is None else view.counted(whole),
        float(COLUMNS_OF_L),
        most_columns,
        np.random.default_rng(seed),
    )


def covered(found, truth):
    slack = default_tolerance("float64", COLUMNS_OF_L) * truth
    return np.mean([each.lower - slack <= truth <= each.upper + slack for each in found])


@pytest.mark.parametrize("name", DECAYS)
@pytest.mark.parametrize("rtol", [0.2, 0.03])
def test_the_interval_is_as_narrow_as_asked_and_holds_the_truth(name, rtol):
    L = factor(DECAYS[name])
    truth = truth_of(L)
    found = [ratio_for(L, seed).run(rtol, math.inf) for seed in SEEDS]
    assert all(is_narrow(each, rtol) for each in found)
    assert covered(found, truth) >= 0.9
    values = np.array([each.value for each in found])
    assert abs(values.mean() - truth) <= 0.5 * rtol * truth


def test_intervals_that_count_a_pair_once_are_caught(monkeypatch):
    # The influence of a gradient on the square is twice the mean over its pairs.
    module = "kpflow_numerics.spectral._gradients_by_block.interval_reach"
    monkeypatch.setattr(module, lambda count: (0.6, 0.6))
    L = factor(DECAYS["slow"])
    found = [ratio_for(L, seed).run(0.05, math.inf) for seed in SEEDS]
    assert covered(found, truth_of(L)) < 0.8


@pytest.mark.parametrize("count", [2, 5])
def test_sums_are_those_of_the_pairs(count):
    rng = np.random.default_rng(5)
    gradients = rng.standard_normal((7, 3, count))
    products = products_of_gradients(gradients, gradients)
    known = KnownSums(2.0, 3.0)
    found = ratio_of_products(products, known, math.inf)
    total, square = known.trace, known.square
    for b in range(3):
        total += np.mean(np.sum(gradients[:, b] ** 2, axis=0))
        for c in range(3):
            pairs = [
                (gradients[:, b, i] @ gradients[:, c, j]) ** 2
                for i in range(count)
                for j in range(count)
                if b != c or i != j
            ]
            square += np.mean(pairs)
    assert found.value == pytest.approx(total**2 / square, rel=1e-13)


def test_nothing_has_no_ratio():
    assert ratio_of_products(np.zeros((3, 4, 3, 4)), KnownSums(), 9.0).value == 0


def test_equal_samples_have_no_spread():
    products = np.ones((3, 4, 3, 4))
    found = ratio_of_products(products, KnownSums(), 9.0)
    assert found.lower == found.value == found.upper == pytest.approx(1.0)


def test_a_sketch_is_made_where_it_pays_and_not_where_it_does_not():
    sketch = _after(factor(0.8), 0.01).sketch
    assert sketch.size >= sketch.columns
    assert _after(factor(1.0), 0.2).sketch.size == 0


def _after(L, rtol):
    ratio = ratio_for(L, 7)
    ratio.run(rtol, math.inf)
    return ratio


def test_what_is_held_outside_of_the_sketch_is_orthogonal_to_it():
    ratio = _after(factor(0.8), 0.01)
    inside = np.einsum("pq,pbm->qbm", ratio._basis, ratio._gradients)
    scale = np.abs(ratio._gradients).max()
    assert np.abs(inside).max() <= default_tolerance("float64", COLUMNS_OF_L) * scale
    again = products_of_gradients(ratio._gradients, ratio._gradients)
    np.testing.assert_allclose(ratio._products, again, atol=1e-12 * again.max())


def test_products_are_counted_and_a_spent_budget_shows():
    L = factor(0.95)
    view = SpectralView(L, self_adjoint=False)
    ratio = GradientRatio(
        factor_side(view.factor),
        view.counted(L.decoupled()),
        None,
        float(COLUMNS_OF_L),
        COLUMNS_OF_L,
        np.random.default_rng(7),
    )
    found = ratio.run(1e-2, 80)
    assert ratio.used == view.n_matvecs <= 80
    assert not is_narrow(found, 1e-2)
    whole = ratio_for(L, 7)
    assert is_narrow(whole.run(1e-2, math.inf), 1e-2)
    assert whole.used > 80


@pytest.mark.parametrize("effort", [100.0, 3000.0])
def test_products_of_gradients_with_one_another_are_paid_for(effort):
    ratio = ratio_for(factor(0.95), 7)
    found = ratio.run(1e-3, math.inf, effort)
    own = 2 * COLUMNS_OF_L * (N_BLOCKS * ratio.n_probes) ** 2 / 1e3
    assert not is_narrow(found, 1e-3)
    # The first columns are drawn in any case.
    assert ratio.n_probes == FIRST_COLUMNS or ratio.used + own <= effort
    assert ratio.used < 100
    without = ratio_for(factor(0.95), 7)
    assert is_narrow(without.run(1e-3, math.inf), 1e-3)
    assert without.used > ratio.used


def cut(L, tolerance):
    """Return a factor that lacks the trailing right singular vectors, in coordinates of its own."""
    _, values, right = np.linalg.svd(L.matrix, full_matrices=False)
    kept = right[values**2 > tolerance * values[0] ** 2].T
    return Blocks([block @ kept for block in L.blocks])


def test_what_a_coarse_factor_lacks_widens_the_interval():
    L = factor(0.8)
    coarse = cut(L, 1e-5)
    assert coarse.shape[1] < COLUMNS_OF_L
    truth = truth_of(L)
    found = [ratio_for(coarse, seed, whole=L).run(0.05, math.inf) for seed in range(100, 200)]
    assert all(is_narrow(each, 0.05) for each in found)
    assert covered(found, truth) >= 0.9
    ratio = ratio_for(coarse, 7, whole=L)
    ratio.run(0.05, math.inf)
    lacking = np.sum(L.matrix**2) - np.sum(coarse.matrix**2)
    assert lacking <= ratio._left_out <= 100 * lacking
    assert ratio._interval().upper > ratio._sampled().upper
    assert ratio._interval().lower < ratio._sampled().lower


def test_a_coarse_factor_that_lacks_too_much_is_refused():
    L = factor(0.95)
    assert ratio_for(cut(L, 0.1), 7, whole=L).run(0.01, math.inf) is None


def network(n_trials=8, n_steps=20, gain=0.8):
    cell = kpf.GRU(3, 10)
    inputs = np.random.default_rng(5).standard_normal((n_trials, 1, 3))
    inputs = np.repeat(inputs, n_steps, axis=1)
    return kpf.linearize(kpf.simulate(cell, cell.init_params(gain=gain, rng=3), inputs))


@pytest.mark.parametrize("kind", [kpf.TangentKernel, kpf.Sensitivity])
@pytest.mark.parametrize("rtol", [0.05, 5e-4])
def test_ranks_of_a_network_take_it(kind, rtol, monkeypatch):
    monkeypatch.setattr(MODULE, "sure_ways", lambda *_, **__: [])
    twins = []
    run = GradientRatio.run

    def recording(self, *arguments):
        twins.append(self._decoupled.dtype)
        return run(self, *arguments)

    monkeypatch.setattr(GradientRatio, "run", recording)
    lin = network()
    S = kpf.Sensitivity(lin).to_dense()
    truth = rank_from_weights(np.linalg.svd(S, compute_uv=False) ** 2)
    found = effective_rank(kind(lin), rtol=rtol, rng=7, max_size=10)
    assert found.method == "sampled"
    assert found.confidence == 0.95
    assert abs(found.value - truth) <= 2 * rtol * truth
    assert found.upper - found.lower <= 2 * rtol * found.value
    assert twins[-1] == (np.float32 if rtol > 1e-3 else np.float64)


def test_what_float32_cannot_hold_is_done_in_float64(monkeypatch):
    monkeypatch.setattr(MODULE, "sure_ways", lambda *_, **__: [])
    cell = kpf.VanillaRNN(3, 10, activation="relu")
    params = cell.init_params(gain=30, rng=3)
    lin = kpf.linearize(kpf.simulate(cell, params, np.ones((6, 32, 3))))
    S = kpf.Sensitivity(lin).to_dense()
    assert np.sum(S**2) > 1e39
    truth = rank_from_weights(np.linalg.svd(S, compute_uv=False) ** 2)
    found = effective_rank(kpf.TangentKernel(lin), rtol=0.05, rng=7, max_size=10)
    assert abs(found.value - truth) <= 0.1 * truth


def test_few_trials_leave_the_other_samples(monkeypatch):
    monkeypatch.setattr(GradientRatio, "run", lambda *_: pytest.fail("too few groups"))
    monkeypatch.setattr(MODULE, "sure_ways", lambda *_, **__: [])
    found = effective_rank(kpf.TangentKernel(network(n_trials=3)), rtol=0.2, max_size=10)
    assert found.method == "sampled"


def test_the_budget_is_for_an_interval(monkeypatch):
    monkeypatch.setattr(MODULE, "sure_ways", lambda *_, **__: [])
    with pytest.raises(InputError, match="n_matvecs must be at least"):
        effective_rank(kpf.TangentKernel(network()), rtol=0.2, n_matvecs=4, max_size=10)
