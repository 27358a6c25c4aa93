"""Estimates as arrays: the value, its interval and error, how it was found, and what it took."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import h5py
import numpy as np

from ..results import Cost, Estimate
from ._variables import add_variable

ABSENT = -1

_NUMBERS = {
    "lower": "lower end of the interval of the {}",
    "upper": "upper end of the interval of the {}",
    "standard_error": "standard error of the {}",
    "confidence": "probability that the interval holds the {}",
}
_WORDS = {
    "method": "how the {} was found",
    "quantity": "what the {} is of",
    "recipe": "recipe as the estimate names it",
}
_COSTS = {
    "flops": "floating-point operations, as the estimate counts them",
    "memory": "peak of the working memory",
}
_COUNTS = {
    "n_products": "products of single columns with the operator",
    "place": "place of the {} in the analysis",
}


def write_estimates(
    group: h5py.Group,
    name: str,
    label: str,
    dims: list[str],
    shape: tuple[int, ...],
    placed: Iterable[tuple[tuple[int, ...], int, Estimate]],
) -> None:
    """Write estimates, each with where it goes in the arrays and its place in the analysis.

    The value is the variable `name`; the others are ``<name>_<part>`` and are named in its
    attribute ``ancillary_variables``.
    """
    numbers = {part: np.full(shape, np.nan) for part in ("", *_NUMBERS, *_COSTS)}
    words = {part: np.full(shape, "", object) for part in _WORDS}
    counts = {part: np.full(shape, ABSENT) for part in _COUNTS}
    for at, place, estimate in placed:
        numbers[""][at] = estimate.value
        for part in _NUMBERS:
            numbers[part][at] = getattr(estimate, part)
        for part in _WORDS:
            words[part][at] = getattr(estimate, part)
        counts["n_products"][at] = estimate.n_matvecs
        counts["place"][at] = place
        if estimate.cost is not None:
            numbers["flops"][at] = estimate.cost.flops
            numbers["memory"][at] = estimate.cost.memory_bytes
    parts = [*_NUMBERS, *_WORDS, "n_products"]
    add_variable(
        group, name, dims, data=numbers.pop(""), long_name=label,
        attributes={
            "coordinates": "iteration",
            "ancillary_variables": " ".join(f"{name}_{part}" for part in parts),
        },
    )  # fmt: skip
    labels = _NUMBERS | _WORDS | _COSTS | _COUNTS
    for part, array in (numbers | words | counts).items():
        units = "byte" if part == "memory" else "1"
        add_variable(group, f"{name}_{part}", dims, data=array,
                     long_name=labels[part].format(label), units=units)  # fmt: skip


def read_estimates(row: dict[str, Any], name: str) -> list[tuple[tuple[int, ...], Estimate]]:
    """Return the estimates of one checkpoint with where they stood, by their place."""
    places = row[f"{name}_place"]
    present = sorted((tuple(at) for at in np.argwhere(places != ABSENT)), key=lambda at: places[at])
    return [(at, _read(row, name, at)) for at in present]


def _read(row: dict[str, Any], name: str, at: tuple[int, ...]) -> Estimate:
    flops, memory = (float(row[f"{name}_{part}"][at]) for part in _COSTS)
    return Estimate(
        value=float(row[name][at]),
        **{part: float(row[f"{name}_{part}"][at]) for part in _NUMBERS},  # type: ignore[arg-type]
        **{part: str(row[f"{name}_{part}"][at]) for part in _WORDS},  # type: ignore[arg-type]
        n_matvecs=int(row[f"{name}_n_products"][at]),
        cost=None if np.isnan(flops) else Cost(flops, memory),
    )
