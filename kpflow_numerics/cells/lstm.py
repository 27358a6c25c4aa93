"""The long short-term memory of PyTorch's ``nn.LSTM``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .._threads import kernel_threads, share_rows
from .._typing import FloatArray, Params
from .._validation import check_flag
from ..kernels.lstm import differentiate_kept_lstm, differentiate_lstm, simulate_lstm
from .base import SiteCell, join_features, join_weights, segments_of, step_work
from .sites import SiteGroup, WeightSites


@dataclass(frozen=True)
class LSTM(SiteCell):
    """Long short-term memory, whose state is ``[h, c]``.

    ``i, f, o`` are the logistic function and ``g`` is tanh of
    ``W_i x + b_ih + W_h h + b_hh``; ``c' = f c + i g`` and ``h' = o tanh(c')``.

    Four weight sites ``i, f, g, o``, all with ``u = [x, h, 1, 1]``. With
    ``q = o (1 - tanh(c')^2)`` their gains on ``c'`` are ``g i (1 - i)``, ``c f (1 - f)``,
    ``i (1 - g^2)`` and 0; those on ``h'`` are ``q`` times these, and ``tanh(c') o (1 - o)`` for
    ``o``. Not through weights, ``c`` reaches ``c'`` with ``f`` and ``h'`` with ``q f``.

    Parameters
    ----------
    n_inputs, n_units : int
        Sizes ``I`` and ``H``; the state size is ``N = 2H``.
    bias : bool
        Whether the two biases exist.

    Notes
    -----
    Parameters, as in PyTorch, with the gates stacked in the order ``i, f, g, o``: ``weight_ih
    (4H, I)``, ``weight_hh (4H, H)``, ``bias_ih (4H,)``, ``bias_hh (4H,)``. A step costs
    ``8 H (H + I)`` flops a trial. The local derivatives keep ``B T (13 H + I + 1)`` numbers.

    Examples
    --------
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> cell = kpf.LSTM(n_inputs=3, n_units=8)
    >>> traj = kpf.simulate(cell, cell.init_params(rng=3), np.ones((2, 5, 3)))
    >>> traj.states.shape, traj.hidden.shape
    ((2, 5, 16), (2, 5, 8))
    """

    bias: bool = True

    kind: ClassVar[str] = "lstm"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_flag(self.bias, "bias")

    @property
    def n_state(self) -> int:
        """State size ``N = 2H``."""
        return 2 * self.n_units

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each parameter, in the order of the flat parameter vector."""
        rows = 4 * self.n_units
        shapes: dict[str, tuple[int, ...]] = {
            "weight_ih": (rows, self.n_inputs),
            "weight_hh": (rows, self.n_units),
        }
        return shapes | dict.fromkeys(self.bias_names, (rows,))

    @property
    def bias_names(self) -> tuple[str, ...]:
        """The biases, all of which the cell adds to each of its sites."""
        return ("bias_ih", "bias_hh") if self.bias else ()

    def _joined_weight(self, params: Params) -> FloatArray:
        biases = [params[name] for name in self.bias_names]
        return join_weights(params["weight_hh"], params["weight_ih"], biases)

    def simulate_states(
        self, params: Params, inputs: FloatArray, initial: FloatArray
    ) -> FloatArray:
        """Return the states ``(B, T, N)`` for ``inputs (B, T, I)`` from ``initial (B, N)``."""
        return self._simulate(params, inputs, initial, np.empty((0, 0, 4, 0), inputs.dtype))

    def simulate_keeping(
        self, params: Params, inputs: FloatArray, initial: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Return the states and the values of the gates at each step, ``(B, T, 4, H)``."""
        kept = np.empty((*inputs.shape[:2], 4, self.n_units), inputs.dtype)
        return self._simulate(params, inputs, initial, kept), kept

    def _simulate(
        self, params: Params, inputs: FloatArray, initial: FloatArray, kept: FloatArray
    ) -> FloatArray:
        states = np.empty((*inputs.shape[:2], 2, self.n_units), inputs.dtype)
        weight = self._joined_weight(params)
        with kernel_threads(step_work(inputs, weight)):
            simulate_lstm(
                inputs,
                weight,
                share_rows(len(inputs)),
                initial.reshape(-1, 2, self.n_units),
                states,
                kept.size > 0,
                kept,
            )
        return states.reshape(*inputs.shape[:2], self.n_state)

    def weight_sites(self, params: Params, inputs: FloatArray, previous: FloatArray) -> WeightSites:
        """Return the local derivatives at ``inputs (B, T, I)``, ``previous (B, T, N)``."""
        H, n_trials, n_steps = self.n_units, *inputs.shape[:2]
        features = join_features(previous[..., :H], inputs, self.bias)
        gains = np.empty((n_trials, n_steps, 4, 2, H), features.dtype)
        carry = np.empty((n_trials, n_steps, 2, 2, H), features.dtype)
        weight = self._joined_weight(params)
        with kernel_threads(step_work(inputs, weight)):
            differentiate_lstm(
                features.reshape(n_trials * n_steps, -1),
                weight,
                previous.reshape(-1, 2, H),
                share_rows(n_trials * n_steps),
                gains.reshape(-1, 4, 2, H),
                carry.reshape(-1, 2, 2, H),
            )
        return self._sites(params, features, gains, carry)

    def sites_of_kept(
        self, params: Params, inputs: FloatArray, previous: FloatArray, kept: FloatArray
    ) -> WeightSites:
        """Return the weight sites from the gates that :meth:`simulate_keeping` kept."""
        H = self.n_units
        features = join_features(previous[..., :H], inputs, self.bias)
        gains = np.empty((*inputs.shape[:2], 4, 2, H), features.dtype)
        carry = np.empty((*inputs.shape[:2], 2, 2, H), features.dtype)
        with kernel_threads(float(kept.size)):
            differentiate_kept_lstm(
                kept.reshape(-1, 4, H),
                previous.reshape(-1, 2, H),
                share_rows(inputs.shape[0] * inputs.shape[1]),
                gains.reshape(-1, 4, 2, H),
                carry.reshape(-1, 2, 2, H),
            )
        return self._sites(params, features, gains, carry)

    def _sites(
        self, params: Params, features: FloatArray, gains: FloatArray, carry: FloatArray
    ) -> WeightSites:
        segments = segments_of(
            (self.n_units, ("weight_hh",)), (1, self.bias_names), (self.n_inputs, ("weight_ih",))
        )
        return WeightSites(
            names=("i", "f", "g", "o"),
            gains=gains,
            carry=carry,
            inner=None,
            recurrent_weight=params["weight_hh"],
            groups=(SiteGroup(features, segments, first_site=0, row_blocks=(0, 1, 2, 3)),),
        )
