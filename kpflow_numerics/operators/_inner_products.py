"""Exact inner products ``tr(A B)`` of two operators on the states.

They may belong to two linearizations of the same shape: two checkpoints, or two cells. A function
for each pair of structures, and what it costs:

==============  ==============================================  =================================
pair            closed form                                     flops
==============  ==============================================  =================================
K, K'           ``sum_gg' sum(G^g * G'^g' * (E E*))``           ``(B T)^2 (m + m' + g g' H)``
K, PP*          ``|P* L|_F^2`` or blocks of ``PP*``             ``B T^2 N^3``, less at low rank
PP*, PP*'       ``sum_t (2 tr(M_t M'_t O_t) - tr(M_t M'_t))``   ``14 B T N^3``
NTK, PP*'       ``|P'* P L|_F^2``                               ``4 B T N^2 sum_i r_i``
core, core'     ``N |V* V'|_F^2``                               ``2 B T m m'``
core, PP*       ``sum (V V*)[t, s] tr((PP*)[t, s])``            ``B T^2 N^3``
==============  ==============================================  =================================

In the first, ``E = D^g * D'^g'``. In the third, ``O_t = I + A'_{t+1}* O_{t+1} A_{t+1}`` is the
observability Gramian across the two. ``L L*`` is the block of K on a trial, and ``r_i`` the rank of
its block on unit ``i``, at most ``min(T, sum_g m_g)``. "K" stands for all that has
:class:`SiteTerms`: K, its part of one site, the Kronecker core. Everything is done in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .._threads import map_in_threads, n_threads
from .._typing import FloatArray
from ..linearization import Linearization
from ..results import Cost
from . import _gramians
from ._gramians import trial_jacobians
from ._kernel_seeds import COLUMNS_AT_A_TIME, seed_bytes, unit_seeds
from ._site_forms import SiteForms
from ._site_terms import SiteTerms, site_terms
from .kronecker_core import KroneckerCore
from .propagator_gram import PropagatorGram
from .tangent_kernel import TangentKernel

ROWS_AT_A_TIME = 256

_WORD = 8.0


def exact_inner_product(first: Any, second: Any) -> float | None:
    """Return ``tr(A B)``, or None where this pair has no closed form."""
    pair = _pair(first, second)
    return None if pair is None else pair[0](*pair[2:])


def exact_inner_product_cost(first: Any, second: Any) -> Cost | None:
    """Return what :func:`exact_inner_product` takes, or None where there is no closed form."""
    pair = _pair(first, second)
    return None if pair is None else pair[1](*pair[2:])


Pair = tuple[Callable[..., float], Callable[..., Cost], Any, Any]


def _pair(first: Any, second: Any) -> Pair | None:
    """Return the function, its cost and its arguments for a pair in either order."""
    if getattr(first, "dims", None) != getattr(second, "dims", None):
        return None
    for A, B in ((first, second), (second, first)):
        if isinstance(A, KroneckerCore):
            if isinstance(B, KroneckerCore):
                return of_cores, _cost_of_cores, A, B
            if isinstance(B, PropagatorGram):
                return of_core_and_gramian, _cost_of_core_and_gramian, A, B.linearization
        terms, other = _terms(A), _terms(B)
        if terms is not None and other is not None:
            return (of_sites, _cost_of_sites, terms, other) if _agree(terms, other) else None
        if isinstance(B, PropagatorGram):
            if isinstance(A, PropagatorGram):
                return of_gramians, _cost_of_gramians, A.linearization, B.linearization
            if terms is not None:
                return of_sites_and_gramian, _cost_of_sites_and_gramian, terms, B.linearization
            if isinstance(A, TangentKernel) and A.linearization.weight_sites is not None:
                return of_kernel_and_gramian, _cost_of_kernel, A, B.linearization
    return None


def _terms(operator: Any) -> SiteTerms | None:
    if isinstance(operator, KroneckerCore):
        V = _flat_features(operator)
        gains = np.ones((len(V), 1, 1, operator.dims[-1]))
        return SiteTerms(operator.linearization.dims, (V,), (gains,))
    sites = operator._sites_or_none if isinstance(operator, SiteForms) else None
    return None if sites is None else site_terms(sites, operator.scale)


def _flat_features(core: KroneckerCore) -> FloatArray:
    """Return ``V (B T, m)`` in float64."""
    return core.features.reshape(-1, core.features.shape[-1]).astype(np.float64, copy=False)


def _terms_within(kernel: TangentKernel) -> SiteTerms:
    """Return the terms of the K in ``P K P*``."""
    sites = kernel.linearization.weight_sites
    assert sites is not None
    return site_terms(sites)


def _agree(first: SiteTerms, second: SiteTerms) -> bool:
    """Return whether each couples the slots of the same units, or at least one couples none."""
    return first.n_slots == second.n_slots or 1 in (first.n_slots, second.n_slots)


# K with K'


def of_sites(first: SiteTerms, second: SiteTerms) -> float:
    """Return ``tr(K K')``, in chunks of rows of the ``(B T, B T)`` matrices.

    An operator that does not couple slots sees only the diagonal over slots of one that does.
    """
    if first.n_slots != second.n_slots:
        first, second = first.without_coupling_of_slots(), second.without_coupling_of_slots()
    n_rows = len(first.features[0])
    gain_products = {
        (i, j): np.einsum("mash,mbsh->mabh", D, E).reshape(n_rows, -1)
        for i, D in enumerate(first.gains)
        for j, E in enumerate(second.gains)
    }
    total = 0.0
    for start in range(0, n_rows, ROWS_AT_A_TIME):
        # All three factors are symmetric: the columns before the chunk have been counted twice.
        rows, rest = slice(start, start + ROWS_AT_A_TIME), slice(start, None)
        grams = [X[rows] @ X[rest].T for X in first.features]
        others = [X[rows] @ X[rest].T for X in second.features]
        for (i, j), E in gain_products.items():
            product = E[rows] @ E[rest].T
            product *= grams[i]
            product *= others[j]
            total += 2.0 * float(product.sum()) - float(product[:, : len(product)].sum())
    return first.scale * second.scale * total


def _cost_of_sites(first: SiteTerms, second: SiteTerms) -> Cost:
    n_rows = float(len(first.features[0]))
    columns = first.n_sites * second.n_sites * first.n_units
    flops = n_rows**2 * (first.n_features + second.n_features + columns)
    matrices = len(first.features) + len(second.features) + 1
    stored = columns + first.n_features + second.n_features
    return Cost(flops, _WORD * n_rows * (stored + matrices * min(ROWS_AT_A_TIME, n_rows)))


# PP* with PP*'


def of_gramians(first: Linearization, second: Linearization) -> float:
    """Return ``tr(PP* P'P'*) = |P* P'|_F^2``."""

    def of_trial(trial: int) -> float:
        A = trial_jacobians(first, trial)
        if second is first:
            return _gramians.squared_frobenius_norm(A)
        return trial_of_gramians(A, trial_jacobians(second, trial))

    return sum(map_in_threads(of_trial, range(first.dims[0])))


def trial_of_gramians(A: FloatArray, B: FloatArray) -> float:
    """Return ``tr(PP* P'P'*)`` of one trial for the state Jacobians A and B, ``(T, N, N)``.

    For ``t >= s`` the blocks ``[t, s]`` are ``Phi(t, s) M_s`` and ``Phi'(t, s) M'_s``, so their
    inner product is ``tr(M_s M'_s Phi'(t, s)* Phi(t, s))``; the sum over t is a Gramian.
    """
    n_steps, n_state = A.shape[:2]
    M, N = _gramians.controllability(A), _gramians.controllability(B)
    observed, total = np.eye(n_state), 0.0
    for t in range(n_steps - 1, -1, -1):
        total += 2.0 * float(np.vdot(N[t] @ M[t], observed)) - float(np.vdot(M[t], N[t]))
        if t > 0:
            observed = B[t].T @ observed @ A[t]
            observed.flat[:: n_state + 1] += 1.0
    return total


def _cost_of_gramians(first: Linearization, second: Linearization) -> Cost:
    n_trials, n_steps, n_state = first.dims
    products, matrices = (10.0, 2.0) if second is first else (14.0, 4.0)
    flops = products * n_trials * n_steps * float(n_state) ** 3
    return Cost(flops, matrices * _WORD * n_threads() * n_steps * float(n_state) ** 2)


# K with PP*


def of_sites_and_gramian(terms: SiteTerms, linearization: Linearization) -> float:
    """Return ``tr(K PP*) = |P* L|_F^2``, each trial by the cheaper of two ways."""

    def of_trial(trial: int) -> float:
        own, A = terms.of_trial(trial), trial_jacobians(linearization, trial)
        seeds = unit_seeds(own)
        if 2 * seeds.n_above_rounding < A.shape[0] * A.shape[1]:
            return sum(squared_norm_of_adjoint_scan(A, Z) for Z in seeds.blocks())
        return trial_of_sites_and_gramian(own, A)

    return sum(map_in_threads(of_trial, range(terms.dims[0])))


def trial_of_sites_and_gramian(terms: SiteTerms, A: FloatArray) -> float:
    """Return ``tr(K PP*)`` of one trial, ``T^2 N^3`` flops in tall GEMMs.

    ``sum_{t, s} sum_g G^g[t, s] D^g_t . diag((PP*)[t, s]) . D^g_s``, where
    ``(PP*)[t, s] = A_t ... A_{s+1} M_s`` for ``t >= s``.
    """
    n_slots, n_units = terms.n_slots, terms.n_units
    grams = [X @ X.T for X in terms.features]
    total = 0.0
    for t, row in enumerate(_gramians.block_rows(A)):
        blocks = row.reshape(-1, n_slots, n_units, n_slots, n_units)
        diagonal = np.einsum("nahbh->nabh", blocks)
        for gram, D in zip(grams, terms.gains, strict=True):
            pairs = np.einsum("gah,nabh,ngbh->n", D[t], diagonal, D[: t + 1], optimize=True)
            weighted = gram[t, : t + 1] * pairs
            total += 2.0 * float(weighted.sum()) - float(weighted[t])
    return terms.scale * total


def _cost_of_sites_and_gramian(terms: SiteTerms, linearization: Linearization) -> Cost:
    n_trials, n_steps, n_state = linearization.dims
    columns = _expected_seeds(terms)
    scans = 2.0 * columns * n_steps * float(n_state) ** 2
    blocks = (n_steps + 4.0) * n_steps * float(n_state) ** 3
    flops = n_trials * (min(scans, blocks) + _seed_flops(terms))
    return Cost(flops, _memory_of_scans(terms, 3))


# NTK with PP*


def of_kernel_and_gramian(kernel: TangentKernel, linearization: Linearization) -> float:
    """Return ``tr(NTK P'P'*) = |P'* P J|_F^2``, by scans of a factor of K in each trial."""
    terms = _terms_within(kernel)

    def of_trial(trial: int) -> float:
        A = trial_jacobians(kernel.linearization, trial)
        B = A if linearization is kernel.linearization else trial_jacobians(linearization, trial)
        seeds = unit_seeds(terms.of_trial(trial))
        return sum(squared_norm_of_adjoint_scan(B, scanned(A, Z)) for Z in seeds.blocks())

    return sum(map_in_threads(of_trial, range(terms.dims[0])))


def _cost_of_kernel(kernel: TangentKernel, linearization: Linearization) -> Cost:
    terms = _terms_within(kernel)
    n_trials, n_steps, n_state = linearization.dims
    scans = 4.0 * _expected_seeds(terms) * n_steps * float(n_state) ** 2
    return Cost(n_trials * (scans + _seed_flops(terms)), _memory_of_scans(terms, 3))


# The Kronecker core


def of_cores(first: KroneckerCore, second: KroneckerCore) -> float:
    """Return ``tr((V V* kron I) (V' V'* kron I)) = N |V* V'|_F^2``."""
    across = _flat_features(first).T @ _flat_features(second)
    return first.dims[-1] * float(np.vdot(across, across))


def _cost_of_cores(first: KroneckerCore, second: KroneckerCore) -> Cost:
    entries = float(first.features.shape[-1] * second.features.shape[-1])
    return Cost(2.0 * first.dims[0] * first.dims[1] * entries, _WORD * entries)


def of_core_and_gramian(core: KroneckerCore, linearization: Linearization) -> float:
    """Return ``tr((V V* kron I) PP*)``, which asks for the traces of the blocks of PP* only."""
    V = _flat_features(core).reshape(*core.dims[:2], -1)

    def of_trial(trial: int) -> float:
        blocks = _gramians.unit_trace_blocks(trial_jacobians(linearization, trial))
        return float(np.vdot(V[trial] @ V[trial].T, blocks))

    return sum(map_in_threads(of_trial, range(core.dims[0])))


def _cost_of_core_and_gramian(core: KroneckerCore, linearization: Linearization) -> Cost:
    n_trials, n_steps, n_state = core.dims
    flops = n_trials * (n_steps + 4.0) * n_steps * float(n_state) ** 3
    features = float(linearization.dims[0] * n_steps * core.features.shape[-1])
    return Cost(flops, _WORD * (3.0 * n_threads() * n_steps * float(n_state) ** 2 + features))


# Scans of a factor of K through a trial


def scanned(A: FloatArray, Z: FloatArray) -> FloatArray:
    """Return ``P Z`` of one trial, in the place of Z ``(T, N, c)``."""
    for t in range(1, len(A)):
        Z[t] += A[t] @ Z[t - 1]
    return Z


def squared_norm_of_adjoint_scan(A: FloatArray, Z: FloatArray) -> float:
    """Return ``|P* Z|_F^2`` of one trial for Z ``(T, N, c)``."""
    carried = Z[-1]
    total = float(np.vdot(carried, carried))
    for t in range(len(A) - 1, 0, -1):
        carried = A[t].T @ carried
        carried += Z[t - 1]
        total += float(np.vdot(carried, carried))
    return total


def _expected_seeds(terms: SiteTerms) -> float:
    """Return how many columns the factor of a trial has, from a few units of two trials."""
    ranks = []
    step = max(1, terms.n_units // 4)
    for trial in {0, terms.dims[0] - 1}:
        own = terms.of_trial(trial)
        for unit in range(0, terms.n_units, step):
            block = own.unit_blocks(slice(unit, unit + 1))[0]
            ranks.append(np.linalg.matrix_rank(block, hermitian=True))
    return float(np.mean(ranks)) * terms.n_units


def _seed_flops(terms: SiteTerms) -> float:
    return 9.0 * terms.n_units * float(terms.n_slots * terms.dims[1]) ** 3


def _memory_of_scans(terms: SiteTerms, copies: int) -> float:
    """Return what the matrices of a trial, its seeds and a chunk of them take on each thread."""
    _, n_steps, n_state = terms.dims
    scans = copies * n_steps * n_state**2 + 2 * n_steps * n_state * COLUMNS_AT_A_TIME
    return n_threads() * (_WORD * scans + seed_bytes(terms.n_units, terms.n_slots * n_steps))
