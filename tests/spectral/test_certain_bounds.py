"""Certain bounds of traces and norms through the one door."""

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics._validation import InputError
from kpflow_numerics.spectral import frobenius_norm, trace
from tests.cases.cells import SITE_CASES
from tests.cases.spectra import Operator, with_eigenvalues, with_singular_values

VALUES = 1 / (1 + np.arange(300.0)) ** 1.5


def operator(**knows):
    return Operator(
        with_eigenvalues(VALUES), self_adjoint=True, positive_semidefinite=True, **knows
    )


@pytest.mark.parametrize("case", SITE_CASES, ids=str)
@pytest.mark.parametrize("rtol", [0.1, 1e-4])
def test_the_kernel_of_every_cell(case, rtol):
    NTK = kpf.TangentKernel(case.linearization())
    matrix = NTK.to_dense()
    for function, truth in ((trace, np.trace(matrix)), (frobenius_norm, np.linalg.norm(matrix))):
        found = function(NTK, "bounds", rtol=rtol)
        assert found.is_certified
        assert found.lower * (1 - 1e-12) <= truth <= found.upper * (1 + 1e-12)
        assert found.upper - found.lower <= 2 * rtol * found.value
        assert found.method == "bounds"


@pytest.mark.parametrize("rtol", [0.3, 0.05, 0.01])
def test_the_norm_is_as_close_as_asked(rtol):
    op = operator(exact_trace=lambda: float(VALUES.sum()))
    found = frobenius_norm(op, "bounds", n_pairs=3, rtol=rtol)
    assert found.lower <= np.linalg.norm(VALUES) <= found.upper
    assert found.upper - found.lower <= 2 * rtol * found.value
    assert found.is_certified


def test_more_pairs_narrow_the_norm():
    op = operator(exact_trace=lambda: float(VALUES.sum()))
    widths = []
    for n_pairs in (1, 4, 16):
        found = frobenius_norm(op, "bounds", n_pairs=n_pairs)
        assert found.lower <= np.linalg.norm(VALUES) <= found.upper
        widths.append(found.upper - found.lower)
    assert widths == sorted(widths, reverse=True)


def test_an_estimated_trace_leaves_no_certainty():
    wide = np.r_[VALUES, np.zeros(2000)]
    op = Operator(np.diag(wide), self_adjoint=True, positive_semidefinite=True)
    found = frobenius_norm(op, "bounds", n_matvecs=30)
    assert found.method.startswith("bounds, trace by ")
    assert found.confidence < 1
    assert found.lower <= np.linalg.norm(VALUES) <= found.upper


@pytest.mark.parametrize(
    ("function", "op", "message"),
    [
        (trace, operator(), r"exact_trace_bounds\(\)"),
        (frobenius_norm, np.diag([1.0, 2.0]), "positive_semidefinite=True"),
        (
            frobenius_norm,
            with_singular_values(VALUES[:9], (20, 9)),
            "its norm is the root of its trace",
        ),
    ],
)
def test_what_has_no_bounds_says_so(function, op, message):
    with pytest.raises(InputError, match=message):
        function(op, "bounds")


def test_a_claim_of_positivity_is_enough():
    found = frobenius_norm(np.diag(VALUES), "bounds", positive_semidefinite=True, rtol=0.01)
    assert found.lower <= np.linalg.norm(VALUES) <= found.upper
