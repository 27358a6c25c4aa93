"""The merged result: a labelled grid, in memory, in the file, in xarray, in figures and a page."""

from __future__ import annotations

import json
import re
import tomllib
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import h5py
import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics import plotting
from kpflow_numerics._errors import InputError
from kpflow_numerics.experiments.sweep.cell import first_below
from kpflow_numerics.experiments.sweep.directory import SweepDirectory
from kpflow_numerics.experiments.sweep.plan import make_plan
from kpflow_numerics.experiments.sweep.report import (
    CONTROLLED,
    Shown,
    cell_text,
    report_sweep,
    shown_results,
    sweep_figures,
)
from kpflow_numerics.experiments.sweep.worker import work
from kpflow_numerics.plotting._sweep import sweep_lines
from kpflow_numerics.store import GridVariable, RunFile, SweepGrid

BASE = {
    "task": {"n_stimulus": 2, "n_memory": 2, "n_response": 2},
    "cell": {"kind": "vanilla-rnn", "n_units": 4},
    "training": {
        "n_iterations": 8, "batch_size": 3, "checkpoint_every": 4, "optimizer": "sgd",
        "clip_norm": 1e300,
    },
    "analysis": {
        "n_trials": 2, "n_checkpoints": 2, "n_eigenpairs": 3, "recipes": ["entropy"],
        "quantities": ["trace", "lyapunov"],
    },
}  # fmt: skip
AXES = {
    "training.learning_rate": [1e-3, 1e-2, 1e200],
    "size": {"cell.n_units": [4, 3], "cell.gain": [1.0, 0.5]},
    "training.seed": "5:7",
}
KEEP = ["loss-curve", "ranks", "quantities", "lyapunov", "spectra"]


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> SweepDirectory:
    place = tmp_path_factory.mktemp("merged") / "sweep"
    kpf.plan_sweep(BASE, AXES, place, keep=KEEP, tolerances=[0.2, 1e-9])
    found = SweepDirectory.open(place)
    work(found, lambda *_: None)
    return found


@pytest.fixture(scope="module")
def grid(directory) -> SweepGrid:
    return kpf.merge_sweep(directory.path)


@pytest.fixture(scope="module")
def page(directory) -> str:
    return report_sweep(directory.path).read_text(encoding="utf-8")


def test_every_cell_stands_at_its_place(directory, grid) -> None:
    assert grid.shape == (3, 2, 2)
    np.testing.assert_array_equal(
        grid.status, np.array([0, 0, 1])[:, None, None] + np.zeros((3, 2, 2))
    )
    plan = directory.plan
    for index in range(8):
        place = plan.places(index)
        with RunFile.open(directory.run_file(index)) as run:
            analyses, last = run.analyses, run.checkpoint(-1)
            losses = np.append(run.losses, last.loss)
        assert grid.select("final_loss")[place] == last.loss
        np.testing.assert_array_equal(grid.variables["loss"].values[place], losses)
        found = grid.select("iterations_to_tolerance", tolerance=0.2)[place]
        np.testing.assert_equal(
            found, np.nan if first_below(losses, 0.2) is None else first_below(losses, 0.2)
        )
        for at, analysis in enumerate(analyses):
            assert grid.variables["checkpoint_iteration"].values[(*place, at)] == analysis.iteration
            for entry in analysis.ranks:
                where = {"operator": entry.operator, "recipe": entry.recipe, "checkpoint": at}
                assert grid.select("rank", **where)[place] == entry.estimate.value
                assert grid.select("rank_lower", **where)[place] == entry.estimate.lower
                assert grid.select("rank_upper", **where)[place] == entry.estimate.upper
            trace = grid.select("quantity_value", quantity="trace of K", checkpoint=at)[place]
            assert trace == analysis.quantity("trace", "K").value
            exponents = analysis.lyapunov["exponents"]
            held = grid.variables["lyapunov"].values[(*place, at)]
            np.testing.assert_array_equal(held[: len(exponents)], exponents)
            assert np.isnan(held[len(exponents) :]).all()
            row = list(grid.coordinates["operator"]).index("NTK")
            values = grid.variables["eigenvalue"].values[(*place, at, row)]
            np.testing.assert_array_equal(
                values[: len(analysis.spectra["NTK"])], analysis.spectra["NTK"]
            )


