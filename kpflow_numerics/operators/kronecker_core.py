"""The Kronecker core ``(V V*) kron I`` of the parameter operator."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import numpy as np
import scipy.linalg

from .._typing import FloatArray
from ..linearization import Linearization
from ..results import Cost
from ._site_gram import ROWS_AT_A_TIME, left_vectors, over_power_of_two
from .base import StructuredOperator, check_linearization

WORD = 8.0


class KroneckerCore(StructuredOperator):
    """What K is but for the gains of the cell: ``(V V*) kron I_N``, the same for all units.

    ``V`` of shape ``(B T, m)`` holds what the weights multiply: ``[phi(h_{t-1}), x_t, 1]`` for the
    current form of the leaky cell, and for the other cells with weight sites one column for each
    column of each of their parameters, so that two biases count twice: ``[h_{t-1}, x_t, 1, 1]``
    for a GRU or LSTM. A cell without sites is taken as ``[h_{t-1}, x_t, 1]``, the
    current form of :class:`~kpflow_numerics.LowRankRNN` as ``[phi(h_{t-1}), x_t, 1]``.

    For the current form ``K = leak^2 (V V*) kron I`` exactly, where all weights are trained [1]_.

    Parameters
    ----------
    linearization : Linearization
        Local derivatives, from :func:`kpflow_numerics.linearize`.

    See Also
    --------
    kpflow_numerics.core_cosine : How close K or the NTK, averaged over units, are to ``V V*``.
    kpflow_numerics.schmidt_decomposition : How far K is from any Kronecker product.

    Notes
    -----
    Shape ``(B, T, N) -> (B, T, N)``, self-adjoint and positive semi-definite. A product costs
    ``4 B T m N k`` flops. The ``exact_`` methods need the spectrum or the norm of a matrix of side
    ``min(B T, m)`` only; they work in float64.

    References
    ----------
    .. [1] arXiv 2605.08746 (the global empirical NTK).

    Examples
    --------
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> cell = kpf.LeakyRNN(n_inputs=3, n_units=8, form="current", leak=0.2)
    >>> lin = kpf.linearize(kpf.simulate(cell, cell.init_params(rng=3), np.ones((2, 5, 3))))
    >>> K, core = kpf.ParameterOperator(lin), kpf.KroneckerCore(lin)
    >>> bool(np.allclose(K.to_dense(), 0.2**2 * core.to_dense()))
    True
    """

    self_adjoint = True
    positive_semidefinite = True

    def __init__(self, linearization: Linearization) -> None:
        self.linearization = check_linearization(linearization)
        super().__init__(linearization.dims, linearization.dims, linearization.dtype)

    @cached_property
    def features(self) -> FloatArray:
        """What the weights multiply, ``V`` of shape ``(B, T, m)``."""
        return core_features(self.linearization)

    @property
    def _flat_features(self) -> FloatArray:
        """``V`` in float64, of shape ``(B T, m)``."""
        flat = self.features.reshape(-1, self.features.shape[-1])
        return flat.astype(np.float64, copy=False)

    @property
    def _sizes(self) -> tuple[int, int, int]:
        """``B T``, ``m`` and ``N``."""
        n_trials, n_steps, n_state = self.linearization.dims
        return n_trials * n_steps, self.features.shape[-1], n_state

    @cached_property
    def factor(self) -> FeatureOperator:
        """The operator ``V kron I`` of which this is the Gram operator."""
        return FeatureOperator(self.features, self.linearization.dims)

    def _apply_block(self, block: FloatArray) -> FloatArray:
        return self.factor._apply_block(self.factor._apply_adjoint_block(block))

    def _apply_adjoint_block(self, block: FloatArray) -> FloatArray:
        return self._apply_block(block)

    def product_cost(self, k: int = 1) -> Cost:
        """Return what a product with `k` columns takes."""
        n_rows, m, n_state = self._sizes
        entries = float(n_rows + m) * n_state * k
        return Cost(4.0 * n_rows * m * n_state * k, self.dtype.itemsize * entries)

    def exact_cost(self, quantity: str, *arguments: object) -> Cost | None:
        """Return what a closed form takes; None for what has none.

        Parameters
        ----------
        quantity : str
            ``"trace"``, ``"frobenius_norm"``, ``"eigenvalues"``, ``"eigenpairs"``,
            ``"partial_trace"`` or ``"schmidt"``.
        *arguments
            What the closed form takes: the axes of a partial trace, the number of eigenpairs.
        """
        n_rows, m, n_state = self._sizes
        small = min(n_rows, m)
        gram = 2.0 * n_rows * m * small
        match quantity:
            case "trace":
                return Cost(2.0 * n_rows * m, WORD * n_rows * m)
            case "frobenius_norm" | "schmidt":
                return Cost(gram, WORD * (n_rows * m + small**2 + float(n_state) ** 2))
            case "eigenvalues":
                memory = 2.0 * n_rows * n_state + n_rows * m + 2.0 * small**2
                return Cost(gram + 4.0 / 3.0 * small**3, WORD * memory)
            case "eigenpairs":
                k = arguments[0] if arguments else 1
                assert isinstance(k, int | np.integer)
                vectors = float(n_rows) * (n_state + 1.0) * (2.0 + int(k))
                return Cost(
                    gram + 10.0 * small**3, WORD * (4.0 * n_rows * max(n_rows, m) + vectors)
                )
            case "partial_trace":
                over = arguments[0] if arguments else ("unit",)
                assert isinstance(over, Iterable)
                traced = frozenset(over)
                n_kept = self._n_kept(traced)
                side = float(n_kept * (1 if "unit" in traced else n_state))
                memory = side**2 + 2.0 * n_kept**2 + 2.0 * n_rows * m
                return Cost(2.0 * n_rows * n_kept * m, WORD * memory)
            case _:
                return None

    def exact_trace(self) -> float:
        """Return ``N |V|_F^2``."""
        return self._sizes[-1] * float(np.vdot(self._flat_features, self._flat_features))

    def exact_frobenius_norm(self) -> float:
        """Return ``sqrt(N) |V V*|_F``."""
        return float(np.sqrt(self._sizes[-1])) * gram_norm(self._flat_features)

    def exact_eigenvalues(self) -> FloatArray:
        """Return the whole spectrum, descending: that of ``V V*``, each value N times."""
        n_rows, _, n_state = self._sizes
        V = self._flat_features
        gram = V.T @ V if V.shape[0] > V.shape[1] else V @ V.T
        values = np.maximum(scipy.linalg.eigvalsh(gram, check_finite=False)[::-1], 0.0)
        return np.repeat(np.pad(values, (0, n_rows - len(values))), n_state)

    def exact_eigenpairs(self, k: int) -> tuple[FloatArray, FloatArray]:
        """Return the `k` leading eigenvalues and eigenvectors ``(n, k)``, each on one unit."""
        n_rows, _, n_state = self._sizes
        values = self.exact_eigenvalues()[:k]
        columns = np.arange(k)
        courses, units = np.divmod(columns, n_state)
        found = left_vectors(self._flat_features, np.arange(courses[-1] + 1))
        vectors = np.zeros((n_rows, n_state, k), self.dtype)
        vectors[:, units, columns] = found[:, courses]
        return values, vectors.reshape(n_rows * n_state, k)

    def exact_partial_trace(self, over: Iterable[str]) -> FloatArray:
        """Return the partial trace over the named axes, any of them, as that of K is shaped."""
        traced = frozenset(over)
        n_trials, n_steps, n_state = self.linearization.dims
        lengths = {"trial": n_trials, "time": n_steps, "unit": n_state}
        kept = tuple(length for name, length in lengths.items() if name not in traced)
        layers = self._flat_features.reshape(n_trials, n_steps, -1)
        if "time" in traced and "trial" not in traced:
            layers = layers.swapaxes(0, 1)
        # What is added up over traced rows is one Gram matrix of features joined side by side.
        n_kept = self._n_kept(traced)
        joined = layers.reshape(-1, n_kept, layers.shape[-1]).swapaxes(0, 1).reshape(n_kept, -1)
        reduced = joined @ joined.T
        if "unit" in traced:
            return (n_state * reduced).reshape(kept + kept)
        return np.kron(reduced, np.eye(n_state)).reshape(kept + kept)

    def exact_schmidt(self) -> tuple[FloatArray, FloatArray, float]:
        """Return the one Schmidt value, ``I / sqrt(N)``, and the distance 0 from their product."""
        n_state = self._sizes[-1]
        return (
            np.array([self.exact_frobenius_norm()]),
            np.eye(n_state) / np.sqrt(n_state),
            0.0,
        )

    def _n_kept(self, traced: frozenset[str]) -> int:
        n_trials, n_steps, _ = self.linearization.dims
        return (1 if "trial" in traced else n_trials) * (1 if "time" in traced else n_steps)


class FeatureOperator(StructuredOperator):
    """``V kron I``: the states that weights ``(m, N)`` make of features ``(B, T, m)``.

    Parameters
    ----------
    features : ndarray, shape (B, T, m)
        The features.
    dims : tuple of int
        ``(B, T, N)``.
    """

    def __init__(self, features: FloatArray, dims: tuple[int, int, int]) -> None:
        super().__init__((features.shape[-1], dims[-1]), dims, features.dtype)
        self._features = features.reshape(-1, features.shape[-1])

    def _apply_block(self, block: FloatArray) -> FloatArray:
        k = block.shape[-1]
        return (self._features @ block.reshape(len(block), -1)).reshape(*self.dimsd, k)

    def _apply_adjoint_block(self, block: FloatArray) -> FloatArray:
        k = block.shape[-1]
        product = self._features.T @ block.reshape(len(self._features), -1)
        return product.reshape(*self.dims, k)

    def product_cost(self, k: int = 1) -> Cost:
        """Return what a product, or an adjoint product, with `k` columns takes."""
        columns = float(self.dimsd[-1]) * k
        bytes_made = self.dtype.itemsize * columns * max(self._features.shape)
        return Cost(2.0 * self._features.size * columns, bytes_made)


def core_features(linearization: Linearization) -> FloatArray:
    """Return what the weights multiply, ``(B, T, m)``: a column for each column of a parameter."""
    sites = linearization.weight_sites
    if sites is None:
        trajectory, factored = linearization.trajectory, linearization.low_rank_sites
        has_ones = factored is None or bool(vars(linearization.cell)["bias"])
        ones = np.ones((*linearization.dims[:2], int(has_ones)), linearization.dtype)
        read = trajectory.previous if factored is None else factored.read
        return np.concatenate([read, trajectory.inputs, ones], axis=-1)
    columns: dict[str, FloatArray] = {}
    for group in sites.groups:
        for segment in group.segments:
            for name in segment.parameters:
                columns.setdefault(name, group.features[..., segment.columns])
    return np.concatenate([*columns.values()], axis=-1)


def gram_norm(V: FloatArray) -> float:
    """Return ``|V V*|_F``, a few rows at a time; infinite, or zero, where it leaves the range."""
    scaled, exponent = over_power_of_two(V)
    small = scaled.T if V.shape[0] > V.shape[1] else scaled
    total = 0.0
    for start in range(0, len(small), ROWS_AT_A_TIME):
        rows = small[start : start + ROWS_AT_A_TIME] @ small.T
        total += float(np.vdot(rows, rows))
    with np.errstate(over="ignore"):
        return float(np.ldexp(np.sqrt(total), 2 * exponent))
