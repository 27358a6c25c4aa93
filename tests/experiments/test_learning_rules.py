"""Learning rules over the checkpoints of a run file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics._validation import InputError
from tests.cases.runs import of_characters

TASK = kpf.MemoryPro(n_stimulus=2, n_memory=1, n_response=2)


def trained(path: Path, optimizer: kpf.training.optimizers.Optimizer) -> Path:
    kpf.train(
        kpf.GRU(3, 5), TASK, n_iterations=8, batch_size=6, checkpoint_every=4,
        evaluation_trials=3, optimizer=optimizer, rng=7, store=path,
    )  # fmt: skip
    return path


def test_each_checkpoint_is_compared_as_by_hand(tmp_path: Path) -> None:
    optimizer = kpf.Adam(0.01, beta2=0.9, epsilon=1e-4)
    path = trained(tmp_path / "run.h5", optimizer)
    found = kpf.learning_rule_dynamics(path, n_checkpoints=3, windows=(0, 2), chunks=(1,), rng=9)
    assert found.iterations == (0, 4, 8)
    assert "adam" not in found.alignments[0].names
    assert [iteration for iteration, _ in found.course("adam", "updates")] == [4, 8]
    assert found.course("functional", "updates") == []
    assert repr(found) == "LearningRuleDynamics(9 rules at iterations 0, 4, 8)"
    with kpf.RunFile.open(path) as file:
        batch, networks = file.evaluation_batch, [file.checkpoint(i) for i in range(3)]
    feedback = None
    for network, alignments, damping in zip(
        networks, found.alignments, found.dampings, strict=True
    ):
        traj = kpf.simulate(kpf.GRU(3, 5), network.params, batch.inputs)
        lin = kpf.linearize(traj)
        if feedback is None:
            feedback = kpf.random_feedback(lin, rng=np.random.SeedSequence([9, 0]))
        rules = {
            "bptt": kpf.TangentKernel(lin),
            "truncated-2": kpf.TruncatedBPTT(lin, 2),
            "feedback-alignment": kpf.FeedbackAlignment(lin, feedback),
            "gauss-newton": kpf.GaussNewton(lin, damping["gauss-newton"]),
        }
        if network.iteration:
            M = kpf.adam_preconditioner(optimizer, network.optimizer_state)
            rules["adam"] = kpf.PreconditionedKernel(lin, M)
        error = kpf.state_error(traj, network.readout, batch.targets, mask=batch.mask)
        expected = kpf.learning_rule_alignments(rules, errors=error)
        for name in rules:
            assert alignments.alignment(name).value == pytest.approx(expected.alignment(name).value)
            for which in ("state_cosine", "update_cosine"):
                assert getattr(alignments, which)(name) == pytest.approx(
                    getattr(expected, which)(name)
                )
    assert found.evaluation_losses == tuple(network.evaluation_loss for network in networks)


def test_other_optimisers_trials_and_errors(tmp_path: Path) -> None:
    path = trained(tmp_path / "run.h5", kpf.SGD(0.01))
    found = kpf.learning_rule_dynamics(path, n_checkpoints=1, n_trials=2, feedback_gain=0.5)
    assert found.iterations == (8,)
    assert "adam" not in found.names
    assert found.alignments[0].n_matvecs == len(found.names) * 2 * 5 * 5
    again = kpf.learning_rule_dynamics(path, n_checkpoints=1, n_trials=2, feedback_gain=0.5)
    assert found.alignments[0].operators.tolist() == again.alignments[0].operators.tolist()
    with pytest.raises(InputError, match="the name of a rule must be one of"):
        found.course("adam")
    with pytest.raises(InputError, match="quantity must be one of 'operators', 'states', 'updates"):
        found.course("bptt", "moves")
    with pytest.raises(InputError, match="feedback_gain must be finite and at least 0"):
        kpf.learning_rule_dynamics(path, feedback_gain=-1.0)


def alignments_with(path: Path, loss: kpf.training.losses.Loss) -> kpf.LearningRuleAlignments:
    """Return what the first checkpoint of a file must give with a loss."""
    with kpf.RunFile.open(path) as file:
        batch, network, cell = file.evaluation_batch, file.checkpoint(0), file.cell
    trajectory = kpf.simulate(cell, network.params, batch.inputs)
    lin = kpf.linearize(trajectory)
    rules = {"bptt": kpf.TangentKernel(lin), "truncated-1": kpf.TruncatedBPTT(lin, 1)}
    error = kpf.state_error(trajectory, network.readout, batch.targets, mask=batch.mask, loss=loss)
    return kpf.learning_rule_alignments(rules, errors=error)


@pytest.mark.parametrize("dropped", [False, True])
def test_errors_are_those_of_the_loss_of_the_task(
    dropped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = of_characters(tmp_path / "run.h5")
    if dropped:

        def state_error(*arguments: Any) -> Any:
            trajectory, readout, batch = arguments
            squares = kpf.MeanSquaredError()
            return kpf.state_error(
                trajectory, readout, batch.targets, mask=batch.mask, loss=squares
            )

        monkeypatch.setattr("kpflow_numerics.experiments.learning_rules.state_error", state_error)
    found = kpf.learning_rule_dynamics(path, windows=(1,), chunks=(), rng=9).alignments[0]
    right, squares = (
        alignments_with(path, loss) for loss in (kpf.CrossEntropy(), kpf.MeanSquaredError())
    )
    expected, other = (squares, right) if dropped else (right, squares)
    assert found.update_cosine("truncated-1") == pytest.approx(
        expected.update_cosine("truncated-1"), rel=1e-9
    )
    assert found.update_cosine("truncated-1") != pytest.approx(
        other.update_cosine("truncated-1"), rel=1e-4
    )
