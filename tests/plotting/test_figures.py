from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from kpflow_numerics import plotting
from kpflow_numerics._errors import MissingExtraError
from kpflow_numerics._validation import InputError, InputTypeError
from kpflow_numerics.analysis.checkpoint import NetworkAnalysis, OperatorRank
from kpflow_numerics.analysis.quantities import OperatorQuantity
from kpflow_numerics.plotting import style
from kpflow_numerics.tasks import FlipFlop, LowRankForecast, MemoryPro, MultiTask
from tests.cases.analyses import (
    TASK,
    FakeRun,
    estimate,
    make_analysis,
    make_exponents,
)
from tests.cases.figures import overlaps, rendered

KINDS = {
    "rank_dynamics": plotting.rank_dynamics,
    "rank_recipes": plotting.rank_recipes,
    "quantity_dynamics": plotting.quantity_dynamics,
    "spectra": plotting.spectra,
    "modes": plotting.modes,
    "trajectories": plotting.trajectories,
    "loss": plotting.loss,
    "accuracy": plotting.accuracy,
}
TASKS = {
    "angle": MemoryPro(),
    "category": FlipFlop(),
    "task": MultiTask(),
    "number": LowRankForecast(),
}


def named_lines(ax: Axes) -> list:
    """Return the lines that the legend shows."""
    return ax.get_legend_handles_labels()[0]


def with_rank(iteration: int, rank) -> NetworkAnalysis:
    """Return an analysis that holds one rank of the NTK."""
    return make_analysis(iteration, ranks=(OperatorRank("NTK", "participation-ratio", rank),))


def assert_intervals(ax: Axes, estimates, iterations) -> None:
    """Compare the bars drawn with the intervals of the estimates, each in its kind."""
    drawn = {
        collection.get_gid(): [segment.tolist() for segment in collection.get_segments()]
        for collection in ax.collections
        if collection.get_gid().endswith("bars")
    }
    wanted: dict[str, list] = {}
    for iteration, each in zip(iterations, estimates, strict=True):
        if not each.is_exact:
            kind = "certain bars" if each.is_certified else "probable bars"
            bar = [[iteration, each.lower], [iteration, each.upper]]
            wanted.setdefault(kind, []).append(bar)
    assert drawn == wanted


@pytest.fixture(autouse=True)
def _settings_stay():
    before = dict(matplotlib.rcParams)
    yield
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("draw", KINDS.values(), ids=KINDS)
def test_every_kind_labels_its_axes_and_is_not_blank(draw) -> None:
    ax = draw(FakeRun())
    assert isinstance(ax, Axes)
    assert ax.get_xlabel()
    assert ax.get_ylabel()
    assert ax.get_figure().get_figwidth() == style.COLUMN_WIDTH
    pixels = rendered(ax.get_figure())
    assert len(np.unique(pixels.reshape(-1, 4), axis=0)) > 20
    assert (pixels[[0, -1]] == 255).all(), "something is cut off at the top or bottom"
    assert (pixels[:, [0, -1]] == 255).all(), "something is cut off at the sides"


@pytest.mark.parametrize("draw", KINDS.values(), ids=KINDS)
def test_every_kind_draws_on_the_axes_it_is_given(draw) -> None:
    ax = Figure(figsize=(5, 4)).subplots()
    with matplotlib.rc_context({"font.size": 13}):
        assert draw(FakeRun(), ax=ax) is ax
    assert ax.has_data()


@pytest.mark.parametrize(
    ("draw", "task"),
    [
        *((draw, TASKS["angle"]) for draw in KINDS.values()),
        *((plotting.modes, TASKS[name]) for name in ("category", "task", "number")),
        *((plotting.trajectories, TASKS[name]) for name in ("category", "task")),
    ],
)
def test_nothing_overlaps(draw, task) -> None:
    assert overlaps(draw(FakeRun(task))) == []


@pytest.mark.parametrize("fault", ["title", "legend"])
def test_a_planted_overlap_is_caught(fault) -> None:
    ax = plotting.modes(FakeRun())
    if fault == "title":
        ax.set_title(ax.get_title(), pad=2)
    else:
        ax.plot([5], [0], label="covers the data")
        ax.legend(loc="center")
    assert overlaps(ax)


