"""A rank to an accuracy: which way is taken, and that its interval is as narrow and as sure."""

import math

import numpy as np
import pytest
from scipy.linalg import block_diag

import kpflow_numerics as kpf
from kpflow_numerics._validation import InputError
from kpflow_numerics.results import Cost
from kpflow_numerics.spectral import effective_rank, rank_from_weights
from kpflow_numerics.spectral._block_sketch import BlockSketch
from kpflow_numerics.spectral._sampled_ratio import SampledRatio, is_narrow, ratio_of_blocks
from kpflow_numerics.spectral._side import given_side
from kpflow_numerics.spectral._view import SpectralView
from kpflow_numerics.spectral.estimators.forms import random_signs
from kpflow_numerics.spectral.estimators.sampled import interval_reach
from kpflow_numerics.testing import default_tolerance
from tests.cases.spectra import Operator, with_eigenvalues

SPECTRA = {
    "slow": 1 / (1 + np.arange(300.0)),
    "fast": 0.9 ** np.arange(300),
    "flat": np.ones(300),
    "dominant": np.r_[50.0, np.full(299, 0.3)],
}
SEEDS = range(200)


class Priced(Operator):
    """An operator that tells what its products and its closed forms take."""

    def __init__(self, matrix, flops, exact_flops=None, **knows):
        flags = {"self_adjoint": True, "positive_semidefinite": True}
        super().__init__(matrix, **(flags | knows))
        self.flops, self.exact_flops = flops, exact_flops
        if exact_flops is not None:
            self.exact_trace = lambda: float(np.trace(matrix))
            self.exact_frobenius_norm = lambda: float(np.linalg.norm(matrix))

    def product_cost(self, k=1):
        return Cost(self.flops * k, 8.0 * k)

    def exact_cost(self, quantity, *arguments):
        offered = quantity in ("trace", "frobenius_norm") and self.exact_flops is not None
        return Cost(self.exact_flops / 2, 8.0) if offered else None


def blocks(n_blocks=8, size=30):
    rng = np.random.default_rng(17)
    matrix = np.zeros((n_blocks * size, n_blocks * size))
    for block in range(n_blocks):
        part = slice(block * size, (block + 1) * size)
        L = np.tril(rng.standard_normal((size, size))) / 6 + np.eye(size)
        matrix[part, part] = L @ L.T * (1 + block)
    return matrix


def sampled(matrix, rtol, seed, n_blocks=1, budget=math.inf):
    view = SpectralView(Operator(matrix, self_adjoint=True, positive_semidefinite=True))
    ratio = SampledRatio(
        given_side(view), n_blocks, view.dtype, view.n, view.n, np.random.default_rng(seed)
    )
    return ratio.run(rtol, budget), ratio


@pytest.mark.parametrize("name", [*SPECTRA, "blocks"])
@pytest.mark.parametrize("rtol", [0.2, 0.03])
def test_the_interval_is_as_narrow_as_asked_and_holds_the_truth(name, rtol):
    matrix = blocks() if name == "blocks" else with_eigenvalues(SPECTRA[name])
    truth = rank_from_weights(np.maximum(np.linalg.eigvalsh(matrix), 0))
    n_blocks = 8 if name == "blocks" else 1
    found = [sampled(matrix, rtol, seed, n_blocks)[0] for seed in SEEDS]
    assert all(is_narrow(each, rtol) for each in found)
    slack = default_tolerance("float64", len(matrix)) * truth
    hits = np.mean([each.lower - slack <= truth <= each.upper + slack for each in found])
    assert hits >= 0.9


def decaying_blocks():
    slow = with_eigenvalues(SPECTRA["slow"][:80])
    return block_diag(*(scale * slow for scale in (1.0, 2.0, 3.0, 8.0)))


def test_an_interval_of_blocks_with_sketches_holds_the_truth():
    matrix = decaying_blocks()
    assert sampled(matrix, 0.03, 7, 4)[1].sketch.size > 0
    assert covered(matrix, 0.03, 4, SEEDS) >= 0.94


def test_a_sketch_whose_norm_is_counted_twice_is_caught(monkeypatch):
    twice = property(lambda sketch: 2.0 * sketch._total)
    monkeypatch.setattr("kpflow_numerics.spectral._krylov_sketch.KrylovSketch.square", twice)
    assert covered(decaying_blocks(), 0.03, 4, range(2000, 2020)) < 0.5


