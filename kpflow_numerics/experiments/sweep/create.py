"""Planning a sweep from a script."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..config import RunSettings
from .directory import SweepDirectory
from .plan import DEFAULT_KEPT, DEFAULT_TOLERANCES, SweepPlan, make_plan


def plan_sweep(
    base: RunSettings | Mapping[str, Any],
    axes: Mapping[str, Any],
    directory: str | Path | None = None,
    *,
    threads: int = 1,
    keep: Sequence[str] = DEFAULT_KEPT,
    keep_runs: bool = True,
    tolerances: Iterable[float] = DEFAULT_TOLERANCES,
) -> SweepPlan:
    """Plan a grid of runs.

    Parameters
    ----------
    base : RunSettings or mapping
        What all runs share: tables ``task``, ``cell``, ``training`` and ``analysis`` as in a
        configuration file. What is left out has its default.
    axes : mapping
        What varies. A setting such as ``"cell.gain"`` is an axis of its own; a name of one's own
        with a mapping of settings is an axis along which these vary together. Values are a list,
        array or ``range``, a table ``{"from": 1e-4, "to": 1e-2, "n": 5, "spacing": "log"}``, or a
        text: ``"0.5, 1, 2"``, ``"0:5"`` (five integers), ``"log:1e-4:1e-2:5"``. The grid is the
        Cartesian product, the last axis fastest.
    directory : str or Path, optional
        Where the sweep is to be made; nothing is written without it. A directory that has the same
        plan is taken as it is.
    threads : int
        Threads of the BLAS and of the kernels in each worker. Results have the same bits for the
        same number of threads.
    keep : sequence of str
        What the results hold of each run beside its final numbers: ``"loss-curve"``, ``"ranks"``,
        ``"quantities"``, ``"lyapunov"``, ``"interference"`` (these are the default) and
        ``"spectra"``. With none but the first the runs are not analysed. Which quantities are found
        is ``analysis.quantities``, and between what interference ``analysis.interference``.
    keep_runs : bool
        Whether the run file of each cell stays.
    tolerances : iterable of float
        Losses of which the first iteration that reaches them is noted. The loss is that of an
        iteration's own batch, as for ``training.tolerance``, which ends the training.

    Returns
    -------
    SweepPlan

    Raises
    ------
    InputError, InputTypeError
        If the settings of a cell cannot be used, two cells are the same, or the directory has
        another plan.
    StoreError
        If the system refuses to make the directory.

    Examples
    --------
    >>> import kpflow_numerics as kpf
    >>> plan = kpf.plan_sweep(
    ...     {"task": {"name": "memory-pro"}, "cell": {"kind": "gru"}},
    ...     {"cell.gain": "log:0.5:2:3", "training.seed": range(5)})
    >>> plan
    SweepPlan(gain (3) x seed (5): 15 cells)
    >>> plan.label(7), plan.settings(7).cell.gain
    ('gain=1, seed=2', 1.0)
    """
    plan = make_plan(
        base, axes, threads=threads, keep=keep, keep_runs=keep_runs, tolerances=tolerances
    )
    if directory is not None:
        SweepDirectory.create(directory, plan)
    return plan
