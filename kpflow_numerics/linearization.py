"""State and parameter Jacobian products along a trajectory, always implicit."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from ._threads import map_in_threads
from ._typing import DTypeLike, FloatArray
from ._validation import InputTypeError, MemoryLimitError
from .cells.base import Cell, LocalDerivatives, SiteCell, StructuredCell
from .cells.low_rank_sites import LowRankSites
from .cells.parameters import ParameterLayout
from .cells.sites import WeightSites
from .trajectory import Trajectory


class Linearization(ABC):
    """Local derivatives of a cell along a trajectory.

    Made by :func:`linearize`. Blocks of states have the shape ``(B, T, N, k)``, blocks of
    parameters ``(p, k)``, all in the precision of the trajectory.
    """

    def __init__(self, trajectory: Trajectory) -> None:
        self.trajectory = trajectory

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.cell!r}, {self.dims}, {self.dtype})"

    @property
    def cell(self) -> Cell:
        """The cell."""
        return self.trajectory.cell

    @property
    def dims(self) -> tuple[int, int, int]:
        """Shape ``(B, T, N)`` of the states."""
        n_trials, n_steps, n_state = self.trajectory.states.shape
        return n_trials, n_steps, n_state

    @property
    def n_parameters(self) -> int:
        """Number of parameters ``p``."""
        return self.layout.size

    @property
    def layout(self) -> ParameterLayout:
        """Order of the parameters in a flat vector."""
        return self.cell.layout

    @property
    def dtype(self) -> np.dtype:
        """Precision of every product."""
        return self.trajectory.dtype

    @property
    def memory_bytes(self) -> int:
        """Bytes of the trajectory and the derivatives, with copies that first products make."""
        trajectory = self.trajectory
        held = (trajectory.inputs, trajectory.h0, trajectory.states)
        return sum(array.nbytes for array in held) + trajectory.states.nbytes

    @property
    def weight_sites(self) -> WeightSites | None:
        """The cell's weight sites, where it has them: the source of the exact closed forms."""
        return None

    @property
    def low_rank_sites(self) -> LowRankSites | None:
        """The structure of a cell with factored recurrent weights: K's closed forms for it."""
        return None

    def astype(self, dtype: DTypeLike) -> Linearization:
        """Return the linearisation along the same trajectory in another precision."""
        return linearize(self.trajectory.astype(dtype))

    def of_trials(self, trials: slice) -> Linearization:
        """Return the linearisation of some trials, with all parameters."""
        return linearize(self.trajectory.of_trials(trials))

    @abstractmethod
    def state_jvp(self, block: FloatArray) -> FloatArray:
        """Return ``A_t block[:, t]`` at every step."""

    @abstractmethod
    def state_vjp(self, block: FloatArray) -> FloatArray:
        """Return ``A_t* block[:, t]`` at every step."""

    @abstractmethod
    def param_jvp(self, block: FloatArray) -> FloatArray:
        """Return ``J block``: ``(p, k) -> (B, T, N, k)``."""

    @abstractmethod
    def param_vjp(self, block: FloatArray) -> FloatArray:
        """Return ``J* block``: ``(B, T, N, k) -> (p, k)``."""

    def param_vjp_of_groups(self, block: FloatArray, groups: Sequence[slice]) -> FloatArray:
        """Return ``J* block`` of each group of trials by itself: ``(B, T, N, k) -> (G, p, k)``."""
        return np.stack([self.of_trials(each).param_vjp(block[each]) for each in groups])

    @abstractmethod
    def param_gram(self, block: FloatArray, *, overwrite: bool = False) -> FloatArray:
        """Return ``K block = J J* block``, in the place of the block if it may be overwritten."""

    @abstractmethod
    def propagate(self, block: FloatArray, *, overwrite: bool = False) -> FloatArray:
        """Return ``P block``, in the place of the block if it may be overwritten."""

    @abstractmethod
    def propagate_adjoint(self, block: FloatArray, *, overwrite: bool = False) -> FloatArray:
        """Return ``P* block``, in the place of the block if it may be overwritten."""

    def sensitivity(self, block: FloatArray) -> FloatArray:
        """Return ``S block = P J block``: ``(p, k) -> (B, T, N, k)``."""
        return self.propagate(self.param_jvp(block), overwrite=True)

    def sensitivity_adjoint(self, block: FloatArray, *, overwrite: bool = False) -> FloatArray:
        """Return ``S* block``: ``(B, T, N, k) -> (p, k)``; the block may be overwritten."""
        return self.param_vjp(self.propagate_adjoint(block, overwrite=overwrite))

    def tangent_kernel(self, block: FloatArray, *, overwrite: bool = False) -> FloatArray:
        """Return ``P J J* P* block``, in the place of the block if it may be overwritten."""
        adjoint = self.propagate_adjoint(block, overwrite=overwrite)
        return self.propagate(self.param_gram(adjoint, overwrite=True), overwrite=True)

    def unpropagate(self, block: FloatArray) -> FloatArray:
        """Return ``P^-1 block``: ``q_t - A_t q_{t-1}``."""
        out = block.copy()
        out[:, 1:] -= self.state_jvp(_delayed(block))[:, 1:]
        return out

    def unpropagate_adjoint(self, block: FloatArray) -> FloatArray:
        """Return ``P^-* block``: ``q_t - A_{t+1}* q_{t+1}``."""
        out = block.copy()
        out[:, :-1] -= self.state_vjp(block)[:, 1:]
        return out

    def state_jacobians(
        self,
        trials: slice = slice(None),
        steps: slice = slice(None),
        *,
        max_memory: float = 2**30,
    ) -> FloatArray:
        """Return the ``A_t`` of some trials and steps as an array ``(trials, steps, N, N)``.

        Parameters
        ----------
        trials, steps : slice
            The trials and the steps; all by default.
        max_memory : int
            Bytes that the result may take.

        Raises
        ------
        MemoryLimitError
            If the result would be larger.
        """
        n_trials, n_steps, n_state = self.dims
        n_trials, n_steps = len(range(n_trials)[trials]), len(range(n_steps)[steps])
        needed = n_trials * n_steps * n_state**2 * self.dtype.itemsize
        if needed > max_memory:
            raise MemoryLimitError(
                f"The state Jacobians of shape {(n_trials, n_steps, n_state, n_state)} take "
                f"{needed / 2**30:.2f} GiB, more than max_memory={max_memory / 2**30:.2f} GiB. Use "
                "the operators, which never store them, ask for fewer trials or steps, or raise "
                "max_memory."
            )
        return self._state_jacobians(trials, steps)

    @abstractmethod
    def _state_jacobians(self, trials: slice, steps: slice) -> FloatArray:
        """Return the ``A_t`` of some trials and steps, without asking whether they fit."""


