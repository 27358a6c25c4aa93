"""Signs of failed learning: each a number, a threshold and a figure."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from ... import plotting
from ...analysis import FailureSign
from ._html import Markup, element, table
from ._numbers import number
from ._panels import Panel
from ._section import Section, Subject

_CLASSES = {"raised": "bad", "not raised": "good"}


def sign_sections(subject: Subject) -> Iterator[Section]:
    """Yield the section of the signs, if they were looked for."""
    signs = subject.run.signs
    if signs:
        yield Section("Signs of trouble", [_verdicts(signs), _figures(signs)])


def verdict(sign: FailureSign) -> Markup:
    """Return whether a sign is raised."""
    return element("span", sign.verdict, class_=_CLASSES.get(sign.verdict, ""))


def _verdicts(signs: tuple[FailureSign, ...]) -> Markup:
    rows = [
        [
            sign.name,
            verdict(sign),
            number(sign.estimate.value),
            number(sign.estimate.lower),
            number(sign.estimate.upper),
            f"{sign.side} {number(sign.threshold)}",
            f"{sign.meaning[0].upper()}{sign.meaning[1:]}."
            + (f" Not known: {sign.reason}." if sign.reason else ""),
        ]
        for sign in signs
    ]
    return table(
        ["sign", "verdict", "number", "lower", "upper", "raised if", "what it is"],
        rows,
        caption="A sign is raised, or not, where the whole interval of its number lies on one side "
        "of the threshold; otherwise it is undecided. Thresholds are settings, [signs].",
        numeric=(2, 3, 4, 5),
        wide=(6,),
    )


def _figures(signs: tuple[FailureSign, ...]) -> Markup:
    drawn = [
        element(
            "figure",
            Markup(Panel(caption, partial(plotting.failure_sign, sign)).svg(f"sign-{place}")),
            element("figcaption", caption),
        )
        for place, sign in enumerate(signs, 1)
        if sign.course
        for caption in [
            f"{sign.name[0].upper()}{sign.name[1:]}: {sign.verdict}, {sign.number}. Measured: "
            f"{sign.meaning.partition(';')[0]}."
        ]
    ]
    return element("div", *drawn, class_="figures")
