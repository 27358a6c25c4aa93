"""Operators that were pickled, as a worker process gets them."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics.operators import StructuredOperator
from tests.cases.operators import ALL_CASES, OPERATOR_CELL_CASES, OperatorCase

# The last case of each kind of cell in each precision.
CELL_CASES = {
    f"{type(case.cell).__name__} {case.trajectory().dtype}": case for case in OPERATOR_CELL_CASES
}


def assert_same(copy: StructuredOperator, operator: StructuredOperator) -> None:
    """Assert that two operators are of one kind and give the same numbers."""
    assert type(copy) is type(operator)
    assert (copy.shape, copy.dtype) == (operator.shape, operator.dtype)
    rng = np.random.default_rng(7)
    X, Y = (rng.standard_normal((n, 3)).astype(operator.dtype) for n in operator.shape[::-1])
    np.testing.assert_array_equal(copy.matmat(X), operator.matmat(X))
    np.testing.assert_array_equal(copy.rmatmat(Y), operator.rmatmat(Y))


@pytest.mark.parametrize("cell", CELL_CASES)
@pytest.mark.parametrize("case", ALL_CASES, ids=str)
def test_operators_can_be_pickled(case: OperatorCase, cell: str) -> None:
    operator = case.build(kpf.linearize(CELL_CASES[cell].trajectory()))
    assert_same(pickle.loads(pickle.dumps(operator)), operator)


def test_a_copy_of_another_operator_is_caught() -> None:
    lin = kpf.linearize(OPERATOR_CELL_CASES[0].trajectory())
    with pytest.raises(AssertionError):
        assert_same(kpf.ParameterOperator(lin, normalization="mean"), kpf.ParameterOperator(lin))
