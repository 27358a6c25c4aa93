from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics._validation import InputError, InputTypeError, MemoryLimitError
from kpflow_numerics.analysis import NetworkAnalysis, analyze_network
from kpflow_numerics.testing import default_tolerance
from tests.cases.analyses import make_analysis
from tests.cases.cells import EDGE_CASES, FLOAT32_CASES, OWN_CASES, SITE_CASES, CellCase
from tests.cases.operators import dense_network

CASES = (*SITE_CASES, *EDGE_CASES, *FLOAT32_CASES, *OWN_CASES)
TASK = kpf.MemoryPro(n_stimulus=2, n_memory=1, n_response=2)


def batch_of(case: CellCase) -> kpf.TrialBatch:
    inputs = case.trajectory().inputs
    return kpf.TrialBatch(inputs, np.ones((*inputs.shape[:2], 3)))


def analyze(case: CellCase, **options) -> NetworkAnalysis:
    trajectory = case.trajectory()
    return analyze_network(
        case.cell, trajectory.params, batch_of(case), h0=trajectory.h0, **options
    )


def rank_of(values: np.ndarray, recipe: str) -> float:
    """Return an effective rank from its formula."""
    w = np.sort(np.maximum(values, 0))[::-1]
    q = w[w > 0] / w.sum()
    if recipe == "participation-ratio":
        return w.sum() ** 2 / (w**2).sum()
    if recipe == "entropy":
        return float(np.exp(-(q * np.log(q)).sum()))
    if recipe == "stable":
        return w.sum() / w[0]
    sums = np.concatenate([[0.0], np.cumsum(q)])
    count = int(np.argmax(sums >= 0.95 * (1 - 1e-15)))
    interpolated = count - 1 + (0.95 - sums[count - 1]) / (sums[count] - sums[count - 1])
    return interpolated if recipe == "variance-95-interpolated" else float(count)


