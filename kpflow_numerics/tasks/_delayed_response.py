"""What the delayed-response tasks share: fixate, see a stimulus, respond when fixation ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from .._typing import ArrayLike, FloatArray
from ._base import Task

ANGLE_TOLERANCE = np.pi / 10
INPUT_NOISE = 0.1 * 2**0.5


@dataclass(frozen=True)
class DelayedResponseTask(Task):
    """A task in which a response is due when the fixation input ends."""

    n_stimulus: int = 30
    n_memory: int = 30
    n_response: int = 30
    noise_std: float = field(default=INPUT_NOISE, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._hold_integer("n_stimulus")
        self._hold_integer("n_memory", minimum=0)
        self._hold_integer("n_response")

    @property
    def n_steps(self) -> int:
        """Number of steps T of a trial: the sum of its periods."""
        return sum(self._durations().values())

    @property
    def periods(self) -> Mapping[str, slice]:
        """The named periods of a trial, each a slice of steps; one of no steps is left out."""
        slices = {}
        start = 0
        for period, duration in self._durations().items():
            if duration:
                slices[period] = slice(start, start + duration)
            start += duration
        return slices

    def _durations(self) -> dict[str, int]:
        return {
            "stimulus": self.n_stimulus,
            "memory": self.n_memory,
            "response": self.n_response,
        }


def equally_spaced_angles(n_angles: int) -> FloatArray:
    """Return ``2 pi j / n_angles`` for ``j = 0 .. n_angles - 1``."""
    return 2.0 * np.pi * np.arange(n_angles) / n_angles


def random_angles(n_angles: int, generator: np.random.Generator) -> FloatArray:
    """Return angles that are uniform on the circle."""
    return 2.0 * np.pi * generator.random(n_angles)


def point_on_circle(angles: FloatArray) -> FloatArray:
    """Return the cosine and sine of each angle, shape (B, 2)."""
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def delayed_response(
    code: FloatArray,
    periods: Mapping[str, slice],
    *,
    sign: ArrayLike,
    sustained: ArrayLike,
) -> tuple[FloatArray, FloatArray]:
    """Return the noise-free inputs and targets of delayed-response trials.

    Parameters
    ----------
    code : array, shape (B, C)
        What the stimulus channels carry in each trial.
    periods : mapping of str to slice
        With at least ``stimulus`` and ``response``; the response comes last.
    sign : array_like, shape (B,) or ()
        Factor between the stimulus and the response: -1 for the anti tasks.
    sustained : array_like of bool, shape (B,) or ()
        Whether the stimulus stays to the end of the trial.

    Returns
    -------
    inputs, targets : array, shape (B, T, 1 + C)
        The fixation channel and then the channels of the code.
    """
    n_trials, n_channels = code.shape
    stimulus, response = periods["stimulus"], periods["response"]
    steps = np.arange(response.stop)
    end = np.where(sustained, response.stop, stimulus.stop)
    visible = (steps >= stimulus.start) & (steps < np.reshape(end, (-1, 1)))
    fixation = np.where(steps < response.start, 1.0, 0.0)
    # The added zero turns the negative zeros of a flipped code into positive ones.
    answer = np.reshape(sign, (-1, 1)) * code + 0.0

    inputs = np.empty((n_trials, response.stop, 1 + n_channels))
    inputs[:, :, 0] = fixation
    inputs[:, :, 1:] = np.where(visible[:, :, np.newaxis], code[:, np.newaxis, :], 0.0)
    targets = np.zeros_like(inputs)
    targets[:, :, 0] = fixation
    targets[:, response, 1:] = answer[:, np.newaxis, :]
    return inputs, targets


def mean_over(period: slice, values: FloatArray, mask: FloatArray) -> FloatArray:
    """Return the mean over a period without the fixation channel, weighted by the mask.

    Parameters
    ----------
    period : slice
        The steps to average over.
    values : array, shape (B, T, 1 + C)
        Outputs or targets.
    mask : array, shape (B, T)
        Weights of the steps; a trial whose weights are all zero gives zero.

    Returns
    -------
    array, shape (B, C)
    """
    weights = mask[:, period, np.newaxis].astype(np.float64)
    total = np.maximum(weights.sum(axis=1), np.finfo(np.float64).tiny)
    return (weights * values[:, period, 1:]).sum(axis=1) / total


def fraction_of_right_angles(outputs: FloatArray, targets: FloatArray) -> float:
    """Return the fraction of points (B, 2) seen from the origin within the tolerance of targets.

    A point at the origin has no angle and counts as wrong.
    """
    along = (outputs * targets).sum(axis=1)
    across = outputs[:, 0] * targets[:, 1] - outputs[:, 1] * targets[:, 0]
    right = (along > 0) & (np.abs(np.arctan2(across, along)) <= ANGLE_TOLERANCE)
    return float(np.mean(right))
