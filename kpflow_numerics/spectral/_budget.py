"""What a computation may cost, and how an operator is asked for exact quantities."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._validation import InputError, MemoryLimitError, check_real
from ..results import Cost, format_bytes

DEFAULT_MAX_MEMORY = 4 * 2**30
"""Working memory in bytes that a spectral function may take unless told otherwise: 4 GiB."""

DENSE_SIZE = 2000
"""Up to this size of its smaller side, ``method="auto"`` takes an operator apart as a matrix."""

LARGEST_DENSE_SIZE = 8000
"""Up to this size of its smaller side an operator may be taken apart as a matrix at all."""

EXACT_FLOPS = 2e12
"""An operator's exact method is too dear for ``method="auto"`` above this: about a minute."""


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


def dense_memory(size: int, dtype: np.dtype[Any]) -> float:
    """Return the bytes that the eigenvalues and vectors of a matrix of this size take."""
    return 3.0 * size * size * dtype.itemsize


def ask_exact(
    operator: Any,
    quantity: str,
    *arguments: Any,
    max_memory: float,
    required: bool = False,
) -> tuple[Any, Cost | None] | None:
    """Ask an operator for a quantity that it may know exactly.

    Parameters
    ----------
    operator : LinearOperator
        May have a method ``exact_<quantity>``, and ``exact_cost(quantity)``. A method that raises
        NotImplementedError counts as absent.
    quantity : str
        ``"trace"``, ``"frobenius_norm"``, ``"eigenvalues"``, ``"eigenpairs"`` or
        ``"partial_trace"``.
    *arguments
        What the method takes.
    max_memory : float
        Limit on the memory.
    required : bool
        Whether to raise where the quantity cannot be had, and to disregard the flops.

    Returns
    -------
    tuple of the value and its cost, or None
        None where the operator does not offer it or where it is too dear.
    """
    method = getattr(operator, f"exact_{quantity}", None)
    name = type(operator).__name__
    if method is not None:
        estimate = getattr(operator, "exact_cost", None)
        cost = estimate(quantity) if estimate is not None else None
        if cost is not None and cost.memory_bytes > max_memory and required:
            remedy = 'Raise max_memory, use a smaller batch, or take method="auto".'
            check_memory(cost.memory_bytes, max_memory, f"{name}.{method.__name__}()", remedy)
        affordable = cost is None or (cost.memory_bytes <= max_memory and cost.flops <= EXACT_FLOPS)
        if affordable or required:
            try:
                return method(*arguments), cost
            except NotImplementedError:
                pass
    if required:
        raise InputError(
            f'method="exact" needs an operator with an exact_{quantity}() method, which this '
            f'{name} does not offer; use method="auto".'
        )
    return None
