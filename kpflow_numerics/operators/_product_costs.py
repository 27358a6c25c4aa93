"""What block products along a linearisation take, for cells whose structure is known.

Only the matrix-matrix products are counted: the elementwise work beside them is a few operations an
entry. Memory is the peak of the result and the temporaries: neither the block given, nor the copies
that a linearisation makes once and keeps.
"""

from __future__ import annotations

from .._threads import n_threads
from ..cells.sites import SiteGroup, WeightSites, _unit_chunk
from ..kernels.sites import ROWS_AT_A_TIME, ROWS_OF_A_COLUMN
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
    workspace = 0.0 if sites is None else _parameter_workspace(sites, k)
    return Cost(2.0 * steps * weights * n_units * k, _bytes(linearization, entries * k + workspace))


def gram(linearization: Linearization, k: int) -> Cost | None:
    """Return what ``J J*`` takes in one pass: ``4 B T m H k`` flops a site of m features."""
    once = jacobian(linearization, k)
    if once is None:
        return None
    sites = linearization.weight_sites
    # A factored cell's workspace is bounded, not counted.
    workspace = (
        0.5 * _states(linearization) * k if sites is None else _parameter_workspace(sites, k)
    )
    return Cost(2.0 * once.flops, _bytes(linearization, _states(linearization) * k + workspace))


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
    workspace = 0.0 if sites is None else _recurrent_workspace(sites, k)
    return Cost(flops, _bytes(linearization, _states(linearization) * k + workspace))


def inverse_propagation(linearization: Linearization, k: int) -> Cost | None:
    """Return what ``P^-1`` takes: the delayed block and its products beside the result."""
    once = propagation(linearization, k)
    if once is None:
        return None
    return Cost(
        once.flops, once.memory_bytes + _bytes(linearization, 2.0 * _states(linearization) * k)
    )


def tangent_kernel(linearization: Linearization, k: int) -> Cost | None:
    """Return what ``P K P*`` takes: K of a block and P in place, K of one column beside it."""
    scan, middle = propagation(linearization, k), gram(linearization, k)
    if scan is None or middle is None:
        return None
    memory = middle.memory_bytes
    if k == 1:
        memory += _bytes(linearization, _states(linearization))
    return Cost(2.0 * scan.flops + middle.flops, max(memory, scan.memory_bytes))


def output_kernel(
    linearization: Linearization, n_outputs: int, with_readout: bool, k: int
) -> Cost | None:
    """Return what ``C P K P* C*`` takes, and ``F F*`` of the readout's parameters beside it."""
    inner = tangent_kernel(linearization, k)
    if inner is None:
        return None
    steps, states = float(linearization.dims[0] * linearization.dims[1]), _states(linearization)
    outputs, n_units = steps * n_outputs, linearization.cell.n_units
    flops = inner.flops + 4.0 * outputs * n_units * k
    entries = (states + outputs) * k
    if with_readout:
        flops += 4.0 * outputs * n_units * k
        entries = max(entries, (2.0 * outputs + n_units * n_outputs) * k + _hidden(linearization))
    return Cost(flops, max(inner.memory_bytes, _bytes(linearization, entries)))


def output_sensitivity(
    linearization: Linearization, n_outputs: int, with_readout: bool, k: int
) -> Cost | None:
    """Return what ``C P J``, or its adjoint, takes, and F of the readout's parameters beside it."""
    inner = in_place(jacobian(linearization, k), propagation(linearization, k))
    if inner is None:
        return None
    steps, states = float(linearization.dims[0] * linearization.dims[1]), _states(linearization)
    outputs, n_units = steps * n_outputs, linearization.cell.n_units
    flops = inner.flops + 2.0 * outputs * n_units * k
    entries = (states + outputs) * k
    if with_readout:
        flops += 2.0 * outputs * n_units * k
        own = float(n_units * n_outputs)
        gradients = 2.0 * linearization.n_parameters + 2.0 * own
        moves = max(2.0 * outputs + own, gradients) * k + _hidden(linearization)
        entries = max(entries, moves)
    return Cost(flops, max(inner.memory_bytes, _bytes(linearization, entries)))


def in_place(*costs: Cost | None) -> Cost | None:
    """Return the sum of the flops and the largest memory; None where one is not known."""
    known = [cost for cost in costs if cost is not None]
    if len(known) < len(costs):
        return None
    return Cost(sum(cost.flops for cost in known), max(cost.memory_bytes for cost in known))


def one_after_another(*costs: Cost | None) -> Cost | None:
    """Return the sum of the flops, and of the memory; None where one is not known."""
    known = [cost for cost in costs if cost is not None]
    if len(known) < len(costs):
        return None
    return Cost(sum(cost.flops for cost in known), sum(cost.memory_bytes for cost in known))


def _recurrent_workspace(sites: WeightSites, k: int) -> float:
    """Return the entries that the threads gather for the steps of a scan."""
    at_a_time = sites.gains.shape[0] if k == 1 else n_threads() * k
    return float(at_a_time) * (len(sites.recurrent_weight) + sites.n_units)


def _parameter_workspace(sites: WeightSites, k: int) -> float:
    """Return the entries that the threads hold: for a block the cores of all groups."""
    threads = float(n_threads())
    if k == 1:
        return max(_column_workspace(group, sites.n_units, threads) for group in sites.groups)
    core = sum(len(group.row_blocks) * group.features.shape[-1] for group in sites.groups)
    n_features = max(group.features.shape[-1] for group in sites.groups)
    chunk = _unit_chunk(sites.n_units, k)
    return threads * k * (chunk * (core + ROWS_AT_A_TIME) + n_features)


def _column_workspace(group: SiteGroup, n_units: int, threads: float) -> float:
    n_features = group.features.shape[-1]
    shares = (threads + 1.0) * len(group.row_blocks) * n_features * n_units
    return shares + threads * n_units * (ROWS_OF_A_COLUMN + n_features)


def _states(linearization: Linearization) -> float:
    n_trials, n_steps, n_state = linearization.dims
    return float(n_trials) * n_steps * n_state


def _hidden(linearization: Linearization) -> float:
    """Return the entries of the copy of what a readout sees of the state, if that is a part."""
    n_trials, n_steps, n_state = linearization.dims
    n_units = linearization.cell.n_units
    return 0.0 if n_state == n_units else float(n_trials) * n_steps * n_units


def _bytes(linearization: Linearization, entries: float) -> float:
    return entries * linearization.dtype.itemsize
