"""Checkpoints, analyses and reports that a run file must give back bit by bit."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from pathlib import Path

import numpy as np

import kpflow_numerics as kpf
from kpflow_numerics.analysis.checkpoint import NetworkAnalysis, OperatorRank
from kpflow_numerics.analysis.checkpoint_interference import CheckpointInterference
from kpflow_numerics.analysis.quantities import OperatorQuantity
from kpflow_numerics.results import Check, Checkpoint, Cost, Estimate, ValidationReport

TASK = kpf.MemoryPro(n_stimulus=2, n_memory=1, n_response=2)
CELL = kpf.GRU(n_inputs=3, n_units=4)


def make_checkpoint(
    iteration: int, cell: kpf.cells.Cell = CELL, dtype: str = "float64"
) -> Checkpoint:
    """Return a checkpoint whose every number follows from its iteration."""
    rng = np.random.default_rng([77, iteration])

    def draw(shape: tuple[int, ...]) -> np.ndarray:
        return rng.standard_normal(shape).astype(dtype)

    params = {name: draw(shape) for name, shape in cell.parameter_shapes.items()}
    readout = {"weight": draw((2, cell.n_units)), "bias": draw((2,))}
    moments = {
        f"{moment}/{name}": draw(array.shape)
        for moment in ("first_moment", "second_moment")
        for name, array in (params | {f"readout/{k}": v for k, v in readout.items()}).items()
    }
    return Checkpoint(
        iteration=iteration,
        params=params,
        readout=readout,
        loss=float(rng.random()),
        evaluation_loss=float(rng.random()),
        accuracy=float(rng.random()),
        gradient_norm=float(rng.random()),
        optimizer_state={"step": np.array(float(iteration)), **moments},
        rng_state='{"state": ' + str(rng.integers(2**60)) + "}" * (iteration % 3),
    )


def make_analysis(iteration: int, *, n_trials: int = 6, bare: bool = False) -> NetworkAnalysis:
    """Return an analysis with all that one may hold, or as little as one may."""
    rng = np.random.default_rng([78, iteration])
    shape = (n_trials, TASK.n_steps)
    recipes = {"K": ("participation-ratio", "entropy"), "NTK": ("participation-ratio",)}
    ranks = [] if bare else [
        OperatorRank(operator, recipe, _estimate(rng, operator, recipe))
        for operator, names in recipes.items()
        for recipe in names
    ]  # fmt: skip
    if not bare and iteration % 2:
        ranks.insert(1, OperatorRank("P", "stable", Estimate(2.5, 2.5, 2.5, 0.0, "exact", 0)))
    return NetworkAnalysis(
        iteration=iteration,
        evaluation_loss=np.nan if bare else float(rng.random()),
        accuracy=np.nan if bare else float(rng.random()),
        ranks=tuple(ranks),
        spectra={} if bare else {
            "K": rng.random(5 + iteration % 3), "P": rng.random(3), "NTK": np.array([])
        },
        complete={} if bare else {"K": True, "P": False, "NTK": True},
        methods={} if bare else {"K": "exact", "P": "block-krylov", "NTK": "gram"},
        modes={} if bare else {
            "K": rng.standard_normal((3, *shape)), "NTK": rng.standard_normal((2, *shape))
        },
        mode_fractions={} if bare else {"K": rng.random(3), "NTK": rng.random(2)},
        principal_components=rng.standard_normal((*shape, 3)),
        explained_variance=rng.random(3),
        n_products={} if bare else {"K": 0, "P": 480, "NTK": 17},
        quantities=() if bare else (
            OperatorQuantity("alignment", ("K", "NTK"), _estimate(rng, "NTK", "")),
            *([OperatorQuantity("trace", ("K",), _estimate(rng, "K", ""))] * (iteration % 4 > 0)),
            OperatorQuantity("Kaplan-Yorke dimension", (), _estimate(rng, "NTK", "")),
        ),
        lyapunov={} if bare or iteration % 2 == 0 else {
            name: rng.standard_normal(4)
            for name in ("exponents", "lower", "upper", "standard_errors")
        },
        interference=None if bare or iteration % 3 == 1 else make_interference(rng),
    )  # fmt: skip


def make_interference(rng: np.random.Generator) -> CheckpointInterference:
    """Return the interference of two tasks, one of which may have no direction."""
    gradients = {name: rng.standard_normal((5, 2)) for name in ("weight_hh", "readout/bias")}
    parts = {name: columns.T @ columns for name, columns in gradients.items()}
    drawn = {
        name: rng.uniform(-1, 1, (2, 2))
        for name in (
            "contribution_cosines", "accumulated_contribution_cosines",
            "output_contribution_cosines", "state_similarity",
        )
    }  # fmt: skip
    drawn["state_similarity"][0] = np.nan
    return CheckpointInterference(("pro", "anti – 2"), parts["weight_hh"], parts, **drawn)


def _estimate(rng: np.random.Generator, operator: str, recipe: str) -> Estimate:
    value = float(rng.random()) + 1
    if operator == "K":
        return Estimate(value, value, value, 0.0, "exact", 0, recipe=recipe, cost=Cost(1e6, 2e3))
    return Estimate(
        value, value - 0.5, value + 0.25, 0.125, "hutch++", 60, "effective rank", recipe, 0.95
    )


def make_report(*, passed: bool = True) -> ValidationReport:
    """Return a validation report, with a check that failed if asked to."""
    checks = (
        Check("adjoint of P", "<P x, y> = <x, P* y>", 1e-16, 1e-14, True, "Five pairs."),
        Check("central equation", "dh = -eta P K P* err", 1.9, 2.1, passed, "Slope of – the rest."),
    )
    return ValidationReport(checks, passed, "GRU on 6 trials", ("Without autograd.",))


def assert_equal_results(left: object, right: object, where: str = "") -> None:
    """Fail unless two results agree in every bit, type and order; NaN equals NaN."""
    assert type(left) is type(right), f"{where}: {type(left)} and {type(right)}"
    if is_dataclass(left):
        for field in fields(left):
            name = f"{where}.{field.name}"
            assert_equal_results(getattr(left, field.name), getattr(right, field.name), name)
    elif isinstance(left, dict):
        assert sorted(left) == sorted(right), where
        for key in left:
            assert_equal_results(left[key], right[key], f"{where}[{key!r}]")
    elif isinstance(left, tuple):
        assert len(left) == len(right), where
        for place, pair in enumerate(zip(left, right, strict=True)):
            assert_equal_results(*pair, f"{where}[{place}]")
    elif isinstance(left, np.ndarray):
        assert (left.dtype, left.shape) == (right.dtype, right.shape), where
        assert left.tobytes() == right.tobytes(), where
    else:
        assert left == right or (left != left and right != right), f"{where}: {left!r} {right!r}"


def of_characters(path: Path) -> Path:
    """Train a few iterations on a task whose loss is the cross-entropy, into a file."""
    task = kpf.Characters("abcab bca cab. " * 30, n_steps=5)
    kpf.train(
        kpf.GRU(task.n_inputs, 5), task, n_iterations=4, batch_size=6, checkpoint_every=4,
        evaluation_trials=3, rng=7, store=path,
    )  # fmt: skip
    return path
