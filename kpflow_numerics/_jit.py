"""The one wrapper around :func:`numba.njit`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def _fingerprint() -> str:
    """Return a digest of the sources of all kernels."""
    digest = hashlib.sha256()
    for path in sorted((Path(__file__).parent / "kernels").glob("*.py")):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


_FINGERPRINT = _fingerprint()


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
    else:
        _depend_on_all_sources(compiled)
    return cast(Function, compiled)


def _depend_on_all_sources(compiled: Any) -> None:
    """Make the cached code depend on every kernel's source.

    Numba looks at the file of the function alone, and would go on with old machine code after a
    change to a function of another file that was compiled into it.
    """
    cache = compiled._cache
    own_key = cache._index_key
    cache._index_key = lambda *arguments: (*own_key(*arguments), _FINGERPRINT)
