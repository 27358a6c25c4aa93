"""The trials that a task gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .._typing import Array, BoolArray, DTypeLike, FloatArray, IntArray
from .._validation import InputError, InputTypeError, check_array, check_dtype


@dataclass(frozen=True, eq=False)
class TrialBatch:
    """Trials of one or several tasks: what goes in, what should come out, and what they are.

    Parameters
    ----------
    inputs : array of float, shape (B, T, I)
        Inputs of the network. Their precision, ``float32`` or ``float64``, is that of the batch.
    targets : array of float, shape (B, T, O)
        Wanted outputs.
    mask : array of float, shape (B, T), optional
        Non-negative weight of each step in the loss; ones by default.
    conditions : mapping of str to array of shape (B,), optional
        The condition table: a column for each thing that distinguishes the trials.
    task_ids : array of int64, shape (B,), optional
        The task of each trial, an index into `task_names`; zeros by default.
    task_names : sequence of str, optional
        The names of the tasks.
    loss_name : str, optional
        The loss that the trials' task names, as :attr:`Task.loss_name`; what is asked for a loss or
        its derivative takes it. None where the trials are of no task.

    Raises
    ------
    InputError
        If shapes disagree, values are not finite, a weight is negative, all weights are zero or
        a task id has no name.
    InputTypeError
        If an array is not of real numbers, `task_ids` not of integers, or a column of the
        condition table not of numbers, booleans or strings.

    Notes
    -----
    Two batches are equal only if they are the same object, because arrays have no one truth
    value. Memory is ``8 B T (I + O + 1)`` bytes in ``float64``.

    Examples
    --------
    >>> import numpy as np
    >>> from kpflow_numerics.tasks import TrialBatch
    >>> batch = TrialBatch(np.zeros((4, 7, 3)), np.zeros((4, 7, 2)),
    ...                    conditions={"angle": np.arange(4.0)})
    >>> batch.n_trials, batch.n_steps, batch.n_inputs, batch.n_outputs
    (4, 7, 3, 2)
    >>> batch.select(batch.conditions["angle"] > 1.5).conditions["angle"]
    array([2., 3.])
    """

    inputs: FloatArray
    targets: FloatArray
    mask: FloatArray = None  # type: ignore[assignment]
    conditions: Mapping[str, Array] = field(default_factory=dict)
    task_ids: IntArray = None  # type: ignore[assignment]
    task_names: tuple[str, ...] = ("task",)
    loss_name: str | None = None

    def __post_init__(self) -> None:
        inputs = check_array(self.inputs, "inputs", ("B", "T", "I"))
        n_trials, n_steps, _ = inputs.shape
        targets = check_array(self.targets, "targets", (n_trials, n_steps, "O"), dtype=inputs.dtype)
        names = _check_names(self.task_names)
        object.__setattr__(self, "inputs", inputs)
        object.__setattr__(self, "targets", targets)
        object.__setattr__(self, "mask", _check_mask(self.mask, inputs))
        object.__setattr__(self, "conditions", _check_conditions(self.conditions, n_trials))
        object.__setattr__(self, "task_ids", _check_ids(self.task_ids, n_trials, len(names)))
        object.__setattr__(self, "task_names", names)
        if not isinstance(self.loss_name, str | None):
            raise InputTypeError(
                "loss_name must be the name of a loss, such as 'cross-entropy', or None; got "
                f"{self.loss_name!r}."
            )

    @property
    def n_trials(self) -> int:
        """Number of trials B."""
        return self.inputs.shape[0]

    @property
    def n_steps(self) -> int:
        """Number of steps T."""
        return self.inputs.shape[1]

    @property
    def n_inputs(self) -> int:
        """Number of input channels I."""
        return self.inputs.shape[2]

    @property
    def n_outputs(self) -> int:
        """Number of output channels O."""
        return self.targets.shape[2]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Precision of `inputs`, `targets` and `mask`."""
        return self.inputs.dtype

    def select(self, trials: int | slice | Sequence[int] | IntArray | BoolArray) -> TrialBatch:
        """Return a batch of some of the trials, in the order asked for.

        Parameters
        ----------
        trials : int, slice, sequence of int or array of bool of shape (B,)
            What indexes an axis of NumPy; a trial may be taken more than once. The trial axis
            is kept also for a single integer.

        Returns
        -------
        TrialBatch
            Copies of the trials, with all of `task_names` and the same loss.

        Raises
        ------
        InputError
            If a trial does not exist, or none is selected.
        InputTypeError
            If `trials` is nothing that indexes.

        Examples
        --------
        >>> from kpflow_numerics.tasks import MemoryPro
        >>> MemoryPro().evaluation_batch(8).select([6, 1]).conditions["angle"].round(3)
        array([4.712, 0.785])
        """
        rows = self._rows(trials)
        return replace(
            self,
            inputs=self.inputs[rows],
            targets=self.targets[rows],
            mask=self.mask[rows],
            conditions={name: column[rows] for name, column in self.conditions.items()},
            task_ids=self.task_ids[rows],
        )

    def astype(self, dtype: DTypeLike) -> TrialBatch:
        """Return the batch in ``float32`` or ``float64``; the condition table stays as it is.

        Raises
        ------
        InputTypeError
            If `dtype` is another type.

        Examples
        --------
        >>> from kpflow_numerics.tasks import FlipFlop
        >>> FlipFlop().evaluation_batch(2).astype("float32").dtype
        dtype('float32')
        """
        dtype = check_dtype(dtype)
        return replace(
            self,
            inputs=self.inputs.astype(dtype),
            targets=self.targets.astype(dtype),
            mask=self.mask.astype(dtype),
        )

    def _rows(self, trials: Any) -> IntArray:
        if not isinstance(trials, slice):
            trials = _as_array(trials, "trials")
            if trials.size == 0:
                trials = trials.astype(np.int64)
            if trials.dtype.kind not in "biu":
                raise InputTypeError(
                    "trials must be an integer, a slice, integers or one boolean a trial; got "
                    f"values of dtype {trials.dtype}."
                )
        try:
            rows = np.atleast_1d(np.arange(self.n_trials)[trials])
        except IndexError as error:
            raise InputError(
                f"trials must index the {self.n_trials} trials of the batch; {error}."
            ) from error
        if rows.ndim != 1 or rows.size == 0:
            raise InputError(
                f"trials must select at least one trial along one axis; got shape {rows.shape}."
            )
        return rows


