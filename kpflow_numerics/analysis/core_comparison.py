"""How alike kernel, K and the core of the activity are along trials and steps, with controls."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._typing import FloatArray
from ..linearization import Linearization
from ..operators import KroneckerCore, ParameterOperator, TangentKernel
from ..operators._site_gram import over_power_of_two
from ..operators.base import check_linearization
from ..operators.kronecker_core import gram_norm
from ..results import Cost
from ..spectral import partial_trace
from ..spectral.partial_trace import DEFAULT_MAX_PRODUCTS
from ..testing import default_tolerance


@dataclass(frozen=True, repr=False)
class CoreAgainstKernel:
    """Cosines between positive semi-definite matrices on trials and steps, each from 0 to 1.

    The tangent kernel and K are averaged over the units; the core is ``V V*``. A cosine with what
    vanishes, or is nothing but rounding once it is centred, is NaN.

    Attributes
    ----------
    kernel_core : float
        Of the tangent kernel with the core.
    kernel_core_centred : float
        The same with the means of rows and columns taken away from both.
    parameter_core, parameter_core_centred : float
        Of K with the core, as they are and centred.
    kernel_ones, parameter_ones, core_ones : float
        Controls: of each of the three with a matrix of ones, which knows nothing of the network.
        Where they are high, so are the cosines with the core, whatever the rest: the angles obey
        the triangle inequality.
    n_matvecs : int
        Products of single columns.
    cost : Cost or None
        What the computation took, where it is known; see :class:`~kpflow_numerics.results.Cost`.
    """

    kernel_core: float
    kernel_core_centred: float
    parameter_core: float
    parameter_core_centred: float
    kernel_ones: float
    parameter_ones: float
    core_ones: float
    n_matvecs: int
    cost: Cost | None = None

    def __repr__(self) -> str:
        return (
            f"CoreAgainstKernel(kernel {self.kernel_core:.4g}, centred "
            f"{self.kernel_core_centred:.4g}; K {self.parameter_core:.4g}, centred "
            f"{self.parameter_core_centred:.4g}; kernel with ones {self.kernel_ones:.4g})"
        )


def core_against_kernel(
    linearization: Linearization,
    *,
    max_products: int = DEFAULT_MAX_PRODUCTS,
    max_memory: float | None = None,
) -> CoreAgainstKernel:
    """Compare the tangent kernel and K, averaged over units, with the core of the activity.

    The cosine of two matrices on trials and steps is their inner product over their norms. All
    three matrices mostly have positive entries, so that their cosines are high without any
    likeness in structure: beside them stand the cosines with a matrix of ones, and those of what
    is left when the means of rows and columns are taken away, ``C M C`` with ``C = I - 1 1* / (B
    T)``.

    Parameters
    ----------
    linearization : Linearization
        Local derivatives, from :func:`kpflow_numerics.linearize`.
    max_products, max_memory
        As in :func:`~kpflow_numerics.partial_trace`. The kernel takes as many products as it has
        parameters or states, whichever are fewer; K none, where the cell has weight sites.

    Returns
    -------
    CoreAgainstKernel
        Exact to rounding: no estimate enters.

    Raises
    ------
    InputError
        If more than `max_products` are needed.
    InputTypeError
        If an argument is of another kind.
    MemoryLimitError
        If it would take more than `max_memory`.

    See Also
    --------
    core_cosine : The first of these numbers for any one operator.

    Notes
    -----
    V is that of :class:`~kpflow_numerics.KroneckerCore`, what the weights multiply: a column for
    each column of each parameter. So the constant column of a GRU, LSTM or vanilla network, with
    two biases, counts twice, ``[x_t, h_{t-1}, 1, 1]``, which brings the core nearer to the ones.
    The average over the N states of an LSTM takes in both halves, h and c.

    The core and the ones are never made: their inner products with a matrix M are ``tr(V* M V)``
    and the sum of M. The kernel and K are made, one after the other: ``8 (B T)^2`` bytes, and
    ``4 (B T)^2 m`` flops each for the m columns of V beside those of the partial trace. A centred
    cosine is known to about ``eps |M| / |C M C|``.

    Examples
    --------
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> cell = kpf.LeakyRNN(3, 8, form="current")
    >>> inputs = np.random.default_rng(3).standard_normal((2, 5, 3))
    >>> lin = kpf.linearize(kpf.simulate(cell, cell.init_params(rng=3), inputs))
    >>> found = kpf.core_against_kernel(lin)
    >>> round(found.parameter_core, 12), round(found.parameter_core_centred, 12)
    (1.0, 1.0)

    P of a slow cell smooths white input until the kernel is nearer to the ones than to the core.

    >>> round(found.kernel_core, 2), round(found.kernel_ones, 2)
    (0.49, 0.81)
    """
    linearization = check_linearization(linearization)
    V, _ = over_power_of_two(KroneckerCore(linearization)._flat_features)
    centred_features = V - V.mean(axis=0)
    rounding = default_tolerance(linearization.dtype, len(V))
    if np.linalg.norm(centred_features) <= rounding * np.linalg.norm(V):
        centred_features = np.zeros_like(V)
    cosines, costs, n_matvecs = [], [], 0
    for operator in (TangentKernel(linearization), ParameterOperator(linearization)):
        reduced = partial_trace(operator, "unit", max_products=max_products, max_memory=max_memory)
        matrix, _ = over_power_of_two(reduced.matrix.astype(np.float64, copy=False))
        whole, ones = _cosine(matrix, V), _cosine(matrix, np.ones((len(V), 1)))
        centred = _centred(matrix, rounding)
        cosines.append((whole, _cosine(centred, centred_features), ones))
        costs.append(reduced.cost)
        n_matvecs += reduced.n_matvecs
    kernel, parameter = cosines
    return CoreAgainstKernel(
        kernel_core=kernel[0],
        kernel_core_centred=kernel[1],
        parameter_core=parameter[0],
        parameter_core_centred=parameter[1],
        kernel_ones=kernel[2],
        parameter_ones=parameter[2],
        core_ones=_ratio(float(np.square(V.sum(axis=0)).sum()), len(V) * gram_norm(V)),
        n_matvecs=n_matvecs,
        cost=_whole_cost(costs, V),
    )


def _cosine(matrix: FloatArray, V: FloatArray) -> float:
    """Return the cosine of a matrix with ``V V*``; NaN where either vanishes."""
    inner = float(np.vdot(V, matrix @ V))
    return _ratio(inner, float(np.linalg.norm(matrix)) * gram_norm(V))


def _ratio(inner: float, norms: float) -> float:
    return inner / norms if norms > 0 else float("nan")


def _centred(matrix: FloatArray, rounding: float) -> FloatArray:
    """Return ``C M C`` of a symmetric matrix, in its place; 0 where only rounding is left."""
    norm = np.linalg.norm(matrix)
    means = matrix.mean(axis=0)
    matrix -= means
    matrix -= means[:, None]
    matrix += means.mean()
    if np.linalg.norm(matrix) <= rounding * norm:
        matrix[...] = 0.0
    return matrix


def _whole_cost(costs: list[Cost | None], V: FloatArray) -> Cost | None:
    """Return the cost of partial traces one after the other and of the cosines beside them."""
    known = [cost for cost in costs if cost is not None]
    if len(known) < len(costs):
        return None
    n_rows, m = V.shape
    own = 2.0 * n_rows * m * (2.0 * n_rows + min(n_rows, m)) + 10.0 * float(n_rows) ** 2
    return Cost(
        sum(cost.flops for cost in known) + len(known) * own,
        max(cost.memory_bytes for cost in known) + 3.0 * V.nbytes,
    )
