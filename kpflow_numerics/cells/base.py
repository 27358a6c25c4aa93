"""What every cell offers, and what follows for cells that have weight sites."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from .._typing import DTypeLike, FloatArray, Params, ParamsLike, RNGLike
from .._validation import (
    InputError,
    InputTypeError,
    check_array,
    check_dtype,
    check_integer,
    check_real,
    check_rng,
    suggest,
)
from .parameters import ParameterLayout
from .sites import Segment, WeightSites


@dataclass(frozen=True)
class Cell(ABC):
    """A recurrent map ``h_t = f(x_t, h_{t-1}; theta)``.

    A cell holds sizes and settings, never parameters: those are a dict of arrays that every
    method takes. Subclasses are frozen dataclasses, so that a cell can be compared and stored.

    Parameters
    ----------
    n_inputs : int
        Number of inputs ``I``.
    n_units : int
        Number of units ``H``.
    """

    n_inputs: int
    n_units: int

    kind: ClassVar[str]

    def __post_init__(self) -> None:
        check_integer(self.n_inputs, "n_inputs")
        check_integer(self.n_units, "n_units")

    @property
    def n_state(self) -> int:
        """State size ``N``."""
        return self.n_units

    @property
    @abstractmethod
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each parameter, in the order of the flat parameter vector."""

    @property
    def layout(self) -> ParameterLayout:
        """Where each parameter stands in the flat parameter vector."""
        return ParameterLayout(self.parameter_shapes)

    @property
    def n_parameters(self) -> int:
        """Number of parameters ``p``."""
        return self.layout.size

    def settings(self) -> dict[str, Any]:
        """Return the constructor's arguments, to store the cell by name."""
        return asdict(self)

    def init_params(
        self, gain: float = 1.0, rng: RNGLike = 0, dtype: DTypeLike = np.float64
    ) -> Params:
        """Draw parameters as PyTorch does, uniform in ``+-1/sqrt(H)``.

        Parameters
        ----------
        gain : float
            Scale of ``weight_hh`` alone, the paper's ``g``.
        rng : int, SeedSequence or Generator
            Source of the random numbers. The draws are the same for both precisions.
        dtype : dtype_like
            ``float64`` or ``float32``.

        Returns
        -------
        dict of str to ndarray
        """
        gain = check_real(gain, "gain", minimum=0.0)
        dtype = check_dtype(dtype)
        generator = check_rng(rng)
        bound = 1.0 / np.sqrt(self.n_units)
        params = {}
        for name, shape in self.parameter_shapes.items():
            values = generator.uniform(-bound, bound, size=shape)
            params[name] = (gain * values if name == "weight_hh" else values).astype(dtype)
        return params

    def check_params(self, params: ParamsLike, name: str = "params") -> Params:
        """Return `params` as arrays of one precision, in the cell's order.

        Raises
        ------
        InputError
            If a parameter is missing, unknown, of the wrong shape, NaN or infinite.
        InputTypeError
            If `params` is not a mapping, or a parameter is complex or not numeric.
        """
        if not isinstance(params, Mapping):
            raise InputTypeError(
                f"{name} must map parameter names to arrays; got {type(params).__name__}."
            )
        shapes = self.parameter_shapes
        accepted = ", ".join(f"{key} {shape}" for key, shape in shapes.items())
        for key in params:
            if key not in shapes:
                raise InputError(
                    f"{name} has an entry {key!r} that {self!r} does not know; it takes "
                    f"{accepted}.{suggest(str(key), shapes)}"
                )
        for key in shapes:
            if key not in params:
                raise InputError(f"{name} lacks {key!r}; {self!r} takes {accepted}.")
        arrays = {
            key: check_array(params[key], f"{name}[{key!r}]", shape)
            for key, shape in shapes.items()
        }
        dtype = np.result_type(*arrays.values())
        return {key: array.astype(dtype, copy=False) for key, array in arrays.items()}

    @abstractmethod
    def simulate_states(
        self, params: Params, inputs: FloatArray, initial: FloatArray
    ) -> FloatArray:
        """Return the states ``(B, T, N)`` for ``inputs (B, T, I)`` from ``initial (B, N)``."""

    def simulate_keeping(
        self, params: Params, inputs: FloatArray, initial: FloatArray
    ) -> tuple[FloatArray, FloatArray | None]:
        """Return the states, and what the cell keeps of its steps for their derivatives, or None.

        What is kept begins with the axes ``(B, T)``. A cell that keeps anything derives its
        sites from it in :meth:`SiteCell.sites_of_kept`.
        """
        return self.simulate_states(params, inputs, initial), None

    @abstractmethod
    def state_jvp(
        self, params: Params, inputs: FloatArray, previous: FloatArray, block: FloatArray
    ) -> FloatArray:
        """Return ``A block`` for ``M`` points: ``(M, I), (M, N), (M, N, k) -> (M, N, k)``."""

    @abstractmethod
    def state_vjp(
        self, params: Params, inputs: FloatArray, previous: FloatArray, block: FloatArray
    ) -> FloatArray:
        """Return ``A* block`` for ``M`` points: ``(M, I), (M, N), (M, N, k) -> (M, N, k)``."""

    @abstractmethod
    def param_jvp(
        self, params: Params, inputs: FloatArray, previous: FloatArray, block: FloatArray
    ) -> FloatArray:
        """Return ``(df/dtheta) block`` for ``M`` points: ``(p, k) -> (M, N, k)``."""

    @abstractmethod
    def param_vjp(
        self, params: Params, inputs: FloatArray, previous: FloatArray, block: FloatArray
    ) -> FloatArray:
        """Return the sum over ``M`` points of ``(df/dtheta)* block``: ``(M, N, k) -> (p, k)``."""


