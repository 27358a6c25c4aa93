"""Forecasting a linear system of few dimensions seen through many."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np

from .._typing import FloatArray
from .._validation import InputError, check_real
from ._base import Task
from ._batch import TrialBatch


@dataclass(frozen=True, eq=False)
class ForecastSystem:
    """The fixed matrices of a :class:`LowRankForecast` (L latents, D observed, I in, O out).

    Parameters
    ----------
    rotation : array, shape (L, L)
        The orthogonal matrix A.
    observation : array, shape (D, L)
        The matrix C that gives the observation ``y = C z``.
    input_weight, input_bias : array, shapes (I, D) and (I,)
        The sine embedding of the inputs.
    target_weight, target_bias : array, shapes (O, D) and (O,)
        The sine embedding of the targets.
    """

    rotation: FloatArray
    observation: FloatArray
    input_weight: FloatArray
    input_bias: FloatArray
    target_weight: FloatArray
    target_bias: FloatArray


@dataclass(frozen=True)
class LowRankForecast(Task):
    """Predict the next observation of a hidden linear system.

    The latent state of L dimensions follows ``z_{t+1} = 0.8 z_t + 0.2 A z_t`` with A orthogonal,
    from ``z_1`` standard normal. It is observed in D dimensions, ``y_t = C z_t``, through a sine
    embedding: inputs are ``sin(W y_t + b)`` and targets, one step ahead,
    ``sin(W' y_{t+1} + b')``.

    Parameters
    ----------
    n_latent : int
        Dimensions L of the latent state.
    n_observed : int
        Dimensions D of the observation, at least L.
    n_embedded_inputs, n_embedded_outputs : int
        Channels I and O of the two embeddings.
    n_steps : int
        Number of steps T.
    gain : float
        Factor of ``W`` and ``W'``: the standard deviation, over systems, of the phase
        ``W y`` at the first step.
    system_seed : int
        Seed of ``A, C, W, b, W', b'``: tasks of one seed share one system.
    evaluation_seed : int
        Seed of the initial states of :meth:`evaluation_batch`.
    noise_std : float
        Standard deviation of the noise that :meth:`sample` adds to the embedded inputs.

    Raises
    ------
    InputError, InputTypeError
        If an option is not a number in its range, or ``n_observed < n_latent``.

    Notes
    -----
    Choices made here. A is drawn from the orthogonal matrices uniformly (QR of a Gaussian matrix
    with the signs of R's diagonal made positive). Entries of C are Gaussian with variance
    ``1 / L`` and those of ``W, W'`` with variance ``gain^2 / D``, so that phases are of the order
    of `gain` whatever the sizes; biases are standard normal. Entries that are all standard normal
    are the same task with ``gain = sqrt(L D)``, about 32 by default, where the sine wraps many
    times. The map shrinks all directions but the eigenvectors of A with eigenvalue 1, so that
    late steps move little. Initial states are random also in :meth:`evaluation_batch`, where they
    come from `evaluation_seed` by a stream that no integer seed of :meth:`sample` gives.

    The condition table has the columns ``latent_norm`` (of ``z_1``) and ``latent_1`` and
    ``latent_2`` (its first two entries, the second only where L > 1). Cost is
    ``O(B T L (L + I + O))`` flops, memory ``O(B T (L + I + O))``.

    Examples
    --------
    >>> from kpflow_numerics.tasks import LowRankForecast
    >>> task = LowRankForecast(n_steps=12)
    >>> batch = task.evaluation_batch(3)
    >>> batch.inputs.shape, batch.targets.shape
    ((3, 12, 100), (3, 12, 100))
    >>> task.system.rotation.shape
    (10, 10)
    """

    name: ClassVar[str] = "low-rank-forecast"
    accuracy_meaning: ClassVar[str] = (
        "fraction of the variance of the targets that the outputs explain, 0 where they explain "
        "less than the mean of each channel does"
    )
    primary_condition: ClassVar[str] = "latent_1"

    n_latent: int = 10
    n_observed: int = 100
    n_embedded_inputs: int = 100
    n_embedded_outputs: int = 100
    n_steps: int = 30
    gain: float = 1.0
    system_seed: int = 10796
    evaluation_seed: int = 2507
    noise_std: float = field(default=0.01, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        for option in (
            "n_latent",
            "n_observed",
            "n_embedded_inputs",
            "n_embedded_outputs",
            "n_steps",
        ):
            self._hold_integer(option)
        if self.n_observed < self.n_latent:
            raise InputError(
                f"n_observed must be at least n_latent = {self.n_latent}, so that the latent "
                f"state can be seen; got {self.n_observed}."
            )
        self._hold_integer("system_seed", minimum=0)
        self._hold_integer("evaluation_seed", minimum=0)
        self._hold("gain", check_real(self.gain, "gain", minimum=0.0, open_minimum=True))

    @property
    def input_names(self) -> tuple[str, ...]:
        """A label for each input channel."""
        return tuple(f"observation {index + 1}" for index in range(self.n_embedded_inputs))

    @property
    def output_names(self) -> tuple[str, ...]:
        """A label for each output channel."""
        return tuple(f"forecast {index + 1}" for index in range(self.n_embedded_outputs))

    @cached_property
    def system(self) -> ForecastSystem:
        """The fixed matrices, drawn from `system_seed`."""
        # Loads Numba, which tasks need for nothing else.
        from .._threads import single_threaded_blas

        generator = np.random.default_rng(np.random.SeedSequence(self.system_seed, spawn_key=(1,)))
        L, D = self.n_latent, self.n_observed
        with single_threaded_blas():
            Q, R = np.linalg.qr(generator.standard_normal((L, L)))
        return ForecastSystem(
            rotation=Q * np.sign(np.diag(R)),
            observation=generator.standard_normal((D, L)) / L**0.5,
            input_weight=generator.standard_normal((self.n_embedded_inputs, D)) * _scale(self),
            input_bias=generator.standard_normal(self.n_embedded_inputs),
            target_weight=generator.standard_normal((self.n_embedded_outputs, D)) * _scale(self),
            target_bias=generator.standard_normal(self.n_embedded_outputs),
        )

    def _random_trials(self, n_trials: int, generator: np.random.Generator) -> TrialBatch:
        return self._trials(generator.standard_normal((n_trials, self.n_latent)))

    def _evaluation_trials(self, n_trials: int) -> TrialBatch:
        seed = np.random.SeedSequence(self.evaluation_seed, spawn_key=(0,))
        return self._random_trials(n_trials, np.random.default_rng(seed))

    def _trials(self, initial: FloatArray) -> TrialBatch:
        system = self.system
        latents = np.empty((initial.shape[0], self.n_steps + 1, self.n_latent))
        latents[:, 0] = initial
        for step in range(self.n_steps):
            here = latents[:, step]
            latents[:, step + 1] = 0.8 * here + 0.2 * _product(here, system.rotation)
        read_inputs = _product(system.input_weight, system.observation.T)
        read_targets = _product(system.target_weight, system.observation.T)
        conditions = {
            "latent_norm": np.sqrt((initial**2).sum(axis=1)),
            **{f"latent_{index + 1}": initial[:, index] for index in range(min(2, self.n_latent))},
        }
        return TrialBatch(
            np.sin(_product(latents[:, :-1], read_inputs) + system.input_bias),
            np.sin(_product(latents[:, 1:], read_targets) + system.target_bias),
            conditions=conditions,
            task_names=(self.name,),
        )

    def _accuracy(self, outputs: FloatArray, batch: TrialBatch) -> float:
        weights = batch.mask[:, :, np.newaxis].astype(np.float64)
        targets = batch.targets.astype(np.float64)
        mean = (weights * targets).sum(axis=(0, 1)) / weights.sum()
        error = (weights * (outputs - targets) ** 2).sum()
        variance = (weights * (targets - mean) ** 2).sum()
        if variance == 0:
            return float(error == 0)
        return float(max(0.0, 1.0 - error / variance))


def _scale(task: LowRankForecast) -> float:
    return task.gain / task.n_observed**0.5


def _product(rows: FloatArray, matrix: FloatArray) -> FloatArray:
    """Return ``rows @ matrix.T`` without the BLAS, whose rounding changes with its threads."""
    return np.einsum("...j,ij->...i", rows, matrix, optimize=False)
