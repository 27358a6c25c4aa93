"""The effective rank of an operator, by recipe: exact, or between certain bounds."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from .._typing import RNGLike
from .._validation import (
    InputError,
    check_choice,
    check_integer,
    check_rng,
)
from ..results import Cost, EigenResult, Estimate
from ._any_scale import NO_SCALE, at_any_scale
from ._bounded import DEFAULT_PAIRS
from ._bounded_rank import bounded_rank
from ._budget import (
    CHEAP_FLOPS,
    EXACT_FLOPS,
    LARGEST_DENSE_SIZE,
    ask_exact,
    check_max_memory,
    check_memory,
)
from ._rank_within import matrix_or_bounds, participation_ratio_within, sure_ways
from ._view import PRODUCT_COLUMNS, SpectralView
from .eigenvalues import spectrum_of
from .published_rank import PUBLISHED_RECIPES
from .rank_recipes import QUANTITY, RECIPES, WEIGHTINGS, rank_from_weights
from .sampled_rank import (
    CONFIDENCE,
    estimated_participation_ratio,
)
from .trace import DEFAULT_PRODUCTS, check_budget, check_rtol, known_estimate

RANK_METHODS = ("auto", "exact", "dense", "gram", "bounds", "hutchinson", "hutch++")
"""What :func:`effective_rank` accepts as ``method``."""


def effective_rank(
    op: Any,
    recipe: str = "participation-ratio",
    method: str = "auto",
    *,
    weighting: str = "eigenvalue",
    n_pairs: int = DEFAULT_PAIRS,
    known_pairs: EigenResult | None = None,
    rtol: float | None = None,
    n_matvecs: int | None = None,
    n_samples: int = 0,
    rng: RNGLike = 0,
    max_memory: float | None = None,
    max_size: int | None = None,
    self_adjoint: bool | None = None,
    positive_semidefinite: bool | None = None,
) -> Estimate:
    """Return the effective rank of an operator.

    That of an operator A that is not self-adjoint means that of ``A A*``: its weights are squared
    singular values. See :func:`rank_from_weights` for the recipes and the weightings.

    Parameters
    ----------
    op : LinearOperator, array_like or sparse matrix, shape (n, p)
        The operator: not self-adjoint, or positive semi-definite. It may have ``exact_trace()``
        and ``exact_frobenius_norm()`` (enough for the participation ratio),
        ``exact_eigenvalues()``, and ``factor`` (L with ``op = L L*``). One that is not self-adjoint
        may have ``gram``, the operator ``A A*`` with such methods.
    recipe : {"participation-ratio", "variance-95", "variance-95-interpolated", "entropy", "stable"}
        The recipe. That of the published Figure 4 is the rank of a reduced matrix and not of the
        operator: see :func:`published_rank`.
    method : {"auto", "exact", "dense", "gram", "bounds", "hutchinson", "hutch++"}
        ``"exact"`` asks the operator; ``"dense"`` and ``"gram"`` compute the whole spectrum;
        ``"bounds"`` takes the trace and the leading `n_pairs` eigenpairs, which leave a certain
        interval. ``"hutchinson"`` and ``"hutch++"`` sample a participation ratio, the second
        after a sketch of the range, with a jackknife error. Where the trace has to be
        estimated, the bounds hold with 95 % probability, and `method` of the result names the
        estimator.

        ``"auto"`` without `rtol` takes the first of exact, dense or gram, and bounds that is
        affordable: it never samples a rank. With `rtol` it promises a participation ratio with an
        interval of that half width, certain or of 95 %, by the way that is cheapest by the
        operator's ``product_cost`` and ``exact_cost``. A closed form, the whole spectrum or bounds,
        if it takes no more flops than the 16 probes that are the least of an estimate (4 of an
        operator of 4 or more diagonal blocks); otherwise an estimate, ``"sampled"``, which may
        spend as much as the cheapest of those; and where that did not do, the cheapest of those
        after all. ``"exact"`` and ``"bounds"`` are for whoever needs certainty.
    weighting : {"eigenvalue", "root", "squared"}
        What the weights are; the bounds know ``"eigenvalue"`` only.
    n_pairs : int
        Eigenpairs for the bounds. More of them narrow the interval.
    known_pairs : EigenResult, optional
        Leading eigenpairs of this operator that are known already, for the bounds in the place of
        `n_pairs` new ones. Their products are not counted again.
    rtol : float, optional
        Half the width of the interval relative to the value: more eigenpairs are found, or more
        samples drawn, until it is as narrow. Where that cannot be (the spectrum decays too slowly
        for the memory, the budget is spent) the result is what could be had: compare its `lower`
        and `upper`.
    n_matvecs : int, optional
        Budget of the estimators, and of that of the trace, where the bounds need one: by default
        90, and as many as it takes for ``"auto"`` with `rtol`.
    n_samples : int
        Products spent on sampling what the eigenpairs leave of the norm, where the bounds of a
        participation ratio are further apart than 10 % of it; `method` of the result is then
        ``"bounds, rest sampled"``, and its interval holds the rank with 95 % probability. 0, or at
        least 2.
    rng : int, SeedSequence or Generator
        Source of random columns.
    max_memory : float, optional
        Bytes of working memory; by default 4 GiB.
    max_size : int, optional
        Largest side of a matrix to take apart: by default 8,000, and 2,000 for ``"auto"`` where
        there are bounds.
    self_adjoint, positive_semidefinite : bool, optional
        Override the flags of the operator. An operator without the first is tested by four
        random products; the second is needed by the bounds only.

    Returns
    -------
    Estimate
        Exact; or the middle of the interval ``[lower, upper]``.

    Raises
    ------
    InputError
        If the method cannot be had for this operator, or its eigenvalues are negative.
    InputTypeError
        If an argument has a type that cannot be used.
    MemoryLimitError
        If the method would take more than `max_memory`.

    Notes
    -----
    Intervals of samples are made to hold the truth in 95 % of the cases. Where `rtol` is met by
    sampling the diagonal blocks of an operator apart, one block outweighs the others, and two or
    three entries do in it, few signs hardly tell their spread: 92 to 100 % of 300 seeds held it.

    Examples
    --------
    >>> print(effective_rank(np.diag([2.0, 2.0, 0.0])))
    effective rank (participation-ratio): 2 (dense, 7 products)
    """
    solve = partial(
        _effective_rank,
        recipe=recipe,
        method=method,
        weighting=weighting,
        n_pairs=n_pairs,
        known_pairs=known_pairs,
        rtol=rtol,
        n_matvecs=n_matvecs,
        n_samples=n_samples,
        rng=rng,
        max_memory=max_memory,
        max_size=max_size,
        self_adjoint=self_adjoint,
        positive_semidefinite=positive_semidefinite,
    )
    return at_any_scale(solve, (op,), NO_SCALE, self_adjoint=self_adjoint)


def _effective_rank(
    op: Any,
    *,
    recipe: str,
    method: str,
    weighting: str,
    n_pairs: int,
    known_pairs: EigenResult | None,
    rtol: float | None,
    n_matvecs: int | None,
    n_samples: int,
    rng: RNGLike,
    max_memory: float | None,
    max_size: int | None,
    self_adjoint: bool | None,
    positive_semidefinite: bool | None,
) -> Estimate:
    view = SpectralView(op, self_adjoint=self_adjoint, positive_semidefinite=positive_semidefinite)
    recipe = _check_recipe(recipe)
    method = check_choice(method, "method", RANK_METHODS)
    weighting = check_choice(weighting, "weighting", WEIGHTINGS)
    n_pairs = check_integer(n_pairs, "n_pairs")
    rtol = check_rtol(rtol)
    limit = check_budget(n_matvecs)
    n_matvecs = DEFAULT_PRODUCTS if n_matvecs is None else n_matvecs
    n_samples = check_integer(n_samples, "n_samples", minimum=0)
    if n_samples == 1:
        raise InputError("n_samples must be 0 or at least 2; one sample has no error; got 1.")
    memory = check_max_memory(max_memory)
    generator = check_rng(rng)
    if max_size is not None:
        max_size = check_integer(max_size, "max_size")

    def bounds() -> Estimate:
        return bounded_rank(
            view,
            recipe,
            weighting,
            n_pairs,
            known_pairs,
            rtol,
            n_matvecs,
            n_samples,
            generator,
            memory,
        )

    sampled = method == "auto" and rtol is not None and known_pairs is None
    if sampled and recipe == "participation-ratio" and weighting == "eigenvalue":
        assert rtol is not None
        if view.positive_semidefinite:
            ways = sure_ways(
                view,
                rtol,
                max_size,
                memory,
                exact=lambda: _required(_exact(view, recipe, weighting, memory, required=True)),
                spectrum=lambda how, most: _whole_spectrum(
                    view, recipe, weighting, how, most, memory
                ),
                bounds=bounds,
            )
            return participation_ratio_within(view, rtol, limit, ways, generator, memory)
    if method in ("auto", "exact"):
        found = _exact(view, recipe, weighting, memory, required=method == "exact")
        if found is not None:
            return found
    if method == "auto":
        method = matrix_or_bounds(view, weighting, memory, max_size)
    if method == "bounds":
        return bounds()
    if method in ("hutchinson", "hutch++"):
        return _sampled(view, recipe, weighting, method, n_matvecs, rtol, generator, memory)
    size = LARGEST_DENSE_SIZE if max_size is None else max_size
    return _whole_spectrum(view, recipe, weighting, method, size, memory)


def _whole_spectrum(
    view: SpectralView, recipe: str, weighting: str, method: str, max_size: int, max_memory: float
) -> Estimate:
    spectrum = spectrum_of(
        view.operator,
        method=method,
        max_size=max_size,
        max_memory=max_memory,
        self_adjoint=view.self_adjoint,
    )
    value = rank_from_weights(spectrum.values, recipe, weighting)
    return Estimate(
        value,
        value,
        value,
        0.0,
        spectrum.method,
        view.n_matvecs + spectrum.n_matvecs,
        QUANTITY,
        recipe,
        cost=spectrum.cost,
    )


def _required(found: Estimate | None) -> Estimate:
    assert found is not None
    return found


def _check_recipe(recipe: Any) -> str:
    if isinstance(recipe, str) and recipe in PUBLISHED_RECIPES:
        raise InputError(
            f"recipe={recipe!r} is the rank of a matrix averaged over trials and units, not of the "
            "operator: use published_rank(op)."
        )
    return check_choice(recipe, "recipe", RECIPES)


def _exact(
    view: SpectralView, recipe: str, weighting: str, max_memory: float, *, required: bool
) -> Estimate | None:
    if recipe == "participation-ratio" and weighting == "eigenvalue":
        found = _participation_ratio(view, max_memory, required=required)
        if found is not None:
            return known_estimate(found[0], "exact", view, QUANTITY, found[1], recipe)
    spectrum = view.ask_exact("eigenvalues", max_memory=max_memory, required=required)
    if spectrum is None:
        return None
    value = rank_from_weights(spectrum[0], recipe, weighting)
    return known_estimate(value, "exact", view, QUANTITY, spectrum[1], recipe)


def _participation_ratio(
    view: SpectralView, max_memory: float, *, required: bool
) -> tuple[float, Cost | None] | None:
    """Return ``tr^2 / |.|_F^2`` of A, or of ``A A*`` through the operator's ``gram``.

    Where it is required, it may take any number of flops.
    """
    max_flops = math.inf if required else EXACT_FLOPS
    sources = view.exact_sources if view.self_adjoint else view.exact_sources[1:]
    if not sources:
        return None
    total = ask_exact(sources[0], "trace", max_memory=max_memory, max_flops=max_flops)
    norm = None
    if total is not None:
        norm = ask_exact(sources[0], "frobenius_norm", max_memory=max_memory, max_flops=max_flops)
    if total is None or norm is None:
        return None
    costs = [cost for cost in (total[1], norm[1]) if cost is not None]
    cost = None
    if costs:
        cost = Cost(sum(each.flops for each in costs), max(each.memory_bytes for each in costs))
    return (float(total[0] / norm[0]) ** 2 if norm[0] > 0 else 0.0), cost


def _sampled(
    view: SpectralView,
    recipe: str,
    weighting: str,
    method: str,
    n_matvecs: int,
    rtol: float | None,
    rng: np.random.Generator,
    max_memory: float,
) -> Estimate:
    if recipe != "participation-ratio" or weighting != "eigenvalue":
        raise InputError(
            f"method={method!r} samples a participation ratio of eigenvalues; got "
            f'recipe={recipe!r} and weighting={weighting!r}. Use method="bounds", or the whole '
            "spectrum."
        )
    columns = n_matvecs / 3 if method == "hutch++" else 0.0
    memory = (2.0 * columns + 3.0 * PRODUCT_COLUMNS) * view.n * view.dtype.itemsize
    check_memory(memory, max_memory, f"{method} with n_matvecs={n_matvecs}", "Use fewer products.")
    trace_known = view.ask_exact("trace", max_memory=max_memory, max_flops=CHEAP_FLOPS)
    found = estimated_participation_ratio(
        view,
        n_matvecs,
        rng,
        sketched=method == "hutch++",
        rtol=rtol,
        trace=None if trace_known is None else float(trace_known[0]),
    )
    return Estimate(
        value=found.value,
        lower=found.lower,
        upper=found.upper,
        standard_error=found.standard_error,
        method=method,
        n_matvecs=view.n_matvecs,
        quantity=QUANTITY,
        recipe=recipe,
        confidence=CONFIDENCE if found.standard_error > 0 else 1.0,
        cost=view.whole_cost(Cost(4.0 * view.n * columns * n_matvecs, memory)),
    )
