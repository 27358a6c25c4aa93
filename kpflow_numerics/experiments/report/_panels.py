"""The figures of a report: one panel each, so that they can be read on a phone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from ... import plotting
from ...analysis.activity_quantities import CENTRED_COSINE, COSINE, MODE_SHARE
from ...analysis.output_quantities import OUTPUT_RANK
from ...plotting._rank_dynamics import PUBLISHED
from ._section import measured

MEANINGS = {
    COSINE: "Cosine of the tangent kernel and of K, averaged over units, with the core V V* of "
    "what the weights multiply; the control is a matrix of ones, which knows nothing of the "
    "network: only what lies above the dotted lines tells of the core.",
    CENTRED_COSINE: "The same cosines when the means of rows and columns are taken away, so that "
    "matrices of ones would have none.",
    MODE_SHARE: "Share of the move of the states dh = P K P* err in the five leading modes of the "
    "activity V (fewer where it has no five); the controls are the moves of random errors, of the "
    "states and of the outputs: where theirs is as large, the bias is of K and not of the error.",
}
"""What some quantities are and what their controls are, a sentence each."""

_CONTROLLED = {
    "Core against kernel": (COSINE, CENTRED_COSINE),
    "Self-referential bias": (MODE_SHARE,),
}


@dataclass(frozen=True)
class Panel:
    """A figure that is drawn when it is asked for.

    Attributes
    ----------
    caption : str
        Stands below the figure.
    draw : callable
        Returns the Axes.
    """

    caption: str
    draw: Callable[[], Any]

    def svg(self, prefix: str) -> str:
        """Return the figure as SVG, its ids beginning with the prefix."""
        return plotting.inline_svg(self.draw().get_figure(), prefix, self.caption)


def report_panels(run: Any) -> dict[str, list[Panel]]:
    """Return the panels of a run under the headings of the report.

    Parameters
    ----------
    run : RunFile
        An open run file with at least one analysis.

    Returns
    -------
    dict of str to list of Panel
    """
    record = plotting.read_record(run)
    headings: dict[str, list[Panel]] = {}
    if len(run.losses):
        headings["Training"] = _training(plotting.read_history(run), run.task.accuracy_meaning)
    if len(record.analyses) > 1:
        headings["Ranks over training"] = _ranks(record)
    if len(record.analyses) > 1 and _holds(record, "alignment"):
        headings["Alignments over training"] = [
            Panel(
                "Alignment tr(A B) / (|A| |B|) of each two of K, P P* and NTK; 1 where they are "
                "proportional. Bars and bands as for the ranks.",
                lambda: plotting.quantity_dynamics(record),
            )
        ]
    if len(record.analyses) > 1 and _holds(record, OUTPUT_RANK):
        headings["Kernel of the outputs"] = [
            Panel(
                "Effective rank (participation ratio) of the tangent kernel of the outputs: moved "
                "by the cell's parameters alone, and by the readout's besides. Bars and bands as "
                "for the ranks.",
                lambda: plotting.quantity_dynamics(record, name=OUTPUT_RANK),
            )
        ]
    for heading, controlled in _CONTROLLED.items():
        held = [name for name in controlled if _holds(record, name)]
        if len(record.analyses) > 1 and held:
            headings[heading] = [
                Panel(MEANINGS[name], partial(plotting.quantity_dynamics, record, name=name))
                for name in held
            ]
    if record.analyses[-1].lyapunov:
        headings["Lyapunov exponents"] = _over_training(
            record, plotting.lyapunov_spectrum, "Finite-time Lyapunov exponents"
        )
    spectra = record.analyses[-1].spectra
    if spectra:
        names = [measured(name) for name in spectra]
        headings["Spectra"] = _over_training(
            record, plotting.spectra, f"Leading eigenvalues of {' and '.join(names)}"
        )
    modes = _modes(record)
    if modes:
        headings[f"Leading modes at iteration {record.analyses[-1].iteration}"] = modes
    headings["Hidden states"] = _over_training(
        record,
        plotting.trajectories,
        "Hidden states along their two leading principal components, a line a trial,",
    )
    return headings


def _holds(record: plotting.Record, quantity: str) -> bool:
    return any(entry.name == quantity for each in record.analyses for entry in each.quantities)


def _training(history: plotting.History, accuracy_meaning: str) -> list[Panel]:
    panels = [
        Panel(
            "Loss on training batches and on the evaluation trials.",
            lambda: plotting.loss(history),
        )
    ]
    if history.has_accuracy:
        panels.append(Panel(f"Accuracy: {accuracy_meaning}.", lambda: plotting.accuracy(history)))
    return panels


def _ranks(record: plotting.Record) -> list[Panel]:
    panels = [
        Panel(
            "Effective ranks of K, P P* and NTK over training (participation ratios). Solid bars "
            "and bands are certain bounds; dashed bars and lighter bands are intervals of the "
            "probability that the key names; what has neither is exact.",
            lambda: plotting.rank_dynamics(record),
        )
    ]
    held = {entry.recipe for entry in record.analyses[-1].ranks if entry.operator == "K"}
    if len(held) > 1:
        panels.append(
            Panel(
                "Effective rank of K over training by several recipes, each named in the key.",
                lambda: plotting.rank_recipes(record),
            )
        )
    if any(entry.recipe == PUBLISHED for each in record.analyses for entry in each.ranks):
        panels.append(
            Panel(
                "The recipe of the published Figure 4 (arXiv:2507.06381), to compare with it: 95 % "
                "of sigma^4, cut off at two thirds of the steps, of A A* averaged over units and "
                "four trials. It is no rank of the operator.",
                lambda: plotting.rank_dynamics(record, recipe=PUBLISHED),
            )
        )
    return panels


def _over_training(record: plotting.Record, draw: Callable[..., Any], caption: str) -> list[Panel]:
    """Return a panel for the first and the last analysis, or for the only one."""
    ends = (0, -1) if len(record.analyses) > 1 else (-1,)
    return [
        Panel(
            f"{caption} at iteration {record.analyses[index].iteration}.",
            lambda index=index: draw(record, index=index),  # type: ignore[misc]
        )
        for index in ends
    ]


def _modes(record: plotting.Record) -> list[Panel]:
    last = record.analyses[-1]
    panels = []
    for operator in ("NTK", "K"):
        for mode, share in enumerate(last.mode_fractions.get(operator, ())):
            panels.append(_mode_panel(record, operator, mode, 100.0 * float(share)))
    return panels


def _mode_panel(record: plotting.Record, operator: str, mode: int, percent: float) -> Panel:
    return Panel(
        f"Mode {mode + 1} of {operator} over time, a line a trial: the course of its units that "
        f"explains most of it, {percent:.3g} % of its squared norm.",
        lambda: plotting.modes(record, operator=operator, mode=mode),
    )
