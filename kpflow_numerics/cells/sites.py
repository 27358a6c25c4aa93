"""Weight sites: the structure that most cells share, and the products that follow from it.

A site is a pre-activation ``a^g = W_g u^g`` followed by a pointwise map, so that ``dh/da^g`` is
diagonal over units: the gain ``D^g``. A state of several slots (an LSTM's ``[h, c]``) has a gain
for each slot. Sites that share their features ``u`` form a group, whose products are one GEMM.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from .._threads import kernel_threads, n_threads, share_rows
from .._typing import BoolArray, DTypeLike, FloatArray, IntArray, Params
from .._validation import check_choice
from ..kernels import columns as column_kernels
from ..kernels import propagation
from ..kernels import sites as site_kernels
from ..kernels.columns import MOST_COLUMNS

# Carry, which of its slots are not zero, gains, inner derivatives, and whether there are any.
_Flow = tuple[FloatArray, BoolArray, FloatArray, FloatArray, bool]


@dataclass(frozen=True)
class Segment:
    """Columns of the features of a group, and the parameters whose columns they multiply.

    A column of ones that two biases share is stored once and names both.
    """

    columns: slice
    parameters: tuple[str, ...]


@dataclass(frozen=True)
class SiteGroup:
    """Consecutive sites that multiply the same features.

    Parameters
    ----------
    features : ndarray, shape (B, T, m)
        What the weights of the group multiply.
    segments : tuple of Segment
        The parameters behind the columns of the features.
    first_site : int
        Place of the group's first site among the gains.
    row_blocks : tuple of int
        For each site, which block of ``H`` rows of its parameters is its own.
    """

    features: FloatArray
    segments: tuple[Segment, ...]
    first_site: int
    row_blocks: tuple[int, ...]

    @cached_property
    def flat_features(self) -> FloatArray:
        """Features as a C-ordered array ``(B T, m)``, copied once if they are a part of others."""
        return np.ascontiguousarray(self.features.reshape(-1, self.features.shape[-1]))

    @cached_property
    def multiplicity(self) -> FloatArray:
        """How many parameters stand behind each column, shape ``(m,)``."""
        counts = np.empty(self.features.shape[-1], self.features.dtype)
        for segment in self.segments:
            counts[segment.columns] = len(segment.parameters)
        return counts

    @cached_property
    def has_shared_columns(self) -> bool:
        """Whether more than one parameter stands behind a column."""
        return bool(np.any(self.multiplicity != 1.0))

    @property
    def sites(self) -> range:
        """Places of the group's sites among the gains."""
        return range(self.first_site, self.first_site + len(self.row_blocks))

    @property
    def weighted_features(self) -> FloatArray:
        """Features ``X`` with ``K_g = D^g X X* D^g*``: shared columns times ``sqrt(count)``."""
        return self.features * np.sqrt(self.multiplicity)

    def row_slices(self, n_units: int) -> Iterator[slice]:
        """Yield the rows of the parameters that belong to each site."""
        for block in self.row_blocks:
            yield slice(block * n_units, (block + 1) * n_units)


