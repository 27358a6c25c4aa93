"""The plan of a sweep: a Cartesian product, the same from a file, from flags and from a script."""

from __future__ import annotations

import itertools
import tomllib

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics.experiments.config import settings_from_dict
from kpflow_numerics.experiments.sweep.axes import parse_axis, read_axes, values_of
from kpflow_numerics.experiments.sweep.directory import SweepDirectory
from kpflow_numerics.experiments.sweep.plan import MAX_CELLS, make_plan, plan_from_tables, read_plan

BASE = {"task": {"n_stimulus": 2, "n_memory": 1, "n_response": 2}, "cell": {"n_units": 4}}

FILE = """
[task]
name = "memory-pro"
n_stimulus = 2
[cell]
n_units = 4
[sweep]
threads = 2
keep_runs = false
tolerances = [0.01, 0.5]
[sweep.axes]
cell.gain = [0.5, 1, 2]
training.learning_rate = {from = 1e-4, to = 1e-2, n = 3, spacing = "log"}
training.seed = "5:8"
[sweep.axes.size]
cell.n_units = [4, 8]
"training.batch_size" = [6, 3]
"""
FLAGS = (
    "cell.gain=0.5,1,2",
    "training.learning_rate=log:1e-4:1e-2:3",
    "training.seed=5:8",
    "size: cell.n_units=4,8 & training.batch_size=6,3",
)


def from_flags():
    axes = dict(parse_axis(flag) for flag in FLAGS)
    base = {"task": {"name": "memory-pro", "n_stimulus": 2}, "cell": {"n_units": 4}}
    options = {"threads": 2, "keep_runs": False, "tolerances": [0.01, 0.5]}
    return plan_from_tables({**base, "sweep": {**options, "axes": axes}}, "flags")


def test_the_plan_is_the_cartesian_product() -> None:
    plan = from_flags()
    rates, sizes = [1e-4, 1e-3, 1e-2], [(4, 6), (8, 3)]
    wanted = itertools.product([0.5, 1.0, 2.0], rates, [5, 6, 7], sizes)
    found = [
        (s.cell.gain, s.training.learning_rate, s.training.seed,
         (s.cell.n_units, s.training.batch_size))
        for s in plan.all_settings()
    ]  # fmt: skip
    assert found == list(wanted)
    assert plan.shape == (3, 3, 3, 2)
    assert plan.n_cells == len(found) == 54
    assert [plan.places(index) for index in range(54)] == list(np.ndindex(3, 3, 3, 2))
    assert plan.label(1) == "gain=0.5, learning_rate=0.0001, seed=5, n_units=8, batch_size=3"


def test_file_flags_and_script_give_the_same_plan() -> None:
    from_file = plan_from_tables(tomllib.loads(FILE), "file")
    scripted = kpf.plan_sweep(
        settings_from_dict({"task": {"n_stimulus": 2}, "cell": {"n_units": 4}}),
        {
            "cell.gain": np.array([0.5, 1.0, 2.0]),
            "training.learning_rate": np.geomspace(1e-4, 1e-2, 3).round(12),
            "training.seed": range(5, 8),
            "size": {"cell.n_units": [4, 8], "training.batch_size": (6, 3)},
        },
        threads=2, keep_runs=False, tolerances=[0.5, 0.01],
    )  # fmt: skip
    assert from_file == from_flags() == scripted
    assert from_file.to_toml() == from_flags().to_toml() == scripted.to_toml()


@pytest.mark.parametrize("linked_at", [0, 1, 2])
def test_a_plan_survives_its_file(tmp_path, linked_at) -> None:
    axes = [("cell.gain", [0.5, 1]), ("training.seed", "5:8")]
    axes.insert(linked_at, ("size", {"cell.n_units": [4, 8], "cell.bias": [True, False]}))
    plan = make_plan(BASE, dict(axes))
    assert [axis.name for axis in plan.axes].index("size") == linked_at
    path = tmp_path / "plan.toml"
    path.write_text(plan.to_toml())
    assert read_plan(path) == plan
    assert read_plan(path).to_toml() == plan.to_toml()


@pytest.mark.parametrize(
    ("given", "key", "wanted"),
    [
        ("0:4", "training.seed", [0, 1, 2, 3]),
        (":3", "training.seed", [0, 1, 2]),
        ("3:9:2", "training.seed", [3, 5, 7]),
        ("log:16:128:4", "cell.n_units", [16, 32, 64, 128]),
        ("log:0.1:10:3", "cell.gain", [0.1, 1.0, 10.0]),
        ("log:1:100:3", "cell.gain", [1.0, 10.0, 100.0]),
        ("log:0.1:3:4", "cell.gain", [0.1, 0.310723, 0.965489, 3.0]),
        ("linear:0:1:3", "cell.gain", [0.0, 0.5, 1.0]),
        ("linear:2:6:3", "task.n_memory", [2, 4, 6]),
        ("linear:0:1:3", "task.noise_std", [0, 0, 1]),
        ("linear:0.0:1.0:3", "task.noise_std", [0.0, 0.5, 1.0]),
        ("memory-pro, flip-flop", "task.name", ["memory-pro", "flip-flop"]),
        ("true,false", "cell.bias", [True, False]),
        ('[["entropy"], []]', "analysis.recipes", [["entropy"], []]),
        ({"from": 1, "to": 3, "n": 3}, "training.seed", [1, 2, 3]),
        ((1, 2), "cell.gain", [1.0, 2.0]),
    ],
)
def test_values(given, key, wanted) -> None:
    found = values_of(given, key)
    assert found == wanted
    assert [type(value) for value in found] == [type(value) for value in wanted]


