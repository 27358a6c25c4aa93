"""Memory-Pro and its anti and delay variants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .._typing import FloatArray
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

ANGLE_ACCURACY = (
    "fraction of trials whose response angle, averaged over the response, is within 18 degrees "
    "of the target"
)


@dataclass(frozen=True)
class _AngleTask(DelayedResponseTask):
    accuracy_meaning: ClassVar[str] = ANGLE_ACCURACY
    primary_condition: ClassVar[str] = "angle"
    _sign: ClassVar[float]
    _sustained: ClassVar[bool]

    @property
    def input_names(self) -> tuple[str, ...]:
        """A label for each input channel."""
        return ("fixation", "cos", "sin")

    @property
    def output_names(self) -> tuple[str, ...]:
        """A label for each output channel."""
        return ("fixation", "cos", "sin")

    def _random_trials(self, n_trials: int, generator: np.random.Generator) -> TrialBatch:
        return self._trials(random_angles(n_trials, generator))

    def _evaluation_trials(self, n_trials: int) -> TrialBatch:
        return self._trials(equally_spaced_angles(n_trials))

    def _trials(self, angles: FloatArray) -> TrialBatch:
        inputs, targets = delayed_response(
            point_on_circle(angles), self.periods, sign=self._sign, sustained=self._sustained
        )
        return TrialBatch(inputs, targets, conditions={"angle": angles}, task_names=(self.name,))

    def _accuracy(self, outputs: FloatArray, batch: TrialBatch) -> float:
        response = self.periods["response"]
        return fraction_of_right_angles(
            mean_over(response, outputs, batch.mask), mean_over(response, batch.targets, batch.mask)
        )


@dataclass(frozen=True)
class MemoryPro(_AngleTask):
    """Remember an angle, and give it back when fixation ends.

    Inputs are ``[fixation, cos, sin]``. Fixation is 1 until the response; the cosine and sine of
    the angle are present during the stimulus only. Targets are the fixation channel and, in the
    response only, the same cosine and sine.

    Parameters
    ----------
    n_stimulus, n_memory, n_response : int
        Steps of the three periods; `n_memory` may be 0.
    noise_std : float
        Standard deviation of the input noise of :meth:`sample`, by default ``0.1 sqrt(2)``.

    Raises
    ------
    InputError, InputTypeError
        If an option is not a number in its range.

    Notes
    -----
    :meth:`sample` draws angles uniformly on the circle; trial ``j`` of ``evaluation_batch(B)``
    has the angle ``2 pi j / B``. The condition table has the column ``angle``, in radians. Cost
    and memory are ``O(B T)``.

    A single-stimulus form of the task of Yang et al. (2019, Nature Neuroscience 22, 297) and
    Driscoll, Shenoy and Sussillo (2024, Nature Neuroscience 27, 1349).

    Examples
    --------
    >>> from kpflow_numerics.tasks import MemoryPro
    >>> task = MemoryPro(n_stimulus=2, n_memory=1, n_response=1)
    >>> batch = task.evaluation_batch(4)
    >>> batch.inputs[1].round(3)
    array([[1., 0., 1.],
           [1., 0., 1.],
           [1., 0., 0.],
           [0., 0., 0.]])
    >>> batch.targets[1].round(3)
    array([[1., 0., 0.],
           [1., 0., 0.],
           [1., 0., 0.],
           [0., 0., 1.]])
    """

    name: ClassVar[str] = "memory-pro"
    _sign: ClassVar[float] = 1.0
    _sustained: ClassVar[bool] = False


@dataclass(frozen=True)
class MemoryAnti(_AngleTask):
    """Remember an angle, and give the opposite one when fixation ends.

    As :class:`MemoryPro`, with the sign of the targets' cosine and sine flipped.

    Parameters
    ----------
    n_stimulus, n_memory, n_response : int
        Steps of the three periods; `n_memory` may be 0.
    noise_std : float
        Standard deviation of the input noise of :meth:`sample`, by default ``0.1 sqrt(2)``.

    Examples
    --------
    >>> from kpflow_numerics.tasks import MemoryAnti
    >>> MemoryAnti().evaluation_batch(4).targets[0, -1]
    array([ 0., -1.,  0.])
    """

    name: ClassVar[str] = "memory-anti"
    _sign: ClassVar[float] = -1.0
    _sustained: ClassVar[bool] = False


@dataclass(frozen=True)
class DelayPro(_AngleTask):
    """Give an angle that stays visible, when fixation ends.

    As :class:`MemoryPro`, with the stimulus present throughout the trial.

    Parameters
    ----------
    n_stimulus, n_memory, n_response : int
        Steps of the three periods; `n_memory` may be 0.
    noise_std : float
        Standard deviation of the input noise of :meth:`sample`, by default ``0.1 sqrt(2)``.

    Examples
    --------
    >>> from kpflow_numerics.tasks import DelayPro
    >>> DelayPro().evaluation_batch(4).inputs[0, -1]
    array([0., 1., 0.])
    """

    name: ClassVar[str] = "delay-pro"
    _sign: ClassVar[float] = 1.0
    _sustained: ClassVar[bool] = True


@dataclass(frozen=True)
class DelayAnti(_AngleTask):
    """Give the opposite of an angle that stays visible, when fixation ends.

    As :class:`MemoryAnti`, with the stimulus present throughout the trial.

    Parameters
    ----------
    n_stimulus, n_memory, n_response : int
        Steps of the three periods; `n_memory` may be 0.
    noise_std : float
        Standard deviation of the input noise of :meth:`sample`, by default ``0.1 sqrt(2)``.

    Examples
    --------
    >>> from kpflow_numerics.tasks import DelayAnti
    >>> batch = DelayAnti().evaluation_batch(4)
    >>> batch.inputs[0, -1], batch.targets[0, -1]
    (array([0., 1., 0.]), array([ 0., -1.,  0.]))
    """

    name: ClassVar[str] = "delay-anti"
    _sign: ClassVar[float] = -1.0
    _sustained: ClassVar[bool] = True
