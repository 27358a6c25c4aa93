"""Preconditioned gradient descent, ``P J M J* P*``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator, aslinearoperator

from ..._typing import FloatArray, ParamsLike
from ..._validation import InputError, InputTypeError, check_array
from ...cells.parameters import ParameterLayout
from ...linearization import Linearization
from ...results import Cost
from .. import _product_costs
from .base import LearningRule


class PreconditionedKernel(LearningRule):
    """Gradient descent with a linear preconditioner M of the parameters, ``S M S*``.

    Parameters
    ----------
    linearization : Linearization
        Local derivatives, from :func:`kpflow_numerics.linearize`.
    preconditioner : mapping of str to array_like, or LinearOperator
        A diagonal M, as an array for each parameter in its shape (a learning rate of each weight;
        zero freezes it); or any operator ``(p, p)`` on the parameters in the order of the
        linearisation's ``layout``. Its flags ``self_adjoint`` and ``positive_semidefinite``, if it
        has them, become those of the rule.

    Raises
    ------
    InputError, InputTypeError
        If the preconditioner does not fit the parameters.

    Notes
    -----
    Shape ``(B, T, N) -> (B, T, N)``; self-adjoint for a diagonal M, and positive semi-definite
    where no entry is negative. A product costs one of ``S*``, of M and of ``S``.

    Examples
    --------
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> cell = kpf.VanillaRNN(n_inputs=3, n_units=8)
    >>> params = cell.init_params(rng=3)
    >>> lin = kpf.linearize(kpf.simulate(cell, params, np.ones((2, 5, 3))))
    >>> twice = kpf.PreconditionedKernel(lin, {name: np.full(array.shape, 2.0)
    ...                                        for name, array in params.items()})
    >>> err = np.ones((2, 5, 8))
    >>> np.allclose(twice.apply(err), 2 * kpf.TangentKernel(lin).apply(err))
    True
    """

    def __init__(
        self, linearization: Linearization, preconditioner: ParamsLike | LinearOperator
    ) -> None:
        super().__init__(linearization)
        self.preconditioner = check_preconditioner(preconditioner, linearization.layout, self.dtype)
        if isinstance(self.preconditioner, np.ndarray):
            self.self_adjoint = True
            self.positive_semidefinite = bool(self.preconditioner.min() >= 0)
        else:
            self.self_adjoint = bool(getattr(self.preconditioner, "self_adjoint", False))
            self.positive_semidefinite = self.self_adjoint and bool(
                getattr(self.preconditioner, "positive_semidefinite", False)
            )

    def _update_block(self, block: FloatArray) -> FloatArray:
        return precondition(self.preconditioner, self._gradient(block))

    def _apply_adjoint_block(self, block: FloatArray) -> FloatArray:
        return self._moved(precondition(self.preconditioner, self._gradient(block), adjoint=True))

    def product_cost(self, k: int = 1) -> Cost | None:
        """Return what a product with `k` columns takes; None where M does not tell its own."""
        linearization, p = self.linearization, self.linearization.n_parameters
        if isinstance(self.preconditioner, np.ndarray):
            own: Cost | None = Cost(float(p) * k, float(p) * k * self.dtype.itemsize)
        else:
            tell = getattr(self.preconditioner, "product_cost", None)
            own = None if tell is None else tell(k)
        return _product_costs.one_after_another(
            _product_costs.propagation(linearization, k),
            _product_costs.jacobian(linearization, k),
            own,
            _product_costs.jacobian(linearization, k),
            _product_costs.propagation(linearization, k),
        )


def check_preconditioner(
    preconditioner: Any, layout: ParameterLayout, dtype: np.dtype[Any]
) -> FloatArray | LinearOperator:
    """Return a diagonal as a vector ``(p,)``, and anything else as an operator ``(p, p)``.

    Raises
    ------
    InputError, InputTypeError
        If it does not fit the parameters.
    """
    if isinstance(preconditioner, Mapping):
        shapes = layout.shapes
        if set(preconditioner) != set(shapes):
            raise InputError(
                f"preconditioner must have an array for each of {', '.join(shapes)}; it has "
                f"{', '.join(str(name) for name in preconditioner) or 'none'}."
            )
        return layout.pack(
            {
                name: check_array(
                    preconditioner[name], f"preconditioner[{name!r}]", shape, dtype=dtype
                )
                for name, shape in shapes.items()
            }
        )
    try:
        operator = aslinearoperator(preconditioner)
    except (TypeError, ValueError) as error:
        raise InputTypeError(
            "preconditioner must map the names of the parameters to arrays, or be a matrix or a "
            f"scipy.sparse.linalg.LinearOperator; got {type(preconditioner).__name__}."
        ) from error
    if operator.shape != (layout.size, layout.size):
        raise InputError(
            f"preconditioner must act on the {layout.size} parameters: shape "
            f"{(layout.size, layout.size)}; got {operator.shape}."
        )
    return operator


def precondition(
    preconditioner: FloatArray | LinearOperator, block: FloatArray, *, adjoint: bool = False
) -> FloatArray:
    """Return ``M block``, or ``M* block``, for a block ``(p, k)``, in its precision."""
    if isinstance(preconditioner, np.ndarray):
        return preconditioner[:, None] * block
    product = preconditioner.rmatmat if adjoint else preconditioner.matmat
    return np.ascontiguousarray(product(block), dtype=block.dtype)
