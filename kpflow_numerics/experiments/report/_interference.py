"""Interference of tasks: what learning one does to the others, and how alike their states are."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial

import numpy as np

from ... import plotting
from ...analysis import CheckpointInterference, NetworkAnalysis
from ._html import Markup, element, table
from ._panels import Panel
from ._section import Section, Subject

_MOST_MATRICES = 6
_MOST_PAIRS = 15


def interference_sections(subject: Subject) -> Iterator[Section]:
    """Yield the section of a run of several tasks, or of one analysed by conditions."""
    held = [analysis for analysis in subject.analyses if analysis.interference is not None]
    if held:
        yield Section("Interference", [_explanation(), _pairs(held), _figures(held)])


def _explanation() -> Markup:
    return element(
        "p",
        "The tangent kernel couples the tasks: a small step of gradient descent on one changes the "
        "loss of another by minus the inner product of their gradients, ",
        element("code", "err_i* NTK err_j"),
        ", which is exact. A cosine below zero is interference, one near 1 means that the two are "
        "learned together. All numbers are of the mean loss over the evaluation trials, and of "
        "plain gradient descent, whatever the optimiser.",
    )


def _pairs(held: list[NetworkAnalysis]) -> Markup:
    results = [each.interference for each in held if each.interference is not None]
    last = results[-1]
    gradients = np.array([result.cosines for result in results])
    pairs = list(itertools.combinations(range(len(last.names)), 2))
    pairs.sort(key=lambda pair: np.nan_to_num(last.cosines[pair], nan=2.0))
    rows = [_row(last, gradients[(slice(None), *pair)], pair) for pair in pairs[:_MOST_PAIRS]]
    caption = (
        f"Cosines between two tasks, from iteration {held[0].iteration} to {held[-1].iteration}: "
        "the first, least and last of their gradients by the cell's parameters; at the last "
        "iteration also those of the gradients by all parameters, of the moves of the states then "
        "and accumulated, of the moves of the outputs, and of the mean states."
    )
    if len(pairs) > _MOST_PAIRS:
        caption += f" The {_MOST_PAIRS} least of {len(pairs)} pairs."
    return table(
        [
            "tasks", "first", "least", "last", "all parameters", "moves", "accumulated",
            "outputs", "mean states",
        ],
        rows,
        caption=caption,
        numeric=tuple(range(1, 9)),
    )  # fmt: skip


def _row(last: CheckpointInterference, course: np.ndarray, pair: tuple[int, int]) -> list[object]:
    known = course[np.isfinite(course)]
    numbers = [
        course[0],
        known.min() if len(known) else np.nan,
        course[-1],
        last.full_cosines[pair],
        last.contribution_cosines[pair],
        last.accumulated_contribution_cosines[pair],
        last.output_contribution_cosines[pair],
        last.state_similarity[pair],
    ]
    names = f"{last.names[pair[0]]} and {last.names[pair[1]]}"
    return [names, *("–" if np.isnan(value) else f"{value:.3f}" for value in numbers)]


def _figures(held: list[NetworkAnalysis]) -> Markup:
    drawn = [
        element(
            "figure",
            Markup(panel.svg(f"interference-{place}")),
            element("figcaption", panel.caption),
        )
        for place, panel in enumerate(interference_panels(held), 1)
    ]
    return element("div", *drawn, class_="figures")


def interference_panels(held: list[NetworkAnalysis]) -> list[Panel]:
    """Return the panels: courses, matrices of some checkpoints, parts by array of parameters."""
    panels = []
    if len(held) > 1:
        panels += [
            Panel(caption, partial(plotting.interference_course, held, quantity=quantity))
            for quantity, caption in (
                ("gradients", "Cosines between the tasks' gradients over training."),
                (
                    "accumulated-contributions",
                    "Cosines between the moves of the states that the tasks cause, integrated from "
                    "the first analysed checkpoint on.",
                ),
                ("states", "Cosines between the tasks' mean states over training."),
            )
        ]
    places = np.linspace(0, len(held) - 1, min(len(held), _MOST_MATRICES)).round().astype(int)
    panels += [
        _matrix(held[place], "gradients", "gradients by the cell's parameters")
        for place in dict.fromkeys(places.tolist())
    ]
    panels += [
        _matrix(held[-1], quantity, caption)
        for quantity, caption in (
            ("all-gradients", "gradients by all parameters, the readout's included"),
            ("accumulated-contributions", "moves of the states, accumulated until then,"),
            ("output-contributions", "moves of the outputs"),
            ("states", "mean states"),
        )
    ]
    panels.append(
        Panel(
            "Parts of the cosine between gradients that each array of parameters makes up, at "
            f"iteration {held[-1].iteration}; the black line is their sum.",
            partial(plotting.interference_parts, held[-1]),
        )
    )
    return panels


def _matrix(analysis: NetworkAnalysis, quantity: str, between: str) -> Panel:
    return Panel(
        f"Cosines between {between} at iteration {analysis.iteration}.",
        partial(plotting.interference_matrix, analysis, quantity=quantity),
    )
