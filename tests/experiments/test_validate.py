"""Validation of a checkpoint of a run file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import kpflow_numerics as kpf
from kpflow_numerics.experiments.validate import validate_run
from kpflow_numerics.results import ValidationReport
from tests.cases.runs import of_characters


def report_with(path: Path, loss: kpf.training.losses.Loss) -> ValidationReport:
    """Return the report of the last checkpoint of a file with a loss."""
    with kpf.RunFile.open(path) as file:
        batch, network, cell = file.evaluation_batch, file.checkpoint(-1), file.cell
    trajectory = kpf.simulate(cell, network.params, batch.inputs)
    return kpf.validate(
        trajectory,
        targets=batch.targets,
        readout=network.readout,
        mask=batch.mask,
        loss=loss,
    )


@pytest.mark.parametrize("dropped", [False, True])
def test_the_loss_is_that_of_the_task(
    dropped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = of_characters(tmp_path / "run.h5")
    right, squares = (
        report_with(path, loss) for loss in (kpf.CrossEntropy(), kpf.MeanSquaredError())
    )
    if dropped:

        def validate(trajectory: kpf.Trajectory, **options: Any) -> ValidationReport:
            return kpf.validate(trajectory, **options, loss=kpf.MeanSquaredError())

        monkeypatch.setattr("kpflow_numerics.experiments.validate.validate", validate)
    found = [check.error for check in validate_run(path).checks]
    expected, other = (squares, right) if dropped else (right, squares)
    assert found == [check.error for check in expected.checks]
    assert found != [check.error for check in other.checks]
