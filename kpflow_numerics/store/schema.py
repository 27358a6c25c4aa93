"""The layout of a run file.

::

    /                 schema_name, schema_version, run_id
    /network          kind, settings                      the cell, to be built again
    /task             task_name, options                  the task, to be built again
    /provenance       versions, threads, seed, date; configuration as TOML
    /training         loss, gradient_norm (iteration)
    /checkpoints      iteration, loss, evaluation_loss, accuracy, gradient_norm, rng_state
                      (checkpoint); params, readout and optimizer hold (checkpoint, ...)
    /evaluation       inputs, targets (trial, time, ...), mask, task ids, conditions (trial)
    /analysis         ranks (checkpoint, operator, recipe) and quantities (checkpoint, quantity)
                      with bounds; Lyapunov exponents; spectra, modes, components; interference
                      holds (checkpoint, task, other_task), and may be absent
    /validation       error, threshold, passed (check)
    /signs            number, threshold, verdict (sign) and course (sign, checkpoint); may be absent

What a checkpoint is counts only once its iteration stands in ``/checkpoints/iteration``, which is
written last.

Version 2 added quantities and Lyapunov exponents to ``/analysis``, version 3 the interference of
tasks. Files of versions 1 and 2 are read, and become version 3 when analyses are written to them.
"""

from __future__ import annotations

from pathlib import Path

import h5py

from .. import __version__
from .._validation import InputError

SCHEMA_NAME = "kpflow_numerics run"
SCHEMA_VERSION = 3
SWEEP_NAME = "kpflow_numerics sweep"
RUN_ID = "run_id"

_REQUIRED = (RUN_ID, "network", "task", "provenance", "training", "checkpoints")
_AXES = {
    "weight_ih": ("row", "input"),
    "weight_hh": ("row", "previous_unit"),
    "bias": ("row",),
    "bias_ih": ("row",),
    "bias_hh": ("row",),
    "readout/weight": ("output", "unit"),
    "readout/bias": ("output",),
}


def axis_names(name: str, shape: tuple[int, ...], n_units: int) -> tuple[str, ...]:
    """Return a label for each axis of a parameter, or of what an optimiser keeps of it.

    Rows of gated cells are ``gate_unit``: the gates one after another, a row for each unit.

    Examples
    --------
    >>> from kpflow_numerics.store.schema import axis_names
    >>> axis_names("weight_hh", (24, 8), n_units=8)
    ('gate_unit', 'previous_unit')
    """
    known = _AXES.get(name, ())
    if len(known) != len(shape):
        return tuple(f"{name.replace('/', '_')}_axis_{axis}" for axis in range(len(shape)))
    row = "unit" if shape and shape[0] == n_units else "gate_unit"
    return tuple(row if label == "row" else label for label in known)


def check_schema(file: h5py.File, path: Path) -> None:
    """Refuse a file that is not a run file, or that only a newer version can read.

    Raises
    ------
    InputError
        If it is; the message says what to do.
    """
    name, version = file.attrs.get("schema_name"), file.attrs.get("schema_version")
    if name != SCHEMA_NAME or version is None:
        made = "Run files are made by `kpflow run` or kpf.train(..., store=...)."
        if name == SWEEP_NAME:
            made = (
                "It is a merged sweep: kpf.SweepGrid.open reads it, `kpflow sweep report` draws it."
            )
        raise InputError(f"{path} is an HDF5 file, but not a run file of kpflow_numerics. {made}")
    if version > SCHEMA_VERSION:
        raise InputError(
            f"{path} has schema version {version}; kpflow_numerics {__version__} reads versions up "
            f"to {SCHEMA_VERSION}. Update kpflow_numerics."
        )
    lacking = [name for name in _REQUIRED if name not in file]
    if lacking:
        raise InputError(f"{path} is damaged: it lacks {', '.join(lacking)}.")
