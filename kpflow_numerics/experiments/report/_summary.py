"""The first section: the most important numbers, and in words what they are of."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from ...analysis import NetworkAnalysis
from ._html import Markup, element, join
from ._numbers import number, value_and_certainty
from ._section import MAIN_RECIPE, OPERATORS, Section, Subject, measured


def summary_sections(subject: Subject) -> Iterator[Section]:
    """Yield the summary."""
    run, analyses, last = subject.run, subject.analyses, subject.last
    yield Section("", [_facts(run, last), _in_words(run, analyses, last)])


def what_was_trained(run: Any) -> str:
    """Return a sentence about the network and the trials that it was looked at with."""
    cell = run.cell
    batch = run.evaluation_batch
    return (
        f"{cell.n_units} units, {cell.n_inputs} inputs, {run.task.n_outputs} outputs, "
        f"{cell.n_parameters:,} parameters of the cell. Evaluated on {batch.n_trials} trials of "
        f"{batch.n_steps} steps without noise."
    )


def _facts(run: Any, last: NetworkAnalysis) -> Markup:
    facts: list[tuple[str, str, str]] = []
    if math.isfinite(last.evaluation_loss):
        facts.append(("Evaluation loss", number(last.evaluation_loss), _loss_in_words(run)))
    if math.isfinite(last.accuracy):
        facts.append(("Accuracy", f"{100 * last.accuracy:.3g} %", run.task.accuracy_meaning))
    for operator in OPERATORS:
        for entry in last.ranks:
            if (entry.operator, entry.recipe) == (operator, MAIN_RECIPE):
                facts.append(
                    (
                        f"Effective rank of {measured(operator)}",
                        *value_and_certainty(entry.estimate),
                    )
                )
    if run.validation is not None:
        passed = sum(check.passed for check in run.validation.checks)
        facts.append(
            ("Checks passed", f"{passed} of {len(run.validation.checks)}", "see Validation")
        )
    known = [sign for sign in run.signs if sign.verdict != "not known"]
    if known:
        raised = sum(sign.raised for sign in known)
        facts.append(("Signs of trouble", f"{raised} of {len(known)}", "raised"))
    boxes = (
        element("div", element("dt", name), element("dd", value, element("small", note)))
        for name, value, note in facts
    )
    return element("dl", *boxes, class_="facts")


def _loss_in_words(run: Any) -> str:
    name: str = run.task.loss_name
    return name.replace("-", " ")


def _in_words(run: Any, analyses: list[NetworkAnalysis], last: NetworkAnalysis) -> Markup:
    n_iterations = len(run.losses)
    sentences = []
    if n_iterations:
        sentences.append(
            f"The network was trained for {n_iterations:,} iterations; {len(analyses)} of its "
            f"checkpoints were analysed, the last at iteration {last.iteration:,}."
        )
    else:
        sentences.append(
            "The network was trained elsewhere; the parameters in the file were analysed as they "
            "are."
        )
    size = last.principal_components.shape[0] * last.principal_components.shape[1]
    size *= run.cell.n_state
    sentences.append(
        "Effective ranks are participation ratios, the squared sum of the eigenvalues over the sum "
        f"of their squares, of operators on n = B T N = {size:,} state entries."
    )
    parts = [
        element("p", " ".join(sentences)),
        element(
            "ul",
            *(
                element("li", element("b", operator), f": {meaning}.")
                for operator, meaning in OPERATORS.items()
            ),
        ),
    ]
    missing = [operator for operator, complete in last.complete.items() if not complete]
    if missing:
        parts.append(
            element(
                "p",
                f"The leading eigenvalues of {' and '.join(missing)} are not certified: some did "
                "not converge, or the certificate found that larger ones were left out. Do not "
                "rely on them.",
                class_="notice",
            )
        )
    raised = [f"{sign.name} ({sign.number})" for sign in run.signs if sign.raised]
    if raised:
        parts.append(element("p", f"Signs of trouble: {'; '.join(raised)}.", class_="notice"))
    if run.validation is not None and not run.validation.passed:
        failed = [check.name for check in run.validation.checks if not check.passed]
        parts.append(
            element("p", f"Validation failed: {', '.join(failed)}.", class_="notice"),
        )
    return join(parts)
