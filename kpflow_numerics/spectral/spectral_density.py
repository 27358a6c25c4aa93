"""Spectral densities by stochastic Lanczos quadrature."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from .._typing import ArrayLike, FloatArray, RNGLike
from .._validation import InputError, InputTypeError, check_array, check_integer, check_rng
from ..results import Cost, Estimate
from ._any_scale import SPECTRUM, at_any_scale, times
from ._budget import check_max_memory, check_memory
from ._view import PRODUCT_COLUMNS, SpectralView
from .estimators.forms import chunk_widths, on_sphere
from .estimators.sampled import CONFIDENCE, mean_of_probes

DEFAULT_STEPS = 40
"""Lanczos steps of each probe unless told otherwise."""

DEFAULT_PROBES = 16
"""Probes unless told otherwise."""

GRID_POINTS = 256
"""Points of the grid on which a density is given."""

WIDTH_SHARE = 0.02
"""Width of the smoothing, as a share of the range of the nodes."""


@dataclass(frozen=True, repr=False, eq=False)
class SpectralDensity:
    """How the n eigenvalues of an operator are distributed, estimated from random probes.

    Attributes
    ----------
    nodes, weights : ndarray, shape (m, s)
        Gauss quadrature of each probe: its weights sum to the share ``size / n`` of the
        eigenvalues that the Lanczos recursion sees. Places that are not needed have weight 0.
    size, n : int
        Size of the side that was worked on, and number of eigenvalues; the other ``n - size`` are
        zero.
    grid : ndarray, shape (g,)
        Where the following are given.
    density, density_error : ndarray, shape (g,)
        Density of the eigenvalues, of integral 1, smoothed by a Gaussian of standard deviation
        `width`, and its standard error.
    width : float
        Standard deviation of the smoothing.
    cumulative, cumulative_error : ndarray, shape (g,)
        Share of the eigenvalues up to each point, without smoothing, and its standard error.
    n_matvecs : int
        Products of single columns with the operator, its adjoint or its factors.
    cost : Cost or None
        What the computation took, where it is known; see :class:`Cost`.
    """

    nodes: FloatArray
    weights: FloatArray
    size: int
    n: int
    grid: FloatArray
    density: FloatArray
    density_error: FloatArray
    width: float
    cumulative: FloatArray
    cumulative_error: FloatArray
    n_matvecs: int
    cost: Cost | None = None

    def integrate(
        self, function: Callable[[FloatArray], FloatArray], quantity: str = "spectral sum"
    ) -> Estimate:
        """Return ``tr f(A)``, the sum of a function over all n eigenvalues.

        Parameters
        ----------
        function : callable
            Takes an array and returns the values, as NumPy's functions do.
        quantity : str
            What the sum is, for people.

        Returns
        -------
        Estimate
            With the standard error and the 95 % interval that the scatter of the probes gives.
            They know nothing of the error of the quadrature, which is zero for polynomials of
            degree up to ``2 s - 1`` and small for functions that are smooth over the range.

        Raises
        ------
        InputError
            If the function is not finite at a node, or does not give as many values as it is given.
        InputTypeError
            If it cannot be called.

        Examples
        --------
        >>> density = spectral_density(np.diag([3.0, 2.0, 1.0]), n_probes=4)
        >>> total = density.integrate(np.square)
        >>> total.lower <= 14 <= total.upper
        True
        """
        values = np.where(self.weights > 0, self._values(function, self.nodes), 0.0)
        samples = self.n * np.sum(self.weights * values, axis=1)
        zeros = self.n - self.size
        known = 0.0
        if zeros:
            known = zeros * float(self._values(function, np.zeros(1))[0])
        if not (np.isfinite(samples).all() and math.isfinite(known)):
            raise InputError(
                "function must be finite at the nodes, from "
                f"{np.min(self.nodes):.6g} to {np.max(self.nodes):.6g}"
                f"{', and at zero' if zeros else ''}; it is not."
            )
        found = mean_of_probes(
            samples,
            known,
            size=self.size,
            dtype=np.dtype(self.nodes.dtype),
            positive=bool(np.all(values >= 0)) and known >= 0,
        )
        return Estimate(
            found.value,
            found.lower,
            found.upper,
            found.standard_error,
            "lanczos quadrature",
            self.n_matvecs,
            quantity,
            confidence=CONFIDENCE,
            cost=self.cost,
        )

    def _values(self, function: Any, nodes: FloatArray) -> FloatArray:
        if not callable(function):
            raise InputTypeError(
                f"function must be callable, such as numpy.sqrt; got {type(function).__name__}."
            )
        values = np.asarray(function(nodes))
        if values.shape != nodes.shape:
            raise InputError(
                f"function must return an array of the shape that it is given, {nodes.shape}; got "
                f"{values.shape}."
            )
        return values

    def cumulative_at(self, points: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Return the share of eigenvalues up to some points, and its standard error.

        Half of a node's weight counts at the node: the true share of one probe is within half a
        weight of the node next to it (Chebyshev, Markov and Stieltjes).

        Parameters
        ----------
        points : array_like, shape (g,)
            Where.

        Returns
        -------
        shares, errors : ndarray, shape (g,)
        """
        at = check_array(points, "points", ("g",), dtype=np.float64)
        reach = 1e-12 * float(np.max(np.abs(self.nodes), initial=0.0))
        shares = np.array([_share(self.nodes, self.weights, point, reach) for point in at])
        if self.n > self.size:
            shares += (self.n - self.size) / self.n * (at >= -reach)[:, None]
        return _mean_and_error(shares)

    def __repr__(self) -> str:
        return (
            f"SpectralDensity(n={self.n}, {len(self.nodes)} probes of {self.nodes.shape[1]} steps, "
            f"{np.min(self.nodes):.4g} ... {np.max(self.nodes):.4g}, {self.n_matvecs} products)"
        )


