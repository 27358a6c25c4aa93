"""An effective rank between certain bounds, or with what eigenpairs leave of it sampled."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from .._validation import InputError, InputTypeError
from ..results import EigenResult, Estimate
from ..testing import default_tolerance
from ._any_scale import in_units
from ._bounded import certain_bounds, check_positive
from ._view import SpectralView
from .brackets import rank_bracket
from .rank_recipes import QUANTITY
from .sampled_rank import CONFIDENCE, sampled_participation_ratio

WIDE_BOUNDS = 0.1
"""Where bounds are further apart than this share of the rank, sampling can narrow them."""


def bounded_rank(
    view: SpectralView,
    recipe: str,
    weighting: str,
    n_pairs: int,
    known_pairs: EigenResult | None,
    rtol: float | None,
    n_matvecs: int,
    n_samples: int,
    rng: np.random.Generator,
    max_memory: float,
) -> Estimate:
    """Return an effective rank by the bounds, as :func:`effective_rank` describes them."""
    if weighting != "eigenvalue":
        raise InputError(
            f'weighting={weighting!r} needs the whole spectrum: method="bounds" knows '
            f'weighting="eigenvalue" only. This {view.name} has a smaller side of '
            f"{view.smaller_side}; raise max_size for the whole spectrum."
        )
    check_positive(view, "the rank")
    if recipe == "participation-ratio" and rtol is not None and known_pairs is None:
        # Whatever they take: eigenpairs take more for an accuracy that they can hardly reach.
        closed = view.ask_exact(
            "participation_ratio_bounds", 2.0 * rtol, max_memory=max_memory, max_flops=math.inf
        )
        if closed is not None:
            (lower, upper), cost = closed
            middle = (lower + upper) / 2
            # Rounding may leave more than was asked for; eigenpairs would not help.
            if upper - lower <= 2.0 * max(rtol, default_tolerance(view.dtype, view.n)) * middle:
                return Estimate(middle, lower, upper, 0.0, "bounds", 0, QUANTITY, recipe, cost=cost)
    rank_bound = view.smaller_side
    if known_pairs is not None:
        known_pairs = _checked_pairs(known_pairs, view, rank_bound)
        n_pairs = len(known_pairs.values)

    def bracket(total: float, pairs: EigenResult) -> tuple[float, float]:
        return rank_bracket(
            recipe, total, pairs.values, pairs.residual_norms, rank_bound, complete=pairs.complete
        )

    found = certain_bounds(
        view,
        bracket,
        n_pairs=n_pairs,
        known_pairs=known_pairs,
        rtol=rtol,
        n_matvecs=n_matvecs,
        rng=rng,
        max_memory=max_memory,
    )
    total, lower, upper = found.trace, found.lower, found.upper
    wide = upper - lower > WIDE_BOUNDS * (lower + upper) / 2
    if total.is_certified and wide and n_samples and recipe == "participation-ratio":
        value, lower, upper, error = sampled_participation_ratio(
            view.apply,
            max(total.value, float(np.sum(found.pairs.values, dtype=np.float64))),
            found.pairs,
            (lower, upper),
            n_samples,
            rng,
        )
        return Estimate(
            value,
            lower,
            upper,
            error,
            "bounds, rest sampled",
            found.n_matvecs + view.n_matvecs,
            QUANTITY,
            recipe,
            confidence=CONFIDENCE,
            cost=found.cost,
        )
    return Estimate(
        value=(lower + upper) / 2,
        lower=lower,
        upper=upper,
        standard_error=found.slope * total.standard_error,
        method="bounds" if total.is_certified else f"bounds, trace by {total.method}",
        n_matvecs=found.n_matvecs + view.n_matvecs,
        quantity=QUANTITY,
        recipe=recipe,
        confidence=total.confidence,
        cost=found.cost,
    )


def _checked_pairs(pairs: EigenResult, view: SpectralView, rank_bound: int) -> EigenResult:
    """Return pairs that can be this operator's; beyond the rank bound they tell nothing."""
    if not isinstance(pairs, EigenResult):
        raise InputTypeError(
            f"known_pairs must be an EigenResult, from top_eigenpairs; got {type(pairs).__name__}."
        )
    if len(pairs.values) == 0 or pairs.vectors.shape[0] != view.n:
        raise InputError(
            f"known_pairs must hold eigenpairs of this {view.name}, with vectors of length "
            f"{view.n}; got {pairs!r}."
        )
    pairs = in_units(pairs, -view.exponent, view.operator)
    return dataclasses.replace(
        pairs,
        values=pairs.values[:rank_bound],
        vectors=pairs.vectors[:, :rank_bound],
        residual_norms=pairs.residual_norms[:rank_bound],
    )
