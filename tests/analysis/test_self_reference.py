"""Shares of moves in the modes of the activity: exact ones against dense matrices, and controls."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics._validation import InputError, InputTypeError, MemoryLimitError
from kpflow_numerics.testing import default_tolerance
from tests.cases.cells import CELL_CASES, FLOAT32_CASES, SITE_CASES, CellCase
from tests.cases.operators import readout_of

GRU = CellCase(kpf.GRU(2, 4))
ONE_GROUP = tuple(case for case in SITE_CASES if case.cell.kind in ("vanilla-rnn", "leaky-rnn"))
CURRENT = tuple(case for case in SITE_CASES if vars(case.cell).get("form") == "current")
N_RANDOM = 6


def error_of(case: CellCase) -> np.ndarray:
    dims = (case.n_trials, case.n_steps, case.cell.n_state)
    return np.random.default_rng(81).standard_normal(dims)


def bias_of(case: CellCase, n_modes: int = 1, **arguments: object) -> kpf.SelfReferentialBias:
    settings = {"n_random": N_RANDOM, "rng": 83, "readout": readout_of(case.cell.n_units)}
    lin = case.linearization()
    return kpf.self_referential_bias(lin, error_of(case), n_modes=n_modes, **(settings | arguments))


def assert_bias(found: kpf.SelfReferentialBias, case: CellCase) -> None:
    """Raise unless every share is that of dense matrices and of the same random numbers."""
    lin = case.linearization()
    n_trials, n_steps, n_state = lin.dims
    n_rows, error = n_trials * n_steps, error_of(case)
    core = kpf.KroneckerCore(lin).exact_partial_trace(("unit",)).reshape(n_rows, n_rows)
    values, vectors = np.linalg.eigh(core)
    projector = np.kron(vectors[:, -found.n_modes :] @ vectors[:, -found.n_modes :].T,
                        np.eye(n_state))  # fmt: skip
    NTK, PP = (
        operator.to_dense().astype(np.float64)
        for operator in (kpf.TangentKernel(lin), kpf.PropagatorGram(lin))
    )

    def share(moves: np.ndarray) -> np.ndarray:
        return np.sum(moves * (projector @ moves), axis=0) / np.sum(moves**2, axis=0)

    rng, weight = np.random.default_rng(83), readout_of(case.cell.n_units)["weight"]
    random = rng.standard_normal((lin.dims[0] * n_steps * n_state, N_RANDOM))
    outputs = rng.standard_normal((n_trials, n_steps, len(weight), N_RANDOM))
    seen = np.zeros((n_trials, n_steps, n_state, N_RANDOM))
    seen[:, :, : weight.shape[1]] = np.einsum("btok,oh->bthk", outputs, weight)
    of_random, of_outputs = share(NTK @ random), share(NTK @ seen.reshape(len(NTK), -1))
    column = error.reshape(-1, 1)
    expected = {
        "share": share(NTK @ column)[0],
        "random_errors": of_random.mean(),
        "random_output_errors": of_outputs.mean(),
        "without_bottleneck": share(PP @ column)[0],
        "error": share(column)[0],
        "chance": found.n_modes / n_rows,
        "mode_share": values[-found.n_modes :].sum() / values.sum(),
    }
    # The modes are known to rounding over the gap to those left out.
    gap = 1.0 - values[-found.n_modes - 1] / values[-found.n_modes] if n_rows > 1 else 1.0
    tolerance = 20 * default_tolerance(case.dtype, len(NTK)) / gap
    for name, value in expected.items():
        assert abs(float(getattr(found, name)) - value) <= tolerance, name
    for estimate, shares in (
        (found.random_errors, of_random),
        (found.random_output_errors, of_outputs),
    ):
        spread = shares.std(ddof=1) / np.sqrt(N_RANDOM)
        assert abs(estimate.standard_error - spread) <= tolerance, "standard error"
        assert 0 <= estimate.lower <= estimate.value <= estimate.upper <= 1 + tolerance, "interval"
        assert estimate.n_matvecs == N_RANDOM


@pytest.mark.parametrize("case", [*CELL_CASES, *FLOAT32_CASES], ids=str)
def test_every_share_against_dense_matrices(case: CellCase) -> None:
    assert_bias(bias_of(case), case)


@pytest.mark.parametrize("case", SITE_CASES, ids=str)
def test_more_modes_hold_more(case: CellCase) -> None:
    found = [bias_of(case, n_modes) for n_modes in (1, 2, 4)]
    for each in found:
        assert_bias(each, case)
    for name in ("share", "random_errors", "without_bottleneck", "error", "chance", "mode_share"):
        values = [float(getattr(each, name)) for each in found]
        assert values == sorted(values)
        assert 0 < values[0] < values[-1] < 1


@pytest.mark.parametrize("name", ["share", "without_bottleneck", "error", "chance", "mode_share"])
def test_a_planted_share_is_seen(name: str) -> None:
    found = bias_of(GRU, 2)
    with pytest.raises(AssertionError, match=name):
        assert_bias(replace(found, **{name: getattr(found, name) + 1e-9}), GRU)


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"rng": 84}, "random_errors"),
        ({"readout": {"weight": np.eye(3, 4), "bias": np.ones(3)}}, "random_output_errors"),
    ],
)
def test_other_random_errors_are_seen(changed: dict, match: str) -> None:
    with pytest.raises(AssertionError, match=match):
        assert_bias(bias_of(GRU, 2, **changed), GRU)


def test_a_wrong_standard_error_is_seen() -> None:
    found = bias_of(GRU)
    wrong = replace(found.random_errors, standard_error=2 * found.random_errors.standard_error)
    with pytest.raises(AssertionError, match="standard error"):
        assert_bias(replace(found, random_errors=wrong), GRU)


def shares_of(found: kpf.SelfReferentialBias) -> list[float]:
    return [
        found.share, found.random_errors.value, found.without_bottleneck, found.error,
        found.mode_share,
    ]  # fmt: skip


@pytest.mark.parametrize("factor", [-1.0, 1e-6, 1e6])
def test_the_scale_of_the_error_has_no_effect(factor: float) -> None:
    lin = GRU.linearization()
    found, scaled = (
        kpf.self_referential_bias(lin, scale * error_of(GRU), n_modes=2) for scale in (1.0, factor)
    )
    np.testing.assert_allclose(shares_of(scaled), shares_of(found), rtol=1e-12)
    other = kpf.self_referential_bias(lin, error_of(GRU)[::-1], n_modes=2)
    assert abs(other.share - found.share) > 1e-4


@pytest.mark.parametrize("case", ONE_GROUP, ids=str)
def test_turned_features_change_nothing(case: CellCase) -> None:
    lin, error = case.linearization(), error_of(case)
    found, turned, cut = (
        kpf.self_referential_bias(each, error, n_modes=2)
        for each in (lin, kpf.compress_core(lin, 0.0), kpf.compress_core(lin, 0.05))
    )
    np.testing.assert_allclose(shares_of(turned), shares_of(found), atol=1e-10)
    assert abs(cut.mode_share - found.mode_share) > 1e-5


def test_the_order_of_trials_does_not_matter() -> None:
    trajectory, order = GRU.trajectory(), np.array([2, 0, 1])
    moved = kpf.simulate(
        trajectory.cell, GRU.params(), trajectory.inputs[order], trajectory.h0[order]
    )
    error = error_of(GRU)
    found = kpf.self_referential_bias(kpf.linearize(trajectory), error, n_modes=2)
    second = kpf.self_referential_bias(kpf.linearize(moved), error[order], n_modes=2)
    third = kpf.self_referential_bias(kpf.linearize(moved), error, n_modes=2)
    for name in ("share", "without_bottleneck", "error", "mode_share"):
        assert getattr(second, name) == pytest.approx(getattr(found, name), rel=1e-10)
    assert abs(third.share - found.share) > 1e-4


@pytest.mark.parametrize("case", CURRENT, ids=str)
def test_k_of_constant_gains_moves_states_in_the_modes_alone(case: CellCase) -> None:
    # Where P is the identity, after one step, the range of the kernel is that of V.
    one = replace(case, n_trials=12, n_steps=1)
    rank = np.linalg.matrix_rank(kpf.KroneckerCore(one.linearization()).features[:, 0])
    assert rank < 12
    found = bias_of(one, int(rank))
    assert found.share == pytest.approx(1.0, abs=1e-12)
    assert found.random_errors.value == pytest.approx(1.0, abs=1e-12)
    assert found.error < 0.9
    assert found.without_bottleneck == pytest.approx(found.error, rel=1e-12)
    assert bias_of(one, int(rank) - 1).share < 1 - 1e-4
    # P carries the moves of a slow network out of them.
    assert bias_of(replace(case, n_trials=12), int(rank)).share < 1 - 1e-4


def test_chance_is_what_errors_drawn_without_looking_have() -> None:
    lin, rng = GRU.linearization(), np.random.default_rng(85)
    shares = [
        kpf.self_referential_bias(lin, rng.standard_normal(lin.dims), n_modes=3, n_random=2).error
        for _ in range(400)
    ]
    spread = np.std(shares, ddof=1) / np.sqrt(len(shares))
    assert abs(np.mean(shares) - 3 / 15) <= 4 * spread
    assert abs(np.mean(shares) - 4 / 15) > 4 * spread


def test_the_interval_covers_the_mean() -> None:
    lin, error = GRU.linearization(), error_of(GRU)
    truth = kpf.self_referential_bias(lin, error, n_modes=2, n_random=20_000).random_errors
    found = [
        kpf.self_referential_bias(lin, error, n_modes=2, n_random=16, rng=seed).random_errors
        for seed in range(100, 400)
    ]
    inside = np.mean([each.lower <= truth.value <= each.upper for each in found])
    assert 0.9 <= inside <= 0.995
    assert {each.confidence for each in found} == {0.95}


def test_a_network_that_cannot_move_has_no_share() -> None:
    cell = kpf.VanillaRNN(2, 4, activation="relu")
    params = cell.init_params(rng=5)
    params["bias_ih"] -= 100.0
    lin = kpf.linearize(kpf.simulate(cell, params, np.ones((2, 3, 2))))
    found = kpf.self_referential_bias(lin, np.ones(lin.dims), n_modes=1)
    assert np.isnan(found.share)
    assert np.isnan(found.random_errors.value)
    assert np.isfinite(found.without_bottleneck)


def test_draws_in_chunks_are_one_sample() -> None:
    found = bias_of(GRU, n_random=130)
    assert found.random_errors.n_matvecs == 130
    kernel = kpf.TangentKernel(GRU.linearization())
    assert found.random_errors.cost.flops == 130 * kernel.product_cost(1).flops


def test_arguments_and_repr() -> None:
    lin, error = GRU.linearization(), error_of(GRU)
    without = kpf.self_referential_bias(lin, error, n_modes=2)
    assert without.random_output_errors is None
    assert "output" not in repr(without)
    assert "of random output errors 0." in repr(bias_of(GRU))
    assert (without.n_modes, without.n_random) == (2, 64)
    with pytest.raises(InputTypeError, match="linearization must be a Linearization"):
        kpf.self_referential_bias(GRU.trajectory(), error)
    with pytest.raises(InputError, match=r"errors must have shape \(3, 5, 4\); got \(3, 5\)"):
        kpf.self_referential_bias(lin, error[..., 0])
    with pytest.raises(InputError, match="errors must be finite; 1 of"):
        kpf.self_referential_bias(lin, np.where(error == error.max(), np.nan, error))
    with pytest.raises(InputError, match="errors must not be all zero"):
        kpf.self_referential_bias(lin, 0 * error)
    with pytest.raises(InputError, match="n_modes must be at most the rank .* is 7 here; got 8"):
        kpf.self_referential_bias(lin, error, n_modes=8)
    with pytest.raises(InputError, match="n_modes must be at least 1; got 0"):
        kpf.self_referential_bias(lin, error, n_modes=0)
    with pytest.raises(InputTypeError, match="n_modes must be an integer"):
        kpf.self_referential_bias(lin, error, n_modes=2.0)
    with pytest.raises(InputError, match="n_random must be at least 2; got 1"):
        kpf.self_referential_bias(lin, error, n_random=1)
    with pytest.raises(InputTypeError, match="rng must be an integer seed"):
        kpf.self_referential_bias(lin, error, rng=None)
    with pytest.raises(InputError, match="readout lacks 'weight'"):
        kpf.self_referential_bias(lin, error, readout={"bias": np.ones(3)})
    with pytest.raises(MemoryLimitError, match="Take fewer random errors"):
        kpf.self_referential_bias(lin, error, max_memory=1000)
    silent = kpf.GRU(2, 4, bias=False)
    nothing = kpf.linearize(kpf.simulate(silent, silent.init_params(rng=5), np.zeros((2, 3, 2))))
    with pytest.raises(InputError, match="which is 0 here"):
        kpf.self_referential_bias(nothing, np.ones((2, 3, 4)))


@pytest.mark.parametrize("exponent", [-500, 500])
def test_shares_are_right_at_any_scale(exponent: int) -> None:
    cell = kpf.LeakyRNN(3, 5, form="rate", activation="relu", bias=False)
    inputs = np.random.default_rng(4).standard_normal((3, 4, 3))
    error = np.random.default_rng(81).standard_normal((3, 4, 5))
    plain, scaled = (
        kpf.self_referential_bias(
            kpf.linearize(kpf.simulate(cell, cell.init_params(rng=3), np.ldexp(inputs, each))),
            error, n_modes=2, n_random=N_RANDOM, rng=83,
        )
        for each in (0, exponent)
    )  # fmt: skip
    for name in ("share", "without_bottleneck", "error", "mode_share"):
        assert abs(getattr(scaled, name) - getattr(plain, name)) <= default_tolerance("float64", 60)
    assert abs(scaled.random_errors.value - plain.random_errors.value) <= 1e-12
