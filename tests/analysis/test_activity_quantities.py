"""Core against kernel and self-referential bias as quantities of an analysis."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics._validation import InputError
from kpflow_numerics.analysis.activity_quantities import CENTRED_COSINE, COSINE, MODE_SHARE
from tests.cases.cells import FLOAT32_CASES, SITE_CASES, CellCase
from tests.cases.operators import readout_of

CASES = (*SITE_CASES[-3:], FLOAT32_CASES[1])
FIELDS = {
    (COSINE, "NTK", "core"): "kernel_core",
    (COSINE, "K", "core"): "parameter_core",
    (COSINE, "NTK", "ones"): "kernel_ones",
    (COSINE, "K", "ones"): "parameter_ones",
    (COSINE, "core", "ones"): "core_ones",
    (CENTRED_COSINE, "NTK", "core"): "kernel_core_centred",
    (CENTRED_COSINE, "K", "core"): "parameter_core_centred",
}
SHARES = {
    "dh": "share",
    "dh of random errors": "random_errors",
    "dh of random output errors": "random_output_errors",
    "P P* err": "without_bottleneck",
    "err": "error",
    "chance": "chance",
}


def batch_of(case: CellCase) -> kpf.TrialBatch:
    inputs = case.trajectory().inputs
    targets = np.random.default_rng(91).standard_normal((*inputs.shape[:2], 3))
    mask = np.ones(inputs.shape[:2])
    mask[:, 0] = 0.0
    return kpf.TrialBatch(inputs, targets, mask=mask)


def analyze(case: CellCase, *quantities: str, **options) -> kpf.NetworkAnalysis:
    trajectory = case.trajectory()
    settings = {"readout": readout_of(case.cell.n_units), "spectra": (), "recipes": {}, "rng": 9}
    return kpf.analyze_network(
        case.cell, trajectory.params, batch_of(case), h0=trajectory.h0, quantities=quantities,
        **(settings | options),
    )  # fmt: skip


def assert_cosines(analysis: kpf.NetworkAnalysis, case: CellCase) -> None:
    wanted = kpf.core_against_kernel(case.linearization())
    assert {(each.name, *each.operators) for each in analysis.quantities} == set(FIELDS)
    for key, field in FIELDS.items():
        found = analysis.quantity(*key)
        assert found.value == getattr(wanted, field), key
        assert found.is_exact
    assert sum(each.estimate.n_matvecs for each in analysis.quantities) == wanted.n_matvecs
    assert analysis.quantity(COSINE, "NTK", "core").cost == wanted.cost


def assert_shares(analysis: kpf.NetworkAnalysis, case: CellCase, n_modes: int) -> None:
    lin, batch, readout = case.linearization(), batch_of(case), readout_of(case.cell.n_units)
    error = kpf.state_error(lin.trajectory, readout, batch.targets, mask=batch.mask)
    wanted = kpf.self_referential_bias(lin, error, n_modes=n_modes, rng=9, readout=readout)
    assert {(each.name, *each.operators) for each in analysis.quantities} == {
        (MODE_SHARE, move) for move in SHARES
    }
    for move, field in SHARES.items():
        found = analysis.quantity(MODE_SHARE, move)
        assert float(found) == float(getattr(wanted, field)), move
    for move in ("dh of random errors", "dh of random output errors"):
        found = analysis.quantity(MODE_SHARE, move)
        assert found == getattr(wanted, SHARES[move])
        assert (found.n_matvecs, found.confidence) == (64, 0.95)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_cosine_stands_under_its_name(case: CellCase) -> None:
    assert_cosines(analyze(case, "core-cosine", readout=None), case)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_share_stands_under_its_name(case: CellCase) -> None:
    assert_shares(analyze(case, "self-reference"), case, 5)


def swapped(analysis: kpf.NetworkAnalysis, first: int, second: int) -> kpf.NetworkAnalysis:
    """Return the analysis with the numbers of two quantities in each other's place."""
    held = list(analysis.quantities)
    held[first], held[second] = (
        dataclasses.replace(held[at], estimate=held[other].estimate)
        for at, other in ((first, second), (second, first))
    )
    return dataclasses.replace(analysis, quantities=tuple(held))


