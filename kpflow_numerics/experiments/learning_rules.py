"""Learning rules beside each other over the training of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .._typing import FloatArray
from .._validation import check_integer, check_real
from ..analysis import (
    LearningRuleAlignments,
    LearningRuleDynamics,
    adam_preconditioner,
    learning_rule_alignments,
    learning_rules,
)
from ..linearization import linearize
from ..operators import GaussNewton, random_feedback
from ..results import Checkpoint
from ..store import RunFile
from ..training import Adam, state_error
from ..training.optimizers import optimizer_from_config
from ..trajectory import simulate
from .analyze import _equally_spaced
from .progress import Progress, Silent


def learning_rule_dynamics(
    path: str | Path,
    *,
    n_checkpoints: int = 6,
    n_trials: int | None = None,
    windows: Sequence[int] = (0, 10),
    chunks: Sequence[int] = (),
    feedback_gain: float = 1.0,
    damping: float = 0.01,
    n_matvecs: int = 120,
    max_memory: float = 4 * 2**30,
    rng: int = 0,
    progress: Progress | None = None,
) -> LearningRuleDynamics:
    """Compare learning rules at checkpoints of a run.

    Every rule is taken at the networks that the run's own rule has found: how alike the steps are
    that different rules would make from there, not where each would have led.

    Parameters
    ----------
    path : str or Path
        The run file, which is only read.
    n_checkpoints : int
        How many checkpoints, equally spaced among those in the file, the first and last included.
    n_trials : int, optional
        Evaluation trials that the operators are built on; those of the file by default.
    windows, chunks : sequence of int
        Windows of truncated backpropagation, as :func:`learning_rules` takes them.
    feedback_gain : float
        Scale of the feedback weights, which are drawn once and the same at all checkpoints.
    damping : float
        Of Gauss-Newton, as a share of the largest eigenvalue at the checkpoint.
    n_matvecs : int
        Products of the estimates with each rule.
    max_memory : float
        Bytes that a computation may take.
    rng : int
        Seed of the feedback weights and of the estimates.
    progress : Progress, optional
        Shows how far the comparison is.

    Returns
    -------
    LearningRuleDynamics
        With the rule ``"adam"`` where the run was trained by it and a step was made.

    Raises
    ------
    InputError
        If the file cannot be used.

    Examples
    --------
    >>> import os, tempfile
    >>> import kpflow_numerics as kpf
    >>> path = os.path.join(tempfile.mkdtemp(), "run.h5")
    >>> task = kpf.MemoryPro(n_stimulus=2, n_memory=1, n_response=2)
    >>> run = kpf.train(kpf.VanillaRNN(3, 8), task, n_iterations=20, batch_size=8,
    ...                 checkpoint_every=10, evaluation_trials=4, rng=7, store=path)
    >>> found = kpf.learning_rule_dynamics(path, n_checkpoints=2, windows=(0, 2))
    >>> found.iterations, len(found.course("truncated-2")), len(found.course("adam"))
    ((0, 20), 2, 1)
    """
    n_checkpoints = check_integer(n_checkpoints, "n_checkpoints")
    feedback_gain = check_real(feedback_gain, "feedback_gain", minimum=0.0)
    seed = check_integer(rng, "rng", minimum=0)
    shown = Silent() if progress is None else progress
    found: list[tuple[Checkpoint, LearningRuleAlignments, dict[str, float]]] = []
    with RunFile.open(path) as file:
        batch = file.evaluation_batch
        if n_trials is not None and n_trials != batch.n_trials:
            batch = file.task.evaluation_batch(n_trials)
        optimizer = _adam(file.config)
        chosen = _equally_spaced(file.n_checkpoints, n_checkpoints)
        with shown.stage("learning rules", len(chosen)) as stage:
            for index in chosen:
                network = file.checkpoint(index)
                linearization = linearize(simulate(file.cell, network.params, batch.inputs))
                rules = learning_rules(
                    linearization,
                    windows=windows,
                    chunks=chunks,
                    feedback=_feedback(linearization, feedback_gain, seed),
                    damping=damping,
                    readout=network.readout,
                    preconditioners=_preconditioners(optimizer, network),
                    max_memory=max_memory,
                    rng=np.random.SeedSequence([seed, 1]),
                )
                error = state_error(linearization.trajectory, network.readout, batch)
                alignments = learning_rule_alignments(
                    rules,
                    errors=error,
                    n_matvecs=n_matvecs,
                    rng=np.random.SeedSequence([seed, 2]),
                )
                dampings = {
                    name: rule.damping
                    for name, rule in rules.items()
                    if isinstance(rule, GaussNewton)
                }
                found.append((network, alignments, dampings))
                stage.advance(note=f"iteration {network.iteration}")
    networks, alignments_of, dampings_of = zip(*found, strict=True)
    return LearningRuleDynamics(
        iterations=tuple(network.iteration for network in networks),
        evaluation_losses=tuple(network.evaluation_loss for network in networks),
        alignments=alignments_of,
        dampings=dampings_of,
    )


def _feedback(linearization: Any, gain: float, seed: int) -> FloatArray | None:
    if linearization.weight_sites is None:
        return None
    return random_feedback(linearization, gain=gain, rng=np.random.SeedSequence([seed, 0]))


def _adam(config: dict[str, Any]) -> Adam | None:
    """Return the optimiser that a run's configuration names, if it is Adam."""
    table = config.get("training", {})
    if table.get("optimizer") != Adam.name:
        return None
    known = ("learning_rate", "beta1", "beta2", "epsilon")
    options = {key: table[key] for key in known if key in table}
    optimizer = optimizer_from_config(Adam.name, options)
    return optimizer if isinstance(optimizer, Adam) else None


def _preconditioners(optimizer: Adam | None, network: Checkpoint) -> dict[str, Any]:
    if optimizer is None or float(network.optimizer_state.get("step", 0.0)) < 1:
        return {}
    return {"adam": adam_preconditioner(optimizer, network.optimizer_state)}
