"""Gauss-Newton and natural gradient descent, ``S (Y* Y + damping)^-1 S*``."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import scipy.linalg

from ..._typing import ArrayLike, FloatArray
from ..._validation import InputError, MemoryLimitError, check_array, check_choice, check_real
from ...linearization import Linearization
from ...results import Cost, format_bytes
from .. import _product_costs
from ..base import StructuredOperator
from .base import LearningRule

SOLVERS = ("auto", "cholesky", "conjugate-gradients")
"""What :class:`GaussNewton` accepts as ``solver``."""

LARGEST_GRAM = 8000
"""Up to this side ``solver="auto"`` factors the Gram matrix, if it fits the memory."""

_COLUMNS = 64
_MOST_ITERATIONS = 5000
_ROUNDING_SLACK = 10


class GaussNewton(LearningRule):
    """Gauss-Newton descent with damping, ``S (Y* Y + damping I)^-1 S*``.

    Parameters
    ----------
    linearization : Linearization
        Local derivatives, from :func:`kpflow_numerics.linearize`.
    damping : float
        Positive; in units of the eigenvalues of ``Y* Y``. Small against them, the rule is the
        projection on the range of S (where Y is S): every reachable error is reduced at the same
        rate. Large against them it is ``NTK / damping``.
    readout_weight : array_like, shape (O, H), optional
        Without it Y is S: the metric is that of the hidden states. It is the natural gradient of
        the model in which each state has independent Gaussian noise of unit variance. With the
        weights W of the readout Y is ``W S``, the derivative of the outputs: the Gauss-Newton step
        of a squared loss of the outputs, up to the factor ``2 mask / (O sum(mask))`` of the mean.
    solver : {"auto", "cholesky", "conjugate-gradients"}
        How the system is solved: by a Cholesky factor of ``Y* Y`` or ``Y Y*``, on the smaller side,
        made at the first product; or anew for each column to `tolerance`. ``"auto"`` takes the
        factor where the side is at most 8,000 and it fits `max_memory`.
    tolerance : float, optional
        Relative residual of the conjugate gradients; by default 1e-10 in double, 1e-5 in single
        precision. The operator is linear, symmetric and deterministic to that.
    max_memory : float
        Bytes that the Gram matrix and its factor may take.

    Raises
    ------
    InputError, InputTypeError
        If an argument cannot be used.
    MemoryLimitError
        If a Cholesky factor is asked for that does not fit.

    Notes
    -----
    Shape ``(B, T, N) -> (B, T, N)``, self-adjoint and positive semi-definite, with eigenvalues
    below 1 where Y is S: ``l / (l + damping)`` for those l of the tangent kernel. With
    ``m = min(p, rows of Y)`` the factor takes m products with ``Y* Y``, ``m^3 / 3`` flops and
    ``16 m^2`` bytes; a product then ``2 m^2`` flops beside those of S and S*. Factor and Gram
    matrix are in float64 throughout. The rounding error is about ``eps l_1 / damping``, with the
    precision of the products as eps: a damping below ``eps l_1`` cannot be told from zero, and the
    factorisation refuses it once it fails.

    References
    ----------
    Amari (1998), Neural Computation 10; Martens (2020), JMLR 21, for the relations between the two.

    Examples
    --------
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> cell = kpf.VanillaRNN(n_inputs=3, n_units=8)
    >>> lin = kpf.linearize(kpf.simulate(cell, cell.init_params(rng=3), np.ones((2, 5, 3))))
    >>> rule = kpf.GaussNewton(lin, damping=1e-6)
    >>> reachable = kpf.TangentKernel(lin).apply(np.ones((2, 5, 8)))
    >>> np.allclose(rule.apply(reachable), reachable, rtol=1e-3)
    True
    """

    self_adjoint = True
    positive_semidefinite = True

    def __init__(
        self,
        linearization: Linearization,
        damping: float,
        *,
        readout_weight: ArrayLike | None = None,
        solver: str = "auto",
        tolerance: float | None = None,
        max_memory: float = 4 * 2**30,
    ) -> None:
        super().__init__(linearization)
        self.damping = check_real(damping, "damping", minimum=0.0, open_minimum=True)
        self.readout_weight: FloatArray | None = None
        self._rows = self.shape[0]
        if readout_weight is not None:
            shape = ("O", linearization.cell.n_units)
            self.readout_weight = check_array(
                readout_weight, "readout_weight", shape, dtype=self.dtype
            )
            self._rows = self.dims[0] * self.dims[1] * len(self.readout_weight)
        default = 1e-10 if self.dtype == np.float64 else 1e-5
        self.tolerance = default if tolerance is None else check_real(
            tolerance, "tolerance", minimum=0.0, maximum=1.0, open_minimum=True, open_maximum=True
        )  # fmt: skip
        max_memory = check_real(max_memory, "max_memory", minimum=0.0, open_minimum=True)
        self.solver = self._chosen(check_choice(solver, "solver", SOLVERS), max_memory)

    @property
    def side(self) -> int:
        """The smaller of the parameters and the rows of Y."""
        return min(self._rows, self.linearization.n_parameters)

    @property
    def metric(self) -> ParameterMetric:
        """The operator ``Y* Y`` on the parameters; its largest eigenvalue is a unit of damping."""
        return ParameterMetric(self)

    def _chosen(self, solver: str, max_memory: float) -> str:
        needed = 16.0 * self.side**2
        if solver == "auto":
            fits = self.side <= LARGEST_GRAM and needed <= max_memory
            return "cholesky" if fits else "conjugate-gradients"
        if solver == "cholesky" and needed > max_memory:
            raise MemoryLimitError(
                f"The Gram matrix of side {self.side:,} and its factor take "
                f"{format_bytes(needed)}, more than max_memory={format_bytes(max_memory)}. Raise "
                'max_memory, use a smaller batch, or take solver="conjugate-gradients".'
            )
        return solver

    def _apply_adjoint_block(self, block: FloatArray) -> FloatArray:
        return self._apply_block(block)

    def _update_block(self, block: FloatArray) -> FloatArray:
        if self.solver == "conjugate-gradients":
            return self._by_conjugate_gradients(self._gradient(block))
        if self._on_parameters:
            return self._solve(self._gradient(block))
        if self.readout_weight is None:
            # S* (S S* + damping)^-1, which loses nothing by cancellation.
            solved = self._solve(block.reshape(self.shape[0], -1))
            return self._gradient(solved.reshape(block.shape))
        gradient = self._gradient(block)
        seen = self._seen(self._moved(gradient))
        solved = self._solve(seen.reshape(self._rows, -1)).reshape(seen.shape)
        known = self._gradient(self._seen_adjoint(solved))
        return (gradient - known) / self.dtype.type(self.damping)

    @property
    def _on_parameters(self) -> bool:
        return self.linearization.n_parameters <= self._rows

    def _seen(self, block: FloatArray) -> FloatArray:
        """Return what the metric sees of moves of the states: ``(B, T, N, k)``, or outputs."""
        if self.readout_weight is None:
            return block
        return self.readout_weight @ block[:, :, : self.linearization.cell.n_units]

    def _seen_adjoint(self, block: FloatArray) -> FloatArray:
        if self.readout_weight is None:
            return block
        out = np.zeros((*self.dims, block.shape[-1]), self.dtype)
        out[:, :, : self.linearization.cell.n_units] = self.readout_weight.T @ block
        return out

    def _metric(self, parameters: FloatArray) -> FloatArray:
        """Return ``Y* Y parameters`` for a block ``(p, k)``."""
        return self._gradient(self._seen_adjoint(self._seen(self._moved(parameters))))

    def _metric_of_rows(self, rows: FloatArray) -> FloatArray:
        """Return ``Y Y* rows`` for a block ``(rows, k)``."""
        n_trials, n_steps, _ = self.dims
        block = rows.reshape(n_trials, n_steps, -1, rows.shape[-1])
        adjoint = self.linearization.propagate_adjoint(self._seen_adjoint(block))
        moved = self.linearization.param_gram(adjoint)
        seen = self._seen(self.linearization.propagate(moved, overwrite=True))
        return seen.reshape(self._rows, -1)

    @cached_property
    def _factor(self) -> tuple[Any, bool]:
        """Cholesky factor of the damped Gram matrix, in float64."""
        side = self.side
        product = self._metric if self._on_parameters else self._metric_of_rows
        gram = np.empty((side, side))
        for first in range(0, side, _COLUMNS):
            last = min(first + _COLUMNS, side)
            columns = np.zeros((side, last - first), self.dtype)
            columns[np.arange(first, last), np.arange(last - first)] = 1
            gram[:, first:last] = product(columns)
        gram[np.diag_indices(side)] += self.damping
        try:
            # The lower triangle of the transpose, which LAPACK takes without a copy.
            return scipy.linalg.cho_factor(gram.T, lower=True, overwrite_a=True, check_finite=False)
        except np.linalg.LinAlgError as error:
            raise InputError(
                f"damping={self.damping:g} is below the rounding error of the Gram matrix "
                f"({self.dtype}), which is singular with it; raise it."
            ) from error

    def _solve(self, block: FloatArray) -> FloatArray:
        solved = scipy.linalg.cho_solve(self._factor, block, check_finite=False)
        return np.ascontiguousarray(solved, dtype=self.dtype)

    def _by_conjugate_gradients(self, block: FloatArray) -> FloatArray:
        """Solve ``(Y* Y + damping) X = block``, each column by itself."""
        damping = self.dtype.type(self.damping)
        X, residual = np.zeros_like(block), block.copy()
        direction, squares = residual.copy(), _squares(residual)
        aims = self.tolerance**2 * squares
        for _ in range(_MOST_ITERATIONS):
            going = np.flatnonzero(squares > aims)
            if not len(going):
                break
            D = np.ascontiguousarray(direction[:, going])
            product = self._metric(D) + damping * D
            steps = squares[going] / np.einsum("ij,ij->j", D, product, dtype=np.float64)
            X[:, going] += (steps * D).astype(self.dtype, copy=False)
            residual[:, going] -= (steps * product).astype(self.dtype, copy=False)
            new = _squares(residual[:, going])
            turned = residual[:, going] + (new / squares[going]) * D
            direction[:, going] = turned.astype(self.dtype, copy=False)
            squares[going] = new
        # The residual of the recurrence goes on falling where rounding has stopped the true one.
        left = _squares(block - self._metric(X) - damping * X)
        if np.any(left > _ROUNDING_SLACK**2 * aims):
            raise InputError(
                f"Conjugate gradients did not reach tolerance={self.tolerance:g}: "
                f"damping={self.damping:g} is too small for the precision ({self.dtype}). Raise "
                'the damping or the tolerance, or take solver="cholesky".'
            )
        return X

    def product_cost(self, k: int = 1) -> Cost | None:
        """Return what a product with `k` columns takes once the factor is made.

        None for a cell without weight sites, and where the number of iterations decides.
        """
        linearization = self.linearization
        once = _product_costs.one_after_another(
            _product_costs.propagation(linearization, k), _product_costs.jacobian(linearization, k)
        )
        if once is None or self.solver != "cholesky":
            return None
        count = 2 if self._on_parameters or self.readout_weight is None else 4
        solve = 2.0 * self.side**2 * k
        memory = count * once.memory_bytes + 8.0 * self.side * k
        return Cost(count * once.flops + solve, memory)


class ParameterMetric(StructuredOperator):
    """``Y* Y``, the undamped matrix of a Gauss-Newton step, ``(p,) -> (p,)``.

    Parameters
    ----------
    rule : GaussNewton
        The rule whose Y it is; its damping plays no part.
    """

    self_adjoint = True
    positive_semidefinite = True

    def __init__(self, rule: GaussNewton) -> None:
        self.rule = rule
        parameters = (rule.linearization.n_parameters,)
        super().__init__(parameters, parameters, rule.dtype)

    def _apply_block(self, block: FloatArray) -> FloatArray:
        return self.rule._metric(block)

    def _apply_adjoint_block(self, block: FloatArray) -> FloatArray:
        return self.rule._metric(block)


def _squares(block: FloatArray) -> FloatArray:
    squares: FloatArray = np.einsum("ij,ij->j", block, block, dtype=np.float64)
    return squares