def test_names_of_axes() -> None:
    named = read_axes(
        {
            "task.name": ["memory-pro"],
            "cell.kind": ["gru"],
            "training.tolerance": [0.1],
            "cell": {"gain": [1.0]},
        }
    )
    assert [axis.name for axis in named] == ["task", "cell", "training_tolerance", "gain"]
    assert [axis.keys for axis in named][-1] == ("cell.gain",)


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({}, "needs at least one axis"),
        ({"cell.gian": [1]}, "Did you mean 'cell.gain'|gian"),
        ({"training.sed": [1]}, "no setting training.sed. Did you mean 'training.seed'"),
        ({"gain": [1, 2]}, "'gain' is not a setting"),
        ({"model.gain": [1]}, "'model.gain' is not a setting"),
        ({"cell.gain": [1], "cell": {"gain": [2]}}, "varies along two axes"),
        ({"cell.gain": [1, 1.0]}, "Cells 0 and 1 of the sweep are the same"),
        ({"cell.gain": 1.0}, "must vary over a list"),
        ({"cell.gain": []}, "at least one value"),
        ({"cell.gain": "log:0:1:3"}, "from must be finite and greater than 0"),
        ({"cell.gain": {"from": 1, "to": 2}}, "a range takes from, to, n"),
        ({"cell.gain": {"from": 1, "to": 2, "n": 2, "spacing": "cubic"}}, "spacing must be one of"),
        ({"cell.n_units": [0]}, "Cell 0 of the sweep .n_units=0.: n_units must be at least 1"),
        ({"training.seed": [1.5]}, "training.seed must be of type int"),
        ({"training.optimizer": ["adam", "sdg"]}, "sdg"),
        ({"analysis.quantities": [["trac"]]}, "analysis.quantities"),
        ({"training.seed": "0:5:0"}, "must not be 0"),
        ({"size": {"cell.n_units": [1, 2], "cell.gain": [1]}}, "as many values as"),
        ({"rank": {"cell.n_units": [1, 2], "cell.gain": [1, 2]}}, "cannot be named 'rank'"),
        ({"my size": {"cell.n_units": [1, 2]}}, "letters, digits and _"),
        ({"training.seed": range(400), "cell.gain": range(1, 400)}, f"takes up to {MAX_CELLS:,}"),
    ],
)  # fmt: skip
def test_bad_axes_are_refused(axes, message) -> None:
    with pytest.raises((kpf.cells.base.InputError, TypeError, ValueError), match=message):
        make_plan(BASE, axes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threads": 0}, "threads must be at least 1"),
        ({"keep": "ranks"}, "keep must be a sequence"),
        ({"keep": ["rank"]}, "Did you mean 'ranks'"),
        ({"keep_runs": 1}, "keep_runs must be True or False"),
        ({"tolerances": [0.0]}, "greater than 0"),
        ({"tolerances": 0.1}, "tolerances must be a sequence"),
        ({"order": ["gain", "seed"]}, "order must name every axis once, gain; got"),
    ],
)
def test_bad_options_are_refused(options, message) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make_plan(BASE, {"cell.gain": [1.0]}, **options)


def test_unknown_keys_of_the_table_are_refused() -> None:
    with pytest.raises(ValueError, match="no key 'thread'.*Did you mean 'threads'"):
        plan_from_tables({"sweep": {"thread": 2, "axes": {"cell.gain": [1]}}}, "sweep.toml")


@pytest.mark.parametrize("flag", ["cell.gain", "gain=1", "cell.gain=", "cell.gain=1 & gain=2"])
def test_bad_flags_are_refused(flag) -> None:
    with pytest.raises(ValueError, match="--vary takes a setting and its values"):
        parse_axis(flag)


def test_a_directory_keeps_its_plan(tmp_path) -> None:
    plan = make_plan(BASE, {"cell.gain": [0.5, 1.0]})
    place = tmp_path / "sweep"
    SweepDirectory.create(place, plan)
    before = (place / "plan.toml").read_bytes()
    assert SweepDirectory.create(place, plan).plan == plan
    with pytest.raises(ValueError, match=r"another plan: sweep.axes.cell.gain is \[0.5, 1.0\]"):
        SweepDirectory.create(place, make_plan(BASE, {"cell.gain": [0.5, 2.0]}))
    assert (place / "plan.toml").read_bytes() == before


def test_a_directory_with_something_else_is_refused(tmp_path) -> None:
    plan = make_plan(BASE, {"cell.gain": [0.5, 1.0]})
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(ValueError, match="holds something else than a sweep"):
        SweepDirectory.create(tmp_path, plan)
    with pytest.raises(ValueError, match="is a file"):
        SweepDirectory.create(tmp_path / "thesis.tex", plan)
    with pytest.raises(ValueError, match="not the directory of a sweep"):
        SweepDirectory.open(tmp_path)
    (tmp_path / "sweep.toml").write_text("")
    with pytest.raises(ValueError, match="Plan it first"):
        SweepDirectory.open(tmp_path / "sweep.toml")


def test_the_flops_of_the_training() -> None:
    plan = make_plan(
        {**BASE, "training": {"n_iterations": 10, "batch_size": 3}},
        {"cell.n_units": [4, 8]},
        keep=["loss-curve"],
    )
    sizes = [kpf.GRU(3, units).n_parameters for units in (4, 8)]
    assert plan.flops() == (6 * 10 * 3 * 5 * sum(sizes), 0.0)
    assert "cells     2" in plan.summary(workers=2)
    assert "workers   2 on this machine, each of 1 thread\n" in plan.summary(workers=2)
