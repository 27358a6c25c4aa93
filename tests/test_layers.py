"""Imports go one way: a module imports only from strictly lower layers, or its own package."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "kpflow_numerics"

LAYERS = {
    "_typing": 0,
    "_errors": 0,
    "_validation": 0,
    "_threads": 0,
    "_jit": 0,
    "_recorder": 0,
    "results": 0,
    "testing": 0,
    "kernels": 0,
    "tasks": 1,
    "cells": 1,
    "readout": 2,
    "trajectory": 2,
    "linearization": 3,
    "core_compression": 4,
    "operators": 5,
    "training": 5,
    "spectral": 6,
    "analysis": 7,
    "store": 8,
    "interop": 8,
    "plotting": 9,
    "experiments": 10,
    "cli": 11,
    "__main__": 12,
}
WITHIN_ZERO = {"_typing", "_errors", "_validation", "_threads", "_jit", "results"}
NEVER_LOADED = ("h5py", "matplotlib", "tqdm", "autograd", "safetensors", "xarray", "torch", "jax")


def imported_units(source: str, module: tuple[str, ...]) -> set[str]:
    """Return the units (top-level modules and packages of ours) that a module's source imports."""
    units = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = module[: len(module) - node.level]
            path = [*base, *(node.module.split(".") if node.module else [])]
            units |= {path[0]} if path else {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("kpflow_numerics"):
            path = node.module.split(".")[1:]
            units |= {path[0]} if path else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            for alias in node.names:
                path = alias.name.split(".")
                if path[0] == "kpflow_numerics" and len(path) > 1:
                    units.add(path[1])
    return {name for name in units if not name.startswith("__")}


def violations(source: str, module: tuple[str, ...]) -> list[str]:
    """Return a sentence for every import that goes up or sideways."""
    unit = module[0]
    found = []
    for target in sorted(imported_units(source, module) - {unit}):
        if target not in LAYERS:
            found.append(f"{'.'.join(module)} imports {target}, which has no layer")
        elif LAYERS[target] >= LAYERS[unit] and not (LAYERS[unit] == 0 and target in WITHIN_ZERO):
            found.append(
                f"{'.'.join(module)} (layer {LAYERS[unit]}) imports {target} "
                f"(layer {LAYERS[target]})"
            )
    return found


def modules() -> list[tuple[Path, tuple[str, ...]]]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts != ("__init__",):
            found.append((path, parts))
    return found


@pytest.mark.parametrize(("path", "module"), modules(), ids=lambda value: str(value)[-40:])
def test_imports_go_down(path: Path, module: tuple[str, ...]) -> None:
    # A package's __init__ counts as a module inside the package: relative level 1 is the package.
    assert violations(path.read_text(encoding="utf-8"), module) == []


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("from ..training import fit", ("operators", "base")),
        ("from .operators import Propagator", ("trajectory",)),
        ("from .. import analysis", ("spectral", "trace")),
        ("import kpflow_numerics.plotting", ("store", "schema")),
        ("from kpflow_numerics.tasks import MemoryPro", ("cells", "gru")),
        ("def f():\n    from ..cli import main", ("experiments", "run")),
    ],
)
def test_a_planted_import_is_caught(source: str, module: tuple[str, ...]) -> None:
    assert violations(source, module)


def test_every_unit_has_a_layer() -> None:
    units = {module[0] for _, module in modules()}
    assert units == set(LAYERS)


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, kpflow_numerics as kpf\n"
        "kpf.GRU, kpf.simulate, kpf.TangentKernel, kpf.MemoryPro, kpf.effective_rank\n"
        f"print([name for name in {NEVER_LOADED!r} if name in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"


def test_every_public_name_resolves() -> None:
    code = "import kpflow_numerics as kpf\nfor name in kpf.__all__: getattr(kpf, name)"
    subprocess.run([sys.executable, "-c", code], check=True)
