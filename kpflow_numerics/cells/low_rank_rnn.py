"""The recurrent network whose recurrent weights are a product of two thin factors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .._threads import kernel_threads, share_rows
from .._typing import DTypeLike, FloatArray, Params, RNGLike
from .._validation import (
    InputError,
    check_choice,
    check_dtype,
    check_flag,
    check_integer,
    check_real,
)
from ..kernels.activations import ACTIVATIONS
from ..kernels.current import differentiate_current
from ..kernels.low_rank import simulate_low_rank
from ..kernels.rate import differentiate_rate
from .base import StructuredCell, join_features, join_weights, segments_of, step_work
from .leaky_rnn import FORMS
from .low_rank_sites import LowRankSites
from .sites import SiteGroup, WeightSites


@dataclass(frozen=True)
class LowRankRNN(StructuredCell):
    """Leaky cell with recurrent weights ``W = M N*`` of rank r, whose factors are trained.

    - Rate form: ``h' = (1 - leak) h + leak phi(M N* h + W_in x + b)``;
    - current form: ``h' = (1 - leak) h + leak (M N* phi(h) + W_in x + b)``.

    The default leak of 1 makes the rate form a vanilla cell with one bias. The recurrent part of
    every product costs ``O(H r)`` instead of ``O(H^2)``: W is never made.

    Parameters
    ----------
    n_inputs, n_units : int
        Sizes ``I`` and ``H``; the state size is ``N = H``.
    rank : int
        Columns ``r`` of the factors, at most ``H``.
    form : {"rate", "current"}
        Whether ``phi`` is applied after or before the recurrent weights.
    leak : float
        Step over time constant, above 0 and at most 1.
    activation : {"tanh", "relu"}
        The function ``phi``. The derivative of relu at 0 is taken as 0.
    bias : bool
        Whether the one bias exists.

    Notes
    -----
    Parameters: ``weight_ih (H, I)``, ``left (H, r)`` for M, ``right (H, r)`` for N, ``bias (H,)``.
    M, the input weights and the bias act through one weight site with the features
    ``[N* g, 1, x]``, where g is h or ``phi(h)``; N does not, so that K couples units:

        ``K[bt, b't'] = D (V V*)[bt, b't'] D' + (G G*)[bt, b't'] D M M* D'``

    with the features V, what N multiplies G, and the diagonal gains D at ``bt``, D' at ``b't'``.
    Trace, norm and partial traces of K have closed forms; its spectrum has none. A product with K
    costs ``B T H k (4 m + 8 r)`` flops for ``m = r + 1 + I`` features.

    References
    ----------
    Mastrogiuseppe and Ostojic (2018), Neuron 99, 609: networks of this form.

    Examples
    --------
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> cell = kpf.LowRankRNN(n_inputs=3, n_units=8, rank=2)
    >>> cell.n_parameters
    64
    >>> kpf.simulate(cell, cell.init_params(rng=3), np.ones((2, 5, 3))).states.shape
    (2, 5, 8)
    """

    rank: int = 1
    form: str = "rate"
    leak: float = 1.0
    activation: str = "tanh"
    bias: bool = True

    kind: ClassVar[str] = "low-rank-rnn"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_integer(self.rank, "rank")
        if self.rank > self.n_units:
            raise InputError(
                f"rank must be at most n_units={self.n_units}, the rank of any recurrent weights; "
                f"got {self.rank}. Use a LeakyRNN for weights without structure."
            )
        check_choice(self.form, "form", FORMS)
        check_real(self.leak, "leak", minimum=0.0, maximum=1.0, open_minimum=True)
        check_choice(self.activation, "activation", ACTIVATIONS)
        check_flag(self.bias, "bias")

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each parameter, in the order of the flat parameter vector."""
        H = self.n_units
        factor = (H, self.rank)
        shapes = {"weight_ih": (H, self.n_inputs), "left": factor, "right": factor}
        return shapes | dict.fromkeys(self._bias_names, (H,))

    @property
    def _bias_names(self) -> tuple[str, ...]:
        return ("bias",) if self.bias else ()

    def init_params(
        self, gain: float = 1.0, rng: RNGLike = 0, dtype: DTypeLike = np.float64
    ) -> Params:
        """Draw parameters: input weights and bias as PyTorch does, uniform in ``+-1/sqrt(H)``.

        The factors are uniform in ``+-(3 / (H r))^(1/4)``, so that the entries of ``M N*`` have
        the variance ``1 / (3 H)`` of PyTorch's recurrent weights, and its spectrum about their
        radius ``1/sqrt(3)``. Its largest singular value is larger, about ``sqrt(H / (3 r))``.

        Parameters
        ----------
        gain : float
            Scale of ``left`` alone, and so of ``W``: the paper's ``g``.
        rng : int, SeedSequence or Generator
            Source of the random numbers. The draws are the same for both precisions.
        dtype : dtype_like
            ``float64`` or ``float32``.

        Returns
        -------
        dict of str to ndarray
        """
        params = super().init_params(1.0, rng, np.float64)
        gain = check_real(gain, "gain", minimum=0.0)
        scale = (3.0 / (self.n_units * self.rank)) ** 0.25 * np.sqrt(self.n_units)
        params["left"] *= gain * scale
        params["right"] *= scale
        checked = check_dtype(dtype)
        return {name: value.astype(checked, copy=False) for name, value in params.items()}

    def _joined_weight(self, params: Params) -> FloatArray:
        biases = [params[name] for name in self._bias_names]
        return join_weights(params["left"], params["weight_ih"], biases)

    def simulate_states(
        self, params: Params, inputs: FloatArray, initial: FloatArray
    ) -> FloatArray:
        """Return the states ``(B, T, N)`` for ``inputs (B, T, I)`` from ``initial (B, N)``."""
        states = np.empty((*inputs.shape[:2], self.n_units), inputs.dtype)
        weight = self._joined_weight(params)
        with kernel_threads(step_work(inputs, weight) + step_work(inputs, params["right"])):
            simulate_low_rank(
                inputs,
                weight,
                np.ascontiguousarray(params["right"]),
                self.form == "rate",
                float(self.leak),
                ACTIVATIONS[self.activation],
                share_rows(len(inputs)),
                initial,
                states,
            )
        return states

    def local_derivatives(
        self, params: Params, inputs: FloatArray, previous: FloatArray
    ) -> LowRankSites:
        """Return the local derivatives at ``inputs (B, T, I)``, ``previous (B, T, N)``."""
        H = self.n_units
        shape = (*inputs.shape[:2], 1, 1, H)
        n_rows = shape[0] * shape[1]
        activation, leak = ACTIVATIONS[self.activation], float(self.leak)
        weight = self._joined_weight(params)
        left, right = (np.ascontiguousarray(params[name]) for name in ("left", "right"))
        read, inner = previous, None
        if self.form == "current":
            read, inner = previous.copy(), np.empty(previous.shape, previous.dtype)
            with kernel_threads(step_work(inputs, weight)):
                differentiate_current(
                    activation, share_rows(n_rows), read.reshape(-1, H), inner.reshape(-1, H)
                )
        features = join_features(read @ right, inputs, self.bias)
        gains = np.full(shape, leak, features.dtype)
        if self.form == "rate":
            with kernel_threads(step_work(inputs, weight)):
                differentiate_rate(
                    features.reshape(n_rows, -1),
                    weight,
                    leak,
                    activation,
                    share_rows(n_rows),
                    gains.reshape(n_rows, H),
                )
        segments = segments_of(
            (self.rank, ("left",)), (1, self._bias_names), (self.n_inputs, ("weight_ih",))
        )
        carry = features.dtype.type(1.0) - features.dtype.type(leak)
        site = WeightSites(
            names=("a",),
            gains=gains,
            carry=np.full(shape, carry, features.dtype),
            inner=inner,
            recurrent_weight=np.empty((0, H), features.dtype),
            groups=(SiteGroup(features, segments, first_site=0, row_blocks=(0,)),),
        )
        return LowRankSites(site, read, left, right, float(carry))
