"""Alignments of learning rules: exact, sampled with intervals that cover, and of the moves made."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.sparse.linalg import aslinearoperator

import kpflow_numerics as kpf
from kpflow_numerics._validation import InputError, InputTypeError
from kpflow_numerics.analysis import _operator_cosines
from kpflow_numerics.training.optimizers import SGD
from tests.cases.cells import OWN_CASES, CellCase

RNN, GRU = CellCase(kpf.VanillaRNN(2, 4)), CellCase(kpf.GRU(2, 4))
READOUT = kpf.init_readout(4, 2, rng=61)


def rules_and_error(case: CellCase):
    lin = case.linearization()
    rules = kpf.learning_rules(
        lin, windows=(0, 2), chunks=(1,), readout=READOUT, rng=62,
        preconditioners={"half": {n: np.full(a.shape, 0.5) for n, a in case.params().items()}},
    )  # fmt: skip
    targets = np.random.default_rng(63).standard_normal((case.n_trials, case.n_steps, 2))
    return lin, rules, kpf.state_error(lin.trajectory, READOUT, targets)


def matrices(seed: int, n: int = 150) -> dict:
    """Return operators that are not self-adjoint, of low and of full rank, and a common part."""
    rng = np.random.default_rng(seed)
    scale = 0.8 ** np.arange(n)
    common = (rng.standard_normal((n, n)) * scale) @ rng.standard_normal((n, n)) / n
    own = {
        "low": (rng.standard_normal((n, n)) * scale**2) @ rng.standard_normal((n, n)) / n,
        "full": rng.standard_normal((n, n)) / np.sqrt(n),
    }
    return {"common": common, **{name: common + each for name, each in own.items()}}


def exact_cosine(A: np.ndarray, B: np.ndarray) -> float:
    return float(np.vdot(A, B) / (np.linalg.norm(A) * np.linalg.norm(B)))


@pytest.mark.parametrize("case", [RNN, GRU], ids=str)
def test_dense_alignments_are_those_of_the_matrices(case: CellCase) -> None:
    _, rules, _ = rules_and_error(case)
    found = kpf.learning_rule_alignments(rules)
    assert (found.method, found.n_matvecs) == ("dense", len(rules) * 60)
    dense = {name: rule.to_dense() for name, rule in rules.items()}
    for first in rules:
        for second in rules:
            estimate = found.alignment(first, second)
            assert estimate.is_exact
            assert estimate.value == pytest.approx(
                exact_cosine(dense[first], dense[second]), abs=1e-12
            )
    assert found.alignment("half").value == pytest.approx(1.0, abs=1e-12)
    assert found.states is None
    assert math.isnan(found.update_cosine("functional"))
    assert "truncated-2" in str(found)
    assert repr(found).startswith("LearningRuleAlignments(9 rules with bptt, dense, 540 products)")


def test_opposite_rules_are_told_apart_where_their_squares_are_not() -> None:
    A = np.random.default_rng(64).standard_normal((20, 20))
    rules = {"one": aslinearoperator(A), "other": aslinearoperator(-A)}
    found = kpf.learning_rule_alignments(rules, "one")
    assert found.alignment("other").value == pytest.approx(-1.0)
    assert kpf.alignment(A, -A).value == pytest.approx(1.0)


def test_intervals_cover() -> None:
    hits, total, spread = 0, 0, []
    rules = matrices(65)
    operators = {name: aslinearoperator(each) for name, each in rules.items()}
    pairs = [("common", "low"), ("common", "full"), ("low", "full")]
    for seed in range(100, 200):
        found = kpf.learning_rule_alignments(
            operators, "common", method="sampled", n_matvecs=40, rng=seed
        )
        assert found.n_matvecs == 3 * 40
        for first, second in pairs:
            estimate = found.alignment(first, second)
            truth = exact_cosine(rules[first], rules[second])
            hits += estimate.lower <= truth <= estimate.upper
            spread.append((estimate.value - truth) / estimate.standard_error)
            total += 1
    assert 0.90 <= hits / total <= 0.99
    assert abs(np.mean(spread)) < 0.25


def test_an_interval_of_half_the_width_would_not_cover() -> None:
    rules = matrices(65)
    operators = {name: aslinearoperator(each) for name, each in rules.items()}
    truth, hits = exact_cosine(rules["common"], rules["full"]), 0
    for seed in range(100, 160):
        found = kpf.learning_rule_alignments(
            operators, "common", method="sampled", n_matvecs=40, rng=seed
        ).alignment("full")
        half = (found.upper - found.lower) / 4
        hits += abs(found.value - truth) <= half
    assert hits / 60 < 0.9


def test_the_split_is_exact_where_the_basis_is_everything() -> None:
    rules = {name: aslinearoperator(each) for name, each in matrices(66, n=9).items()}
    sampled = kpf.learning_rule_alignments(rules, "low", method="sampled", n_matvecs=60, rng=7)
    dense = kpf.learning_rule_alignments(rules, "low", method="dense")
    np.testing.assert_allclose(sampled.operators, dense.operators, atol=1e-13)
    assert sampled.alignment("full").is_exact


def test_a_split_that_forgets_its_known_part_is_caught() -> None:
    rules = {name: aslinearoperator(each) for name, each in matrices(65).items()}
    found = _operator_cosines.sampled_inner_products(
        list(rules.values()), 40, np.random.default_rng(8)
    )
    truth = np.vdot(*(op @ np.eye(150) for op in (rules["common"], rules["low"])))
    whole = found.known + found.samples.mean(axis=0)
    assert whole[0, 1] == pytest.approx(truth, rel=0.1)
    assert abs(found.samples.mean(axis=0)[0, 1]) < 0.5 * truth


@pytest.mark.parametrize("case", [RNN, GRU], ids=str)
def test_moves_and_updates_of_the_error_at_hand(case: CellCase) -> None:
    lin, rules, error = rules_and_error(case)
    found = kpf.learning_rule_alignments(rules, errors=error)
    S, cell = kpf.Sensitivity(lin), case.cell
    gradient = S.apply_adjoint(error)

    def cosine(a, b):
        return np.vdot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b))

    for name, rule in rules.items():
        move = rule.apply(error)
        expected = cosine(move, S.apply(gradient))
        assert found.state_cosine(name) == pytest.approx(expected, abs=1e-12)
        if name == "functional":
            assert math.isnan(found.update_cosine(name))
            continue
        update = gradient if name == "bptt" else rule.update(error)
        np.testing.assert_allclose(S.apply(update), move, atol=1e-10 * np.abs(move).max())
        assert found.update_cosine(name) == pytest.approx(cosine(update, gradient), abs=1e-12)
    assert found.update_cosine("half") == pytest.approx(1.0)
    assert cell.n_parameters == len(gradient)


@pytest.mark.parametrize("seed", range(4))
def test_the_loss_falls_exactly_where_the_cosine_of_the_updates_is_positive(seed: int) -> None:
    lin, _, error = rules_and_error(GRU)
    trajectory, cell = lin.trajectory, GRU.cell
    feedback = 3.0 * kpf.random_feedback(lin, rng=seed)
    rules = {"bptt": kpf.TangentKernel(lin), "fa": kpf.FeedbackAlignment(lin, feedback)}
    found = kpf.learning_rule_alignments(rules, errors=error)
    targets = np.random.default_rng(63).standard_normal((3, 5, 2))

    def loss(params):
        traj = kpf.simulate(cell, params, trajectory.inputs, trajectory.h0)
        return np.mean((kpf.apply_readout(READOUT, traj.hidden) - targets) ** 2)

    update = cell.layout.unpack(rules["fa"].update(error))
    params, _ = SGD(1e-6).update(trajectory.params, update, {})
    assert (loss(params) < loss(trajectory.params)) == (found.update_cosine("fa") > 0)


def test_rules_may_have_errors_of_their_own() -> None:
    lin, rules, error = rules_and_error(RNN)
    rules = {name: rules[name] for name in ("bptt", "feedback-alignment")}
    targets = np.random.default_rng(63).standard_normal((3, 5, 2))
    through = np.random.default_rng(67).standard_normal((2, 4))
    own = kpf.state_error(lin.trajectory, READOUT, targets, feedback=through)
    outputs = kpf.apply_readout(READOUT, lin.trajectory.hidden)
    np.testing.assert_allclose(own, 2 / targets.size * (outputs - targets) @ through, rtol=1e-12)
    same = kpf.state_error(lin.trajectory, READOUT, targets, feedback=READOUT["weight"])
    np.testing.assert_array_equal(same, error)
    errors = {"bptt": error, "feedback-alignment": own}
    found = kpf.learning_rule_alignments(rules, errors=errors)
    shared = kpf.learning_rule_alignments(rules, errors=error)
    assert found.update_cosine("feedback-alignment") != shared.update_cosine("feedback-alignment")
    assert found.operators.tolist() == shared.operators.tolist()
    with pytest.raises(InputError, match=r"feedback must have shape \(2, 4\)"):
        kpf.state_error(lin.trajectory, READOUT, targets, feedback=np.eye(4))
    with pytest.raises(InputError, match="errors lacks 'feedback-alignment'; give one array"):
        kpf.learning_rule_alignments(rules, errors={"bptt": error})


def test_which_rules_there_are() -> None:
    lin = RNN.linearization()
    rules = kpf.learning_rules(lin, windows=(0, 3), chunks=(2,), readout=READOUT)
    assert list(rules) == [
        "bptt", "truncated-0", "truncated-3", "chunks-2", "feedback-alignment", "functional",
        "gauss-newton", "gauss-newton-outputs",
    ]  # fmt: skip
    assert isinstance(rules["bptt"], kpf.TangentKernel)
    assert isinstance(rules["functional"], kpf.PropagatorGram)
    largest = np.linalg.eigvalsh(rules["bptt"].to_dense())[-1]
    assert rules["gauss-newton"].damping == pytest.approx(0.01 * largest, rel=1e-3)
    given = np.eye(4)
    chosen = kpf.learning_rules(lin, feedback=given, windows=())["feedback-alignment"]
    np.testing.assert_array_equal(chosen.feedback, given)
    own = OWN_CASES[0].linearization()
    assert "feedback-alignment" not in kpf.learning_rules(own)
    with pytest.raises(InputError, match="must be of a cell with weight sites"):
        kpf.learning_rules(own, feedback=given)
    ones = {name: np.ones(array.shape) for name, array in RNN.params().items()}
    with pytest.raises(InputError, match="preconditioners has an entry 'bptt', which is a rule al"):
        kpf.learning_rules(lin, preconditioners={"bptt": ones})
    with pytest.raises(InputError, match="damping must be finite and greater than 0"):
        kpf.learning_rules(lin, damping=0.0)


def test_what_comparisons_refuse() -> None:
    _, rules, error = rules_and_error(RNN)
    with pytest.raises(InputTypeError, match="rules must map names to operators"):
        kpf.learning_rule_alignments(list(rules.values()))
    with pytest.raises(InputError, match="reference must be one of 'bptt', 'truncated-0'"):
        kpf.learning_rule_alignments(rules, "adam")
    with pytest.raises(InputError, match="method must be one of 'auto', 'dense', 'sampled'"):
        kpf.learning_rule_alignments(rules, method="exact")
    with pytest.raises(InputTypeError, match=r"rules\['x'\] must be a scipy.sparse.linalg.Linear"):
        kpf.learning_rule_alignments({"bptt": rules["bptt"], "x": np.eye(60)})
    with pytest.raises(InputError, match="equal shape .*; 'bptt' has 60 rows, 'x' the shape"):
        kpf.learning_rule_alignments({"bptt": rules["bptt"], "x": aslinearoperator(np.eye(3))})
    with pytest.raises(InputError, match="The alignment is not defined: the rule 'x' is zero"):
        kpf.learning_rule_alignments(
            {"bptt": rules["bptt"], "x": aslinearoperator(np.zeros((60, 60)))}
        )
    with pytest.raises(InputError, match="errors must not be zero: no rule moves anything then"):
        kpf.learning_rule_alignments(rules, errors=0 * error)
    with pytest.raises(InputError, match=r"errors must have shape \(3, 5, 4\)"):
        kpf.learning_rule_alignments(rules, errors=error[1:])
    with pytest.raises(InputError, match="n_matvecs must be at least 12"):
        kpf.learning_rule_alignments(rules, n_matvecs=5)
    with pytest.raises(InputError, match="the name of a rule must be one of"):
        kpf.learning_rule_alignments(rules).alignment("sgd")


def test_the_preconditioner_of_adam_is_its_denominator() -> None:
    rng, params = np.random.default_rng(68), RNN.params()
    optimizer = kpf.Adam(1e-3, beta1=0.0, beta2=0.9, epsilon=1e-3)
    joined = params | {"readout/weight": READOUT["weight"]}
    state = optimizer.init_state(joined)
    with pytest.raises(InputError, match="must be of at least one step"):
        kpf.adam_preconditioner(optimizer, state)
    for _ in range(3):
        gradient = {name: rng.standard_normal(array.shape) for name, array in joined.items()}
        before, (joined, state) = joined, optimizer.update(joined, gradient, state)
    M = kpf.adam_preconditioner(optimizer, state)
    assert set(M) == set(params)
    for name, diagonal in M.items():
        step = before[name] - joined[name]
        np.testing.assert_allclose(1e-3 * diagonal * gradient[name], step, rtol=1e-9)
    with pytest.raises(InputTypeError, match="optimizer must be an Adam; got SGD"):
        kpf.adam_preconditioner(SGD(0.1), state)
    with pytest.raises(InputTypeError, match="must be what Adam.update returned"):
        kpf.adam_preconditioner(optimizer, {})
