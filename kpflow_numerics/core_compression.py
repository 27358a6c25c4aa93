"""Numerical compression of the core of K: fewer features where the activity has collapsed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.linalg

from ._threads import single_threaded_blas
from ._typing import FloatArray
from ._validation import InputError, InputTypeError, check_real
from .cells.parameters import ParameterLayout
from .cells.sites import Segment, SiteGroup, WeightSites
from .linearization import Linearization, SiteLinearization

COARSE_TOLERANCE = 1e-6
"""Of the compression of a coarse linearisation."""


class CompressedLinearization(SiteLinearization):
    """A linearisation whose weight sites multiply a few combinations of their features.

    Made by :func:`compress_core`. Every operator takes it in the place of the whole
    linearisation; its parameters are the coordinates of the weights along those combinations.
    """

    def __init__(self, linearization: Linearization, tolerance: float) -> None:
        sites = linearization.weight_sites
        if sites is None:
            raise InputError(
                f"linearization must be of a cell with weight sites; {linearization.cell!r} has "
                "none, and nothing to compress. Use the linearization itself."
            )
        self.tolerance = check_real(tolerance, "tolerance", minimum=0, maximum=1)
        compressed = [
            _compressed_group(group, place, self.tolerance, sites.n_units)
            for place, group in enumerate(sites.groups)
        ]
        groups = tuple(group for group, _ in compressed)
        super().__init__(linearization.trajectory, replace(sites, groups=groups))
        self._directions = tuple(directions for _, directions in compressed)
        self._whole_layout = linearization.layout
        self._trace_error = _relative_trace_error(sites, self.weight_sites)
        H = sites.n_units
        self._core_layout = ParameterLayout(
            {
                segment.parameters[0]: (len(group.row_blocks) * H, group.features.shape[-1])
                for group in groups
                for segment in group.segments
            }
        )

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.cell!r}, {self.dims}, {self.dtype}, ranks {self.ranks}, "
            f"trace error {self.trace_error:.1e})"
        )

    @property
    def layout(self) -> ParameterLayout:
        """The coordinates of the weights, a matrix for each group of sites."""
        return self._core_layout

    @property
    def n_whole_parameters(self) -> int:
        """Number p of parameters of the linearisation that was given."""
        return self._whole_layout.size

    def whole_parameters(self, core: FloatArray) -> FloatArray:
        """Return the parameters of the linearisation that was given for coordinates here.

        Parameters
        ----------
        core : ndarray, shape (p', k)
            In the `layout` of this one.

        Returns
        -------
        ndarray, shape (p, k)
            ``W core`` with W orthonormal: J of the given linearisation makes of it what J makes of
            the coordinates, to the rounding of the compression.
        """
        whole = np.zeros((self.n_whole_parameters, core.shape[1]), core.dtype)
        arrays = self._whole_layout.unpack(whole)
        parts = self.layout.unpack(core)
        for part, directions in zip(parts.values(), self._directions, strict=True):
            directions.add_to(arrays, part)
        return whole

    def core_parameters(self, whole: FloatArray) -> FloatArray:
        """Return ``W* whole``, ``(p, k) -> (p', k)``: the adjoint of :meth:`whole_parameters`."""
        parts = self._whole_layout.unpack(whole)
        found = (directions.coordinates(parts) for directions in self._directions)
        return self.layout.pack(dict(zip(self.layout.shapes, found, strict=True)))

    @property
    def ranks(self) -> tuple[int, ...]:
        """Number of combinations that each group of sites multiplies."""
        return tuple(group.features.shape[-1] for group in self.weight_sites.groups)

    @property
    def trace_error(self) -> float:
        """Exact ``tr(K - K') / tr K`` of what is left out; K - K' is positive semi-definite.

        K is that of the linearisation that was given, which may have been compressed already.
        """
        return self._trace_error


def compress_core(linearization: Linearization, tolerance: float = 1e-8) -> CompressedLinearization:
    """Return a linearisation with the features of every weight site cut to their leading part.

    The features X of a site (trials and steps by what its weights multiply) are replaced by
    their leading singular directions, all with ``s_i^2 > tolerance s_1^2``. Then
    ``K' = sum_g D^g X' X'* D^g*`` is below K, ``K - K'`` is positive semi-definite, and on each
    site ``|X X* - X' X'*| <= tolerance |X X*|``. So are the traces, eigenvalues and quadratic
    forms of K' and ``P K' P*`` never above those of K and the NTK.

    Parameters
    ----------
    linearization : Linearization
        Of a cell with weight sites.
    tolerance : float
        Relative error of each site's kernel ``X X*`` in the spectral norm; 0 leaves out exact
        zeros only.

    Returns
    -------
    CompressedLinearization
        What the operators take. `trace_error` tells what was lost, `ranks` what is left.

    Raises
    ------
    InputError
        If the cell has no weight sites.

    Notes
    -----
    One singular value decomposition of ``(B T, m)`` a group of sites, in float64; of features in
    ``float32``, the eigenvectors of their Gram matrix. With G sites in a group and ranks r, memory
    is ``B T max(32 m, 16 G N + b sum(r))`` bytes beside the linearisation (the decomposition of the
    widest group, ``8 m + 16 r`` in ``float32``, or the gains for `trace_error`), of which
    ``b B T sum(r)`` are kept. A product with J, J* or K then costs ``r / m`` of what it did, and J
    and S have ``H r`` columns for a site instead of ``H m``. At random initialisation r is mostly
    m; trained networks with collapsed activity have far fewer at tolerances from 1e-4, see the
    measurements in ``benchmarks/``.

    Examples
    --------
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> cell = kpf.VanillaRNN(n_inputs=3, n_units=8)
    >>> lin = kpf.linearize(kpf.simulate(cell, cell.init_params(rng=3), np.ones((2, 5, 3))))
    >>> small = kpf.compress_core(lin, tolerance=1e-6)
    >>> small.ranks, small.trace_error < 1e-6
    ((5,), True)
    >>> kpf.Sensitivity(lin).shape, kpf.Sensitivity(small).shape
    ((80, 104), (80, 40))
    """
    if not isinstance(linearization, Linearization):
        raise InputTypeError(
            "linearization must be a Linearization, as kpf.linearize returns it; got "
            f"{type(linearization).__name__}."
        )
    return CompressedLinearization(linearization, tolerance)


def coarse_linearization(linearization: Linearization) -> Linearization | None:
    """Return the linearisation in ``float32``, its core compressed where there are weight sites.

    Features whose share of ``X X*`` is below `COARSE_TOLERANCE`, some ten roundings of
    ``float32``, are left out. None where features leave the range of ``float32``.
    """
    single = linearization.astype(np.float32)
    if single.weight_sites is None:
        return single
    if not all(np.isfinite(group.features).all() for group in single.weight_sites.groups):
        return None
    # A decomposition so small is quicker on one thread of the BLAS, above all on a busy machine.
    with single_threaded_blas():
        return compress_core(single, COARSE_TOLERANCE)


@dataclass(frozen=True, eq=False)
class _Directions:
    """The leading right singular vectors of a group's weighted features, in its parameters.

    Parameters
    ----------
    matrix : ndarray, shape (m, r)
        Orthonormal columns, each row over the root of how many parameters stand behind its feature.
    segments : tuple of Segment
        The parameters behind the features.
    row_slices : tuple of slice
        The rows of the parameters that belong to each site.
    """

    matrix: FloatArray
    segments: tuple[Segment, ...]
    row_slices: tuple[slice, ...]

    def add_to(self, whole: Mapping[str, FloatArray], core: FloatArray) -> None:
        """Add the weights of coordinates ``(G H, r, k)`` to parameters."""
        weights = np.matmul(self.matrix.astype(core.dtype), core)
        for rows, own in zip(self.row_slices, self._by_site(weights), strict=True):
            for segment in self.segments:
                for name in segment.parameters:
                    part = whole[name][rows]
                    part += own[:, segment.columns].reshape(part.shape)

    def coordinates(self, whole: Mapping[str, FloatArray]) -> FloatArray:
        """Return the coordinates ``(G H, r, k)`` of parameters."""
        some = whole[self.segments[0].parameters[0]]
        n_rows = sum(rows.stop - rows.start for rows in self.row_slices)
        weights = np.zeros((n_rows, len(self.matrix), some.shape[-1]), some.dtype)
        for rows, own in zip(self.row_slices, self._by_site(weights), strict=True):
            for segment in self.segments:
                for name in segment.parameters:
                    column = own[:, segment.columns]
                    column += whole[name][rows].reshape(column.shape)
        return np.matmul(self.matrix.T.astype(some.dtype), weights)

    def _by_site(self, weights: FloatArray) -> list[FloatArray]:
        return np.split(weights, len(self.row_slices))


def _compressed_group(
    group: SiteGroup, place: int, tolerance: float, n_units: int
) -> tuple[SiteGroup, _Directions]:
    shape = group.features.shape
    X = group.weighted_features.reshape(-1, shape[-1]).astype(np.float64, copy=False)
    dtype = group.features.dtype
    squares, right = _principal_directions(X, dtype)
    rounding = (np.finfo(dtype).eps * max(X.shape)) ** 2
    kept = squares > max(tolerance, rounding) * squares[0]
    # A group always keeps a column: kernels take no empty features.
    kept[0] = True
    right = right[:, kept]
    features: FloatArray = (X @ right).astype(dtype)
    features = features.reshape(*shape[:-1], -1)
    matrix = right / np.sqrt(group.multiplicity.astype(np.float64))[:, np.newaxis]
    directions = _Directions(matrix, group.segments, tuple(group.row_slices(n_units)))
    segment = Segment(slice(0, features.shape[-1]), (f"core_{place}",))
    rows = tuple(range(len(group.row_blocks)))
    return replace(group, features=features, segments=(segment,), row_blocks=rows), directions


def _principal_directions(X: FloatArray, dtype: np.dtype[Any]) -> tuple[FloatArray, FloatArray]:
    """Return the squares of the singular values, descending, and the right singular vectors.

    Of numbers that were in ``float32``, the Gram matrix in float64 tells as much in a third of the
    time: their squares neither leave its range nor are rounded to more than theirs.
    """
    if dtype == np.float32:
        squares, right = scipy.linalg.eigh(X.T @ X, check_finite=False)
        return np.maximum(squares[::-1], 0.0), right[:, ::-1]
    _, sigma, right = scipy.linalg.svd(X, full_matrices=False, check_finite=False)
    return sigma**2, right.T


def _relative_trace_error(whole: WeightSites, kept: WeightSites) -> float:
    left_out, total = 0.0, 0.0
    for before, after in zip(whole.groups, kept.groups, strict=True):
        gains = whole.gains[:, :, list(before.sites)].astype(np.float64, copy=False)
        gain_norms = np.square(gains).sum(axis=(2, 3, 4))
        all_norms, kept_norms = (
            np.square(group.weighted_features, dtype=np.float64).sum(axis=2)
            for group in (before, after)
        )
        left_out += float(np.sum(gain_norms * np.maximum(all_norms - kept_norms, 0.0)))
        total += float(np.sum(gain_norms * all_norms))
    return left_out / total if total > 0 else 0.0