def published_rank_of(A: np.ndarray, dims: tuple[int, int, int]) -> float:
    """Return the rank of the published Figure 4 from its formula."""
    averaged = (A @ A.T).reshape(*dims, *dims).sum(axis=(0, 2, 3, 5))
    w = np.sort(np.abs(np.linalg.eigvalsh(averaged)))[::-1][: max(1, 2 * dims[1] // 3)] ** 2
    return rank_of(w, "variance-95-interpolated")


def assert_matches_dense(analysis: NetworkAnalysis, case: CellCase, tolerance: float) -> None:
    """Compare every number with those of the dense matrices that autograd gives."""
    dense = dense_network(case)
    P = dense.block_products()
    matrices = {"K": dense.J @ dense.J.T, "P": P @ P.T, "NTK": dense.S @ dense.S.T}
    n_trials, n_steps, n_state = dense.states.shape
    for name, matrix in matrices.items():
        values, vectors = np.linalg.eigh(matrix)
        values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
        found = analysis.spectra[name]
        assert analysis.complete[name], name
        assert len(found) == min(20, len(values), len(values) if name == "P" else dense.J.shape[1])
        error = np.abs(found - values[: len(found)]).max()
        assert error <= tolerance * values[0], f"eigenvalues of {name}: {error / values[0]:.2e}"
        for rank in analysis.ranks:
            if rank.operator == name:
                slack = 10 * tolerance * len(values)
                if rank.recipe == "paper-figure-4":
                    factor = {"K": dense.J @ dense.J.T, "P": P}[name]
                    wanted = published_rank_of(factor, dense.states.shape)
                else:
                    wanted = rank_of(values, rank.recipe)
                estimate = rank.estimate
                assert estimate.lower * (1 - slack) <= wanted <= estimate.upper * (1 + slack), rank
                assert estimate.lower <= estimate.value <= estimate.upper
        for mode, course in enumerate(analysis.modes.get(name, ())):
            gaps = np.abs(np.delete(values, mode) - values[mode]) / values[0]
            if values[mode] > 1e-3 * values[0] and gaps.min(initial=1.0) > 1e-3:
                wide = vectors[:, mode].reshape(n_trials * n_steps, n_state)
                left, singular, _ = np.linalg.svd(wide)
                share = singular[0] ** 2 / (singular**2).sum()
                assert abs(analysis.mode_fractions[name][mode] - share) <= 1e4 * tolerance
                if n_trials * n_steps == 1 or singular.size == 1 or singular[1] < 0.9 * singular[0]:
                    overlap = abs(course.astype(np.float64).ravel() @ left[:, 0])
                    assert abs(overlap - 1) <= 1e4 * tolerance, f"mode {mode} of {name}"


def tolerance_of(case: CellCase) -> float:
    return default_tolerance(case.dtype, int(np.prod(case.trajectory().states.shape)))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_number_is_that_of_the_dense_matrices(case: CellCase) -> None:
    analysis = analyze(case)
    assert_matches_dense(analysis, case, tolerance_of(case))
    shape = case.trajectory().states.shape
    assert analysis.principal_components.shape == (*shape[:2], 3)
    assert set(analysis.methods) == set(analysis.n_products) == {"K", "P", "NTK"}
    for array in (*analysis.spectra.values(), *analysis.modes.values()):
        assert array.dtype == case.dtype


def _drop_a_trial(case):
    trajectory = case.trajectory()
    batch = batch_of(case).select([0, 1, 1])
    h0 = trajectory.h0[[0, 1, 1]]
    return analyze_network(case.cell, trajectory.params, batch, h0=h0)


def _start_at_zero(case):
    return analyze_network(case.cell, case.trajectory().params, batch_of(case))


def _singular_values_for_P(case):
    analysis = analyze(case)
    return dataclasses.replace(
        analysis, spectra=analysis.spectra | {"P": np.sqrt(analysis.spectra["P"])}
    )


def _swap_ranks(case):
    analysis = analyze(case)
    other = {"K": "NTK", "NTK": "K", "P": "P"}
    ranks = [dataclasses.replace(rank, operator=other[rank.operator]) for rank in analysis.ranks]
    return dataclasses.replace(analysis, ranks=tuple(ranks))


def _published_rank_of_the_gram_operator(case):
    analysis = analyze(case)
    gram = kpf.Propagator(case.linearization()).gram
    ranks = [
        dataclasses.replace(rank, estimate=kpf.published_rank(gram))
        if (rank.operator, rank.recipe) == ("P", "paper-figure-4")
        else rank
        for rank in analysis.ranks
    ]
    return dataclasses.replace(analysis, ranks=tuple(ranks))


def _next_modes(case):
    analysis = analyze(case)
    modes = {name: courses[[1, 2, 0]] for name, courses in analysis.modes.items()}
    return dataclasses.replace(analysis, modes=modes)


def _second_eigenvalue_left_out(case):
    analysis = analyze(case)
    values = analysis.spectra["NTK"]
    return dataclasses.replace(
        analysis, spectra=analysis.spectra | {"NTK": np.append(np.delete(values, 1), 0.0)}
    )


@pytest.mark.parametrize(
    "fault",
    [
        _drop_a_trial,
        _start_at_zero,
        _singular_values_for_P,
        _swap_ranks,
        _published_rank_of_the_gram_operator,
        _next_modes,
        _second_eigenvalue_left_out,
    ],
)
def test_a_planted_fault_is_caught(fault) -> None:
    case = CellCase(kpf.GRU(2, 4))
    wrong = fault(case)
    with pytest.raises(AssertionError):
        assert_matches_dense(wrong, case, tolerance_of(case))


def test_loss_and_accuracy_are_those_of_the_readout() -> None:
    cell, batch = kpf.LSTM(3, 5), TASK.evaluation_batch(7)
    mask = np.random.default_rng(3).random(batch.mask.shape)
    batch = dataclasses.replace(batch, mask=mask)
    params, readout = cell.init_params(rng=8), kpf.init_readout(5, 3, rng=9)
    analysis = analyze_network(cell, params, batch, task=TASK, readout=readout, iteration=12)
    states = kpf.simulate(cell, params, batch.inputs).states[..., :5]
    outputs = states @ readout["weight"].T + readout["bias"]
    squares = mask[..., None] * (outputs - batch.targets) ** 2
    assert analysis.iteration == 12
    assert analysis.evaluation_loss == pytest.approx(squares.sum() / (3 * mask.sum()), rel=1e-12)
    assert analysis.accuracy == TASK.accuracy(outputs, batch)
    without_task = analyze_network(cell, params, batch, readout=readout)
    assert without_task.evaluation_loss == analysis.evaluation_loss
    assert math.isnan(without_task.accuracy)
    without_readout = analyze_network(cell, params, batch, task=TASK)
    assert math.isnan(without_readout.evaluation_loss)
    assert math.isnan(without_readout.accuracy)


def test_the_ranks_are_those_asked_for_in_order() -> None:
    recipes = {"NTK": ("stable", "entropy"), "K": ("variance-95",)}
    analysis = analyze(CellCase(kpf.GRU(2, 4)), recipes=recipes)
    assert [(rank.operator, rank.recipe) for rank in analysis.ranks] == [
        ("K", "variance-95"),
        ("NTK", "stable"),
        ("NTK", "entropy"),
    ]
    assert analysis.rank("NTK", "stable") is analysis.ranks[1].estimate
    with pytest.raises(InputError, match="no effective rank of 'P' by 'participation-ratio'; it"):
        analysis.rank("P")


def test_the_published_rank_is_of_four_trials_whatever_the_batch() -> None:
    case = CellCase(kpf.GRU(2, 4), n_trials=9)
    analysis = analyze(case, recipes={"P": ("paper-figure-4", "participation-ratio")})
    assert [rank.recipe for rank in analysis.ranks] == ["paper-figure-4", "participation-ratio"]
    trajectory, chosen = case.trajectory(), [0, 2, 4, 6]
    few = kpf.simulate(
        case.cell, trajectory.params, trajectory.inputs[chosen], trajectory.h0[chosen]
    )
    P = kpf.Propagator(kpf.linearize(few))
    wanted = published_rank_of(P.to_dense(), P.dimsd)
    assert analysis.rank("P", "paper-figure-4").value == pytest.approx(wanted, rel=1e-10)


def test_the_number_of_pairs_and_modes_is_that_asked_for() -> None:
    analysis = analyze(CellCase(kpf.GRU(2, 4)), n_eigenpairs=4, n_modes=2)
    assert {len(values) for values in analysis.spectra.values()} == {4}
    assert {len(courses) for courses in analysis.modes.values()} == {2}
    few = analyze(CellCase(kpf.GRU(2, 4)), n_eigenpairs=1)
    assert few.modes["K"].shape[0] == 1


def test_only_the_spectra_asked_for_are_found() -> None:
    analysis = analyze(CellCase(kpf.GRU(2, 4)), spectra=("NTK",))
    assert set(analysis.spectra) == set(analysis.complete) == set(analysis.modes) == {"NTK"}
    whole = analyze(CellCase(kpf.GRU(2, 4)))
    for name in ("K", "P", "NTK"):
        assert analysis.rank(name).value == pytest.approx(whole.rank(name).value, rel=1e-12)
    with pytest.raises(InputError, match="an operator of spectra must be one of 'K', 'P', 'NTK'"):
        analyze(CellCase(kpf.GRU(2, 4)), spectra=("PP*",))


@pytest.fixture(scope="module")
def wide() -> CellCase:
    """A network whose P P* is beyond what the solvers take apart as a matrix."""
    return CellCase(kpf.GRU(2, 30), n_trials=4, n_steps=19, seed=61)


def test_an_iterative_spectrum_is_certified_and_right(wide) -> None:
    analysis = analyze(wide, n_eigenpairs=8)
    assert analysis.methods["P"] == "block-diagonal"
    assert analysis.complete["P"]
    P = kpf.Propagator(wide.linearization()).to_dense()
    wanted = np.linalg.eigvalsh(P @ P.T)[::-1][:8]
    assert np.abs(analysis.spectra["P"] - wanted).max() <= 1e-6 * wanted[0]


def test_same_seed_same_bits(wide) -> None:
    first, second = (analyze(wide, n_eigenpairs=4, rng=77) for _ in range(2))
    for name in first.spectra:
        assert np.array_equal(first.spectra[name], second.spectra[name])
    assert all(np.array_equal(first.modes[name], second.modes[name]) for name in first.modes)


def test_the_memory_limit_holds(wide) -> None:
    with pytest.raises(MemoryLimitError, match="max_memory"):
        analyze(wide, max_memory=1000)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"batch": 3}, InputTypeError, "batch must be a TrialBatch; got int"),
        ({"iteration": -1}, InputError, "iteration must be at least 0; got -1"),
        ({"n_eigenpairs": 0}, InputError, "n_eigenpairs must be at least 1"),
        ({"n_modes": 1.0}, InputTypeError, "n_modes must be an integer"),
        ({"tolerance": 0}, InputError, "tolerance must be finite and greater than 0"),
        ({"recipes": ["entropy"]}, InputTypeError, "recipes must map operators to sequences"),
        ({"recipes": {"K": "entropy"}}, InputTypeError, r"recipes\['K'\] must be a sequence"),
        ({"recipes": {"PP*": []}}, InputError, "an operator of recipes must be one of 'K', 'P'"),
        ({"recipes": {"K": ["entrop"]}}, InputError, "Did you mean 'entropy'"),
        ({"readout": {"bias": np.ones(2)}}, InputError, "readout lacks 'weight'"),
        ({"params": {}}, InputError, "params lacks 'weight_ih'"),
        ({"rng": None}, InputTypeError, "rng must be an integer seed"),
    ],
)
def test_bad_arguments_are_refused(options, error, match) -> None:
    case = CellCase(kpf.GRU(2, 4))
    given = {"params": case.params(), "batch": batch_of(case)} | options
    with pytest.raises(error, match=match):
        analyze_network(case.cell, given.pop("params"), given.pop("batch"), **given)


