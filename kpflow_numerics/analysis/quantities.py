"""Numbers beside the effective ranks that an analysis of a network may hold."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._validation import InputTypeError, check_choice
from ..linearization import Linearization
from ..operators import StructuredOperator
from ..results import Cost, Estimate
from ..spectral import alignment, frobenius_norm, trace
from ..spectral._bounded import TRACE_WIDTH
from ..spectral._budget import DENSE_SIZE
from .kronecker import schmidt_decomposition
from .lyapunov import LyapunovResult, lyapunov_exponents
from .memory import rank_over_time, retained_directions
from .rank_bound import RankBound, rank_bounds

QUANTITIES = (
    "trace",
    "frobenius-norm",
    "alignment",
    "rank-bound",
    "schmidt-rank",
    "lyapunov",
    "rank-over-time",
    "retained-directions",
    "output-kernel",
    "core-cosine",
    "self-reference",
)
"""What :func:`analyze_network` accepts as ``quantities``."""

DEFAULT_QUANTITIES = (
    "trace",
    "frobenius-norm",
    "alignment",
    "rank-over-time",
    "retained-directions",
)
"""What it finds unless told otherwise: what the ranks have mostly paid for, and what
:func:`failure_signs` looks at."""

SAMPLED_PRODUCTS = 30
"""Products that an analysis spends on a quantity that has no affordable closed form."""

CHEAP_FLOPS = 5e9
"""An analysis samples an alignment whose closed form takes more flops: some tenths of a second."""

RANK_OVER_TIME = "rank over trials and steps"
"""Name of K's :func:`rank_over_time` in an analysis."""

RETAINED_DIRECTIONS = "retained directions"
"""Name of P's :func:`retained_directions` in an analysis."""

_FORMS = ("trace", "trace_bounds", "frobenius_norm")


@dataclass(frozen=True)
class OperatorQuantity:
    """A number of one operator or of several.

    Attributes
    ----------
    name : str
        What it is: ``"trace"``, ``"Frobenius norm"``, ``"alignment"``, ``"Schmidt rank"``, ...
    operators : tuple of str
        Of which operators: ``"K"``, ``"P"`` (for ``P P*``), ``"NTK"``, ``"K of site r"``,
        ``"output NTK, cell"`` or ``"output NTK, all parameters"``, and what they are compared
        with, ``"core"`` or ``"ones"``; of which moves, ``"dh"``, ``"dh of random errors"``, ...;
        none for a quantity of the trajectory.
    estimate : Estimate
        The number, how well it is known, and what it cost.
    """

    name: str
    operators: tuple[str, ...]
    estimate: Estimate


def check_quantities(quantities: Sequence[str]) -> tuple[str, ...]:
    """Return the names of quantities, each once."""
    if isinstance(quantities, str):
        raise InputTypeError(
            f"quantities must be a sequence of names; got the string {quantities!r}."
        )
    return tuple(dict.fromkeys(check_choice(q, "quantities", QUANTITIES) for q in quantities))


def remember_closed_forms(operator: StructuredOperator) -> None:
    """Let an operator compute each of its closed forms once, as several quantities need them."""
    for form in _FORMS:
        method = getattr(operator, f"exact_{form}", None)
        if method is not None:
            setattr(operator, f"exact_{form}", functools.cache(method))


def operator_quantities(
    wanted: Sequence[str],
    operators: Mapping[str, StructuredOperator],
    ranks: Mapping[str, Estimate],
    max_memory: float,
    rng: np.random.Generator,
) -> list[OperatorQuantity]:
    """Return traces, norms and alignments.

    Parameters
    ----------
    wanted : sequence of str
        Among :data:`QUANTITIES`; others than these three are left to their own functions.
    operators : mapping
        K, P (as ``P P*``) and NTK, which should remember their closed forms.
    ranks : mapping
        Participation ratios that are known already.
    max_memory : float
        Limit in bytes.
    rng : Generator
        For what has to be sampled.
    """
    options: dict[str, Any] = {
        "n_matvecs": SAMPLED_PRODUCTS, "rng": rng, "max_memory": max_memory
    }  # fmt: skip
    found: list[OperatorQuantity] = []
    for name, operator in operators.items():
        if not {"trace", "frobenius-norm"} & set(wanted):
            break
        rank = ranks.get(name)
        total = _trace(operator, rank, options)
        if "trace" in wanted:
            found.append(OperatorQuantity("trace", (name,), total))
        if "frobenius-norm" in wanted:
            has_form = operator.exact_cost("frobenius_norm") is not None
            norm = None if rank is None or has_form else norm_from_rank(total, rank)
            if norm is None:
                norm = frobenius_norm(operator, **options)
            found.append(OperatorQuantity("Frobenius norm", (name,), norm))
    if "alignment" in wanted:
        for first, second in itertools.combinations(operators, 2):
            A, B = operators[first], operators[second]
            cost = _inner_product_cost(A, B)
            method = "auto" if cost is None or cost.flops <= CHEAP_FLOPS else "hutch++"
            estimate = alignment(A, B, method, **options)
            found.append(OperatorQuantity("alignment", (first, second), estimate))
    return found


