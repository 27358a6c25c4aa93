"""How far a sweep is."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from .directory import DONE, FAILED, PENDING, STATES, SweepDirectory
from .plan import SweepPlan, duration


@dataclass(frozen=True)
class SweepFailure:
    """A cell that failed.

    Attributes
    ----------
    index : int
        The cell.
    label : str
        Its place on the axes.
    error, message, traceback : str
        What went wrong: the type of the error, its message, and where it was raised.
    """

    index: int
    label: str
    error: str
    message: str
    traceback: str


@dataclass(frozen=True, repr=False)
class SweepStatus:
    """How far a sweep is.

    Attributes
    ----------
    plan : SweepPlan
        The plan.
    states : tuple of str
        For each cell ``"done"``, ``"failed"``, ``"running"``, ``"pending"`` or ``"damaged"`` (its
        result is not whole; it is made again by the next run).
    failures : tuple of SweepFailure
        The cells that failed.
    seconds : float
        Time that the finished cells took, each counted since it was last resumed.
    """

    plan: SweepPlan
    states: tuple[str, ...]
    failures: tuple[SweepFailure, ...]
    seconds: float

    def __repr__(self) -> str:
        return f"SweepStatus({len(self.states)} cells: {self._counts()})"

    def count(self, state: str) -> int:
        """Return how many cells are in a state."""
        return self.states.count(state)

    @property
    def is_complete(self) -> bool:
        """Whether every cell has a result."""
        return self.count(DONE) == len(self.states)

    def _counts(self) -> str:
        counts = Counter(self.states)
        return ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])

    def summary(self) -> str:
        """Return what the command line prints."""
        lines = [f"{self.plan!r}", f"{self._counts()}"]
        n_done = self.count(DONE)
        n_left = len(self.states) - n_done - self.count(FAILED)
        if n_done:
            mean = self.seconds / n_done
            lines.append(f"{mean:.2g} s a cell")
            if n_left:
                lines.append(f"about {duration(mean * n_left)} of one worker are left")
        for failure in self.failures:
            message = failure.message.splitlines()[0] if failure.message else ""
            lines += ["", f"cell {failure.index} ({failure.label}) failed:",
                      f"  {failure.error}: {message}"]  # fmt: skip
        if self.failures:
            lines += ["", "Tracebacks are in failures/; --retry-failed runs these cells again."]
        return "\n".join(lines)


def sweep_status(directory: str | Path) -> SweepStatus:
    """Return how far a sweep is, also while it runs.

    Parameters
    ----------
    directory : str or Path
        The directory that :func:`plan_sweep` made.

    Returns
    -------
    SweepStatus

    Raises
    ------
    InputError
        If the directory holds no sweep.

    Examples
    --------
    >>> import kpflow_numerics as kpf
    >>> print(kpf.sweep_status("runs/gain-sweep").summary())  # doctest: +SKIP
    """
    return read_status(SweepDirectory.open(directory))


def read_status(directory: SweepDirectory) -> SweepStatus:
    """Return how far the sweep of an open directory is."""
    plan = directory.plan
    states = []
    failures = []
    seconds = 0.0
    for index in range(plan.n_cells):
        state = directory.state(index)
        try:
            if state == DONE:
                seconds += directory.result(index)["seconds"]
            elif state == FAILED:
                record = directory.failure(index)
                words = (record["error"], record["message"], record["traceback"])
                failures.append(SweepFailure(index, plan.label(index), *words))
        except FileNotFoundError:
            # It was removed since, to be tried again.
            state = PENDING
        states.append(state)
    return SweepStatus(plan, tuple(states), tuple(failures), seconds)
