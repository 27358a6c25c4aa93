"""The one-step parameter Jacobian ``J``."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from .._typing import FloatArray
from ..linearization import Linearization
from ..results import Cost
from . import _product_costs
from .base import StructuredOperator, check_linearization

if TYPE_CHECKING:
    from .parameter_operator import ParameterOperator


class ParameterJacobian(StructuredOperator):
    """Derivative of every step by the parameters, its starting state held fixed.

    ``(J dtheta)_t = (df/dtheta)(x_t, h_{t-1}) dtheta``.

    Parameters
    ----------
    linearization : Linearization
        Local derivatives, from :func:`kpflow_numerics.linearize`.

    Notes
    -----
    Shape ``(p,) -> (B, T, N)``; parameters in the order of the cell's ``layout``. For a cell with
    weight sites a product or adjoint product costs ``2 B T p k`` flops; nothing of size ``n p``
    is ever stored.

    Examples
    --------
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> cell = kpf.VanillaRNN(n_inputs=3, n_units=8)
    >>> lin = kpf.linearize(kpf.simulate(cell, cell.init_params(rng=3), np.ones((2, 5, 3))))
    >>> kpf.ParameterJacobian(lin)
    ParameterJacobian((104,) -> (2, 5, 8), float64)
    """

    def __init__(self, linearization: Linearization) -> None:
        self.linearization = check_linearization(linearization)
        super().__init__((linearization.n_parameters,), linearization.dims, linearization.dtype)

    @cached_property
    def gram(self) -> ParameterOperator:
        """The Gram operator ``K = J J*``, whose rank, trace and spectrum stand for those of J."""
        from .parameter_operator import ParameterOperator

        return ParameterOperator(self.linearization)

    def _apply_block(self, block: FloatArray) -> FloatArray:
        return self.linearization.param_jvp(block)

    def _apply_adjoint_block(self, block: FloatArray) -> FloatArray:
        return self.linearization.param_vjp(block)

    def product_cost(self, k: int = 1) -> Cost | None:
        """Return what a product with `k` columns takes; None for a cell without weight sites."""
        return _product_costs.jacobian(self.linearization, k)
