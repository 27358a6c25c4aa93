"""What outputs are of the states and of the readout's own parameters: ``dy = C dh + F dphi``.

``C`` is the readout's weight on the ``h`` part of the state at every trial and step, and ``F`` the
derivative by the weight and bias themselves: a Kronecker product ``[h, 1] kron I_O``, so that
``F F*`` is ``([h, 1] [h, 1]*) kron I_O`` over (trial, time) and the outputs. Without a bias the
ones are left out.
"""

from __future__ import annotations

import numpy as np

from .._typing import FloatArray, ParamsLike
from .._validation import check_choice
from ..linearization import Linearization
from ..readout import check_readout
from .base import check_linearization

PARAMETERS = ("cell", "all")
"""Whose parameters move the outputs: the cell's alone, or the readout's besides."""


class ReadoutMap:
    """The readout along a trajectory, for blocks whose last axis is the column.

    Parameters
    ----------
    linearization : Linearization
        Of the cell.
    readout : mapping of str to array_like
        ``weight (O, H)`` and ``bias (O,)``, or the weight alone for a readout without bias.
    parameters : {"cell", "all"}
        Whether the readout's own parameters count.
    """

    def __init__(self, linearization: Linearization, readout: ParamsLike, parameters: str) -> None:
        self.linearization = check_linearization(linearization)
        self.parameters = check_choice(parameters, "parameters", PARAMETERS)
        self.readout = check_readout(readout, linearization.cell.n_units, dtype=linearization.dtype)

    @property
    def weight(self) -> FloatArray:
        """The weight, ``(O, H)``."""
        return self.readout["weight"]

    @property
    def counts(self) -> bool:
        """Whether the readout's parameters count."""
        return self.parameters == "all"

    @property
    def dims(self) -> tuple[int, int, int]:
        """Shape ``(B, T, O)`` of the outputs."""
        return (*self.linearization.dims[:2], len(self.weight))

    @property
    def has_bias(self) -> bool:
        """Whether the readout has a bias, which its parameters then hold."""
        return "bias" in self.readout

    @property
    def n_parameters(self) -> int:
        """Number of the readout's parameters that count."""
        return sum(array.size for array in self.readout.values()) if self.counts else 0

    @property
    def slices(self) -> dict[str, slice]:
        """Where the arrays that count stand among all parameters: the cell's, then these."""
        layout, first = self.linearization.layout, self.linearization.n_parameters
        places = dict(layout.slices)
        if self.counts:
            for name, array in self.readout.items():
                places[f"readout/{name}"] = slice(first, first + array.size)
                first += array.size
        return places

    @property
    def hidden(self) -> FloatArray:
        """What the readout sees at each trial and step, ``(B T, H)``."""
        seen = self.linearization.trajectory.hidden
        return seen.reshape(-1, seen.shape[-1])

    def outputs(self, states: FloatArray) -> FloatArray:
        """Return ``C states``: ``(B, T, N, k) -> (B, T, O, k)``."""
        return np.matmul(self.weight, states[:, :, : self.weight.shape[1]])

    def states(self, outputs: FloatArray) -> FloatArray:
        """Return ``C* outputs``, zero where the readout does not see the state."""
        n_units, n_state = self.weight.shape[1], self.linearization.dims[2]
        shape = (*outputs.shape[:2], n_state, outputs.shape[-1])
        states = np.empty(shape, outputs.dtype)
        np.matmul(self.weight.T, outputs, out=states[:, :, :n_units])
        states[:, :, n_units:] = 0.0
        return states

    def moved(self, parameters: FloatArray) -> FloatArray:
        """Return ``F parameters``, ``(O H + O, k)`` or without bias ``(O H, k)``, as outputs."""
        n_outputs, n_units = self.weight.shape
        columns = parameters.shape[-1]
        weight = parameters[: n_outputs * n_units].reshape(n_outputs, n_units, columns)
        by_unit = weight.transpose(1, 0, 2).reshape(n_units, n_outputs * columns)
        moves = self.hidden @ by_unit
        if self.has_bias:
            moves += parameters[n_outputs * n_units :].reshape(-1)
        return moves.reshape(*self.dims, columns)

    def gradient(self, outputs: FloatArray) -> FloatArray:
        """Return ``F* outputs``, ``(O H + O, k)`` or without bias ``(O H, k)``."""
        n_outputs, n_units = self.weight.shape
        columns = outputs.shape[-1]
        rows = outputs.reshape(-1, n_outputs * columns)
        gradient = np.empty((n_outputs * (n_units + self.has_bias), columns), outputs.dtype)
        by_unit = (self.hidden.T @ rows).reshape(n_units, n_outputs, columns)
        weight = gradient[: n_outputs * n_units].reshape(n_outputs, n_units, columns)
        weight[...] = by_unit.transpose(1, 0, 2)
        if self.has_bias:
            gradient[n_outputs * n_units :] = rows.sum(axis=0).reshape(n_outputs, columns)
        return gradient

    def gram(self, outputs: FloatArray) -> FloatArray:
        """Return ``F F* outputs``."""
        rows = outputs.reshape(len(self.hidden), -1)
        moves = self.hidden @ (self.hidden.T @ rows)
        if self.has_bias:
            moves += rows.sum(axis=0)
        return moves.reshape(outputs.shape)