def test_a_tolerance_is_reached_at_the_first_loss_below() -> None:
    losses = np.array([0.5, 0.2, 0.3, 0.1])
    assert [first_below(losses, each) for each in (0.6, 0.2, 0.15, 0.05)] == [0, 1, 3, None]


def test_the_file_holds_what_was_merged(directory, grid) -> None:
    read = SweepGrid.open(directory.path / "sweep.h5")
    assert repr(read) == repr(grid)
    assert read.axes == grid.axes == ("learning_rate", "size", "seed")
    assert read.variables.keys() == grid.variables.keys()
    for name, variable in grid.variables.items():
        assert read.variables[name].dims == variable.dims
        np.testing.assert_array_equal(read.variables[name].values, variable.values)
        assert read.variables[name].long_name
    for name, values in grid.coordinates.items():
        np.testing.assert_array_equal(read.coordinates[name], values)
    np.testing.assert_array_equal(read.linked["size"]["cell.n_units"], [4, 3])
    assert read.failures == grid.failures
    assert len(read.failures) == 4
    assert tomllib.loads(read.plan_toml) == tomllib.loads(directory.plan.to_toml())
    assert {"numpy", "threads", "platform"} <= set(read.provenance)


def test_xarray_opens_it_as_a_labelled_grid(directory, grid) -> None:
    xarray = pytest.importorskip("xarray")
    path = directory.path / "sweep.h5"
    with xarray.open_dataset(path, engine="h5netcdf") as data:
        assert data["rank"].dims == (
            "learning_rate",
            "size",
            "seed",
            "checkpoint",
            "operator",
            "recipe",
        )
        chosen = data["rank"].sel(
            learning_rate=1e-2, seed=6, operator="K", recipe="entropy", checkpoint=1
        )
        wanted = grid.select(
            "rank", operator="K", recipe="entropy", checkpoint=1, learning_rate=1e-2, seed=6
        )
        np.testing.assert_array_equal(chosen.values, wanted)
        np.testing.assert_array_equal(data["cell_n_units"].values, [4, 3])
        assert "cell_n_units" in data.coords
        assert data["rank"].attrs["ancillary_variables"].split()[:2] == ["rank_lower", "rank_upper"]
        assert data["status"].attrs["flag_meanings"] == "done failed unfinished damaged"
        for name, variable in data.variables.items():
            assert variable.attrs["long_name"], name
    with xarray.open_datatree(path, engine="h5netcdf") as tree:
        assert set(tree.groups) == {"/", "/failures", "/provenance"}
        assert "TrainingDiverged" in str(tree["failures/error"].values[0])
        assert tree["provenance/seconds"].attrs["units"] == "s"


def test_merging_twice_gives_the_same_bytes(directory, tmp_path) -> None:
    first, second = tmp_path / "a.h5", tmp_path / "b.h5"
    kpf.merge_sweep(directory.path, first)
    kpf.merge_sweep(directory.path, second)
    assert first.read_bytes() == second.read_bytes()


def test_only_a_merged_file_of_the_same_sweep_is_replaced(directory, make, tmp_path) -> None:
    merged = tmp_path / "merged.h5"
    kpf.merge_sweep(directory.path, merged)
    other = make({"cell.gain": [0.5, 1.0]}, base=BASE)
    kpf.merge_sweep(other)
    run, text = tmp_path / "run.h5", tmp_path / "notes.txt"
    kpf.train(kpf.VanillaRNN(3, 4), kpf.MemoryPro(2, 1, 2), n_iterations=1, store=run)
    text.write_text("mine")
    for file in (run, text, merged):
        before = file.read_bytes()
        with pytest.raises(InputError, match="exists and is not a merged file of this sweep"):
            kpf.merge_sweep(other, file)
        assert file.read_bytes() == before
    with pytest.raises(InputError, match="exists and is not a merged file of this sweep"):
        kpf.merge_sweep(other, tmp_path)
    kpf.merge_sweep(directory.path, merged)
    with pytest.raises(InputError, match="not a run file .* It is a merged sweep: kpf.SweepGrid"):
        RunFile.open(merged)


