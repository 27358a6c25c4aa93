from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics._validation import InputError, InputTypeError
from kpflow_numerics.analysis import (
    QUANTITIES,
    analyze_network,
    lyapunov_exponents,
    rank_bounds,
    rank_over_time,
    retained_directions,
)
from kpflow_numerics.analysis.quantities import norm_from_rank
from kpflow_numerics.results import Estimate
from kpflow_numerics.testing import default_tolerance
from tests.cases.cells import FLOAT32_CASES, OWN_CASES, SITE_CASES, CellCase
from tests.cases.operators import dense_network, readout_of

CASES = (*SITE_CASES, *FLOAT32_CASES[:2], OWN_CASES[0])


def analyze(case: CellCase, **options) -> kpf.NetworkAnalysis:
    trajectory = case.trajectory()
    inputs = trajectory.inputs
    batch = kpf.TrialBatch(inputs, np.ones((*inputs.shape[:2], 3)))
    return analyze_network(case.cell, trajectory.params, batch, h0=trajectory.h0, **options)


def dense_matrices(case: CellCase) -> dict[str, np.ndarray]:
    dense = dense_network(case)
    P = dense.block_products()
    return {"K": dense.J @ dense.J.T, "P": P @ P.T, "NTK": dense.S @ dense.S.T}


def assert_matches_dense(analysis: kpf.NetworkAnalysis, case: CellCase) -> None:
    matrices = dense_matrices(case)
    n = len(matrices["K"])
    slack = 100 * default_tolerance(case.dtype, n)
    norms = {name: np.sqrt((A**2).sum()) for name, A in matrices.items()}
    wanted = {("trace", name): np.trace(A) for name, A in matrices.items()}
    wanted |= {("Frobenius norm", name): norm for name, norm in norms.items()}
    for first, second in itertools.combinations(matrices, 2):
        product = (matrices[first] * matrices[second]).sum()
        wanted["alignment", first, second] = product / norms[first] / norms[second]
    linearization = case.linearization()
    wanted["rank over trials and steps", "K"] = rank_over_time(linearization).value
    wanted["retained directions", "P"] = retained_directions(linearization).value
    assert {(e.name, *e.operators) for e in analysis.quantities} == set(wanted)
    for key, value in wanted.items():
        estimate = analysis.quantity(*key)
        assert estimate.lower - slack * value <= value <= estimate.upper + slack * value, key
        assert estimate.lower <= estimate.value <= estimate.upper
        assert estimate.upper - estimate.lower <= 0.02 * value


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_quantity_is_that_of_the_dense_matrices(case: CellCase) -> None:
    assert_matches_dense(analyze(case, spectra=()), case)


@pytest.mark.parametrize("fault", ["trace", "Frobenius norm", "alignment", "missing"])
def test_a_planted_fault_is_caught(fault) -> None:
    case = CellCase(kpf.GRU(2, 4))
    analysis = analyze(case, spectra=())
    wrong = list(analysis.quantities)
    place = next((k for k, e in enumerate(wrong) if e.name == fault), 0)
    if fault == "missing":
        del wrong[place]
    else:
        other = 1.03 * wrong[place].estimate.value
        shifted = Estimate(other, other, other, 0.0, "exact", 0)
        wrong[place] = dataclasses.replace(wrong[place], estimate=shifted)
    with pytest.raises(AssertionError):
        assert_matches_dense(dataclasses.replace(analysis, quantities=tuple(wrong)), case)


def test_the_rest_is_that_of_its_own_function() -> None:
    case = CellCase(kpf.GRU(2, 4))
    options = {"readout": readout_of(4), "quantities": QUANTITIES}
    analysis = analyze(case, spectra=(), recipes={}, rng=9, **options)
    linearization = case.linearization()
    for bound in rank_bounds(linearization):
        of = f"K of site {bound.site}"
        found = analysis.quantity("effective rank over trials and steps", of).value
        assert found == bound.effective_rank
        found = analysis.quantity("effective dimension of the features", of).value
        assert found == bound.effective_dimension
        assert analysis.quantity("proven bound of the effective rank", of).value == bound.bound
    exponents = lyapunov_exponents(linearization, rng=9)
    assert np.allclose(analysis.lyapunov["exponents"], exponents.exponents, rtol=1e-12)
    assert np.allclose(analysis.lyapunov["lower"], exponents.lower, rtol=1e-12)
    dimension = analysis.quantity("Kaplan-Yorke dimension")
    assert dimension.value == pytest.approx(exponents.kaplan_yorke.value)
    current = CellCase(kpf.LeakyRNN(2, 4, form="current"))
    schmidt = analyze(current, spectra=(), recipes={}, quantities=["schmidt-rank"])
    assert schmidt.quantity("Schmidt rank", "K").value == pytest.approx(1, abs=1e-6)


