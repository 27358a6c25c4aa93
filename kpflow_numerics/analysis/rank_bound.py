"""Theorem 1 as a computed check: effective ranks of K's sites against those of their features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg

from .._typing import FloatArray
from .._validation import InputError
from ..cells.sites import WeightSites
from ..linearization import Linearization
from ..operators._site_gram import flat_features, flat_gains
from ..operators.base import check_linearization
from ..spectral._budget import check_max_memory, check_memory
from ..testing import default_tolerance

SHIFTS = (1e-6, 1e-4, 1e-3, 1e-2, 3e-2, 1e-1)


@dataclass(frozen=True, repr=False)
class RankBound:
    """How the effective rank of one site's ``K_g`` stands to that of what its weights multiply.

    All effective ranks are participation ratios. The site has the features ``X (B T, m)`` with the
    Gram matrix ``G = X X*`` and the gains ``D (B T, N)``; its kernel over trials and steps is the
    partial trace over the units, ``tr_H K_g = G * (D D*)``, entry by entry.

    Attributes
    ----------
    site : str
        Name of the weight site.
    effective_rank : float
        Of ``tr_H K_g``; 0 where it is zero.
    effective_dimension : float
        Of ``G``, uncentred: the number that the published theorem gives as the bound.
    literal_holds : bool
        Whether ``effective_rank <= effective_dimension``, to rounding. It need not.
    weighted_dimension : float
        Of the features ``|D_s| x_s``, each weighted by the norm of its gains: never above
        `effective_rank`.
    coherence : float
        A number ``c`` in [0, 1] made from the directions of the gains alone, with
        ``effective_rank <= weighted_dimension / c``; 1 if all gains are parallel.
    bound : float
        The least upper bound that is proven, see :func:`rank_bounds`.
    bound_holds : bool
        Whether ``weighted_dimension <= effective_rank <= bound``, to rounding: False would be an
        error of this library.
    algebraic_rank : int
        Number of eigenvalues of ``tr_H K_g`` above rounding.
    feature_rank, gain_rank : int
        Numbers of singular values of ``X`` and of ``D`` above rounding. The rank of ``tr_H K_g`` is
        at most their product, that of the block ``K_{g,i}`` of each unit at most `feature_rank`.
    largest_unit_rank : float
        Largest effective rank among the blocks ``K_{g,i}`` of single units.
    n_units_above : int
        Number of units whose effective rank exceeds `effective_dimension`.
    """

    site: str
    effective_rank: float
    effective_dimension: float
    literal_holds: bool
    weighted_dimension: float
    coherence: float
    bound: float
    bound_holds: bool
    algebraic_rank: int
    feature_rank: int
    gain_rank: int
    largest_unit_rank: float
    n_units_above: int

    def __repr__(self) -> str:
        literal = "above" if not self.literal_holds else "at most"
        return (
            f"RankBound(site {self.site!r}: effective rank {self.effective_rank:.4g}, {literal} "
            f"the features' {self.effective_dimension:.4g}; "
            f"{'proven' if self.bound_holds else 'FAILED'} bound {self.bound:.4g})"
        )


def rank_bounds(
    linearization: Linearization, *, max_memory: float | None = None
) -> tuple[RankBound, ...]:
    r"""Compare each weight site's effective rank over trials and steps with its features'.

    Theorem 1 of [1]_, known to us by its statement alone, bounds the effective rank of each ``K_g``
    over trials and steps by the effective dimension of what ``W_g`` multiplies. For participation
    ratios that is true with equality where the gains are the same at all trials and steps, as in
    the current form of :class:`~kpflow_numerics.LeakyRNN`, and false in general: see the notes and
    the example. What is always true is computed beside it.

    Parameters
    ----------
    linearization : Linearization
        Local derivatives of a cell with weight sites.
    max_memory : float, optional
        Bytes of working memory; by default 4 GiB. Six matrices of side ``B T`` are needed.

    Returns
    -------
    tuple of RankBound
        One for each weight site.

    Raises
    ------
    InputError
        If the cell has no weight sites.
    MemoryLimitError
        If it would take more than `max_memory`.

    Notes
    -----
    Let ``s`` run over pairs of trial and step, ``E = D D*`` with diagonal ``e_s = |D_s|^2``,
    ``C_st = E_st / sqrt(e_s e_t)`` the cosines between gains, ``R = G * E = tr_H K_g`` and
    ``W_st = G_st sqrt(e_s e_t)`` the Gram matrix of the weighted features, so that ``R = W * C``.
    Write ``PR(A) = tr(A)^2 / |A|_F^2``. Rows where the gains or the features vanish are left out.

    *From below.* ``C`` has a unit diagonal and ``|C_st| <= 1``, hence ``tr R = tr W`` and ``|R|_F
    <= |W|_F``: ``PR(W) <= PR(R)``, with equality where gains are parallel wherever features
    overlap. (The whole spectrum of R is majorised by that of W [2]_.) So gains that turn *raise*
    the participation ratio. Where all gains have the same norm, ``PR(W) = PR(G)``, and the
    published inequality is reversed: it then holds with equality only.

    *From above.* ``PR(R) = PR(W) / q`` exactly, with ``q`` the mean of ``C_st^2`` under the weights
    ``W_st^2``. Each c with ``sum(W^2 * C^2) >= c sum(W^2)`` for all positive semi-definite W gives
    ``PR(R) <= PR(W) / c``. Two such are

    - ``c = min C_st^2``, evidently;
    - ``c = 1 / (1* (Q + d I)^-1 1) - d`` with ``Q = C * C`` and any ``d > 0``. For ``Q + d I - (c +
      d) 1 1*`` is then positive semi-definite, as is ``W * W`` by Schur's theorem, so that
      ``sum(W^2 * Q) + d tr(W * W) >= (c + d) sum(W^2)``, where ``tr(W * W) <= sum(W^2)``. If
      ``Q 1`` is constant and d small, ``1 / c = PR(C)``.

    `coherence` is the largest of these over several d. Beside, with ``e_min = min E_st > 0``
    (activations that do not decrease have non-negative gains) and ``e_max = max e_s``, ``tr R <=
    e_max tr G`` and ``|R|_F >= e_min |G|_F``, so that ``PR(R) <= (e_max / e_min)^2 PR(G)``; and
    ``PR(R) <= rank R <= rank(X) rank(D)``, the columns of R's factor being products of columns of
    X and D. `bound` is the least of all, and of the number of rows.

    *The published form* is, exactly, ``(sum G_ss e_s / sum G_ss)^2 <= sum(G^2 * E^2) / sum(G^2)``.
    It holds where weighting by the gains' norms lowers the effective dimension by more than their
    turning raises it. Features of rank one whose gains turn contradict it: ``G`` all ones and
    orthogonal gains give ``R = diag(e)``, of rank ``B T`` against 1. In a GRU with constant
    inputs the site ``"n"``, whose weights see ``[x, 1]`` alone, is such a case. For the algebraic
    rank it is true unit by unit: ``K_{g,i} = diag(D_i) G diag(D_i)`` (with ``1 1* kron G`` for a
    state of several slots) has at most the rank of ``X``. Its participation ratio is that of
    features weighted by one unit's gains, and may exceed ``PR(G)``.

    Cost ``(B T)^2 (2 m + 4 N) + 4 (B T)^3`` flops a site, in float64.

    References
    ----------
    .. [1] KPFlow, arXiv 2507.06381.
    .. [2] Bapat and Sunder, "On majorization and Schur products", 1985.

    Examples
    --------
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> cell = kpf.GRU(n_inputs=3, n_units=8)
    >>> lin = kpf.linearize(kpf.simulate(cell, cell.init_params(rng=3), np.ones((2, 5, 3))))
    >>> result = kpf.rank_bounds(lin)[-1]
    >>> result.site, round(result.effective_dimension, 4), round(result.effective_rank, 4)
    ('n', 1.0, 1.0021)
    >>> result.literal_holds, result.bound_holds, round(result.bound, 4)
    (False, True, 1.0082)
    """
    check_linearization(linearization)
    sites = linearization.weight_sites
    if sites is None:
        raise InputError(
            f"linearization must be of a cell with weight sites; {linearization.cell!r} has none, "
            "and the statement is about what its weights multiply."
        )
    n_rows = linearization.dims[0] * linearization.dims[1]
    check_memory(
        8.0 * 6.0 * float(n_rows) ** 2,
        check_max_memory(max_memory),
        f"rank_bounds with B T = {n_rows:,}",
        "Use fewer trials or steps, or raise max_memory.",
    )
    return tuple(_site_bound(name, sites.restricted_to(name)) for name in sites.names)


def _site_bound(name: str, site: WeightSites) -> RankBound:
    """Return the numbers of one site; `site` holds nothing else."""
    X = flat_features(site.groups[0])
    of_slots = flat_gains(site)[:, 0]
    D = of_slots.reshape(len(of_slots), -1)
    G, E = X @ X.T, D @ D.T
    feature_norms, gain_norms = G.diagonal().copy(), E.diagonal().copy()
    moving = np.flatnonzero(feature_norms * gain_norms)
    tolerance = default_tolerance(np.float64, len(G))
    R = G * E
    rank = _ratio(feature_norms @ gain_norms, np.vdot(R, R))
    algebraic_rank = _rank_of_gram(R)
    del R
    squared = np.square(G, out=G)
    dimension = _ratio(feature_norms.sum(), squared.sum())
    weighted = _ratio(feature_norms @ gain_norms, gain_norms @ squared @ gain_norms)
    unit_ranks = _unit_ranks(squared, feature_norms, np.square(of_slots).sum(axis=1))
    feature_rank, gain_rank = _rank(X), _rank(D)
    kept = np.ix_(moving, moving)
    squared, E = squared[kept], E[kept]
    coherence = _coherence(E)
    by_entries = _bound_by_entries(feature_norms[moving], squared, E)
    by_directions = weighted / coherence if coherence > 0 else np.inf
    bound = min(float(len(moving)), float(feature_rank * gain_rank), by_directions, by_entries)
    return RankBound(
        site=name,
        effective_rank=rank,
        effective_dimension=dimension,
        literal_holds=rank <= dimension * (1.0 + tolerance),
        weighted_dimension=weighted,
        coherence=coherence,
        bound=bound,
        bound_holds=weighted * (1.0 - tolerance) <= rank <= bound * (1.0 + tolerance),
        algebraic_rank=algebraic_rank,
        feature_rank=feature_rank,
        gain_rank=gain_rank,
        largest_unit_rank=float(unit_ranks.max()),
        n_units_above=int(np.count_nonzero(unit_ranks > dimension * (1.0 + tolerance))),
    )


def _ratio(trace: Any, squared_norm: Any) -> float:
    return float(trace**2 / squared_norm) if squared_norm > 0 else 0.0


def _unit_ranks(squared: FloatArray, feature_norms: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the participation ratio of each ``K_{g,i}``; `weights` are squared gains ``(BT, H)``.

    Over several slots the block is ``d d* * (1 1* kron G)`` with d the gains of all of them: its
    trace and norm see the sum of their squares only.
    """
    norms = np.einsum("si,si->i", weights, squared @ weights)
    traces = feature_norms @ weights
    return np.divide(np.square(traces), norms, out=np.zeros_like(norms), where=norms > 0)


