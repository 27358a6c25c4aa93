from __future__ import annotations

import numpy as np
import pytest

from kpflow_numerics._validation import InputError, InputTypeError
from kpflow_numerics.analysis.modes import mode_courses
from kpflow_numerics.testing import default_tolerance

DIMS = (3, 5, 4)


def orthonormal(seed: int, k: int, dtype=np.float64, dims=DIMS):
    matrix = np.random.default_rng(seed).standard_normal((int(np.prod(dims)), k))
    return np.linalg.qr(matrix)[0].astype(dtype)


def assert_courses(result, vectors, dims) -> None:
    """Check courses and shares against the eigenpairs of the dense Gram matrix of each mode."""
    n_trials, n_steps, n_state = dims
    tolerance = default_tolerance(vectors.dtype, vectors.shape[0], factor=200)
    for mode, (course, fraction) in enumerate(zip(result.courses, result.fractions, strict=True)):
        matrix = vectors[:, mode].astype(np.float64).reshape(n_trials * n_steps, n_state)
        gram = matrix @ matrix.T
        flat = course.astype(np.float64).ravel()
        values = np.linalg.eigvalsh(gram)
        assert abs(flat @ flat - 1) <= tolerance
        assert np.linalg.norm(gram @ flat - values[-1] * flat) <= tolerance * values[-1]
        assert abs(fraction - values[-1] / values.sum()) <= tolerance
        assert flat[np.argmax(np.abs(flat))] > 0


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("dims", [DIMS, (1, 1, 6), (4, 3, 1), (2, 1, 2), (1, 7, 20)])
def test_courses_are_the_dominant_singular_vectors(dims, dtype) -> None:
    vectors = orthonormal(11, 2, dtype, dims)
    result = mode_courses(vectors, dims)
    assert result.courses.shape == (2, *dims[:2])
    assert result.courses.dtype == result.fractions.dtype == dtype
    assert_courses(result, vectors, dims)


def test_a_mode_of_one_course_is_explained_whole() -> None:
    generator = np.random.default_rng(23)
    course, weights = generator.standard_normal((3, 5)), generator.standard_normal(4)
    vector = np.multiply.outer(course, weights)
    vector /= np.linalg.norm(vector)
    result = mode_courses(vector.reshape(-1, 1), DIMS)
    wanted = course / np.linalg.norm(course)
    wanted *= np.sign(wanted.flat[np.argmax(np.abs(wanted))])
    tolerance = default_tolerance(np.float64, course.size)
    assert np.allclose(result.courses[0], wanted, rtol=0, atol=tolerance)
    assert abs(result.fractions[0] - 1) <= tolerance


def test_the_sign_of_a_mode_does_not_matter() -> None:
    vectors = orthonormal(5, 3)
    flipped = mode_courses(-vectors, DIMS)
    assert np.array_equal(mode_courses(vectors, DIMS).courses, flipped.courses)


def test_only_the_modes_asked_for() -> None:
    vectors = orthonormal(7, 3)
    assert len(mode_courses(vectors, DIMS, 2).courses) == 2
    assert len(mode_courses(vectors, DIMS, 9).courses) == 3
    assert mode_courses(vectors, DIMS, 0).courses.shape == (0, 3, 5)


@pytest.mark.parametrize("fault", ["axes", "second", "scaled", "sign"])
def test_a_planted_fault_is_caught(fault) -> None:
    vectors = orthonormal(13, 1)
    result = mode_courses(vectors, DIMS)
    matrix = vectors.reshape(15, 4)
    if fault == "axes":
        wrong = mode_courses(vectors.reshape(DIMS).transpose(1, 0, 2).reshape(-1, 1), DIMS).courses
    elif fault == "second":
        wrong = np.linalg.svd(matrix)[0][:, 1].reshape(1, 3, 5)
    elif fault == "scaled":
        wrong = 1.001 * result.courses
    else:
        wrong = -result.courses
    object.__setattr__(result, "courses", wrong)
    with pytest.raises(AssertionError):
        assert_courses(result, vectors, DIMS)


def test_bad_modes_are_refused() -> None:
    with pytest.raises(InputError, match=r"vectors must have shape \(60, k\); got \(59, 2\)"):
        mode_courses(np.ones((59, 2)), DIMS)
    with pytest.raises(InputError, match=r"vectors\[:, 1\] is zero"):
        mode_courses(np.eye(60)[:, :2] * [1.0, 0.0], DIMS)
    with pytest.raises(InputTypeError, match="n_modes must be an integer"):
        mode_courses(np.ones((60, 1)), DIMS, 1.5)
