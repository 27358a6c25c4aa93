"""Where the trials of each iteration come from, and how that is stored to the last bit."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from .._typing import DTypeLike
from .._validation import InputError
from ..tasks import Task, TrialBatch

_BIT_GENERATORS = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")


class TrialSource(ABC):
    """Gives the trials of one iteration after the other."""

    @abstractmethod
    def next_batch(self) -> TrialBatch:
        """Return the trials of the next iteration."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Return all that is random, from which the next batches can be given again."""


class FreshTrials(TrialSource):
    """New trials at each iteration.

    Parameters
    ----------
    task : Task
        The task.
    batch_size : int
        Number of trials of a batch.
    generator : numpy.random.Generator
        Source of the random numbers; it is advanced.
    dtype : dtype_like
        Precision of the batches.
    """

    def __init__(
        self, task: Task, batch_size: int, generator: np.random.Generator, dtype: DTypeLike
    ) -> None:
        self._task = task
        self._batch_size = batch_size
        self._generator = generator
        self._dtype = dtype

    def next_batch(self) -> TrialBatch:
        """Return the trials of the next iteration."""
        return self._task.sample(self._batch_size, self._generator).astype(self._dtype)

    def state(self) -> dict[str, Any]:
        """Return the state of the generator."""
        return {"generator": self._generator.bit_generator.state}


class TrialPool(TrialSource):
    """Batches of a pool that is drawn once, in a new random order at each pass.

    What is left of a pass when no full batch remains is not used.

    Parameters
    ----------
    task : Task
        The task.
    batch_size : int
        Number of trials of a batch.
    generator : numpy.random.Generator
        Source of the random numbers; it is advanced.
    dtype : dtype_like
        Precision of the batches.
    n_samples : int
        Number of trials of the pool, at least `batch_size`.
    """

    def __init__(
        self,
        task: Task,
        batch_size: int,
        generator: np.random.Generator,
        dtype: DTypeLike,
        n_samples: int,
    ) -> None:
        self._batch_size = batch_size
        self._generator = generator
        self._pool_state = generator.bit_generator.state
        self._pool = task.sample(n_samples, generator).astype(dtype)
        self._begin_pass()

    def next_batch(self) -> TrialBatch:
        """Return the trials of the next iteration."""
        if self._position + self._batch_size > self._pool.n_trials:
            self._begin_pass()
        rows = self._order[self._position : self._position + self._batch_size]
        self._position += self._batch_size
        return self._pool.select(rows)

    def state(self) -> dict[str, Any]:
        """Return the states from which the pool and its order were drawn."""
        return {
            "pool": self._pool_state,
            "generator": self._pass_state,
            "n_samples": self._pool.n_trials,
            "position": self._position,
        }

    def restore_pass(self, generator: np.random.Generator, position: int) -> None:
        """Take up the pass that began with this generator, at a position in its order."""
        self._generator = generator
        self._begin_pass()
        self._position = position

    def _begin_pass(self) -> None:
        self._pass_state = self._generator.bit_generator.state
        self._order = self._generator.permutation(self._pool.n_trials)
        self._position = 0


def make_source(
    task: Task,
    batch_size: int,
    generator: np.random.Generator,
    dtype: DTypeLike,
    n_samples: int | None,
) -> TrialSource:
    """Return a pool of `n_samples` trials, or fresh trials for None."""
    if n_samples is None:
        return FreshTrials(task, batch_size, generator, dtype)
    return TrialPool(task, batch_size, generator, dtype, n_samples)


def restore_source(
    state: str, task: Task, batch_size: int, dtype: DTypeLike, n_samples: int | None
) -> TrialSource:
    """Return the source whose :meth:`TrialSource.state` was stored as JSON.

    Raises
    ------
    InputError
        If the state cannot be read, or was stored by a source of another kind or size.
    """
    try:
        stored = json.loads(state)
        stored_samples = stored.get("n_samples")
        generator = _generator(stored["generator"])
        before_pool = _generator(stored["pool"]) if stored_samples is not None else None
        position = int(stored.get("position", 0))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            "The checkpoint's rng_state cannot be read: it must be the JSON text that "
            f"kpflow_numerics stored ({type(error).__name__}: {error})."
        ) from error
    if stored_samples != n_samples:
        raise InputError(
            f"The checkpoint's run drew {_described(stored_samples)}; this one would draw "
            f"{_described(n_samples)}. Resume with n_samples={stored_samples}."
        )
    if n_samples is None or before_pool is None:
        return FreshTrials(task, batch_size, generator, dtype)
    pool = TrialPool(task, batch_size, before_pool, dtype, n_samples)
    pool.restore_pass(generator, position)
    return pool


def state_to_json(state: dict[str, Any]) -> str:
    """Return what :meth:`TrialSource.state` gave as JSON, for :func:`restore_source`."""
    return json.dumps(state, default=np.ndarray.tolist)


def _generator(state: dict[str, Any]) -> np.random.Generator:
    name = state["bit_generator"]
    if name not in _BIT_GENERATORS:
        raise ValueError(f"unknown bit generator {name!r}")
    bit_generator = getattr(np.random, name)()
    bit_generator.state = state
    return np.random.Generator(bit_generator)


def _described(n_samples: int | None) -> str:
    return (
        "fresh trials at each iteration" if n_samples is None else f"a pool of {n_samples} trials"
    )
