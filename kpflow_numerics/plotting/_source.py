"""What a figure is drawn from: a run file, its path, or results in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from .._validation import InputError, InputTypeError, check_integer
from ..analysis.checkpoint import NetworkAnalysis
from ..tasks import Task, TrialBatch

Source: TypeAlias = "str | Path | NetworkAnalysis | Sequence[NetworkAnalysis] | Any"


@dataclass(frozen=True, eq=False)
class Record:
    """The parts of a source that figures use."""

    analyses: tuple[NetworkAnalysis, ...]
    batch: TrialBatch | None = None
    task: Task | None = None

    def analysis(self, index: int) -> NetworkAnalysis:
        """Return one analysis; -1 is the last."""
        count = len(self.analyses)
        return self.analyses[check_integer(index, "index", minimum=-count, maximum=count - 1)]


def read_record(
    source: Source, batch: TrialBatch | None = None, task: Task | None = None
) -> Record:
    """Return what figures use of a source.

    Raises
    ------
    InputError
        If the source holds no analysis.
    InputTypeError
        If the source is none of those that figures can be drawn from.
    """
    if isinstance(source, Record):
        return source
    if isinstance(source, (str, Path)):
        from ..store import RunFile

        with RunFile.open(source) as run:
            return read_record(run, batch, task)
    if isinstance(source, NetworkAnalysis):
        analyses: tuple[Any, ...] = (source,)
    elif isinstance(source, Sequence):
        analyses = tuple(source)
    elif hasattr(source, "analyses"):
        analyses = tuple(source.analyses)
        if not analyses:
            raise _empty()
        batch = source.evaluation_batch if batch is None else batch
        task = source.task if task is None else task
    else:
        raise _unusable(source)
    for analysis in analyses:
        if not isinstance(analysis, NetworkAnalysis):
            raise _unusable(analysis)
    if not analyses:
        raise _empty()
    return Record(analyses, batch, task)


def _empty() -> InputError:
    return InputError(
        "There is no analysis to draw: the source holds none. Analyse the run first, with "
        "kpf.analyze or `kpflow analyze`."
    )


def _unusable(source: Any) -> InputTypeError:
    return InputTypeError(
        "A figure is drawn from a run file, its path, a NetworkAnalysis or a sequence of them; "
        f"got {type(source).__name__}."
    )
