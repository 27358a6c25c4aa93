"""Numbers and estimates as a report writes them."""

from __future__ import annotations

import math

from ...results import Estimate, format_bytes


def number(value: float) -> str:
    """Return a number with four digits, in full below ten millions; a dash for one not known."""
    if math.isnan(value):
        return "–"
    text = f"{value:.4g}"
    return f"{float(text):,.0f}" if "e+" in text and abs(value) < 1e7 else text


def interval(estimate: Estimate) -> str:
    """Return a value, and where it is not exact the ends of its interval."""
    if estimate.is_exact:
        return number(estimate.value)
    ends = f"[{number(estimate.lower)}, {number(estimate.upper)}]"
    likely = "" if estimate.is_certified else f" ({100 * estimate.confidence:.3g} %)"
    return f"{number(estimate.value)} {ends}{likely}"


def value_and_certainty(estimate: Estimate) -> tuple[str, str]:
    """Return a value, and in words how certain it is."""
    if estimate.is_exact:
        return number(estimate.value), "exact to rounding"
    ends = f"{number(estimate.lower)} to {number(estimate.upper)}"
    if estimate.is_certified:
        return number(estimate.value), f"certainly {ends}"
    return number(estimate.value), f"{ends}, {100 * estimate.confidence:.3g} % interval"


def certainty(estimate: Estimate) -> str:
    """Return in a word or two how certain a value is, beside its lower and upper ends."""
    if estimate.is_exact:
        return "exact"
    return "certain" if estimate.is_certified else f"{100 * estimate.confidence:.3g} %"


def effort(estimate: Estimate) -> tuple[str, str, str]:
    """Return the products, flops and memory that an estimate took, a dash where not counted."""
    products = f"{estimate.n_matvecs:,}"
    if estimate.cost is None:
        return products, "–", "–"
    return products, f"{estimate.cost.flops:.2g}", format_bytes(estimate.cost.memory_bytes)
