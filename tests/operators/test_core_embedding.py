"""The coordinates of a compressed core as parameters of the whole."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics.core_compression import CompressedLinearization
from kpflow_numerics.operators.core_embedding import CoreEmbedding, core_embedding
from kpflow_numerics.testing import default_tolerance, dot_test
from tests.cases.cells import EDGE_CASES, FLOAT32_CASES, LOW_RANK_CASES, SITE_CASES, CellCase

CASES = [
    case
    for case in SITE_CASES + EDGE_CASES + LOW_RANK_CASES + FLOAT32_CASES
    if case.linearization().weight_sites is not None
]


def sensitivities(case: CellCase, kind: str, tolerance: float) -> tuple[Any, Any]:
    """Return an operator and the one of a compressed core."""
    lin = case.linearization()
    both = lin, kpf.compress_core(lin, tolerance)
    if kind == "states":
        return tuple(kpf.Sensitivity(each) for each in both)
    readout = kpf.init_readout(case.cell.n_units, 2, rng=4)
    return tuple(kpf.OutputSensitivity(each, readout, parameters=kind) for each in both)


@pytest.mark.parametrize("tolerance", [0.0, 1e-2])
@pytest.mark.parametrize("kind", ["states", "cell", "all"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_core_is_the_whole_on_a_subspace(case: CellCase, kind: str, tolerance: float) -> None:
    whole, core = sensitivities(case, kind, tolerance)
    W = core.embedding
    assert W.shape == (whole.shape[1], core.shape[1])
    assert dot_test(W, rng=5).passed
    rounding = 10 * default_tolerance(whole.dtype, whole.shape[1])
    dense = W.to_dense()
    np.testing.assert_allclose(dense.T @ dense, np.eye(core.shape[1]), atol=rounding)
    expected, found = whole.to_dense() @ dense, core.to_dense()
    assert np.linalg.norm(found - expected) <= rounding * np.linalg.norm(expected)


@pytest.mark.parametrize("tolerance", [0.0, 1e-2])
def test_a_core_of_a_core_is_embedded_in_that(tolerance: float) -> None:
    lin = kpf.compress_core(SITE_CASES[-1].linearization(), 1e-3)
    whole, core = kpf.Sensitivity(lin), kpf.Sensitivity(kpf.compress_core(lin, tolerance))
    assert core.embedding is not None
    np.testing.assert_allclose(
        whole.to_dense() @ core.embedding.to_dense(), core.to_dense(), atol=1e-12
    )


def test_parameters_that_share_a_feature_are_seen() -> None:
    """Planted fault: the roots of their numbers left out of W, which is then not orthonormal."""
    lin = next(
        lin
        for lin in (case.linearization() for case in SITE_CASES)
        if any((group.multiplicity > 1).any() for group in lin.weight_sites.groups)
    )
    core = kpf.compress_core(lin, 0.0)
    right = CoreEmbedding(core).to_dense()
    np.testing.assert_allclose(right.T @ right, np.eye(right.shape[1]), atol=1e-12)
    core._directions = tuple(
        replace(each, matrix=each.matrix * np.sqrt(group.multiplicity)[:, np.newaxis])
        for each, group in zip(core._directions, lin.weight_sites.groups, strict=True)
    )
    wrong = CoreEmbedding(core).to_dense()
    assert np.abs(wrong.T @ wrong - np.eye(wrong.shape[1])).max() > 0.1


def test_a_whole_linearisation_has_none() -> None:
    lin = SITE_CASES[0].linearization()
    assert not isinstance(lin, CompressedLinearization)
    assert core_embedding(lin) is None
    assert kpf.Sensitivity(lin).embedding is None
    assert kpf.Sensitivity(lin).coarse().embedding is not None