class StructuredLinearization(Linearization):
    """Linearisation of a cell that gives its local derivatives, in fused kernels."""

    def __init__(self, trajectory: Trajectory, derivatives: LocalDerivatives) -> None:
        super().__init__(trajectory)
        self._derivatives = derivatives

    @property
    def low_rank_sites(self) -> LowRankSites | None:
        """The structure of a cell with factored recurrent weights."""
        return self._derivatives if isinstance(self._derivatives, LowRankSites) else None

    def state_jvp(self, block: FloatArray) -> FloatArray:
        """Return ``A_t block[:, t]`` at every step."""
        return self._derivatives.state_jvp(block)

    def state_vjp(self, block: FloatArray) -> FloatArray:
        """Return ``A_t* block[:, t]`` at every step."""
        return self._derivatives.state_vjp(block)

    def _state_jacobians(self, trials: slice, steps: slice) -> FloatArray:
        return self._derivatives.state_jacobians(trials, steps)

    def param_jvp(self, block: FloatArray) -> FloatArray:
        """Return ``J block``: ``(p, k) -> (B, T, N, k)``."""
        return self._derivatives.param_jvp(self.layout.unpack(block))

    def param_vjp(self, block: FloatArray) -> FloatArray:
        """Return ``J* block``: ``(B, T, N, k) -> (p, k)``."""
        layout = self.layout
        return layout.pack(self._derivatives.param_vjp(block, layout.shapes))

    def param_gram(self, block: FloatArray, *, overwrite: bool = False) -> FloatArray:
        """Return ``K block = J J* block``, in the place of the block if it may be overwritten."""
        return self._derivatives.param_gram(block, overwrite=overwrite)

    def propagate(self, block: FloatArray, *, overwrite: bool = False) -> FloatArray:
        """Return ``P block``, in the place of the block if it may be overwritten."""
        return self._derivatives.propagate(block, overwrite=overwrite)

    def propagate_adjoint(self, block: FloatArray, *, overwrite: bool = False) -> FloatArray:
        """Return ``P* block``, in the place of the block if it may be overwritten."""
        return self._derivatives.propagate_adjoint(block, overwrite=overwrite)