def test_a_bracketed_rank_and_trace_give_a_bracketed_norm_at_no_cost() -> None:
    case = CellCase(kpf.GRU(2, 30), n_trials=4, n_steps=19, seed=61)
    analysis = analyze(case, spectra=("NTK",), quantities=["frobenius-norm", "trace"])
    norm = analysis.quantity("Frobenius norm", "NTK")
    matrix = kpf.TangentKernel(case.linearization()).to_dense()
    assert norm.method.startswith("trace and rank (bounds")
    assert norm.n_matvecs == analysis.quantity("trace", "NTK").n_matvecs == 0
    assert norm.lower <= np.linalg.norm(matrix) <= norm.upper
    trace = analysis.quantity("trace", "NTK")
    assert trace.lower * (1 - 1e-12) <= np.trace(matrix) <= trace.upper * (1 + 1e-12)


def test_the_norm_propagates_the_error_of_the_rank() -> None:
    total = Estimate(10.0, 10.0, 10.0, 0.0, "exact", 0)
    rank = Estimate(4.0, 3.0, 5.0, 0.5, "sampled", 48, confidence=0.95)
    norm = norm_from_rank(total, rank)
    assert norm is not None
    assert norm.value == 5.0
    assert norm.standard_error == pytest.approx(5.0 * 0.5 / 8)
    assert (norm.lower, norm.upper) == pytest.approx((10 / np.sqrt(5), 10 / np.sqrt(3)))
    assert norm.confidence == 0.95
    sampled = dataclasses.replace(total, confidence=0.95)
    assert norm_from_rank(sampled, rank) is None
    assert norm_from_rank(total, dataclasses.replace(rank, lower=0.0)) is None


def test_only_what_is_asked_for_is_found() -> None:
    case = CellCase(kpf.GRU(2, 4))
    analysis = analyze(case, spectra=(), recipes={}, quantities=["alignment"])
    assert {entry.name for entry in analysis.quantities} == {"alignment"}
    assert analysis.lyapunov == {}
    assert analysis.quantity("alignment", "NTK", "K") is analysis.quantity("alignment", "K", "NTK")
    with pytest.raises(InputError, match="no 'trace' of K; it holds alignment of K, P; alignment"):
        analysis.quantity("trace", "K")
    with pytest.raises(InputError, match="no 'x' of the trajectory; it holds none"):
        analyze(case, spectra=(), recipes={}, quantities=()).quantity("x")


@pytest.mark.parametrize(
    ("quantities", "error", "match"),
    [
        ("trace", InputTypeError, "quantities must be a sequence of names; got the string 'trace'"),
        (["trac"], InputError, "quantities must be one of.*Did you mean 'trace'"),
    ],
)
def test_bad_names_are_refused(quantities, error, match) -> None:
    with pytest.raises(error, match=match):
        analyze(CellCase(kpf.GRU(2, 4)), quantities=quantities)


@pytest.mark.parametrize("case", [*SITE_CASES[-2:], FLOAT32_CASES[1], OWN_CASES[0]], ids=str)
def test_the_kernel_of_the_outputs(case: CellCase) -> None:
    Y, n_own = dense_network(case).Y, dense_network(case).S.shape[1]
    analysis = analyze(
        case, readout=readout_of(case.cell.n_units), quantities=["output-kernel"], spectra=()
    )
    numbers = {}
    for name, factor in (("cell", Y[:, :n_own]), ("all parameters", Y)):
        values = np.linalg.eigvalsh(factor @ factor.T)
        numbers["trace", f"output NTK, {name}"] = values.sum()
        numbers["effective rank", f"output NTK, {name}"] = values.sum() ** 2 / (values**2).sum()
    assert {(e.name, *e.operators) for e in analysis.quantities} == set(numbers)
    tolerance = default_tolerance(case.dtype, len(Y), factor=100)
    for key, value in numbers.items():
        found = analysis.quantity(*key)
        assert found.value == pytest.approx(value, rel=max(tolerance, 1e-6)), key
    ranks = [numbers["effective rank", name] for name in sorted({key[1] for key in numbers})]
    assert abs(ranks[0] - ranks[1]) > 1e-2


def test_the_kernel_of_the_outputs_needs_a_readout() -> None:
    with pytest.raises(InputError, match="'output-kernel' needs a readout"):
        analyze(SITE_CASES[0], quantities=["output-kernel"], spectra=(), recipes={})
