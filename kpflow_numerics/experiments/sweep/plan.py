"""The plan of a sweep: a grid of runs, and how they are made."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..._errors import InputError, InputTypeError, suggest
from ..._validation import check_choice, check_flag, check_integer, check_real
from ...store import to_toml
from ..build import build_cell, build_optimizer, build_task, check_training
from ..config import RunSettings, override, read_settings, settings_from_dict
from ..run import check_analysis
from .axes import SweepAxis, read_axes

KEPT = ("loss-curve", "ranks", "quantities", "lyapunov", "interference", "spectra")
"""What the results of a sweep can hold of each run, beside the final numbers."""

DEFAULT_KEPT = ("loss-curve", "ranks", "quantities", "lyapunov", "interference")
"""What they hold unless told otherwise."""

ANALYSED = ("ranks", "quantities", "lyapunov", "interference", "spectra")
"""What of it needs an analysis of the checkpoints."""

DEFAULT_TOLERANCES = (0.1, 0.01, 0.001)
"""Losses of which the first iteration that reaches them is noted, unless told otherwise."""

MAX_CELLS = 100_000

# Flops a second of one thread and seconds that a cell takes beside: large networks on a quiet
# machine with a fast disk, and small ones on a busy machine with a slow one.
_RATES = ((8e9, 0.1), (1e9, 0.8))
_OPTIONS = ("threads", "keep", "keep_runs", "tolerances", "order", "axes")


@dataclass(frozen=True)
class SweepPlan:
    """A grid of runs.

    A cell of the grid is a :class:`RunSettings`, and its results depend on nothing else but the
    number of threads: not on the order in which cells are run, nor on the number of workers.

    Attributes
    ----------
    base : dict
        Tables of settings that all cells share.
    axes : tuple of SweepAxis
        What varies; the grid is their Cartesian product, the last axis fastest.
    threads : int
        Threads of the BLAS and of the kernels in each worker.
    keep : tuple of str
        What the results hold of each run, among :data:`KEPT`.
    keep_runs : bool
        Whether the run file of each cell stays.
    tolerances : tuple of float
        Losses of which the first iteration that reaches them is noted.
    """

    base: Mapping[str, Mapping[str, Any]]
    axes: tuple[SweepAxis, ...]
    threads: int = 1
    keep: tuple[str, ...] = DEFAULT_KEPT
    keep_runs: bool = True
    tolerances: tuple[float, ...] = DEFAULT_TOLERANCES

    def __repr__(self) -> str:
        grid = " x ".join(f"{axis.name} ({len(axis)})" for axis in self.axes)
        return f"SweepPlan({grid}: {self.n_cells} cells)"

    @property
    def shape(self) -> tuple[int, ...]:
        """Places on each axis."""
        return tuple(len(axis) for axis in self.axes)

    @property
    def n_cells(self) -> int:
        """Number of runs."""
        return math.prod(self.shape)

    def places(self, index: int) -> tuple[int, ...]:
        """Return the place of a cell on each axis."""
        return tuple(int(place) for place in np.unravel_index(index, self.shape))

    def assignments(self, index: int) -> dict[str, Any]:
        """Return the settings of a cell that vary, by dotted key."""
        found: dict[str, Any] = {}
        for axis, place in zip(self.axes, self.places(index), strict=True):
            found |= axis.assignments(place)
        return found

    def settings(self, index: int) -> RunSettings:
        """Return the settings of a cell."""
        tables = override(self.base, self.assignments(index))
        return settings_from_dict(tables, f"cell {index} of the sweep ({self.label(index)})")

    def label(self, index: int) -> str:
        """Return a cell's place in words, such as ``"gain=0.5, seed=3"``."""
        return ", ".join(
            axis.label(place) if axis.is_linked else f"{axis.name}={axis.label(place)}"
            for axis, place in zip(self.axes, self.places(index), strict=True)
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the plan in the form of the TOML file."""
        return {
            **{section: dict(values) for section, values in self.base.items()},
            "sweep": {
                "threads": self.threads,
                "keep": list(self.keep),
                "keep_runs": self.keep_runs,
                "tolerances": list(self.tolerances),
                # TOML puts tables, which linked axes are, behind values.
                "order": [axis.name for axis in self.axes],
                "axes": {
                    axis.name if axis.is_linked else axis.keys[0]: axis.table()
                    for axis in self.axes
                },
            },
        }

    def to_toml(self) -> str:
        """Return the plan as TOML, from which the same plan is read."""
        return to_toml(self.to_dict())

    @property
    def is_analysed(self) -> bool:
        """Whether anything that is kept needs an analysis."""
        return any(kept in ANALYSED for kept in self.keep)

    def flops(self) -> tuple[float, float]:
        """Return about how many floating-point operations training and analyses take.

        Training takes ``6 B T p`` an iteration, for a batch of ``B`` trials of ``T`` steps and
        ``p`` parameters, and fewer iterations where a tolerance ends it. An analysis takes about
        ``(T + 10) B T N^3`` a checkpoint, for the exact traces of the NTK and ``P P*``.
        """
        training = analysis = 0.0
        for settings in self.all_settings():
            task = build_task(settings)
            cell = build_cell(settings.cell, task.n_inputs)
            trained, analysed = settings.training, settings.analysis
            training += (
                6.0 * trained.n_iterations * trained.batch_size * task.n_steps * cell.n_parameters
            )
            if self.is_analysed:
                stored = 1 + -(-trained.n_iterations // trained.checkpoint_every)
                size = analysed.n_trials * task.n_steps * float(cell.n_state) ** 3
                analysis += min(stored, analysed.n_checkpoints) * (task.n_steps + 10) * size
        return training, analysis

    def summary(self, workers: int) -> str:
        """Return the grid and what it will take, as the command line prints them."""
        lines = [f"{self!r}", ""]
        for axis in self.axes:
            setting = "" if axis.keys == (axis.name,) else f"  ({', '.join(axis.keys)})"
            places = [axis.label(place) for place in range(len(axis))]
            separator = "; " if axis.is_linked else ", "
            lines.append(f"  {axis.name}{setting}: {separator.join(places)}")
        training, analysis = self.flops()
        total = training + analysis
        count = min(workers, self.n_cells)
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        fastest, slowest = (
            duration((self.n_cells * overhead + total / (rate * self.threads)) / count)
            for rate, overhead in _RATES
        )
        lines += [
            "",
            f"cells     {self.n_cells}",
            f"workers   {workers} on this machine, each of {threads}",
            f"work      {training:.2g} flops of training, {analysis:.2g} of analyses",
            f"time      roughly {fastest} to {slowest} with these workers",
            f"kept      {', '.join(('final numbers', *self.keep))}"
            f"{', run files' if self.keep_runs else ''}",
        ]
        return "\n".join(lines)

    def all_settings(self) -> Iterator[RunSettings]:
        """Yield the settings of every cell."""
        return map(self.settings, range(self.n_cells))


def make_plan(
    base: RunSettings | Mapping[str, Any],
    axes: Mapping[str, Any],
    *,
    threads: int = 1,
    keep: Sequence[str] = DEFAULT_KEPT,
    keep_runs: bool = True,
    tolerances: Iterable[float] = DEFAULT_TOLERANCES,
    order: Sequence[str] | None = None,
) -> SweepPlan:
    """Return a plan whose every cell is known to be usable.

    Parameters
    ----------
    base : RunSettings or mapping
        What all cells share, as an object or as tables of a configuration file.
    axes : mapping
        What varies, as :func:`plan_sweep` takes it.
    threads, keep, keep_runs, tolerances
        As :class:`SweepPlan` has them.
    order : sequence of str, optional
        The names of the axes in their order on the grid; as they come by default.

    Raises
    ------
    InputError, InputTypeError
        If the settings of a cell cannot be used, two cells are the same, or a value is out of
        range.
    """
    tables = base.to_dict() if isinstance(base, RunSettings) else dict(base)
    if isinstance(keep, str):
        raise InputTypeError(f"keep must be a sequence of names; got the string {keep!r}.")
    plan = SweepPlan(
        base=_filled(tables),
        axes=_typed(_ordered(read_axes(axes), order), tables),
        threads=check_integer(threads, "threads"),
        keep=tuple(dict.fromkeys(check_choice(name, "keep", KEPT) for name in keep)),
        keep_runs=check_flag(keep_runs, "keep_runs"),
        tolerances=_tolerances(tolerances),
    )
    _check_cells(plan)
    return plan


def plan_from_tables(tables: Mapping[str, Any], source: str) -> SweepPlan:
    """Return the plan that the tables of a TOML file describe.

    Raises
    ------
    InputError, InputTypeError
        As :func:`make_plan`, and if the table ``[sweep]`` has unknown keys.
    """
    base = dict(tables)
    options = base.pop("sweep", {})
    if not isinstance(options, Mapping):
        raise InputTypeError(f"{source}: sweep must be a table [sweep]; got {options!r}.")
    for key in options:
        if key not in _OPTIONS:
            raise InputError(
                f"{source}: [sweep] has no key {key!r}; it takes {', '.join(_OPTIONS)}."
                f"{suggest(key, _OPTIONS)}"
            )
    return make_plan(
        base, options.get("axes", {}), **{k: options[k] for k in options if k != "axes"}
    )


def read_plan(path: str | Path) -> SweepPlan:
    """Return the plan of a TOML file.

    Raises
    ------
    InputError, InputTypeError
        If the file is missing, or no plan.
    """
    return plan_from_tables(read_settings(path), str(path))


def _filled(tables: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return tables that name every setting, so that new defaults would not change the plan."""
    return settings_from_dict(tables, "the base settings of the sweep").to_dict()


def _typed(axes: Sequence[SweepAxis], base: Mapping[str, Any]) -> tuple[SweepAxis, ...]:
    """Return the axes with the values that the settings make of those that were given."""
    typed = []
    for axis in axes:
        values = []
        for place in range(len(axis)):
            assigned = axis.assignments(place)
            known = settings_from_dict(override(base, assigned), f"axis {axis.name}").to_dict()
            values.append(
                tuple(known[key.partition(".")[0]][key.partition(".")[2]] for key in axis.keys)
            )
        typed.append(SweepAxis(axis.name, axis.keys, tuple(values)))
    return tuple(typed)


def _ordered(axes: Sequence[SweepAxis], order: Sequence[str] | None) -> list[SweepAxis]:
    if order is None:
        return list(axes)
    named = {axis.name: axis for axis in axes}
    if sorted(order) != sorted(named):
        raise InputError(
            f"order must name every axis once, {', '.join(named)}; got {list(order)!r}."
        )
    return [named[name] for name in order]


def _tolerances(given: Iterable[float]) -> tuple[float, ...]:
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise InputTypeError(f"tolerances must be a sequence of losses; got {given!r}.")
    checked = [
        check_real(value, "a loss of tolerances", minimum=0, open_minimum=True) for value in given
    ]
    return tuple(sorted(set(checked), reverse=True))


def _check_cells(plan: SweepPlan) -> None:
    if not plan.axes:
        raise InputError(
            "A sweep needs at least one axis: name a setting and its values, in [sweep.axes] or "
            "with --vary cell.gain=0.5,1,2."
        )
    if plan.n_cells > MAX_CELLS:
        grid = " x ".join(map(str, plan.shape))
        raise InputError(
            f"The grid {grid} has {plan.n_cells:,} cells; a sweep takes up to {MAX_CELLS:,}. Vary "
            "fewer settings, or over fewer values."
        )
    seen: dict[str, int] = {}
    for index in range(plan.n_cells):
        settings = plan.settings(index)
        text = to_toml(settings.to_dict())
        if text in seen:
            raise InputError(
                f"Cells {seen[text]} and {index} of the sweep are the same ({plan.label(index)}); "
                "every value of an axis must differ from the others."
            )
        seen[text] = index
        try:
            task = build_task(settings)
            build_cell(settings.cell, task.n_inputs)
            build_optimizer(settings.training)
            check_training(settings)
            check_analysis(settings.analysis)
        except (InputError, InputTypeError) as error:
            kind = type(error)
            raise kind(f"Cell {index} of the sweep ({plan.label(index)}): {error}") from error


def duration(seconds: float) -> str:
    """Return a time as people say it."""
    if seconds < 120:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.2g} min" if seconds < 7200 else f"{seconds / 3600:.2g} h"


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return in words how two plans, as dicts, differ."""
    olds, news = dict(_flat(old)), dict(_flat(new))
    return [
        f"{key} is {olds.get(key, 'absent')!r} there, {news.get(key, 'absent')!r} here"
        for key in sorted(itertools.chain(olds, set(news) - set(olds)))
        if olds.get(key) != news.get(key)
    ]


def _flat(tables: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tables.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
