"""What the training loop asks of whatever keeps its results, in memory or in a file."""

from __future__ import annotations

from typing import Protocol

from .results import Checkpoint


class Recorder(Protocol):
    """Keeps the course of a training run.

    A run that was interrupted is resumed from a committed checkpoint, and then records the
    iterations after it once more: an iteration that is recorded again replaces the earlier record.
    """

    def record_iteration(self, iteration: int, loss: float, gradient_norm: float) -> None:
        """Keep the training loss and gradient norm at the parameters of an iteration.

        What was recorded since the last commit may be lost in a crash.
        """

    def commit(self, checkpoint: Checkpoint) -> None:
        """Make a checkpoint durable, with every iteration recorded before it."""


class MemoryRecorder:
    """Keeps a run in memory: the simplest recorder, which every other one is compared with.

    Attributes
    ----------
    losses, gradient_norms : dict of int to float
        What was recorded for each iteration.
    checkpoints : dict of int to Checkpoint
        What was committed, by iteration.

    Examples
    --------
    >>> from kpflow_numerics._recorder import MemoryRecorder
    >>> recorder = MemoryRecorder()
    >>> recorder.record_iteration(0, loss=0.5, gradient_norm=2.0)
    >>> recorder.losses
    {0: 0.5}
    """

    def __init__(self) -> None:
        self.losses: dict[int, float] = {}
        self.gradient_norms: dict[int, float] = {}
        self.checkpoints: dict[int, Checkpoint] = {}

    def record_iteration(self, iteration: int, loss: float, gradient_norm: float) -> None:
        """Keep the training loss and gradient norm at the parameters of an iteration."""
        self.losses[iteration] = loss
        self.gradient_norms[iteration] = gradient_norm

    def commit(self, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint."""
        self.checkpoints[checkpoint.iteration] = checkpoint
