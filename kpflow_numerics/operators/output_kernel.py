"""The tangent kernel of the outputs, ``C P K P* C*``, with or without the readout's own part."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from .._threads import map_in_threads, n_threads
from .._typing import FloatArray, ParamsLike
from ..cells.sites import WeightSites
from ..linearization import Linearization
from ..results import Cost
from . import _product_costs
from ._gramians import trial_jacobians
from ._readout_map import ReadoutMap
from ._site_terms import SiteTerms, site_terms
from .base import StructuredOperator
from .output_sensitivity import OutputSensitivity

ROWS_AT_A_TIME = 256


class OutputKernel(StructuredOperator):
    """Tangent kernel of the outputs: what the literature mostly means by a neural tangent kernel.

    Gradient descent with a small step moves the outputs ``y = W h + b`` by
    ``dy/dtau = -(C P K P* C* + F F*) dloss/dy``. Here C is the readout's weight at every trial and
    step, and ``F F* = ([h, 1] [h, 1]*) kron I_O`` the Gram operator of the readout's own
    derivative, which is there only if its parameters are moved too.

    Parameters
    ----------
    linearization : Linearization
        Local derivatives, from :func:`kpflow_numerics.linearize`.
    readout : mapping of str to array_like
        ``weight (O, H)`` and ``bias (O,)``. It is linear: there is no activation behind it. Where
        it is the weight alone there is no bias, and none is moved.
    parameters : {"cell", "all"}
        Whose parameters are moved: the cell's, the readout being fixed, or the readout's as well,
        as training does.

    Raises
    ------
    InputError, InputTypeError
        If an argument cannot be used.

    Notes
    -----
    Shape ``(B, T, O) -> (B, T, O)``, self-adjoint and positive semi-definite. A plain sum over
    trials and steps. A product costs one of :class:`TangentKernel`, and ``4 B T H O k`` flops for
    C and C*, as much again for ``F F*``. For cells with weight sites ``exact_trace`` needs no
    products: ``B T^2 O N^2`` flops in float64, a factor ``N / O`` below those of the states.

    Examples
    --------
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> cell = kpf.VanillaRNN(n_inputs=3, n_units=8)
    >>> lin = kpf.linearize(kpf.simulate(cell, cell.init_params(rng=3), np.ones((2, 5, 3))))
    >>> readout = kpf.init_readout(8, 2, rng=4)
    >>> own = kpf.OutputKernel(lin, readout, parameters="cell")
    >>> both = kpf.OutputKernel(lin, readout, parameters="all")
    >>> both
    OutputKernel((2, 5, 2) -> (2, 5, 2), float64)
    >>> kpf.trace(both).value > kpf.trace(own).value
    True
    """

    self_adjoint = True
    positive_semidefinite = True

    def __init__(
        self, linearization: Linearization, readout: ParamsLike, *, parameters: str
    ) -> None:
        self._map = ReadoutMap(linearization, readout, parameters)
        self.linearization = linearization
        super().__init__(self._map.dims, self._map.dims, linearization.dtype)

    @property
    def readout(self) -> dict[str, FloatArray]:
        """The readout, in the precision of the products."""
        return dict(self._map.readout)

    @property
    def parameters(self) -> str:
        """Whose parameters are moved."""
        return self._map.parameters

    @cached_property
    def factor(self) -> OutputSensitivity:
        """The derivative of the outputs of which this is the Gram operator."""
        return OutputSensitivity(
            self.linearization, self._map.readout, parameters=self._map.parameters
        )

    def _along(self, linearization: Linearization) -> OutputKernel:
        return OutputKernel(linearization, self._map.readout, parameters=self._map.parameters)

    def _apply_block(self, block: FloatArray) -> FloatArray:
        moved = self._map.outputs(self._moved_states(block))
        if self._map.counts:
            moved += self._map.gram(block)
        return moved

    def _moved_states(self, block: FloatArray) -> FloatArray:
        """Return ``P K P* C* block``."""
        return self.linearization.tangent_kernel(self._map.states(block), overwrite=True)

    def _apply_adjoint_block(self, block: FloatArray) -> FloatArray:
        return self._apply_block(block)

    def product_cost(self, k: int = 1) -> Cost | None:
        """Return what a product with `k` columns takes; None for a cell without weight sites."""
        return _product_costs.output_kernel(self.linearization, self.dims[2], self._map.counts, k)

    def exact_cost(self, quantity: str, *arguments: Any) -> Cost | None:  # noqa: ARG002
        """Return what a closed form takes, or None where there is none.

        Parameters
        ----------
        quantity : str
            ``"trace"``.
        *arguments
            Of the closed form; the trace has none.
        """
        sites = self.linearization.weight_sites
        if sites is None or quantity != "trace":
            return None
        n_trials, n_steps, n_outputs = self.dims
        n_state, n_units = float(self.linearization.dims[2]), float(sites.n_units)
        side = float(n_steps * sites.n_slots)
        rows = min(float(n_steps * n_outputs), ROWS_AT_A_TIME + n_outputs)
        carried = n_steps**2 * n_outputs * n_state**2
        unit_grams = 2.0 * n_units * side**2 * (len(sites.names) + n_steps * n_outputs / 3.0)
        entries = 2.0 * n_steps * n_state**2 + 2.0 * n_steps * rows * n_state
        entries += 4.0 * n_units * side**2
        return Cost(n_trials * (carried + unit_grams), 8.0 * n_threads() * entries)

    def exact_trace(self) -> float:
        """Return the trace, ``|C P J|_F^2 + |F|_F^2``, from the rows of C P in each trial.

        On one trial the rows of ``C P`` are carried back through the state Jacobians, all outputs
        of a few steps at once, and K is met unit by unit: ``sum_i tr(Z_i* K_i Z_i)``.
        """
        terms = site_terms(self._sites)
        weight = self._map.weight.astype(np.float64, copy=False)

        def of_trial(trial: int) -> float:
            A = trial_jacobians(self.linearization, trial)
            return _trial_trace(terms.of_trial(trial), A, weight)

        total = sum(map_in_threads(of_trial, range(self.dims[0])))
        if self._map.counts:
            hidden = self._map.hidden.astype(np.float64, copy=False)
            ones = len(hidden) if self._map.has_bias else 0
            total += self.dims[2] * (float(np.vdot(hidden, hidden)) + ones)
        return total

    @property
    def _sites(self) -> WeightSites:
        sites = self.linearization.weight_sites
        if sites is None:
            raise AttributeError(
                f"{self.linearization.cell!r} has no weight sites, hence no closed form."
            )
        return sites


def _trial_trace(terms: SiteTerms, A: FloatArray, weight: FloatArray) -> float:
    """Return ``tr(C P K P* C*)`` of one trial, for its state Jacobians ``(T, N, N)``."""
    n_steps, n_units, n_slots = len(A), terms.n_units, terms.n_slots
    blocks = terms.unit_blocks().reshape(n_units, n_slots, n_steps, n_slots, n_steps)
    together = max(1, ROWS_AT_A_TIME // len(weight))
    total = 0.0
    for first in range(0, n_steps, together):
        last = min(first + together, n_steps)
        rows = _rows_carried_back(A, weight, first, last)
        # To (unit, slot and step, row); no output depends on what comes after it.
        split = rows.reshape(last, -1, n_slots, n_units).transpose(3, 2, 0, 1)
        Z = split.reshape(n_units, n_slots * last, -1)
        seen = blocks[:, :, :last, :, :last].reshape(n_units, n_slots * last, -1)
        total += float(np.vdot(seen, Z @ Z.transpose(0, 2, 1)))
    return total


def _rows_carried_back(A: FloatArray, weight: FloatArray, first: int, last: int) -> FloatArray:
    """Return the rows of C P for the outputs of steps ``first`` to ``last``.

    Returns
    -------
    ndarray, shape (last, (last - first) O, N)
        The row's part at each step up to the last.
    """
    n_outputs, n_seen = weight.shape
    rows = np.zeros((last, (last - first) * n_outputs, A.shape[1]))
    for t in range(last - 1, -1, -1):
        if t < last - 1:
            later = slice(max(t + 1 - first, 0) * n_outputs, None)
            np.matmul(rows[t + 1, later], A[t + 1], out=rows[t, later])
        if t >= first:
            rows[t, (t - first) * n_outputs : (t + 1 - first) * n_outputs, :n_seen] = weight
    return rows
