"""What the computations return: frozen values that carry their error, their cost and their method.

Nothing is validated here: a result is made by the function that computed it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._typing import Array, FloatArray, Params


@dataclass(frozen=True)
class Cost:
    """What a computation takes, estimated before it runs or counted while it ran.

    Of a result it is the whole: the method's own work and that of its products, where the operator
    tells what a product costs (``product_cost``). Of other operators the products are not in it:
    ``n_matvecs`` counts them.

    Attributes
    ----------
    flops : float
        Floating-point operations.
    memory_bytes : float
        Peak of the working memory.
    """

    flops: float
    memory_bytes: float

    def __str__(self) -> str:
        return f"{_with_prefix(self.flops, 1000, 'flop')}, {format_bytes(self.memory_bytes)}"


# From bounds further apart than this share of their middle, the middle is no value to quote.
_VAGUE = 0.2


@dataclass(frozen=True, repr=False)
class Estimate:
    """A number, how well it is known, and how it was found.

    ``float`` and NumPy's functions take it as its value. Printed, ``a +- b`` is a value with its
    standard error, ``a in [b, c]`` the middle of certain bounds, and bounds that are further apart
    than a fifth of their middle are printed without it.

    Attributes
    ----------
    value : float
        The number: exact, the middle of certified bounds, or the estimate.
    lower, upper : float
        The truth lies between them: surely where `confidence` is 1, otherwise with that
        probability. Both equal `value` where it is exact to rounding.
    standard_error : float
        Standard error of `value`; 0 where nothing random entered.
    method : str
        How it was found: ``"exact"``, ``"dense"``, ``"gram"``, ``"bounds"``, ``"hutch++"``, ...
    n_matvecs : int
        Products of single columns with the operator, its adjoint or its factors.
    quantity : str
        What the number is, for people.
    recipe : str
        The recipe, where the quantity has several (effective ranks).
    confidence : float
        Probability that the interval holds the truth.
    cost : Cost or None
        What the computation took, where it is known; see :class:`Cost`.
    """

    value: float
    lower: float
    upper: float
    standard_error: float
    method: str
    n_matvecs: int
    quantity: str = ""
    recipe: str = ""
    confidence: float = 1.0
    cost: Cost | None = None

    @property
    def is_exact(self) -> bool:
        """Whether the value is exact to rounding."""
        exact = self.standard_error == 0 and self.lower == self.value == self.upper
        return exact and self.is_certified

    @property
    def is_certified(self) -> bool:
        """Whether the interval is certain: an exact value, or bounds that are not an estimate's.

        Bounds from iteratively found eigenpairs take it that none was left out, as their
        completeness certificate says.
        """
        return self.confidence == 1.0

    def __float__(self) -> float:
        return self.value

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return _as_array(np.asarray(self.value), dtype, copy)

    def _number(self) -> str:
        if self.is_exact:
            return f"{self.value:.6g}"
        if self.is_certified and self.upper - self.lower > _VAGUE * abs(self.value):
            return f"between {self.lower:.6g} and {self.upper:.6g}"
        if self.is_certified:
            return f"{self.value:.6g} in [{self.lower:.6g}, {self.upper:.6g}]"
        return with_error(self.value, self.standard_error)

    def __repr__(self) -> str:
        return f"Estimate({self._number()}, {self.method}, {self.n_matvecs} products)"

    def __str__(self) -> str:
        recipe = f" ({self.recipe})" if self.recipe else ""
        label = f"{self.quantity}{recipe}: " if self.quantity else ""
        return f"{label}{self._number()} ({self.method}, {self.n_matvecs} products)"


@dataclass(frozen=True, repr=False, eq=False)
class EigenResult:
    """Leading eigenpairs of a self-adjoint operator, or of ``A A*`` for any other operator A.

    Attributes
    ----------
    values : ndarray, shape (k,)
        Eigenvalues, descending. Fewer than were asked for when the method found fewer;
        `converged` is then False.
    vectors : ndarray, shape (n, k)
        Orthonormal eigenvectors, a column each.
    residual_norms : ndarray, shape (k,)
        ``|A v - value v|`` for each pair, from products of the operator itself, not a recurrence.
        After a refinement in the domain of a factor some are upper bounds, and all of them
        together are what a random combination of the pairs has confirmed, to a factor of two.
    converged : bool
        Whether all pairs asked for are there and each residual is at most `tolerance` times the
        norm of the operator.
    complete : bool
        Whether no larger eigenvalue was left out, as far as the certificate can see. A result
        with ``complete=False`` is wrong, however small its residuals are.
    n_matvecs : int
        Products of single columns with the operator, its adjoint or its factors, also with those
        of a coarse operator in ``float32``.
    method : str
        The solver that ran; several where one went on from what another had found.
    certificate_value, certificate_threshold : float
        Largest Ritz value of the operator with the found vectors deflated, and the number that it
        must not exceed. NaN where the whole spectrum was computed and no certificate is needed.
    tolerance : float
        Relative tolerance on the residuals.
    cost : Cost or None
        What the computation took, where it is known; see :class:`Cost`.
    """

    values: FloatArray
    vectors: FloatArray
    residual_norms: FloatArray
    converged: bool
    complete: bool
    n_matvecs: int
    method: str
    certificate_value: float = math.nan
    certificate_threshold: float = math.nan
    tolerance: float = math.nan
    cost: Cost | None = None

    def __repr__(self) -> str:
        return (
            f"EigenResult({_pairs(self.values, 'eigenpair')} of n={self.vectors.shape[0]}, "
            f"{_verdict(self.converged, self.complete)}, {self.method}, {self.n_matvecs} products)"
        )


@dataclass(frozen=True, repr=False, eq=False)
class SingularResult:
    """Extreme singular triplets ``A right = values left`` of an operator.

    Attributes
    ----------
    left : ndarray, shape (n, k)
        Orthonormal left singular vectors, a column each.
    values : ndarray, shape (k,)
        Singular values: descending for the largest, ascending for the smallest.
    right : ndarray, shape (p, k)
        Orthonormal right singular vectors, a column each.
    residual_norms : ndarray, shape (k,)
        ``sqrt(|A v - s u|^2 + |A* u - s v|^2)`` for each triplet.
    converged, complete, n_matvecs, method, tolerance, cost
        As in :class:`EigenResult`.
    certificate_value, certificate_threshold : float
        As in :class:`EigenResult`, for the eigenvalues ``values**2`` of ``A* A`` or ``A A*`` (of
        the inverse's for the smallest singular values).
    """

    left: FloatArray
    values: FloatArray
    right: FloatArray
    residual_norms: FloatArray
    converged: bool
    complete: bool
    n_matvecs: int
    method: str
    certificate_value: float = math.nan
    certificate_threshold: float = math.nan
    tolerance: float = math.nan
    cost: Cost | None = None

    def __repr__(self) -> str:
        shape = (self.left.shape[0], self.right.shape[0])
        return (
            f"SingularResult({_pairs(self.values, 'triplet')} of {shape[0]}x{shape[1]}, "
            f"{_verdict(self.converged, self.complete)}, {self.method}, {self.n_matvecs} products)"
        )


@dataclass(frozen=True, repr=False, eq=False)
class SpectrumResult:
    """The whole spectrum of an operator. NumPy's functions take it as the array of its values.

    Attributes
    ----------
    values : ndarray, shape (n,)
        All eigenvalues, descending; of ``A A*`` where the operator A is not self-adjoint.
    method : str
        How they were found.
    n_matvecs : int
        Products of single columns with the operator, its adjoint or its factors.
    cost : Cost or None
        What the computation took, where it is known; see :class:`Cost`.
    """

    values: FloatArray
    method: str
    n_matvecs: int
    cost: Cost | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the values."""
        return self.values.shape

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return _as_array(self.values, dtype, copy)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: Any) -> Any:
        return self.values[index]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.values)

    def __repr__(self) -> str:
        return (
            f"SpectrumResult({_pairs(self.values, 'eigenvalue')}, {self.method}, "
            f"{self.n_matvecs} products)"
        )


