"""The leaky recurrent network, in its rate and its current form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .._threads import kernel_threads, share_rows
from .._typing import FloatArray, Params
from .._validation import check_choice, check_flag, check_real
from ..kernels.activations import ACTIVATIONS
from ..kernels.current import differentiate_current, simulate_current
from ..kernels.rate import differentiate_rate, simulate_rate
from .base import SiteCell, join_features, join_weights, segments_of, step_work
from .sites import SiteGroup, WeightSites

FORMS = ("rate", "current")


@dataclass(frozen=True)
class LeakyRNN(SiteCell):
    """Leaky cell: an Euler step of length ``leak = dt / tau`` of a rate network.

    - Rate form: ``h' = (1 - leak) h + leak phi(W h + W_in x + b)``. One weight site with
      ``D = leak phi'`` and ``u = [h, 1, x]``; ``A = (1 - leak) I + diag(D) W``.
    - Current form: ``h' = (1 - leak) h + leak (W phi(h) + W_in x + b)``. One weight site with the
      constant ``D = leak`` and ``u = [phi(h), 1, x]``, so that ``K = leak^2 (V V*) kron I`` with
      ``V`` the features; ``A = (1 - leak) I + leak W diag(phi'(h))``.

    Parameters
    ----------
    n_inputs, n_units : int
        Sizes ``I`` and ``H``; the state size is ``N = H``.
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
    Parameters: ``weight_ih (H, I)``, ``weight_hh (H, H)``, ``bias (H,)``. A step costs
    ``2 H (H + I)`` flops a trial.

    Examples
    --------
    >>> import numpy as np
    >>> import kpflow_numerics as kpf
    >>> cell = kpf.LeakyRNN(n_inputs=3, n_units=8, form="current", leak=0.2)
    >>> cell.n_parameters
    96
    >>> kpf.simulate(cell, cell.init_params(rng=3), np.ones((2, 5, 3))).states.shape
    (2, 5, 8)
    """

    form: str = "rate"
    leak: float = 0.1
    activation: str = "tanh"
    bias: bool = True

    kind: ClassVar[str] = "leaky-rnn"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(self.form, "form", FORMS)
        check_real(self.leak, "leak", minimum=0.0, maximum=1.0, open_minimum=True)
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
        """The bias, if there is one."""
        return ("bias",) if self.bias else ()

    def _joined_weight(self, params: Params) -> FloatArray:
        biases = [params[name] for name in self.bias_names]
        return join_weights(params["weight_hh"], params["weight_ih"], biases)

    def simulate_states(
        self, params: Params, inputs: FloatArray, initial: FloatArray
    ) -> FloatArray:
        """Return the states ``(B, T, N)`` for ``inputs (B, T, I)`` from ``initial (B, N)``."""
        states = np.empty((*inputs.shape[:2], self.n_units), inputs.dtype)
        weight = self._joined_weight(params)
        run = simulate_rate if self.form == "rate" else simulate_current
        with kernel_threads(step_work(inputs, weight)):
            run(
                inputs,
                weight,
                float(self.leak),
                ACTIVATIONS[self.activation],
                share_rows(len(inputs)),
                initial,
                states,
            )
        return states

    def weight_sites(self, params: Params, inputs: FloatArray, previous: FloatArray) -> WeightSites:
        """Return the local derivatives at ``inputs (B, T, I)``, ``previous (B, T, N)``."""
        shape = (*inputs.shape[:2], 1, 1, self.n_units)
        features = join_features(previous, inputs, self.bias)
        rows = features.reshape(shape[0] * shape[1], -1)
        weight = self._joined_weight(params)
        activation, leak = ACTIVATIONS[self.activation], float(self.leak)
        inner = None
        if self.form == "rate":
            gains = np.empty(shape, features.dtype)
            with kernel_threads(step_work(inputs, weight)):
                differentiate_rate(
                    rows,
                    weight,
                    leak,
                    activation,
                    share_rows(len(rows)),
                    gains.reshape(-1, self.n_units),
                )
        else:
            gains = np.full(shape, leak, features.dtype)
            inner = np.empty(previous.shape, features.dtype)
            with kernel_threads(step_work(inputs, weight)):
                differentiate_current(
                    activation, share_rows(len(rows)), rows, inner.reshape(-1, self.n_units)
                )
        segments = segments_of(
            (self.n_units, ("weight_hh",)), (1, self.bias_names), (self.n_inputs, ("weight_ih",))
        )
        one = features.dtype.type(1.0)
        return WeightSites(
            names=("a",),
            gains=gains,
            carry=np.full(shape, one - features.dtype.type(leak), features.dtype),
            inner=inner,
            recurrent_weight=params["weight_hh"],
            groups=(SiteGroup(features, segments, first_site=0, row_blocks=(0,)),),
        )
