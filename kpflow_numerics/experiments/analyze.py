"""Analysis of the checkpoints of a run file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from .._validation import check_integer
from ..analysis import (
    DEFAULT_QUANTITIES,
    DEFAULT_RECIPES,
    ContributionIntegral,
    NetworkAnalysis,
    analyze_network,
)
from ..store import RunFile
from .progress import Progress, Silent


def analyze(
    path: str | Path,
    *,
    n_checkpoints: int = 8,
    n_trials: int | None = None,
    spectra: Sequence[str] = ("K", "NTK"),
    recipes: Mapping[str, Sequence[str]] = DEFAULT_RECIPES,
    quantities: Sequence[str] = DEFAULT_QUANTITIES,
    interference: str = "tasks",
    n_eigenpairs: int = 20,
    max_memory: int = 4 * 2**30,
    progress: Progress | None = None,
) -> list[NetworkAnalysis]:
    """Measure ranks, spectra and modes of K, P and NTK at checkpoints of a run.

    Parameters
    ----------
    path : str or Path
        The run file; the analyses are kept in it, in place of earlier ones.
    n_checkpoints : int
        How many checkpoints, equally spaced among those in the file, the first and last included.
    n_trials : int, optional
        Evaluation trials that the operators are built on; those of the file by default.
    spectra : sequence of {"K", "P", "NTK"}
        Operators whose leading eigenpairs are found. That of ``P P*`` is dear at the start of
        training, where nearly all its eigenvalues are alike; its rank is exact without them.
    recipes : mapping of str to sequence of str
        Recipes of effective rank for each operator, as :func:`analyze_network` takes them.
    quantities : sequence of str
        What is found beside the ranks, as :func:`analyze_network` takes it.
    interference : {"tasks", "conditions", "none"}
        Between what interference is found: tasks, where the run has several, or rows of the
        evaluation batch's condition table.
    n_eigenpairs : int
        Leading eigenpairs of each operator.
    max_memory : int
        Bytes that a computation may take.
    progress : Progress, optional
        Shows how far the analysis is.

    Returns
    -------
    list of NetworkAnalysis
        One for each checkpoint, in order.

    Raises
    ------
    InputError
        If the file cannot be used.
    MemoryLimitError
        If a computation would need more than `max_memory`.
    """
    n_checkpoints = check_integer(n_checkpoints, "n_checkpoints")
    shown = Silent() if progress is None else progress
    analyses: list[NetworkAnalysis] = []
    with RunFile.open(path, "r+") as file:
        batch = file.evaluation_batch
        if n_trials is not None and n_trials != batch.n_trials:
            batch = file.task.evaluation_batch(n_trials)
        contributions = ContributionIntegral()
        chosen = _equally_spaced(file.n_checkpoints, n_checkpoints)
        with shown.stage("analysis", len(chosen)) as stage:
            for index in chosen:
                network = file.checkpoint(index)
                analyses.append(
                    analyze_network(
                        file.cell,
                        network.params,
                        batch,
                        task=file.task,
                        iteration=network.iteration,
                        readout=network.readout or None,
                        spectra=spectra,
                        recipes=recipes,
                        quantities=quantities,
                        interference=interference,
                        contributions=contributions,
                        n_eigenpairs=n_eigenpairs,
                        max_memory=max_memory,
                    )
                )
                stage.advance(note=f"iteration {network.iteration}")
        # In one step, so that an interrupt leaves the earlier analyses with their own trials.
        file.write_analyses(analyses, batch=batch)
    return analyses


def _equally_spaced(n_stored: int, n_wanted: int) -> list[int]:
    if n_wanted == 1:
        return [n_stored - 1]
    places = np.linspace(0, n_stored - 1, min(n_wanted, n_stored))
    return sorted({int(place) for place in places.round()})
