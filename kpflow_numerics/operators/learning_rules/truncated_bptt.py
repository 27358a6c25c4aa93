"""Truncated backpropagation through time, ``P K P_w*``."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from ..._typing import FloatArray
from ..._validation import check_choice, check_integer
from ...linearization import Linearization, linearize
from ...results import Cost
from ...trajectory import Trajectory
from .. import _product_costs
from .base import LearningRule

TRUNCATIONS = ("sliding", "chunks")
"""What :class:`TruncatedBPTT` accepts as ``truncation``."""


class TruncatedBPTT(LearningRule):
    """Backpropagation that carries errors back a limited number of steps, ``P K P_w*``.

    Parameters
    ----------
    linearization : Linearization
        Local derivatives, from :func:`kpflow_numerics.linearize`.
    window : int
        Steps ``w`` that an error is carried back at most. With 0 the rule is ``P K`` (the
        "truncated PK" of the publication); from ``T - 1`` on it is that of backpropagation,
        ``P K P*``.
    truncation : {"sliding", "chunks"}
        ``"sliding"`` carries each error back exactly w steps, as far as there are so many: P with
        the blocks ``P[t, s]``, ``t - s > w``, set to zero. ``"chunks"`` is what PyTorch code does
        that detaches the state after every ``w + 1`` steps: an error is carried back to the
        beginning of its chunk, 0 to w steps; P with all blocks between chunks set to zero.

    Raises
    ------
    InputError, InputTypeError
        If an argument cannot be used.

    Notes
    -----
    Shape ``(B, T, N) -> (B, T, N)``, not self-adjoint: the adjoint is ``P_w K P*``. The states are
    simulated through all steps either way; only errors stop. With the block sub-diagonal
    ``Z = I - P^-1``, ``P_w = I + Z + ... + Z^w``, by Horner's rule in w products of all steps at
    once, ``2 w B T q k`` flops for q recurrent weights. The chunks take one scan, and once more the
    memory of the local derivatives. The mean of the steps that chunks carry is half that of the
    sliding window, so that the two are different operators also in the mean.

    References
    ----------
    Williams and Peng (1990), Neural Computation 2: the sliding form; the truncated ``P K`` in
    KPFlow, arXiv 2507.06381.

    Examples
    --------
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> cell = kpf.VanillaRNN(n_inputs=3, n_units=8)
    >>> lin = kpf.linearize(kpf.simulate(cell, cell.init_params(rng=3), np.ones((2, 5, 3))))
    >>> err = np.ones((2, 5, 8))
    >>> PK = kpf.Propagator(lin) @ kpf.ParameterOperator(lin)
    >>> np.allclose(kpf.TruncatedBPTT(lin, 0) @ err.ravel(), PK @ err.ravel())
    True
    >>> np.allclose(kpf.TruncatedBPTT(lin, 4).apply(err), kpf.TangentKernel(lin).apply(err))
    True
    """

    def __init__(
        self, linearization: Linearization, window: int, *, truncation: str = "sliding"
    ) -> None:
        super().__init__(linearization)
        self.window = check_integer(window, "window", minimum=0)
        self.truncation = check_choice(truncation, "truncation", TRUNCATIONS)

    def _update_block(self, block: FloatArray) -> FloatArray:
        return self.linearization.param_vjp(self._carried_back(block))

    def _apply_block(self, block: FloatArray) -> FloatArray:
        linearization = self.linearization
        moved = linearization.param_gram(self._carried_back(block))
        return linearization.propagate(moved, overwrite=True)

    def _apply_adjoint_block(self, block: FloatArray) -> FloatArray:
        linearization = self.linearization
        return self._carried_on(linearization.param_gram(linearization.propagate_adjoint(block)))

    @property
    def _is_whole(self) -> bool:
        return self.window >= self.dims[1] - 1

    def _carried_back(self, block: FloatArray) -> FloatArray:
        """Return ``P_w* block``."""
        linearization = self.linearization
        if self._is_whole:
            return linearization.propagate_adjoint(block)
        if self.truncation == "chunks":
            parts = [
                chunk.propagate_adjoint(np.ascontiguousarray(block[:, steps]))
                for steps, chunk in self._chunks
            ]
            return np.concatenate(parts, axis=1)
        out = block
        for _ in range(self.window):
            earlier = linearization.state_vjp(out)
            out = block.copy()
            out[:, :-1] += earlier[:, 1:]
        return out

    def _carried_on(self, block: FloatArray) -> FloatArray:
        """Return ``P_w block``."""
        linearization = self.linearization
        if self._is_whole:
            return linearization.propagate(block)
        if self.truncation == "chunks":
            parts = [
                chunk.propagate(np.ascontiguousarray(block[:, steps]))
                for steps, chunk in self._chunks
            ]
            return np.concatenate(parts, axis=1)
        out, delayed = block, np.zeros_like(block)
        for _ in range(self.window):
            delayed[:, 1:] = out[:, :-1]
            out = block + linearization.state_jvp(delayed)
        return out

    @cached_property
    def _chunks(self) -> list[tuple[slice, Linearization]]:
        """Steps of each chunk, and the linearisation of those alone."""
        whole = self.linearization.trajectory
        length = self.window + 1
        chunks = []
        for first in range(0, self.dims[1], length):
            steps = slice(first, first + length)
            part = Trajectory(
                cell=whole.cell,
                params=whole.params,
                inputs=np.ascontiguousarray(whole.inputs[:, steps]),
                h0=np.ascontiguousarray(whole.previous[:, first]),
                states=np.ascontiguousarray(whole.states[:, steps]),
            )
            chunks.append((steps, linearize(part)))
        return chunks

    def product_cost(self, k: int = 1) -> Cost | None:
        """Return what a product with `k` columns takes; None for a cell without weight sites."""
        linearization = self.linearization
        carried = _product_costs.propagation(linearization, k)
        if carried is None:
            return None
        scans = 1 if self._is_whole or self.truncation == "chunks" else self.window
        memory = carried.memory_bytes * (1 if self._is_whole else 2)
        return _product_costs.one_after_another(
            Cost(scans * carried.flops, memory),
            _product_costs.gram(linearization, k),
            _product_costs.propagation(linearization, k),
        )
