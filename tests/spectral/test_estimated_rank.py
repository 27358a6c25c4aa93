"""The participation ratio by sampling alone: its error, its interval, its budget."""

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics._validation import InputError, MemoryLimitError
from kpflow_numerics.spectral import effective_rank, rank_from_weights, sampled_rank
from kpflow_numerics.spectral.estimators.sampled import SampledTrace
from tests.cases.spectra import Operator, gram_operator, with_eigenvalues, with_singular_values

SPECTRA = {
    "slow": 1 / (1 + np.arange(60.0)),
    "fast": 0.7 ** np.arange(60),
    "flat": np.ones(60),
    "dominant": np.r_[50.0, np.full(59, 0.3)],
}
SEEDS = range(400)


def operator(name):
    return Operator(with_eigenvalues(SPECTRA[name]), self_adjoint=True, positive_semidefinite=True)


def small_kernel():
    cell = kpf.GRU(3, 6)
    inputs = np.random.default_rng(5).standard_normal((3, 8, 3))
    return kpf.TangentKernel(kpf.linearize(kpf.simulate(cell, cell.init_params(rng=3), inputs)))


def covered(op, truth, method, n_matvecs):
    found = [effective_rank(op, method=method, n_matvecs=n_matvecs, rng=seed) for seed in SEEDS]
    values = np.array([each.value for each in found])
    errors = np.array([each.standard_error for each in found])
    hits = np.mean([each.lower <= truth <= each.upper for each in found])
    return hits, values, errors


@pytest.mark.parametrize("method", ["hutchinson", "hutch++"])
@pytest.mark.parametrize("name", [*SPECTRA, "kernel"])
@pytest.mark.parametrize("n_matvecs", [18, 45])
def test_intervals_hold_the_truth(method, name, n_matvecs):
    if name == "kernel":
        matrix = small_kernel().to_dense()
        op = Operator(matrix, self_adjoint=True, positive_semidefinite=True)
        truth = rank_from_weights(np.maximum(np.linalg.eigvalsh(matrix), 0))
    else:
        op, truth = operator(name), rank_from_weights(SPECTRA[name])
    hits, values, errors = covered(op, truth, method, n_matvecs)
    # A flat spectrum is known without error: the mean of signs has none.
    assert hits >= 0.9
    assert abs(values.mean() - truth) <= max(np.median(errors), 1e-9 * truth)


def test_intervals_of_half_the_width_are_caught(monkeypatch):
    jackknife = sampled_rank.jackknife

    def narrow(*arguments, **options):
        found = jackknife(*arguments, **options)
        half = (found.upper - found.lower) / 5
        return SampledTrace(
            found.value, found.value - half, found.value + half, found.standard_error
        )

    monkeypatch.setattr(sampled_rank, "jackknife", narrow)
    hits, _, _ = covered(operator("slow"), rank_from_weights(SPECTRA["slow"]), "hutchinson", 30)
    assert hits < 0.9


@pytest.mark.parametrize("method", ["hutchinson", "hutch++"])
@pytest.mark.parametrize("n_matvecs", [16, 20, 31, 100])
def test_the_budget_is_honoured(method, n_matvecs):
    op = operator("slow")
    found = effective_rank(op, method=method, n_matvecs=n_matvecs)
    assert found.n_matvecs == op.columns <= n_matvecs
    assert found.n_matvecs >= n_matvecs - (method == "hutch++") or found.standard_error == 0


@pytest.mark.parametrize("shape", [(40, 25), (25, 40)])
@pytest.mark.parametrize("method", ["hutchinson", "hutch++"])
def test_of_operators_that_are_not_self_adjoint(shape, method):
    sigma = 0.8 ** np.arange(25)
    A = with_singular_values(sigma, shape)
    truth = rank_from_weights(sigma**2)
    for op in (A, gram_operator(A)):
        found = effective_rank(op, method=method, n_matvecs=120, rng=7, self_adjoint=False)
        reference = truth if op is A else rank_from_weights(sigma**4)
        assert abs(found.value - reference) <= 5 * max(found.standard_error, 1e-9)


@pytest.mark.parametrize("rtol", [0.3, 0.1])
def test_sampling_stops_where_it_is_as_accurate_as_asked(rtol):
    op = operator("slow")
    found = effective_rank(op, method="hutchinson", n_matvecs=4000, rtol=rtol, rng=7)
    assert found.upper - found.lower <= 2 * rtol * found.value * (1 + 1e-9)
    assert found.n_matvecs < 4000


def test_a_known_trace_makes_it_more_accurate():
    values = SPECTRA["slow"]
    plain = operator("slow")
    knowing = Operator(
        with_eigenvalues(values),
        self_adjoint=True,
        positive_semidefinite=True,
        exact_trace=lambda: float(values.sum()),
    )
    errors = [
        np.mean(
            [
                effective_rank(op, method="hutch++", n_matvecs=30, rng=seed).standard_error
                for seed in range(20)
            ]
        )
        for op in (plain, knowing)
    ]
    assert errors[1] < errors[0]


def test_a_whole_sketch_is_exact():
    found = effective_rank(operator("slow"), method="hutch++", n_matvecs=300)
    assert found.is_exact
    assert found.value == pytest.approx(rank_from_weights(SPECTRA["slow"]))


def test_nothing_has_no_rank():
    op = Operator(np.zeros((9, 9)), self_adjoint=True, positive_semidefinite=True)
    assert effective_rank(op, method="hutchinson", n_matvecs=16).value == 0


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"recipe": "entropy"}, InputError, "samples a participation ratio"),
        ({"weighting": "root"}, InputError, "samples a participation ratio"),
        ({"n_matvecs": 15}, InputError, "n_matvecs must be at least 16 here"),
        ({"max_memory": 10}, MemoryLimitError, "hutchinson with n_matvecs=90"),
    ],
)
def test_arguments_are_checked(options, error, message):
    with pytest.raises(error, match=message):
        effective_rank(operator("slow"), method="hutchinson", **options)
