"""Spectral functions at any scale: where squares leave the range, of the operator over a unit."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from .._typing import FloatArray
from .._validation import InputError
from ..results import EigenResult, Estimate, ReducedMatrix, SingularResult, SpectrumResult
from ._scale import OutOfScaleError, RescaledOperator, exponent_for, norm_of
from ._view import ProductCounter, SpectralView, as_operator, float_dtype

Result = TypeVar("Result")

_NUMBERS = {
    Estimate: ("value", "lower", "upper", "standard_error"),
    EigenResult: ("values", "residual_norms", "certificate_value", "certificate_threshold"),
    SingularResult: ("values", "residual_norms"),
    SpectrumResult: ("values",),
    ReducedMatrix: ("matrix",),
}
"""What of a result has the operator's unit."""


SPECTRUM = (1, 2)
"""Powers of an operator's unit in its eigenvalues: of A, and of ``A A*``."""

NORM = (1, 1)
"""Those in its norm and its singular values."""

NO_SCALE = (0, 0)
"""Those in its ranks."""


def at_any_scale(
    solve: Callable[..., Result],
    operators: Sequence[Any],
    powers: tuple[int, int],
    *,
    self_adjoint: bool | None = None,
    restore: Callable[[Any, int, Any], Any] | None = None,
) -> Result:
    """Return what a function finds of operators, also where their squares leave the range.

    Parameters
    ----------
    solve : callable
        Takes the operators and gives one of the result objects.
    operators : sequence
        What the user gave.
    powers : tuple of int
        Powers of each operator's unit in the result: where the operator is self-adjoint, and where
        it is not.
    self_adjoint : bool, optional
        What the user says of the operators.
    restore : callable, optional
        In the place of :func:`in_units`, for other results.

    Returns
    -------
    Estimate, EigenResult, SingularResult, SpectrumResult, ReducedMatrix or other result
        The products until the scale was known are counted in it.

    Raises
    ------
    InputError
        If the numbers of the result leave the range of its floats.
    """
    try:
        return solve(*operators)
    except OutOfScaleError as found:
        products = found.n_matvecs
    counter = ProductCounter()
    scaled = [_in_range(operator, counter) for operator in operators]
    exponent = 0
    for each in scaled:
        meant = each.self_adjoint if self_adjoint is None else self_adjoint
        exponent += each.exponent * powers[0 if meant else 1]
    result: Any = solve(*scaled)
    result = (restore or in_units)(result, exponent, scaled[0].operator)
    return dataclasses.replace(result, n_matvecs=result.n_matvecs + products + counter.columns)


def in_units(result: Any, exponent: int, operator: Any) -> Any:
    """Return a result with its numbers times ``2^exponent``."""
    if exponent == 0:
        return result
    names = _NUMBERS[type(result)]
    return dataclasses.replace(
        result, **{name: times(getattr(result, name), exponent, operator) for name in names}
    )


def times(numbers: Any, exponent: int, operator: Any) -> Any:
    """Return numbers times ``2^exponent``; the largest of them must stay in range."""
    array = np.asarray(numbers)
    largest = float(np.max(np.abs(array), initial=0.0))
    info = np.finfo(array.dtype)
    if largest > 0 and not info.minexp < math.frexp(largest)[1] + exponent < info.maxexp:
        raise InputError(
            f"The result for this {type(operator).__name__} is about 1e"
            f"{math.log10(largest) + exponent * math.log10(2):+.0f}, out of the range of "
            f"{array.dtype}. Scale inputs or parameters, or use float64; ranks and alignments, "
            "which have no scale, can be had."
        )
    scaled: FloatArray = np.ldexp(array, exponent)
    return scaled if array.ndim else float(scaled)


def _in_range(operator: Any, counter: ProductCounter) -> RescaledOperator:
    """Return an operator over the unit that brings it into range."""
    given = as_operator(operator)
    norm, products = norm_of(given, float_dtype(given))
    for _ in range(products):
        counter.add(1, None)
    scaled = RescaledOperator(given, exponent_for(norm))
    if scaled.self_adjoint is None:
        scaled.self_adjoint = SpectralView(scaled, counter=counter).self_adjoint
    return scaled
