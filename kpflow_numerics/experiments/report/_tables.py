"""Tables of the numbers: over training, and of the last analysis."""

from __future__ import annotations

from collections.abc import Iterator

from ...analysis import NetworkAnalysis
from ...spectral import PUBLISHED_RECIPES
from ._html import Markup, element, join, table
from ._numbers import certainty, effort, interval, number
from ._panels import MEANINGS
from ._section import MAIN_RECIPE, OPERATORS, Section, Subject, measured


def number_sections(subject: Subject) -> Iterator[Section]:
    """Yield the section of the numbers."""
    last = subject.last
    parts = [_over_training(subject.analyses), _ranks(last)]
    if last.quantities:
        parts.append(_quantities(last))
    if last.spectra:
        parts.append(_spectra(last))
    yield Section("Numbers", parts)


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
        [
            "iteration",
            "evaluation loss",
            "accuracy",
            *(f"rank of {measured(name)}" for name in OPERATORS),
        ],
        rows,
        caption="Over training: loss, accuracy and effective ranks (participation ratios). "
        "Brackets without a probability are certain.",
        numeric=range(6),
    )


def _ranks(last: NetworkAnalysis) -> Markup:
    rows = [
        [
            measured(entry.operator),
            entry.recipe,
            number(entry.estimate.value),
            number(entry.estimate.lower),
            number(entry.estimate.upper),
            certainty(entry.estimate),
            entry.estimate.method,
            *effort(entry.estimate),
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
        caption=f"Effective ranks at iteration {last.iteration}, by recipe. {_published_note(last)}"
        "Flops are with those of the products, where the operator tells them.",
        numeric=(2, 3, 4, 7, 8, 9),
        wrapped=(6,),
    )


def _quantities(last: NetworkAnalysis) -> Markup:
    rows = [
        [
            entry.name,
            ", ".join(map(measured, entry.operators)),
            number(entry.estimate.value),
            number(entry.estimate.lower),
            number(entry.estimate.upper),
            certainty(entry.estimate),
            entry.estimate.method,
            *effort(entry.estimate),
        ]
        for entry in last.quantities
    ]
    header = ["quantity", "of", "value", "lower", "upper", "certainty", "method", "products"]
    return table(
        [*header, "flops", "memory"],
        rows,
        caption=f"Other quantities at iteration {last.iteration}. {_bound_note(last)}"
        f"{_meanings(last)}",
        numeric=(2, 3, 4, 7, 8, 9),
        wrapped=(6,),
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
        f"see rank_bounds), and at most the proven bound at {proven} of {len(ranks)}. "
    )


def _meanings(last: NetworkAnalysis) -> str:
    """Say what the quantities are that have controls beside them, and what these are."""
    held = {entry.name for entry in last.quantities}
    return " ".join(
        f"{name[0].upper()}{name[1:]}: {text[0].lower()}{text[1:]}"
        for name, text in MEANINGS.items()
        if name in held
    )


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
                measured(operator),
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
        ["index", *map(measured, operators)],
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