def _as_array(value: Any, name: str) -> Array:
    try:
        return np.asarray(value)
    except ValueError as error:
        raise InputError(f"{name} must be a rectangular array; {error}.") from error


def _check_names(names: Any) -> tuple[str, ...]:
    strings = isinstance(names, Iterable) and not isinstance(names, str)
    held = tuple(names) if strings else ()
    if not strings or not all(isinstance(name, str) for name in held):
        raise InputTypeError(f"task_names must be a sequence of strings; got {names!r}.")
    if not held:
        raise InputError("task_names must name at least one task; got none.")
    return held


def _check_mask(mask: Any, inputs: FloatArray) -> FloatArray:
    if mask is None:
        return np.ones(inputs.shape[:2], dtype=inputs.dtype)
    weights = check_array(mask, "mask", inputs.shape[:2], dtype=inputs.dtype)
    if weights.min() < 0:
        raise InputError(f"mask must be non-negative; its smallest entry is {weights.min():g}.")
    if not weights.any():
        raise InputError("mask must have at least one positive entry; all are zero.")
    return weights


def _check_conditions(conditions: Any, n_trials: int) -> dict[str, Array]:
    if not isinstance(conditions, Mapping):
        raise InputTypeError(
            f"conditions must map names to one value a trial; got {type(conditions).__name__}."
        )
    table = {}
    for name, values in conditions.items():
        if not isinstance(name, str):
            raise InputTypeError(f"conditions must have names that are strings; got {name!r}.")
        column = _as_array(values, f"conditions[{name!r}]")
        if column.dtype.kind not in "biufU":
            raise InputTypeError(
                f"conditions[{name!r}] must hold numbers, booleans or strings; got dtype "
                f"{column.dtype}."
            )
        if column.shape != (n_trials,):
            raise InputError(
                f"conditions[{name!r}] must have shape ({n_trials},), a value for each trial; "
                f"got {column.shape}."
            )
        table[name] = column
    return table


def _check_ids(ids: Any, n_trials: int, n_tasks: int) -> IntArray:
    if ids is None:
        return np.zeros(n_trials, dtype=np.int64)
    ids = _as_array(ids, "task_ids")
    if ids.dtype.kind not in "iu":
        raise InputTypeError(f"task_ids must be integers; got dtype {ids.dtype}.")
    if ids.shape != (n_trials,):
        raise InputError(f"task_ids must have shape ({n_trials},); got {ids.shape}.")
    if ids.min() < 0 or ids.max() >= n_tasks:
        raise InputError(
            f"task_ids must be from 0 to {n_tasks - 1}, an index into task_names; got values from "
            f"{ids.min()} to {ids.max()}."
        )
    return ids.astype(np.int64)