def spectral_density(
    op: Any,
    *,
    n_steps: int = DEFAULT_STEPS,
    n_probes: int = DEFAULT_PROBES,
    n_matvecs: int | None = None,
    rng: RNGLike = 0,
    max_memory: float | None = None,
    self_adjoint: bool | None = None,
    positive_semidefinite: bool | None = None,
) -> SpectralDensity:
    """Return how the eigenvalues of an operator are distributed.

    By stochastic Lanczos quadrature (Golub and Meurant, 1994; Ubaru, Chen and Saad, SIAM J. Matrix
    Anal. Appl. 38, 2017): a Lanczos recursion from each random vector gives the Gauss quadrature of
    the spectrum as that vector sees it; the mean over vectors estimates the whole. The spectrum of
    an operator A that is not self-adjoint means that of ``A A*``.

    Parameters
    ----------
    op : LinearOperator, array_like or sparse matrix, shape (n, p)
        The operator. Where it has a factor (``op = L L*``) with a side less than half of n, the
        recursion works on that side.
    n_steps : int
        Lanczos steps, and nodes, of each probe; no more than the size.
    n_probes : int
        Random vectors, at least 2, for the error bars. All of them go through one block product
        a step.
    n_matvecs : int, optional
        Budget of products: fewer probes are taken where it does not suffice for `n_probes`.
    rng : int, SeedSequence or Generator
        Source of the random vectors, uniform on a sphere.
    max_memory : float, optional
        Bytes of working memory; by default 4 GiB.
    self_adjoint, positive_semidefinite : bool, optional
        Override the flags of the operator. An operator without the first is tested by four
        random products. With the second, nodes below zero are rounding and set to zero.

    Returns
    -------
    SpectralDensity

    Raises
    ------
    InputError, InputTypeError
        If an argument cannot be used, or a product gives NaN or infinity.
    MemoryLimitError
        If the vectors of all steps take more than `max_memory`.

    Notes
    -----
    ``4 n s^2 m`` flops for the full reorthogonalisation, which keeps converged eigenvalues from
    being counted twice, beside ``s m`` products; ``n s`` numbers for each of up to 64 probes at a
    time.

    Examples
    --------
    >>> density = spectral_density(np.diag(np.arange(1.0, 201.0)), n_steps=20)
    >>> share, error = density.cumulative_at([100.0])
    >>> bool(abs(share[0] - 0.5) < 4 * error[0] + 0.05)
    True
    """
    solve = partial(
        _spectral_density,
        n_steps=n_steps,
        n_probes=n_probes,
        n_matvecs=n_matvecs,
        rng=rng,
        max_memory=max_memory,
        self_adjoint=self_adjoint,
        positive_semidefinite=positive_semidefinite,
    )
    return at_any_scale(solve, (op,), SPECTRUM, self_adjoint=self_adjoint, restore=_in_units)