class SiteLinearization(StructuredLinearization):
    """Linearisation of a cell with weight sites."""

    def __init__(self, trajectory: Trajectory, sites: WeightSites) -> None:
        super().__init__(trajectory, sites)
        self._sites = sites

    @property
    def memory_bytes(self) -> int:
        """Bytes of the trajectory and the derivatives, with copies that first products make."""
        return super().memory_bytes + self._sites.memory_bytes

    @property
    def weight_sites(self) -> WeightSites:
        """The cell's weight sites."""
        return self._sites

    def sensitivity(self, block: FloatArray) -> FloatArray:
        """Return ``S block = P J block``: ``(p, k) -> (B, T, N, k)``."""
        if self._sites.fuses(block.shape[-1]):
            return self._sites.sensitivity(self.layout.unpack(block))
        return super().sensitivity(block)

    def sensitivity_adjoint(self, block: FloatArray, *, overwrite: bool = False) -> FloatArray:
        """Return ``S* block``: ``(B, T, N, k) -> (p, k)``; the block may be overwritten."""
        if self._sites.fuses(block.shape[-1]):
            layout = self.layout
            return layout.pack(self._sites.sensitivity_adjoint(block, layout.shapes))
        return super().sensitivity_adjoint(block, overwrite=overwrite)

    def tangent_kernel(self, block: FloatArray, *, overwrite: bool = False) -> FloatArray:
        """Return ``P J J* P* block``, in the place of the block if it may be overwritten."""
        if self._sites.fuses(block.shape[-1]):
            return self._sites.tangent_kernel(block, overwrite=overwrite)
        return super().tangent_kernel(block, overwrite=overwrite)

    def astype(self, dtype: DTypeLike) -> SiteLinearization:
        """Return the linearisation with every number rounded to another precision."""
        cast = copy.copy(self)
        cast.trajectory = self.trajectory.astype(dtype)
        cast._sites = cast._derivatives = self._sites.astype(dtype)
        return cast

    def of_trials(self, trials: slice) -> SiteLinearization:
        """Return the linearisation of some trials, which shares these arrays."""
        some = copy.copy(self)
        some.trajectory = self.trajectory.of_trials(trials)
        some._sites = some._derivatives = self._sites.of_trials(trials)
        return some

    def param_vjp_of_groups(self, block: FloatArray, groups: Sequence[slice]) -> FloatArray:
        """Return ``J* block`` of each group of trials by itself, the groups shared by threads."""
        layout = self.layout
        gradients = np.empty((len(groups), layout.size, block.shape[-1]), self.dtype)

        def of_group(group: int) -> None:
            trials = groups[group]
            sites = self._sites.of_trials(trials)
            found = sites.param_vjp_on_a_thread(block[trials], layout.shapes)
            gradients[group] = layout.pack(found)

        map_in_threads(of_group, range(len(groups)))
        return gradients


