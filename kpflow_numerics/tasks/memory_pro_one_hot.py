"""Memory-Pro and its variants with the angle given as one of several buckets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .._typing import FloatArray, IntArray
from ._batch import TrialBatch
from ._delayed_response import DelayedResponseTask, delayed_response, mean_over


@dataclass(frozen=True)
class _OneHotTask(DelayedResponseTask):
    accuracy_meaning: ClassVar[str] = (
        "fraction of trials in which the channel of the target's bucket, averaged over the "
        "response, stands out furthest in the wanted direction"
    )
    primary_condition: ClassVar[str] = "angle"
    _sign: ClassVar[float]
    _sustained: ClassVar[bool]

    n_buckets: int = 30

    def __post_init__(self) -> None:
        super().__post_init__()
        self._hold_integer("n_buckets", minimum=2)

    @property
    def input_names(self) -> tuple[str, ...]:
        """A label for each input channel."""
        return ("fixation", *(f"bucket {index}" for index in range(self.n_buckets)))

    @property
    def output_names(self) -> tuple[str, ...]:
        """A label for each output channel."""
        return self.input_names

    def _random_trials(self, n_trials: int, generator: np.random.Generator) -> TrialBatch:
        return self._trials(generator.integers(self.n_buckets, size=n_trials))

    def _evaluation_trials(self, n_trials: int) -> TrialBatch:
        return self._trials(np.arange(n_trials) * self.n_buckets // n_trials)

    def _trials(self, buckets: IntArray) -> TrialBatch:
        code = np.zeros((buckets.size, self.n_buckets))
        code[np.arange(buckets.size), buckets] = 1.0
        inputs, targets = delayed_response(
            code, self.periods, sign=self._sign, sustained=self._sustained
        )
        conditions = {"angle": 2.0 * np.pi * buckets / self.n_buckets, "bucket": buckets}
        return TrialBatch(inputs, targets, conditions=conditions, task_names=(self.name,))

    def _accuracy(self, outputs: FloatArray, batch: TrialBatch) -> float:
        response = self.periods["response"]
        answers = self._sign * mean_over(response, outputs, batch.mask)
        wanted = self._sign * mean_over(response, batch.targets, batch.mask)
        right = (answers.argmax(axis=1) == wanted.argmax(axis=1)) & (answers.max(axis=1) > 0)
        return float(np.mean(right))


@dataclass(frozen=True)
class MemoryProOneHot(_OneHotTask):
    """Remember which of several channels was on, and give it back when fixation ends.

    Memory-Pro with the angle in one of `n_buckets` buckets: the stimulus and the response are a
    one-hot code in place of a cosine and a sine. Inputs and targets are the fixation channel and
    then one channel a bucket.

    Parameters
    ----------
    n_stimulus, n_memory, n_response : int
        Steps of the three periods; `n_memory` may be 0.
    n_buckets : int
        Number of buckets, at least 2.
    noise_std : float
        Standard deviation of the input noise of :meth:`sample`, by default ``0.1 sqrt(2)``.

    Raises
    ------
    InputError, InputTypeError
        If an option is not a number in its range.

    Notes
    -----
    :meth:`sample` draws buckets uniformly; trial ``j`` of ``evaluation_batch(B)`` has the bucket
    ``floor(j n_buckets / B)``, so that no two buckets differ by more than one in their number of
    trials. The condition table has the columns ``angle`` (``2 pi bucket / n_buckets``) and
    ``bucket``. Cost and memory are ``O(B T n_buckets)``.

    Examples
    --------
    >>> from kpflow_numerics.tasks import MemoryProOneHot
    >>> task = MemoryProOneHot(n_buckets=6)
    >>> batch = task.evaluation_batch(3)
    >>> batch.conditions["bucket"]
    array([0, 2, 4])
    >>> batch.targets[1, -1]
    array([0., 0., 0., 1., 0., 0., 0.])
    """

    name: ClassVar[str] = "memory-pro-one-hot"
    _sign: ClassVar[float] = 1.0
    _sustained: ClassVar[bool] = False


@dataclass(frozen=True)
class MemoryAntiOneHot(_OneHotTask):
    """Remember which channel was on, and give it back with the opposite sign.

    As :class:`MemoryProOneHot`, with the sign of the targets' one-hot code flipped: the wanted
    channel is -1 and the others 0.

    Parameters
    ----------
    n_stimulus, n_memory, n_response : int
        Steps of the three periods; `n_memory` may be 0.
    n_buckets : int
        Number of buckets, at least 2.
    noise_std : float
        Standard deviation of the input noise of :meth:`sample`, by default ``0.1 sqrt(2)``.

    Examples
    --------
    >>> from kpflow_numerics.tasks import MemoryAntiOneHot
    >>> MemoryAntiOneHot(n_buckets=3).evaluation_batch(3).targets[1, -1]
    array([ 0.,  0., -1.,  0.])
    """

    name: ClassVar[str] = "memory-anti-one-hot"
    _sign: ClassVar[float] = -1.0
    _sustained: ClassVar[bool] = False


@dataclass(frozen=True)
class DelayProOneHot(_OneHotTask):
    """Give the channel that stays on, when fixation ends.

    As :class:`MemoryProOneHot`, with the stimulus present throughout the trial.

    Parameters
    ----------
    n_stimulus, n_memory, n_response : int
        Steps of the three periods; `n_memory` may be 0.
    n_buckets : int
        Number of buckets, at least 2.
    noise_std : float
        Standard deviation of the input noise of :meth:`sample`, by default ``0.1 sqrt(2)``.

    Examples
    --------
    >>> from kpflow_numerics.tasks import DelayProOneHot
    >>> DelayProOneHot(n_buckets=3).evaluation_batch(3).inputs[1, -1]
    array([0., 0., 1., 0.])
    """

    name: ClassVar[str] = "delay-pro-one-hot"
    _sign: ClassVar[float] = 1.0
    _sustained: ClassVar[bool] = True


@dataclass(frozen=True)
class DelayAntiOneHot(_OneHotTask):
    """Give the channel that stays on with the opposite sign, when fixation ends.

    As :class:`MemoryAntiOneHot`, with the stimulus present throughout the trial.

    Parameters
    ----------
    n_stimulus, n_memory, n_response : int
        Steps of the three periods; `n_memory` may be 0.
    n_buckets : int
        Number of buckets, at least 2.
    noise_std : float
        Standard deviation of the input noise of :meth:`sample`, by default ``0.1 sqrt(2)``.

    Examples
    --------
    >>> from kpflow_numerics.tasks import DelayAntiOneHot
    >>> batch = DelayAntiOneHot(n_buckets=3).evaluation_batch(3)
    >>> batch.inputs[1, -1], batch.targets[1, -1]
    (array([0., 0., 1., 0.]), array([ 0.,  0., -1.,  0.]))
    """

    name: ClassVar[str] = "delay-anti-one-hot"
    _sign: ClassVar[float] = -1.0
    _sustained: ClassVar[bool] = True
