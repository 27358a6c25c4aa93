"""The vanilla recurrent network of PyTorch's ``nn.RNN``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .._threads import kernel_threads, share_rows
from .._typing import FloatArray, Params
from .._validation import check_choice, check_flag
from ..kernels.activations import ACTIVATIONS
from ..kernels.rate import differentiate_rate, differentiate_values, simulate_rate
from .base import SiteCell, join_features, join_weights, segments_of, step_work
from .sites import SiteGroup, WeightSites


@dataclass(frozen=True)
class VanillaRNN(SiteCell):
    """Vanilla cell ``h_t = phi(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh)``.

    One weight site, ``D = phi'``, ``u = [x, h_prev, 1, 1]``; ``A_t = diag(D_t) W_hh``.

    Parameters
    ----------
    n_inputs, n_units : int
        Sizes ``I`` and ``H``; the state size is ``N = H``.
    activation : {"tanh", "relu"}
        The function ``phi``. The derivative of relu at 0 is taken as 0.
    bias : bool
        Whether the two biases exist.

    Notes
    -----
    Parameters, as in PyTorch: ``weight_ih (H, I)``, ``weight_hh (H, H)``, ``bias_ih (H,)``,
    ``bias_hh (H,)``. A step costs ``2 H (H + I)`` flops a trial.

    Examples
    --------
    >>> import kpflow_numerics as kpf
    >>> cell = kpf.VanillaRNN(n_inputs=3, n_units=8, activation="relu")
    >>> cell.n_parameters
    104
    """

    activation: str = "tanh"
    bias: bool = True

    kind: ClassVar[str] = "vanilla-rnn"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(self.activation, "activation", ACTIVATIONS)
        check_flag(self.bias, "bias")

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each parameter, in the order of the flat parameter vector."""
        H = self.n_units
        shapes: dict[str, tuple[int, ...]] = {"weight_ih": (H, self.n_inputs), "weight_hh": (H, H)}
        return shapes | dict.fromkeys(self.bias_names, (H,))

    @property
    def bias_names(self) -> tuple[str, ...]:
        """The biases, all of which the cell adds to its one site."""
        return ("bias_ih", "bias_hh") if self.bias else ()

    def _joined_weight(self, params: Params) -> FloatArray:
        biases = [params[name] for name in self.bias_names]
        return join_weights(params["weight_hh"], params["weight_ih"], biases)

    def simulate_states(
        self, params: Params, inputs: FloatArray, initial: FloatArray
    ) -> FloatArray:
        """Return the states ``(B, T, N)`` for ``inputs (B, T, I)`` from ``initial (B, N)``."""
        states = np.empty((*inputs.shape[:2], self.n_units), inputs.dtype)
        weight = self._joined_weight(params)
        with kernel_threads(step_work(inputs, weight)):
            simulate_rate(
                inputs,
                weight,
                1.0,
                ACTIVATIONS[self.activation],
                share_rows(len(inputs)),
                initial,
                states,
            )
        return states

    def simulate_keeping(
        self, params: Params, inputs: FloatArray, initial: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Return the states twice: the derivative of the activation follows from its value."""
        states = self.simulate_states(params, inputs, initial)
        return states, states

    def weight_sites(self, params: Params, inputs: FloatArray, previous: FloatArray) -> WeightSites:
        """Return the local derivatives at ``inputs (B, T, I)``, ``previous (B, T, N)``."""
        features = join_features(previous, inputs, self.bias)
        n_rows = inputs.shape[0] * inputs.shape[1]
        gains = np.empty((*inputs.shape[:2], 1, 1, self.n_units), features.dtype)
        weight = self._joined_weight(params)
        with kernel_threads(step_work(inputs, weight)):
            differentiate_rate(
                features.reshape(n_rows, -1),
                weight,
                1.0,
                ACTIVATIONS[self.activation],
                share_rows(n_rows),
                gains.reshape(-1, self.n_units),
            )
        return self._sites(params, features, gains)

    def sites_of_kept(
        self, params: Params, inputs: FloatArray, previous: FloatArray, kept: FloatArray
    ) -> WeightSites:
        """Return the weight sites from the states at the ends of the steps."""
        features = join_features(previous, inputs, self.bias)
        gains = np.empty((*inputs.shape[:2], 1, 1, self.n_units), features.dtype)
        with kernel_threads(float(kept.size)):
            differentiate_values(
                kept.reshape(-1, self.n_units),
                ACTIVATIONS[self.activation],
                share_rows(inputs.shape[0] * inputs.shape[1]),
                gains.reshape(-1, self.n_units),
            )
        return self._sites(params, features, gains)

    def _sites(self, params: Params, features: FloatArray, gains: FloatArray) -> WeightSites:
        H = self.n_units
        segments = segments_of(
            (H, ("weight_hh",)), (1, self.bias_names), (self.n_inputs, ("weight_ih",))
        )
        return WeightSites(
            names=("a",),
            gains=gains,
            carry=np.zeros((*features.shape[:2], 1, 1, H), gains.dtype),
            inner=None,
            recurrent_weight=params["weight_hh"],
            groups=(SiteGroup(features, segments, first_site=0, row_blocks=(0,)),),
        )
