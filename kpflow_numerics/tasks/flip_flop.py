"""The flip-flop task: several bits of memory set by pulses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from .._typing import FloatArray
from .._validation import check_real
from ._base import Task
from ._batch import TrialBatch


@dataclass(frozen=True)
class FlipFlop(Task):
    """Hold the sign of the last pulse of each channel.

    At every step each input channel carries a pulse with probability ``1 / mean_interval``, +1
    or -1 with equal chances and independently of all else, and is 0 otherwise. The target of a
    channel is its last pulse, from the step of the pulse itself on, and 0 before the first one.

    Parameters
    ----------
    n_bits : int
        Number of channels, I = O.
    n_steps : int
        Number of steps T.
    mean_interval : float
        Mean number of steps between two pulses of a channel, at least 1.
    evaluation_seed : int
        Seed of the pulses of :meth:`evaluation_batch`.
    noise_std : float
        Standard deviation of the input noise of :meth:`sample`, by default ``0.03 sqrt(2)``.

    Raises
    ------
    InputError, InputTypeError
        If an option is not a number in its range.

    Notes
    -----
    The trials have no natural order, so those of :meth:`evaluation_batch` are random pulses
    without noise, drawn from `evaluation_seed` by a stream that no integer seed of :meth:`sample`
    gives. The condition table has the columns ``n_pulses`` (of all channels) and ``final_bit_1``
    and so on (the last target of each channel: -1, 0 or 1). Cost and memory are ``O(B T I)``.

    The task of Sussillo and Barak (2013, Neural Computation 25, 626).

    Examples
    --------
    >>> from kpflow_numerics.tasks import FlipFlop
    >>> batch = FlipFlop(n_bits=1, n_steps=9, mean_interval=3, noise_std=0).sample(1, rng=7)
    >>> batch.inputs[0, :, 0]
    array([ 0.,  0.,  0., -1., -1.,  0.,  1.,  0.,  0.])
    >>> batch.targets[0, :, 0]
    array([ 0.,  0.,  0., -1., -1., -1.,  1.,  1.,  1.])
    """

    name: ClassVar[str] = "flip-flop"
    accuracy_meaning: ClassVar[str] = (
        "fraction of all steps and channels whose output is within 0.5 of the target"
    )
    primary_condition: ClassVar[str] = "final_bit_1"

    n_bits: int = 3
    n_steps: int = 90
    mean_interval: float = 20.0
    evaluation_seed: int = 2507
    noise_std: float = field(default=0.03 * 2**0.5, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._hold_integer("n_bits")
        self._hold_integer("n_steps")
        self._hold_integer("evaluation_seed", minimum=0)
        self._hold("mean_interval", check_real(self.mean_interval, "mean_interval", minimum=1.0))

    @property
    def input_names(self) -> tuple[str, ...]:
        """A label for each input channel."""
        return tuple(f"pulse {index + 1}" for index in range(self.n_bits))

    @property
    def output_names(self) -> tuple[str, ...]:
        """A label for each output channel."""
        return tuple(f"bit {index + 1}" for index in range(self.n_bits))

    def _random_trials(self, n_trials: int, generator: np.random.Generator) -> TrialBatch:
        shape = (n_trials, self.n_steps, self.n_bits)
        present = generator.random(shape) < 1.0 / self.mean_interval
        signs = 2.0 * generator.integers(2, size=shape) - 1.0
        return self._trials(np.where(present, signs, 0.0))

    def _evaluation_trials(self, n_trials: int) -> TrialBatch:
        seed = np.random.SeedSequence(self.evaluation_seed, spawn_key=(0,))
        return self._random_trials(n_trials, np.random.default_rng(seed))

    def _trials(self, pulses: FloatArray) -> TrialBatch:
        targets = held_pulses(pulses)
        conditions = {
            "n_pulses": np.count_nonzero(pulses, axis=(1, 2)),
            **{f"final_bit_{bit + 1}": targets[:, -1, bit] for bit in range(self.n_bits)},
        }
        return TrialBatch(pulses, targets, conditions=conditions, task_names=(self.name,))

    def _accuracy(self, outputs: FloatArray, batch: TrialBatch) -> float:
        right = (np.abs(outputs - batch.targets) < 0.5).mean(axis=2)
        return float(np.average(right, weights=batch.mask))


def held_pulses(pulses: FloatArray) -> FloatArray:
    """Return the last non-zero value of each channel up to each step, 0 before the first.

    Parameters
    ----------
    pulses : array, shape (B, T, I)
        Noise-free inputs.

    Returns
    -------
    array, shape (B, T, I)
    """
    steps = np.arange(pulses.shape[1])[:, np.newaxis]
    # Index 0 means a pulse at step 0 or none so far, and the value there is right for both.
    last = np.maximum.accumulate(np.where(pulses != 0, steps, 0), axis=1)
    return np.take_along_axis(pulses, last, axis=1)
