"""What training changes: the parameters of cell and readout, and the optimiser's state."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._typing import Params, ParamsLike
from .._validation import InputTypeError
from ..cells.base import Cell
from ..readout import check_readout, init_readout
from ..results import Checkpoint
from ..tasks import Task
from .bptt import LossGradient
from .gradient_norm import clip_gradient_norm
from .optimizers import Optimizer, OptimizerState

_READOUT = "readout/"


@dataclass(frozen=True, eq=False)
class Network:
    """What an update changes."""

    params: Params
    readout: Params
    optimizer_state: OptimizerState

    def updated(
        self, found: LossGradient, optimizer: Optimizer, clip_norm: float | None
    ) -> Network:
        """Return the network after one step along a gradient."""
        gradients = _joined(found.params, found.readout)
        if clip_norm is not None:
            gradients, _ = clip_gradient_norm(gradients, clip_norm, found.norm)
        together, state = optimizer.update(
            _joined(self.params, self.readout), gradients, self.optimizer_state
        )
        return Network(
            params={name: together[name] for name in self.params},
            readout={name: together[_READOUT + name] for name in self.readout},
            optimizer_state=state,
        )

    @property
    def is_finite(self) -> bool:
        """Whether no parameter is NaN or infinite."""
        arrays = [*self.params.values(), *self.readout.values()]
        return all(bool(np.isfinite(array).all()) for array in arrays)


def initial_network(
    cell: Cell,
    task: Task,
    params: ParamsLike | None,
    readout: ParamsLike | None,
    optimizer: Optimizer,
    generator: np.random.Generator,
) -> Network:
    """Return a new network, with copies of what a user gave; what is missing is drawn."""
    checked = _copied(
        cell.check_params(cell.init_params(rng=generator) if params is None else params)
    )
    dtype = next(iter(checked.values())).dtype
    if readout is None:
        readout = init_readout(cell.n_units, task.n_outputs, generator)
    weights = _copied(check_readout(readout, cell.n_units, task.n_outputs, dtype=dtype))
    return Network(checked, weights, optimizer.init_state(_joined(checked, weights)))


def stored_network(cell: Cell, task: Task, checkpoint: Checkpoint, optimizer: Optimizer) -> Network:
    """Return the network of a checkpoint, if it fits the cell, the task and the optimiser."""
    if not isinstance(checkpoint, Checkpoint):
        raise InputTypeError(
            f"resume_from must be a Checkpoint, such as run.checkpoints[-1]; got {checkpoint!r}."
        )
    checked = cell.check_params(checkpoint.params, "resume_from.params")
    dtype = next(iter(checked.values())).dtype
    weights = check_readout(
        checkpoint.readout, cell.n_units, task.n_outputs, dtype=dtype, name="resume_from.readout"
    )
    state = optimizer.check_state(
        checkpoint.optimizer_state, _joined(checked, weights), "resume_from.optimizer_state"
    )
    return Network(checked, weights, state)


def _joined(params: Params, readout: Params) -> Params:
    """Return all parameters under one naming, as the optimiser's state stores them."""
    return params | {_READOUT + name: array for name, array in readout.items()}


def _copied(params: Params) -> Params:
    """Copy what a user gave, since checkpoints keep it."""
    return {name: array.copy() for name, array in params.items()}
