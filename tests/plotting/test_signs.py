"""Figures of the signs of failed learning."""

from __future__ import annotations

import math

import pytest

import kpflow_numerics as kpf
from kpflow_numerics import plotting
from kpflow_numerics._validation import InputError, InputTypeError
from kpflow_numerics.results import Estimate
from tests.cases.analyses import estimate


def sign(*values: float, threshold: float = 2.0, side="below") -> kpf.FailureSign:
    course = tuple((10 * place, estimate(value)) for place, value in enumerate(values))
    return kpf.FailureSign("a sign", course[-1][1], threshold, side, "a meaning", course)


def raised_side(ax) -> tuple[float, float]:
    (span,) = [patch for patch in ax.patches if patch.get_gid() == "raised side"]
    heights = span.get_path().transformed(span.get_patch_transform()).vertices[:, 1]
    return heights.min(), heights.max()


@pytest.mark.parametrize(
    ("drawn", "scale"),
    [
        (sign(1.5, 3.0), "linear"),
        (sign(1e-9, 1.0), "log"),
        (sign(0.0, 5.0), "log"),
        (sign(-0.5, 0.25, threshold=0.5, side="above"), "linear"),
    ],
)
def test_numbers_threshold_and_side_are_drawn(drawn, scale) -> None:
    ax = plotting.failure_sign(drawn)
    assert ax.get_yscale() == scale
    line, limit = ax.get_lines()
    assert list(line.get_xdata()) == [0, 10]
    wanted = [max(each.value, 1e-30) if scale == "log" else each.value for _, each in drawn.course]
    assert list(line.get_ydata()) == wanted
    assert set(limit.get_ydata()) == {drawn.threshold}
    ends = ax.get_ylim()
    assert ends[0] < drawn.threshold < ends[1]
    shaded = (ends[0], drawn.threshold) if drawn.side == "below" else (drawn.threshold, ends[1])
    assert raised_side(ax) == pytest.approx(shaded)


def test_the_colour_tells_the_verdict() -> None:
    colours = {
        plotting.failure_sign(drawn).get_lines()[0].get_color() for drawn in (sign(1.0), sign(3.0))
    }
    assert len(colours) == 2


def test_intervals_are_drawn() -> None:
    bounds = estimate(1.5, 1.25, 1.75)
    drawn = kpf.FailureSign("a", bounds, 2.0, "below", "b", ((0, bounds), (10, bounds)))
    assert "certain bars" in {each.get_gid() for each in plotting.failure_sign(drawn).collections}


def test_what_cannot_be_drawn_is_refused() -> None:
    nan = Estimate(*[math.nan] * 4, "", 0)
    unknown = kpf.FailureSign("a", nan, 2.0, "below", "b", reason="one task")
    with pytest.raises(InputError, match="nothing to draw: a: not known: one task"):
        plotting.failure_sign(unknown)
    with pytest.raises(InputTypeError, match="sign must be a FailureSign; got int"):
        plotting.failure_sign(3)