class LocalDerivatives(Protocol):
    """Products with the derivatives of a cell along a trajectory, on blocks ``(B, T, N, k)``."""

    def state_jvp(self, block: FloatArray) -> FloatArray:
        """Return ``A_t block[:, t]`` at every step."""

    def state_vjp(self, block: FloatArray) -> FloatArray:
        """Return ``A_t* block[:, t]`` at every step."""

    def state_jacobians(self, trials: slice, steps: slice = ...) -> FloatArray:
        """Return the ``A_t`` of some trials and steps."""

    def param_jvp(self, parameters: Mapping[str, FloatArray]) -> FloatArray:
        """Return ``J v`` as a block; `parameters` have a last axis of ``k``."""

    def param_vjp(self, block: FloatArray, shapes: Mapping[str, tuple[int, ...]]) -> Params:
        """Return ``J* block`` as arrays of the parameters' shapes with a last axis of ``k``."""

    def param_gram(self, block: FloatArray, *, overwrite: bool = False) -> FloatArray:
        """Return ``J J* block``."""

    def propagate(self, block: FloatArray, *, overwrite: bool = False) -> FloatArray:
        """Return ``P block``."""

    def propagate_adjoint(self, block: FloatArray, *, overwrite: bool = False) -> FloatArray:
        """Return ``P* block``."""


class StructuredCell(Cell):
    """A cell that gives its local derivatives as an object, whose products are fused kernels.

    A subclass gives its step and :meth:`local_derivatives`; every product follows.
    """

    @abstractmethod
    def local_derivatives(
        self, params: Params, inputs: FloatArray, previous: FloatArray
    ) -> LocalDerivatives:
        """Return the local derivatives at ``inputs (B, T, I)``, ``previous (B, T, N)``."""

    def _at_points(
        self, params: Params, inputs: FloatArray, previous: FloatArray
    ) -> LocalDerivatives:
        return self.local_derivatives(params, inputs[:, None], previous[:, None])

    def state_jvp(
        self, params: Params, inputs: FloatArray, previous: FloatArray, block: FloatArray
    ) -> FloatArray:
        """Return ``A block`` for ``M`` points: ``(M, I), (M, N), (M, N, k) -> (M, N, k)``."""
        return self._at_points(params, inputs, previous).state_jvp(block[:, None])[:, 0]

    def state_vjp(
        self, params: Params, inputs: FloatArray, previous: FloatArray, block: FloatArray
    ) -> FloatArray:
        """Return ``A* block`` for ``M`` points: ``(M, I), (M, N), (M, N, k) -> (M, N, k)``."""
        return self._at_points(params, inputs, previous).state_vjp(block[:, None])[:, 0]

    def param_jvp(
        self, params: Params, inputs: FloatArray, previous: FloatArray, block: FloatArray
    ) -> FloatArray:
        """Return ``(df/dtheta) block`` for ``M`` points: ``(p, k) -> (M, N, k)``."""
        return self._at_points(params, inputs, previous).param_jvp(self.layout.unpack(block))[:, 0]

    def param_vjp(
        self, params: Params, inputs: FloatArray, previous: FloatArray, block: FloatArray
    ) -> FloatArray:
        """Return the sum over ``M`` points of ``(df/dtheta)* block``: ``(M, N, k) -> (p, k)``."""
        derivatives = self._at_points(params, inputs, previous)
        return self.layout.pack(derivatives.param_vjp(block[:, None], self.parameter_shapes))


