"""What the operators refuse, and what they say then."""

from __future__ import annotations

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics._validation import InputError, InputTypeError, MemoryLimitError
from tests.cases.cells import SITE_CASES
from tests.cases.operators import ALL_CASES, OperatorCase

OPERATORS = pytest.mark.parametrize("operator_case", ALL_CASES, ids=str)


@OPERATORS
def test_the_matrix_of_a_large_operator_is_refused(operator_case: OperatorCase) -> None:
    operator = operator_case.build(SITE_CASES[0].linearization())
    entries = operator.shape[0] * operator.shape[1]
    assert operator.to_dense(max_size=entries).shape == operator.shape
    with pytest.raises(MemoryLimitError, match=f"has {entries:,} entries, more than max_size="):
        operator.to_dense(max_size=entries - 1)


@OPERATORS
def test_complex_arrays_are_refused(operator_case: OperatorCase) -> None:
    operator = operator_case.build(SITE_CASES[0].linearization())
    with pytest.raises(InputTypeError, match="is real and takes real arrays; got dtype complex128"):
        operator.apply(np.zeros(operator.dims, complex))
    with pytest.raises(InputTypeError, match="Apply it to the real and imaginary parts"):
        operator.matvec(np.zeros(operator.shape[1], complex))
    with pytest.raises(InputTypeError, match="is real and takes real arrays"):
        operator.rmatmat(np.zeros((operator.shape[0], 2), complex))


@OPERATORS
def test_wrong_shapes_are_refused(operator_case: OperatorCase) -> None:
    operator = operator_case.build(SITE_CASES[0].linearization())
    for apply, taken in (
        (operator.apply, operator.dims),
        (operator.apply_adjoint, operator.dimsd),
    ):
        for shape in ((), (*taken[:-1], taken[-1] + 1), (*taken, 2, 2), (1, *taken)):
            with pytest.raises(InputError, match=r"takes an array of shape \(.*'k'\); got"):
                apply(np.zeros(shape))
    with pytest.raises(ValueError, match="dimension mismatch"):
        operator.matvec(np.zeros(operator.shape[1] + 1))


@OPERATORS
def test_nan_reaches_the_result(operator_case: OperatorCase) -> None:
    # Products are not searched for NaN, which costs as much as a product; it must not get lost.
    operator = operator_case.build(SITE_CASES[0].linearization())
    array = np.ones(operator.dims)
    array.flat[0] = np.nan
    assert np.isnan(operator.apply(array)).any()


@OPERATORS
def test_a_trajectory_is_no_linearization(operator_case: OperatorCase) -> None:
    with pytest.raises(InputTypeError, match=r"as kpf.linearize\(trajectory\) returns it; got Tra"):
        operator_case.build(SITE_CASES[0].trajectory())


def test_unknown_normalizations_are_refused() -> None:
    with pytest.raises(InputError, match="normalization must be one of 'sum', 'mean'; got 'avg'"):
        kpf.ParameterOperator(SITE_CASES[0].linearization(), normalization="avg")
