"""Kernels that do their work in pieces: every piece once, on several threads, errors and all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from kpflow_numerics.kernels.pieces import EVERY, _arguments_of, jit_in_pieces, on_threads
from tests.cases.kernels import all_kernels, shared_kernels

PLANTED = """
from kpflow_numerics.kernels.pieces import EVERY, jit_in_pieces, on_threads

@jit_in_pieces
def square(piece, values, out):
    if piece == EVERY:
        on_threads(len(out))
        return
    out[piece] = values[piece] ** 2

@jit_in_pieces
def cube(piece, values, out):
    if piece == EVERY:
        on_threads(len(out))
        return
    out[piece] = values[piece] ** 3
"""
CALL = """
import numpy as np
from kpflow_numerics._threads import kernel_threads
from planted import {name} as kernel

out = np.empty(7)
with kernel_threads(1e9):
    kernel(np.arange(7.0), out)
print(*out, len(kernel.func.stats.cache_hits))
"""


@jit_in_pieces
def add_number(piece: int, first: int, step: int, bad: int, out: np.ndarray) -> None:
    """Add ``first + step piece`` to each number; fails in the piece `bad`."""
    if piece == EVERY:
        on_threads(len(out))
        return
    if piece == bad:
        raise ValueError("planted in a piece")
    out[piece] += first + step * piece


@jit_in_pieces
def name_threads(piece: int, out: np.ndarray) -> None:
    if piece == EVERY:
        on_threads(len(out))
        return
    out[piece] = numba.get_thread_id()


@intrinsic
def has_owner(_typing_context: Any, array: Any) -> Any:
    """Tell whether views of an array count its owners."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        fields = context.make_array(signature.args[0])(context, builder, arguments[0])
        return cgutils.is_not_null(builder, fields.meminfo)

    return types.boolean(array), generate


@jit_in_pieces
def find_owners(
    piece: int, arrays: tuple[np.ndarray, ...], flags: np.ndarray, every: np.ndarray
) -> None:
    """Write whether the first array and `flags` have owners, in the call for all and in each."""
    if piece == EVERY:
        every[0], every[1] = has_owner(arrays[0]), has_owner(flags)
        on_threads(len(flags))
        return
    flags[piece] = has_owner(arrays[0]) or has_owner(flags)


@pytest.mark.parametrize("n_pieces", [0, 1, 2, 7, 1000])
def test_every_piece_is_done_once(n_pieces: int) -> None:
    out = np.zeros(n_pieces)
    add_number(5, 3, -7, out)
    np.testing.assert_array_equal(out, 5 + 3 * np.arange(n_pieces))


def test_pieces_run_on_the_threads_that_numba_may_use() -> None:
    out = np.empty(64, np.int64)
    name_threads(out)
    assert len(set(out)) == numba.get_num_threads()
    allowed = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        name_threads(out)
    finally:
        numba.set_num_threads(allowed)
    assert len(set(out)) == 1


def test_an_error_in_a_piece_is_raised_and_spoils_no_later_call() -> None:
    out = np.zeros(9)
    with pytest.raises(ValueError, match="planted in a piece"):
        add_number(0, 1, 4, out)
    assert out[4] == 0.0
    out[:] = 0.0
    add_number(0, 1, -7, out)
    np.testing.assert_array_equal(out, np.arange(9.0))


def test_arrays_are_lent_to_the_pieces() -> None:
    flags, every = np.ones(5, bool), np.zeros(2, bool)
    find_owners((np.zeros(3), np.zeros(4)), flags, every)
    assert every.all(), "the probe sees no owner where there is one"
    assert not flags.any()


def test_kernels_read_from_the_cache_start_the_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "planted.py").write_text(PLANTED)
    root = str(Path(__file__).resolve().parents[2])
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{root}")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    # The second kernel is compiled where the first, and what both call, could be read.
    for name, power, n_read in (("square", 2, 0), ("square", 2, 1), ("cube", 3, 0), ("cube", 3, 1)):
        output = subprocess.run(
            [sys.executable, "-c", CALL.format(name=name)],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        *values, hits = output.split()
        assert [float(each) for each in values] == [i**power for i in range(7)]
        assert int(hits) == n_read


@pytest.mark.parametrize("names", [("excinfo", "retptr"), ("retptr", "arg.piece")])
def test_another_way_of_calling_functions_is_refused(names: tuple[str, str]) -> None:
    number = ir.IntType(64)
    kernel = ir.Function(ir.Module(), ir.FunctionType(number, [number] * 4), "kernel")
    for argument, name in zip(kernel.args, names, strict=False):
        argument.name = name
    with pytest.raises(RuntimeError, match="calls functions in another way"):
        _arguments_of(kernel)


def test_one_parallel_loop_serves_all_kernels() -> None:
    """A parallel loop of its own makes a kernel compile up to six times as long."""
    parallel = {name for name, each in all_kernels().items() if each.targetoptions.get("parallel")}
    assert parallel == {"pieces._call_for_every_piece"}
    assert len(shared_kernels()) > 20
