"""How the tasks, or the conditions, of an evaluation batch interfere at one checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._typing import FloatArray, IntArray, Params
from .._validation import InputError, MemoryLimitError
from ..linearization import Linearization
from ..results import format_bytes
from ..tasks import TrialBatch
from ..training import output_error, state_error
from ._task_grams import cosines
from .accumulated_contributions import ContributionIntegral
from .state_similarity import task_similarity
from .task_interference import interference

INTERFERENCE = ("tasks", "conditions", "none")
"""Between what :func:`analyze_network` finds the interference."""

_COPIES = 6.0


@dataclass(frozen=True, eq=False)
class CheckpointInterference:
    """How M tasks interfere at one iteration, for a loss that is the mean over all trials.

    Attributes
    ----------
    names : tuple of str
        The tasks, or conditions; the axes of all matrices.
    matrix : ndarray, shape (M, M)
        ``err_i* NTK err_j``, inner products of the gradients by the cell's parameters.
    by_parameter : dict of str to ndarray, shape (M, M)
        Inner products of the gradients by each array of parameters. Those of the cell add up to
        `matrix`; ``"readout/weight"`` and ``"readout/bias"`` come besides.
    contribution_cosines : ndarray, shape (M, M)
        Cosines of ``NTK err_i``, the moves of all states that the tasks cause.
    accumulated_contribution_cosines : ndarray, shape (M, M)
        Cosines of ``NTK err_i`` integrated over the iterations from the first checkpoint analysed
        to this, by the trapezoidal rule; as `contribution_cosines` at the first.
    output_contribution_cosines : ndarray, shape (M, M)
        Cosines of the moves of all outputs that the tasks cause, all parameters being trained.
    state_similarity : ndarray, shape (M, M)
        Cosines between the tasks' mean states, as :func:`task_similarity` gives them.
    """

    names: tuple[str, ...]
    matrix: FloatArray
    by_parameter: dict[str, FloatArray]
    contribution_cosines: FloatArray
    accumulated_contribution_cosines: FloatArray
    output_contribution_cosines: FloatArray
    state_similarity: FloatArray

    @property
    def cosines(self) -> FloatArray:
        """Cosines of the gradients by the cell's parameters; NaN for a task without one."""
        return cosines(self.matrix)

    @property
    def full_matrix(self) -> FloatArray:
        """Inner products of the gradients by all parameters, the readout's included."""
        total: FloatArray = np.sum(list(self.by_parameter.values()), axis=0)
        return total

    @property
    def full_cosines(self) -> FloatArray:
        """Cosines of the gradients by all parameters, the readout's included."""
        return cosines(self.full_matrix)


def interference_of_checkpoint(
    linearization: Linearization,
    readout: Params,
    batch: TrialBatch,
    between: str,
    *,
    integral: ContributionIntegral | None = None,
    iteration: int = 0,
    max_memory: float,
) -> CheckpointInterference | None:
    """Return how tasks or conditions interfere, or None where there are fewer than two.

    Parameters
    ----------
    linearization : Linearization
        On the trials of the batch.
    readout : dict of str to ndarray
        ``weight (O, H)`` and ``bias (O,)``.
    batch : TrialBatch
        The trials, with their tasks, conditions and loss.
    between : {"tasks", "conditions", "none"}
        Which trials belong together: those of a task, or of equal rows in the condition table.
    integral : ContributionIntegral, optional
        What adds up the contributions of checkpoint after checkpoint.
    iteration : int
        The checkpoint's.
    max_memory : float
        Bytes that the columns of all tasks may take.

    Raises
    ------
    MemoryLimitError
        If they would take more.
    """
    if between == "none":
        return None
    names, ids = _groups(batch, between)
    if len(names) < 2:
        return None
    block = float(np.prod(linearization.dims)) * len(names) * linearization.dtype.itemsize
    if _COPIES * block > max_memory:
        raise MemoryLimitError(
            f"The interference between {len(names)} {between} takes "
            f"{format_bytes(_COPIES * block)}, more than max_memory={format_bytes(max_memory)}. "
            'Raise max_memory, use fewer trials, or leave it out with interference="none".'
        )
    trajectory = linearization.trajectory
    by_output = output_error(trajectory, readout, batch)
    of_outputs = interference(linearization, by_output, ids, names=names, readout=readout)
    by_state = state_error(trajectory, readout, batch)
    of_states = interference(linearization, by_state, ids, names=names)
    integral = ContributionIntegral() if integral is None else integral
    return CheckpointInterference(
        names=of_states.names,
        matrix=of_states.matrix,
        by_parameter=of_outputs.by_parameter,
        contribution_cosines=of_states.contribution_cosines,
        accumulated_contribution_cosines=integral.add(of_states.contributions, iteration),
        output_contribution_cosines=of_outputs.contribution_cosines,
        state_similarity=task_similarity(trajectory.states, ids),
    )


def _groups(batch: TrialBatch, between: str) -> tuple[tuple[str, ...], IntArray]:
    """Return the names of what trials are told apart by, and the place of each trial's."""
    if between == "tasks":
        present, ids = np.unique(batch.task_ids, return_inverse=True)
        return tuple(batch.task_names[place] for place in present), ids
    if not batch.conditions:
        raise InputError(
            'interference="conditions" needs a batch with a condition table; this one has none.'
        )
    columns = dict(batch.conditions)
    if np.array_equal(columns.get("task", ()), batch.task_ids):
        columns["task"] = np.array(batch.task_names)[batch.task_ids]
    rows = [
        ", ".join(_label(name, column[trial]) for name, column in columns.items())
        for trial in range(batch.n_trials)
    ]
    names = list(dict.fromkeys(rows))
    return tuple(names), np.array([names.index(row) for row in rows])


def _label(name: str, value: object) -> str:
    if isinstance(value, str):
        return value
    return f"{name} {value:.3g}" if isinstance(value, np.floating) else f"{name} {value}"
