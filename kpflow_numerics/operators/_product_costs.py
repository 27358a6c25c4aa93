"""What block products along a linearisation take, for cells whose structure is known.

Only the matrix-matrix products are counted: the elementwise work beside them is a few operations an
entry. Memory is that of the result and of the temporaries, not of the block given.
"""

from __future__ import annotations

from ..linearization import Linearization
from ..results import Cost


def jacobian(linearization: Linearization, k: int) -> Cost | None:
    """Return what ``J`` or ``J*`` takes: ``2 B T m H k`` flops a site of m features."""
    sites, factored = linearization.weight_sites, linearization.low_rank_sites
    if sites is None and factored is None:
        return None
    steps = float(linearization.dims[0] * linearization.dims[1])
    entries = _states(linearization) + 2.0 * linearization.n_parameters
    if factored is not None:
        weights, n_units = factored.features.shape[-1] + 2 * factored.rank, len(factored.left)
        entries += 2.0 * steps * factored.rank
    elif sites is not None:
        weights = sum(len(group.row_blocks) * group.features.shape[-1] for group in sites.groups)
        n_units = sites.n_units
    return Cost(2.0 * steps * weights * n_units * k, _bytes(linearization, entries * k))


def gram(linearization: Linearization, k: int) -> Cost | None:
    """Return what ``J J*`` takes in one pass: ``4 B T m H k`` flops a site of m features."""
    once = jacobian(linearization, k)
    if once is None:
        return None
    return Cost(2.0 * once.flops, _bytes(linearization, 1.5 * _states(linearization) * k))


def propagation(linearization: Linearization, k: int) -> Cost | None:
    """Return what ``P`` or ``P*`` takes: ``2 B T q k`` flops for q recurrent weights."""
    sites, factored = linearization.weight_sites, linearization.low_rank_sites
    steps = float(linearization.dims[0] * linearization.dims[1])
    if factored is not None:
        size = factored.left.size + factored.right.size
    elif sites is not None:
        size = sites.recurrent_weight.size
    else:
        return None
    flops = 2.0 * steps * size * k
    return Cost(flops, _bytes(linearization, _states(linearization) * k))


def one_after_another(*costs: Cost | None) -> Cost | None:
    """Return the sum of the flops, and of the memory; None where one is not known."""
    known = [cost for cost in costs if cost is not None]
    if len(known) < len(costs):
        return None
    return Cost(sum(cost.flops for cost in known), sum(cost.memory_bytes for cost in known))


def _states(linearization: Linearization) -> float:
    n_trials, n_steps, n_state = linearization.dims
    return float(n_trials) * n_steps * n_state


def _bytes(linearization: Linearization, entries: float) -> float:
    return entries * linearization.dtype.itemsize
