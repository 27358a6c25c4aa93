"""Analyses and runs with known numbers, to draw and to report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kpflow_numerics.analysis import CheckpointInterference, FailureSign
from kpflow_numerics.analysis.checkpoint import DEFAULT_RECIPES, NetworkAnalysis, OperatorRank
from kpflow_numerics.analysis.quantities import OperatorQuantity
from kpflow_numerics.cells import VanillaRNN
from kpflow_numerics.results import Checkpoint, Estimate
from kpflow_numerics.tasks import MemoryPro, Task, TrialBatch

TASK = MemoryPro(n_stimulus=4, n_memory=3, n_response=5)


def estimate(value: float, lower: float | None = None, upper: float | None = None, **fields: Any):
    """Return an exact estimate, or one with certified bounds, or with other fields."""
    exact = lower is None
    return Estimate(
        **{
            "value": value,
            "lower": value if lower is None else lower,
            "upper": value if upper is None else upper,
            "standard_error": 0.0,
            "method": "exact" if exact else "bounds",
            "n_matvecs": 0 if exact else 123,
            **fields,
        }
    )


def make_analysis(
    iteration: int = 0, task: Task = TASK, n_trials: int = 6, seed: int = 31, **changes: Any
) -> NetworkAnalysis:
    """Return an analysis whose numbers follow from its iteration and seed."""
    generator = np.random.default_rng([seed, iteration])
    growth = 1.0 + iteration / 100
    ranks = [
        OperatorRank("K", recipe, estimate(growth * (1.25 + place)))
        for place, recipe in enumerate(DEFAULT_RECIPES["K"])
    ]
    ranks.append(OperatorRank("P", "participation-ratio", estimate(300.0 / growth)))
    bracket = estimate(3.5 * growth, 3.25 * growth, 4.125 * growth)
    ranks.append(OperatorRank("NTK", "participation-ratio", bracket))
    courses = generator.standard_normal((2, 3, n_trials, task.n_steps))
    fields = {
        "iteration": iteration,
        "evaluation_loss": 0.5 / growth,
        "accuracy": 1.0 - 0.75 / growth,
        "ranks": tuple(ranks),
        "spectra": {
            "K": 40.0 * 0.7 ** np.arange(20.0),
            "P": 9.0 * 0.9 ** np.arange(20.0),
            "NTK": 700.0 * 0.5 ** np.arange(20.0),
        },
        "complete": {"K": True, "P": True, "NTK": True},
        "methods": {"K": "exact", "P": "block-krylov", "NTK": "block-krylov"},
        "modes": {"K": courses[0], "NTK": courses[1]},
        "mode_fractions": {"K": np.array([1.0, 1.0, 0.5]), "NTK": np.array([0.875, 0.75, 0.625])},
        "principal_components": generator.standard_normal((n_trials, task.n_steps, 3)),
        "explained_variance": np.array([0.5, 0.25, 0.125]),
        "n_products": {"K": 11, "P": 222, "NTK": 3333},
        "quantities": (
            OperatorQuantity("trace", ("K",), estimate(40.5 * growth)),
            OperatorQuantity("alignment", ("K", "P"), estimate(0.25 / growth)),
            OperatorQuantity(
                "alignment",
                ("P", "NTK"),
                estimate(0.5, 0.4375, 0.5625, standard_error=0.03125, confidence=0.95),
            ),
        ),
    }
    return NetworkAnalysis(**(fields | changes))


def make_interference(
    iteration: int = 0, names: tuple[str, ...] = ("pro", "anti", "delay"), seed: int = 33
) -> CheckpointInterference:
    """Return an interference of tasks whose numbers follow from its iteration and seed."""
    generator = np.random.default_rng([seed, iteration])
    count = len(names)

    def drawn() -> np.ndarray:
        columns = generator.standard_normal((4, count))
        columns /= np.linalg.norm(columns, axis=0)
        return columns.T @ columns

    parts = {name: 2.0 * drawn() for name in ("weight_hh", "weight_ih", "readout/weight")}
    return CheckpointInterference(
        names, parts["weight_hh"] + parts["weight_ih"], parts, drawn(), drawn(), drawn(), drawn()
    )


def make_exponents(n_units: int = 7) -> dict[str, np.ndarray]:
    """Return Lyapunov exponents with intervals, the last minus infinity."""
    exponents = 0.125 - 0.25 * np.arange(float(n_units))
    errors = np.full(n_units, 0.0625)
    exponents[-1], errors[-1] = -np.inf, np.nan
    return {
        "exponents": exponents,
        "lower": exponents - 2 * errors,
        "upper": exponents + 2 * errors,
        "standard_errors": errors,
    }


@dataclass
class FakeRun:
    """What a run file offers to readers, in memory."""

    task: Task = TASK
    n_trials: int = 6
    iterations: tuple[int, ...] = (0, 20, 40)
    losses: np.ndarray = field(default_factory=lambda: np.linspace(0.9, 0.1, 40))
    validation: Any = None
    analyses: list[NetworkAnalysis] = field(default_factory=list)
    signs: tuple[FailureSign, ...] = ()

    def __post_init__(self) -> None:
        self.cell = VanillaRNN(n_inputs=self.task.n_inputs, n_units=7)
        if not self.analyses:
            self.analyses = [
                make_analysis(iteration, self.task, self.n_trials) for iteration in self.iterations
            ]
        self.config = {"task": {"name": self.task.name}, "training": {"seed": 8, "note": "a<b>&c"}}
        self.provenance = {"numpy": np.__version__, "threads": 2}

    @property
    def evaluation_batch(self) -> TrialBatch:
        return self.task.evaluation_batch(self.n_trials)

    @property
    def n_checkpoints(self) -> int:
        return len(self.analyses)

    def checkpoint(self, index: int) -> Checkpoint:
        analysis = self.analyses[index]
        return Checkpoint(
            iteration=analysis.iteration,
            params={},
            readout={},
            loss=analysis.evaluation_loss,
            evaluation_loss=analysis.evaluation_loss,
            accuracy=analysis.accuracy,
            gradient_norm=1.0,
            optimizer_state={},
            rng_state="",
        )
