"""The compiled kernels of the package."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

from numba.core.dispatcher import Dispatcher

from kpflow_numerics import kernels


def _contents() -> Iterator[tuple[str, Any]]:
    for module in pkgutil.iter_modules(kernels.__path__):
        name = f"{kernels.__name__}.{module.name}"
        for each, value in vars(importlib.import_module(name)).items():
            yield f"{module.name}.{each}", value


def shared_kernels() -> dict[str, Any]:
    """Return those that do a piece of their work in each call, by ``module.name``."""
    return {name: value.func for name, value in _contents() if isinstance(value, functools.partial)}


def all_kernels() -> dict[str, Any]:
    """Return what Numba compiles, by ``module.name``; what a module imports is another's."""
    own = {
        name: value
        for name, value in _contents()
        if isinstance(value, Dispatcher) and value.py_func.__module__.endswith(name.split(".")[0])
    }
    return own | shared_kernels()