def _spectral_density(
    op: Any,
    *,
    n_steps: int,
    n_probes: int,
    n_matvecs: int | None,
    rng: RNGLike,
    max_memory: float | None,
    self_adjoint: bool | None,
    positive_semidefinite: bool | None,
) -> SpectralDensity:
    view = SpectralView(op, self_adjoint=self_adjoint, positive_semidefinite=positive_semidefinite)
    n_steps = check_integer(n_steps, "n_steps")
    n_probes = check_integer(n_probes, "n_probes", minimum=2)
    memory = check_max_memory(max_memory)
    generator = check_rng(rng)
    multiply, size, each = _recursion_side(view)
    n_steps = min(n_steps, size)
    if n_matvecs is not None:
        budget = check_integer(n_matvecs, "n_matvecs")
        if budget < 2 * each * n_steps:
            raise InputError(
                f"n_matvecs must be at least {2 * each * n_steps} (two probes of {n_steps} steps); "
                f"got {budget}. Take fewer steps."
            )
        n_probes = min(n_probes, budget // (each * n_steps))
    needed = (n_steps + 6.0) * size * min(n_probes, PRODUCT_COLUMNS) * view.dtype.itemsize
    check_memory(
        needed,
        memory,
        f"spectral_density with {n_steps} steps of {n_probes} probes",
        "Take fewer of either, or raise max_memory.",
    )
    rules = [
        lanczos_rules(multiply, on_sphere(size, width, view.dtype, generator), n_steps)
        for width in chunk_widths(n_probes)
    ]
    nodes, weights = (np.concatenate(parts) for parts in zip(*rules, strict=True))
    if view.positive_semidefinite:
        nodes = np.maximum(nodes, 0.0)
    cost = view.whole_cost(Cost(4.0 * size * n_steps**2 * n_probes, needed))
    return _on_grid(nodes, weights * (size / view.n), size, view.n, view.n_matvecs, cost)


def _in_units(found: SpectralDensity, exponent: int, operator: Any) -> SpectralDensity:
    """Return a density over eigenvalues times ``2^exponent``."""
    nodes, grid, width = (
        times(each, exponent, operator) for each in (found.nodes, found.grid, found.width)
    )
    density, error = (
        times(each, -exponent, operator) for each in (found.density, found.density_error)
    )
    return dataclasses.replace(
        found, nodes=nodes, grid=grid, width=width, density=density, density_error=error
    )


def lanczos_rules(
    multiply: Callable[[FloatArray], FloatArray], start: FloatArray, n_steps: int
) -> tuple[FloatArray, FloatArray]:
    """Return the Gauss quadrature of each column's spectral measure.

    Parameters
    ----------
    multiply : callable
        Product of a self-adjoint operator with a block ``(n, k)``.
    start : ndarray, shape (n, k)
        Where each of the k separate recursions starts; no column is zero.
    n_steps : int
        Steps. A recursion whose vectors span an invariant subspace ends early.

    Returns
    -------
    nodes, weights : ndarray, shape (k, n_steps)
        The weights of a column sum to 1.
    """
    rows, columns = start.shape
    precision = float(np.finfo(start.dtype).eps)
    basis = np.zeros((columns, n_steps, rows), start.dtype)
    alphas, betas = np.zeros((columns, n_steps)), np.zeros((columns, n_steps))
    lengths = np.ones(columns, np.int64)
    scale = np.zeros(columns)
    active = np.arange(columns)
    current = np.ascontiguousarray(start.T) / np.linalg.norm(start, axis=0)[:, None]
    current = current.astype(start.dtype, copy=False)
    for step in range(n_steps):
        basis[active, step] = current
        lengths[active] = step + 1
        images = np.ascontiguousarray(multiply(np.ascontiguousarray(current.T)).T)
        alphas[active, step] = np.einsum("kn,kn->k", current, images, dtype=np.float64)
        if step == n_steps - 1:
            break
        norms = np.sqrt(np.einsum("kn,kn->k", images, images, dtype=np.float64))
        scale[active] = np.maximum(scale[active], norms)
        for place, column in enumerate(active):
            # A view of each recursion's own vectors: all at once would be copied.
            known = basis[column, : step + 1]
            for _ in range(2):
                images[place] -= (known @ images[place]) @ known
        beta = np.sqrt(np.einsum("kn,kn->k", images, images, dtype=np.float64))
        going_on = beta > 10 * precision * math.sqrt(rows) * scale[active]
        betas[active, step] = np.where(going_on, beta, 0.0)
        active = active[going_on]
        if len(active) == 0:
            break
        current = (images[going_on] / beta[going_on, None]).astype(start.dtype, copy=False)
    return _quadrature(alphas, betas, lengths)


def _quadrature(
    alphas: FloatArray, betas: FloatArray, lengths: np.ndarray[Any, np.dtype[np.int64]]
) -> tuple[FloatArray, FloatArray]:
    nodes, weights = np.zeros_like(alphas), np.zeros_like(alphas)
    for column, length in enumerate(lengths):
        off = betas[column, : length - 1]
        matrix = np.diag(alphas[column, :length]) + np.diag(off, 1) + np.diag(off, -1)
        values, vectors = np.linalg.eigh(matrix)
        nodes[column, :length] = values
        nodes[column, length:] = values[-1]
        weights[column, :length] = vectors[0] ** 2
    return nodes, weights


def _recursion_side(
    view: SpectralView,
) -> tuple[Callable[[FloatArray], FloatArray], int, int]:
    """Return the product to use, its size, and how many single products it takes."""
    factor = view.factor
    if factor is None or 2 * min(factor.shape) >= view.n:
        return view.apply, view.n, 1 if view.self_adjoint else 2
    if factor.shape[1] < factor.shape[0]:
        return lambda X: factor.rmatmat(factor.matmat(X)), factor.shape[1], 2
    return view.apply, view.n, 1 if view.self_adjoint else 2


def _on_grid(
    nodes: FloatArray,
    weights: FloatArray,
    size: int,
    n: int,
    n_matvecs: int,
    cost: Cost | None,
) -> SpectralDensity:
    low, high = float(np.min(nodes)), float(np.max(nodes))
    if n > size:
        low, high = min(low, 0.0), max(high, 0.0)
    # A spectrum of one point still has a width to be drawn with.
    width = WIDTH_SHARE * (high - low if high - low > 1e-9 * abs(high) else abs(high) or 1.0)
    grid = np.linspace(low - 4 * width, high + 4 * width, GRID_POINTS)
    bumps = np.exp(-0.5 * ((grid[:, None, None] - nodes) / width) ** 2)
    bumps /= width * math.sqrt(2 * math.pi)
    heights = np.sum(weights * bumps, axis=2)
    if n > size:
        zeros = np.exp(-0.5 * (grid / width) ** 2) / (width * math.sqrt(2 * math.pi))
        heights += (n - size) / n * zeros[:, None]
    density, density_error = _mean_and_error(heights)
    empty = np.empty(0)
    found = SpectralDensity(
        nodes, weights, size, n, grid, density, density_error, width, empty, empty, n_matvecs, cost
    )
    cumulative, error = found.cumulative_at(grid)
    return SpectralDensity(
        nodes,
        weights,
        size,
        n,
        grid,
        density,
        density_error,
        width,
        cumulative,
        error,
        n_matvecs,
        cost,
    )


def _share(nodes: FloatArray, weights: FloatArray, point: float, reach: float) -> FloatArray:
    below = np.sum(weights * (nodes < point - reach), axis=1)
    at = np.sum(weights * (np.abs(nodes - point) <= reach), axis=1)
    shares: FloatArray = below + at / 2
    return shares


def _mean_and_error(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return mean and standard error over the last axis, the probes."""
    count = values.shape[-1]
    return values.mean(axis=-1), values.std(axis=-1, ddof=1) / math.sqrt(count)
