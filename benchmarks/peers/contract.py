"""What a peer must offer, and the problem that all of them are given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

PRODUCTS = ("P", "P*", "K", "NTK")
GATES = {"vanilla-rnn": 1, "gru": 3, "lstm": 4}


@dataclass(frozen=True)
class Problem:
    """A network and its trials, the same for everyone: at initialisation, or from a file.

    Parameters
    ----------
    saved : str
        An ``.npz`` file of the parameters and of ``inputs (B, T, I)``.
    """

    cell: str
    trials: int
    steps: int
    units: int
    inputs: int = 3
    seed: int = 7
    saved: str = ""

    @property
    def n_state(self) -> int:
        return self.units * (2 if self.cell == "lstm" else 1)

    def parameters(self, dtype: str = "float64") -> dict[str, np.ndarray]:
        """Return parameters with the names, shapes and gate order of PyTorch."""
        if self.saved:
            with np.load(self.saved) as arrays:
                return {name: arrays[name].astype(dtype) for name in arrays if name != "inputs"}
        rng = np.random.default_rng(self.seed)
        rows, bound = GATES[self.cell] * self.units, self.units**-0.5
        shapes: dict[str, tuple[int, ...]] = {
            "weight_ih": (rows, self.inputs),
            "weight_hh": (rows, self.units),
            "bias_ih": (rows,),
            "bias_hh": (rows,),
        }
        return {
            name: rng.uniform(-bound, bound, shape).astype(dtype) for name, shape in shapes.items()
        }

    def input_array(self, dtype: str = "float64") -> np.ndarray:
        """Return inputs ``(B, T, I)``."""
        if self.saved:
            with np.load(self.saved) as arrays:
                return arrays["inputs"].astype(dtype)
        rng = np.random.default_rng(self.seed + 1)
        return rng.standard_normal((self.trials, self.steps, self.inputs)).astype(dtype)

    def block(self, k: int, dtype: str = "float64") -> np.ndarray:
        """Return what the operators multiply, ``(B, T, N, k)``."""
        rng = np.random.default_rng(self.seed + 2)
        return rng.standard_normal((self.trials, self.steps, self.n_state, k)).astype(dtype)

    def readout(self, dtype: str = "float64") -> dict[str, np.ndarray]:
        """Return a readout with as many outputs as there are inputs."""
        rng = np.random.default_rng(self.seed + 3)
        weight = rng.standard_normal((self.inputs, self.units)) * self.units**-0.5
        return {"weight": weight.astype(dtype), "bias": np.zeros(self.inputs, dtype)}

    def targets(self, dtype: str = "float64") -> np.ndarray:
        """Return wanted outputs ``(B, T, O)``."""
        rng = np.random.default_rng(self.seed + 4)
        return rng.standard_normal((self.trials, self.steps, self.inputs)).astype(dtype)


class Peer(Protocol):
    """A way to the products, made once for a problem and a precision; making it is not timed."""

    def __init__(self, problem: Problem, dtype: str) -> None: ...

    def product(self, name: str) -> Callable[[Any], Any]:
        """Return a function of a block in the peer's own layout; it returns when it is done."""

    def to_native(self, block: np.ndarray) -> Any:
        """Turn a block ``(B, T, N, k)`` into the peer's own layout and kind of array."""

    def to_numpy(self, native: Any) -> np.ndarray:
        """Turn it back into ``(B, T, N, k)``."""

    def training_step(self) -> Callable[[], dict[str, np.ndarray]]:
        """Return a function that gives the gradient of the mean squared error by the parameters."""
