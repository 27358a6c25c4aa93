from __future__ import annotations

import numpy as np
import pytest

from kpflow_numerics._validation import InputError, InputTypeError
from kpflow_numerics.analysis.principal_components import principal_components
from kpflow_numerics.testing import default_tolerance


def states_of(shape, seed=9, dtype=np.float64):
    generator = np.random.default_rng(seed)
    scales = 3.0 ** -np.arange(shape[2])
    return (generator.standard_normal(shape) * scales + generator.standard_normal()).astype(dtype)


def assert_principal(result, states, n_components) -> None:
    """Check scores, directions and shares against the dense covariance matrix."""
    flat = states.reshape(-1, states.shape[2]).astype(np.float64)
    centred = flat - flat.mean(axis=0)
    tolerance = default_tolerance(states.dtype, centred.size, factor=200)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    values, vectors = values[::-1], vectors[:, ::-1]
    kept = min(n_components, *centred.shape)
    directions = result.directions[:, :kept].astype(np.float64)
    scores = result.scores.reshape(len(flat), n_components).astype(np.float64)
    scale = np.sqrt(values[0])
    assert np.allclose(directions.T @ directions, np.eye(kept), atol=tolerance)
    assert np.allclose(scores[:, :kept], centred @ directions, atol=tolerance * scale)
    assert not scores[:, kept:].any()
    assert not result.fractions[kept:].any()
    assert np.allclose(result.fractions[:kept], values[:kept] / values.sum(), atol=tolerance)
    assert np.allclose(np.abs(np.sum(directions * vectors[:, :kept], axis=0)), 1, atol=tolerance)
    largest = np.abs(directions).argmax(axis=0)
    assert (directions[largest, np.arange(kept)] > 0).all()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("shape", [(4, 9, 5), (2, 3, 2), (1, 8, 3), (7, 1, 4), (2, 1, 6)])
def test_components_are_those_of_the_covariance(shape, dtype) -> None:
    if shape == (2, 1, 6):
        states, n_components = states_of(shape, dtype=dtype), 1
    else:
        states, n_components = states_of(shape, dtype=dtype), 3
    result = principal_components(states, n_components)
    assert result.scores.shape == (*shape[:2], n_components)
    assert result.scores.dtype == result.fractions.dtype == dtype
    assert_principal(result, states, n_components)


def test_scores_and_directions_give_the_states_back() -> None:
    states = states_of((3, 6, 4))
    result = principal_components(states, 4)
    rebuilt = result.scores @ result.directions.T + result.mean
    assert np.allclose(rebuilt, states, rtol=0, atol=default_tolerance(np.float64, states.size))
    assert result.fractions.sum() == pytest.approx(1)


@pytest.mark.parametrize("value", [0.0, 0.1, -7e5])
def test_states_that_do_not_vary_explain_nothing(value) -> None:
    result = principal_components(np.full((3, 4, 5), value))
    assert not result.fractions.any()
    assert np.abs(result.scores).max() <= default_tolerance(np.float64, 12) * abs(value)


def test_a_small_variance_is_still_one() -> None:
    states = np.zeros((2, 2, 3))
    states[0, 0, 1] = 1e-200
    assert principal_components(1e50 * states).fractions[0] == pytest.approx(1)


@pytest.mark.parametrize("fault", ["not centred", "units swapped", "unsorted", "trial dropped"])
def test_a_planted_fault_is_caught(fault) -> None:
    states = states_of((4, 9, 5), seed=17)
    given = {
        "not centred": states,
        "units swapped": states[..., [1, 0, 2, 3, 4]],
        "unsorted": states,
        "trial dropped": states[[0, 1, 2, 2]],
    }[fault]
    result = principal_components(given)
    if fault == "not centred":
        object.__setattr__(result, "scores", states @ result.directions)
    elif fault == "unsorted":
        object.__setattr__(result, "fractions", result.fractions[::-1])
    with pytest.raises(AssertionError):
        assert_principal(result, states, 3)


def test_bad_states_are_refused() -> None:
    with pytest.raises(InputError, match=r"states must have shape \(B, T, H\); got \(4, 5\)"):
        principal_components(np.zeros((4, 5)))
    with pytest.raises(InputError, match="states must be finite"):
        principal_components(np.full((2, 3, 4), np.nan))
    with pytest.raises(InputTypeError, match="n_components must be an integer"):
        principal_components(np.zeros((2, 3, 4)), 2.0)
