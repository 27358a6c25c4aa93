"""What a computation may cost, and how an operator is asked for exact quantities."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from .._validation import InputError, MemoryLimitError, check_real
from ..results import Cost, format_bytes
from ._scale import is_usable, norm_of

DEFAULT_MAX_MEMORY = 4 * 2**30
"""Working memory in bytes that a spectral function may take unless told otherwise: 4 GiB."""

DENSE_SIZE = 2000
"""Up to this size of its smaller side, ``method="auto"`` takes an operator apart as a matrix."""

LARGEST_DENSE_SIZE = 8000
"""Up to this size of its smaller side an operator may be taken apart as a matrix at all."""

EXACT_FLOPS = 2e12
"""An exact method is too dear for ``method="auto"`` above this, unless it is compared."""

PRODUCTS_FOR_ONE_PERCENT = 300
"""Products that an estimate to 1 % is taken to need.

The relative variance of ``z* G z`` is at most ``2 / PR`` (PR the participation ratio of G): 300
products give a standard error of 1 % at a participation ratio of 66.
"""

CHEAP_FLOPS = 1e10
"""An exact method below this many flops is taken without looking at the alternative."""


# Values that say whether they are right: those of eigenpairs are made anew from the vectors.
_SIZED = ("trace", "trace_bounds", "frobenius_norm", "eigenvalues", "partial_trace")


def predicted_products(rtol: float | None) -> float:
    """Return how many products an estimate is taken to need for an accuracy, by default 1 %."""
    return PRODUCTS_FOR_ONE_PERCENT * (0.01 / (0.01 if rtol is None else rtol)) ** 2


def worthwhile_flops(product_flops: float | None, rtol: float | None) -> float:
    """Return how many flops an exact method may take before an estimate is the cheaper one.

    Parameters
    ----------
    product_flops : float or None
        Flops of one sample of the estimator; None where they are not known, and a constant
        stands in.
    rtol : float or None
        Relative accuracy asked for, by default 1 %.
    """
    if product_flops is None:
        return EXACT_FLOPS
    return max(CHEAP_FLOPS, predicted_products(rtol) * product_flops)


def check_max_memory(max_memory: Any) -> float:
    """Return the limit in bytes; None stands for the default."""
    if max_memory is None:
        return float(DEFAULT_MAX_MEMORY)
    return check_real(max_memory, "max_memory", minimum=0, open_minimum=True)


def check_memory(needed: float, max_memory: float, what: str, remedy: str) -> None:
    """Raise MemoryLimitError if `what` needs more than is allowed."""
    if needed > max_memory:
        raise MemoryLimitError(
            f"{what} needs about {format_bytes(needed)}, more than "
            f"max_memory={format_bytes(max_memory)}. {remedy}"
        )


def dense_memory(size: int, dtype: np.dtype[Any], k: int = 0) -> float:
    """Return the bytes that the eigenvalues and vectors of a matrix of this size take.

    With the residuals of k of them, for which the matrix is kept.
    """
    return ((4.0 if k else 3.0) * size * size + 3.0 * size * k) * dtype.itemsize


def ask_exact(
    operator: Any,
    quantity: str,
    *arguments: Any,
    max_memory: float,
    max_flops: float = EXACT_FLOPS,
    required: bool = False,
) -> tuple[Any, Cost | None] | None:
    """Ask an operator for a quantity that it may know exactly.

    Parameters
    ----------
    operator : LinearOperator
        May have a method ``exact_<quantity>``, and ``exact_cost(quantity, *arguments)``, whose
        None says that there is no closed form; it may leave out the arguments. A method that
        returns None has none for these arguments.
    quantity : str
        ``"trace"``, ``"frobenius_norm"``, ``"eigenvalues"``, ``"eigenpairs"`` or
        ``"partial_trace"``.
    *arguments
        What the method takes.
    max_memory : float
        Limit on the memory.
    max_flops : float
        Limit on the flops, unless it is required.
    required : bool
        Whether to raise where the quantity cannot be had, and to disregard the flops.

    Returns
    -------
    tuple of the value and its cost, or None
        None where the operator does not offer it, where it is too dear, and where it has overflown
        or vanished, though the operator has not.
    """
    method = getattr(operator, f"exact_{quantity}", None)
    estimate = getattr(operator, "exact_cost", None)
    cost = None if method is None or estimate is None else told_cost(estimate, quantity, arguments)
    name = "operator" if operator is None else type(operator).__name__
    if method is not None and (estimate is None or cost is not None):
        if cost is not None and required:
            remedy = 'Raise max_memory, use a smaller batch, or take method="auto".'
            check_memory(cost.memory_bytes, max_memory, f"{name}.exact_{quantity}()", remedy)
        if required or cost is None or _affordable(cost, max_memory, max_flops):
            with np.errstate(over="ignore", invalid="ignore"):
                value = method(*arguments)
            if value is not None:
                if _in_range(operator, quantity, value):
                    return value, cost
                if required:
                    raise InputError(
                        f"{name}.exact_{quantity}() leaves the range of its floats: the operator "
                        "is too large or too small. Scale inputs or parameters, use float64, or "
                        'take method="auto", which works at any scale.'
                    )
    if required:
        raise InputError(
            f'method="exact" needs a closed form, exact_{quantity}(), which this {name} does not '
            'offer here; use method="auto".'
        )
    return None


def _in_range(operator: Any, quantity: str, value: Any) -> bool:
    if quantity not in _SIZED or is_usable(quantity, value):
        return True
    if not np.all(np.asarray(value) == 0) or not hasattr(operator, "matmat"):
        return False
    return norm_of(operator, np.dtype(operator.dtype))[0] == 0


def told_cost(estimate: Any, quantity: str, arguments: tuple[Any, ...]) -> Cost | None:
    """Return what an operator says a quantity costs, for these arguments if it can tell."""
    try:
        inspect.signature(estimate).bind(quantity, *arguments)
    except TypeError:
        arguments = ()
    cost: Cost | None = estimate(quantity, *arguments)
    return cost


def _affordable(cost: Cost, max_memory: float, max_flops: float) -> bool:
    return cost.memory_bytes <= max_memory and cost.flops <= max_flops