def test_an_interval_that_forgets_the_blocks_is_caught(monkeypatch):
    matrix = blocks()
    truth = rank_from_weights(np.linalg.eigvalsh(matrix))
    module = "kpflow_numerics.spectral._sampled_ratio.interval_reach"
    monkeypatch.setattr(module, lambda count: (0.5, 0.5))
    found = [sampled(matrix, 0.5, seed, 8)[0] for seed in SEEDS]
    assert np.mean([each.lower <= truth <= each.upper for each in found]) < 0.8


def uneven_blocks(n_blocks, share, n_equal):
    """Blocks of two coupled entries, the first with some equal ones and larger than the others."""
    matrix = 0.05 * np.eye(20 * n_blocks)
    for first in range(0, len(matrix), 20):
        matrix[first : first + 2, first : first + 2] = 0.5 * (np.eye(2) + 1.0)
    matrix[:n_equal, :n_equal] = share * (0.05 * np.eye(n_equal) + 0.95)
    return matrix


def covered(matrix, rtol, n_blocks, seeds):
    truth = rank_from_weights(np.linalg.eigvalsh(matrix))
    found = [sampled(matrix, rtol, seed, n_blocks)[0] for seed in seeds]
    slack = default_tolerance("float64", len(matrix)) * truth
    return np.mean([each.lower - slack <= truth <= each.upper + slack for each in found])


@pytest.mark.parametrize("rtol", [10.0, 0.2])
@pytest.mark.parametrize("n_equal", [2, 3])
@pytest.mark.parametrize(("n_blocks", "share"), [(4, 100.0), (20, 100.0), (20, 5.0)])
def test_a_block_that_outweighs_the_others_is_sampled_enough(n_blocks, share, n_equal, rtol):
    matrix = uneven_blocks(n_blocks, share, n_equal)
    assert covered(matrix, rtol, n_blocks, range(2000, 2200)) >= 0.9


def test_too_few_degrees_of_freedom_are_caught(monkeypatch):
    monkeypatch.setattr("kpflow_numerics.spectral._sampled_ratio._LEAST_FREEDOM", 0.0)
    assert covered(uneven_blocks(20, 100.0, 3), 0.2, 20, range(2000, 2200)) < 0.8


def test_a_budget_bounds_the_probes_of_uneven_blocks_too():
    found, ratio = sampled(uneven_blocks(4, 100.0, 2), 0.2, 7, 4, budget=9)
    assert ratio.used <= 9
    assert found.value >= 1


@pytest.mark.parametrize(("widened", "enough"), [(None, True), (0.0, False)])
def test_choosing_when_to_stop_is_paid_for(widened, enough, monkeypatch):
    if widened is not None:
        module = "kpflow_numerics.spectral._sampled_ratio._WIDENED"
        monkeypatch.setattr(module, widened)
    matrix = with_eigenvalues(np.sqrt(SPECTRA["slow"]))
    assert (covered(matrix, 0.05, 1, range(600)) > 0.945) == enough


def test_blocks_are_sampled_with_few_probes():
    equal = np.kron(np.eye(8), blocks(1))
    assert [sampled(equal, 0.3, 7, n_blocks)[1].used for n_blocks in (8, 1)] == [4, 16]
    # Of sizes one to eight.
    assert max(sampled(blocks(), 0.3, seed, 8)[1].used for seed in range(30, 50)) <= 8


@pytest.mark.parametrize("n_blocks", [1, 5])
def test_a_sketch_is_made_where_it_pays_and_not_where_it_does_not(n_blocks):
    fast, flat = (
        np.kron(np.eye(n_blocks), with_eigenvalues(SPECTRA[name])) for name in ("fast", "flat")
    )
    assert sampled(fast, 0.01, 7, n_blocks)[1].sketch.size > 0
    assert sampled(flat, 0.01, 7, n_blocks)[1].sketch.size == 0


def test_sketches_of_blocks_save_products():
    matrix = np.kron(np.eye(5), with_eigenvalues(SPECTRA["fast"]))
    of_blocks, of_the_whole = (sampled(matrix, 0.01, 7, n_blocks)[1].used for n_blocks in (5, 1))
    assert of_blocks < of_the_whole / 2


def test_a_spent_budget_shows_in_the_interval():
    found, ratio = sampled(with_eigenvalues(SPECTRA["slow"]), 1e-3, 7, budget=60)
    assert ratio.used <= 60
    assert not is_narrow(found, 1e-3)


