"""The Gram operator ``P P*`` of the propagator."""

from __future__ import annotations

from functools import cached_property

from .._typing import FloatArray
from ..linearization import Linearization
from .base import StructuredOperator
from .propagator import Propagator


class PropagatorGram(StructuredOperator):
    """``P P*``: how far, and in how many directions, the dynamics spread a perturbation.

    Parameters
    ----------
    linearization : Linearization
        Local derivatives, from :func:`kpflow_numerics.linearize`.

    Notes
    -----
    Shape ``(B, T, N) -> (B, T, N)``, self-adjoint, positive definite, block diagonal over trials.
    A product is two scans over the steps.

    Examples
    --------
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> cell = kpf.VanillaRNN(n_inputs=3, n_units=8)
    >>> lin = kpf.linearize(kpf.simulate(cell, cell.init_params(rng=3), np.ones((2, 5, 3))))
    >>> kpf.PropagatorGram(lin)
    PropagatorGram((2, 5, 8) -> (2, 5, 8), float64)
    """

    self_adjoint = True
    positive_semidefinite = True

    def __init__(self, linearization: Linearization) -> None:
        self.linearization = linearization
        super().__init__(linearization.dims, linearization.dims, linearization.dtype)

    @cached_property
    def factor(self) -> Propagator:
        """The operator ``P`` of which this is the Gram operator."""
        return Propagator(self.linearization)

    def _apply_block(self, block: FloatArray) -> FloatArray:
        return self.linearization.propagate(self.linearization.propagate_adjoint(block))

    def _apply_adjoint_block(self, block: FloatArray) -> FloatArray:
        return self._apply_block(block)
