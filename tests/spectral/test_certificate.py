import numpy as np
import pytest

from kpflow_numerics.spectral import completeness_certificate
from kpflow_numerics.spectral.certificate import CERTIFICATE_PRODUCTS
from tests.cases.spectra import SPECTRA, repeated_stimuli, with_eigenvalues


def certify(matrix, chosen, *, seed=5, tolerance=None):
    """Run the certificate on the eigenpairs chosen, numbered from the largest."""
    values, vectors = np.linalg.eigh(matrix)
    values, vectors = values[::-1][chosen], vectors[:, ::-1][:, chosen]
    residuals = np.linalg.norm(matrix @ vectors - vectors * values, axis=0)
    columns = [0]

    def apply(X):
        columns[0] += X.shape[1]
        return matrix @ X

    result = completeness_certificate(
        apply,
        values,
        vectors,
        residuals,
        tolerance=tolerance or np.finfo(matrix.dtype).eps ** (2 / 3),
        norm=float(np.linalg.norm(matrix, 2)),
        rng=np.random.default_rng(seed),
    )
    assert columns[0] <= 2 * CERTIFICATE_PRODUCTS
    return result


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", SPECTRA)
def test_no_false_alarm(name, dtype):
    values, k = SPECTRA[name]
    matrix = with_eigenvalues(values, dtype)
    for seed in range(5, 10):
        assert certify(matrix, np.arange(k), seed=seed).complete


@pytest.mark.parametrize("seed", range(30, 50))
def test_no_false_alarm_on_repeated_stimuli(seed):
    assert certify(repeated_stimuli(seed), np.arange(10), seed=seed).complete


@pytest.mark.parametrize("seed", range(30, 50))
def test_a_missing_copy_is_seen(seed):
    # Each eigenvalue has four copies; one of the first four is left out, with perfect residuals.
    matrix = repeated_stimuli(seed)
    chosen = np.r_[0:3, 4:11]
    result = certify(matrix, chosen, seed=seed)
    assert not result.complete
    assert result.value > result.threshold
    top = np.linalg.eigvalsh(matrix)[-1]
    assert result.value <= top * (1 + 1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("missing", [0, 3, 12])
@pytest.mark.parametrize("name", ["repeated", "many copies", "indefinite"])
def test_a_missing_eigenvalue_is_seen_in_either_precision(name, missing, dtype):
    values, _ = SPECTRA[name]
    matrix = with_eigenvalues(np.sort(values)[::-1].copy(), dtype)
    if name == "many copies":
        # Something smaller must stand in for what is missing, or the result would be right.
        chosen = np.r_[0:missing, missing + 1 : 60]
    else:
        chosen = np.r_[0:missing, missing + 1 : 20]
    assert not certify(matrix, chosen).complete


def test_a_copy_that_changes_nothing_is_not_missed():
    matrix = with_eigenvalues(np.repeat([3.0, 1.0], [10, 50]))
    assert certify(matrix, np.r_[1:6]).complete


def test_all_pairs_leave_nothing_to_certify():
    result = certify(with_eigenvalues(np.arange(6.0)), np.arange(6))
    assert result.complete
    assert np.isnan(result.value)
    assert np.isnan(result.threshold)


def test_the_vectors_found_lead_to_what_is_missing():
    matrix = repeated_stimuli(31)
    result = certify(matrix, np.r_[0:3, 4:11])
    overlap = np.linalg.norm(np.linalg.eigh(matrix)[1][:, -4:].T @ result.vectors)
    assert overlap > 0.5


def test_results_that_have_not_converged_get_no_wider_threshold():
    matrix = with_eigenvalues(np.arange(40.0))
    vectors = np.linalg.qr(np.random.default_rng(5).standard_normal((40, 3)))[0]
    values, rotation = np.linalg.eigh(vectors.T @ matrix @ vectors)
    vectors = vectors @ rotation
    residuals = np.linalg.norm(matrix @ vectors - vectors * values, axis=0)
    result = completeness_certificate(
        lambda X: matrix @ X,
        values,
        vectors,
        residuals,
        tolerance=1e-10,
        norm=39.0,
        rng=np.random.default_rng(5),
    )
    assert not result.complete