@dataclass(frozen=True)
class WeightSites:
    """Local derivatives of a cell along a trajectory, in the form that all site cells share.

    Parameters
    ----------
    names : tuple of str
        The sites. Those that multiply the hidden state come first, in the row order of
        `recurrent_weight`.
    gains : ndarray, shape (B, T, G, S, H)
        ``D^g``: derivative of each slot of the state with respect to each site.
    carry : ndarray, shape (B, T, S, S, H)
        Derivative of each slot (first) by each slot of the previous state, not through weights.
    inner : ndarray, shape (B, T, H), or None
        Derivative of what the recurrent weights multiply by the previous hidden state, where the
        weights multiply a function of it.
    recurrent_weight : ndarray, shape (R * H, H)
        Weights of the recurrent sites.
    groups : tuple of SiteGroup
        The features. Every site is in one of them.
    """

    names: tuple[str, ...]
    gains: FloatArray
    carry: FloatArray
    inner: FloatArray | None
    recurrent_weight: FloatArray
    groups: tuple[SiteGroup, ...]

    @property
    def memory_bytes(self) -> int:
        """Bytes of gains, carry and features, and of the copies that first products make of them.

        Those are the recurrent weights transposed, and features that are a part of others.
        """
        inner = 0 if self.inner is None else self.inner.nbytes
        total = self.gains.nbytes + self.carry.nbytes + inner + 2 * self.recurrent_weight.nbytes
        shared = {id(_owner(group.features)): _owner(group.features) for group in self.groups}
        parts = (group.features for group in self.groups if not group.features.flags.c_contiguous)
        return total + sum(a.nbytes for a in shared.values()) + sum(a.nbytes for a in parts)

    def astype(self, dtype: DTypeLike) -> WeightSites:
        """Return the local derivatives with every number rounded to another precision."""
        return replace(
            self,
            gains=self.gains.astype(dtype),
            carry=self.carry.astype(dtype),
            inner=None if self.inner is None else self.inner.astype(dtype),
            recurrent_weight=self.recurrent_weight.astype(dtype),
            groups=tuple(
                replace(group, features=group.features.astype(dtype)) for group in self.groups
            ),
        )

    @property
    def n_units(self) -> int:
        """Number of units ``H``."""
        return int(self.gains.shape[-1])

    @property
    def n_slots(self) -> int:
        """Number of slots ``S`` of the state: ``N = S H``."""
        return int(self.gains.shape[-2])

    def restricted_to(self, name: str) -> WeightSites:
        """Return the local derivatives with the pre-activations of all other sites held fixed.

        What the result makes of parameters is the part of one site: K is the sum of the sites'.
        The gains of the site are copied.

        Parameters
        ----------
        name : str
            One of `names`.

        Raises
        ------
        InputError
            If there is no such site.
        """
        site = self.names.index(check_choice(name, "name", self.names))
        group = next(each for each in self.groups if site in each.sites)
        block = group.row_blocks[site - group.first_site]
        return replace(
            self,
            names=(name,),
            gains=np.ascontiguousarray(self.gains[:, :, site : site + 1]),
            recurrent_weight=self.recurrent_weight[site * self.n_units : (site + 1) * self.n_units],
            groups=(replace(group, first_site=0, row_blocks=(block,)),),
        )

    def of_trials(self, trials: slice) -> WeightSites:
        """Return the local derivatives of some trials, which share these arrays."""
        return replace(
            self,
            gains=self.gains[trials],
            carry=self.carry[trials],
            inner=None if self.inner is None else self.inner[trials],
            groups=tuple(replace(group, features=group.features[trials]) for group in self.groups),
        )

    @cached_property
    def _weight_transposed(self) -> FloatArray:
        return np.ascontiguousarray(self.recurrent_weight.T)

    @cached_property
    def _inner_or_placeholder(self) -> FloatArray:
        if self.inner is not None:
            return self.inner
        return np.zeros((1, 1, self.n_units), self.gains.dtype)

    def _slots(self, block: FloatArray) -> FloatArray:
        """View ``(B, T, N, k)`` as ``(B, T, S, H, k)``."""
        n_trials, n_steps, _, k = block.shape
        return block.reshape(n_trials, n_steps, self.n_slots, self.n_units, k)

    def _recurrent_work(self, block: FloatArray) -> float:
        """Return the multiplications by recurrent weights in one product with a block."""
        n_trials, n_steps, _, k = block.shape
        return float(n_trials) * n_steps * k * self.recurrent_weight.size

    def _parameter_work(self, k: int) -> float:
        """Return the multiplications by features in one product with `k` columns."""
        n_features = sum(len(group.row_blocks) * group.features.shape[-1] for group in self.groups)
        return float(self.gains.shape[0]) * self.gains.shape[1] * self.n_units * n_features * k

    def _scan_work(self, k: int) -> float:
        """Return the multiplications of a scan through the parameters with `k` columns."""
        rows = float(self.gains.shape[0]) * self.gains.shape[1]
        return rows * k * self.recurrent_weight.size + self._parameter_work(k)

    def propagate(self, block: FloatArray, *, overwrite: bool = False) -> FloatArray:
        """Return ``P block`` for a block ``(B, T, N, k)``, in its place if `overwrite`."""
        out = np.ascontiguousarray(block) if overwrite else block.copy()
        with kernel_threads(self._recurrent_work(block)):
            if out.shape[-1] <= MOST_COLUMNS:
                column_kernels.propagate(
                    *self._flow,
                    self._weight_transposed,
                    share_rows(len(out)),
                    self._slots(out),
                )
            else:
                propagation.propagate(
                    self.carry,
                    self.gains,
                    self._inner_or_placeholder,
                    self.inner is not None,
                    self.recurrent_weight,
                    self._slots(out),
                )
        return out

    def propagate_adjoint(self, block: FloatArray, *, overwrite: bool = False) -> FloatArray:
        """Return ``P* block`` for a block ``(B, T, N, k)``, in its place if `overwrite`."""
        out = np.ascontiguousarray(block) if overwrite else block.copy()
        with kernel_threads(self._recurrent_work(block)):
            if out.shape[-1] <= MOST_COLUMNS:
                column_kernels.propagate_adjoint(
                    *self._flow, self.recurrent_weight, share_rows(len(out)), self._slots(out)
                )
            else:
                propagation.propagate_adjoint(
                    self.carry,
                    self.gains,
                    self._inner_or_placeholder,
                    self.inner is not None,
                    self._weight_transposed,
                    self._slots(out),
                )
        return out

    def fuses(self, k: int) -> bool:
        """Tell whether products of P and J with `k` columns are made in one scan.

        Those run trial by trial, and need one for each thread.
        """
        return k <= MOST_COLUMNS and len(self.gains) >= n_threads()

    def sensitivity(self, parameters: Mapping[str, FloatArray]) -> FloatArray:
        """Return ``P J v`` as a block ``(B, T, N, k)`` in one scan."""
        k = next(iter(parameters.values())).shape[-1]
        return self._pushed(self._flow, parameters, self._scan_work(k))

    def sensitivity_adjoint(
        self, block: FloatArray, shapes: Mapping[str, tuple[int, ...]]
    ) -> Params:
        """Return ``J* P* block`` in one scan, as arrays of the parameters' shapes."""
        block = np.ascontiguousarray(block)
        return self._gradients(self._flow, block, shapes, self._scan_work(block.shape[-1]))

    def tangent_kernel(self, block: FloatArray, *, overwrite: bool = False) -> FloatArray:
        """Return ``P J J* P* block`` in two scans, in the place of the block if `overwrite`."""
        k = block.shape[-1]
        block = np.ascontiguousarray(block)
        out = block if overwrite else np.empty_like(block)
        with kernel_threads(2.0 * self._scan_work(k)):
            core = self._pull_back(self._flow, block)
            self._count_shared(core, k)
            self._push_forward(self._flow, core, out)
        return out

    def state_jvp(self, block: FloatArray) -> FloatArray:
        """Return ``A_t block[:, t]`` for every step of a block ``(B, T, N, k)``."""
        block = np.ascontiguousarray(block)
        out = np.zeros_like(block)
        with kernel_threads(self._recurrent_work(block)):
            propagation.apply_state_jacobians(
                self.carry,
                self.gains,
                self._inner_or_placeholder,
                self.inner is not None,
                self.recurrent_weight,
                self._slots(block),
                self._slots(out),
            )
        return out

    def state_vjp(self, block: FloatArray) -> FloatArray:
        """Return ``A_t* block[:, t]`` for every step of a block ``(B, T, N, k)``."""
        block = np.ascontiguousarray(block)
        out = np.zeros_like(block)
        with kernel_threads(self._recurrent_work(block)):
            propagation.apply_state_jacobians_adjoint(
                self.carry,
                self.gains,
                self._inner_or_placeholder,
                self.inner is not None,
                self._weight_transposed,
                self._slots(block),
                self._slots(out),
            )
        return out

    def state_jacobians(self, trials: slice, steps: slice = slice(None)) -> FloatArray:
        """Return ``A_t`` of some trials and steps as an array ``(trials, steps, N, N)``."""
        gains, carry = self.gains[trials, steps], self.carry[trials, steps]
        n_trials, n_steps, _, n_slots, H = gains.shape
        n_recurrent = len(self.recurrent_weight) // H
        weight = self.recurrent_weight.reshape(n_recurrent, H, H)
        read = np.einsum("btrsi,rij->btsij", gains[:, :, :n_recurrent], weight, optimize=True)
        if self.inner is not None:
            read *= self.inner[trials, steps][:, :, None, None, :]
        A = np.zeros((n_trials, n_steps, n_slots, H, n_slots, H), gains.dtype)
        A[:, :, :, :, 0] = read
        diagonal = np.arange(H)
        A[:, :, :, diagonal, :, diagonal] += carry.transpose(4, 0, 1, 2, 3)
        return A.reshape(n_trials, n_steps, n_slots * H, n_slots * H)

    def _rows(self, block: FloatArray) -> FloatArray:
        """View ``(B, T, N, k)`` as ``(B T, S, H, k)``."""
        slots = self._slots(block)
        return slots.reshape(-1, *slots.shape[2:])

    def _flat_gains(self) -> FloatArray:
        return self.gains.reshape(-1, *self.gains.shape[2:])

    @cached_property
    def _flow(self) -> _Flow:
        """The linearised flow, as the kernels of narrow blocks take it."""
        is_carried: BoolArray = np.asarray(self.carry.any(axis=(0, 1, 4)))
        inner = self._inner_or_placeholder
        return self.carry, is_carried, self.gains, inner, self.inner is not None

    @cached_property
    def _still(self) -> _Flow:
        """The flow with every step a trial of its own: P is the identity."""
        rows = (len(self._flat_gains()), 1)
        carry, is_carried, gains, inner, has_inner = self._flow
        if has_inner:
            inner = inner.reshape(*rows, self.n_units)
        carry = carry.reshape(*rows, *carry.shape[2:])
        return carry, is_carried, gains.reshape(*rows, *gains.shape[2:]), inner, has_inner

    @cached_property
    def _group_table(self) -> tuple[tuple[FloatArray, ...], IntArray, IntArray]:
        """Features, first site and number of sites of each group."""
        return (
            tuple(group.flat_features for group in self.groups),
            np.array([group.first_site for group in self.groups]),
            np.array([len(group.row_blocks) for group in self.groups]),
        )

    def n_core(self, k: int) -> int:
        """Return the length of the parameters' vector in the kernels of narrow blocks."""
        n_features = sum(len(group.row_blocks) * group.features.shape[-1] for group in self.groups)
        return n_features * self.n_units * k

    def _core_parts(self, core: FloatArray, k: int) -> Iterator[tuple[SiteGroup, FloatArray]]:
        """Yield each group, and the view ``(sites, k, m, H)`` of its part of that vector."""
        start = 0
        for group in self.groups:
            shape = (len(group.row_blocks), k, group.features.shape[-1], self.n_units)
            end = start + int(np.prod(shape))
            yield group, core[start:end].reshape(shape)
            start = end

    def _count_shared(self, core: FloatArray, k: int) -> None:
        """Multiply each column of the parameters by how many parameters stand behind it."""
        for group, part in self._core_parts(core, k):
            if group.has_shared_columns:
                part *= group.multiplicity[:, None]

    def _pull_back(self, flow: _Flow, block: FloatArray) -> FloatArray:
        """Return ``J* P* block`` of a narrow block along a flow, as the kernels' vector."""
        n_trials, n_steps = flow[0].shape[:2]
        k, chunk = block.shape[-1], share_rows(n_trials)
        shares = np.empty((-(-n_trials // chunk), self.n_core(k)), block.dtype)
        column_kernels.pull_back(
            *flow,
            self.recurrent_weight,
            *self._group_table,
            chunk,
            block.reshape(n_trials, n_steps, self.n_slots, self.n_units, k),
            shares,
        )
        return shares[0] if len(shares) == 1 else shares.sum(axis=0)

    def _push_forward(self, flow: _Flow, core: FloatArray, out: FloatArray) -> None:
        """Write ``P J core`` along a flow to a narrow block ``(B, T, N, k)``."""
        n_trials, n_steps = flow[0].shape[:2]
        column_kernels.push_forward(
            *flow,
            self._weight_transposed,
            *self._group_table,
            share_rows(n_trials),
            core,
            out.reshape(n_trials, n_steps, self.n_slots, self.n_units, out.shape[-1]),
        )

    def param_gram(self, block: FloatArray, *, overwrite: bool = False) -> FloatArray:
        """Return ``J J* block`` for a block ``(B, T, N, k)``, without the parameters' layout.

        In the place of the block if `overwrite`.
        """
        k = block.shape[-1]
        block = np.ascontiguousarray(block)
        out = block if overwrite else np.empty_like(block)
        with kernel_threads(2.0 * self._parameter_work(k)):
            if k <= MOST_COLUMNS:
                core = self._pull_back(self._still, block)
                self._count_shared(core, k)
                self._push_forward(self._still, core, out)
                return out
            features, first_site, n_sites = self._group_table
            site_kernels.site_gram(
                features,
                tuple(group.multiplicity for group in self.groups),
                self._flat_gains(),
                first_site,
                n_sites,
                _unit_chunk(self.n_units, k),
                self._rows(block),
                self._rows(out),
            )
        return out

    def param_jvp(self, parameters: Mapping[str, FloatArray]) -> FloatArray:
        """Return ``J v`` as a block ``(B, T, N, k)``; `parameters` have a last axis of ``k``."""
        k = next(iter(parameters.values())).shape[-1]
        if k <= MOST_COLUMNS:
            return self._pushed(self._still, parameters, self._parameter_work(k))
        shape = (*self.gains.shape[:2], self.n_slots * self.n_units, k)
        out = np.zeros(shape, self.gains.dtype)
        with kernel_threads(self._parameter_work(k)):
            for group in self.groups:
                site_kernels.add_site_jvp(
                    group.flat_features,
                    self._flat_gains(),
                    group.first_site,
                    _unit_chunk(self.n_units, k),
                    self._columns(group, parameters),
                    self._rows(out),
                )
        return out

    def _pushed(self, flow: _Flow, parameters: Mapping[str, FloatArray], work: float) -> FloatArray:
        """Return ``P J v`` along a flow for a few columns."""
        k = next(iter(parameters.values())).shape[-1]
        core = np.empty(self.n_core(k), self.gains.dtype)
        for group, part in self._core_parts(core, k):
            part[:] = self._columns(group, parameters).transpose(0, 3, 2, 1)
        shape = (*self.gains.shape[:2], self.n_slots * self.n_units, k)
        out = np.empty(shape, self.gains.dtype)
        with kernel_threads(work):
            self._push_forward(flow, core, out)
        return out

    def _columns(self, group: SiteGroup, parameters: Mapping[str, FloatArray]) -> FloatArray:
        """Return what the features of a group are multiplied by, as ``(sites, H, m, k)``."""
        n_units, k = self.n_units, next(iter(parameters.values())).shape[-1]
        shape = (len(group.row_blocks), n_units, group.features.shape[-1], k)
        columns = np.zeros(shape, self.gains.dtype)
        for site, rows in enumerate(group.row_slices(n_units)):
            for segment in group.segments:
                for name in segment.parameters:
                    part = parameters[name][rows].reshape(n_units, -1, k)
                    columns[site, :, segment.columns] += part
        return columns

    def param_vjp(self, block: FloatArray, shapes: Mapping[str, tuple[int, ...]]) -> Params:
        """Return ``J* block`` as arrays of the parameters' shapes with a last axis of ``k``."""
        k = block.shape[-1]
        block = np.ascontiguousarray(block)
        if k <= MOST_COLUMNS:
            return self._gradients(self._still, block, shapes, self._parameter_work(k))
        with kernel_threads(self._parameter_work(k)):
            products = [self._vjp(group, block) for group in self.groups]
        gradients = {name: np.zeros((*shape, k), block.dtype) for name, shape in shapes.items()}
        self._scatter(products, gradients)
        return gradients

    def _gradients(
        self, flow: _Flow, block: FloatArray, shapes: Mapping[str, tuple[int, ...]], work: float
    ) -> Params:
        """Return ``J* P* block`` along a flow for a few columns."""
        k = block.shape[-1]
        with kernel_threads(work):
            core = self._pull_back(flow, block)
        products = [part.transpose(0, 3, 2, 1) for _, part in self._core_parts(core, k)]
        gradients = {name: np.zeros((*shape, k), block.dtype) for name, shape in shapes.items()}
        self._scatter(products, gradients)
        return gradients

    def _scatter(self, products: Sequence[FloatArray], gradients: Mapping[str, FloatArray]) -> None:
        """Write ``X* (D^g* q)`` of each group to the parameters behind its columns."""
        for group, columns in zip(self.groups, products, strict=True):
            for site, rows in enumerate(group.row_slices(self.n_units)):
                for segment in group.segments:
                    for name in segment.parameters:
                        part = gradients[name][rows]
                        part[:] = columns[site, :, segment.columns].reshape(part.shape)

    def param_vjp_on_a_thread(
        self, block: FloatArray, shapes: Mapping[str, tuple[int, ...]]
    ) -> Params:
        """Return ``J* block`` without a parallel kernel: few trials are too little to share."""
        k = block.shape[-1]
        q = self._rows(np.ascontiguousarray(block))
        gains = self._flat_gains()
        products = []
        for group in self.groups:
            X, columns = group.flat_features, []
            for site in group.sites:
                gathered = gains[:, site, 0, :, None] * q[:, 0]
                for slot in range(1, self.n_slots):
                    gathered += gains[:, site, slot, :, None] * q[:, slot]
                # Overflow shows in the result, as it does of compiled kernels.
                with np.errstate(over="ignore", invalid="ignore"):
                    product = X.T @ gathered.reshape(len(X), -1)
                columns.append(product.reshape(-1, self.n_units, k).transpose(1, 0, 2))
            products.append(np.stack(columns))
        gradients = {name: np.zeros((*shape, k), block.dtype) for name, shape in shapes.items()}
        self._scatter(products, gradients)
        return gradients

    def _vjp(self, group: SiteGroup, block: FloatArray) -> FloatArray:
        """Return ``X* (D^g* q)`` of a group as ``(sites, H, m, k)``."""
        k = block.shape[-1]
        shape = (len(group.row_blocks), self.n_units, group.features.shape[-1], k)
        columns = np.empty(shape, block.dtype)
        site_kernels.site_vjp(
            group.flat_features,
            self._flat_gains(),
            group.first_site,
            _unit_chunk(self.n_units, k),
            self._rows(block),
            columns,
        )
        return columns


def _owner(array: FloatArray) -> FloatArray:
    """Return the array whose memory `array` is a view of."""
    return array if array.base is None else _owner(array.base)


def _unit_chunk(n_units: int, k: int) -> int:
    """Return how many units a thread takes at a time: products of about 512 columns."""
    return max(1, min(share_rows(n_units), -(-512 // k)))
