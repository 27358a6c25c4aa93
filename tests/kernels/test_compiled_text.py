"""No kernel compiles code for text: it would be the text of an error, and seconds for nothing.

An assignment of an array to a slice makes Numba compile the message of a broadcasting error: 14 s
alone, where a loop takes less than one.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics.kernels.columns import MOST_COLUMNS
from kpflow_numerics.trajectory import simulate_keeping
from tests.cases.cells import CELL_CASES, CellCase
from tests.cases.kernels import all_kernels, shared_kernels

TEXT = b"unicode"
CASES = [each for case in CELL_CASES for each in (case, case.in_float32())]

PLANTED = """
import numba
import numpy as np

@numba.njit(cache=True)
def kernel(a, b):
    {statement}

kernel(np.zeros(5), np.ones(2))
"""
CHECK = """
import sys
from tests.kernels.test_compiled_text import has_text
import planted
print(has_text(planted.kernel), len(planted.kernel.stats.cache_hits))
"""


def machine_code(kernel: Any) -> Iterator[bytes]:
    """Return the code of every signature that a kernel has been compiled for, or read as."""
    for signature, compiled in kernel.overloads.items():
        if signature in kernel.stats.cache_hits:
            # Numba shows nothing of code that it has read: here is the file.
            files = kernel._cache._cache_file
            key = kernel._cache._index_key(signature, kernel.targetctx.codegen())
            yield Path(files._data_path(files._load_index()[key])).read_bytes()
        else:
            yield compiled.library.get_llvm_str().encode()


def has_text(kernel: Any) -> bool:
    return any(TEXT in code for code in machine_code(kernel))


def run_all(case: CellCase) -> None:
    """Run all products of a cell, of one column and of more, also from what a simulation keeps."""
    lin = case.linearization()
    for k in (1, 2, MOST_COLUMNS + 1):
        block = np.ones((*lin.dims, k), case.dtype)
        for product in (lin.state_jvp, lin.state_vjp, lin.param_gram, lin.propagate):
            product(block)
        lin.propagate_adjoint(block)
        lin.tangent_kernel(block)
        lin.param_jvp(lin.param_vjp(block))
    lin.state_jacobians()
    plain = case.trajectory()
    kpf.linearize(simulate_keeping(case.cell, plain.params, plain.inputs, plain.h0))


@pytest.fixture(scope="module")
def compiled() -> dict[str, Any]:
    for case in CASES:
        run_all(case)
    return all_kernels()


def test_no_kernel_has_code_for_text(compiled: dict[str, Any]) -> None:
    with_text = {
        name for name, each in compiled.items() if any(TEXT in c for c in machine_code(each))
    }
    assert not with_text


def test_every_kernel_that_python_calls_is_looked_at(compiled: dict[str, Any]) -> None:
    called = shared_kernels()
    assert len(called) > 20
    assert not {name for name in called if not compiled[name].overloads}


@pytest.mark.parametrize(
    ("statement", "text"),
    [("a[1:3] = b", True), ("for j in range(2): a[1 + j] = b[j]", False)],
)
def test_a_planted_assignment_to_a_slice_is_seen_compiled_and_read(
    statement: str, text: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "planted.py").write_text(PLANTED.format(statement=statement))
    root = str(Path(__file__).resolve().parents[2])
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{root}")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    for n_read in (0, 1):
        output = subprocess.run(
            [sys.executable, "-c", CHECK], check=True, capture_output=True, text=True
        ).stdout
        assert output.split() == [str(text), str(n_read)]
