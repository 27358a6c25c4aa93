"""The Frobenius norm of an operator."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from .._typing import RNGLike
from .._validation import check_choice, check_integer, check_rng
from ..results import Estimate
from ._budget import ask_exact, check_max_memory
from ._view import SpectralView
from .estimators.forms import squared_norm_form
from .trace import DEFAULT_PRODUCTS, TRACE_METHODS, known_estimate, trace_of_form

_QUANTITY = "Frobenius norm"


def frobenius_norm(
    op: Any,
    method: str = "auto",
    *,
    n_matvecs: int = DEFAULT_PRODUCTS,
    rng: RNGLike = 0,
    max_memory: float | None = None,
    self_adjoint: bool | None = None,
) -> Estimate:
    """Return the Frobenius norm of an operator: the root of the sum of its squared singular values.

    Unlike the trace, the spectrum and the ranks, it is always that of the operator A itself, also
    where A is not self-adjoint; ``frobenius_norm(A)**2 == trace(A)`` then.

    Parameters
    ----------
    op : LinearOperator, array_like or sparse matrix, shape (n, p)
        The operator. It may have ``exact_frobenius_norm()`` and ``factor`` (L with ``op = L L*``).
    method : {"auto", "exact", "dense", "hutchinson", "hutch++"}
        As in :func:`trace`; the estimators estimate the square, ``tr A* A``, and the error is
        propagated.
    n_matvecs, rng, max_memory, self_adjoint
        As in :func:`trace`.

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
    view = SpectralView(op, self_adjoint=self_adjoint)
    method = check_choice(method, "method", TRACE_METHODS)
    n_matvecs = check_integer(n_matvecs, "n_matvecs")
    memory = check_max_memory(max_memory)
    generator = check_rng(rng)
    if method in ("auto", "exact"):
        exact = _exact(view, memory, required=method == "exact")
        if exact is not None:
            return exact
    form = squared_norm_form(view)
    square = trace_of_form(form, view, method, n_matvecs, generator, _QUANTITY)
    value = math.sqrt(max(square.value, 0.0))
    return dataclasses.replace(
        square,
        value=value,
        lower=math.sqrt(max(square.lower, 0.0)),
        upper=math.sqrt(max(square.upper, 0.0)),
        standard_error=square.standard_error / (2 * value) if value > 0 else 0.0,
    )


def _exact(view: SpectralView, max_memory: float, *, required: bool) -> Estimate | None:
    if not view.self_adjoint and not hasattr(view.operator, "exact_frobenius_norm"):
        found = view.ask_exact("trace", max_memory=max_memory, required=required)
        value = None if found is None else math.sqrt(found[0])
    else:
        found = ask_exact(view.operator, "frobenius_norm", max_memory=max_memory, required=required)
        value = None if found is None else float(found[0])
    if found is None or value is None:
        return None
    return known_estimate(value, "exact", view, _QUANTITY, found[1])
