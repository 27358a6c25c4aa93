"""Sweeps of networks so small that a run takes some hundredths of a second."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import kpflow_numerics as kpf

BASE = {
    "task": {"n_stimulus": 2, "n_memory": 2, "n_response": 2},
    "cell": {"kind": "vanilla-rnn", "n_units": 4},
    "training": {"n_iterations": 8, "batch_size": 3, "checkpoint_every": 4},
    "analysis": {
        "n_trials": 2,
        "n_checkpoints": 2,
        "n_eigenpairs": 3,
        "recipes": ["entropy"],
        "quantities": ["trace", "lyapunov"],
    },
}
AXES = {
    "cell.gain": [0.5, 1.5],
    "training.learning_rate": "log:1e-3:1e-1:3",
    "training.seed": "5:12",
}


@pytest.fixture(scope="module")
def room() -> Iterator[Path]:
    """A directory in memory where there is one: what is tested is no disk."""
    memory = Path("/dev/shm")
    usable = memory.is_dir() and os.access(memory, os.W_OK)
    with tempfile.TemporaryDirectory(dir=memory if usable else None) as folder:
        yield Path(folder)


@pytest.fixture
def make(tmp_path: Path):
    """Plan a sweep, and return its directory."""

    def plan(axes, *, name="sweep", base=BASE, **options):
        kpf.plan_sweep(base, axes, tmp_path / name, **options)
        return tmp_path / name

    return plan


@pytest.fixture(scope="module")
def grid_of_42(room: Path):
    """Plan the sweep of 42 cells at a name."""

    def plan(name):
        kpf.plan_sweep(BASE, AXES, room / name)
        return room / name

    return plan
