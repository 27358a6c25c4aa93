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
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}


def jit(function: Function) -> Function:
    """Compile `function` with Numba, cached on disk where a writable place exists."""
    try:
        compiled = numba.njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:
        # Numba refuses to cache in a read-only installation whose user has no writable home.
        compiled = numba.njit(**_OPTIONS)(function)
    else:
        _depend_on_all_sources(compiled)
    return cast(Function, compiled)


def jit_parallel(function: Function) -> Function:
    """Compile `function`, its :func:`numba.prange` loops on several threads, for kernels to call.

    It is not cached, the kernels are. Of a parallel function that it read from the cache Numba
    forgets that who calls it needs the threads: such a kernel, read in its turn, ends a process
    that has not started them.
    """
    return cast(Function, numba.njit(parallel=True, **_OPTIONS)(function))


def _depend_on_all_sources(compiled: Any) -> None:
    """Make the cached code depend on every kernel's source.

    Numba looks at the file of the function alone, and would go on with old machine code after a
    change to a function of another file that was compiled into it.
    """
    cache = compiled._cache
    own_key = cache._index_key
    cache._index_key = lambda *arguments: (*own_key(*arguments), _FINGERPRINT)
