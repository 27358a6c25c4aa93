"""How close an operator is to a Kronecker product of trials and steps with units."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import scipy.linalg

from .._typing import FloatArray
from .._validation import InputError, InputTypeError, check_choice, check_real
from ..linearization import Linearization
from ..operators._site_gram import over_power_of_two
from ..operators.kronecker_core import KroneckerCore, gram_norm
from ..results import Cost, Estimate
from ..spectral import partial_trace
from ..spectral._any_scale import SPECTRUM, at_any_scale, times
from ..spectral._budget import LARGEST_DENSE_SIZE, check_max_memory, check_memory
from ..spectral._view import SpectralView
from ..spectral.dense import chunks, unit_columns
from ..spectral.partial_trace import DEFAULT_MAX_PRODUCTS

SCHMIDT_METHODS = ("auto", "exact", "dense")
"""What :func:`schmidt_decomposition` accepts as ``method``."""


@dataclass(frozen=True, repr=False, eq=False)
class SchmidtResult:
    """An operator as ``sum_k values[k] A_k kron B_k``, with ``A_k`` on trials and steps.

    Attributes
    ----------
    values : ndarray, shape (r,)
        Schmidt values, descending. Their squares sum to the squared Frobenius norm. From the
        closed form, those below ``1e-7`` times the first are rounding.
    weights : ndarray, shape (r,)
        Squared values over their sum: the share of each term in the squared norm.
    rank : float
        Participation ratio of the squared values, ``1 / sum(weights**2)``: 1 for a Kronecker
        product.
    n_above : int
        Number of values above `tolerance` times the first.
    tolerance : float
        That tolerance.
    distance : float
        Frobenius distance from the nearest Kronecker product over the Frobenius norm, in [0, 1).
        It is known to rounding, not to its root, however small it is.
    unit_factor : ndarray, shape (N, N)
        ``B_1``, on the units, of unit Frobenius norm and non-negative trace.
    method : str
        ``"exact"`` or ``"dense"``.
    n_matvecs : int
        Products of single columns with the operator.
    cost : Cost or None
        What the computation took, where it is known; see :class:`~kpflow_numerics.results.Cost`.
    """

    values: FloatArray
    weights: FloatArray
    rank: float
    n_above: int
    tolerance: float
    distance: float
    unit_factor: FloatArray
    method: str
    n_matvecs: int
    cost: Cost | None = None

    def __repr__(self) -> str:
        return (
            f"SchmidtResult(rank {self.rank:.4g}, {self.n_above} values above "
            f"{self.tolerance:.0e}, distance {self.distance:.2e}, {self.method}, "
            f"{self.n_matvecs} products)"
        )


def schmidt_decomposition(
    op: Any,
    method: str = "auto",
    *,
    tolerance: float = 1e-6,
    max_memory: float | None = None,
) -> SchmidtResult:
    """Return the Schmidt decomposition of an operator across (trial, time) | unit.

    The Schmidt values are the singular values of the operator with the entries of
    ``A[(a, i), (b, j)]`` in row ``(a, b)``, a pair of trials and steps, and column ``(i, j)``, a
    pair of states [1]_. There is one for a Kronecker product, as K of the current form of
    :class:`~kpflow_numerics.LeakyRNN` is. That of an operator A that is not self-adjoint means
    that of ``A A*``.

    Parameters
    ----------
    op : LinearOperator
        An operator on states, with ``dimsd = (B, T, N)``.
    method : {"auto", "exact", "dense"}
        ``"exact"`` asks the operator: K, its parts by site and the core know it. ``"dense"``
        makes the matrix and takes its singular values. ``"auto"`` takes the first that can be had.
    tolerance : float
        Values above this, relative to the first, are counted in ``n_above``.
    max_memory : float, optional
        Bytes of working memory; by default 4 GiB.

    Returns
    -------
    SchmidtResult

    Raises
    ------
    InputError
        If the operator has no axes, ``method="exact"`` is not to be had, a matrix of more than
        8,000 rows would have to be made, or the values leave the range of floats.
    MemoryLimitError
        If it would take more than `max_memory`.

    Notes
    -----
    For K with H units, ``S`` slots each, no two units are coupled, and the Gram matrix of the
    ``S^2 H`` blocks of single units is enough: about ``(B T)^2 H^2 / 2`` multiplications for one
    slot, a few tiles of ``O(H)`` numbers a pair of steps and two ``H x H`` matrices a thread.

    References
    ----------
    .. [1] Van Loan and Pitsianis, "Approximation with Kronecker products", 1993.

    Examples
    --------
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> inputs = np.random.default_rng(3).standard_normal((2, 5, 3))
    >>> for cell in (kpf.LeakyRNN(3, 8, form="current"), kpf.GRU(3, 8)):
    ...     lin = kpf.linearize(kpf.simulate(cell, cell.init_params(rng=3), inputs))
    ...     result = kpf.schmidt_decomposition(kpf.ParameterOperator(lin))
    ...     print(result.n_above, round(result.rank, 2))
    1 1.0
    8 1.36
    """
    tolerance = check_real(tolerance, "tolerance", minimum=0.0, maximum=1.0)
    method = check_choice(method, "method", SCHMIDT_METHODS)
    memory = check_max_memory(max_memory)
    solve = partial(_decompose, method=method, tolerance=tolerance, memory=memory)
    return at_any_scale(solve, (op,), SPECTRUM, restore=_in_units)


def _in_units(result: SchmidtResult, exponent: int, operator: Any) -> SchmidtResult:
    return replace(result, values=times(result.values, exponent, operator))


def _decompose(op: Any, *, method: str, tolerance: float, memory: float) -> SchmidtResult:
    view = SpectralView(op)
    dims = getattr(view.operator, "dimsd", None)
    if dims is None or len(dims) != 3:
        raise InputError(
            f"op must be an operator on states, with dimsd = (B, T, N); this {view.name} has "
            f"dimsd = {dims}."
        )
    if method != "dense":
        found = view.ask_exact("schmidt", max_memory=memory, required=method == "exact")
        if found is not None:
            (values, factor, rest), cost = found
            cost = view.whole_cost(cost)
            return _result(values, factor, rest, tolerance, "exact", view.n_matvecs, cost)
    values, factor, rest, cost = _dense(view, tuple(dims), memory)
    whole = view.whole_cost(cost)
    return _result(values, factor, rest, tolerance, "dense", view.n_matvecs, whole)


def _result(
    values: FloatArray,
    factor: FloatArray,
    rest: float,
    tolerance: float,
    method: str,
    n_matvecs: int,
    cost: Cost | None,
) -> SchmidtResult:
    squares = np.square(over_power_of_two(values)[0])
    total = float(squares.sum())
    weights = squares / total if total > 0 else np.zeros_like(squares)
    concentration = float(np.square(weights).sum())
    return SchmidtResult(
        values=values,
        weights=weights,
        rank=1.0 / concentration if total > 0 else 0.0,
        n_above=int(np.count_nonzero(values > tolerance * values[0])),
        tolerance=tolerance,
        distance=rest / float(scipy.linalg.norm(values)) if total > 0 else 0.0,
        unit_factor=factor,
        method=method,
        n_matvecs=n_matvecs,
        cost=cost,
    )


def _dense(
    view: SpectralView, dims: tuple[int, ...], max_memory: float
) -> tuple[FloatArray, FloatArray, float, Cost]:
    """Return values, leading factor on the units, and distance, from the realigned matrix."""
    n, n_state = view.n, dims[-1]
    n_rows = n // n_state
    if n > LARGEST_DENSE_SIZE:
        raise InputError(
            f"This {view.name} has no closed form of its Schmidt values, and its matrix of "
            f"{n:,} rows is above the {LARGEST_DENSE_SIZE:,} that are made. Use fewer trials, "
            "steps or units, or a cell with weight sites."
        )
    small = float(min(n_rows, n_state)) ** 2
    needed = 8.0 * (4.0 * float(n) ** 2 + 2.0 * small**2)
    check_memory(needed, max_memory, "The realigned matrix", "Use a smaller batch, or raise it.")
    realigned = np.empty((n_rows, n_rows, n_state, n_state))
    for first, last in chunks(n):
        images = view.apply(unit_columns(first, last, n, view.dtype))
        for column in range(first, last):
            b, j = divmod(column, n_state)
            realigned[:, b, :, j] = images[:, column - first].reshape(n_rows, n_state)
    matrix = realigned.reshape(n_rows**2, n_state**2)
    _, values, right = scipy.linalg.svd(matrix, full_matrices=False, check_finite=False)
    factor = right[0].reshape(n_state, n_state)
    if np.trace(factor) < 0:
        factor = -factor
    cost = Cost(4.0 * float(n) ** 2 * small, needed)
    return values, factor, float(scipy.linalg.norm(values[1:])), cost


def core_cosine(
    op: Any,
    *,
    max_products: int = DEFAULT_MAX_PRODUCTS,
    max_memory: float | None = None,
) -> Estimate:
    """Return the cosine between an operator averaged over its units and ``V V*``.

    The average is the partial trace over the units, a matrix on trials and steps; ``V`` is what
    the weights multiply, as in :class:`~kpflow_numerics.KroneckerCore`. 1 means that the operator
    learns along trials and steps as a network does whose gains are constant.

    Parameters
    ----------
    op : ParameterOperator, SiteOperator, TangentKernel or another of a linearisation
        The operator on states; its ``linearization`` gives ``V``.
    max_products, max_memory
        As in :func:`~kpflow_numerics.partial_trace`. K needs no products; the NTK as many as it
        has parameters or states, whichever are fewer.

    Returns
    -------
    Estimate
        An exact number, from -1 to 1; for positive semi-definite operators from 0.

    Raises
    ------
    InputTypeError
        If the operator is not one of a linearisation.
    InputError, MemoryLimitError
        As :func:`~kpflow_numerics.partial_trace`.

    Notes
    -----
    Beside the partial trace ``2 (B T)^2 m`` flops for ``m`` features, and no second matrix of its
    size in double precision.

    Examples
    --------
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> cell = kpf.LeakyRNN(3, 8, form="current")
    >>> inputs = np.random.default_rng(3).standard_normal((2, 5, 3))
    >>> lin = kpf.linearize(kpf.simulate(cell, cell.init_params(rng=3), inputs))
    >>> round(kpf.core_cosine(kpf.ParameterOperator(lin)).value, 12)
    1.0
    """
    linearization = getattr(op, "linearization", None)
    if not isinstance(linearization, Linearization):
        raise InputTypeError(
            "op must be an operator of a linearisation, such as ParameterOperator(lin) or "
            f"TangentKernel(lin); got {type(op).__name__}."
        )
    reduced = partial_trace(op, "unit", max_products=max_products, max_memory=max_memory)
    kernel, _ = over_power_of_two(reduced.matrix.astype(np.float64, copy=False))
    V, _ = over_power_of_two(KroneckerCore(linearization)._flat_features)
    inner = float(np.vdot(V, kernel @ V))
    norms = float(scipy.linalg.norm(kernel)) * gram_norm(V)
    value = inner / norms if norms > 0 else 0.0
    n_rows, m = V.shape
    spent = reduced.cost
    cost = None
    if spent is not None:
        flops = 2.0 * n_rows * m * (n_rows + min(n_rows, m)) + 2.0 * float(n_rows) ** 2
        cost = Cost(spent.flops + flops, spent.memory_bytes + 2.0 * V.nbytes)
    return Estimate(
        value,
        value,
        value,
        0.0,
        reduced.method,
        reduced.n_matvecs,
        "cosine with the Kronecker core",
        cost=cost,
    )
