"""The one wrapper around :func:`numba.njit`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def jit(function: Function) -> Function:
    """Compile `function` with Numba, cached on disk where a writable place exists."""
    return _compile(function, parallel=False)


def jit_parallel(function: Function) -> Function:
    """Compile `function` with :func:`numba.prange` loops run on several threads.

    A kernel made by this function must never be called from several Python threads at once.
    """
    return _compile(function, parallel=True)


def _compile(function: Function, *, parallel: bool) -> Function:
    options: dict[str, Any] = {"nogil": True, "parallel": parallel, "error_model": "numpy"}
    try:
        compiled = numba.njit(cache=True, **options)(function)
    except RuntimeError:
        # Numba refuses to cache in a read-only installation whose user has no writable home.
        compiled = numba.njit(**options)(function)
    return cast(Function, compiled)
