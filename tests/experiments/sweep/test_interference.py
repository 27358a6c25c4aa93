"""The interference of tasks in a merged sweep: every matrix under the names of its own tasks."""

from __future__ import annotations

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics import plotting
from kpflow_numerics.experiments.sweep.cell import INTERFERENCE_FIELDS
from kpflow_numerics.experiments.sweep.directory import SweepDirectory
from kpflow_numerics.experiments.sweep.report import MOST_PAIRS, shown_results, sweep_figures
from kpflow_numerics.experiments.sweep.worker import work
from kpflow_numerics.store import GridVariable, RunFile, SweepGrid

BASE = {
    "task": {"name": "multi-task", "n_stimulus": 2, "n_memory": 2, "n_response": 2},
    "cell": {"kind": "vanilla-rnn", "n_units": 4},
    "training": {"n_iterations": 8, "batch_size": 4, "checkpoint_every": 4},
    "analysis": {
        "n_trials": 8, "n_checkpoints": 3, "n_eigenpairs": 3, "recipes": ["entropy"],
        "quantities": ["trace"],
    },
}  # fmt: skip
AXES = {
    "what": {
        "task.name": ["multi-task", "memory-pro", "multi-task"],
        "analysis.interference": ["tasks", "tasks", "conditions"],
    },
    "training.seed": "5:7",
}
VARIABLES = dict(
    zip(
        INTERFERENCE_FIELDS,
        (
            "interference_matrix", "interference_cosines", "interference_full_matrix",
            "interference_full_cosines", "contribution_cosines",
            "accumulated_contribution_cosines", "output_contribution_cosines", "state_similarity",
        ),
        strict=True,
    )
)  # fmt: skip
TASKS = ("memory-pro", "memory-anti", "delay-pro", "delay-anti")


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> SweepDirectory:
    place = tmp_path_factory.mktemp("interference") / "sweep"
    kpf.plan_sweep(BASE, AXES, place)
    found = SweepDirectory.open(place)
    work(found, lambda *_: None)
    return found


@pytest.fixture(scope="module")
def grid(directory) -> SweepGrid:
    return kpf.merge_sweep(directory.path)


def assert_labelled(grid: SweepGrid, directory: SweepDirectory) -> None:
    """Fail unless each cell has its own matrices under its own names, and nothing besides."""
    names = list(grid.coordinates["of_task"])
    np.testing.assert_array_equal(grid.coordinates["other_task"], names)
    assert len(set(names)) == len(names)
    for field, variable in VARIABLES.items():
        values = grid.variable(variable).values
        assert grid.variable(variable).dims == (*grid.axes, "checkpoint", "of_task", "other_task")
        for index in range(directory.plan.n_cells):
            with RunFile.open(directory.run_file(index)) as run:
                analyses = run.analyses
            for at, analysis in enumerate(analyses):
                left = values[(*directory.plan.places(index), at)].copy()
                held = analysis.interference
                if held is not None:
                    for i, first in enumerate(held.names):
                        for j, second in enumerate(held.names):
                            where = names.index(first), names.index(second)
                            np.testing.assert_equal(left[where], getattr(held, field)[i, j])
                            left[where] = np.nan
                assert np.isnan(left).all(), (variable, index, at)


def test_every_matrix_stands_under_the_names_of_its_tasks(grid, directory) -> None:
    assert_labelled(grid, directory)
    assert tuple(grid.coordinates["of_task"][:4]) == TASKS
    for variable in VARIABLES.values():
        values = grid.variable(variable).values
        assert np.isfinite(values[0][..., :4, :4]).all()
        assert np.isnan(values[1]).all()
        assert np.isnan(values[2][..., :4, :]).all()
        assert np.isfinite(values[2][..., 4:, 4:]).any()


@pytest.mark.parametrize("fault", ["names", "cell", "matrix"])
def test_a_planted_fault_is_caught(directory, monkeypatch, fault) -> None:
    whole = SweepDirectory.result

    def result(self, index):
        record = whole(self, index)
        for checkpoint in record["result"]["checkpoints"]:
            held = checkpoint.get("interference")
            if held is not None and fault == "names":
                held["names"][0], held["names"][1] = held["names"][1], held["names"][0]
            elif held is not None and fault == "matrix":
                held["state_similarity"][0][1] *= 1 + 1e-12
            elif held is None and fault == "cell":
                beside = whole(self, 0)["result"]["checkpoints"][0]
                checkpoint["interference"] = beside["interference"]
        return record

    monkeypatch.setattr(SweepDirectory, "result", result)
    grid = kpf.merge_sweep(directory.path, directory.path / "faulty.h5")
    with pytest.raises(AssertionError):
        assert_labelled(grid, directory)


def test_the_file_holds_what_was_merged(grid, directory) -> None:
    read = SweepGrid.open(directory.path / "sweep.h5")
    assert_labelled(read, directory)
    for variable in VARIABLES.values():
        assert read.variable(variable).values.tobytes() == grid.variable(variable).values.tobytes()
        assert read.variable(variable).long_name == grid.variable(variable).long_name


def test_xarray_finds_a_pair_by_its_names(grid, directory) -> None:
    xarray = pytest.importorskip("xarray")
    with xarray.open_dataset(directory.path / "sweep.h5", engine="h5netcdf") as data:
        for variable in VARIABLES.values():
            assert data[variable].dims == ("what", "seed", "checkpoint", "of_task", "other_task")
            assert data[variable].attrs["long_name"]
        pair = {"of_task": "memory-anti", "other_task": "delay-pro"}
        found = data["interference_cosines"].sel(seed=6, checkpoint=2, **pair).isel(what=0)
        with RunFile.open(directory.run_file(1)) as run:
            held = run.analyses[-1].interference
        assert float(found) == held.cosines[1, 2]
        wanted = grid.select("interference_cosines", checkpoint="last", seed=6, **pair)
        assert wanted[0] == held.cosines[1, 2]
        assert np.isnan(wanted[1:]).all()
        assert list(data["of_task"].values[:4]) == list(TASKS)


