"""The trace of an operator."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .._typing import RNGLike
from .._validation import InputError, check_choice, check_integer, check_real, check_rng
from ..results import Cost, Estimate
from ._any_scale import SPECTRUM, at_any_scale
from ._budget import (
    CHEAP_FLOPS,
    DENSE_SIZE,
    check_max_memory,
    check_memory,
    predicted_products,
    worthwhile_flops,
)
from ._cheapest_way import SureWay, cheapest_within, price_of
from ._pilot import pilot_columns, sketch_pays
from ._view import PRODUCT_COLUMNS, SpectralView
from .dense import chunks, unit_columns
from .estimators.forms import FactorForm, QuadraticForm, SelfAdjointForm, trace_form
from .estimators.running import ESTIMATORS, run
from .estimators.sampled import CONFIDENCE, LEAST_SAMPLES
from .estimators.xnystrace import xnystrace_work

TRACE_METHODS = ("auto", "exact", "bounds", "dense", *ESTIMATORS)
"""What :func:`trace` and :func:`frobenius_norm` accept as ``method``."""

BOUNDS_WIDTH = 1e-3
"""Relative distance of certain bounds of a trace unless told otherwise."""

DEFAULT_PRODUCTS = 90
"""Products that an estimator may use unless told otherwise."""

ESTIMATOR = "best estimator"
"""Among the methods of :func:`trace_of_form`, the best estimator, and not all unit vectors."""

LEAST_SKETCHED = 12
"""Samples below which ``method="auto"`` makes no sketch."""


def trace(
    op: Any,
    method: str = "auto",
    *,
    n_matvecs: int | None = None,
    rtol: float | None = None,
    rng: RNGLike = 0,
    max_memory: float | None = None,
    self_adjoint: bool | None = None,
) -> Estimate:
    """Return the trace of an operator.

    The trace of an operator A that is not self-adjoint means that of ``A A*``: the sum of its
    squared singular values, ``|A|_F^2``.

    Parameters
    ----------
    op : LinearOperator, array_like or sparse matrix, shape (n, p)
        The operator. It may have ``exact_trace()``, and ``factor`` (L with ``op = L L*``), whose
        products on the smaller side then suffice.
    method : str
        ``"exact"``
            The operator's closed form.
        ``"bounds"``
            Certain bounds from the operator, no further apart than `rtol` of the value (1e-3
            where it is not given), for less work than the closed form.
        ``"dense"``
            One product for each unit vector of the smaller side.
        ``"hutchinson"``
            Mean of ``z* A z``, or of ``|L z|^2`` on the smaller side.
        ``"one-sided-forward"``, ``"one-sided-reverse"``
            Mean of ``|L z|^2`` with z on the parameter side, which needs products with the factor
            only, or of ``|L* z|^2`` with z on the state side, which needs its adjoint only.
        ``"hutch++"``, ``"xtrace"``, ``"xnystrace"``
            A part of the range exactly and the rest sampled: more accurate where the spectrum
            decays, and dearer for nothing where it does not. XNysTrace, the best of them on
            spectra that decay fast, needs a factor.
        ``"auto"``
            Without `rtol`, ``"exact"`` if the operator offers it within `max_memory` and for no
            more flops than an estimate to 1 % is taken to need, 300 samples; below 1e10 flops in
            any case. ``"dense"`` by the same comparison.

            With `rtol`, an interval of that half width, certain or of 95 %, by the way that is
            cheapest by ``product_cost`` and ``exact_cost``: the cheapest of ``"exact"``,
            ``"bounds"`` and ``"dense"`` if it takes no more flops than the 16 samples that are the
            least of an estimate; otherwise an estimate, which may spend as much as that; and where
            that did not do, the cheapest of the three after all.

            Where the operator does not tell what a product costs, closed forms are taken up to
            2e12 flops and unit vectors up to a side of 2,000.

            For an estimator, a twelfth of the budget, at most 8 samples, goes into a pilot that
            estimates the participation ratio. Where it is larger than the number of samples, a
            sketch brings nothing, and plain samples are taken: one-sided on the smaller side
            (forward for ``p <= n``), Hutchinson's without a factor. Where it is smaller,
            XNysTrace if there is a factor, `max_memory` has room for its vectors and its own work
            is no more than that of the products (or 1e10 flops); else Hutch++. No pilot below 48
            samples, and no sketch below 12.
    n_matvecs : int, optional
        Budget of the estimators, in products of single columns. It is never exceeded; what it
        takes to know the operator (see `self_adjoint` and the notes on scales) comes on top. By
        default 90, and as many as it takes for ``"auto"`` with `rtol`.
    rtol : float, optional
        Relative accuracy: the estimators stop when half the width of the 95 % interval is at most
        this times the value, or at `n_matvecs`. Looked at after 16 samples and at each doubling.
        Where the budget did not suffice, the interval of the result says so; nothing is raised.
    rng : int, SeedSequence or Generator
        Source of the random probes.
    max_memory : float, optional
        Bytes of working memory; by default 4 GiB.
    self_adjoint : bool, optional
        Overrides ``op.self_adjoint``. An operator without that flag is tested by four random
        products.

    Returns
    -------
    Estimate
        Exact to rounding, or with its standard error and 95 % interval.

    Raises
    ------
    InputError, InputTypeError
        If an argument cannot be used, or a product gives NaN or infinity.
    MemoryLimitError
        If the method would take more than `max_memory`.

    Notes
    -----
    The cost of the result is that of the method with its products, where the operator tells what
    a product costs, and without them where it does not. The intervals were tested to hold the
    truth for 90 % or more of 200 seeds on each of several spectra.

    An operator whose squares would leave the range of its precision (a norm beyond about 1e12 or
    below 1e-12 in float32, 1e138 and 1e-138 in float64; their roots where ``A A*`` is meant) is
    divided by a power of two, as in all functions of the spectrum, and the result multiplied by it.
    Up to four products find that scale; a first product of zeros calls for them too.

    Examples
    --------
    >>> trace(np.diag([3.0, 2.0, 1.0]))
    Estimate(6, dense, 7 products)
    >>> decaying = np.diag(0.5 ** np.arange(40))
    >>> trace(decaying, "xtrace", rtol=1e-3, n_matvecs=60, self_adjoint=True).n_matvecs
    32
    """
    solve = partial(
        trace_in_range,
        method=method,
        n_matvecs=n_matvecs,
        rtol=rtol,
        rng=rng,
        max_memory=max_memory,
        self_adjoint=self_adjoint,
    )
    return at_any_scale(solve, (op,), SPECTRUM, self_adjoint=self_adjoint)


def trace_in_range(
    op: Any,
    *,
    method: str = "auto",
    n_matvecs: int | None,
    rtol: float | None = None,
    rng: RNGLike,
    max_memory: float | None,
    self_adjoint: bool | None,
) -> Estimate:
    """Return :func:`trace` of an operator whose squares stay in range, which else are refused."""
    view = SpectralView(op, self_adjoint=self_adjoint)
    method = check_choice(method, "method", TRACE_METHODS)
    limit = check_budget(n_matvecs)
    n_matvecs = DEFAULT_PRODUCTS if n_matvecs is None else n_matvecs
    rtol = check_rtol(rtol)
    memory = check_max_memory(max_memory)
    generator = check_rng(rng)
    if method == "bounds":
        return _trace_bounds(view, rtol, memory)
    form = trace_form(view, forward=side_of(method))
    if method == "auto" and rtol is not None:
        ways = []
        of_form = price_of(view, ("trace",), memory)
        if of_form is not None:
            ways.append(SureWay(of_form, lambda: _exact_trace(view, memory)))
        of_bounds = price_of(view, ("trace_bounds",), memory, rtol)
        if of_bounds is not None:
            ways.append(SureWay(of_bounds, lambda: _trace_bounds(view, rtol, memory)))
        return trace_within(form, view, rtol, limit, ways, generator, "trace", memory)
    if method in ("auto", "exact"):
        exact = view.ask_exact(
            "trace",
            max_memory=memory,
            max_flops=worthwhile_flops(form.flops, rtol),
            required=method == "exact",
        )
        if exact is not None:
            value, cost = exact
            return known_estimate(float(value), "exact", view, "trace", cost)
    found = trace_of_form(form, view.n, method, n_matvecs, generator, "trace", memory, rtol)
    return with_products(found, view)


def _exact_trace(view: SpectralView, max_memory: float) -> Estimate:
    found = view.ask_exact("trace", max_memory=max_memory, required=True)
    assert found is not None
    return known_estimate(float(found[0]), "exact", view, "trace", found[1])


def _trace_bounds(view: SpectralView, rtol: float | None, max_memory: float) -> Estimate:
    width = BOUNDS_WIDTH if rtol is None else rtol
    found = view.ask_exact("trace_bounds", width, max_memory=max_memory, required=True)
    if found is None:
        raise InputError(f"This {view.name} has no certain bounds of its trace here.")
    (lower, upper), cost = found
    value = (lower + upper) / 2
    whole = view.whole_cost(cost)
    return Estimate(value, lower, upper, 0.0, "bounds", view.n_matvecs, "trace", cost=whole)


def check_rtol(rtol: float | None) -> float | None:
    """Return a relative accuracy, or None."""
    if rtol is None:
        return None
    return check_real(rtol, "rtol", minimum=0, maximum=1, open_minimum=True)


def check_budget(n_matvecs: int | None) -> float:
    """Return how many products may be spent; None stands for any number."""
    return math.inf if n_matvecs is None else check_integer(n_matvecs, "n_matvecs")


def side_of(method: str) -> bool | None:
    """Return whether a method samples forward; None leaves it to the sizes."""
    return {"one-sided-forward": True, "one-sided-reverse": False}.get(method)


def trace_of_form(
    form: QuadraticForm,
    n: int,
    method: str,
    n_matvecs: int,
    rng: np.random.Generator,
    quantity: str,
    max_memory: float,
    rtol: float | None = None,
) -> Estimate:
    """Return the trace of a quadratic form by unit vectors or by an estimator.

    Parameters
    ----------
    form : QuadraticForm
        The form, of an operator on vectors of length `n`.
    method : str
        ``"auto"``, ``"dense"``, `ESTIMATOR` or the name of an estimator.

    Returns
    -------
    Estimate
        Its cost is that of the method without the products; see :func:`with_products`.
    """
    memory = 2.0 * PRODUCT_COLUMNS * (n + form.size) * form.dtype.itemsize
    products = float(form.cost * form.size)
    if method == "auto":
        flops = None if form.flops is None else form.size * form.flops
        pays = unit_vectors_pay(products, flops, form.flops, n_matvecs, rtol)
        method = "dense" if pays else ESTIMATOR
    if method == ESTIMATOR:
        method, spent = _best_estimator(form, n_matvecs, rtol, max_memory - memory, rng)
        n_matvecs -= spent
    if method == "dense":
        value = 0.0
        for first, last in chunks(form.size):
            value += float(np.sum(form.quadratic(unit_columns(first, last, form.size, form.dtype))))
        cost = Cost(2.0 * n * form.size, memory)
        return Estimate(value, value, value, 0.0, "dense", int(products), quantity, cost=cost)
    estimate = ESTIMATORS[method](form, rng)
    kept = _kept_bytes(form, method, n_matvecs)
    check_memory(
        memory + kept,
        max_memory,
        f"{method} with n_matvecs={n_matvecs}",
        'Use fewer products, or method="hutchinson", which keeps none.',
    )
    sampled = run(estimate, n_matvecs, rtol)
    flops, kept = estimate.work
    return Estimate(
        value=sampled.value,
        lower=sampled.lower,
        upper=sampled.upper,
        standard_error=sampled.standard_error,
        method=method,
        n_matvecs=estimate.used,
        quantity=quantity,
        confidence=CONFIDENCE if sampled.standard_error > 0 else 1.0,
        cost=Cost(flops, memory + kept),
    )


def trace_within(
    form: QuadraticForm,
    view: SpectralView,
    rtol: float,
    limit: float,
    ways: list[SureWay],
    rng: np.random.Generator,
    quantity: str,
    max_memory: float,
    *,
    of_form: float | None = None,
    finish: Callable[[Estimate], Estimate] = lambda found: found,
) -> Estimate:
    """Return a function of the trace of a form within an accuracy, by the way that is cheapest.

    Parameters
    ----------
    form : QuadraticForm
        The form, of products of `view`.
    rtol : float
        Half the width of the interval relative to the value.
    limit : float
        Products that may be spent on unit vectors or an estimate.
    ways : list of SureWay
        Those that need neither.
    of_form : float, optional
        The accuracy that the trace of the form is needed with, by default `rtol`.
    finish : callable
        Makes the result of that trace.
    """
    accuracy = rtol if of_form is None else of_form

    def from_products(method: str, budget: float) -> Estimate:
        found = trace_of_form(
            form, view.n, method, int(budget), rng, quantity, max_memory, accuracy
        )
        return with_products(finish(found), view)

    column_bytes = (view.n + 2.0 * form.size) * form.dtype.itemsize
    block = 2.0 * PRODUCT_COLUMNS * column_bytes
    # More than fit as the sketch that most decaying spectra ask for are not planned with.
    fitting = max((max_memory - block) / 2 / column_bytes, float(DEFAULT_PRODUCTS))
    left = limit - view.n_matvecs
    whole = float(form.cost * form.size)
    if form.flops is not None and whole <= left:
        ways = [*ways, SureWay(form.size * form.flops, lambda: from_products("dense", whole))]
    elif form.flops is None and whole <= max(min(limit, DEFAULT_PRODUCTS), DENSE_SIZE):
        return from_products("dense", whole)
    if left < 2 * form.cost and ways:
        return min(ways, key=lambda way: way.flops).find()

    def sample(most: float) -> Estimate:
        budget = max(min(left, most * form.cost, fitting, whole), 2.0 * form.cost)
        return from_products(ESTIMATOR, budget)

    return cheapest_within(rtol, ways, sample, form.flops, LEAST_SAMPLES)


def with_products(found: Estimate, view: SpectralView) -> Estimate:
    """Return an estimate with all products of a view counted and paid for."""
    return dataclasses.replace(found, n_matvecs=view.n_matvecs, cost=view.whole_cost(found.cost))


def root_of_square(square: Estimate) -> Estimate:
    """Return the root of an estimate, with the error propagated."""
    value = math.sqrt(max(square.value, 0.0))
    return dataclasses.replace(
        square,
        value=value,
        lower=math.sqrt(max(square.lower, 0.0)),
        upper=math.sqrt(max(square.upper, 0.0)),
        standard_error=square.standard_error / (2 * value) if value > 0 else 0.0,
    )


def unit_vectors_pay(
    products: float,
    flops: float | None,
    sample_flops: float | None,
    budget: int,
    rtol: float | None,
) -> bool:
    """Return whether a quantity is had from unit vectors for no more than an estimate takes.

    Parameters
    ----------
    products, flops
        What all unit vectors take; the flops where they are known.
    sample_flops : float or None
        Flops of one sample of the estimate.
    budget : int
        Products that may be spent on an estimate.
    rtol : float or None
        Relative accuracy asked for, by default 1 %.
    """
    if flops is None or sample_flops is None:
        return products <= max(budget, DENSE_SIZE)
    worth = flops <= worthwhile_flops(sample_flops, rtol)
    return worth or products <= min(budget, predicted_products(rtol))


def _best_estimator(
    form: QuadraticForm,
    n_matvecs: int,
    rtol: float | None,
    room: float,
    rng: np.random.Generator,
) -> tuple[str, int]:
    """Return the estimator that is expected to be best, and the products spent on finding out."""
    if not isinstance(form, FactorForm) or form.cost > 1:
        plain = "hutchinson"
    else:
        plain = "one-sided-forward" if form.forward else "one-sided-reverse"
    sketched = _sketched(form, n_matvecs, room)
    samples = n_matvecs // form.cost
    columns = pilot_columns(samples)
    if sketched is None or columns == 0 or not isinstance(form, (FactorForm, SelfAdjointForm)):
        return sketched or plain, 0
    pays = sketch_pays(form, columns, samples - columns, rtol, rng)
    return (sketched if pays else plain), columns * form.cost


def _sketched(form: QuadraticForm, n_matvecs: int, room: float) -> str | None:
    """Return the best estimator with a sketch that budget and memory have room for."""
    if n_matvecs < LEAST_SKETCHED * form.cost:
        return None
    if isinstance(form, FactorForm) and _nystrom_pays(form, n_matvecs, room):
        return "xnystrace"
    return "hutch++" if _kept_bytes(form, "hutch++", n_matvecs) <= room else None


def _nystrom_pays(form: FactorForm, n_matvecs: int, room: float) -> bool:
    n_tests = min(n_matvecs // form.product_cost, form.size, form.image_size)
    flops, _ = xnystrace_work(form, n_tests)
    of_products = 0.0 if form.flops is None else form.flops * n_matvecs / form.cost
    fits = _kept_bytes(form, "xnystrace", n_matvecs) <= room
    return fits and flops <= max(of_products, CHEAP_FLOPS)


def _kept_bytes(form: QuadraticForm, method: str, n_matvecs: int) -> float:
    """Return what an estimator keeps beside the block that it multiplies."""
    larger = form.image_size if isinstance(form, FactorForm) else form.size
    columns = min(n_matvecs / form.cost, 3.0 * form.size)
    match method:
        case "hutch++":
            numbers = columns * form.size
        case "xtrace":
            numbers = columns * (form.size + larger)
        case "xnystrace":
            numbers = columns * (2.0 * form.size + larger)
        case _:
            numbers = columns
    return numbers * form.dtype.itemsize


def known_estimate(
    value: float,
    method: str,
    view: SpectralView,
    quantity: str,
    cost: Cost | None,
    recipe: str = "",
) -> Estimate:
    """Return a value that is exact to rounding."""
    whole = view.whole_cost(cost)
    return Estimate(value, value, value, 0.0, method, view.n_matvecs, quantity, recipe, cost=whole)