def test_a_sweep_that_has_not_begun_can_be_merged(make) -> None:
    place = make({"cell.gain": [0.5, 1.0]}, base=BASE)
    grid = kpf.merge_sweep(place)
    np.testing.assert_array_equal(grid.status, [2, 2])
    assert np.isnan(grid.select("final_loss")).all()
    assert "2 unfinished" in report_sweep(place).read_text()


def test_the_last_checkpoint_is_that_of_each_cell() -> None:
    values = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, np.nan], [np.nan] * 3])
    grid = SweepGrid(
        axes=("gain",),
        coordinates={"gain": np.arange(3.0), "checkpoint": np.arange(3)},
        variables={"accuracy": GridVariable(("gain", "checkpoint"), values, "accuracy")},
    )
    np.testing.assert_array_equal(grid.select("accuracy", checkpoint="last"), [3.0, 5.0, np.nan])
    np.testing.assert_array_equal(grid.select("accuracy", checkpoint="first"), [1.0, 4.0, np.nan])


@pytest.mark.parametrize(
    ("name", "places", "message"),
    [
        ("rnak", {}, "Did you mean 'rank'"),
        ("rank", {"operator": "K", "recipe": "entropy"}, "further dimensions checkpoint"),
        ("final_loss", {"operator": "K"}, "final_loss has no dimension 'operator'"),
        ("final_loss", {"seed": 9}, "seed has no place 9"),
        ("accuracy", {"checkpoint": "end"}, '"first" or "last"'),
    ],
)
def test_bad_selections_are_refused(grid, name, places, message) -> None:
    with pytest.raises(ValueError, match=message):
        grid.select(name, **places)


def test_files_that_are_no_merged_sweep_are_refused(directory, tmp_path) -> None:
    with pytest.raises(ValueError, match="Merge the sweep"):
        SweepGrid.open(tmp_path / "absent.h5")
    with pytest.raises(ValueError, match="not a merged sweep"):
        SweepGrid.open(directory.run_file(0))
    (tmp_path / "text.h5").write_text("no")
    with pytest.raises(ValueError, match="cannot be read as HDF5"):
        SweepGrid.open(tmp_path / "text.h5")


def made_up(values, **axes) -> SweepGrid:
    status = np.zeros(np.shape(values), np.int8)
    dims = tuple(axes)
    return SweepGrid(
        axes=dims,
        coordinates={name: np.asarray(places) for name, places in axes.items()},
        variables={
            "status": GridVariable(dims, status, "state"),
            "final_loss": GridVariable(dims, np.asarray(values, float), "loss"),
            "iterations_to_tolerance": GridVariable(dims, np.asarray(values, float), "iterations"),
        },
    )


def test_lines_are_medians_over_the_seeds() -> None:
    values = np.arange(24.0).reshape(2, 4, 3) ** 2
    grid = made_up(values, gain=[0.5, 1.0], rate=[1e-3, 1e-2, 1e-1, 1.0], seed=[5, 6, 7])
    lines, pooled = sweep_lines(grid, "final_loss", "gain", {})
    assert pooled == ("seed",)
    assert [line.label for line in lines] == [
        "rate = 0.001",
        "rate = 0.01",
        "rate = 0.1",
        "rate = 1",
    ]
    found = [[point.median for point in line.points] for line in lines]
    np.testing.assert_array_equal(found, np.median(values, axis=2).T)
    assert lines[0].points[0].confidence == 0.75


