"""What block products along a linearisation take, for cells with weight sites.

Only the matrix-matrix products are counted: the elementwise work beside them is a few operations an
entry. Memory is that of the result and of the temporaries, not of the block given.
"""

from __future__ import annotations

from ..linearization import Linearization
from ..results import Cost


def jacobian(linearization: Linearization, k: int) -> Cost | None:
    """Return what ``J`` or ``J*`` takes: ``2 B T m H k`` flops a site of m features."""
    sites = linearization.weight_sites
    if sites is None:
        return None
    weights = sum(len(group.row_blocks) * group.features.shape[-1] for group in sites.groups)
    steps = float(linearization.dims[0] * linearization.dims[1])
    entries = _states(linearization) + 2.0 * linearization.n_parameters
    return Cost(2.0 * steps * weights * sites.n_units * k, _bytes(linearization, entries * k))


def gram(linearization: Linearization, k: int) -> Cost | None:
    """Return what ``J J*`` takes in one pass: ``4 B T m H k`` flops a site of m features."""
    once = jacobian(linearization, k)
    if once is None:
        return None
    return Cost(2.0 * once.flops, _bytes(linearization, 1.5 * _states(linearization) * k))


def propagation(linearization: Linearization, k: int) -> Cost | None:
    """Return what ``P`` or ``P*`` takes: ``2 B T q k`` flops for q recurrent weights."""
    sites = linearization.weight_sites
    if sites is None:
        return None
    steps = float(linearization.dims[0] * linearization.dims[1])
    flops = 2.0 * steps * sites.recurrent_weight.size * k
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
