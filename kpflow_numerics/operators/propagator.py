"""The linearised flow propagator ``P``."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from .._typing import FloatArray
from ..linearization import Linearization
from ..results import Cost
from . import _product_costs
from .base import StructuredOperator, check_linearization
from .inverse_propagator import InversePropagator

if TYPE_CHECKING:
    from .propagator_gram import PropagatorGram


class Propagator(StructuredOperator):
    """Carries a perturbation of every step forward in time; its adjoint carries errors back.

    Block diagonal over trials, unit block lower-triangular in time:
    ``P[t, s] = A_t A_{t-1} ... A_{s+1}``.

    Parameters
    ----------
    linearization : Linearization
        Local derivatives, from :func:`kpflow_numerics.linearize`.

    Notes
    -----
    Shape ``(B, T, N) -> (B, T, N)``. Not self-adjoint: its rank, trace and spectrum mean those of
    ``P P*``, the squares of its singular values. A product is one scan over the steps,
    ``2 B T q k`` flops for ``q`` recurrent weights.

    Examples
    --------
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> cell = kpf.VanillaRNN(n_inputs=3, n_units=8)
    >>> lin = kpf.linearize(kpf.simulate(cell, cell.init_params(rng=3), np.ones((2, 5, 3))))
    >>> P = kpf.Propagator(lin)
    >>> q = np.ones((2, 5, 8))
    >>> np.allclose(P.inverse.apply(P.apply(q)), q)
    True
    """

    def __init__(self, linearization: Linearization) -> None:
        self.linearization = check_linearization(linearization)
        super().__init__(linearization.dims, linearization.dims, linearization.dtype)
        self.n_blocks = linearization.dims[0]

    @cached_property
    def inverse(self) -> InversePropagator:
        """The sparse inverse ``P^-1``."""
        return InversePropagator(self.linearization)

    @cached_property
    def gram(self) -> PropagatorGram:
        """The Gram operator ``P P*``, whose rank, trace and spectrum stand for those of P."""
        from .propagator_gram import PropagatorGram

        return PropagatorGram(self.linearization)

    def coarse(self) -> StructuredOperator | None:
        """Return the operator in ``float32``: it sees no features that could be cut."""
        return self.astype(np.float32)

    def _along(self, linearization: Linearization) -> Propagator:
        return Propagator(linearization)

    def _apply_block(self, block: FloatArray) -> FloatArray:
        return self.linearization.propagate(block)

    def _apply_adjoint_block(self, block: FloatArray) -> FloatArray:
        return self.linearization.propagate_adjoint(block)

    def product_cost(self, k: int = 1) -> Cost | None:
        """Return what a product with `k` columns takes; None for a cell without weight sites."""
        return _product_costs.propagation(self.linearization, k)
