"""Signs of failed learning in a run file."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics._validation import InputError, InputTypeError
from kpflow_numerics.results import Cost, Estimate
from kpflow_numerics.store import describe_run
from tests.cases.runs import CELL, TASK, make_analysis

KNOWN = Estimate(1.5, 1.25, 1.75, 0.125, "hutch++", 30, "rank", "r", 0.95, Cost(3e9, 2**20))
NAN = Estimate(math.nan, math.nan, math.nan, math.nan, "", 0)
SIGNS = (
    kpf.FailureSign("K of low rank", KNOWN, 2.0, "below", "what it means", ((0, KNOWN),)),
    kpf.FailureSign(
        "tasks interfere", replace(KNOWN, value=0.5), 0.75, "above", "of pairs",
        ((40, replace(KNOWN, cost=None)), (20, replace(KNOWN, value=-1.0))),
    ),
    kpf.FailureSign("early inputs forgotten", NAN, 0.1, "below", "meant", reason="one task"),
)  # fmt: skip


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "run.h5"
    with kpf.RunFile.create(path, cell=CELL, task=TASK, seed=7) as file:
        assert file.signs == ()
        file.write_analyses([make_analysis(3)])
        file.write_signs(SIGNS)
    return path


def assert_same_signs(found, wanted) -> None:
    # As words, in which numbers that are not known are equal.
    assert [repr(vars(sign)) for sign in found] == [repr(vars(sign)) for sign in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert one.estimate.cost == other.estimate.cost


def test_every_number_comes_back(path) -> None:
    with kpf.RunFile.open(path) as file:
        assert_same_signs(file.signs, SIGNS)
    with kpf.RunFile.open(path, "r+") as file:
        file.write_signs(SIGNS[1:])
        assert_same_signs(file.signs, SIGNS[1:])
        file.write_signs(())
        assert file.signs == ()


@pytest.mark.parametrize(
    "change",
    [{"threshold": 2.5}, {"reason": "x"}, {"estimate": replace(KNOWN, n_matvecs=31)},
     {"estimate": replace(KNOWN, cost=Cost(4e9, 2**20))}, {"course": ()}],
)  # fmt: skip
def test_a_planted_difference_is_caught(path, change) -> None:
    with kpf.RunFile.open(path) as file, pytest.raises(AssertionError):
        assert_same_signs(file.signs, (replace(SIGNS[0], **change), *SIGNS[1:]))


def test_new_analyses_remove_the_signs_of_the_old(path) -> None:
    with kpf.RunFile.open(path, "r+") as file:
        file.write_analyses([make_analysis(4)])
        assert file.signs == ()


def test_signs_are_told(path) -> None:
    lines = describe_run(path).splitlines()
    first = next(place for place, line in enumerate(lines) if line.startswith("signs"))
    assert lines[first : first + 3] == [
        "signs        K of low rank: raised, rank 1.5 in [1.25, 1.75] (95 %), threshold 2 "
        "(raised below)",
        "             tasks interfere: raised, rank 0.5 in [1.25, 1.75] (95 %), threshold 0.75 "
        "(raised above)",
        "             early inputs forgotten: not known: one task",
    ]


def test_xarray_reads_them(path) -> None:
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    with xarray.open_datatree(path, engine="h5netcdf") as tree:
        signs = tree["signs"]
        assert list(signs["sign"].values) == [sign.name for sign in SIGNS]
        assert list(signs["verdict"].values) == ["raised", "raised", "not known"]
        assert signs["course"].dims == ("sign", "checkpoint")
        np.testing.assert_array_equal(signs["iteration"], [0, 20, 40])


def test_what_is_no_sign_is_refused(path) -> None:
    with kpf.RunFile.open(path, "r+") as file:
        with pytest.raises(InputTypeError, match="signs must be FailureSign objects; got 3"):
            file.write_signs([3])
        with pytest.raises(InputError, match="signs must have different names"):
            file.write_signs([SIGNS[0], SIGNS[0]])
        assert_same_signs(file.signs, SIGNS)
