"""Four delayed-response tasks in one network, told apart by a cue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .._typing import FloatArray, IntArray
from ._batch import TrialBatch
from ._delayed_response import (
    DelayedResponseTask,
    delayed_response,
    equally_spaced_angles,
    fraction_of_right_angles,
    mean_over,
    point_on_circle,
    random_angles,
)
from .memory_pro import ANGLE_ACCURACY, DelayAnti, DelayPro, MemoryAnti, MemoryPro

_TASKS = (MemoryPro, MemoryAnti, DelayPro, DelayAnti)
_NAMES = tuple(task.name for task in _TASKS)
_SIGNS = np.array([task._sign for task in _TASKS])
_SUSTAINED = np.array([task._sustained for task in _TASKS])


@dataclass(frozen=True)
class MultiTask(DelayedResponseTask):
    """Memory-Pro, Memory-Anti, Delay-Pro and Delay-Anti, each announced by a cue.

    A trial begins with a context period in which one of four cue channels is 1 and the network
    fixates; the trial of the task follows, with the cue gone. Inputs are ``[fixation, cos, sin]``
    and the four cues, targets ``[fixation, cos, sin]``.

    Parameters
    ----------
    n_stimulus, n_memory, n_response : int
        Steps of the three periods after the context; `n_memory` may be 0.
    n_context : int
        Steps of the context period.
    noise_std : float
        Standard deviation of the noise that :meth:`sample` adds to all seven input channels, by
        default ``0.1 sqrt(2)``.

    Raises
    ------
    InputError, InputTypeError
        If an option is not a number in its range.

    Notes
    -----
    :meth:`sample` draws the task of each trial uniformly, and angles uniformly on the circle.
    :meth:`evaluation_batch` gives every task the same number of trials (the first ones a trial
    more, where four does not divide B), ordered by task, with angles equally spaced within each.
    The condition table has the columns ``task`` (equal to ``task_ids``) and ``angle``. Cost and
    memory are ``O(B T)``.

    Examples
    --------
    >>> from kpflow_numerics.tasks import MultiTask
    >>> batch = MultiTask().evaluation_batch(8)
    >>> batch.inputs.shape, batch.targets.shape
    ((8, 120, 7), (8, 120, 3))
    >>> batch.task_ids
    array([0, 0, 1, 1, 2, 2, 3, 3])
    >>> batch.task_names
    ('memory-pro', 'memory-anti', 'delay-pro', 'delay-anti')
    >>> batch.inputs[2, 0]
    array([1., 0., 0., 0., 1., 0., 0.])
    """

    name: ClassVar[str] = "multi-task"
    accuracy_meaning: ClassVar[str] = ANGLE_ACCURACY
    primary_condition: ClassVar[str] = "task"

    n_context: int = 30

    def __post_init__(self) -> None:
        super().__post_init__()
        self._hold_integer("n_context")

    @property
    def input_names(self) -> tuple[str, ...]:
        """A label for each input channel."""
        return ("fixation", "cos", "sin", *(f"cue {name}" for name in _NAMES))

    @property
    def output_names(self) -> tuple[str, ...]:
        """A label for each output channel."""
        return ("fixation", "cos", "sin")

    def _durations(self) -> dict[str, int]:
        return {"context": self.n_context, **super()._durations()}

    def _random_trials(self, n_trials: int, generator: np.random.Generator) -> TrialBatch:
        task_ids = generator.integers(len(_TASKS), size=n_trials)
        return self._trials(task_ids, random_angles(n_trials, generator))

    def _evaluation_trials(self, n_trials: int) -> TrialBatch:
        task_ids = np.sort(np.arange(n_trials) % len(_TASKS))
        counts = np.bincount(task_ids)
        return self._trials(
            task_ids, np.concatenate([equally_spaced_angles(count) for count in counts])
        )

    def _trials(self, task_ids: IntArray, angles: FloatArray) -> TrialBatch:
        stimuli, targets = delayed_response(
            point_on_circle(angles),
            self.periods,
            sign=_SIGNS[task_ids],
            sustained=_SUSTAINED[task_ids],
        )
        cues = np.zeros((task_ids.size, self.n_steps, len(_TASKS)))
        cues[np.arange(task_ids.size), : self.n_context, task_ids] = 1.0
        return TrialBatch(
            np.concatenate([stimuli, cues], axis=2),
            targets,
            conditions={"task": task_ids, "angle": angles},
            task_ids=task_ids,
            task_names=_NAMES,
        )

    def _accuracy(self, outputs: FloatArray, batch: TrialBatch) -> float:
        response = self.periods["response"]
        return fraction_of_right_angles(
            mean_over(response, outputs, batch.mask), mean_over(response, batch.targets, batch.mask)
        )
