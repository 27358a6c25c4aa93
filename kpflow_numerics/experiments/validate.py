"""Validation of a network in a run file."""

from __future__ import annotations

from pathlib import Path

from .._validation import check_integer
from ..analysis import validate
from ..results import ValidationReport
from ..store import RunFile
from ..trajectory import simulate


def validate_run(path: str | Path, checkpoint: int = -1) -> ValidationReport:
    """Check every formula on a checkpoint of a run, and keep the verdict in the file.

    Parameters
    ----------
    path : str or Path
        The run file.
    checkpoint : int
        Which checkpoint; the last by default.

    Returns
    -------
    ValidationReport

    Raises
    ------
    InputError
        If the file cannot be used or has no such checkpoint.
    """
    with RunFile.open(path, "r+") as file:
        count = file.n_checkpoints
        network = file.checkpoint(
            check_integer(checkpoint, "checkpoint", minimum=-count, maximum=count - 1)
        )
        batch = file.evaluation_batch
        trajectory = simulate(file.cell, network.params, batch.inputs)
        has_readout = bool(network.readout)
        report = validate(
            trajectory,
            targets=batch if has_readout else None,
            readout=network.readout if has_readout else None,
        )
        file.write_validation(report)
    return report