def test_figures_are_not_registered_with_pyplot() -> None:
    code = (
        "import sys\n"
        "from tests.cases.analyses import make_analysis\n"
        "from kpflow_numerics import plotting\n"
        "assert 'matplotlib' not in sys.modules\n"
        "plotting.spectra(make_analysis()).get_figure().savefig(sys.argv[1])\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    environment = {"MPLBACKEND": "TkAgg", "PATH": "", "PYTHONPATH": str(Path.cwd())}
    subprocess.run(
        [sys.executable, "-c", code, "/dev/null"],
        check=True,
        env=environment | {"MPLCONFIGDIR": matplotlib.get_configdir(), "HOME": str(Path.home())},
    )


def test_without_matplotlib_the_message_says_how_to_install_it(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'kpflow-numerics\[plot\]'"):
        plotting.spectra(make_analysis())


class TestRankDynamics:
    def test_the_lines_are_the_ranks(self) -> None:
        run = FakeRun()
        lines = named_lines(plotting.rank_dynamics(run))
        assert len(lines) == 3
        for line, operator in zip(lines, ("K", "P", "NTK"), strict=True):
            wanted = [analysis.rank(operator).value for analysis in run.analyses]
            assert list(line.get_xdata()) == [0, 20, 40]
            assert np.array_equal(line.get_ydata(), wanted)

    def test_bars_and_bands_reach_from_lower_to_upper(self) -> None:
        run = FakeRun()
        ax = plotting.rank_dynamics(run)
        assert_intervals(ax, [a.rank("NTK") for a in run.analyses], [0, 20, 40])
        exact = plotting.rank_dynamics(run, operators=["K", "P"])
        assert not exact.collections

    def test_certain_bounds_are_solid_and_intervals_dashed_and_lighter(self) -> None:
        ranks = [
            estimate(3.0, 2.0, 4.0),
            estimate(3.5, 3.0, 4.0),
            estimate(4.0, 3.0, 5.5, standard_error=0.5, confidence=0.95),
            estimate(3.0),
        ]
        ax = plotting.rank_dynamics([with_rank(10 * k, rank) for k, rank in enumerate(ranks)])
        assert_intervals(ax, ranks, [0, 10, 20, 30])
        kinds = {collection.get_gid(): collection for collection in ax.collections}
        assert len(kinds["certain bars"].get_segments()) == 2
        assert len(kinds["probable bars"].get_segments()) == 1
        assert kinds["certain bars"].get_linestyle()[0][1] is None
        assert kinds["probable bars"].get_linestyle()[0][1] is not None
        assert len(kinds["certain bands"].get_paths()) == 1
        assert len(kinds["probable bands"].get_paths()) == 2
        assert kinds["probable bands"].get_alpha() < kinds["certain bands"].get_alpha()
        assert ax.get_legend_handles_labels()[1] == [
            "NTK (exact; certain bounds; 95 % interval, dashed)"
        ]

    @pytest.mark.parametrize("fault", ["dropped", "short", "called certain"])
    def test_a_wrong_bar_is_caught(self, fault) -> None:
        rank = estimate(3.0, 2.0, 4.0, standard_error=0.5, confidence=0.95)
        drawn = {
            "dropped": estimate(3.0),
            "short": estimate(3.0, 2.5, 3.5, standard_error=0.5, confidence=0.95),
            "called certain": estimate(3.0, 2.0, 4.0),
        }[fault]
        ax = plotting.rank_dynamics(with_rank(0, drawn))
        with pytest.raises((AssertionError, KeyError)):
            assert_intervals(ax, [rank], [0])

    @pytest.mark.parametrize(
        ("rank", "label"),
        [
            (estimate(3.0), "(exact)"),
            (estimate(3.0, 2.0, 4.0), "(certain bounds)"),
            (
                estimate(3.0, 2.0, 4.0, standard_error=0.5, confidence=0.95),
                "(95 % interval, dashed)",
            ),
        ],
    )
    def test_the_legend_says_how_ranks_are_known(self, rank, label) -> None:
        ax = plotting.rank_dynamics(with_rank(0, rank))
        assert ax.get_legend_handles_labels()[1] == [f"NTK {label}"]

    def test_the_recipe_stands_on_the_axis(self) -> None:
        ax = plotting.rank_dynamics(FakeRun(), recipe="variance-95-interpolated", operators=["K"])
        assert "95 % of variance, interpolated" in ax.get_ylabel()
        assert ax.get_xlabel() == "Training iteration"

    def test_analyses_are_drawn_in_the_order_of_training(self) -> None:
        ax = plotting.rank_dynamics([make_analysis(60), make_analysis(10)])
        assert list(named_lines(ax)[0].get_xdata()) == [10, 60]

    def test_the_published_recipe_is_not_called_an_effective_rank(self) -> None:
        ax = plotting.rank_dynamics(FakeRun(), recipe="paper-figure-4")
        assert "Effective" not in ax.get_ylabel()
        assert ax.get_ylabel() == "Rank of averaged $AA^*$\n(published Figure 4)"
        assert ax.get_legend_handles_labels()[1] == ["A = K (exact)"]
        assert overlaps(ax) == []

    def test_recipes_have_a_line_each(self) -> None:
        ax = plotting.rank_recipes(FakeRun())
        assert len(named_lines(ax)) == 5
        labels = " ".join(ax.get_legend_handles_labels()[1])
        assert "published Figure 4, of averaged $AA^*$ (exact)" in labels
        assert "$K$" in ax.get_ylabel()

    def test_ranks_that_are_not_there_are_refused(self) -> None:
        with pytest.raises(InputError, match=r"K by 'x'|K by x.*hold K by entropy"):
            plotting.rank_dynamics(FakeRun(), recipe="x", operators=["K"])


class TestQuantities:
    def test_lines_and_intervals_are_the_alignments(self) -> None:
        run = FakeRun()
        ax = plotting.quantity_dynamics(run)
        assert ax.get_legend_handles_labels()[1] == [
            "$K$, $PP^*$ (exact)",
            "$PP^*$, NTK (95 % interval, dashed)",
        ]
        for line, pair in zip(named_lines(ax), (("K", "P"), ("P", "NTK")), strict=True):
            wanted = [a.quantity("alignment", *pair).value for a in run.analyses]
            assert np.array_equal(line.get_ydata(), wanted)
        estimates = [a.quantity("alignment", "P", "NTK") for a in run.analyses]
        assert_intervals(ax, estimates, [0, 20, 40])
        assert ax.get_ylim() == (0.0, 1.0)
        assert ax.get_ylabel() == "Alignment"

    def test_another_quantity_can_be_named(self) -> None:
        ax = plotting.quantity_dynamics(FakeRun(), name="trace")
        assert ax.get_ylabel() == "Trace"
        assert len(named_lines(ax)) == 1

    @pytest.mark.parametrize(
        ("name", "of", "control"),
        [
            ("cosine over trials and steps", ("NTK", "core"), ("NTK", "ones")),
            ("centred cosine over trials and steps", ("NTK", "core"), ("NTK", "ones")),
            ("share in the leading modes", ("dh",), ("chance",)),
            ("share in the leading modes", ("dh",), ("dh of random errors",)),
        ],
    )
    def test_controls_are_dotted(self, name, of, control) -> None:
        held = tuple(OperatorQuantity(name, each, estimate(0.75)) for each in (of, control))
        run = FakeRun(analyses=[make_analysis(k, quantities=held) for k in (0, 40)])
        ax = plotting.quantity_dynamics(run, name=name)
        assert [line.get_linestyle() for line in named_lines(ax)] == ["-", ":"]
        assert ax.get_ylim() == (0.0, 1.0)
        assert overlaps(ax) == []

    def test_many_lines_have_room_for_their_names(self) -> None:
        name = "share in the leading modes"
        exact = ("dh", "P P* err", "err", "chance")
        random = ("dh of random errors", "dh of random output errors")
        sampled = estimate(0.5, 0.4, 0.6, standard_error=0.05, confidence=0.95)
        held = tuple(OperatorQuantity(name, (each,), estimate(0.25)) for each in exact)
        held += tuple(OperatorQuantity(name, (each,), sampled) for each in random)
        run = FakeRun(analyses=[make_analysis(k, quantities=held) for k in (0, 40)])
        ax = plotting.quantity_dynamics(run, name=name)
        assert len(named_lines(ax)) == 6
        figure = ax.get_figure()
        heights = []
        for height in (figure.get_figheight(), 2.4):
            figure.set_figheight(height)
            assert overlaps(ax) == []
            heights.append(ax.get_window_extent().height / figure.dpi)
        # With the height of a figure of two lines the names would leave the axes half as much.
        assert heights[0] > 1.3 > heights[1]

    def test_what_is_not_there_is_refused(self) -> None:
        with pytest.raises(InputError, match="quantity 'x'; they hold alignment, trace"):
            plotting.quantity_dynamics(FakeRun(), name="x")
        with pytest.raises(InputError, match="they hold none"):
            plotting.quantity_dynamics(make_analysis(quantities=()))
        with pytest.raises(InputError, match="holds no finite Lyapunov exponent"):
            plotting.lyapunov_spectrum(make_analysis())

    def test_exponents_have_their_intervals_and_those_of_minus_infinity_are_left_out(self) -> None:
        found = make_exponents()
        ax = plotting.lyapunov_spectrum(make_analysis(lyapunov=found))
        assert overlaps(ax) == []
        line = named_lines(ax)[-1]
        assert list(line.get_xdata()) == [1, 2, 3, 4, 5, 6]
        assert np.array_equal(line.get_ydata(), found["exponents"][:6])
        segments = np.array(ax.collections[0].get_segments())
        assert np.array_equal(segments[:, 0, 1], found["lower"][:6])
        assert np.array_equal(segments[:, 1, 1], found["upper"][:6])
        assert "per step" in ax.get_ylabel()


class TestSpectra:
    def test_the_lines_are_the_eigenvalues(self) -> None:
        analysis = make_analysis()
        ax = plotting.spectra(analysis)
        assert ax.get_yscale() == "log"
        for line, operator in zip(ax.lines, ("K", "P", "NTK"), strict=True):
            assert np.array_equal(line.get_xdata(), np.arange(1, 21))
            assert np.array_equal(line.get_ydata(), analysis.spectra[operator])

    def test_an_incomplete_spectrum_is_marked(self) -> None:
        complete = {"K": True, "P": False, "NTK": True}
        ax = plotting.spectra(make_analysis(complete=complete))
        assert [line.get_markerfacecolor() == "white" for line in ax.lines] == [False, True, False]
        assert "$PP^*$ (incomplete)" in ax.get_legend_handles_labels()[1]

    def test_zeros_are_left_out(self) -> None:
        values = np.array([4.0, 1.0, 1e-17, 0.0, -1e-18])
        ax = plotting.spectra(make_analysis(spectra={"NTK": values}))
        assert list(ax.lines[0].get_ydata()) == [4.0, 1.0]

    def test_the_index_chooses_the_analysis(self) -> None:
        run = FakeRun()
        run.analyses[0].spectra["K"][:] = 1.5
        assert (plotting.spectra(run, index=0).lines[0].get_ydata() == 1.5).all()
        assert (plotting.spectra(run).lines[0].get_ydata() != 1.5).any()

    def test_what_is_not_there_is_refused(self) -> None:
        with pytest.raises(InputError, match="no spectrum of X; it holds those of K, P, NTK"):
            plotting.spectra(make_analysis(), operators=["X"])
        with pytest.raises(InputError, match="index must be from -1 to 0; got 1"):
            plotting.spectra(make_analysis(), index=1)


class TestModes:
    def test_a_line_a_trial_over_the_steps(self) -> None:
        run = FakeRun()
        ax = plotting.modes(run, operator="K", mode=1)
        assert len(ax.lines) == 6
        for line, course in zip(ax.lines, run.analyses[-1].modes["K"][1], strict=True):
            assert np.array_equal(line.get_xdata(), np.arange(1, 13))
            assert np.array_equal(line.get_ydata(), course)
        assert ax.get_title() == "K mode 2, course holds 100 %"
        assert ax.get_xlabel() == "Step"

    def test_periods_are_shaded_and_named(self) -> None:
        ax = plotting.modes(FakeRun())
        spans = [
            patch.get_window_extent().transformed(ax.transData.inverted()) for patch in ax.patches
        ]
        assert [text.get_text() for text in ax.texts] == ["stimulus", "memory", "response"]
        assert np.allclose(
            [(span.x0, span.x1) for span in spans], [(0.5, 4.5), (4.5, 7.5), (7.5, 12.5)]
        )

    def test_colours_are_those_of_the_angles(self) -> None:
        ax = plotting.modes(FakeRun())
        angles = TASK.evaluation_batch(6).conditions["angle"]
        assert np.allclose([line.get_color() for line in ax.lines], style.angle_colours(angles))

    def test_another_condition_can_be_named(self) -> None:
        ax = plotting.modes(FakeRun(MultiTask(), 8), condition="task")
        assert len({tuple(line.get_color()) for line in ax.lines}) == 4
        by_angle = plotting.modes(FakeRun(MultiTask(), 8), condition="angle")
        assert len({tuple(line.get_color()) for line in by_angle.lines}) == 2

    def test_without_trials_lines_are_grey_and_nothing_is_shaded(self) -> None:
        ax = plotting.modes(make_analysis())
        assert len({tuple(line.get_color()) for line in ax.lines}) == 1
        assert not ax.patches
        assert ax.get_figure().axes == [ax]

    def test_what_is_not_there_is_refused(self) -> None:
        run = FakeRun()
        with pytest.raises(InputError, match="operator must be one of 'K', 'NTK'; got 'P'"):
            plotting.modes(run, operator="P")
        with pytest.raises(InputError, match="mode must be from 0 to 2; got 3"):
            plotting.modes(run, mode=3)
        with pytest.raises(InputError, match="condition must be one of 'angle'; got 'angel'"):
            plotting.modes(run, condition="angel")
        with pytest.raises(InputError, match="the 6 trials of 12 steps that were analysed; got 5"):
            plotting.modes(make_analysis(), batch=TASK.evaluation_batch(5))


class TestTrajectories:
    def test_lines_are_the_scores_and_ends_are_marked(self) -> None:
        run = FakeRun()
        scores = run.analyses[-1].principal_components
        ax = plotting.trajectories(run, components=(2, 0))
        assert len(ax.lines) == 18
        for trial in range(6):
            line, first, last = ax.lines[3 * trial : 3 * trial + 3]
            assert np.array_equal(line.get_xydata(), scores[trial][:, [2, 0]])
            assert np.array_equal(first.get_xydata()[0], scores[trial, 0, [2, 0]])
            assert np.array_equal(last.get_xydata()[0], scores[trial, -1, [2, 0]])

    def test_axes_name_the_share_of_the_variance_and_have_one_scale(self) -> None:
        ax = plotting.trajectories(FakeRun(), components=(2, 0))
        assert ax.get_xlabel() == "PC 3 (12.5 % of variance)"
        assert ax.get_ylabel() == "PC 1 (50 % of variance)"
        assert ax.get_aspect() == 1.0

    def test_components_must_differ(self) -> None:
        with pytest.raises(InputError, match=r"two different ones; got \(1, 1\)"):
            plotting.trajectories(make_analysis(), components=(1, 1))
        with pytest.raises(InputError, match="components must be from 0 to 2; got 3"):
            plotting.trajectories(make_analysis(), components=(0, 3))


class TestTraining:
    def test_lines_are_the_losses(self) -> None:
        run = FakeRun()
        ax = plotting.loss(run)
        batches, evaluations = ax.lines
        assert ax.get_ylabel() == "Loss", "which loss it is depends on the task"
        assert np.array_equal(batches.get_xdata(), np.arange(40))
        assert np.array_equal(batches.get_ydata(), run.losses)
        assert list(evaluations.get_xdata()) == [0, 20, 40]
        assert list(evaluations.get_ydata()) == [a.evaluation_loss for a in run.analyses]

    def test_accuracy_runs_from_0_to_1(self) -> None:
        run = FakeRun()
        ax = plotting.accuracy(run)
        assert list(ax.lines[0].get_ydata()) == [a.accuracy for a in run.analyses]
        assert ax.get_ylim() == (0.0, 1.0)

    def test_without_history_nothing_is_drawn(self) -> None:
        nothing = plotting.History(*[np.array([])] * 4)
        with pytest.raises(InputError, match="no losses to draw"):
            plotting.loss(nothing)
        with pytest.raises(InputError, match="no accuracies to draw"):
            plotting.accuracy(nothing)
        with pytest.raises(InputTypeError, match="drawn from a run file.*got dict"):
            plotting.loss({})


class TestSources:
    def test_an_analysis_a_sequence_and_a_run_are_accepted(self) -> None:
        run = FakeRun(iterations=(30,))
        for source in (run, run.analyses, run.analyses[0], plotting.read_record(run)):
            assert plotting.spectra(source).lines

    @pytest.mark.parametrize("source", [3, {"a": 1}, [1, 2], None])
    def test_anything_else_is_refused(self, source) -> None:
        with pytest.raises(InputTypeError, match="A figure is drawn from a run file"):
            plotting.spectra(source)

    def test_no_analysis_is_refused(self) -> None:
        with pytest.raises(InputError, match="Analyse the run first"):
            plotting.spectra([])
        run = FakeRun()
        run.analyses = []
        with pytest.raises(InputError, match="Analyse the run first"):
            plotting.spectra(run)

    def test_axes_of_another_kind_are_refused(self) -> None:
        with pytest.raises(InputTypeError, match="ax must be a matplotlib Axes or None; got str"):
            plotting.spectra(make_analysis(), ax="here")


class TestStyle:
    def test_angles_close_the_circle_and_stay_dark_enough_to_see(self) -> None:
        turn = np.linspace(0, 2 * np.pi, 73)
        colours = style.angle_colours(turn)
        assert np.allclose(colours[0], colours[-1])
        assert colours.min() >= 0
        assert colours.max() <= 1
        linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
        luminance = linear @ [0.2126, 0.7152, 0.0722]
        contrast_with_white = 1.05 / (luminance + 0.05)
        assert contrast_with_white.min() > 1.9

    def test_angles_stay_apart_for_those_who_confuse_red_and_green(self) -> None:
        turn = np.linspace(0, 2 * np.pi, 12, endpoint=False)
        colours = style.angle_colours(turn)
        linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
        # Deuteranopia after Vienot, Brettel and Mollon (1999).
        matrix = [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]]
        seen = np.sqrt(np.clip(linear @ np.transpose(matrix), 0, 1))
        distances = np.linalg.norm(seen[:, None] - seen, axis=2) + np.eye(12)
        assert distances.min() > 0.05


FORMATS = {".pdf": b"%PDF", ".svg": b"<?xml", ".png": b"\x89PNG"}


class TestSaving:
    def test_every_figure(self, tmp_path) -> None:
        quantities = tuple(
            OperatorQuantity(name, of, estimate(0.5))
            for name, of in (
                ("alignment", ("K", "P")),
                ("share in the leading modes", ("dh",)),
                ("centred cosine over trials and steps", ("K", "core")),
                ("cosine over trials and steps", ("K", "core")),
            )
        )
        held = {"lyapunov": make_exponents(), "quantities": quantities}
        run = FakeRun(analyses=[make_analysis(k, **held) for k in (0, 20)])
        paths = plotting.save_figures(run, tmp_path / "new", formats=("pdf",))
        names = ["training", "ranks", "ranks-K-recipes", "ranks-published", "alignments"]
        names += ["core-cosines", "core-cosines-centred", "self-reference"]
        names += ["lyapunov", "spectra", "modes", "trajectories"]
        assert [path.name for path in paths] == [f"{name}.pdf" for name in names]
        assert sorted(paths) == sorted((tmp_path / "new").iterdir())

    def test_a_network_trained_elsewhere_has_no_history_and_the_same_bytes_each_time(
        self, tmp_path
    ) -> None:
        one_mode = {"modes": {"K": np.ones((1, 6, 12))}, "mode_fractions": {"K": np.ones(1)}}
        run = FakeRun(analyses=[make_analysis(**one_mode)], losses=np.array([]))
        written = []
        for folder in ("a", "b"):
            paths = plotting.save_figures(run, tmp_path / folder, formats=("pdf", "svg", "png"))
            assert {path.stem for path in paths} == {"spectra", "modes", "trajectories"}
            assert all(path.read_bytes().startswith(FORMATS[path.suffix]) for path in paths)
            written.append([path.read_bytes() for path in paths])
        assert written[0] == written[1]

    def test_modes_name_their_iteration(self) -> None:
        figures = dict(plotting.run_figures(FakeRun()))
        labels = {ax.get_xlabel() for ax in figures["modes"].axes} - {""}
        last = FakeRun().analyses[-1].iteration
        assert f"Step, at iteration {last:,}" in labels

    def test_what_was_not_found_is_left_out(self) -> None:
        bare = make_analysis(spectra={}, modes={}, mode_fractions={})
        run = FakeRun(analyses=[bare], losses=np.array([]))
        assert [name for name, _ in plotting.run_figures(run)] == ["trajectories"]

    @pytest.mark.parametrize("task", [TASKS["task"], TASKS["number"]])
    def test_composites_are_not_cut_off(self, task) -> None:
        for name, figure in plotting.run_figures(FakeRun(task)):
            if name not in ("modes", "trajectories"):
                continue
            pixels = rendered(figure)
            assert len(np.unique(pixels.reshape(-1, 4), axis=0)) > 20, name
            assert (pixels[[0, -1]] == 255).all(), name
            assert (pixels[:, [0, -1]] == 255).all(), name

    def test_existing_files_can_be_kept(self, tmp_path) -> None:
        (tmp_path / "spectra.pdf").touch()
        with pytest.raises(InputError, match=r"spectra\.pdf.*already exist.*overwrite=True"):
            plotting.save_figures(FakeRun(), tmp_path, overwrite=False)

    def test_unknown_formats_are_refused(self, tmp_path) -> None:
        with pytest.raises(InputError, match="formats must be one of 'pdf', 'svg', 'png'"):
            plotting.save_figures(FakeRun(), tmp_path, formats=("jpg",))

    def test_a_failure_leaves_no_partial_file(self, tmp_path, monkeypatch) -> None:
        def fail(*_, **__):
            raise OSError("no space left")

        monkeypatch.setattr(Figure, "savefig", fail)
        with pytest.raises(OSError, match="no space left"):
            plotting.save_figures(FakeRun(), tmp_path)
        assert list(tmp_path.iterdir()) == []


class TestInlineSvg:
    def test_ids_of_two_figures_never_meet(self) -> None:
        texts = [
            plotting.inline_svg(plotting.spectra(FakeRun()).get_figure(), prefix, "a < b")
            for prefix in ("one", "two")
        ]
        ids = [set(re.findall(r'\sid="([^"]+)"', text)) for text in texts]
        assert all(ids)
        assert not ids[0] & ids[1]
        for text, known in zip(texts, ids, strict=True):
            used = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', text)
            assert used
            assert {a or b for a, b in used} <= known

    def test_it_is_deterministic_and_refers_to_nothing_outside(self) -> None:
        draw = [
            plotting.inline_svg(plotting.modes(FakeRun()).get_figure(), "x", 'say "what" & <why>')
            for _ in range(2)
        ]
        assert draw[0] == draw[1]
        assert "http" not in draw[0]
        assert "<metadata" not in draw[0]
        assert 'aria-label="say &quot;what&quot; &amp; &lt;why&gt;"' in draw[0]


def test_the_columns_of_a_key_are_even() -> None:
    from kpflow_numerics.plotting._axes import _columns

    handles = [Line2D([], [], label="memory-pro") for _ in range(4)]
    assert [_columns(handles, width) for width in (0.5, 2.0, 2.6, 6.8)] == [1, 2, 2, 4]


def test_ticks_of_training_are_where_checkpoints_are() -> None:
    from kpflow_numerics.plotting._axes import integer_ticks

    ax = Figure().add_subplot()
    ax.plot([0, 300], [0.0, 1.0])
    integer_ticks(ax)
    shown = [tick for tick in ax.get_xticks() if 0 <= tick <= 300]
    assert shown == [0, 100, 200, 300]
