"""The sensitivity ``S = P J`` of the states to the parameters."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from .._typing import FloatArray
from ..linearization import Linearization
from ..results import Cost
from . import _product_costs
from .base import StructuredOperator, check_linearization
from .core_embedding import CoreEmbedding, core_embedding
from .decoupled_sensitivity import DecoupledSensitivity

if TYPE_CHECKING:
    from .tangent_kernel import TangentKernel


class Sensitivity(StructuredOperator):
    """Total derivative of the states by the parameters, ``S = dh/dtheta = P J``.

    Parameters
    ----------
    linearization : Linearization
        Local derivatives, from :func:`kpflow_numerics.linearize`.

    Notes
    -----
    Shape ``(p,) -> (B, T, N)``. Its adjoint is backpropagation through time: ``S* err`` is the
    gradient of a loss whose derivative by the states is ``err``. A product costs one of ``J`` and
    one of ``P``.

    Examples
    --------
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> cell = kpf.VanillaRNN(n_inputs=3, n_units=8)
    >>> lin = kpf.linearize(kpf.simulate(cell, cell.init_params(rng=3), np.ones((2, 5, 3))))
    >>> kpf.Sensitivity(lin)
    Sensitivity((104,) -> (2, 5, 8), float64)
    """

    def __init__(self, linearization: Linearization) -> None:
        self.linearization = check_linearization(linearization)
        super().__init__((linearization.n_parameters,), linearization.dims, linearization.dtype)

    @cached_property
    def gram(self) -> TangentKernel:
        """The tangent kernel ``S S*``, whose rank, trace and spectrum stand for those of S."""
        from .tangent_kernel import TangentKernel

        return TangentKernel(self.linearization)

    def decoupled(self, n_groups: int | None = None) -> DecoupledSensitivity:
        """Return the block diagonal of the sensitivities of groups of trials, each by default."""
        return DecoupledSensitivity(self.linearization, n_groups)

    @property
    def embedding(self) -> CoreEmbedding | None:
        """W with ``S W`` equal to this, S being of what was compressed; None of a whole core."""
        return core_embedding(self.linearization)

    def _along(self, linearization: Linearization) -> Sensitivity:
        return Sensitivity(linearization)

    def _apply_block(self, block: FloatArray) -> FloatArray:
        return self.linearization.sensitivity(block)

    def _apply_adjoint_block(self, block: FloatArray) -> FloatArray:
        return self.linearization.sensitivity_adjoint(block)

    def product_cost(self, k: int = 1) -> Cost | None:
        """Return what a product with `k` columns takes; None for a cell without weight sites."""
        return _product_costs.sensitivity(self.linearization, k)
