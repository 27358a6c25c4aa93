"""What block products along a linearisation take, for cells whose structure is known.

Only the matrix-matrix products are counted: the elementwise work beside them is a few operations an
entry. Memory is the peak of the result and the temporaries: neither the block given, nor the copies
that a linearisation makes once and keeps.
"""

from __future__ import annotations

from .._threads import n_threads, share_rows
from ..cells.sites import WeightSites, _unit_chunk
from ..kernels import columns
from ..kernels.columns import MOST_COLUMNS
from ..kernels.sites import ROWS_AT_A_TIME
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


def sensitivity(linearization: Linearization, k: int) -> Cost | None:
    """Return what ``P J``, or its adjoint, takes: P in place of what J gives, or one scan."""
    apart = in_place(jacobian(linearization, k), propagation(linearization, k))
    sites = linearization.weight_sites
    if apart is None or sites is None or not sites.fuses(k):
        return apart
    entries = (_states(linearization) + 2.0 * linearization.n_parameters) * k
    return Cost(apart.flops, _bytes(linearization, entries + _scan_workspace(sites, k)))


def inverse_propagation(linearization: Linearization, k: int) -> Cost | None:
    """Return what ``P^-1`` takes: the delayed block and its products beside the result."""
    once = propagation(linearization, k)
    if once is None:
        return None
    return Cost(
        once.flops, once.memory_bytes + _bytes(linearization, 2.0 * _states(linearization) * k)
    )


def tangent_kernel(linearization: Linearization, k: int) -> Cost | None:
    """Return what ``P K P*`` takes: K and P in place of what P* gives, or two scans."""
    scan, middle = propagation(linearization, k), gram(linearization, k)
    if scan is None or middle is None:
        return None
    flops, sites = 2.0 * scan.flops + middle.flops, linearization.weight_sites
    if sites is not None and sites.fuses(k):
        entries = _states(linearization) * k + _scan_workspace(sites, k)
        return Cost(flops, _bytes(linearization, entries))
    return Cost(flops, max(middle.memory_bytes, scan.memory_bytes))


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
    inner = sensitivity(linearization, k)
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
    if k <= MOST_COLUMNS:
        return sites.gains.shape[0] * _entries_of_a_row(sites, k)
    return float(n_threads()) * k * (len(sites.recurrent_weight) + sites.n_units)


def _entries_of_a_row(sites: WeightSites, k: int) -> float:
    """Return what a narrow scan holds of a trial at one step: products, and the state twice."""
    return float(k) * (len(sites.recurrent_weight) + (1 + 2 * sites.n_slots) * sites.n_units)


def _parameter_workspace(sites: WeightSites, k: int) -> float:
    """Return the entries that the threads hold: for a wide block the cores of all groups."""
    if k <= MOST_COLUMNS:
        n_trials, n_steps = sites.gains.shape[:2]
        return _narrow_workspace(sites, n_trials * n_steps, 1, k)
    core = sum(len(group.row_blocks) * group.features.shape[-1] for group in sites.groups)
    n_features = max(group.features.shape[-1] for group in sites.groups)
    chunk = _unit_chunk(sites.n_units, k)
    return float(n_threads()) * k * (chunk * (core + ROWS_AT_A_TIME) + n_features)


def _scan_workspace(sites: WeightSites, k: int) -> float:
    n_trials, n_steps = sites.gains.shape[:2]
    return _narrow_workspace(sites, n_trials, n_steps, k)


def _narrow_workspace(sites: WeightSites, n_trials: int, n_steps: int, k: int) -> float:
    """Return the entries that go through the parameters: a share a thread, their sum, and rows."""
    share = share_rows(n_trials)
    n_pieces = -(-n_trials // share)
    at_once = min(share, columns.ROWS_AT_A_TIME)
    rows = at_once * columns.steps_at_a_time(at_once, n_steps)
    most = max(group.features.shape[-1] for group in sites.groups)
    thread = rows * (sites.gains.shape[2] * k * sites.n_units + most) + most * sites.n_units
    of_a_trial = _entries_of_a_row(sites, k) if n_steps > 1 else k * sites.n_slots * sites.n_units
    thread += at_once * of_a_trial
    n_shares = n_pieces + 1 if n_pieces > 1 else 1
    return n_shares * float(sites.n_core(k)) + n_pieces * thread


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
