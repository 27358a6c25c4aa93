"""Figures of the interference of tasks."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

import kpflow_numerics as kpf
from kpflow_numerics import plotting
from kpflow_numerics._validation import InputError, InputTypeError
from kpflow_numerics.plotting import style
from tests.cases.analyses import FakeRun, make_analysis, make_interference
from tests.cases.figures import overlaps, rendered

NAMES = ("memory-pro", "memory-anti", "delay-pro", "delay-anti")
KINDS = (plotting.interference_matrix, plotting.interference_course, plotting.interference_parts)
QUANTITIES = {
    "gradients": "cosines",
    "all-gradients": "full_cosines",
    "contributions": "contribution_cosines",
    "accumulated-contributions": "accumulated_contribution_cosines",
    "output-contributions": "output_contribution_cosines",
    "states": "state_similarity",
}


def analyses(names=NAMES, iterations=(0, 20, 40)):
    return [
        make_analysis(iteration, interference=make_interference(iteration, names))
        for iteration in iterations
    ]


def small_result() -> kpf.InterferenceResult:
    cell = kpf.VanillaRNN(n_inputs=3, n_units=8)
    inputs = np.random.default_rng(5).standard_normal((4, 5, 3))
    lin = kpf.linearize(kpf.simulate(cell, cell.init_params(rng=3), inputs))
    return kpf.interference(lin, np.ones((4, 5, 8)), [0, 1, 2, 1], names=("a", "b", "c"))


def shown(ax) -> np.ndarray:
    return np.ma.filled(mesh(ax).get_array(), np.nan)


def mesh(ax):
    (found,) = [each for each in ax.collections if each.get_gid() == "cosines"]
    return found


@pytest.mark.parametrize("draw", KINDS)
def test_every_kind_is_labelled_and_nothing_is_cut_off_or_overlaps(draw) -> None:
    ax = draw(analyses())
    figure = ax.get_figure()
    assert figure.get_figwidth() == style.COLUMN_WIDTH
    pixels = rendered(figure)
    assert len(np.unique(pixels.reshape(-1, 4), axis=0)) > 20
    assert (pixels[[0, -1]] == 255).all(), "something is cut off at the top or bottom"
    assert (pixels[:, [0, -1]] == 255).all(), "something is cut off at the sides"
    tilted = draw is plotting.interference_matrix
    assert [each for each in overlaps(ax) if not (tilted and "Text" in each)] == []


@pytest.mark.parametrize("draw", KINDS)
def test_every_kind_draws_on_the_axes_it_is_given(draw) -> None:
    ax = Figure(figsize=(5, 4)).subplots()
    assert draw(analyses(), ax=ax) is ax
    assert ax.has_data()


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_the_matrix_is_that_of_the_checkpoint(quantity) -> None:
    for index, analysis in enumerate(analyses()):
        ax = plotting.interference_matrix(analyses(), quantity=quantity, index=index)
        wanted = getattr(analysis.interference, QUANTITIES[quantity])
        np.testing.assert_array_equal(shown(ax), wanted)
        assert [text.get_text() for text in ax.texts] == [
            f"{value:.2f}".replace("-", "−") for value in wanted.ravel()
        ]
        for labels in (ax.get_xticklabels(), ax.get_yticklabels()):
            assert [label.get_text() for label in labels] == list(NAMES)
        assert mesh(ax).get_clim() == (-1.0, 1.0)


def test_interference_is_blue_and_agreement_red() -> None:
    held = make_interference(0, ("a", "b"))
    planted = replace(held, matrix=np.array([[1.0, -1.0], [-1.0, 1.0]]))
    image = mesh(plotting.interference_matrix(planted))
    (red, _, blue, _), (other_red, _, other_blue, _) = image.cmap(image.norm([1.0, -1.0]))
    assert red > blue
    assert other_blue > other_red


def test_the_first_row_is_on_top_and_the_figure_is_made_of_lines() -> None:
    ax = plotting.interference_matrix(analyses())
    bottom, top = ax.get_ylim()
    assert top < bottom
    assert mesh(ax).get_coordinates()[0, 0].tolist() == [-0.5, -0.5]
    assert "data:image" not in plotting.inline_svg(ax.get_figure(), "x", "y")


def test_a_task_without_direction_is_left_out() -> None:
    matrix = np.diag([1.0, 0.0, 1.0])
    ax = plotting.interference_matrix(replace(make_interference(), matrix=matrix))
    assert np.isnan(shown(ax)[1]).all()
    assert len(ax.texts) == 4


def test_a_result_of_the_function_can_be_drawn() -> None:
    found = small_result()
    np.testing.assert_array_equal(shown(plotting.interference_matrix(found)), found.cosines)
    with pytest.raises(InputError, match="does not hold the cosines of 'states'.*gradients, con"):
        plotting.interference_matrix(found, quantity="states")
    assert len(plotting.interference_parts(found).get_yticklabels()) == 3


def test_many_conditions_have_neither_numbers_nor_names() -> None:
    for count, has_names in ((9, True), (31, False)):
        names = tuple(f"angle {place}" for place in range(count))
        ax = plotting.interference_matrix(make_interference(0, names))
        assert not ax.texts
        assert len(ax.get_xticklabels()) == count * has_names
        ax = plotting.interference_course(analyses(names))
        assert len(ax.get_legend_handles_labels()[1]) == 7


def test_long_names_leave_room_for_the_axes() -> None:
    names = tuple(f"memory-anti, angle {place}.57" for place in range(5))
    ax = plotting.interference_course(analyses(names))
    assert overlaps(ax) == []
    assert ax.get_window_extent().height > 100


def test_names_of_many_conditions_do_not_overlap() -> None:
    ax = plotting.interference_matrix(make_interference(0, tuple(f"angle {k}" for k in range(20))))
    rendered(ax.get_figure())
    for labels, axis in ((ax.get_xticklabels(), 0), (ax.get_yticklabels(), 1)):
        ends = sorted(
            (box.min[axis], box.max[axis]) for box in (each.get_window_extent() for each in labels)
        )
        assert all(before[1] <= after[0] + 1 for before, after in itertools.pairwise(ends))


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_courses_are_those_of_the_pairs(quantity) -> None:
    held = analyses()
    ax = plotting.interference_course(held[::-1], quantity=quantity)
    lines, labels = ax.get_legend_handles_labels()
    pairs = list(itertools.combinations(range(4), 2))
    assert labels == [f"{NAMES[i]} / {NAMES[j]}" for i, j in pairs]
    for line, pair in zip(lines, pairs, strict=True):
        wanted = [getattr(each.interference, QUANTITIES[quantity])[pair] for each in held]
        assert list(line.get_xdata()) == [0, 20, 40]
        assert list(line.get_ydata()) == wanted
    assert ax.get_ylim() == (-1.0, 1.0)


def test_several_runs_are_drawn_as_mean_and_range() -> None:
    runs = [
        [make_analysis(k, interference=make_interference(k, NAMES, seed=seed)) for k in (0, 20, 40)]
        for seed in (33, 34, 35)
    ]
    ax = plotting.interference_course([FakeRun(analyses=runs[0]), *runs[1:]])
    cosines = np.array([[each.interference.cosines for each in run] for run in runs])
    lines, _ = ax.get_legend_handles_labels()
    bars = [each for each in ax.collections if each.get_gid() == "range"]
    for line, bar, (i, j) in zip(lines, bars, itertools.combinations(range(4), 2), strict=True):
        np.testing.assert_allclose(line.get_ydata(), cosines[:, :, i, j].mean(axis=0))
        ends = np.array(bar.get_segments())[:, :, 1]
        np.testing.assert_array_equal(ends[:, 0], cosines[:, :, i, j].min(axis=0))
        np.testing.assert_array_equal(ends[:, 1], cosines[:, :, i, j].max(axis=0))
    assert "range of 3 runs" in ax.get_ylabel()
    with pytest.raises(InputError, match=r"same iterations; got \[0, 20\] beside \[0, 20, 40\]"):
        plotting.interference_course([runs[0], runs[1][:2]])
    with pytest.raises(InputError, match="same tasks"):
        plotting.interference_course([runs[0], analyses(("a", "b"))])


def test_the_worst_of_many_pairs_are_drawn_and_others_on_demand() -> None:
    names = tuple("abcdef")
    held = analyses(names)
    cosines = held[-1].interference.cosines
    pairs = sorted(itertools.combinations(range(6), 2), key=lambda pair: cosines[pair])[:7]
    _, labels = plotting.interference_course(held).get_legend_handles_labels()
    assert labels == [f"{names[i]} / {names[j]}" for i, j in sorted(pairs)]
    ax = plotting.interference_course(held, pairs=[("f", "a")])
    (line,), labels = ax.get_legend_handles_labels()
    assert labels == ["f / a"]
    assert line.get_ydata()[-1] == cosines[5, 0]


def test_parts_add_up_to_the_cosine_of_all_gradients() -> None:
    held = make_interference(0, NAMES)
    ax = plotting.interference_parts(held)
    bars = {container.get_label(): container.patches for container in ax.containers}
    assert list(bars) == list(held.by_parameter)
    norms = np.sqrt(held.full_matrix.diagonal())
    (ticks,) = [each for each in ax.collections if each.get_label() == "sum"]
    for row, (i, j) in enumerate(itertools.combinations(range(4), 2)):
        for name, patches in bars.items():
            wanted = held.by_parameter[name][i, j] / norms[i] / norms[j]
            assert patches[row].get_width() == pytest.approx(wanted, abs=1e-12)
        ends = [
            sorted((patches[row].get_x(), patches[row].get_x() + patches[row].get_width()))
            for patches in bars.values()
        ]
        for (_, right), (left, _) in itertools.pairwise(sorted(ends)):
            assert right <= left + 1e-12
        total = sum(patches[row].get_width() for patches in bars.values())
        assert total == pytest.approx(held.full_cosines[i, j], abs=1e-12)
        assert ticks.get_segments()[row][0, 0] == pytest.approx(total)


def test_a_run_of_several_tasks_has_its_figures() -> None:
    drawn = dict(plotting.run_figures(FakeRun(analyses=analyses(), losses=np.array([]))))
    matrices = [ax for ax in drawn["interference"].axes if ax.collections and ax.texts]
    assert [ax.get_title().split(", ")[1] for ax in matrices] == [
        "iteration 0", "iteration 0", "iteration 40", "iteration 40",
    ]  # fmt: skip
    assert [ax.get_title() for ax in drawn["interference-courses"].axes] == [
        "gradients", "moves of the states, accumulated", "mean states",
    ]  # fmt: skip
    single = dict(plotting.run_figures(FakeRun(analyses=analyses()[:1], losses=np.array([]))))
    assert "interference" in single
    assert "interference-courses" not in single
    bare = dict(plotting.run_figures(FakeRun(losses=np.array([]))))
    assert not [name for name in bare if "interference" in name]


def test_what_cannot_be_drawn_is_refused() -> None:
    for draw in KINDS:
        with pytest.raises(InputError, match="no interference to draw.*--interference conditions"):
            draw(make_analysis())
        with pytest.raises(InputTypeError, match="drawn from a run file"):
            draw(3)
    with pytest.raises(InputError, match="quantity must be one of 'gradients'"):
        plotting.interference_matrix(analyses(), quantity="cosines")
    with pytest.raises(InputError, match=r"two of memory-pro, .*; got \('memory-pro', 'x'\)"):
        plotting.interference_course(analyses(), pairs=[("memory-pro", "x")])
    with pytest.raises(InputError, match="at least one pair"):
        plotting.interference_parts(analyses(), pairs=[])
    mixed = [analyses()[0], *analyses(("a", "b"), (20,))]
    with pytest.raises(InputError, match="same tasks"):
        plotting.interference_course(mixed)


def test_the_label_of_a_course_is_no_taller_than_the_axes() -> None:
    held = [make_analysis(iteration, interference=make_interference()) for iteration in (0, 10)]
    ax = plotting.interference_course(held, quantity="accumulated-contributions")
    figure = ax.get_figure()
    figure.draw_without_rendering()
    label = ax.yaxis.label.get_window_extent()
    assert label.y0 >= 0
    assert label.y1 <= figure.bbox.y1
