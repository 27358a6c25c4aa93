"""What training returns, and how it fails."""

from __future__ import annotations

from dataclasses import dataclass

from .._typing import FloatArray, Params
from ..cells.base import Cell
from ..results import Checkpoint
from ..tasks import Task


class TrainingDiverged(ArithmeticError):  # noqa: N818
    """Training met a loss, a gradient or parameters that are not finite.

    Attributes
    ----------
    iteration : int
        Where it happened.
    checkpoints : tuple of Checkpoint
        What was committed before; all of it is good.
    """

    def __init__(self, message: str, iteration: int, checkpoints: tuple[Checkpoint, ...]) -> None:
        super().__init__(message)
        self.iteration = iteration
        self.checkpoints = checkpoints

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The last good checkpoint; None if the initial network is not finite already."""
        return self.checkpoints[-1] if self.checkpoints else None


@dataclass(frozen=True, eq=False)
class TrainingRun:
    """A trained network and its course.

    Attributes
    ----------
    cell : Cell
        The cell.
    task : Task
        The task.
    params, readout : dict of str to ndarray
        Parameters after the last update.
    losses, gradient_norms : ndarray, shape (n_iterations,)
        Training loss on the batch of each iteration, and the norm of its gradient before
        clipping, at the parameters that the update started from.
    checkpoints : tuple of Checkpoint
        The checkpoint that was resumed from, if any, and all that were committed since. The last
        one holds `params` and `readout`, and their loss and accuracy.
    stop_reason : str
        ``"iterations"``: all were made. ``"tolerance"``: the training loss reached the tolerance.
    first_iteration : int
        The iteration of ``losses[0]``; 0 unless the run was resumed.
    """

    cell: Cell
    task: Task
    params: Params
    readout: Params
    losses: FloatArray
    gradient_norms: FloatArray
    checkpoints: tuple[Checkpoint, ...]
    stop_reason: str
    first_iteration: int

    def __repr__(self) -> str:
        return (
            f"TrainingRun({self.cell!r} on {self.task.name}, stopped by {self.stop_reason}, "
            f"{self.checkpoints[-1]!r})"
        )