def _coherence(E: FloatArray) -> float:
    """Return the largest proven c with ``sum(W^2 * C^2) >= c sum(W^2)``, C the cosines of E."""
    if not len(E):
        return 1.0
    norms = np.sqrt(E.diagonal())
    Q = E / norms[:, None]
    Q /= norms
    np.square(Q, out=Q)
    diagonal = np.arange(len(Q))
    found = [float(Q.min())]
    ones = np.ones(len(Q))
    for shift in SHIFTS:
        Q[diagonal, diagonal] = 1.0 + shift
        factor = scipy.linalg.cho_factor(Q, lower=True, check_finite=False)
        found.append(1.0 / float(ones @ scipy.linalg.cho_solve(factor, ones)) - shift)
    return min(max(found), 1.0)


def _bound_by_entries(feature_norms: FloatArray, squared: FloatArray, E: FloatArray) -> float:
    """Return ``(e_max / e_min)^2 PR(G)`` over the rows that move; infinite unless ``e_min > 0``."""
    if not len(E) or E.min() <= 0:
        return np.inf
    spread = float(E.diagonal().max() / E.min())
    return spread**2 * _ratio(feature_norms.sum(), squared.sum())


def _rank(matrix: FloatArray) -> int:
    values = scipy.linalg.svdvals(matrix, check_finite=False)
    threshold = max(matrix.shape) * np.finfo(np.float64).eps * values[0]
    return int(np.count_nonzero(values > threshold))


def _rank_of_gram(matrix: FloatArray) -> int:
    values = scipy.linalg.eigvalsh(matrix, check_finite=False)
    threshold = len(matrix) * np.finfo(np.float64).eps * values[-1]
    return int(np.count_nonzero(values > threshold))