class GenericLinearization(Linearization):
    """Linearisation of a cell that offers nothing but its four Jacobian products."""

    def _points(self) -> tuple[FloatArray, FloatArray]:
        trajectory = self.trajectory
        n_trials, n_steps, n_state = self.dims
        return (
            trajectory.inputs.reshape(n_trials * n_steps, -1),
            trajectory.previous.reshape(n_trials * n_steps, n_state),
        )

    def state_jvp(self, block: FloatArray) -> FloatArray:
        """Return ``A_t block[:, t]`` at every step."""
        flat = block.reshape(-1, *block.shape[2:])
        product = self.cell.state_jvp(self.trajectory.params, *self._points(), flat)
        return product.reshape(block.shape)

    def state_vjp(self, block: FloatArray) -> FloatArray:
        """Return ``A_t* block[:, t]`` at every step."""
        flat = block.reshape(-1, *block.shape[2:])
        product = self.cell.state_vjp(self.trajectory.params, *self._points(), flat)
        return product.reshape(block.shape)

    def _state_jacobians(self, trials: slice, steps: slice) -> FloatArray:
        inputs = self.trajectory.inputs[trials, steps]
        previous = self.trajectory.previous[trials, steps]
        n_trials, n_steps, n_state = previous.shape
        identity = np.broadcast_to(
            np.eye(n_state, dtype=self.dtype), (n_trials * n_steps, n_state, n_state)
        )
        jacobians = self.cell.state_jvp(
            self.trajectory.params,
            inputs.reshape(n_trials * n_steps, -1),
            previous.reshape(n_trials * n_steps, n_state),
            np.ascontiguousarray(identity),
        )
        return jacobians.reshape(n_trials, n_steps, n_state, n_state)

    def param_jvp(self, block: FloatArray) -> FloatArray:
        """Return ``J block``: ``(p, k) -> (B, T, N, k)``."""
        product = self.cell.param_jvp(self.trajectory.params, *self._points(), block)
        return product.reshape(*self.dims, -1)

    def param_vjp(self, block: FloatArray) -> FloatArray:
        """Return ``J* block``: ``(B, T, N, k) -> (p, k)``."""
        flat = block.reshape(-1, *block.shape[2:])
        return self.cell.param_vjp(self.trajectory.params, *self._points(), flat)

    def param_gram(self, block: FloatArray, *, overwrite: bool = False) -> FloatArray:
        """Return ``K block = J J* block``, in the place of the block if it may be overwritten."""
        out = block if overwrite else np.empty_like(block)
        out[...] = self.param_jvp(self.param_vjp(block))
        return out

    def propagate(self, block: FloatArray, *, overwrite: bool = False) -> FloatArray:
        """Return ``P block``, in the place of the block if it may be overwritten."""
        trajectory, out = self.trajectory, block if overwrite else block.copy()
        for t in range(1, trajectory.n_steps):
            out[:, t] += self.cell.state_jvp(
                trajectory.params, trajectory.inputs[:, t], trajectory.previous[:, t], out[:, t - 1]
            )
        return out

    def propagate_adjoint(self, block: FloatArray, *, overwrite: bool = False) -> FloatArray:
        """Return ``P* block``, in the place of the block if it may be overwritten."""
        trajectory, out = self.trajectory, block if overwrite else block.copy()
        for t in range(trajectory.n_steps - 1, 0, -1):
            out[:, t - 1] += self.cell.state_vjp(
                trajectory.params, trajectory.inputs[:, t], trajectory.previous[:, t], out[:, t]
            )
        return out


def linearize(trajectory: Trajectory) -> Linearization:
    """Return the local derivatives of a cell along a trajectory.

    Parameters
    ----------
    trajectory : Trajectory
        What :func:`simulate` returned.

    Returns
    -------
    Linearization
        Keeps ``O(B T N)`` numbers; no array of shape ``(B, T, N, N)`` is ever made unless asked.

    Notes
    -----
    Memory beside the trajectory, with ``b``-byte numbers: ``b B T (4 H + I + 1)`` bytes for a
    vanilla network, ``b B T (7 H + I + 1)`` for a GRU, ``b B T (15 H + I + 1)`` for an LSTM
    (previous states, gains, carry and features), up to ``2 b p`` for the weights as they are
    multiplied, and 128 rows of pre-activations a thread. ``memory_bytes`` of the result is what is
    kept, with the trajectory and the copies that first products make.

    Examples
    --------
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> cell = kpf.VanillaRNN(n_inputs=3, n_units=8)
    >>> lin = kpf.linearize(kpf.simulate(cell, cell.init_params(rng=3), np.ones((2, 5, 3))))
    >>> lin.dims
    (2, 5, 8)
    """
    if not isinstance(trajectory, Trajectory):
        raise InputTypeError(
            "trajectory must be a Trajectory, as kpf.simulate returns it; got "
            f"{type(trajectory).__name__}."
        )
    cell = trajectory.cell
    if isinstance(cell, SiteCell) and trajectory.kept is not None:
        sites = cell.sites_of_kept(
            trajectory.params, trajectory.inputs, trajectory.previous, trajectory.kept
        )
        return SiteLinearization(trajectory, sites)
    if isinstance(cell, StructuredCell):
        found = cell.local_derivatives(trajectory.params, trajectory.inputs, trajectory.previous)
        if isinstance(found, WeightSites):
            return SiteLinearization(trajectory, found)
        return StructuredLinearization(trajectory, found)
    return GenericLinearization(trajectory)


def _delayed(block: FloatArray) -> FloatArray:
    """Return the block one step later, zero at the first step."""
    out = np.zeros_like(block)
    out[:, 1:] = block[:, :-1]
    return out
