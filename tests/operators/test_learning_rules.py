"""Learning rules: dense oracles, limits, and the steps that optimisers really make."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import autograd
import numpy as np
import pytest
import scipy.linalg
from scipy.sparse.linalg import aslinearoperator

import kpflow_numerics as kpf
from kpflow_numerics._validation import InputError, InputTypeError, MemoryLimitError
from kpflow_numerics.analysis.reference_steps import reference_step
from kpflow_numerics.testing import assert_operator_matches_dense, default_tolerance, dot_test
from tests.cases.cells import (
    BIASED_CELLS,
    CELL_CASES,
    EDGE_CASES,
    FLOAT32_CASES,
    OWN_CASES,
    SITE_CASES,
    CellCase,
)
from tests.cases.operators import dense_network, diagonal_of

BIASED = tuple(CellCase(cell) for cell in BIASED_CELLS) + EDGE_CASES + FLOAT32_CASES
RNN, GRU = CellCase(kpf.VanillaRNN(2, 4)), CellCase(kpf.GRU(2, 4))


def feedback_of(case: CellCase) -> np.ndarray:
    return np.random.default_rng(41).standard_normal(case.params()["weight_hh"].shape)


def assert_close(found: np.ndarray, expected: np.ndarray, factor: float = 50) -> None:
    scale = max(np.abs(expected).max(), 1e-300)
    tolerance = default_tolerance(found.dtype, max(found.shape), factor=factor)
    assert np.abs(found - expected).max() <= tolerance * scale


# Feedback alignment


def backward_propagator(case: CellCase, feedback: np.ndarray) -> np.ndarray:
    """Return P_B as a matrix, from the step alone.

    ``B (h + dh) + (W h - B h)`` is the true pre-activation at ``dh = 0`` and has the derivative B:
    the step with the weights B and a bias of its own at each point.
    """
    dense = dense_network(case)
    trajectory, step = case.trajectory(), reference_step(case.cell)
    params = {name: np.asarray(each, np.float64) for name, each in trajectory.params.items()}
    bias = "bias_hh" if "bias_hh" in params else "bias"
    n_trials, n_steps, _ = dense.states.shape
    h0 = np.asarray(trajectory.h0, np.float64)
    previous = np.concatenate([h0[:, None], dense.states[:, :-1]], axis=1)
    A = np.zeros_like(dense.A)
    for b in range(n_trials):
        for t in range(n_steps):
            h, x = previous[b, t], np.asarray(trajectory.inputs[b, t], np.float64)
            read = h[: case.cell.n_units]
            if vars(case.cell).get("form") == "current":
                read = np.tanh(read)
            moved = params[bias] + (params["weight_hh"] - feedback) @ read
            changed = params | {"weight_hh": feedback, bias: moved}

            def one(h, x=x, changed=changed):
                return step(changed, x[None], h[None])[0]

            np.testing.assert_allclose(one(h), dense.states[b, t], rtol=1e-12, atol=1e-13)
            A[b, t] = autograd.jacobian(one)(h)
    return replace(dense, A=A).block_products()


@pytest.mark.parametrize("case", BIASED, ids=str)
def test_feedback_alignment_is_its_matrix(case: CellCase) -> None:
    feedback, dense = feedback_of(case), dense_network(case)
    rule = kpf.FeedbackAlignment(case.linearization(), feedback)
    oracle = dense.S @ (backward_propagator(case, feedback) @ dense.J).T
    assert_operator_matches_dense(rule, oracle, rng=43)
    assert dot_test(rule, rng=44).passed
    assert not rule.self_adjoint
    assert rule.product_cost(3).flops == 3 * rule.product_cost().flops


@pytest.mark.parametrize("case", SITE_CASES + FLOAT32_CASES, ids=str)
def test_feedback_through_the_own_weights_is_backpropagation(case: CellCase) -> None:
    lin = case.linearization()
    rule = kpf.FeedbackAlignment(lin, case.params()["weight_hh"])
    np.testing.assert_array_equal(rule.to_dense(), kpf.TangentKernel(lin).to_dense())


def test_random_feedback() -> None:
    lin = kpf.linearize(kpf.simulate(kpf.GRU(3, 50), kpf.GRU(3, 50).init_params(rng=5),
                                     np.ones((1, 2, 3))))  # fmt: skip
    drawn = kpf.random_feedback(lin, gain=2.0, rng=9)
    assert drawn.shape == (150, 50)
    bound = 2.0 / np.sqrt(50)
    assert 0.99 * bound < np.abs(drawn).max() < bound
    assert abs(drawn.std() / (bound / np.sqrt(3)) - 1) < 0.03
    np.testing.assert_array_equal(drawn, kpf.random_feedback(lin, gain=2.0, rng=9))
    single = GRU.in_float32().linearization()
    assert kpf.random_feedback(single, rng=9).dtype == np.float32
    np.testing.assert_array_equal(
        kpf.random_feedback(single, rng=9),
        kpf.random_feedback(GRU.linearization(), rng=9).astype(np.float32),
    )


def test_feedback_is_checked() -> None:
    with pytest.raises(InputError, match=r"feedback must have shape \(12, 4\); got \(4, 4\)"):
        kpf.FeedbackAlignment(GRU.linearization(), np.eye(4))
    own = OWN_CASES[0].linearization()
    with pytest.raises(InputError, match="must be of a cell with weight sites, whose recurrent"):
        kpf.FeedbackAlignment(own, np.eye(4))
    with pytest.raises(InputError, match="must be of a cell with weight sites, whose recurrent"):
        kpf.random_feedback(own)
    with pytest.raises(InputError, match="gain must be finite and at least 0"):
        kpf.random_feedback(GRU.linearization(), gain=-1.0)


# Truncated backpropagation


@pytest.mark.parametrize("case", CELL_CASES, ids=str)
@pytest.mark.parametrize("truncation", ["sliding", "chunks"])
def test_the_ends_of_truncation(case: CellCase, truncation: str) -> None:
    lin, T = case.linearization(), case.n_steps
    NTK = kpf.TangentKernel(lin).to_dense()
    P, K = kpf.Propagator(lin).to_dense(), kpf.ParameterOperator(lin).to_dense()
    rules = [kpf.TruncatedBPTT(lin, w, truncation=truncation) for w in (0, T - 1, T + 3)]
    assert_close(rules[0].to_dense(), P @ K)
    np.testing.assert_array_equal(rules[1].to_dense(), NTK)
    np.testing.assert_array_equal(rules[2].to_dense(), NTK)


def test_the_two_truncations_differ_and_an_off_by_one_is_caught() -> None:
    lin = RNN.linearization()
    sliding, chunks = (
        kpf.TruncatedBPTT(lin, 2, truncation=each).to_dense() for each in ("sliding", "chunks")
    )
    assert np.linalg.norm(sliding - chunks) > 1e-3 * np.linalg.norm(sliding)
    with pytest.raises(AssertionError):
        assert_operator_matches_dense(kpf.TruncatedBPTT(lin, 1), sliding, rng=45)


def test_truncation_is_checked() -> None:
    lin = RNN.linearization()
    with pytest.raises(InputError, match="window must be at least 0; got -1"):
        kpf.TruncatedBPTT(lin, -1)
    with pytest.raises(InputTypeError, match="window must be an integer"):
        kpf.TruncatedBPTT(lin, 1.5)
    with pytest.raises(InputError, match="truncation must be one of 'sliding', 'chunks'"):
        kpf.TruncatedBPTT(lin, 1, truncation="blocks")


@pytest.mark.parametrize("case", [RNN, GRU], ids=str)
def test_rules_on_a_compressed_core_that_keeps_everything(case: CellCase) -> None:
    lin = case.linearization()
    core = kpf.compress_core(lin, tolerance=0.0)
    err, feedback = np.random.default_rng(54).standard_normal(lin.dims), feedback_of(case)
    for build in (
        lambda each: kpf.TruncatedBPTT(each, 2),
        lambda each: kpf.TruncatedBPTT(each, 2, truncation="chunks"),
        lambda each: kpf.FeedbackAlignment(each, feedback),
        lambda each: kpf.GaussNewton(each, 3.0),
        lambda each: kpf.MomentumKernel([each, each]),
    ):
        rule, small = build(lin), build(core)
        array = err if rule.dims == lin.dims else np.stack([err, -0.5 * err])
        assert_close(small.apply(array), rule.apply(array), factor=500)
        if isinstance(small, kpf.operators.LearningRule):
            assert small.update(err).shape == (core.n_parameters,)


# Gauss-Newton

# n = 60 states: p = 32 and 96 parameters, so that both sides are the smaller one.
SIDES = pytest.mark.parametrize("case", [RNN, GRU, CellCase(kpf.LSTM(2, 4))], ids=str)
WEIGHT = np.random.default_rng(46).standard_normal((2, 4))


def seen_by_readout(case: CellCase) -> np.ndarray:
    S = dense_network(case).S
    hidden = S.reshape(case.n_trials, case.n_steps, -1, S.shape[1])[:, :, : case.cell.n_units]
    return np.einsum("oh,bthp->btop", WEIGHT, hidden).reshape(-1, S.shape[1])


@SIDES
@pytest.mark.parametrize("metric", ["states", "outputs"])
@pytest.mark.parametrize("solver", ["cholesky", "conjugate-gradients"])
def test_gauss_newton_is_its_matrix(case: CellCase, metric: str, solver: str) -> None:
    S = dense_network(case).S
    Y = S if metric == "states" else seen_by_readout(case)
    damping = 0.01 * np.linalg.norm(Y, 2) ** 2
    weight = None if metric == "states" else WEIGHT
    rule = kpf.GaussNewton(case.linearization(), damping, readout_weight=weight, solver=solver)
    inverse = np.linalg.inv(Y.T @ Y + damping * np.eye(Y.shape[1]))
    tolerance = 1e-10 if solver == "cholesky" else 1e-8
    assert_operator_matches_dense(rule, S @ inverse @ S.T, rng=47, tolerance=tolerance)
    err = np.random.default_rng(48).standard_normal(rule.dims)
    update = inverse @ S.T @ err.ravel()
    np.testing.assert_allclose(rule.update(err), update, atol=tolerance * np.abs(update).max())
    np.testing.assert_array_equal(rule.apply(err), rule.apply(err))
    np.testing.assert_allclose(rule.metric.to_dense(), Y.T @ Y, atol=1e-12 * damping * 100)
    assert (rule.product_cost() is None) == (solver == "conjugate-gradients")


@SIDES
def test_small_damping_projects_and_large_damping_is_the_kernel(case: CellCase) -> None:
    lin, dense = case.linearization(), dense_network(case)
    U, s, _ = scipy.linalg.svd(dense.S, full_matrices=False)
    reachable = U[:, s > 1e-3 * s[0]]
    small = kpf.GaussNewton(lin, 1e-11 * s[0] ** 2)
    np.testing.assert_allclose(small.matmat(reachable), reachable, atol=1e-4)
    nothing = scipy.linalg.null_space(dense.S.T)
    if nothing.size:
        np.testing.assert_allclose(small.matmat(nothing), 0.0, atol=1e-4)
    NTK = dense.S @ dense.S.T
    distances = []
    for share in (1e2, 1e4):
        large = kpf.GaussNewton(lin, share * s[0] ** 2)
        difference = large.damping * large.to_dense() - NTK
        distances.append(np.linalg.norm(difference) / np.linalg.norm(NTK))
    assert distances[1] < 1e-3
    assert distances[0] / distances[1] == pytest.approx(100, rel=0.02)


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["states", "outputs"])
def test_gauss_newton_in_single_precision(weight: np.ndarray | None) -> None:
    case = GRU.in_float32()
    dense = dense_network(case)
    Y = dense.S if weight is None else seen_by_readout(case)
    damping = 0.1 * np.linalg.norm(Y, 2) ** 2
    oracle = dense.S @ np.linalg.solve(Y.T @ Y + damping * np.eye(Y.shape[1]), dense.S.T)
    for solver in ("cholesky", "conjugate-gradients"):
        rule = kpf.GaussNewton(case.linearization(), damping, readout_weight=weight, solver=solver)
        assert_operator_matches_dense(rule, oracle, rng=49, tolerance=1e-4)


def test_which_solver_gauss_newton_takes() -> None:
    lin = RNN.linearization()
    assert kpf.GaussNewton(lin, 1.0).solver == "cholesky"
    assert kpf.GaussNewton(lin, 1.0).side == 32
    assert kpf.GaussNewton(lin, 1.0, readout_weight=WEIGHT).side == 30
    assert kpf.GaussNewton(lin, 1.0, max_memory=1e3).solver == "conjugate-gradients"
    with pytest.raises(MemoryLimitError, match="side 32 and its factor take 16 KiB, more than max"):
        kpf.GaussNewton(lin, 1.0, solver="cholesky", max_memory=1e3)
    with pytest.raises(InputError, match="solver must be one of 'auto', 'cholesky'"):
        kpf.GaussNewton(lin, 1.0, solver="lu")
    with pytest.raises(InputError, match="damping must be finite and greater than 0; got 0"):
        kpf.GaussNewton(lin, 0.0)
    with pytest.raises(InputError, match=r"readout_weight must have shape \(O, 4\)"):
        kpf.GaussNewton(lin, 1.0, readout_weight=np.eye(5))
    with pytest.raises(InputError, match="tolerance must be finite and greater than 0"):
        kpf.GaussNewton(lin, 1.0, tolerance=0.0)
    single = RNN.in_float32().linearization()
    with pytest.raises(InputError, match="is below the rounding error of the Gram matrix"):
        kpf.GaussNewton(single, 1e-12).apply(np.ones(single.dims))
    with pytest.raises(InputError, match="did not reach tolerance=1e-13: damping=1e-12 is"):
        kpf.GaussNewton(single, 1e-12, solver="conjugate-gradients", tolerance=1e-13).apply(
            np.ones(single.dims)
        )


# Preconditioned, and momentum


def test_preconditioners_are_checked_and_give_their_flags() -> None:
    lin = RNN.linearization()
    diagonal = lin.layout.unpack(diagonal_of(lin.n_parameters))
    rule = kpf.PreconditionedKernel(lin, diagonal)
    assert (rule.self_adjoint, rule.positive_semidefinite) == (True, True)
    mixed = kpf.PreconditionedKernel(lin, diagonal | {"bias_hh": -diagonal["bias_hh"]})
    assert (mixed.self_adjoint, mixed.positive_semidefinite) == (True, False)
    matrix = aslinearoperator(np.eye(lin.n_parameters))
    assert not kpf.PreconditionedKernel(lin, matrix).self_adjoint
    assert kpf.PreconditionedKernel(lin, matrix).product_cost() is None
    gauss_newton = kpf.GaussNewton(lin, 1.0)
    by_metric = kpf.PreconditionedKernel(lin, gauss_newton.metric)
    assert (by_metric.self_adjoint, by_metric.positive_semidefinite) == (True, True)
    NTK = kpf.TangentKernel(lin).to_dense()
    assert_close(by_metric.to_dense(), NTK @ NTK)
    with pytest.raises(InputError, match="must have an array for each of weight_ih, weight_hh"):
        kpf.PreconditionedKernel(lin, {"weight_hh": diagonal["weight_hh"]})
    with pytest.raises(InputError, match=r"preconditioner\['bias_ih'\] must have shape \(4,\)"):
        kpf.PreconditionedKernel(lin, diagonal | {"bias_ih": np.ones(3)})
    with pytest.raises(InputError, match=r"must act on the 32 parameters: shape \(32, 32\); got"):
        kpf.PreconditionedKernel(lin, np.eye(3))
    with pytest.raises(InputTypeError, match="preconditioner must map the names of the parameters"):
        kpf.PreconditionedKernel(lin, "adam")


def test_momentum_with_trials_of_its_own_each_iteration() -> None:
    lins = [replace(GRU, seed=seed).linearization() for seed in (23, 24, 25)]
    S = [kpf.Sensitivity(lin).to_dense() for lin in lins]
    diagonal = diagonal_of(lins[0].n_parameters)
    for nesterov, coefficients in ((False, (0.49, 0.7, 1.0)), (True, (0.343, 0.49, 1.7))):
        rule = kpf.MomentumKernel(
            lins, 0.7, nesterov=nesterov, preconditioner=lins[0].layout.unpack(diagonal)
        )
        np.testing.assert_allclose(rule.coefficients, coefficients)
        oracle = [c * (S[-1] * diagonal) @ each.T for c, each in zip(coefficients, S, strict=True)]
        assert_operator_matches_dense(rule, np.concatenate(oracle, axis=1), rng=51)
    one = kpf.MomentumKernel(lins[:1], 0.0).to_dense()
    assert_close(one, kpf.TangentKernel(lins[0]).to_dense())


def test_momentum_is_checked() -> None:
    lin = RNN.linearization()
    with pytest.raises(InputTypeError, match="must be a sequence of Linearization, one for each"):
        kpf.MomentumKernel(lin)
    with pytest.raises(InputError, match="at least one Linearization; got none"):
        kpf.MomentumKernel([])
    with pytest.raises(InputError, match="of one cell and precision, with equal numbers of trials"):
        kpf.MomentumKernel([lin, replace(RNN, n_steps=4).linearization()])
    with pytest.raises(InputError, match="momentum must be finite and at least 0 and less than 1"):
        kpf.MomentumKernel([lin], 1.0)


def test_updates_are_checked() -> None:
    with pytest.raises(InputError, match=r"takes an array of shape \(3, 5, 4\) or"):
        kpf.TruncatedBPTT(RNN.linearization(), 1).update(np.ones((3, 5, 5)))


# The steps that are really made


def backward_vanilla(params, x, before, h, delta, feedback):
    """One step back through a vanilla network: gradients of one trial, and what goes on."""
    d = delta * (1.0 - h**2)
    gradients = {
        "weight_ih": np.outer(d, x), "weight_hh": np.outer(d, before), "bias_ih": d, "bias_hh": d,
    }  # fmt: skip
    return gradients, feedback.T @ d


def backward_gru(params, x, before, h, delta, feedback):
    def sigmoid(a):
        return 1.0 / (1.0 + np.exp(-a))

    H = len(h)
    of_x = params["weight_ih"] @ x + params["bias_ih"]
    of_h = params["weight_hh"] @ before + params["bias_hh"]
    r, z = sigmoid(of_x[:H] + of_h[:H]), sigmoid(of_x[H : 2 * H] + of_h[H : 2 * H])
    m = of_h[2 * H :]
    n = np.tanh(of_x[2 * H :] + r * m)
    dn = delta * (1.0 - z) * (1.0 - n**2)
    dz = delta * (before - n) * z * (1.0 - z)
    dr = dn * m * r * (1.0 - r)
    rows_x, rows_h = np.concatenate([dr, dz, dn]), np.concatenate([dr, dz, dn * r])
    gradients = {
        "weight_ih": np.outer(rows_x, x), "weight_hh": np.outer(rows_h, before),
        "bias_ih": rows_x, "bias_hh": rows_h,
    }  # fmt: skip
    return gradients, delta * z + feedback.T @ rows_h


BACKWARD = {"vanilla-rnn": backward_vanilla, "gru": backward_gru}


def plain_update(trajectory, err, *, first_of, feedback=None) -> dict[str, np.ndarray]:
    """Return the gradients of a rule; the error of step t is carried back to ``first_of(t)``."""
    params, backward = trajectory.params, BACKWARD[trajectory.cell.kind]
    weights = params["weight_hh"] if feedback is None else feedback
    total = {name: np.zeros_like(array) for name, array in params.items()}
    for b in range(trajectory.n_trials):
        for t in range(trajectory.n_steps):
            delta = err[b, t]
            for s in range(t, first_of(t) - 1, -1):
                before = trajectory.h0[b] if s == 0 else trajectory.states[b, s - 1]
                gradients, delta = backward(
                    params, trajectory.inputs[b, s], before, trajectory.states[b, s], delta, weights
                )
                for name, gradient in gradients.items():
                    total[name] += gradient
    return total


def rules_of(case: CellCase):
    """Return for each rule its operator, and what plain NumPy needs to know of it."""
    feedback = feedback_of(case)
    return {
        "bptt": (lambda lin: kpf.TruncatedBPTT(lin, 99), {"first_of": lambda t: 0}),
        "PK": (lambda lin: kpf.TruncatedBPTT(lin, 0), {"first_of": lambda t: t}),
        "window 2": (
            lambda lin: kpf.TruncatedBPTT(lin, 2),
            {"first_of": lambda t: max(t - 2, 0)},
        ),
        "chunks of 3": (
            lambda lin: kpf.TruncatedBPTT(lin, 2, truncation="chunks"),
            {"first_of": lambda t: t - t % 3},
        ),
        "feedback": (
            lambda lin: kpf.FeedbackAlignment(lin, feedback),
            {"first_of": lambda t: 0, "feedback": feedback},
        ),
    }


RULES = pytest.mark.parametrize("rule", list(rules_of(RNN)))
TRAINED = pytest.mark.parametrize("case", [RNN, GRU], ids=str)
RATES = 1e-5 * 10.0 ** np.arange(0.0, 2.25, 0.25)


def error_of(trajectory: kpf.Trajectory) -> np.ndarray:
    """Return the derivative by the states of a loss that depends on them in a nonlinear way."""
    wanted = np.random.default_rng(52).standard_normal(trajectory.states.shape)
    return np.sin(trajectory.states - wanted)


def slope(remainders: list[float]) -> float:
    return float(np.polyfit(np.log(RATES), np.log(remainders), 1)[0])


@TRAINED
@RULES
def test_the_update_is_that_of_plain_numpy(case: CellCase, rule: str) -> None:
    trajectory = case.trajectory()
    build, plain = rules_of(case)[rule]
    err = error_of(trajectory)
    found = build(kpf.linearize(trajectory)).update(err)
    expected = case.cell.layout.pack(plain_update(trajectory, err, **plain))
    assert_close(found, expected)


@TRAINED
@RULES
@pytest.mark.parametrize("optimizer", [kpf.SGD, kpf.Momentum], ids=lambda each: each.name)
def test_a_step_moves_the_states_by_the_rule(case: CellCase, rule: str, optimizer: type) -> None:
    trajectory, cell = case.trajectory(), case.cell
    build, plain = rules_of(case)[rule]
    err = error_of(trajectory)
    move = build(kpf.linearize(trajectory)).apply(err)
    gradients = plain_update(trajectory, err, **plain)
    other = "window 2" if rule != "window 2" else "PK"
    wrong_move = rules_of(case)[other][0](kpf.linearize(trajectory)).apply(err)
    remainders, wrong = [], []
    for rate in RATES:
        method = optimizer(rate)
        params, _ = method.update(trajectory.params, gradients, method.init_state(gradients))
        states = kpf.simulate(cell, params, trajectory.inputs, trajectory.h0).states
        remainders.append(np.linalg.norm(states - trajectory.states + rate * move))
        wrong.append(np.linalg.norm(states - trajectory.states + rate * wrong_move))
    assert slope(remainders) == pytest.approx(2.0, abs=0.1)
    assert slope(wrong) == pytest.approx(1.0, abs=0.1)


def last_of_a_run(case: CellCase, optimizer, n_steps: int = 4):
    """Train on changing trials; return all linearisations and errors, and the last move."""
    cell, params = case.cell, case.params()
    state = optimizer.init_state(params)
    lins, errors = [], []
    for iteration in range(n_steps):
        rng = np.random.default_rng([53, iteration])
        inputs = rng.standard_normal((case.n_trials, case.n_steps, cell.n_inputs))
        trajectory = kpf.simulate(cell, params, inputs)
        lins.append(kpf.linearize(trajectory))
        errors.append(error_of(trajectory))
        gradient = cell.layout.unpack(kpf.Sensitivity(lins[-1]).apply_adjoint(errors[-1]))
        params, state = optimizer.update(params, gradient, state)
    moved = kpf.simulate(cell, params, lins[-1].trajectory.inputs).states
    return lins, np.stack(errors), moved - lins[-1].trajectory.states, state


@TRAINED
@pytest.mark.parametrize("nesterov", [False, True])
def test_a_step_with_momentum_is_linear_in_the_errors_of_the_window(
    case: CellCase, nesterov: bool
) -> None:
    remainders, without_past = [], []
    for rate in RATES:
        optimizer = kpf.Momentum(rate, 0.8, nesterov=nesterov)
        lins, errors, dh, _ = last_of_a_run(case, optimizer)
        rule = kpf.MomentumKernel(lins, 0.8, nesterov=nesterov)
        remainders.append(np.linalg.norm(dh + rate * rule.apply(errors)))
        errors[:-1] = 0.0
        without_past.append(np.linalg.norm(dh + rate * rule.apply(errors)))
    assert slope(remainders) == pytest.approx(2.0, abs=0.1)
    assert slope(without_past) == pytest.approx(1.0, abs=0.1)


@TRAINED
@pytest.mark.parametrize("beta1", [0.0, 0.7])
def test_a_step_of_adam_is_linear_once_its_denominators_are_given(
    case: CellCase, beta1: float
) -> None:
    remainders, plain = [], []
    for rate in RATES:
        optimizer = kpf.Adam(rate, beta1=beta1)
        lins, errors, dh, state = last_of_a_run(case, optimizer)
        M = kpf.adam_preconditioner(optimizer, state)
        size = rate * (1 - beta1) / (1 - beta1 ** float(state["step"]))
        if beta1:
            move = kpf.MomentumKernel(lins, beta1, preconditioner=M).apply(errors)
        else:
            move = kpf.PreconditionedKernel(lins[-1], M).apply(errors[-1])
        remainders.append(np.linalg.norm(dh + size * move))
        plain.append(np.linalg.norm(dh + size * kpf.TangentKernel(lins[-1]).apply(errors[-1])))
    assert slope(remainders) == pytest.approx(2.0, abs=0.1)
    assert slope(plain) == pytest.approx(1.0, abs=0.1)


@TRAINED
def test_a_step_of_gauss_newton_moves_the_states_by_the_rule(case: CellCase) -> None:
    trajectory, cell = case.trajectory(), case.cell
    err = error_of(trajectory)
    rule = kpf.GaussNewton(kpf.linearize(trajectory), 0.5)
    gradients = cell.layout.unpack(rule.update(err))
    remainders = []
    for rate in RATES:
        params, _ = kpf.SGD(rate).update(trajectory.params, gradients, {})
        states = kpf.simulate(cell, params, trajectory.inputs, trajectory.h0).states
        remainders.append(np.linalg.norm(states - trajectory.states + rate * rule.apply(err)))
    assert slope(remainders) == pytest.approx(2.0, abs=0.1)


def test_functional_descent_is_that_of_a_term_added_to_every_state() -> None:
    case = RNN
    trajectory = case.trajectory()
    lin, err, params = kpf.linearize(trajectory), error_of(trajectory), trajectory.params
    gradient = kpf.Propagator(lin).apply_adjoint(err)
    step = partial(reference_step(case.cell), params)
    remainders = []
    for rate in RATES:
        h, states = trajectory.h0, []
        for t in range(case.n_steps):
            h = step(trajectory.inputs[:, t], h) - rate * gradient[:, t]
            states.append(h)
        dh = np.stack(states, axis=1) - trajectory.states
        remainders.append(np.linalg.norm(dh + rate * kpf.PropagatorGram(lin).apply(err)))
    assert slope(remainders) == pytest.approx(2.0, abs=0.1)
