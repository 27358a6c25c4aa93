"""The gated recurrent unit of PyTorch's ``nn.GRU``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .._threads import kernel_threads, share_rows
from .._typing import FloatArray, Params
from .._validation import check_flag
from ..kernels.gru import differentiate_gru, differentiate_kept_gru, simulate_gru
from .base import SiteCell, join_features, join_weights, segments_of, step_work
from .sites import SiteGroup, WeightSites


@dataclass(frozen=True)
class GRU(SiteCell):
    """Gated recurrent unit, with the reset gate after the recurrent weights as in PyTorch.

    ``r = s(W_ir x + b_ir + W_hr h + b_hr)``, ``z = s(W_iz x + b_iz + W_hz h + b_hz)``,
    ``m = W_hn h + b_hn``, ``n = tanh(W_in x + b_in + r m)``, ``h' = (1 - z) n + z h``, where ``s``
    is the logistic function and ``h`` the previous state.

    Four weight sites. The recurrent ones are ``r``, ``z`` and ``nh`` (which is ``m``), in the rows
    of ``weight_hh``; ``n`` sees the input alone:

    ==== ============================= =============
    site gain ``D``                    features
    ==== ============================= =============
    r    ``D^n m r (1 - r)``           ``x, h, 1, 1``
    z    ``(h - n) z (1 - z)``         ``x, h, 1, 1``
    nh   ``D^n r``                     ``h, 1``
    n    ``D^n = (1 - z) (1 - n^2)``   ``x, 1``
    ==== ============================= =============

    ``A = diag(z) + diag(D^r) W_hr + diag(D^z) W_hz + diag(D^nh) W_hn``.

    Parameters
    ----------
    n_inputs, n_units : int
        Sizes ``I`` and ``H``; the state size is ``N = H``.
    bias : bool
        Whether the two biases exist.

    Notes
    -----
    Parameters, as in PyTorch, with the gates stacked in the order ``r, z, n``: ``weight_ih
    (3H, I)``, ``weight_hh (3H, H)``, ``bias_ih (3H,)``, ``bias_hh (3H,)``. A step costs
    ``6 H (H + I)`` flops a trial. The local derivatives keep ``B T (6 H + I + 1)`` numbers.

    Examples
    --------
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> cell = kpf.GRU(n_inputs=3, n_units=8)
    >>> cell.parameter_shapes["weight_hh"]
    (24, 8)
    >>> kpf.simulate(cell, cell.init_params(rng=3), np.ones((2, 5, 3))).states.shape
    (2, 5, 8)
    """

    bias: bool = True

    kind: ClassVar[str] = "gru"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_flag(self.bias, "bias")

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each parameter, in the order of the flat parameter vector."""
        rows = 3 * self.n_units
        shapes: dict[str, tuple[int, ...]] = {
            "weight_ih": (rows, self.n_inputs),
            "weight_hh": (rows, self.n_units),
        }
        return shapes | ({"bias_ih": (rows,), "bias_hh": (rows,)} if self.bias else {})

    def _joined_weights(self, params: Params) -> tuple[FloatArray, FloatArray]:
        """Return what makes ``r, z, m`` of ``[h, 1, x]``, and the input's part of ``n``."""
        split = 2 * self.n_units
        weight_ih = params["weight_ih"].copy()
        weight_ih[split:] = 0.0
        if not self.bias:
            weight = join_weights(params["weight_hh"], weight_ih, [])
            return weight, np.ascontiguousarray(params["weight_ih"][split:].T)
        bias_ih = params["bias_ih"].copy()
        bias_ih[split:] = 0.0
        weight = join_weights(params["weight_hh"], weight_ih, [params["bias_hh"], bias_ih])
        candidate = [params["bias_ih"][split:, None], params["weight_ih"][split:]]
        return weight, np.ascontiguousarray(np.concatenate(candidate, axis=1).T)

    def simulate_states(
        self, params: Params, inputs: FloatArray, initial: FloatArray
    ) -> FloatArray:
        """Return the states ``(B, T, N)`` for ``inputs (B, T, I)`` from ``initial (B, N)``."""
        return self._simulate(params, inputs, initial, np.empty((0, 0, 4, 0), inputs.dtype))

    def simulate_keeping(
        self, params: Params, inputs: FloatArray, initial: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Return the states and the values of ``r, z, m, n`` at each step, ``(B, T, 4, H)``."""
        kept = np.empty((*inputs.shape[:2], 4, self.n_units), inputs.dtype)
        return self._simulate(params, inputs, initial, kept), kept

    def _simulate(
        self, params: Params, inputs: FloatArray, initial: FloatArray, kept: FloatArray
    ) -> FloatArray:
        states = np.empty((*inputs.shape[:2], self.n_units), inputs.dtype)
        weight, candidate_weight = self._joined_weights(params)
        with kernel_threads(step_work(inputs, weight)):
            simulate_gru(
                inputs,
                weight,
                candidate_weight,
                share_rows(len(inputs)),
                initial,
                states,
                kept.size > 0,
                kept,
            )
        return states

    def weight_sites(self, params: Params, inputs: FloatArray, previous: FloatArray) -> WeightSites:
        """Return the local derivatives at ``inputs (B, T, I)``, ``previous (B, T, N)``."""
        H, n_trials, n_steps = self.n_units, *inputs.shape[:2]
        features = join_features(previous, inputs, self.bias)
        weight, candidate_weight = self._joined_weights(params)
        gains = np.empty((n_trials, n_steps, 4, 1, H), features.dtype)
        carry = np.empty((n_trials, n_steps, 1, 1, H), features.dtype)
        with kernel_threads(step_work(inputs, weight)):
            differentiate_gru(
                features.reshape(n_trials * n_steps, -1),
                weight,
                candidate_weight,
                share_rows(n_trials * n_steps),
                gains.reshape(-1, 4, H),
                carry.reshape(-1, H),
            )
        return self._sites(params, features, gains, carry)

    def sites_of_kept(
        self, params: Params, inputs: FloatArray, previous: FloatArray, kept: FloatArray
    ) -> WeightSites:
        """Return the weight sites from the values that :meth:`simulate_keeping` kept."""
        H = self.n_units
        features = join_features(previous, inputs, self.bias)
        gains = np.empty((*inputs.shape[:2], 4, 1, H), features.dtype)
        carry = np.empty((*inputs.shape[:2], 1, 1, H), features.dtype)
        with kernel_threads(float(kept.size)):
            differentiate_kept_gru(
                kept.reshape(-1, 4, H),
                previous.reshape(-1, H),
                share_rows(inputs.shape[0] * inputs.shape[1]),
                gains.reshape(-1, 4, H),
                carry.reshape(-1, H),
            )
        return self._sites(params, features, gains, carry)

    def _sites(
        self, params: Params, features: FloatArray, gains: FloatArray, carry: FloatArray
    ) -> WeightSites:
        return WeightSites(
            names=("r", "z", "nh", "n"),
            gains=gains,
            carry=carry,
            inner=None,
            recurrent_weight=params["weight_hh"],
            groups=self._groups(features),
        )

    def _groups(self, features: FloatArray) -> tuple[SiteGroup, ...]:
        """Return the groups ``r, z``, then ``nh``, then ``n``: parts of the same features."""
        H, n_inputs, width = self.n_units, self.n_inputs, features.shape[-1]
        hidden, inputs = (H, ("weight_hh",)), (n_inputs, ("weight_ih",))
        bias_ih, bias_hh = (("bias_ih",), ("bias_hh",)) if self.bias else ((), ())
        gates = segments_of(hidden, (1, bias_ih + bias_hh), inputs)
        return (
            SiteGroup(features, gates, first_site=0, row_blocks=(0, 1)),
            SiteGroup(
                features[..., : width - n_inputs],
                segments_of(hidden, (1, bias_hh)),
                first_site=2,
                row_blocks=(2,),
            ),
            SiteGroup(
                features[..., H:], segments_of((1, bias_ih), inputs), first_site=3, row_blocks=(2,)
            ),
        )
