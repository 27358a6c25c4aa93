"""What every learning rule is: a linear map from errors to a direction of the parameters."""

from __future__ import annotations

from abc import abstractmethod

from ..._typing import FloatArray
from ...linearization import Linearization
from ..base import StructuredOperator, check_linearization


class LearningRule(StructuredOperator):
    """A rule ``dtheta/dtau = -G* err`` seen from the states: ``dh/dtau = -S G* err``.

    A subclass gives ``G*``, from errors ``(B, T, N, k)`` to parameters ``(p, k)``; the rule is then
    ``S G*`` with the sensitivity ``S = P J``. For backpropagation G is S itself, and the rule is
    :class:`~kpflow_numerics.TangentKernel`.

    Parameters
    ----------
    linearization : Linearization
        Local derivatives, from :func:`kpflow_numerics.linearize`.
    """

    def __init__(self, linearization: Linearization) -> None:
        self.linearization = check_linearization(linearization)
        super().__init__(linearization.dims, linearization.dims, linearization.dtype)

    def update(self, errors: FloatArray) -> FloatArray:
        """Return ``G* err``, the direction against which the rule moves the parameters.

        Parameters
        ----------
        errors : ndarray, shape (B, T, N) or (B, T, N, k)
            ``dloss/dh``, as :func:`kpflow_numerics.state_error` returns it.

        Returns
        -------
        ndarray, shape (p,) or (p, k)
            In the order of the linearisation's ``layout``.

        Raises
        ------
        InputError
            If the shape does not fit.
        """
        parameters = (self.linearization.n_parameters,)
        return self._apply_shaped(errors, self.dims, parameters, self._update_block)

    @abstractmethod
    def _update_block(self, block: FloatArray) -> FloatArray:
        """Return ``G* block``: ``(B, T, N, k) -> (p, k)``."""

    def _apply_block(self, block: FloatArray) -> FloatArray:
        return self._moved(self._update_block(block))

    def _moved(self, parameters: FloatArray) -> FloatArray:
        """Return ``S parameters``: ``(p, k) -> (B, T, N, k)``."""
        return self.linearization.sensitivity(parameters)

    def _gradient(self, block: FloatArray) -> FloatArray:
        """Return ``S* block``, the gradient that backpropagation finds."""
        return self.linearization.sensitivity_adjoint(block)
