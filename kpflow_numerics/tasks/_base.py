"""What every task is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar

import numpy as np

from .._typing import ArrayLike, FloatArray, RNGLike
from .._validation import (
    InputError,
    InputTypeError,
    check_array,
    check_integer,
    check_real,
    check_rng,
)
from ._batch import TrialBatch


@dataclass(frozen=True)
class Task(ABC):
    """A rule that gives trials, and judges the outputs of a network on them.

    A task is a value: two tasks with the same class and options are equal, and give the same
    bits for the same `rng`, whatever the number of threads. All arrays are ``float64``.

    Parameters
    ----------
    noise_std : float
        Standard deviation of the Gaussian noise that :meth:`sample` adds to every input channel
        at every step. Targets carry no noise.

    Attributes
    ----------
    name : str
        The name on the command line.
    accuracy_meaning : str
        A sentence that says what :meth:`accuracy` counts.
    primary_condition : str
        The column of the condition table that best distinguishes the trials in a figure.
    """

    name: ClassVar[str]
    accuracy_meaning: ClassVar[str]
    primary_condition: ClassVar[str]

    noise_std: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        self._hold("noise_std", check_real(self.noise_std, "noise_std", minimum=0.0))

    @property
    @abstractmethod
    def n_steps(self) -> int:
        """Number of steps T of a trial."""

    @property
    @abstractmethod
    def input_names(self) -> tuple[str, ...]:
        """A label for each input channel."""

    @property
    @abstractmethod
    def output_names(self) -> tuple[str, ...]:
        """A label for each output channel."""

    @property
    def loss_name(self) -> str:
        """The loss by which networks are trained on the task, a key of ``training.LOSSES``.

        Its batches carry the name.
        """
        return "mean-squared-error"

    @property
    def n_inputs(self) -> int:
        """Number of input channels I."""
        return len(self.input_names)

    @property
    def n_outputs(self) -> int:
        """Number of output channels O."""
        return len(self.output_names)

    @property
    def periods(self) -> Mapping[str, slice]:
        """The named periods of a trial, each a slice of steps; empty if all steps are alike."""
        return {}

    def sample(self, n_trials: int, rng: RNGLike = 0) -> TrialBatch:
        """Return trials of random conditions with input noise, for training.

        Parameters
        ----------
        n_trials : int
            Number of trials B.
        rng : int, SeedSequence or Generator
            Source of the conditions and then of the noise, so that `noise_std` changes neither
            conditions nor targets. A generator is advanced.

        Returns
        -------
        TrialBatch
            In ``float64``.

        Raises
        ------
        InputError, InputTypeError
            If `n_trials` is not a positive integer, or `rng` cannot be used.

        Examples
        --------
        >>> from kpflow_numerics.tasks import MemoryPro
        >>> MemoryPro().sample(5, rng=7).inputs.shape
        (5, 90, 3)
        """
        n_trials = check_integer(n_trials, "n_trials")
        generator = check_rng(rng)
        batch = self._random_trials(n_trials, generator)
        noise = generator.standard_normal(batch.inputs.shape)
        inputs = batch.inputs + self.noise_std * noise
        return replace(batch, inputs=inputs, loss_name=self.loss_name)

    def evaluation_batch(self, n_trials: int) -> TrialBatch:
        """Return trials of fixed conditions without noise, for evaluation and analysis.

        Parameters
        ----------
        n_trials : int
            Number of trials B.

        Returns
        -------
        TrialBatch
            In ``float64``; always the same for the same task and `n_trials`. The conditions are
            equally spaced where they lie on a circle; the class says what they are elsewhere.

        Raises
        ------
        InputError, InputTypeError
            If `n_trials` is not a positive integer.

        Examples
        --------
        >>> from kpflow_numerics.tasks import MemoryPro
        >>> MemoryPro().evaluation_batch(4).conditions["angle"].round(3)
        array([0.   , 1.571, 3.142, 4.712])
        """
        batch = self._evaluation_trials(check_integer(n_trials, "n_trials"))
        return replace(batch, loss_name=self.loss_name)

    def accuracy(self, outputs: ArrayLike, batch: TrialBatch) -> float:
        """Return how well `outputs` solve the trials, from 0 to 1.

        Parameters
        ----------
        outputs : array_like, shape (B, T, O)
            Outputs of a network on ``batch.inputs``.
        batch : TrialBatch
            Trials of this task.

        Returns
        -------
        float
            What `accuracy_meaning` says.

        Raises
        ------
        InputError
            If `outputs` have another shape than the targets or are not finite, or the batch does
            not have the steps and channels of this task.
        InputTypeError
            If `batch` is not a :class:`TrialBatch`, or `outputs` are not real numbers.

        Examples
        --------
        >>> from kpflow_numerics.tasks import MemoryPro
        >>> task = MemoryPro()
        >>> batch = task.evaluation_batch(12)
        >>> task.accuracy(batch.targets, batch), task.accuracy(-batch.targets, batch)
        (1.0, 0.0)
        """
        if not isinstance(batch, TrialBatch):
            raise InputTypeError(f"batch must be a TrialBatch; got {type(batch).__name__}.")
        wanted = (self.n_steps, self.n_inputs, self.n_outputs)
        if (batch.n_steps, batch.n_inputs, batch.n_outputs) != wanted:
            raise InputError(
                f"batch must hold trials of {self.name} with these options: (T, I, O) = {wanted}; "
                f"got {(batch.n_steps, batch.n_inputs, batch.n_outputs)}."
            )
        values = check_array(outputs, "outputs", batch.targets.shape, dtype=np.float64)
        return float(self._accuracy(values, batch))

    def to_dict(self) -> dict[str, Any]:
        """Return the options as plain values, which ``task_from_config(task.name, ...)`` takes.

        Options that are None are left out.

        Examples
        --------
        >>> from kpflow_numerics.tasks import FlipFlop
        >>> FlipFlop(noise_std=0).to_dict()
        {'noise_std': 0.0, 'n_bits': 3, 'n_steps': 90, 'mean_interval': 20.0,
         'evaluation_seed': 2507}
        """
        options = {option.name: getattr(self, option.name) for option in fields(self)}
        return {name: value for name, value in options.items() if value is not None}

    @abstractmethod
    def _random_trials(self, n_trials: int, generator: np.random.Generator) -> TrialBatch:
        """Return noise-free trials of random conditions."""

    @abstractmethod
    def _evaluation_trials(self, n_trials: int) -> TrialBatch:
        """Return noise-free trials of fixed conditions."""

    @abstractmethod
    def _accuracy(self, outputs: FloatArray, batch: TrialBatch) -> float:
        """Return the accuracy of checked outputs."""

    def _hold(self, option: str, value: float) -> None:
        """Put a checked value in place of the one that the user gave."""
        object.__setattr__(self, option, value)

    def _hold_integer(self, option: str, minimum: int = 1) -> None:
        """Check an option that must be an integer and hold it as a plain ``int``."""
        self._hold(option, check_integer(getattr(self, option), option, minimum=minimum))
