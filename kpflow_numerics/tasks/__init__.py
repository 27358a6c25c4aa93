"""Tasks: rules that give trials and judge the outputs of a network on them."""

from ._base import Task
from ._batch import TrialBatch
from ._registry import TASKS, task_from_config
from .characters import Characters
from .flip_flop import FlipFlop
from .low_rank_forecast import ForecastSystem, LowRankForecast
from .memory_pro import DelayAnti, DelayPro, MemoryAnti, MemoryPro
from .memory_pro_one_hot import (
    DelayAntiOneHot,
    DelayProOneHot,
    MemoryAntiOneHot,
    MemoryProOneHot,
)
from .multi_task import MultiTask

__all__ = [
    "TASKS",
    "Characters",
    "DelayAnti",
    "DelayAntiOneHot",
    "DelayPro",
    "DelayProOneHot",
    "FlipFlop",
    "ForecastSystem",
    "LowRankForecast",
    "MemoryAnti",
    "MemoryAntiOneHot",
    "MemoryPro",
    "MemoryProOneHot",
    "MultiTask",
    "Task",
    "TrialBatch",
    "task_from_config",
]