def test_the_number_of_workers_changes_no_bit(tmp_path) -> None:
    merged = []
    for workers in (1, 2):
        place = tmp_path / f"of-{workers}"
        kpf.plan_sweep(BASE, {"cell.gain": [0.5, 1.5], "training.seed": "5:7"}, place)
        assert kpf.run_sweep(place, workers=workers).is_complete
        merged.append(kpf.merge_sweep(place))
    for variable in VARIABLES.values():
        first, second = (grid.variable(variable).values for grid in merged)
        assert np.isfinite(first).all()
        assert first.tobytes() == second.tobytes()


def test_a_name_that_is_not_there_is_refused(grid) -> None:
    with pytest.raises(ValueError, match="of_task has no place 'memory-por'; its places are memor"):
        grid.select("interference_cosines", of_task="memory-por", other_task="delay-pro",
                    checkpoint="last")  # fmt: skip


def test_what_is_not_kept_is_not_there(make) -> None:
    place = make({"training.seed": [5]}, base=BASE, keep=["ranks"])
    work(SweepDirectory.open(place), lambda *_: None)
    grid = kpf.merge_sweep(place)
    assert "of_task" not in grid.coordinates
    with pytest.raises(ValueError, match="The sweep holds no 'interference_cosines'; it holds"):
        grid.select("interference_cosines")


def test_axes_cannot_take_the_names_of_the_dimensions() -> None:
    axes = {"of_task": {"cell.n_units": [4, 3], "cell.gain": [1.0, 0.5]}}
    with pytest.raises(ValueError, match="cannot be named 'of_task'"):
        kpf.plan_sweep(BASE, axes)
    plan = kpf.plan_sweep(BASE, {"analysis.interference": ["tasks", "conditions"]})
    assert plan.axes[0].name == "interference"


def test_the_last_checkpoint_of_a_cell_may_have_no_value() -> None:
    nan = np.nan
    values = np.array([[nan, 0.5, 0.25], [0.5, 0.25, nan], [0.75, nan, nan]])
    iterations = np.array([[0.0, 4.0, 8.0], [0.0, 4.0, 8.0], [0.0, nan, nan]])
    dims = ("gain", "checkpoint")
    pairs = np.stack([values, -values], axis=-1)
    grid = SweepGrid(
        axes=("gain",),
        coordinates={
            "gain": np.arange(3.0), "checkpoint": np.arange(3),
            "of_task": np.array(["pro", "anti"], object),
        },
        variables={
            "checkpoint_iteration": GridVariable(dims, iterations, "iteration"),
            "cosine": GridVariable(dims, values, "cosine"),
            "of_pair": GridVariable((*dims, "of_task"), pairs, "cosine"),
        },
    )  # fmt: skip
    np.testing.assert_array_equal(grid.select("cosine", checkpoint="last"), [0.25, nan, 0.75])
    found = grid.select("of_pair", of_task="anti", checkpoint="last")
    np.testing.assert_array_equal(found, [-0.25, nan, -0.75])
    assert grid.select("of_pair", gain=2.0, of_task="anti", checkpoint="last") == -0.75
    del grid.variables["checkpoint_iteration"]
    np.testing.assert_array_equal(grid.select("cosine", checkpoint="last"), [0.25, 0.25, 0.75])


def test_the_report_shows_the_pairs_against_the_axes(grid) -> None:
    shown = [each for each in shown_results(grid) if each.name == "interference_cosines"]
    assert len(shown) == MOST_PAIRS
    medians = [np.nanmedian(each.values(grid)) for each in shown]
    assert medians == sorted(medians)
    least = min(
        np.nanmedian(grid.select("interference_cosines", checkpoint="last", of_task=first,
                                 other_task=second))
        for place, first in enumerate(TASKS) for second in TASKS[place + 1 :]
    )  # fmt: skip
    assert medians[0] <= least
    figures = dict(sweep_figures(grid))
    drawn = [name for name in figures if name.startswith("what-interference_cosines-")]
    assert len(drawn) == MOST_PAIRS
    assert "Cosine between the gradients of" in figures[drawn[0]][1]
    assert "raises the loss of the other" in figures[drawn[0]][1]


def test_cosines_are_drawn_on_a_linear_axis_with_a_line_at_zero() -> None:
    axes = {"gain": np.array([0.5, 1.0]), "seed": np.array([5, 6, 7])}
    values = np.array([[0.01, 0.02, 0.03], [0.7, 0.8, 0.9]])
    grid = SweepGrid(
        axes=tuple(axes), coordinates=axes,
        variables={
            "status": GridVariable(tuple(axes), np.zeros((2, 3), np.int8), "state"),
            "interference_cosines": GridVariable(tuple(axes), values, "cosine"),
            "final_loss": GridVariable(tuple(axes), values, "loss"),
        },
    )  # fmt: skip
    ax = plotting.sweep(grid, "interference_cosines", along="gain")
    assert ax.get_yscale() == "linear"
    assert [line.get_gid() for line in ax.lines if line.get_gid()] == ["zero"]
    (curve,) = (line for line in ax.lines if line.get_gid() is None)
    np.testing.assert_array_equal(curve.get_ydata(), [0.02, 0.8])
    assert plotting.sweep(grid, "final_loss", along="gain").get_yscale() == "log"
