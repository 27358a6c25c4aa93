"""Fixed points of a cell under a constant input, and the eigenvalues of the map about them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._typing import Array, ArrayLike, BoolArray, FloatArray, IntArray, Params, ParamsLike
from .._validation import InputTypeError, check_array, check_integer, check_real
from ..cells.base import Cell
from ..linearization import linearize
from ..trajectory import Trajectory

_CHUNK_BYTES = 2.0**26
_HALVINGS = 25
_DESCENT = 1e-4
_LONGEST_STEP = 10.0


@dataclass(frozen=True, repr=False, eq=False)
class FixedPoints:
    """Fixed points ``h = f(x, h)`` that a search found, and where each start ended.

    Residuals are ``|f(x, h) - h| / max(1, |h|)``, Euclidean norms.

    Attributes
    ----------
    states : ndarray, shape (m, N)
        The fixed points, duplicates merged, in the order of the first start that reached them.
    residuals : ndarray, shape (m,)
        Their residuals, none above `tolerance`.
    eigenvalues : ndarray, shape (m, N)
        Eigenvalues of ``A = df/dh`` at each, complex, the largest modulus first.
    stable : ndarray of bool, shape (m,)
        Whether all moduli are below 1.
    labels : ndarray of int, shape (M,)
        Which fixed point each start reached; -1 for a start that did not converge.
    ends : ndarray, shape (M, N)
        Where each start ended, converged or not: a slow point, where the residual is small.
    end_residuals : ndarray, shape (M,)
        The residuals there.
    n_iterations : ndarray of int, shape (M,)
        Newton steps of each start, at most ``max_iterations``.
    tolerance : float
        Residual at which a start has converged.
    merge_distance : float
        Points as close as this, relative to ``max(1, |h|)``, are taken to be the same.
    """

    states: FloatArray
    residuals: FloatArray
    eigenvalues: Array
    stable: BoolArray
    labels: IntArray
    ends: FloatArray
    end_residuals: FloatArray
    n_iterations: IntArray
    tolerance: float
    merge_distance: float

    @property
    def n_converged(self) -> int:
        """Number of starts that converged."""
        return int(np.count_nonzero(self.labels >= 0))

    @property
    def n_unconverged(self) -> int:
        """Number of starts that did not."""
        return len(self.labels) - self.n_converged

    @property
    def n_starts(self) -> IntArray:
        """Number of starts that reached each fixed point, shape ``(m,)``."""
        return np.bincount(self.labels[self.labels >= 0], minlength=len(self.states))

    def __repr__(self) -> str:
        noun = "point" if len(self.states) == 1 else "points"
        return (
            f"FixedPoints({len(self.states)} {noun}, {np.count_nonzero(self.stable)} stable, "
            f"{self.n_converged} of {len(self.labels)} starts converged to {self.tolerance:.1e})"
        )


def fixed_points(
    cell: Cell,
    params: ParamsLike,
    inputs: ArrayLike,
    starts: ArrayLike,
    *,
    tolerance: float | None = None,
    max_iterations: int = 100,
    merge_distance: float | None = None,
) -> FixedPoints:
    """Return the fixed points of a cell under a constant input that Newton's method finds.

    From every start, Newton steps on ``f(x, h) - h = 0`` with the exact state Jacobians, halved
    until the residual falls. Both stable and unstable points are found, but none is guaranteed: a
    search tells what its starts lead to, which need not be their basins of attraction. States along
    trajectories make good starts [1]_.

    Parameters
    ----------
    cell : Cell
        The cell.
    params : mapping of str to array_like
        Its parameters, whose precision is that of the search.
    inputs : array_like, shape (I,)
        The constant input ``x``.
    starts : array_like, shape (M, N)
        States to start from.
    tolerance : float, optional
        Residual ``|f(x, h) - h| / max(1, |h|)`` at which a start has converged; by default
        ``eps**(2/3)``, 4e-11 in float64. A last step beyond it is taken where it still helps.
    max_iterations : int
        Newton steps from each start, at most.
    merge_distance : float, optional
        Distance, relative to ``max(1, |h|)``, up to which two points are one; by default the root
        of `tolerance`. On a line of fixed points, starts end in many places that stay apart.

    Returns
    -------
    FixedPoints
        With the starts that did not converge, and where they ended.

    Raises
    ------
    InputError
        If a shape does not fit, a parameter is missing, a number is out of range, or anything is
        not finite.
    InputTypeError
        If an argument is of the wrong type.

    See Also
    --------
    kpflow_numerics.plant_fixed_points : Weights that have the fixed points one asks for.

    Notes
    -----
    ``2 N^3 / 3`` flops a Newton step and start, about ``10 N^3`` for the eigenvalues of a point;
    the Jacobians of as many starts as fit into 64 MiB are held at once. At a kink of relu the
    steps need not converge, and such starts are reported like any other that does not.

    References
    ----------
    .. [1] Sussillo and Barak (2013), Neural Computation 25, 626.

    Examples
    --------
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> cell = kpf.VanillaRNN(n_inputs=1, n_units=1, bias=False)
    >>> params = {"weight_ih": [[1.0]], "weight_hh": [[2.0]]}
    >>> found = kpf.fixed_points(cell, params, [0.0], np.linspace(-1, 1, 5)[:, None])
    >>> found
    FixedPoints(3 points, 2 stable, 5 of 5 starts converged to 3.7e-11)
    >>> found.states[:, 0].round(4).tolist()
    [-0.9575, 0.0, 0.9575]
    """
    if not isinstance(cell, Cell):
        raise InputTypeError(
            f"cell must be a cell of kpflow_numerics, such as GRU; got {type(cell).__name__}."
        )
    checked = cell.check_params(params)
    dtype = next(iter(checked.values())).dtype
    x = check_array(inputs, "inputs", (cell.n_inputs,), dtype=dtype)
    begin = check_array(starts, "starts", ("M", cell.n_state), dtype=dtype)
    precision = float(np.finfo(dtype).eps)
    if tolerance is None:
        tolerance = precision ** (2 / 3)
    tolerance = check_real(tolerance, "tolerance", minimum=precision, maximum=1.0)
    max_iterations = check_integer(max_iterations, "max_iterations", minimum=0)
    if merge_distance is None:
        merge_distance = tolerance**0.5
    merge_distance = check_real(merge_distance, "merge_distance", minimum=0.0)

    step = _Step(cell, checked, x)
    together = max(1, int(_CHUNK_BYTES / (8.0 * cell.n_state**2)))
    # What overflows on the way is not taken, and its start is reported as not converged.
    with np.errstate(over="ignore", invalid="ignore"):
        parts = [
            _search(step, begin[first : first + together], tolerance, max_iterations)
            for first in range(0, len(begin), together)
        ]
    ends = np.concatenate([part[0] for part in parts])
    residuals = np.concatenate([part[1] for part in parts])
    counts = np.concatenate([part[2] for part in parts])
    labels, chosen = _merged(ends, residuals <= tolerance, residuals, merge_distance)
    states = ends[chosen]
    eigenvalues = np.empty((len(chosen), cell.n_state), np.complex128)
    for first in range(0, len(chosen), together):
        place = slice(first, first + together)
        found = np.linalg.eigvals(step.jacobians(states[place])).astype(np.complex128)
        order = np.argsort(-np.abs(found), axis=1, kind="stable")
        eigenvalues[place] = np.take_along_axis(found, order, axis=1)
    return FixedPoints(
        states=states,
        residuals=residuals[chosen],
        eigenvalues=eigenvalues,
        stable=np.abs(eigenvalues).max(axis=1, initial=0.0) < 1.0,
        labels=labels,
        ends=ends,
        end_residuals=residuals,
        n_iterations=counts,
        tolerance=tolerance,
        merge_distance=merge_distance,
    )


@dataclass(frozen=True)
class _Step:
    """The map ``h -> f(x, h)`` on rows of states, in double precision but for the map itself."""

    cell: Cell
    params: Params
    x: FloatArray

    def residual(self, states: FloatArray) -> FloatArray:
        """Return ``f(x, h) - h`` for states ``(M, N)``."""
        moved = self.cell.simulate_states(self.params, self._inputs(states), states)[:, 0]
        return moved.astype(np.float64) - states

    def jacobians(self, states: FloatArray) -> FloatArray:
        """Return ``df/dh`` at states ``(M, N)`` as ``(M, N, N)``."""
        inputs = self._inputs(states)
        # Where a step leads does not enter its derivatives.
        trajectory = Trajectory(self.cell, self.params, inputs, states, states[:, None])
        A = linearize(trajectory).state_jacobians(max_memory=np.inf)
        return A[:, 0].astype(np.float64, copy=False)

    def _inputs(self, states: FloatArray) -> FloatArray:
        shape = (len(states), 1, len(self.x))
        return np.ascontiguousarray(np.broadcast_to(self.x, shape))


def _size(states: FloatArray) -> FloatArray:
    """Return ``max(1, |h|)``, what distances and residuals are relative to."""
    return np.maximum(_norms(states.astype(np.float64, copy=False)), 1.0)


def _norms(rows: FloatArray) -> FloatArray:
    """Return the norms of rows, whose squares may overflow."""
    largest = np.maximum(np.abs(rows).max(axis=1), 1.0)
    norms: FloatArray = np.linalg.norm(rows / largest[:, None], axis=1) * largest
    return norms


def _search(
    step: _Step, starts: FloatArray, tolerance: float, max_iterations: int
) -> tuple[FloatArray, FloatArray, IntArray]:
    """Return where the starts end, the residuals there, and the steps taken."""
    states, residual = starts.copy(), step.residual(starts)
    counts = np.zeros(len(starts), int)

    def relative() -> FloatArray:
        return _norms(residual) / _size(states)

    active = np.flatnonzero(relative() > tolerance)
    for _ in range(max_iterations):
        if not len(active):
            break
        counts[active] += 1
        moved = _damped_step(step, states, residual, active, _HALVINGS)
        active = active[moved & (relative()[active] > tolerance)]
    converged = np.flatnonzero(relative() <= tolerance)
    if len(converged) and max_iterations:
        _damped_step(step, states, residual, converged, 1)
    return states, relative(), counts


def _damped_step(
    step: _Step, states: FloatArray, residual: FloatArray, rows: IntArray, n_lengths: int
) -> BoolArray:
    """Move some rows of `states` and `residual` in place; return which of them could be moved."""
    begin, before = states[rows], _norms(residual[rows])
    direction = _newton_direction(step.jacobians(begin), residual[rows])
    norms = _norms(direction)
    longest = _LONGEST_STEP * _size(begin)
    direction *= np.minimum(1.0, longest / np.maximum(norms, 1e-300))[:, None]
    moved = np.zeros(len(rows), bool)
    length = 1.0
    for _ in range(n_lengths):
        left = np.flatnonzero(~moved)
        if not len(left):
            break
        trial = (begin[left] + length * direction[left]).astype(states.dtype)
        found = step.residual(trial)
        # A row that is not finite compares as False, and is not taken.
        better = _norms(found) < (1.0 - _DESCENT * length) * before[left]
        states[rows[left[better]]] = trial[better]
        residual[rows[left[better]]] = found[better]
        moved[left[better]] = True
        length /= 2.0
    return moved


def _newton_direction(A: FloatArray, residual: FloatArray) -> FloatArray:
    """Return the solutions of ``(I - A) d = f - h``; of least norm where there are many."""
    matrices = np.eye(A.shape[1]) - A
    try:
        return np.linalg.solve(matrices, residual[..., None])[..., 0]
    except np.linalg.LinAlgError:
        pairs = zip(matrices, residual, strict=True)
        return np.stack([np.linalg.lstsq(M, r, rcond=None)[0] for M, r in pairs])


def _merged(
    ends: FloatArray, converged: BoolArray, residuals: FloatArray, distance: float
) -> tuple[IntArray, IntArray]:
    """Return the label of each start, and the start whose end stands for each point."""
    labels = np.full(len(ends), -1)
    points = ends.astype(np.float64, copy=False)
    sizes = _size(ends)
    leaders: list[int] = []
    for row in np.flatnonzero(converged):
        if leaders:
            gaps = _norms(points[leaders] - points[row]) / sizes[row]
            nearest = int(gaps.argmin())
            if gaps[nearest] <= distance:
                labels[row] = nearest
                continue
        labels[row] = len(leaders)
        leaders.append(int(row))
    best = [
        int(members[np.argmin(residuals[members])])
        for members in (np.flatnonzero(labels == place) for place in range(len(leaders)))
    ]
    return labels, np.array(best, int)
