"""Feedback alignment, ``P K P_B*``: errors carried back by fixed weights of their own."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

from ..._typing import ArrayLike, FloatArray, RNGLike
from ..._validation import InputError, check_array, check_real, check_rng
from ...cells.sites import WeightSites
from ...linearization import Linearization
from ...results import Cost
from .. import _product_costs
from ..base import check_linearization
from .base import LearningRule


class FeedbackAlignment(LearningRule):
    """Backpropagation through fixed feedback weights instead of the recurrent ones, ``P K P_B*``.

    ``P_B`` is the propagator with the recurrent weights replaced by `feedback`, all gains (slopes
    and gates) being those of the true trajectory. The forward propagator P and K are unchanged.

    Parameters
    ----------
    linearization : Linearization
        Of a cell with weight sites.
    feedback : array_like, shape of the recurrent weights
        ``(H, H)``, for gated cells ``(gates H, H)`` in the rows of ``weight_hh``, as
        :func:`random_feedback` draws it. With the recurrent weights themselves the rule is that of
        backpropagation.

    Raises
    ------
    InputError
        If the cell has no weight sites, or the shape does not fit.

    Notes
    -----
    Shape ``(B, T, N) -> (B, T, N)``, not self-adjoint: the adjoint is ``P_B K P*``. A product costs
    one of the tangent kernel. Feedback in the place of the readout's weights changes the error, not
    the operator: see ``feedback`` of :func:`kpflow_numerics.state_error`.

    References
    ----------
    Lillicrap, Cownden, Tweed, Akerman (2016), Nature Communications 7.

    Examples
    --------
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> cell = kpf.VanillaRNN(n_inputs=3, n_units=8)
    >>> params = cell.init_params(rng=3)
    >>> lin = kpf.linearize(kpf.simulate(cell, params, np.ones((2, 5, 3))))
    >>> kpf.FeedbackAlignment(lin, kpf.random_feedback(lin, rng=5))
    FeedbackAlignment((2, 5, 8) -> (2, 5, 8), float64)
    >>> rule, err = kpf.FeedbackAlignment(lin, params["weight_hh"]), np.ones((2, 5, 8))
    >>> np.allclose(rule.apply(err), kpf.TangentKernel(lin).apply(err))
    True
    """

    def __init__(self, linearization: Linearization, feedback: ArrayLike) -> None:
        super().__init__(linearization)
        shape = _sites(linearization).recurrent_weight.shape
        self.feedback = check_array(feedback, "feedback", shape, dtype=self.dtype)

    @cached_property
    def _backward(self) -> WeightSites:
        return replace(_sites(self.linearization), recurrent_weight=self.feedback)

    def _update_block(self, block: FloatArray) -> FloatArray:
        return self.linearization.param_vjp(self._backward.propagate_adjoint(block))

    def _apply_block(self, block: FloatArray) -> FloatArray:
        moved = self.linearization.param_gram(self._backward.propagate_adjoint(block))
        return self.linearization.propagate(moved, overwrite=True)

    def _apply_adjoint_block(self, block: FloatArray) -> FloatArray:
        adjoint = self.linearization.propagate_adjoint(block)
        return self._backward.propagate(self.linearization.param_gram(adjoint), overwrite=True)

    def product_cost(self, k: int = 1) -> Cost | None:
        """Return what a product with `k` columns takes."""
        return _product_costs.one_after_another(
            _product_costs.propagation(self.linearization, k),
            _product_costs.gram(self.linearization, k),
            _product_costs.propagation(self.linearization, k),
        )


def random_feedback(
    linearization: Linearization, *, gain: float = 1.0, rng: RNGLike = 0
) -> FloatArray:
    """Draw feedback weights of the recurrent weights' shape, uniform in ``+- gain / sqrt(H)``.

    The distribution of freshly drawn recurrent weights, see ``init_params``.

    Parameters
    ----------
    linearization : Linearization
        Of a cell with weight sites; gives the shape and the precision.
    gain : float
        Scale.
    rng : int, SeedSequence or Generator
        Source of the random numbers. The draws are the same for both precisions.

    Returns
    -------
    ndarray, shape (gates H, H)

    Raises
    ------
    InputError, InputTypeError
        If an argument cannot be used.

    Examples
    --------
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> cell = kpf.GRU(n_inputs=3, n_units=8)
    >>> lin = kpf.linearize(kpf.simulate(cell, cell.init_params(rng=3), np.ones((2, 5, 3))))
    >>> kpf.random_feedback(lin, rng=5).shape
    (24, 8)
    """
    sites = _sites(check_linearization(linearization))
    bound = check_real(gain, "gain", minimum=0.0) / sites.n_units**0.5
    drawn = check_rng(rng).uniform(-bound, bound, sites.recurrent_weight.shape)
    return drawn.astype(linearization.dtype)


def _sites(linearization: Linearization) -> WeightSites:
    sites = linearization.weight_sites
    if sites is None:
        raise InputError(
            "linearization must be of a cell with weight sites, whose recurrent weights feedback "
            f"can replace; {linearization.cell!r} has none."
        )
    return sites