def norm_from_rank(total: Estimate, rank: Estimate) -> Estimate | None:
    """Return ``|A|_F = tr A / sqrt(participation ratio)``, from what is known of the two.

    None where the two intervals are of one probability each, and so hold together with less, or
    where the rank is not known to be positive.
    """
    if rank.lower <= 0 or not (total.is_certified or rank.is_certified):
        return None
    value = total.value / math.sqrt(rank.value)
    errors = (total.standard_error / total.value if total.value else 0.0) ** 2
    errors += (rank.standard_error / (2 * rank.value)) ** 2
    return Estimate(
        value=value,
        lower=total.lower / math.sqrt(rank.upper),
        upper=total.upper / math.sqrt(rank.lower),
        standard_error=value * math.sqrt(errors),
        method=f"trace and rank ({rank.method})",
        n_matvecs=0,
        quantity="Frobenius norm",
        confidence=min(total.confidence, rank.confidence),
    )


def linearization_quantities(
    wanted: Sequence[str],
    linearization: Linearization,
    parameter_operator: StructuredOperator,
    max_memory: float,
    rng: np.random.Generator,
) -> tuple[list[OperatorQuantity], LyapunovResult | None]:
    """Return what is found from the linearization: bounds, ranks in time, Lyapunov exponents."""
    found: list[OperatorQuantity] = []
    exponents = None
    if "rank-bound" in wanted and linearization.weight_sites is not None:
        for bound in rank_bounds(linearization, max_memory=max_memory):
            found += _of_bound(bound)
    if "schmidt-rank" in wanted:
        schmidt = schmidt_decomposition(parameter_operator, max_memory=max_memory)
        for name, value in (
            ("Schmidt rank", schmidt.rank),
            ("distance from a Kronecker product", schmidt.distance),
        ):
            estimate = _exact(value, schmidt.method, name, schmidt.n_matvecs, schmidt.cost)
            found.append(OperatorQuantity(name, ("K",), estimate))
    if "rank-over-time" in wanted and _is_within_reach(linearization):
        rank = rank_over_time(linearization, max_memory=max_memory)
        found.append(OperatorQuantity(RANK_OVER_TIME, ("K",), rank))
    if "retained-directions" in wanted:
        kept = retained_directions(linearization, max_memory=max_memory)
        found.append(OperatorQuantity(RETAINED_DIRECTIONS, ("P",), kept))
    if "lyapunov" in wanted:
        exponents = lyapunov_exponents(linearization, max_memory=max_memory, rng=rng)
        found.append(OperatorQuantity("Kaplan-Yorke dimension", (), exponents.kaplan_yorke))
    return found, exponents


def _is_within_reach(linearization: Linearization) -> bool:
    """Whether K's rank over time has a closed form, or takes few products of J or its adjoint."""
    products = min(math.prod(linearization.dims), linearization.n_parameters)
    return linearization.weight_sites is not None or products <= DENSE_SIZE


def _of_bound(bound: RankBound) -> list[OperatorQuantity]:
    site = (f"K of site {bound.site}",)
    numbers = {
        "effective rank over trials and steps": bound.effective_rank,
        "effective dimension of the features": bound.effective_dimension,
        "proven bound of the effective rank": bound.bound,
    }
    return [
        OperatorQuantity(name, site, _exact(value, "exact", name))
        for name, value in numbers.items()
    ]


def _exact(
    value: float, method: str, name: str, n_matvecs: int = 0, cost: Cost | None = None
) -> Estimate:
    return Estimate(value, value, value, 0.0, method, n_matvecs, name, cost=cost)


def _trace(
    operator: StructuredOperator, rank: Estimate | None, options: Mapping[str, Any]
) -> Estimate:
    """Return the trace; where a rank was found by certain bounds of it, those, at no cost."""
    bounds = getattr(operator, "exact_trace_bounds", None)
    if bounds is None or rank is None or not rank.method.startswith("bounds"):
        return trace(operator, **options)
    lower, upper = bounds(TRACE_WIDTH)
    return Estimate((lower + upper) / 2, lower, upper, 0.0, "bounds", 0, "trace")


def _inner_product_cost(first: Any, second: Any) -> Cost | None:
    for A, B in ((first, second), (second, first)):
        estimate = getattr(A, "exact_inner_product_cost", None)
        cost: Cost | None = None if estimate is None else estimate(B)
        if cost is not None:
            return cost
    return None