def test_what_is_never_reached_is_later_than_all() -> None:
    grid = made_up([[3.0, np.nan, 5.0], [np.nan, np.nan, 7.0]], gain=[0.5, 1.0], seed=[5, 6, 7])
    (line,), _ = sweep_lines(grid, "iterations_to_tolerance", "gain", {})
    assert [point.median for point in line.points] == [5.0, np.inf]
    assert [point.upper for point in line.points] == [np.inf, np.inf]
    (line,), _ = sweep_lines(grid, "final_loss", "gain", {})
    assert [point.median for point in line.points] == [4.0, 7.0]


def test_the_figure_shows_the_lines() -> None:
    grid = made_up([[3.0, np.nan, 5.0], [np.nan, np.nan, 7.0]], gain=[0.5, 1.0], seed=[5, 6, 7])
    ax = plotting.sweep(grid, "iterations_to_tolerance", along="gain")
    marks = [line for line in ax.lines if line.get_gid() == "not reached"]
    assert [list(mark.get_xdata()) for mark in marks] == [[1.0]]
    curves = [line for line in ax.lines if line.get_gid() is None]
    assert [list(curve.get_ydata()) for curve in curves] == [[5.0]]
    assert ax.get_xlabel() == "gain"


def test_no_line_joins_words_and_no_mark_hides_another() -> None:
    values = [[[3.0, 4.0], [3.0, 4.0]], [[5.0, 6.0], [5.0, 6.0]]]
    grid = made_up(values, cell=["gru", "lstm"], gain=[0.5, 1.0], seed=[5, 6])
    curves = plotting.sweep(grid, "final_loss", along="cell").lines
    assert [curve.get_linestyle() for curve in curves] == ["None", "None"]
    first, second = (curve.get_xdata() for curve in curves)
    assert (first < second).all()
    curves = plotting.sweep(grid, "final_loss", along="gain").lines
    assert {curve.get_linestyle() for curve in curves} == {"-"}


def test_figures_refuse_what_they_cannot_draw(grid, tmp_path) -> None:
    with pytest.raises(ValueError, match="along must be one of 'learning_rate', 'size', 'seed'"):
        plotting.sweep(grid, "final_loss", along="gain")
    with pytest.raises(ValueError, match="narrowed to one place"):
        plotting.sweep(grid, "final_loss", along="seed", seed=5)
    with pytest.raises(ValueError, match="No run of the sweep holds final_loss"):
        plotting.sweep(grid, "final_loss", along="seed", learning_rate=1e200)
    with pytest.raises(TypeError, match="drawn from a SweepGrid"):
        plotting.sweep(3, along="seed")


def test_the_report_is_one_page_that_needs_nothing(directory, grid, page) -> None:
    text = page
    assert "Sweep over learning_rate, size and seed" in text
    assert "4 failed" in text
    assert text.count("<svg viewBox") == len(list((directory.path / "figures").glob("*.svg"))) > 4
    assert "TrainingDiverged" in text
    assert not re.search(r'(?:src|href)="(?!#)', text)
    assert "http" not in re.sub(r"https?://[^\s<]*", "", text)
    assert "Against learning_rate" in text
    assert "Against seed" not in text
    rows = re.findall(r"<tr><th scope=\"row\" class=\"number\">(\d+)</th>", text)
    assert [int(row) for row in rows[:12]] == list(range(12))
    final = grid.select("final_evaluation_loss")[0, 1, 1]
    assert f"{final:.4g}" in text


def test_a_tolerance_that_is_never_reached_is_no_unknown_number() -> None:
    tolerance, loss = Shown("iterations_to_tolerance", {}, "", ""), Shown("final_loss", {}, "", "")
    assert cell_text(tolerance, np.nan, "done") == "∞"
    assert cell_text(tolerance, 12.0, "done") == "12"
    assert cell_text(tolerance, np.nan, "failed") == cell_text(loss, np.nan, "done") == "–"


@pytest.mark.usefixtures("page")
def test_a_figure_stands_alone(directory) -> None:
    for path in (directory.path / "figures").glob("*.svg"):
        root = ElementTree.fromstring(path.read_text(encoding="utf-8"))
        assert root.tag == "{http://www.w3.org/2000/svg}svg"


