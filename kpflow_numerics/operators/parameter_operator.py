"""The parameter operator ``K = J J*``."""

from __future__ import annotations

from .._typing import FloatArray
from .._validation import check_choice
from ..linearization import Linearization
from .base import StructuredOperator
from .parameter_jacobian import ParameterJacobian


class ParameterOperator(StructuredOperator):
    """Gram operator of the one-step parameter Jacobian, the bottleneck of learning.

    ``K q = sum_g D^g (U^g U^g* (D^g q))`` over the weight sites: it couples all trials and steps,
    and, for site cells, no two different units.

    Parameters
    ----------
    linearization : Linearization
        Local derivatives, from :func:`kpflow_numerics.linearize`.
    normalization : {"sum", "mean"}
        Plain sum over trials and steps, or the paper's average: ``K_sum = B T K_mean``.

    Notes
    -----
    Shape ``(B, T, N) -> (B, T, N)``, self-adjoint and positive semi-definite. A product costs
    ``4 B T m H k`` flops a site of ``m`` features; the temporary memory is that of a few units.

    Examples
    --------
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> cell = kpf.VanillaRNN(n_inputs=3, n_units=8)
    >>> lin = kpf.linearize(kpf.simulate(cell, cell.init_params(rng=3), np.ones((2, 5, 3))))
    >>> K = kpf.ParameterOperator(lin)
    >>> K.apply(np.ones((2, 5, 8))).shape
    (2, 5, 8)
    """

    self_adjoint = True
    positive_semidefinite = True

    def __init__(self, linearization: Linearization, normalization: str = "sum") -> None:
        self.linearization = linearization
        self.normalization = check_choice(normalization, "normalization", ("sum", "mean"))
        super().__init__(linearization.dims, linearization.dims, linearization.dtype)

    @property
    def scale(self) -> float:
        """What the plain sum over trials and steps is multiplied by."""
        n_trials, n_steps, _ = self.linearization.dims
        return 1.0 if self.normalization == "sum" else 1.0 / (n_trials * n_steps)

    def _apply_block(self, block: FloatArray) -> FloatArray:
        product = self.linearization.param_gram(block)
        if self.normalization == "mean":
            product *= self.dtype.type(self.scale)
        return product

    def _apply_adjoint_block(self, block: FloatArray) -> FloatArray:
        return self._apply_block(block)
