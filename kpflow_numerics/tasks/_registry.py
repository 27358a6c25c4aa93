"""The tasks by the names that the command line and files use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import Any

from .._validation import InputError, InputTypeError, check_choice, suggest
from ._base import Task
from .characters import Characters
from .flip_flop import FlipFlop
from .low_rank_forecast import LowRankForecast
from .memory_pro import DelayAnti, DelayPro, MemoryAnti, MemoryPro
from .memory_pro_one_hot import (
    DelayAntiOneHot,
    DelayProOneHot,
    MemoryAntiOneHot,
    MemoryProOneHot,
)
from .multi_task import MultiTask

_CLASSES: tuple[type[Task], ...] = (
    MemoryPro,
    MemoryAnti,
    DelayPro,
    DelayAnti,
    MemoryProOneHot,
    MemoryAntiOneHot,
    DelayProOneHot,
    DelayAntiOneHot,
    MultiTask,
    FlipFlop,
    LowRankForecast,
    Characters,
)

TASKS: Mapping[str, type[Task]] = MappingProxyType({task.name: task for task in _CLASSES})
"""The class of each task, by its name on the command line."""


def task_from_config(name: str, options: Mapping[str, Any] | None = None) -> Task:
    """Return the task of a name with the given options.

    Parameters
    ----------
    name : str
        A key of :data:`TASKS`.
    options : mapping of str to number or str, optional
        Arguments of the task's class; what is left out has its default.

    Returns
    -------
    Task

    Raises
    ------
    InputError
        If the name or an option is unknown (the message suggests the nearest one), or a value is
        out of range.
    InputTypeError
        If `options` is not a mapping, or a value is of the wrong type.

    Examples
    --------
    >>> from kpflow_numerics.tasks import task_from_config
    >>> task = task_from_config("flip-flop", {"n_bits": 2})
    >>> task
    FlipFlop(noise_std=0.042..., n_bits=2, n_steps=90, mean_interval=20.0, evaluation_seed=2507)
    >>> task_from_config(task.name, task.to_dict()) == task
    True
    """
    task = TASKS[check_choice(name, "task", TASKS)]
    if options is None:
        options = {}
    if not isinstance(options, Mapping):
        raise InputTypeError(
            f"options of task {name!r} must map names to values; got {type(options).__name__}."
        )
    accepted = [option.name for option in fields(task)]
    for option in options:
        if option not in accepted:
            raise InputError(
                f"task {name!r} has no option {option!r}; it takes {', '.join(accepted)}."
                f"{suggest(str(option), accepted)}"
            )
    return task(**options)