def test_a_sweep_over_words(make) -> None:
    axes = {"cell.kind": ["gru", "lstm"], "task.name": ["memory-pro", "memory-anti"]}
    base = {**BASE, "cell": {"n_units": 3}}
    place = make(axes, base=base, keep=["loss-curve"])
    work(SweepDirectory.open(place), lambda *_: None)
    grid = kpf.merge_sweep(place)
    assert grid.axes == ("cell", "task")
    assert np.isfinite(grid.select("final_loss", cell="lstm", task="memory-anti"))
    assert "Against cell" in report_sweep(place).read_text(encoding="utf-8")
    with h5py.File(place / "sweep.h5") as file:
        assert list(file["cell"].asstr()) == ["gru", "lstm"]


def test_the_toml_of_the_page_is_a_plan() -> None:
    page = Path(__file__).resolve().parents[3] / "docs" / "sweeps.rst"
    text = page.read_text(encoding="utf-8")
    block = re.search(r"code-block:: toml\n\n(.*?)\n\n\S", text, re.DOTALL)
    assert block is not None
    tables = tomllib.loads(re.sub(r"^   ", "", block[1], flags=re.MULTILINE))
    sweep = tables.pop("sweep")
    plan = make_plan(tables, sweep.pop("axes"), **sweep)
    assert plan.shape == (3, 5, 5, 2)
    assert json.dumps(sweep["keep"]) == json.dumps(list(plan.keep))


@pytest.fixture(scope="module")
def controlled(tmp_path_factory) -> SweepGrid:
    """A sweep that holds core and self-reference."""
    place = tmp_path_factory.mktemp("controlled") / "sweep"
    quantities = ["alignment", "core-cosine", "self-reference"]
    base = {**BASE, "analysis": {**BASE["analysis"], "quantities": quantities}}
    kpf.plan_sweep(base, {"cell.gain": [0.5, 1.0], "training.seed": "5:8"}, place)
    work(SweepDirectory.open(place), lambda *_: None)
    return kpf.merge_sweep(place)


def test_the_report_draws_core_and_self_reference_with_their_controls(controlled) -> None:
    shown = [each for each in shown_results(controlled) if each.places.get("quantity") in
             [quantity for quantity, _, _ in CONTROLLED]]  # fmt: skip
    assert [(each.places["quantity"], each.control, each.note) for each in shown] == [
        (quantity, None if control is None else {"quantity": control}, note)
        for quantity, control, note in CONTROLLED
    ]
    captions = " ".join(caption for _, caption in dict(sweep_figures(controlled)).values())
    for each in shown:
        assert f"{each.caption}, against gain. {each.note}" in captions


def test_a_sweep_without_them_does_not(grid) -> None:
    assert not any(each.control for each in shown_results(grid))


@pytest.mark.parametrize(("quantity", "control", "_"), CONTROLLED)
def test_marks_are_the_quantity_and_hollow_marks_its_control(
    controlled, quantity, control, _
) -> None:
    given = None if control is None else {"quantity": control}
    ax = plotting.sweep(
        controlled, "quantity_value", along="gain", control=given, quantity=quantity,
        checkpoint="last",
    )  # fmt: skip
    drawn = {line.get_gid(): line for line in ax.lines if len(line.get_xdata())}
    for name, gid in ((quantity, None), (control, "control")):
        assert (name is not None) == (gid in drawn)
        if name is not None:
            values = controlled.select("quantity_value", quantity=name, checkpoint="last")
            np.testing.assert_array_equal(drawn[gid].get_ydata(), np.median(values, axis=1))
            assert drawn[gid].get_fillstyle() == ("none" if gid else "full")
    assert ax.get_ylim() == (0.0, 1.0)
    legend = ax.get_figure().legends[0]
    assert any("control" in text.get_text() for text in legend.get_texts()) == bool(control)
