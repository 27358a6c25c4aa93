"""Operators whose squares leave the range of their floats, at a scale where they do not.

Solvers and estimators square what they are given: in float32 that vanishes below 1e-19 and is
infinite above 1e19. An operator beyond that is divided by a power of two, which rounds nothing.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator, aslinearoperator

from .._typing import Array, FloatArray
from .._validation import InputError
from ..results import Cost

SCALE_PRODUCTS = 4
"""Most products that it takes to find a scale."""

_SEED = 20_260_102
_SHIFTS = (0.0, 0.375, 0.75, 0.9375)

EXACT_POWERS = {
    "trace": (1, 2),
    "trace_bounds": (1, 2),
    "frobenius_norm": (1, 1),
    "participation_ratio_bounds": (0, 0),
}
"""Powers of A's unit in a closed form: where A is self-adjoint, and where ``A A*`` is meant."""


class OutOfScaleError(InputError):
    """The squares of an operator leave the range of its floats.

    Attributes
    ----------
    n_matvecs : int
        Products made until then.
    """

    def __init__(self, message: str, n_matvecs: int) -> None:
        super().__init__(message)
        self.n_matvecs = n_matvecs


def largest_scale(dtype: np.dtype[Any]) -> float:
    """Return the norm up to which squares may be taken, also of what is eps of it.

    Its inverse is the smallest: 1e12 and 1e-12 in float32, 1e138 and 1e-138 in float64.
    """
    info = np.finfo(dtype)
    return math.ldexp(float(info.eps), (int(info.maxexp) - 1) // 2 + 1)


def is_usable(quantity: str, value: Any) -> bool:
    """Return whether what a closed form gave has neither overflown nor vanished.

    Not so for zero, which an operator that is not zero gives where its squares vanish.
    """
    array = np.asarray(value)
    largest = float(np.max(np.abs(array), initial=0.0))
    if quantity == "frobenius_norm":
        largest = largest**2 if largest < 1e200 else math.inf
    info = np.finfo(array.dtype if array.dtype.kind == "f" else np.float64)
    return math.isfinite(largest) and largest >= 2.0**20 * float(info.tiny)


def norm_of(operator: LinearOperator, dtype: np.dtype[Any]) -> tuple[float, int]:
    """Return about the Frobenius norm of an operator, at whatever scale, and the products made.

    From a vector of random signs z: ``E |A z|^2 = |A|_F^2``. Where ``A z`` leaves the range of the
    floats a multiple of z is tried. Infinite where all of them do.
    """
    info = np.finfo(dtype)
    signs = np.random.default_rng(_SEED).integers(0, 2, (operator.shape[1], 1))
    z = (2 * signs - 1).astype(dtype)
    norm, direction = 0.0, 0
    for number, share in enumerate(_SHIFTS, 1):
        shift = direction * int(share * int(info.maxexp))
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            image = np.asarray(operator.matmat(np.ldexp(z, shift)), dtype=dtype)
        largest = float(np.max(np.abs(image)))
        if math.isfinite(largest):
            size = largest * float(np.linalg.norm((image / (largest or 1.0)).astype(np.float64)))
            norm = max(norm, _shifted(size, -shift))
        if math.isfinite(largest) and largest >= float(info.tiny) / float(info.eps):
            return norm, number
        direction = direction or (1 if math.isfinite(largest) else -1)
    return (norm if direction > 0 else math.inf), number


def exponent_for(norm: float) -> int:
    """Return a multiple of 4 near the binary exponent of a norm, 0 where that is no number."""
    return 4 * round(math.log2(norm) / 4) if 0 < norm < math.inf else 0


def _shifted(number: float, exponent: int) -> float:
    try:
        return math.ldexp(number, exponent)
    except OverflowError:
        return math.inf


class RescaledOperator(LinearOperator):
    """An operator over ``2^exponent``, with what the operator says of itself.

    Half of the exponent goes to the vectors before a product, half after it: what is between, in an
    operator that is a product itself, stays in range too.

    Parameters
    ----------
    operator : LinearOperator
        The operator.
    exponent : int
        A multiple of 2, and of 4 where there is a factor.
    self_adjoint : bool, optional
        Whether it is self-adjoint; by default what the operator says, if anything.
    """

    def __init__(
        self, operator: LinearOperator, exponent: int, *, self_adjoint: bool | None = None
    ) -> None:
        super().__init__(np.dtype(operator.dtype), operator.shape)
        self.operator = operator
        self.exponent = exponent
        if self_adjoint is None:
            self_adjoint = getattr(operator, "self_adjoint", None)
        self.self_adjoint = self_adjoint
        for name in ("positive_semidefinite", "n_blocks", "dims", "dimsd"):
            if hasattr(operator, name):
                setattr(self, name, getattr(operator, name))
        for quantity in EXACT_POWERS:
            if hasattr(operator, f"exact_{quantity}"):
                setattr(self, f"exact_{quantity}", partial(self._exact, quantity))

    @property
    def factor(self) -> RescaledOperator | None:
        """The operator's factor over the root of the unit."""
        return self._relative("factor", self.exponent // 2)

    @property
    def gram(self) -> RescaledOperator | None:
        """The operator's ``A A*`` over the square of the unit."""
        return self._relative("gram", 2 * self.exponent)

    @property
    def inverse(self) -> RescaledOperator | None:
        """The operator's inverse times the unit."""
        return self._relative("inverse", -self.exponent)

    def exact_cost(self, quantity: str, *arguments: Any) -> Cost | None:
        """Return what a closed form takes, as the operator says."""
        tell = getattr(self.operator, "exact_cost", None)
        if tell is None or not hasattr(self, f"exact_{quantity}"):
            return None
        cost: Cost | None = tell(quantity, *arguments)
        return cost

    def exact_inner_product_cost(self, other: Any) -> Cost | None:
        """Return what the closed form of ``tr(A B)`` takes, or None where there is none."""
        estimate = getattr(self.operator, "exact_inner_product_cost", None)
        cost: Cost | None = None if estimate is None else estimate(original(other))
        return cost

    def exact_inner_product(self, other: Any) -> float | None:
        """Return ``tr(A B)`` over both units, where it is in closed form and in range."""
        value = self.operator.exact_inner_product(original(other))
        if value is None or not is_usable("inner_product", value):
            return None
        exponent = other.exponent if isinstance(other, RescaledOperator) else 0
        return _shifted(float(value), -self.exponent - exponent)

    def product_cost(self, k: int = 1) -> Cost | None:
        """Return what a block product takes, with the scaled copies of the blocks."""
        tell = getattr(self.operator, "product_cost", None)
        cost: Cost | None = None if tell is None else tell(k)
        if cost is None:
            return None
        entries = float(sum(self.shape)) * k
        return Cost(cost.flops + entries, cost.memory_bytes + entries * self.dtype.itemsize)

    def _relative(self, name: str, exponent: int) -> RescaledOperator | None:
        other = getattr(self.operator, name, None)
        return None if other is None else RescaledOperator(aslinearoperator(other), exponent)

    def _exact(self, quantity: str, *arguments: Any) -> Any:
        value = getattr(self.operator, f"exact_{quantity}")(*arguments)
        if value is None:
            return None
        power = EXACT_POWERS[quantity][0 if self.self_adjoint else 1]
        if power and not is_usable(quantity, value):
            return None
        scaled = np.ldexp(np.asarray(value, np.float64), -power * self.exponent)
        return tuple(scaled.tolist()) if scaled.ndim else float(scaled)

    def _scaled_product(self, multiply: Any, X: Array) -> FloatArray:
        half = -self.exponent // 2
        image: FloatArray = np.ldexp(multiply(np.ldexp(np.asarray(X, self.dtype), half)), half)
        return image

    def _matmat(self, X: Array) -> FloatArray:
        return self._scaled_product(self.operator.matmat, X)

    def _rmatmat(self, X: Array) -> FloatArray:
        return self._scaled_product(self.operator.rmatmat, X)

    def _matvec(self, x: Array) -> FloatArray:
        return self._matmat(x.reshape(-1, 1))[:, 0]

    def _rmatvec(self, x: Array) -> FloatArray:
        return self._rmatmat(x.reshape(-1, 1))[:, 0]

    def _adjoint(self) -> LinearOperator:
        return RescaledOperator(self.operator.H, self.exponent, self_adjoint=self.self_adjoint)


def original(operator: Any) -> Any:
    """Return the operator that the user gave."""
    return operator.operator if isinstance(operator, RescaledOperator) else operator