@pytest.mark.parametrize("pair", [(0, 1), (0, 2), (0, 5), (2, 3), (3, 4), (5, 6)])
def test_cosines_under_wrong_names_are_caught(pair) -> None:
    case = CellCase(kpf.GRU(2, 4))
    with pytest.raises(AssertionError):
        assert_cosines(swapped(analyze(case, "core-cosine"), *pair), case)


@pytest.mark.parametrize("pair", [(0, 1), (1, 2), (0, 3), (3, 4), (4, 5)])
def test_shares_under_wrong_names_are_caught(pair) -> None:
    case = CellCase(kpf.GRU(2, 4))
    with pytest.raises(AssertionError):
        assert_shares(swapped(analyze(case, "self-reference"), *pair), case, 5)


def test_the_error_is_that_of_the_masked_loss() -> None:
    case = CellCase(kpf.GRU(2, 4))
    lin, batch, readout = case.linearization(), batch_of(case), readout_of(4)
    unmasked = kpf.state_error(lin.trajectory, readout, batch.targets)
    other = kpf.self_referential_bias(lin, unmasked)
    found = analyze(case, "self-reference").quantity(MODE_SHARE, "err")
    assert abs(found.value - other.error) > 1e-4


def test_activity_of_few_modes_has_them_all() -> None:
    case = CellCase(kpf.VanillaRNN(2, 3), n_trials=1, n_steps=3)
    analysis = analyze(case, "self-reference")
    assert_shares(analysis, case, 3)
    assert analysis.quantity(MODE_SHARE, "chance").value == 1.0
    with pytest.raises(InputError, match="at most the rank"):
        assert_shares(analysis, case, 5)


def test_the_draws_of_what_comes_before_do_not_depend_on_them() -> None:
    case = CellCase(kpf.GRU(2, 4))
    alone = analyze(case, "lyapunov", "output-kernel")
    beside = analyze(case, "core-cosine", "lyapunov", "self-reference", "output-kernel")
    for entry in alone.quantities:
        assert beside.quantity(entry.name, *entry.operators) == entry.estimate


def test_shares_need_a_readout() -> None:
    with pytest.raises(InputError, match="'self-reference' needs a readout, which this network"):
        analyze(SITE_CASES[0], "self-reference", readout=None)


def test_an_analysis_has_neither_unless_asked() -> None:
    assert not {"core-cosine", "self-reference"} & set(kpf.analysis.DEFAULT_QUANTITIES)


@pytest.mark.parametrize("loss", ["cross-entropy", "mean-squared-error"])
def test_the_error_is_that_of_the_loss_of_the_task(loss) -> None:
    task = kpf.Characters("abcd" * 30, n_steps=5, loss=loss)
    cell, batch = kpf.GRU(4, 6), task.evaluation_batch(3)
    params, readout = cell.init_params(rng=81), kpf.init_readout(6, 4, rng=82)
    lin = kpf.linearize(kpf.simulate(cell, params, batch.inputs))
    shares = {}
    for each in (kpf.CrossEntropy(), kpf.MeanSquaredError()):
        error = kpf.state_error(lin.trajectory, readout, batch.targets, loss=each)
        shares[each.name] = kpf.self_referential_bias(lin, error, rng=9).error
    assert abs(shares["cross-entropy"] - shares["mean-squared-error"]) > 1e-4
    # The task is told, or only its batch is given: both name the loss.
    for given in ({"task": task}, {}):
        analysis = kpf.analyze_network(
            cell, params, batch, readout=readout, quantities=("self-reference",), recipes={},
            spectra=(), rng=9, **given,
        )  # fmt: skip
        found = analysis.quantity(MODE_SHARE, "err").value
        assert found == pytest.approx(shares[loss], rel=1e-12)
