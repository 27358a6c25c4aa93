"""The vanilla recurrent network of PyTorch's ``nn.RNN``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .._threads import single_threaded_blas
from .._typing import FloatArray, Params
from .._validation import check_choice
from ..kernels.activations import RELU, TANH
from ..kernels.rate import differentiate_rate, simulate_rate
from .base import SiteCell, input_drive, join_features, trial_chunk
from .sites import SiteGroup, WeightSites

ACTIVATIONS = {"tanh": TANH, "relu": RELU}


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

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each parameter, in the order of the flat parameter vector."""
        H = self.n_units
        shapes: dict[str, tuple[int, ...]] = {"weight_ih": (H, self.n_inputs), "weight_hh": (H, H)}
        return shapes | dict.fromkeys(self.bias_names, (H,))

    def simulate_states(
        self, params: Params, inputs: FloatArray, initial: FloatArray
    ) -> FloatArray:
        """Return the states ``(B, T, N)`` for ``inputs (B, T, I)`` from ``initial (B, N)``."""
        drive = input_drive(
            inputs, params["weight_ih"], *(params[name] for name in self.bias_names)
        )
        states = np.empty_like(drive)
        with single_threaded_blas():
            simulate_rate(
                drive,
                np.ascontiguousarray(params["weight_hh"].T),
                1.0,
                ACTIVATIONS[self.activation],
                trial_chunk(len(inputs)),
                initial,
                states,
            )
        return states

    def weight_sites(self, params: Params, inputs: FloatArray, previous: FloatArray) -> WeightSites:
        """Return the local derivatives at ``inputs (B, T, I)``, ``previous (B, T, N)``."""
        H, n_trials, n_steps = self.n_units, *inputs.shape[:2]
        a = input_drive(inputs, params["weight_ih"], *(params[name] for name in self.bias_names))
        a += previous @ params["weight_hh"].T
        gains = np.empty_like(a)
        differentiate_rate(a.ravel(), 1.0, ACTIVATIONS[self.activation], gains.ravel())
        features, segments = join_features(
            [(inputs, "weight_ih"), (previous, "weight_hh")], self.bias_names
        )
        return WeightSites(
            names=("a",),
            gains=gains.reshape(n_trials, n_steps, 1, 1, H),
            carry=np.zeros((n_trials, n_steps, 1, 1, H), a.dtype),
            inner=None,
            recurrent_weight=params["weight_hh"],
            groups=(
                SiteGroup(features=features, segments=segments, first_site=0, row_blocks=(0,)),
            ),
        )

    @property
    def bias_names(self) -> tuple[str, ...]:
        """The biases, all of which the cell adds to its one site."""
        return ("bias_ih", "bias_hh") if self.bias else ()
