"""The trace of an operator."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._typing import RNGLike
from .._validation import check_choice, check_integer, check_rng
from ..results import Cost, Estimate
from ._budget import DENSE_SIZE, check_max_memory
from ._view import PRODUCT_COLUMNS, SpectralView
from .dense import chunks, unit_columns
from .estimators.forms import QuadraticForm, trace_form
from .estimators.hutch_plus_plus import hutch_plus_plus
from .estimators.hutchinson import hutchinson
from .estimators.sampled import CONFIDENCE, SampledTrace

TRACE_METHODS = ("auto", "exact", "dense", "hutchinson", "hutch++")
"""What :func:`trace` and :func:`frobenius_norm` accept as ``method``."""

DEFAULT_PRODUCTS = 90
"""Products that an estimator may use unless told otherwise."""


def trace(
    op: Any,
    method: str = "auto",
    *,
    n_matvecs: int = DEFAULT_PRODUCTS,
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
    method : {"auto", "exact", "dense", "hutchinson", "hutch++"}
        ``"auto"`` asks the operator; then sums the diagonal (``"dense"``: one product for each
        unit vector of the smaller side) where that side is at most 2,000; then estimates by
        Hutch++.
    n_matvecs : int
        Budget of the estimators, in products of single columns.
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

    Examples
    --------
    >>> trace(np.diag([3.0, 2.0, 1.0]))
    Estimate(6, dense, 7 products)
    """
    view = SpectralView(op, self_adjoint=self_adjoint)
    method = check_choice(method, "method", TRACE_METHODS)
    n_matvecs = check_integer(n_matvecs, "n_matvecs")
    memory = check_max_memory(max_memory)
    generator = check_rng(rng)
    if method in ("auto", "exact"):
        exact = view.ask_exact("trace", max_memory=memory, required=method == "exact")
        if exact is not None:
            value, cost = exact
            return known_estimate(float(value), "exact", view, "trace", cost)
    return trace_of_form(trace_form(view), view, method, n_matvecs, generator, "trace")


def trace_of_form(
    form: QuadraticForm,
    view: SpectralView,
    method: str,
    n_matvecs: int,
    rng: np.random.Generator,
    quantity: str,
) -> Estimate:
    """Return the trace of a quadratic form by unit vectors or by an estimator."""
    if method == "auto":
        method = "dense" if form.cost * form.size <= max(n_matvecs, DENSE_SIZE) else "hutch++"
    memory = 2.0 * PRODUCT_COLUMNS * (view.n + form.size) * form.dtype.itemsize
    if method == "dense":
        value = 0.0
        for first, last in chunks(form.size):
            value += float(np.sum(form.quadratic(unit_columns(first, last, form.size, form.dtype))))
        cost = Cost(2.0 * view.n * form.size, memory)
        return known_estimate(value, "dense", view, quantity, cost)
    estimator = hutch_plus_plus if method == "hutch++" else hutchinson
    sampled: SampledTrace = estimator(form, n_matvecs, rng)
    columns = n_matvecs // (3 * form.cost) if method == "hutch++" else 0
    memory += 3.0 * columns * form.size * form.dtype.itemsize
    return Estimate(
        value=sampled.value,
        lower=sampled.lower,
        upper=sampled.upper,
        standard_error=sampled.standard_error,
        method=method,
        n_matvecs=view.n_matvecs,
        quantity=quantity,
        confidence=CONFIDENCE if sampled.standard_error > 0 else 1.0,
        cost=Cost(4.0 * form.size * columns * n_matvecs, memory),
    )


def known_estimate(
    value: float,
    method: str,
    view: SpectralView,
    quantity: str,
    cost: Cost | None,
    recipe: str = "",
) -> Estimate:
    """Return a value that is exact to rounding."""
    return Estimate(value, value, value, 0.0, method, view.n_matvecs, quantity, recipe, cost=cost)
