import dataclasses
import math

import numpy as np
import pytest

from kpflow_numerics.results import (
    Cost,
    EigenResult,
    Estimate,
    ReducedMatrix,
    SingularResult,
    SpectrumResult,
    format_bytes,
)


def eigen_result(**changes):
    fields = {
        "values": np.array([3.0, 1.0]),
        "vectors": np.eye(5)[:, :2],
        "residual_norms": np.zeros(2),
        "converged": True,
        "complete": True,
        "n_matvecs": 64,
        "method": "block-krylov",
    }
    return EigenResult(**(fields | changes))


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (
            Estimate(3.14159, 3.1376, 3.1456, 0.002, "hutch++", 60, confidence=0.95),
            "Estimate(3.142 +- 0.002, hutch++, 60 products)",
        ),
        (Estimate(8.0, 8.0, 8.0, 0.0, "exact", 0), "Estimate(8, exact, 0 products)"),
        (
            Estimate(8.15, 7.97, 8.33, 0.0, "bounds", 40),
            "Estimate(8.15 in [7.97, 8.33], bounds, 40 products)",
        ),
        (
            Estimate(6118.0, 61.0, 12175.0, 0.0, "bounds", 40),
            "Estimate(between 61 and 12175, bounds, 40 products)",
        ),
        (
            Estimate(1.5e12, 1e12, 2e12, 2e10, "hutchinson", 9, confidence=0.95),
            "Estimate(1.5e+12 +- 2e+10, hutchinson, 9 products)",
        ),
        (
            Estimate(1234.5, 900.0, 1500.0, 150.0, "hutchinson", 9, confidence=0.95),
            "Estimate(1234 +- 2e+02, hutchinson, 9 products)",
        ),
        (
            eigen_result(),
            "EigenResult(2 eigenpairs 3 ... 1 of n=5, converged, complete, block-krylov, "
            "64 products)",
        ),
        (
            eigen_result(values=np.array([3.0]), converged=False, complete=False),
            "EigenResult(1 eigenpair 3 of n=5, NOT converged, NOT complete, block-krylov, "
            "64 products)",
        ),
        (
            SingularResult(
                np.eye(5)[:, :2], np.ones(2), np.eye(3)[:, :2], np.zeros(2), True, True, 6, "dense"
            ),
            "SingularResult(2 triplets 1 ... 1 of 5x3, converged, complete, dense, 6 products)",
        ),
        (
            SpectrumResult(np.empty(0), "dense", 0),
            "SpectrumResult(0 eigenvalues, dense, 0 products)",
        ),
        (
            ReducedMatrix(np.eye(3), ("trial", "unit"), ("time",), "partial trace", "gram", 7),
            "ReducedMatrix(partial trace over trial, unit; 3x3 on time, gram, 7 products)",
        ),
    ],
)
def test_one_line_for_people(result, text):
    assert repr(result) == text


def test_label_of_an_estimate():
    estimate = Estimate(
        8.0, 8.0, 8.0, 0.0, "exact", 3, quantity="effective rank", recipe="participation-ratio"
    )
    assert str(estimate) == "effective rank (participation-ratio): 8 (exact, 3 products)"
    assert str(dataclasses.replace(estimate, quantity="", recipe="")) == "8 (exact, 3 products)"
    assert float(estimate) == 8.0
    assert np.sqrt(estimate) == np.sqrt(8.0)
    assert np.asarray([estimate, estimate], dtype=float).tolist() == [8.0, 8.0]


@pytest.mark.parametrize(
    ("estimate", "exact", "certified"),
    [
        (Estimate(8.0, 8.0, 8.0, 0.0, "exact", 0), True, True),
        (Estimate(8.0, 7.0, 9.0, 0.0, "bounds", 0), False, True),
        (Estimate(0.0, 0.0, 0.0, 0.0, "QR", 0, confidence=0.95), False, False),
        (Estimate(8.0, 7.0, 9.0, 0.5, "hutch++", 9, confidence=0.95), False, False),
    ],
)
def test_what_is_known_of_an_estimate(estimate, exact, certified):
    assert estimate.is_exact is exact
    assert estimate.is_certified is certified


def test_results_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign"):
        eigen_result().complete = True
    assert math.isnan(eigen_result().certificate_value)


@pytest.mark.parametrize("data", [np.array([3.0, 2.0]), np.diag([3.0, 2.0])])
def test_spectra_and_reduced_matrices_are_arrays_for_numpy(data):
    if data.ndim == 1:
        result = SpectrumResult(data, "dense", 2)
    else:
        result = ReducedMatrix(data, (), ("unit",), "partial trace", "dense", 2)
    assert np.asarray(result) is data
    assert not np.shares_memory(np.array(result, copy=True), data)
    assert np.asarray(result, dtype=np.float32).dtype == np.float32
    assert result.shape == data.shape
    assert len(result) == 2
    np.testing.assert_array_equal(list(result), data)
    np.testing.assert_array_equal(result[0], data[0])
    assert np.sum(result) == 5
    with pytest.raises(ValueError, match="without a copy"):
        np.array(result, dtype=np.float32, copy=False)


def test_cost_for_people():
    assert str(Cost(1.5e9, 2048)) == "1.5 Gflop, 2 KiB"
    assert format_bytes(10) == "10 B"
    assert format_bytes(5e18) == "4.44e+03 PiB"


def test_a_number_whose_error_is_not_known_says_so():
    unknown = Estimate(0.5, math.nan, math.nan, math.nan, "QR", 0, confidence=0.95)
    assert repr(unknown) == "Estimate(0.5 (error unknown), QR, 0 products)"
