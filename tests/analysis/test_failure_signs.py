"""Signs of failed learning: planted failures raise them, healthy networks do not."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics._validation import InputError, InputTypeError
from kpflow_numerics.analysis.quantities import OperatorQuantity
from tests.cases.analyses import estimate, make_analysis

TASK = kpf.MemoryPro(n_stimulus=4, n_memory=4, n_response=4)
QUANTITIES = ("rank-over-time", "retained-directions")


def analyze(cell, params, iteration: int = 0) -> kpf.NetworkAnalysis:
    return kpf.analyze_network(
        cell, params, TASK.evaluation_batch(8), iteration=iteration, recipes={}, spectra=(),
        quantities=QUANTITIES,
    )  # fmt: skip


def verdicts(analyses, **options) -> dict[str, str]:
    return {sign.name: sign.verdict for sign in kpf.failure_signs(analyses, **options)}


def with_numbers(iteration: int, rank, kept) -> kpf.NetworkAnalysis:
    quantities = (
        OperatorQuantity("rank over trials and steps", ("K",), rank),
        OperatorQuantity("retained directions", ("P",), kept),
    )
    return make_analysis(iteration, quantities=quantities)


def crossing(cosine: float, names=("pro", "anti"), **changes):
    count = len(names)
    cosines = np.full((count, count), cosine)
    np.fill_diagonal(cosines, 1.0)
    return SimpleNamespace(names=tuple(names), cosines=cosines, **changes)


@pytest.fixture(scope="module")
def trained():
    """Analyses over the training of a network that learns its task."""
    cell = kpf.GRU(n_inputs=3, n_units=24)
    run = kpf.fit(
        cell, TASK, n_iterations=250, batch_size=32, optimizer=kpf.Adam(1e-2), rng=9,
        checkpoint_every=125,
    )  # fmt: skip
    assert run.checkpoints[-1].accuracy == 1.0
    return [analyze(cell, each.params, each.iteration) for each in run.checkpoints]


def test_a_network_that_learns_raises_nothing(trained) -> None:
    found = verdicts(trained)
    assert found["K of low rank"] == "not raised"
    assert found["early inputs forgotten"] == "not raised"
    assert found["tasks interfere"] == "not known"
    forgetting = kpf.failure_signs(trained)[1]
    assert [iteration for iteration, _ in forgetting.course] == [0, 125, 250]
    assert forgetting.estimate is forgetting.course[-1][1]


@pytest.mark.parametrize("gain", [1e-3, 0.05])
def test_a_planted_tiny_gain_forgets_early_inputs(gain) -> None:
    cell = kpf.VanillaRNN(n_inputs=3, n_units=24)
    sign = kpf.failure_signs(analyze(cell, cell.init_params(gain=gain, rng=9)))[1]
    assert sign.raised
    assert sign.estimate.value < 1e-5


def test_planted_saturation_forgets_early_inputs() -> None:
    cell = kpf.VanillaRNN(n_inputs=3, n_units=24)
    params = cell.init_params(rng=9)
    params["bias_hh"] = params["bias_hh"] + 8.0
    assert verdicts(analyze(cell, params))["early inputs forgotten"] == "raised"


def test_a_planted_constant_state_leaves_k_of_low_rank() -> None:
    # Large biases and next to no input: what the weights multiply is the same at all steps.
    cell = kpf.VanillaRNN(n_inputs=3, n_units=24)
    params = cell.init_params(gain=1e-3, rng=9)
    params["weight_ih"] = 1e-3 * params["weight_ih"]
    params["bias_ih"] = params["bias_ih"] + 1.5
    failing = analyze(cell, params)
    sign = kpf.failure_signs(failing)[0]
    assert sign.raised
    assert 1 <= sign.estimate.value < 2


def test_k_must_be_of_low_rank_throughout() -> None:
    low, high = estimate(1.25), estimate(3.5)
    kept = estimate(2.0)
    course = [with_numbers(20, low, kept), with_numbers(0, high, kept), with_numbers(40, low, kept)]
    sign = kpf.failure_signs(course)[0]
    assert (sign.verdict, sign.estimate.value) == ("not raised", 3.5)
    assert [iteration for iteration, _ in sign.course] == [0, 20, 40]
    assert verdicts([course[0], course[2]])["K of low rank"] == "raised"


def test_forgetting_is_judged_at_the_end() -> None:
    rank = estimate(5.0)
    start, end = estimate(1e-9), estimate(0.75)
    forgets = [with_numbers(0, rank, end), with_numbers(40, rank, start)]
    learns = [with_numbers(0, rank, start), with_numbers(40, rank, end)]
    assert verdicts(forgets)["early inputs forgotten"] == "raised"
    assert verdicts(learns)["early inputs forgotten"] == "not raised"


@pytest.mark.parametrize(
    ("lower", "upper", "wanted"),
    [
        (1.5, 1.9, "raised"),
        (1.9, 2.1, "undecided"),
        (2.1, 2.3, "not raised"),
        (2.0, 2.3, "not raised"),
    ],
)
def test_an_interval_over_the_threshold_is_undecided(lower, upper, wanted) -> None:
    rank = estimate((lower + upper) / 2, lower, upper)
    sign = kpf.failure_signs(with_numbers(0, rank, estimate(1.0)))[0]
    assert sign.verdict == wanted
    assert sign.raised == (wanted == "raised")


def test_the_interval_of_the_largest_holds_the_largest() -> None:
    first = estimate(1.5, 1.0, 2.5, confidence=0.95, standard_error=0.1)
    second = estimate(1.75, 1.625, 1.875, confidence=0.95, standard_error=0.1)
    course = [with_numbers(0, first, estimate(1.0)), with_numbers(20, second, estimate(1.0))]
    sign = kpf.failure_signs(course)[0]
    assert (sign.estimate.value, sign.estimate.lower, sign.estimate.upper) == (1.75, 1.625, 2.5)
    assert sign.estimate.confidence == pytest.approx(0.9)
    assert sign.verdict == "undecided"
    assert sign.number == "1.75 in [1.62, 2.5] (90 %), threshold 2"


def test_opposed_tasks_interfere_and_aligned_ones_do_not() -> None:
    analysis = with_numbers(0, estimate(5.0), estimate(1.0))
    opposed = [(20, crossing(-0.5)), (0, crossing(-0.875))]
    sign = kpf.failure_signs(analysis, interference=opposed)[2]
    assert (sign.verdict, sign.estimate.value) == ("raised", 0.6875)
    assert [(iteration, each.value) for iteration, each in sign.course] == [(0, 0.875), (20, 0.5)]
    assert "here pro and anti" in sign.meaning
    found = verdicts(analysis, interference=[(0, crossing(0.25))])
    assert found["tasks interfere"] == "not raised"


def test_the_worst_pair_counts_and_vanishing_errors_do_not() -> None:
    analysis = with_numbers(0, estimate(5.0), estimate(1.0))
    first, second = (crossing(0.25, names="abc") for _ in range(2))
    first.cosines[0, 2] = first.cosines[2, 0] = -0.75
    second.cosines[0, :] = second.cosines[:, 0] = math.nan
    sign = kpf.failure_signs(analysis, interference=[(0, first), (20, second)])[2]
    assert (sign.estimate.value, len(sign.course)) == (0.75, 1)
    assert "here a and c" in sign.meaning
    first.cosines[:] = math.nan
    sign = kpf.failure_signs(analysis, interference=[(0, first)])[2]
    assert (sign.verdict, sign.raised) == ("not known", False)
    assert "errors that do not vanish" in str(sign)


def test_what_is_not_at_hand_is_not_known() -> None:
    signs = kpf.failure_signs(make_analysis(0), interference=[(0, crossing(0.0, names="a"))])
    assert [sign.verdict for sign in signs] == ["not known"] * 3
    assert "analyse with 'rank-over-time' among the quantities" in str(signs[0])
    assert "'retained-directions'" in signs[1].reason
    assert signs[2].reason == "there is one task"
    lacking = [with_numbers(0, estimate(5.0), estimate(1.0)), make_analysis(40)]
    assert verdicts(lacking)["early inputs forgotten"] == "not known"


def test_thresholds_are_the_users() -> None:
    analysis = with_numbers(0, estimate(5.0), estimate(0.5))
    strict = kpf.SignThresholds(k_rank=6.0, retained_directions=1.0)
    assert list(verdicts(analysis, thresholds=strict).values())[:2] == ["raised", "raised"]
    mixed = verdicts(analysis, thresholds={"k_rank": 6})
    assert list(mixed.values())[:2] == ["raised", "not raised"]
    sign = kpf.failure_signs(analysis, strict)[0]
    assert str(sign) == "K of low rank: raised, 5, threshold 6 (raised below)"
    assert dataclasses.replace(sign, threshold=5.0).verdict == "not raised"


def test_a_source_with_analyses_is_read() -> None:
    analysis = with_numbers(0, estimate(5.0), estimate(0.5))
    assert kpf.failure_signs(SimpleNamespace(analyses=[analysis])) == kpf.failure_signs(analysis)


@pytest.mark.parametrize(
    ("analyses", "thresholds", "error", "match"),
    [
        ([], None, InputError, "no analysis to look for signs in.*kpflow analyze"),
        (3, None, InputTypeError, "analyses must be an open run file.*got int"),
        ("run.h5", None, InputTypeError, "got str"),
        ([3], None, InputTypeError, "one of them is a int"),
        (None, {"k_rang": 1.0}, InputError, "no 'k_rang'; it takes k_rank.*Did you mean 'k_rank'"),
        (None, 3.0, InputTypeError, "thresholds must be SignThresholds or a mapping"),
        (None, {"k_rank": -1}, InputError, "k_rank must be finite and at least 0"),
        (None, {"interference": 2}, InputError, "interference must be finite and at least -1"),
        (None, {"retained_directions": "x"}, InputTypeError, "must be a real number"),
    ],
)
def test_bad_arguments_are_refused(analyses, thresholds, error, match) -> None:
    with pytest.raises(error, match=match):
        kpf.failure_signs(make_analysis(0) if analyses is None else analyses, thresholds)


def test_tasks_must_be_the_same_throughout() -> None:
    results = [(0, crossing(0.1)), (1, crossing(0.1, names=("a", "b")))]
    with pytest.raises(InputError, match="same tasks at every iteration"):
        kpf.failure_signs(make_analysis(0), interference=results)