@pytest.mark.parametrize("told", [True, False], ids=["by the task", "by its batch"])
def test_loss_and_interference_are_those_of_the_task(told: bool) -> None:
    task = kpf.Characters("abcd" * 30, n_steps=5)
    cell, batch = kpf.VanillaRNN(4, 6), task.evaluation_batch(3)
    params, readout = cell.init_params(rng=81), kpf.init_readout(6, 4, rng=82)
    analysis = analyze_network(
        cell, params, batch, task=task if told else None, readout=readout,
        interference="conditions",
        recipes={}, spectra=(), quantities=(),
    )  # fmt: skip
    expected = kpf.loss_and_gradient(cell, params, readout, batch, kpf.CrossEntropy())
    assert analysis.evaluation_loss == pytest.approx(expected.loss, rel=1e-12)
    assert analysis.interference is not None
    whole = sum(np.sum(array**2) for array in expected.params.values())
    assert analysis.interference.matrix.sum() == pytest.approx(whole, rel=1e-10)


def test_one_line_for_people() -> None:
    assert repr(make_analysis(iteration=60)) == (
        "NetworkAnalysis(iteration 60: loss 0.3125, participation ratios K 2, P P* 187.5, "
        "NTK 5.6 in [5.2, 6.6])"
    )
    untold = make_analysis(evaluation_loss=math.nan, ranks=())
    assert repr(untold) == "NetworkAnalysis(iteration 0: participation ratios none)"
