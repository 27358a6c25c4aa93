"""The Frobenius norm of an operator."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np

from .._typing import RNGLike
from .._validation import InputError, check_choice, check_integer, check_rng
from ..results import EigenResult, Estimate
from ._any_scale import NORM, at_any_scale
from ._bounded import DEFAULT_PAIRS, certain_bounds, check_positive
from ._budget import ask_exact, check_max_memory, worthwhile_flops
from ._cheapest_way import PRODUCTS_OF_BOUNDS, SureWay, price_of, price_of_operator
from ._view import SpectralView
from .brackets import norm_bracket
from .estimators.forms import squared_norm_form
from .trace import (
    DEFAULT_PRODUCTS,
    TRACE_METHODS,
    check_budget,
    check_rtol,
    known_estimate,
    root_of_square,
    side_of,
    trace_of_form,
    trace_within,
    with_products,
)

_QUANTITY = "Frobenius norm"


def frobenius_norm(
    op: Any,
    method: str = "auto",
    *,
    n_matvecs: int | None = None,
    rtol: float | None = None,
    n_pairs: int = DEFAULT_PAIRS,
    rng: RNGLike = 0,
    max_memory: float | None = None,
    self_adjoint: bool | None = None,
    positive_semidefinite: bool | None = None,
) -> Estimate:
    """Return the Frobenius norm of an operator: the root of the sum of its squared singular values.

    Unlike the trace, the spectrum and the ranks, it is always that of the operator A itself, also
    where A is not self-adjoint; ``frobenius_norm(A)**2 == trace(A)`` then.

    Parameters
    ----------
    op : LinearOperator, array_like or sparse matrix, shape (n, p)
        The operator. It may have ``exact_frobenius_norm()`` and ``factor`` (L with ``op = L L*``).
    method : str
        As in :func:`trace`; the estimators estimate the square, ``tr A* A``, and the error is
        propagated. ``"one-sided-forward"`` then samples ``|A z|^2`` and ``"one-sided-reverse"``
        ``|A* z|^2``. ``"bounds"`` takes the trace and leading eigenpairs of a positive
        semi-definite operator, which leave a certain interval.
    n_matvecs, rng, max_memory, self_adjoint
        As in :func:`trace`.
    rtol : float, optional
        Accuracy of the norm itself, as in :func:`trace`; for bounds half their distance, until
        which more eigenpairs are found.
    n_pairs : int
        Eigenpairs that bounds begin with.
    positive_semidefinite : bool, optional
        Overrides the operator's flag, which the bounds need.

    Returns
    -------
    Estimate
        Exact to rounding, or with its standard error and 95 % interval.

    Raises
    ------
    InputError, InputTypeError, MemoryLimitError
        As :func:`trace`.

    Examples
    --------
    >>> frobenius_norm([[3.0, 0.0], [0.0, 4.0]])
    Estimate(5, dense, 6 products)
    """
    solve = partial(
        _frobenius_norm,
        method=method,
        n_matvecs=n_matvecs,
        rtol=rtol,
        n_pairs=n_pairs,
        rng=rng,
        max_memory=max_memory,
        self_adjoint=self_adjoint,
        positive_semidefinite=positive_semidefinite,
    )
    return at_any_scale(solve, (op,), NORM, self_adjoint=self_adjoint)


def _frobenius_norm(
    op: Any,
    *,
    method: str,
    n_matvecs: int | None,
    rtol: float | None,
    n_pairs: int,
    rng: RNGLike,
    max_memory: float | None,
    self_adjoint: bool | None,
    positive_semidefinite: bool | None,
) -> Estimate:
    view = SpectralView(op, self_adjoint=self_adjoint, positive_semidefinite=positive_semidefinite)
    method = check_choice(method, "method", TRACE_METHODS)
    limit = check_budget(n_matvecs)
    n_matvecs = DEFAULT_PRODUCTS if n_matvecs is None else n_matvecs
    rtol = check_rtol(rtol)
    n_pairs = check_integer(n_pairs, "n_pairs")
    memory = check_max_memory(max_memory)
    generator = check_rng(rng)
    # The square is half as accurate as the norm.
    of_square = None if rtol is None else 2.0 * rtol
    if method == "bounds":
        if not view.self_adjoint:
            raise InputError(
                f'method="bounds" needs a positive semi-definite operator; this {view.name} is not '
                "self-adjoint, and its norm is the root of its trace: see trace()."
            )
        return norm_bounds(view, n_pairs, rtol, n_matvecs, generator, memory)
    form = squared_norm_form(view, forward=side_of(method))
    if method == "auto" and rtol is not None:
        ways = []
        price = _price(view, memory)
        if price is not None:
            ways.append(SureWay(price, lambda: _required(_exact(view, memory, math.inf))))
        price = _price_of_bounds(view, rtol, memory)
        if price is not None:
            ways.append(
                SureWay(
                    price, lambda: norm_bounds(view, n_pairs, rtol, n_matvecs, generator, memory)
                )
            )
        return trace_within(
            form,
            view,
            rtol,
            limit,
            ways,
            generator,
            _QUANTITY,
            memory,
            # An interval of the square that is so narrow is one of the root as asked, also where
            # all of it is on one side.
            of_form=max(2.0 * rtol * (1.0 - rtol), rtol),
            finish=root_of_square,
        )
    if method in ("auto", "exact"):
        worth = worthwhile_flops(form.flops, of_square)
        exact = _exact(view, memory, worth, required=method == "exact")
        if exact is not None:
            return exact
    square = trace_of_form(form, view.n, method, n_matvecs, generator, _QUANTITY, memory, of_square)
    return with_products(root_of_square(square), view)


def norm_bounds(
    view: SpectralView,
    n_pairs: int,
    rtol: float | None,
    n_matvecs: int,
    rng: np.random.Generator,
    max_memory: float,
) -> Estimate:
    """Return certain bounds of the norm of the self-adjoint operator of a view."""
    check_positive(view, "the trace")
    rank_bound = view.smaller_side

    def bracket(total: float, pairs: EigenResult) -> tuple[float, float]:
        return norm_bracket(
            total, pairs.values, pairs.residual_norms, rank_bound, complete=pairs.complete
        )

    found = certain_bounds(
        view,
        bracket,
        n_pairs=n_pairs,
        known_pairs=None,
        rtol=rtol,
        n_matvecs=n_matvecs,
        rng=rng,
        max_memory=max_memory,
    )
    certified = found.trace.is_certified
    return Estimate(
        value=(found.lower + found.upper) / 2,
        lower=found.lower,
        upper=found.upper,
        standard_error=found.slope * found.trace.standard_error,
        method="bounds" if certified else f"bounds, trace by {found.trace.method}",
        n_matvecs=found.n_matvecs + view.n_matvecs,
        quantity=_QUANTITY,
        confidence=found.trace.confidence,
        cost=found.cost,
    )


def _price(view: SpectralView, max_memory: float) -> float | None:
    """Return the flops of the closed form that `_exact` takes."""
    if view.self_adjoint or hasattr(view.operator, "exact_frobenius_norm"):
        return price_of_operator(view.operator, "frobenius_norm", max_memory)
    return price_of(view, ("trace",), max_memory)


def _price_of_bounds(view: SpectralView, rtol: float, max_memory: float) -> float | None:
    if not (view.self_adjoint and view.positive_semidefinite):
        return None
    of_trace = (
        price_of(view, ("trace",), max_memory),
        price_of(view, ("trace_bounds",), max_memory, rtol / 20),
    )
    known = [price for price in of_trace if price is not None]
    if not known or view.product_flops is None:
        return None
    return min(known) + PRODUCTS_OF_BOUNDS * view.product_flops


def _required(found: Estimate | None) -> Estimate:
    assert found is not None
    return found


def _exact(
    view: SpectralView, max_memory: float, max_flops: float, *, required: bool = True
) -> Estimate | None:
    limits = {"max_memory": max_memory, "max_flops": max_flops}
    if not view.self_adjoint and not hasattr(view.operator, "exact_frobenius_norm"):
        found = view.ask_exact("trace", **limits, required=required)
        value = None if found is None else math.sqrt(found[0])
    else:
        found = ask_exact(view.operator, "frobenius_norm", **limits, required=required)
        value = None if found is None else float(found[0])
    if found is None or value is None:
        return None
    return known_estimate(value, "exact", view, _QUANTITY, found[1])