@dataclass(frozen=True, repr=False, eq=False)
class ReducedMatrix:
    """An operator on ``(trial, time, unit)`` reduced to a matrix on the axes that were kept.

    NumPy's functions take it as the array of its entries.

    Attributes
    ----------
    matrix : ndarray, shape (d, d)
        The matrix; `d` is the product of the kept axes' lengths, in C order.
    over : tuple of str
        The axes that were reduced.
    kept : tuple of str
        The axes that remain.
    quantity : str
        ``"partial trace"`` or ``"uniform projection"``.
    method : str
        How it was found.
    n_matvecs : int
        Products of single columns with the operator, its adjoint or its factors.
    cost : Cost or None
        What the computation took, where it is known; see :class:`Cost`.
    """

    matrix: FloatArray
    over: tuple[str, ...]
    kept: tuple[str, ...]
    quantity: str
    method: str
    n_matvecs: int
    cost: Cost | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the matrix."""
        return self.matrix.shape

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return _as_array(self.matrix, dtype, copy)

    def __len__(self) -> int:
        return len(self.matrix)

    def __getitem__(self, index: Any) -> Any:
        return self.matrix[index]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.matrix)

    def __repr__(self) -> str:
        over = ", ".join(self.over) or "nothing"
        kept = ", ".join(self.kept) or "nothing"
        size = "x".join(str(length) for length in self.shape)
        return (
            f"ReducedMatrix({self.quantity} over {over}; {size} on {kept}, "
            f"{self.method}, {self.n_matvecs} products)"
        )


@dataclass(frozen=True, repr=False, eq=False)
class Checkpoint:
    """A network during training, with all that is needed to go on from there to the same bits.

    Attributes
    ----------
    iteration : int
        Number of updates made so far.
    params : dict of str to ndarray
        The cell's parameters.
    readout : dict of str to ndarray
        The readout's: ``weight (O, H)`` and ``bias (O,)``.
    loss : float
        Training loss at these parameters, on the batch of this iteration.
    evaluation_loss, accuracy : float
        Loss and accuracy at these parameters on the evaluation batch, which is without noise.
    gradient_norm : float
        Norm of the gradient of `loss` by all parameters, before clipping.
    optimizer_state : dict of str to ndarray
        What the optimiser keeps between updates, under flat names such as
        ``"first_moment/weight_hh"``.
    rng_state : str
        Where the random numbers stand before the batch of this iteration is drawn, as JSON.
    """

    iteration: int
    params: Params
    readout: Params
    loss: float
    evaluation_loss: float
    accuracy: float
    gradient_norm: float
    optimizer_state: dict[str, FloatArray]
    rng_state: str

    def __repr__(self) -> str:
        return (
            f"Checkpoint(iteration {self.iteration}: loss {self.loss:.4g}, evaluation loss "
            f"{self.evaluation_loss:.4g}, accuracy {self.accuracy:.4g})"
        )


@dataclass(frozen=True)
class Check:
    """One identity of the mathematics, and how well it holds on a network.

    Attributes
    ----------
    name : str
        What was checked.
    formula : str
        The identity, in the symbols of the mathematics.
    error : float
        How far it is from holding; NaN where a number overflowed.
    threshold : float
        What the error must not exceed.
    passed : bool
        Whether it holds.
    explanation : str
        One sentence: how the error was measured.
    """

    name: str
    formula: str
    error: float
    threshold: float
    passed: bool
    explanation: str


@dataclass(frozen=True)
class ValidationReport:
    """Every identity of the mathematics, checked on one network.

    Attributes
    ----------
    checks : tuple of Check
        The checks, in the order in which they were made.
    passed : bool
        Whether all of them passed.
    title : str
        Which network, on how many trials and steps.
    notes : tuple of str
        What was left out, and why.
    """

    checks: tuple[Check, ...]
    passed: bool
    title: str = ""
    notes: tuple[str, ...] = ()

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if not check.passed)

    def __str__(self) -> str:
        n_passed = len(self.checks) - len(self.failed)
        verdict = f"{n_passed} of {len(self.checks)} checks passed"
        header = ("check", "formula", "error", "threshold", "")
        rows = [
            (
                check.name,
                check.formula,
                f"{check.error:.1e}",
                f"{check.threshold:.1e}",
                "passed" if check.passed else "FAILED",
            )
            for check in self.checks
        ]
        widths = [max(len(row[column]) for row in (header, *rows)) for column in range(4)]
        lines = [f"{self.title}: {verdict}" if self.title else verdict, ""]
        lines += [
            f"{name:<{widths[0]}}  {formula:<{widths[1]}}  {error:>{widths[2]}}  "
            f"{threshold:>{widths[3]}}  {outcome}".rstrip()
            for name, formula, error, threshold, outcome in (header, *rows)
        ]
        reasons = [f"FAILED {check.name}: {check.explanation}" for check in self.failed]
        remarks = [*reasons, *(f"Note: {note}" for note in self.notes)]
        return "\n".join([*lines, "", *remarks] if remarks else lines)


def format_bytes(n_bytes: float) -> str:
    """Return a number of bytes for people.

    Examples
    --------
    >>> format_bytes(3 * 2**30)
    '3 GiB'
    """
    return _with_prefix(n_bytes, 1024, "B")


def _with_prefix(number: float, base: int, unit: str) -> str:
    for prefix in ("", "k", "M", "G", "T", "P"):
        if abs(number) < base or prefix == "P":
            break
        number /= base
    if base == 1024 and prefix:
        prefix = prefix.upper() + "i"
    return f"{number:.3g} {prefix}{unit}"


def with_error(value: float, error: float) -> str:
    """Return a number with its standard error for people; alone, where there is none.

    Examples
    --------
    >>> with_error(1.25817, 0.0013)
    '1.258 +- 0.001'
    """
    if math.isnan(error):
        return f"{value:.4g} (error unknown)"
    if not 0 < error < math.inf or not 1e-3 <= abs(value) < 1e7:
        return f"{value:.4g} +- {error:.1g}"
    decimals = max(0, -math.floor(math.log10(error)))
    return f"{value:.{decimals}f} +- {error:.1g}"


def _pairs(values: FloatArray, noun: str) -> str:
    count = len(values)
    if count == 0:
        return f"0 {noun}s"
    if count == 1:
        return f"1 {noun} {values[0]:.4g}"
    return f"{count} {noun}s {values[0]:.4g} ... {values[-1]:.4g}"


def _verdict(converged: bool, complete: bool) -> str:
    return f"{'converged' if converged else 'NOT converged'}, {'' if complete else 'NOT '}complete"


def _as_array(values: FloatArray, dtype: Any, copy: bool | None) -> Array:
    array = values if dtype is None else np.asarray(values, dtype=dtype)
    if copy is False and array is not values:
        raise ValueError(f"Values of {values.dtype} cannot be given as {dtype} without a copy.")
    return array.copy() if copy and array is values else array