def block_sketch(matrix, n_blocks=1, seed=7):
    rng = np.random.default_rng(seed)
    return BlockSketch(
        len(matrix),
        n_blocks,
        matrix.dtype,
        lambda X: matrix @ X,
        lambda columns: matrix @ rng.standard_normal((len(matrix), columns)).astype(matrix.dtype),
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n_blocks", [1, 4])
def test_the_sketch_and_its_rest_are_the_whole(dtype, n_blocks):
    parts = [with_eigenvalues(scale * SPECTRA["slow"]) for scale in range(1, n_blocks + 1)]
    matrix = block_diag(*parts).astype(dtype)
    sketch = block_sketch(matrix, n_blocks)
    for _ in range(3):
        sketch.grow()
    assert [each.size for each in sketch.of_blocks] == [3 * sketch.columns] * n_blocks
    Q = block_diag(*(each.basis for each in sketch.of_blocks)).astype(np.float64)
    outside = np.eye(len(matrix)) - Q @ Q.T
    rest = outside @ matrix.astype(np.float64) @ outside
    tolerance = default_tolerance(dtype, len(matrix))
    whole = np.sum(np.square(matrix, dtype=np.float64))
    assert sketch.trace + np.trace(rest) == pytest.approx(np.trace(matrix), rel=tolerance)
    assert sketch.square + np.sum(rest**2) == pytest.approx(whole, rel=tolerance)
    Z = random_signs(len(matrix), 5, np.dtype(dtype), np.random.default_rng(8))
    of_blocks = (Z.reshape(n_blocks, 300, 5), (rest @ Z).reshape(n_blocks, 300, 5))
    forms = np.einsum("bij,bij->jb", *of_blocks)
    squares = np.einsum("bij,bij->jb", of_blocks[1], of_blocks[1])
    expected = np.stack([forms, squares], axis=2)
    scale = np.abs(expected).max()
    assert np.abs(sketch.rest(Z, matrix @ Z) - expected).max() <= 10 * tolerance * scale


@pytest.mark.parametrize("n_blocks", [1, 3])
def test_a_sketch_of_a_small_range_is_complete(n_blocks):
    values = np.r_[3.0, 2.0, 1.0, np.zeros(60)]
    sketch = block_sketch(np.kron(np.eye(n_blocks), with_eigenvalues(values)), n_blocks)
    while not sketch.complete:
        sketch.grow()
    assert sketch.trace == pytest.approx(6.0 * n_blocks)
    assert sketch.square == pytest.approx(14.0 * n_blocks)


def test_blocks_whose_ranges_differ_are_complete_one_after_another():
    parts = [
        with_eigenvalues(np.r_[scale * 0.9 ** np.arange(rank), np.zeros(63 - rank)])
        for rank, scale in ((0, 1.0), (2, 5.0), (40, 0.1), (63, 1.0))
    ]
    matrix = block_diag(*parts)
    sketch = block_sketch(matrix, 4)
    while not sketch.complete:
        sketch.grow()
    assert sketch.trace == pytest.approx(np.trace(matrix))
    assert sketch.square == pytest.approx(np.sum(matrix**2))


@pytest.mark.parametrize(
    ("exact_flops", "rtol", "method"),
    [
        (1.5e10, 0.1, "exact"),
        (1.5e11, 0.1, "sampled"),
        (1.5e11, 1e-9, "exact"),
        (None, 0.1, "sampled"),
    ],
)
def test_the_cheapest_way_is_taken(exact_flops, rtol, method):
    op = Priced(with_eigenvalues(SPECTRA["slow"]), 1e9, exact_flops)
    found = effective_rank(op, rtol=rtol, max_size=10)
    assert found.method == method
    assert found.upper - found.lower <= 2 * rtol * found.value * (1 + 1e-9)
    assert found.is_certified == (method != "sampled")


def test_a_cost_model_that_lies_changes_the_choice():
    matrix = with_eigenvalues(SPECTRA["slow"])
    honest, lying = (Priced(matrix, 1e9, flops) for flops in (1.5e11, 1.0))
    assert effective_rank(honest, rtol=0.1, max_size=10).method == "sampled"
    assert effective_rank(lying, rtol=0.1, max_size=10).method == "exact"
    assert lying.columns == 0
    dear = Priced(matrix, 1e12, 1.5e11)
    assert effective_rank(dear, rtol=0.1, max_size=10).method == "exact"


def test_no_more_is_spent_on_an_estimate_than_the_sure_way_takes():
    op = Priced(with_eigenvalues(SPECTRA["slow"]), 1e9, 1e11)
    found = effective_rank(op, rtol=1e-4, max_size=10)
    assert found.method == "exact"
    assert op.columns * 1e9 <= 1e11


def test_an_estimate_that_happens_to_have_no_spread_is_not_certain():
    op = Priced(np.diag(SPECTRA["flat"]), 1e9, 1e12)
    found = effective_rank(op, rtol=0.01, max_size=10)
    assert found.value == pytest.approx(300)
    assert not found.is_certified


def test_a_small_operator_is_taken_apart():
    op = Operator(np.diag(SPECTRA["slow"]), self_adjoint=True, positive_semidefinite=True)
    assert effective_rank(op, rtol=0.01).method == "dense"


def test_without_an_accuracy_nothing_is_sampled():
    op = Priced(np.diag(SPECTRA["slow"]), 1e9, 1e12)
    assert effective_rank(op).method == "exact"
    assert effective_rank(op, method="bounds", rtol=0.05).is_certified


def test_a_budget_too_small_for_an_estimate_leaves_the_sure_way():
    op = Priced(np.diag(SPECTRA["slow"]), 1e9, 1e11)
    assert effective_rank(op, rtol=0.01, n_matvecs=5, max_size=10).method == "exact"
    with pytest.raises(InputError, match="n_matvecs must be at least 16 here"):
        effective_rank(Priced(op.matrix, 1e9), rtol=0.01, n_matvecs=5, max_size=10)


@pytest.mark.parametrize("cell", [kpf.VanillaRNN(3, 12), kpf.GRU(3, 8)], ids=repr)
def test_the_operators_of_a_network(cell):
    inputs = np.random.default_rng(5).standard_normal((6, 20, 3))
    lin = kpf.linearize(kpf.simulate(cell, cell.init_params(rng=3), inputs))
    for kind in (kpf.ParameterOperator, kpf.PropagatorGram, kpf.Propagator, kpf.TangentKernel):
        op = kind(lin)
        matrix = op.to_dense()
        if kind is kpf.Propagator:
            matrix = matrix @ matrix.T
        truth = np.trace(matrix) ** 2 / np.sum(matrix**2)
        found = effective_rank(op, rtol=0.05, max_size=10, rng=7)
        assert found.upper - found.lower <= 0.1 * found.value * (1 + 1e-9)
        assert abs(found.value - truth) <= 0.1 * truth


@pytest.mark.parametrize(("copies", "certain"), [(7, True), (20, False)])
def test_a_sketch_that_lacks_copies_of_an_eigenvalue_is_no_certainty(copies, certain):
    op = Priced(np.diag(np.r_[np.ones(copies), np.zeros(350)]), 1e9)
    found = effective_rank(op, rtol=0.03, max_size=10, rng=14)
    assert found.method == "sampled"
    assert found.is_certified == certain


def test_a_closed_form_beyond_the_memory_is_no_way():
    op = Priced(with_eigenvalues(SPECTRA["slow"]), 1e9, 1.0)
    op.exact_cost = lambda *_: Cost(0.5, 2.0**40)
    assert effective_rank(op, rtol=0.1, max_size=10).method == "sampled"


@pytest.mark.parametrize(("n_varying", "freedom"), [(1, 3), (2, 6)])
def test_few_blocks_that_vary_leave_few_degrees_of_freedom(n_varying, freedom):
    samples = np.ones((4, 5, 2))
    samples[:, :n_varying, 0] += np.array([[0.1], [0.2], [-0.1], [-0.2]])
    found = ratio_of_blocks(samples, np.zeros(2), 9.0)
    reach = (found.upper - found.value) / found.standard_error
    assert reach == pytest.approx(max(interval_reach(1 + freedom)))


def test_ratio_of_blocks_is_at_least_one():
    samples = np.zeros((4, 5, 2))
    samples[:, 0, :] = [[0.1, 0.4], [0.3, 0.9], [0.2, 0.5], [0.2, 0.6]]
    found = ratio_of_blocks(samples, np.zeros(2), 9.0)
    assert found.lower == found.value == 1.0


def test_ratio_of_blocks_of_nothing_is_zero():
    assert ratio_of_blocks(np.zeros((4, 5, 2)), np.zeros(2), 9.0).value == 0