class SiteCell(StructuredCell):
    """A cell whose weights act through sites with diagonal gains."""

    @abstractmethod
    def weight_sites(self, params: Params, inputs: FloatArray, previous: FloatArray) -> WeightSites:
        """Return the local derivatives at ``inputs (B, T, I)``, ``previous (B, T, N)``."""

    def sites_of_kept(
        self,
        params: Params,
        inputs: FloatArray,
        previous: FloatArray,
        kept: FloatArray,
    ) -> WeightSites:
        """Return the weight sites, from what :meth:`simulate_keeping` kept, which is quicker.

        A cell that keeps something must override it.
        """
        raise NotImplementedError

    def local_derivatives(
        self, params: Params, inputs: FloatArray, previous: FloatArray
    ) -> WeightSites:
        """Return the weight sites."""
        return self.weight_sites(params, inputs, previous)


def step_work(inputs: FloatArray, weight: FloatArray) -> float:
    """Return the multiplications of one pass of ``inputs (B, T, I)`` through joined weights."""
    return float(inputs.shape[0]) * inputs.shape[1] * weight.size


def join_weights(
    recurrent: FloatArray, inputs: FloatArray, biases: Sequence[FloatArray]
) -> FloatArray:
    """Return the matrix that multiplies joined features ``[h, 1, x]`` from the right.

    Parameters
    ----------
    recurrent, inputs : ndarray, shapes (R, H) and (R, I)
        Weights of ``R`` rows of pre-activations.
    biases : sequence of ndarray, shape (R,)
        Their biases, which share the column of ones; without any there is no such column.

    Returns
    -------
    ndarray, shape (m, R)
        In C order, in which products with it are faster.
    """
    n_units, n_inputs = recurrent.shape[1], inputs.shape[1]
    width = n_units + bool(biases) + n_inputs
    weight = np.empty((width, len(recurrent)), recurrent.dtype)
    weight[:n_units] = recurrent.T
    if biases:
        weight[n_units] = sum(biases[1:], start=biases[0])
    weight[width - n_inputs :] = inputs.T
    return weight


def join_features(hidden: FloatArray, inputs: FloatArray, has_bias: bool) -> FloatArray:
    """Return ``[h, 1, x]``, or ``[h, x]``, for ``(B, T, H)`` and ``(B, T, I)`` as ``(B, T, m)``."""
    n_units, n_inputs = hidden.shape[-1], inputs.shape[-1]
    width = n_units + has_bias + n_inputs
    features = np.empty((*inputs.shape[:2], width), hidden.dtype)
    features[..., :n_units] = hidden
    features[..., n_units : width - n_inputs] = 1.0
    features[..., width - n_inputs :] = inputs
    return features


def segments_of(*parts: tuple[int, tuple[str, ...]]) -> tuple[Segment, ...]:
    """Return segments of consecutive columns: each part is a width and its parameters."""
    segments, start = [], 0
    for width, parameters in parts:
        if parameters:
            segments.append(Segment(slice(start, start + width), parameters))
            start += width
    return tuple(segments)
