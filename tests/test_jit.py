"""Cached machine code never outlives the sources that it was made of."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import kpflow_numerics
from kpflow_numerics import _jit

KERNEL = """
from .._jit import jit
from .inner import inner

@jit
def kernel(x):
    return inner(x) + 1.0
"""
INNER = """
import numba

@numba.njit
def inner(x):
    return {factor} * x
"""
RUN = """
from package.kernels.outer import kernel
print(kernel(5.0), sum(kernel.stats.cache_hits.values()))
"""


def run(folder: Path) -> tuple[float, int]:
    """Return the kernel's value in a new process, and how often the cache served it."""
    settings = {"NUMBA_CACHE_DIR": str(folder / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}
    output = subprocess.run(
        [sys.executable, "-c", RUN],
        cwd=folder,
        env={**os.environ, **settings},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    value, hits = output.split()
    return float(value), int(hits)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    kernels = tmp_path / "package" / "kernels"
    kernels.mkdir(parents=True)
    for folder in (kernels, kernels.parent):
        (folder / "__init__.py").touch()
    source = Path(kpflow_numerics.__file__).parent / "_jit.py"
    shutil.copy(source, kernels.parent)
    (kernels / "outer.py").write_text(KERNEL)
    (kernels / "inner.py").write_text(INNER.format(factor=2.0))
    return tmp_path


def test_a_change_in_another_file_is_compiled(package: Path) -> None:
    assert run(package) == (11.0, 0)
    assert run(package) == (11.0, 1)
    (package / "package" / "kernels" / "inner.py").write_text(INNER.format(factor=3.0))
    assert run(package) == (16.0, 0)


def test_numba_alone_serves_the_old_code(package: Path) -> None:
    jit = package / "package" / "_jit.py"
    jit.write_text(
        jit.read_text().replace("        _depend_on_all_sources(compiled)", "        pass")
    )
    assert run(package) == (11.0, 0)
    (package / "package" / "kernels" / "inner.py").write_text(INNER.format(factor=3.0))
    assert run(package) == (11.0, 1)


def test_without_a_writable_cache_kernels_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    def njit(**options):
        if options.pop("cache", False):
            raise RuntimeError("no locator available for file")
        return lambda function: function

    monkeypatch.setattr(_jit.numba, "njit", njit)

    def double(x):
        return 2 * x

    assert _jit.jit(double) is double
