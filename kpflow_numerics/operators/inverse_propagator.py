"""The inverse ``P^-1`` of the linearised flow propagator."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from .._typing import FloatArray
from ..linearization import Linearization
from ..results import Cost
from . import _product_costs
from .base import StructuredOperator, check_linearization

if TYPE_CHECKING:
    from .propagator import Propagator


class InversePropagator(StructuredOperator):
    """The Fréchet derivative of the residual ``h_t - f(x_t, h_{t-1})`` by the states.

    The identity, with ``-A_t`` on the block sub-diagonal: ``(P^-1 q)_t = q_t - A_t q_{t-1}``.

    Parameters
    ----------
    linearization : Linearization
        Local derivatives, from :func:`kpflow_numerics.linearize`.

    Notes
    -----
    Shape ``(B, T, N) -> (B, T, N)``. All steps are independent of each other; ``2 B T q k`` flops
    for ``q`` recurrent weights.

    Examples
    --------
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> cell = kpf.VanillaRNN(n_inputs=3, n_units=8)
    >>> lin = kpf.linearize(kpf.simulate(cell, cell.init_params(rng=3), np.ones((2, 5, 3))))
    >>> kpf.InversePropagator(lin)
    InversePropagator((2, 5, 8) -> (2, 5, 8), float64)
    """

    def __init__(self, linearization: Linearization) -> None:
        self.linearization = check_linearization(linearization)
        super().__init__(linearization.dims, linearization.dims, linearization.dtype)
        self.n_blocks = linearization.dims[0]

    @cached_property
    def inverse(self) -> Propagator:
        """The propagator P."""
        from .propagator import Propagator

        return Propagator(self.linearization)

    def _apply_block(self, block: FloatArray) -> FloatArray:
        return self.linearization.unpropagate(block)

    def _apply_adjoint_block(self, block: FloatArray) -> FloatArray:
        return self.linearization.unpropagate_adjoint(block)

    def product_cost(self, k: int = 1) -> Cost | None:
        """Return what a product with `k` columns takes; None for a cell without weight sites."""
        return _product_costs.inverse_propagation(self.linearization, k)
