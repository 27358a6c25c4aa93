"""The sensitivity of the outputs to the parameters."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from .._typing import FloatArray, ParamsLike
from ..linearization import Linearization
from ..results import Cost
from . import _product_costs
from ._readout_map import ReadoutMap
from .base import StructuredOperator
from .core_embedding import CoreEmbedding, core_embedding

if TYPE_CHECKING:
    from .output_kernel import OutputKernel


class OutputSensitivity(StructuredOperator):
    """Total derivative of the outputs ``y = W h + b`` by the parameters.

    ``C P J`` by the cell's, where C is the readout's weight at every trial and step; with the
    readout's own parameters besides, ``[C P J, F]`` with ``F = [h, 1] kron I_O``.

    Parameters
    ----------
    linearization : Linearization
        Local derivatives, from :func:`kpflow_numerics.linearize`.
    readout : mapping of str to array_like
        ``weight (O, H)`` and ``bias (O,)``. It is linear: there is no activation behind it.
    parameters : {"cell", "all"}
        Whose parameters are moved: the cell's, the readout being fixed, or the readout's as well,
        as training does.

    Raises
    ------
    InputError, InputTypeError
        If an argument cannot be used.

    Notes
    -----
    Shape ``(p,) -> (B, T, O)``; with the readout's, ``(p + O H + O,) -> (B, T, O)``, the cell's
    parameters first, then the weight row by row, then the bias. A product costs one of the
    sensitivity of the states and ``2 B T H O k`` flops for C, as much again for F.

    Its adjoint takes ``dloss/dy`` to the gradient of the loss.

    Examples
    --------
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> cell = kpf.VanillaRNN(n_inputs=3, n_units=8)
    >>> lin = kpf.linearize(kpf.simulate(cell, cell.init_params(rng=3), np.ones((2, 5, 3))))
    >>> readout = kpf.init_readout(8, 2, rng=4)
    >>> kpf.OutputSensitivity(lin, readout, parameters="all")
    OutputSensitivity((122,) -> (2, 5, 2), float64)
    """

    def __init__(
        self, linearization: Linearization, readout: ParamsLike, *, parameters: str
    ) -> None:
        self._map = ReadoutMap(linearization, readout, parameters)
        self.linearization = linearization
        size = linearization.n_parameters + self._map.n_parameters
        super().__init__((size,), self._map.dims, linearization.dtype)

    @property
    def readout(self) -> dict[str, FloatArray]:
        """The readout, in the precision of the products."""
        return dict(self._map.readout)

    @property
    def parameters(self) -> str:
        """Whose parameters are moved."""
        return self._map.parameters

    @property
    def slices(self) -> dict[str, slice]:
        """Where each array stands among the parameters; those of the readout are last."""
        return self._map.slices

    @cached_property
    def gram(self) -> OutputKernel:
        """The tangent kernel of the outputs, whose rank, trace and spectrum stand for its own."""
        from .output_kernel import OutputKernel

        return OutputKernel(self.linearization, self._map.readout, parameters=self.parameters)

    @property
    def embedding(self) -> CoreEmbedding | None:
        """W with ``S W`` equal to this, S being of what was compressed; None of a whole core."""
        return core_embedding(self.linearization, self._map.n_parameters)

    def _along(self, linearization: Linearization) -> OutputSensitivity:
        return OutputSensitivity(linearization, self._map.readout, parameters=self._map.parameters)

    def _apply_block(self, block: FloatArray) -> FloatArray:
        n_own = self.linearization.n_parameters
        moved = self._map.outputs(self.linearization.sensitivity(block[:n_own]))
        if self._map.counts:
            moved += self._map.moved(block[n_own:])
        return moved

    def _apply_adjoint_block(self, block: FloatArray) -> FloatArray:
        states = self._map.states(block)
        gradient = self.linearization.sensitivity_adjoint(states, overwrite=True)
        if self._map.counts:
            gradient = np.concatenate([gradient, self._map.gradient(block)])
        return gradient

    def product_cost(self, k: int = 1) -> Cost | None:
        """Return what a product with `k` columns takes; None for a cell without weight sites."""
        return _product_costs.output_sensitivity(
            self.linearization, self.dimsd[2], self._map.counts, k
        )
