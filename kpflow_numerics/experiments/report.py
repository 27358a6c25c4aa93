"""One self-contained page that shows a run to a person."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .._errors import InputError
from ..analysis import NetworkAnalysis
from ..results import Estimate, format_bytes
from ..spectral import PUBLISHED_RECIPES
from ..store import RunFile
from ._html import Markup, element, join, page, table
from ._report_figures import report_panels

OPERATORS = {
    "K": "how the parameters act on the states within one step",
    "P": "how the dynamics carry a change of state forward in time; its rank and spectrum are "
    "those of P P*",
    "NTK": "P K P*, the tangent kernel of the hidden states: how gradient descent moves them",
}
MAIN_RECIPE = "participation-ratio"


def write_report(path: str | Path, *, run: Any, overwrite: bool = True) -> Path:
    """Write a page about an analysed run: figures, numbers, checks, settings.

    Parameters
    ----------
    path : str or Path
        The page, of HTML; its directory is made if it does not exist.
    run : RunFile, str or Path
        The run, with at least one analysis.
    overwrite : bool
        Whether a file of this name may be replaced; it can always be written again.

    Returns
    -------
    Path
        Of the page. It holds everything it shows, needs no network and no script, fits a phone
        and prints.

    Raises
    ------
    InputError
        If the run has no analysis, or the file exists and `overwrite` is False.
    MissingExtraError
        If Matplotlib is not installed.

    Examples
    --------
    >>> from kpflow_numerics.experiments.report import write_report
    >>> write_report("report.html", run="run.h5")  # doctest: +SKIP
    """
    if isinstance(run, (str, Path)):
        with RunFile.open(run) as opened:
            return write_report(path, run=opened, overwrite=overwrite)
    path = Path(path)
    if path.exists() and not overwrite:
        raise InputError(f"{path} already exists. Choose another name, or pass overwrite=True.")
    text = report_html(run)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def report_html(run: Any) -> str:
    """Return the page about an analysed run.

    Parameters
    ----------
    run : RunFile
        An open run file with at least one analysis.

    Raises
    ------
    InputError
        If the run has no analysis.
    """
    analyses = list(run.analyses)
    if not analyses:
        raise InputError(
            "There is nothing to report: the run has no analysis. Analyse it first, with "
            "kpf.analyze or `kpflow analyze`."
        )
    last = analyses[-1]
    title = f"{type(run.cell).__name__} on {run.task.name}"
    return page(
        title,
        element(
            "header",
            element("h1", title),
            element("p", _what_was_trained(run), class_="subtitle"),
        ),
        element("main", *_sections(run, analyses, last)),
        element("footer", *_settings(run)),
    )


def _sections(run: Any, analyses: list[NetworkAnalysis], last: NetworkAnalysis) -> Iterator[Markup]:
    yield _facts(run, last)
    yield _in_words(run, analyses, last)
    places = itertools.count(1)
    for heading, panels in report_panels(run).items():
        yield element("h2", heading)
        drawn = (
            element(
                "figure", Markup(panel.svg(f"figure-{place}")), element("figcaption", panel.caption)
            )
            for panel, place in zip(panels, places, strict=False)
        )
        yield element("div", *drawn, class_="figures")
    yield element("h2", "Numbers")
    yield _over_training(analyses)
    yield _ranks(last)
    if last.quantities:
        yield _quantities(last)
    if last.spectra:
        yield _spectra(last)
    yield element("h2", "Validation")
    yield _validation(run.validation)


def _what_was_trained(run: Any) -> str:
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
        facts.append(("Evaluation loss", number(last.evaluation_loss), "mean squared error"))
    if math.isfinite(last.accuracy):
        facts.append(("Accuracy", f"{100 * last.accuracy:.3g} %", run.task.accuracy_meaning))
    for operator in OPERATORS:
        for entry in last.ranks:
            if (entry.operator, entry.recipe) == (operator, MAIN_RECIPE):
                facts.append(
                    (f"Effective rank of {operator}", *_value_and_certainty(entry.estimate))
                )
    if run.validation is not None:
        passed = sum(check.passed for check in run.validation.checks)
        facts.append(
            ("Checks passed", f"{passed} of {len(run.validation.checks)}", "see Validation")
        )
    boxes = (
        element("div", element("dt", name), element("dd", value, element("small", note)))
        for name, value, note in facts
    )
    return element("dl", *boxes, class_="facts")


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
    if run.validation is not None and not run.validation.passed:
        failed = [check.name for check in run.validation.checks if not check.passed]
        parts.append(
            element("p", f"Validation failed: {', '.join(failed)}.", class_="notice"),
        )
    return join(parts)


def _over_training(analyses: list[NetworkAnalysis]) -> Markup:
    rows = []
    for analysis in analyses:
        held = {
            entry.operator: interval(entry.estimate)
            for entry in analysis.ranks
            if entry.recipe == MAIN_RECIPE
        }
        rows.append(
            [
                analysis.iteration,
                number(analysis.evaluation_loss),
                number(analysis.accuracy),
                *(held.get(operator, "") for operator in OPERATORS),
            ]
        )
    return table(
        ["iteration", "evaluation loss", "accuracy", *(f"rank of {name}" for name in OPERATORS)],
        rows,
        caption="Over training: loss, accuracy and effective ranks (participation ratio; that of "
        "P is of P P*). Brackets without a probability are certain.",
        numeric=range(6),
    )


def _ranks(last: NetworkAnalysis) -> Markup:
    rows = [
        [
            entry.operator,
            entry.recipe,
            number(entry.estimate.value),
            number(entry.estimate.lower),
            number(entry.estimate.upper),
            _value_and_certainty(entry.estimate)[1],
            entry.estimate.method,
            *_effort(entry.estimate),
        ]
        for entry in last.ranks
    ]
    return table(
        [
            "operator",
            "recipe",
            "rank",
            "lower",
            "upper",
            "certainty",
            "method",
            "products",
            "flops",
            "memory",
        ],
        rows,
        caption=f"Effective ranks at iteration {last.iteration}, by recipe; those of P are of "
        f"P P*. {_published_note(last)}Flops are with those of "
        "the products, where the operator tells them.",
        numeric=(2, 3, 4, 7, 8, 9),
    )


def _quantities(last: NetworkAnalysis) -> Markup:
    rows = [
        [
            entry.name,
            ", ".join("P P*" if each == "P" else each for each in entry.operators),
            number(entry.estimate.value),
            number(entry.estimate.lower),
            number(entry.estimate.upper),
            _value_and_certainty(entry.estimate)[1],
            entry.estimate.method,
            *_effort(entry.estimate),
        ]
        for entry in last.quantities
    ]
    header = ["quantity", "of", "value", "lower", "upper", "certainty", "method", "products"]
    return table(
        [*header, "flops", "memory"],
        rows,
        caption=f"Other quantities at iteration {last.iteration}. {_bound_note(last)}",
        numeric=(2, 3, 4, 7, 8, 9),
    )


def _bound_note(last: NetworkAnalysis) -> str:
    """Say at how many weight sites the published rank bound holds as it stands."""
    ranks = {
        entry.operators: entry.estimate.value
        for entry in last.quantities
        if entry.name == "effective rank over trials and steps"
    }
    if not ranks:
        return ""
    dimensions, bounds = (
        {entry.operators: entry.estimate.value for entry in last.quantities if entry.name == name}
        for name in ("effective dimension of the features", "proven bound of the effective rank")
    )
    slack = 1 + 1e-9
    literal = sum(ranks[site] <= slack * dimensions[site] for site in ranks)
    proven = sum(ranks[site] <= slack * bounds[site] for site in ranks)
    return (
        "Rank bound: the effective rank over trials and steps is at most the effective dimension "
        f"of what the weights multiply at {literal} of {len(ranks)} weight sites (it need not be, "
        f"see rank_bounds), and at most the proven bound at {proven} of {len(ranks)}."
    )


def _effort(estimate: Estimate) -> tuple[str, str, str]:
    """Return the products, flops and memory that an estimate took, a dash where not counted."""
    products = f"{estimate.n_matvecs:,}"
    if estimate.cost is None:
        return products, "–", "–"
    return products, f"{estimate.cost.flops:.2g}", format_bytes(estimate.cost.memory_bytes)


def _published_note(last: NetworkAnalysis) -> str:
    if not any(entry.recipe in PUBLISHED_RECIPES for entry in last.ranks):
        return ""
    return (
        "paper-figure-4 is no rank of the operator, but what arXiv:2507.06381 draws: of A A* "
        "averaged over units and four trials. "
    )


def _spectra(last: NetworkAnalysis) -> Markup:
    operators = [operator for operator in OPERATORS if operator in last.spectra]
    verdicts = table(
        ["operator", "eigenvalues", "certificate", "solver", "products"],
        [
            [
                operator,
                len(last.spectra[operator]),
                element("span", "complete", class_="good")
                if last.complete.get(operator)
                else element("span", "NOT complete", class_="bad"),
                last.methods.get(operator, ""),
                f"{last.n_products.get(operator, 0):,}",
            ]
            for operator in operators
        ],
        caption=f"Leading eigenvalues at iteration {last.iteration}: whether all converged and "
        "none is missing. Products are those of the whole analysis of the operator.",
        numeric=(1, 4),
    )
    longest = max((len(last.spectra[operator]) for operator in operators), default=0)
    values = table(
        ["index", *("P P*" if operator == "P" else operator for operator in operators)],
        [
            [index + 1]
            + [
                number(values[index]) if index < len(values) else ""
                for values in (last.spectra[operator] for operator in operators)
            ]
            for index in range(longest)
        ],
        caption=f"Leading eigenvalues at iteration {last.iteration}.",
        numeric=range(1 + len(operators)),
    )
    return join([verdicts, values])


def _validation(report: Any) -> Markup:
    if report is None:
        return element(
            "p", "The network has not been validated: run ", element("code", "kpflow validate"), "."
        )
    rows = [
        [
            check.name,
            element("code", check.formula),
            number(check.error),
            number(check.threshold),
            element("span", "passed", class_="good")
            if check.passed
            else element("span", "FAILED", class_="bad"),
            check.explanation,
        ]
        for check in report.checks
    ]
    return table(
        ["check", "formula", "error", "threshold", "verdict", "meaning"],
        rows,
        caption="Every identity that the analysis rests on, checked on this network.",
        numeric=(2, 3),
        wide=(1, 5),
    )


def _settings(run: Any) -> Iterator[Markup]:
    for heading, mapping in (("Settings", run.config), ("Provenance", run.provenance)):
        yield element("h2", heading)
        rows = [[name, element("code", value)] for name, value in flatten(mapping)]
        yield table(["name", "value"], rows)


def flatten(mapping: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the entries of nested mappings under dotted names."""
    for name, value in mapping.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value)


def number(value: float) -> str:
    """Return a number with four digits, or a dash for one that is not known."""
    return "–" if math.isnan(value) else f"{value:.4g}"


def interval(estimate: Estimate) -> str:
    """Return a value, and where it is not exact the ends of its interval."""
    if estimate.is_exact:
        return number(estimate.value)
    ends = f"[{number(estimate.lower)}, {number(estimate.upper)}]"
    likely = "" if estimate.is_certified else f" ({100 * estimate.confidence:.3g} %)"
    return f"{number(estimate.value)} {ends}{likely}"


def _value_and_certainty(estimate: Estimate) -> tuple[str, str]:
    if estimate.is_exact:
        return number(estimate.value), "exact to rounding"
    ends = f"{number(estimate.lower)} to {number(estimate.upper)}"
    if estimate.is_certified:
        return number(estimate.value), f"certainly {ends}"
    return number(estimate.value), f"{ends}, {100 * estimate.confidence:.3g} % interval"
