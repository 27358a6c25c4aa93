"""A run file gives back what it was given, and refuses what would harm it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace

import h5py
import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics._errors import InputError, InputTypeError
from kpflow_numerics._recorder import MemoryRecorder
from kpflow_numerics.analysis.quantities import OperatorQuantity
from kpflow_numerics.results import Checkpoint, Estimate
from kpflow_numerics.store import RunFile, StoreError
from kpflow_numerics.store.schema import axis_names
from kpflow_numerics.tasks import TASKS, TrialBatch
from tests.cases.runs import (
    CELL,
    TASK,
    assert_equal_results,
    make_analysis,
    make_checkpoint,
    make_report,
)
from tests.cases.tasks import TASK_CASES, assert_batches_equal


def create(path, **options):
    return RunFile.create(path, **({"cell": CELL, "task": TASK, "seed": 7} | options))


@pytest.fixture(autouse=True)
def quick_sync(monkeypatch):
    """Do not wait for the device, which matters when the power fails, not when a process ends."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.h5"


def with_other_tasks(analysis, **changes):
    return replace(analysis, interference=replace(analysis.interference, **changes))


def commit_iterations(recorder, first, last, every=5):
    """Record iterations and commit checkpoints as training does."""
    for iteration in range(first, last + 1):
        if iteration % every == 0:
            recorder.commit(make_checkpoint(iteration))
        if iteration < last:
            recorder.record_iteration(iteration, loss=1 / (iteration + 1), gradient_norm=iteration)


class MemoryView:
    """The memory recorder, read as a run file is read."""

    def __init__(self):
        self.recorder = MemoryRecorder()

    def reopened(self):
        return self

    def __getattr__(self, name):
        return getattr(self.recorder, name)

    @property
    def iterations(self):
        return np.array(sorted(self.recorder.checkpoints))

    @property
    def n_checkpoints(self):
        return len(self.recorder.checkpoints)

    def checkpoint(self, index):
        return self.recorder.checkpoints[self.iterations[index]]

    @property
    def losses(self):
        return np.array([self.recorder.losses[i] for i in sorted(self.recorder.losses)])

    @property
    def gradient_norms(self):
        norms = self.recorder.gradient_norms
        return np.array([norms[i] for i in sorted(norms)])


class FileView:
    """A run file that can be closed and opened again."""

    def __init__(self, path):
        self.path, self.file = path, create(path)

    def reopened(self):
        self.file.close()
        self.file = RunFile.open(self.path, "r+")
        return self

    def __getattr__(self, name):
        return getattr(self.file, name)


@pytest.fixture(params=["memory", "file"])
def recorder(request, path):
    view = MemoryView() if request.param == "memory" else FileView(path)
    yield view
    if request.param == "file":
        view.file.close()


class TestEveryRecorder:
    def test_what_was_committed_is_there(self, recorder):
        commit_iterations(recorder, 0, 15)
        view = recorder.reopened()
        assert view.iterations.tolist() == [0, 5, 10, 15]
        for index, iteration in enumerate([0, 5, 10, 15]):
            assert_equal_results(view.checkpoint(index), make_checkpoint(iteration))
        assert_equal_results(view.checkpoint(-1), make_checkpoint(15))
        np.testing.assert_array_equal(view.losses, 1 / np.arange(1, 16))
        np.testing.assert_array_equal(view.gradient_norms, np.arange(15))

    def test_a_resumed_run_appends(self, recorder):
        commit_iterations(recorder, 0, 10)
        commit_iterations(recorder.reopened(), 10, 20)
        view = recorder.reopened()
        assert view.iterations.tolist() == [0, 5, 10, 15, 20]
        assert_equal_results(view.checkpoint(3), make_checkpoint(15))
        np.testing.assert_array_equal(view.losses, 1 / np.arange(1, 21))

    def test_an_iteration_recorded_again_replaces_the_earlier_record(self, recorder):
        commit_iterations(recorder, 0, 10)
        recorder = recorder.reopened()
        recorder.record_iteration(7, loss=0.25, gradient_norm=3.5)
        changed = replace(make_checkpoint(5), loss=0.125)
        recorder.commit(changed)
        view = recorder.reopened()
        assert view.n_checkpoints == 3
        assert_equal_results(view.checkpoint(1), changed)
        assert_equal_results(view.checkpoint(2), make_checkpoint(10))
        expected = 1 / np.arange(1, 11)
        expected[7] = 0.25
        np.testing.assert_array_equal(view.losses, expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "cell",
    [
        kpf.VanillaRNN(3, 4, activation="relu"),
        kpf.LeakyRNN(3, 4, form="current", leak=0.25),
        kpf.LeakyRNN(1, 1, bias=False),
        kpf.GRU(3, 4, bias=False),
        kpf.LSTM(3, 5),
    ],
    ids=str,
)
def test_every_cell_comes_back_with_every_bit(path, cell, dtype):
    stored = [make_checkpoint(iteration, cell, dtype) for iteration in (0, 3, 4)]
    with create(path, cell=cell) as file:
        for checkpoint in stored:
            file.commit(checkpoint)
    with RunFile.open(path) as file:
        assert file.cell == cell
        assert file.iterations.dtype == np.int64
        for index, checkpoint in enumerate(stored):
            assert_equal_results(file.checkpoint(index), checkpoint)


@pytest.mark.parametrize("name", TASK_CASES)
def test_every_task_and_its_batch_come_back(path, name):
    task = TASK_CASES[name]
    batch = task.evaluation_batch(5)
    with create(path, cell=kpf.VanillaRNN(task.n_inputs, 4), task=task) as file:
        file.write_evaluation_batch(batch)
    with RunFile.open(path) as file:
        assert file.task == task
        assert file.task.name in TASKS
        assert_batches_equal(file.evaluation_batch, batch)


def test_a_batch_with_awkward_conditions(path):
    batch = TrialBatch(
        np.ones((3, 5, 3), np.float32),
        np.zeros((3, 5, 2)),
        mask=np.arange(15.0).reshape(3, 5),
        conditions={
            "trial": np.arange(3),
            "angle / rad": np.array([0.5, -1, np.nan], np.float32),
            "condition_0": np.array([True, False, True]),
            "rule": np.array(["pro", "anti", "é"]),
            "": np.array([1, 2, 3], np.uint8),
        },
        task_ids=np.array([1, 0, 1]),
        task_names=("a", "b"),
        loss_name=TASK.loss_name,
    )
    with create(path) as file:
        file.write_evaluation_batch(batch)
    with RunFile.open(path) as file:
        read = file.evaluation_batch
    assert_batches_equal(read, batch)
    for name, column in batch.conditions.items():
        assert read.conditions[name].dtype == column.dtype


def test_a_network_trained_elsewhere(path):
    checkpoint = Checkpoint(
        0, CELL.init_params(rng=5), {}, np.nan, 0.5, 0.25, np.nan, {}, rng_state=""
    )
    with create(path, seed=None) as file:
        file.commit(checkpoint)
    with RunFile.open(path) as file:
        assert_equal_results(file.checkpoint(-1), checkpoint)
        assert len(file.losses) == 0
        assert "seed" not in file.provenance


def test_configuration_and_provenance(path):
    config = {"task": {"name": "memory-pro"}, "training": {"seed": 7, "learning_rate": 2e-3}}
    with create(path, config=config, seed=2**70) as file:
        assert file.config == config
        assert file.provenance["seed"] == 2**70
        assert file.provenance["kpflow_numerics"] == kpf.__version__
        file.write_config(config | {"a": [1, 2]})
    with RunFile.open(path) as file:
        assert file.config == config | {"a": [1, 2]}
        assert file.title == f"{CELL!r} on memory-pro"


def test_a_user_function_cannot_be_kept(path):
    cell = kpf.AutogradCell(lambda params, x, h: h * params["w"], {"w": (4,)}, 3, 4, name="mine")
    with create(path, cell=cell) as file:
        file.commit(make_checkpoint(0, cell))
        with pytest.raises(InputError, match=r"AutogradCell with the step 'mine'.*cannot hold a"):
            _ = file.cell
        assert_equal_results(file.checkpoint(0), make_checkpoint(0, cell))


def test_training_is_recorded_and_resumed_to_the_same_bits(path):
    task, cell = TASK, kpf.VanillaRNN(3, 4)
    options = {"batch_size": 5, "checkpoint_every": 4, "optimizer": kpf.Adam(0.01)}
    whole = kpf.fit(cell, task, n_iterations=12, rng=9, **options)
    with create(path, cell=cell) as file:
        kpf.fit(cell, task, n_iterations=8, rng=9, recorder=file, **options)
    with RunFile.open(path, "r+") as file:
        last = file.checkpoint(-1)
        kpf.fit(cell, task, n_iterations=12, resume_from=last, recorder=file, **options)
    with RunFile.open(path) as file:
        assert file.iterations.tolist() == [0, 4, 8, 12]
        np.testing.assert_array_equal(file.losses, whole.losses)
        np.testing.assert_array_equal(file.gradient_norms, whole.gradient_norms)
        for index, checkpoint in enumerate(whole.checkpoints):
            assert_equal_results(file.checkpoint(index), checkpoint)


class TestAnalyses:
    def test_they_come_back(self, path):
        analyses = [make_analysis(iteration) for iteration in (0, 7, 8)]
        with create(path) as file:
            assert file.analyses == []
            file.write_analyses(reversed(analyses))
        with RunFile.open(path) as file:
            assert_equal_results(tuple(file.analyses), tuple(analyses))

    def test_one_with_nothing_in_it(self, path):
        with create(path) as file:
            file.write_analyses([make_analysis(3, bare=True)])
            assert_equal_results(file.analyses[0], make_analysis(3, bare=True))
            file.write_analysis(make_analysis(4))
            assert_equal_results(file.analyses[0], make_analysis(3, bare=True))
            file.write_analyses([])
            assert file.analyses == []

    def test_one_more_is_added_and_one_of_the_same_iteration_replaced(self, path):
        with create(path) as file:
            file.write_analysis(make_analysis(8))
            file.write_analysis(make_analysis(0))
            changed = replace(make_analysis(8), accuracy=0.5)
            file.write_analysis(changed)
            assert_equal_results(tuple(file.analyses), (make_analysis(0), changed))

    def test_float32_stays(self, path):
        analysis = make_analysis(3)
        single = replace(
            analysis,
            spectra={key: array.astype("f4") for key, array in analysis.spectra.items()},
            modes={key: array.astype("f4") for key, array in analysis.modes.items()},
            mode_fractions={k: array.astype("f4") for k, array in analysis.mode_fractions.items()},
            principal_components=analysis.principal_components.astype("f4"),
            explained_variance=analysis.explained_variance.astype("f4"),
        )
        with create(path) as file:
            file.write_analyses([single])
            assert_equal_results(file.analyses[0], single)

    def test_other_trials_remove_them_and_the_same_do_not(self, path):
        with create(path) as file:
            file.write_evaluation_batch(TASK.evaluation_batch(6))
            file.write_analyses([make_analysis(3)])
            file.write_evaluation_batch(TASK.evaluation_batch(6))
            assert len(file.analyses) == 1
            file.write_evaluation_batch(TASK.evaluation_batch(7))
            assert file.analyses == []
            file.write_analyses([make_analysis(3, n_trials=5)], batch=TASK.evaluation_batch(5))
            assert file.evaluation_batch.n_trials == 5
            assert len(file.analyses) == 1

    @pytest.mark.parametrize("consolidates", [True, False])
    def test_writing_again_does_not_grow_the_file(self, path, monkeypatch, consolidates):
        if not consolidates:
            monkeypatch.setattr(RunFile, "_consolidate", lambda self: None)
        with create(path) as file:
            file.commit(make_checkpoint(2))
            file.write_analyses([make_analysis(3)])
        small = path.stat().st_size
        wasted = []
        for _ in range(3):
            with RunFile.open(path, "r+") as file:
                file.write_analyses([make_analysis(3, n_trials=6000)])
                assert file.analyses[0].modes["K"].shape[1] == 6000
                file.write_analyses([make_analysis(3)])
                assert_equal_results(file.analyses[0], make_analysis(3))
                assert_equal_results(file.checkpoint(0), make_checkpoint(2))
            wasted.append(path.stat().st_size - 2 * small)
        assert (max(wasted) < 2**20) is consolidates

    def test_a_file_of_schema_1_is_read_and_becomes_schema_3_with_new_analyses(self, path):
        old = replace(make_analysis(3), quantities=(), lyapunov={}, interference=None)
        with create(path) as file:
            file.write_analyses([old])
        with h5py.File(path, "r+") as file:
            for name in [name for name in file["analysis"] if name.startswith("quantity_")]:
                del file["analysis"][name]
            del file["analysis/quantity"]
            file.attrs["schema_version"] = 1
        with RunFile.open(path, "r+") as file:
            assert_equal_results(file.analyses[0], old)
            file.write_analyses([make_analysis(3)])
            assert_equal_results(file.analyses[0], make_analysis(3))
        with h5py.File(path, "r") as file:
            assert file.attrs["schema_version"] == 3

    def test_a_file_of_schema_2_is_read_and_becomes_schema_3_with_new_analyses(self, path):
        with create(path) as file:
            file.write_analyses([make_analysis(3), make_analysis(5)])
        with h5py.File(path, "r+") as file:
            del file["analysis/interference"]
            file.attrs["schema_version"] = 2
        with RunFile.open(path, "r+") as file:
            for found, iteration in zip(file.analyses, (3, 5), strict=True):
                old = replace(make_analysis(iteration), interference=None)
                assert_equal_results(found, old)
            file.write_analyses([make_analysis(3)])
            assert_equal_results(file.analyses[0], make_analysis(3))
        with h5py.File(path, "r") as file:
            assert file.attrs["schema_version"] == 3

    def test_a_changed_number_of_the_interference_is_seen(self, path):
        with create(path) as file:
            file.write_analyses([make_analysis(3)])
        with h5py.File(path, "r+") as file:
            file["analysis/interference/by_parameter"][0, 1, 0, 1] += 1e-12
        with RunFile.open(path) as file, pytest.raises(AssertionError, match="readout/bias"):
            assert_equal_results(file.analyses[0], make_analysis(3))

    def test_analyses_with_and_without_interference_stand_beside_each_other(self, path):
        held = [make_analysis(iteration) for iteration in (0, 1, 3)]
        assert held[1].interference is None
        with create(path) as file:
            file.write_analyses(held)
            for found, wanted in zip(file.analyses, held, strict=True):
                assert_equal_results(found, wanted)

    def test_a_number_that_is_not_known_is_kept_as_such(self, path):
        nothing = Estimate(*[np.nan] * 3, 0.0, "exact", 0, "cosine")
        known = Estimate(0.5, 0.25, 0.75, 0.125, "sampled", 64, "share", confidence=0.95)
        quantities = (
            OperatorQuantity("cosine over trials and steps", ("NTK", "core"), nothing),
            OperatorQuantity("share in the leading modes", ("dh of random errors",), known),
            OperatorQuantity("share in the leading modes", ("P P* err",), nothing),
        )
        held = replace(make_analysis(3), quantities=quantities)
        with create(path) as file:
            file.write_analyses([held])
        with RunFile.open(path) as file:
            assert_equal_results(file.analyses[0], held)

    def test_quantities_carry_their_errors_as_ancillary_variables(self, path):
        with create(path) as file:
            file.write_analyses([make_analysis(3), make_analysis(4)])
        with h5py.File(path) as file:
            group = file["analysis"]
            assert "trace of K" in list(group["quantity"].asstr())
            named = group["quantity_value"].attrs["ancillary_variables"].split()
            assert {"quantity_value_lower", "quantity_value_standard_error"} <= set(named)
            for name in (*named, *group["lyapunov_exponents"].attrs["ancillary_variables"].split()):
                assert group[name].attrs["long_name"]

    @pytest.mark.parametrize(
        ("analyses", "error", "message"),
        [
            ([3], InputTypeError, "analyses must be NetworkAnalysis objects; got 3"),
            ([make_analysis(3)] * 2, InputError, r"different iterations; got \[3, 3\]"),
            (
                [make_analysis(3), make_analysis(4, n_trials=5)],
                InputError,
                "must all be of one evaluation batch",
            ),
            (
                [make_analysis(3), with_other_tasks(make_analysis(5), names=("pro", "delay"))],
                InputError,
                "interference of the same tasks; got pro, anti – 2 and pro, delay",
            ),
            (
                [make_analysis(3), with_other_tasks(make_analysis(5), by_parameter={})],
                InputError,
                "interference of the same parameters",
            ),
            (
                [replace(make_analysis(3), quantities=make_analysis(3).quantities[:1] * 2)],
                InputError,
                "iteration 3 has a quantity of the same name and operators twice",
            ),
            (
                [replace(make_analysis(3), ranks=make_analysis(3).ranks[:1] * 2)],
                InputError,
                "iteration 3 has two ranks of the same operator and recipe",
            ),
        ],
    )
    def test_what_one_file_cannot_hold_is_named(self, path, analyses, error, message):
        with create(path) as file:
            file.write_analyses([make_analysis(1)])
            with pytest.raises(error, match=message):
                file.write_analyses(analyses)
            assert_equal_results(file.analyses[0], make_analysis(1))


def test_the_validation_report_comes_back(path):
    with create(path) as file:
        assert file.validation is None
        file.write_validation(make_report())
        file.write_validation(make_report(passed=False))
    with RunFile.open(path) as file:
        assert_equal_results(file.validation, make_report(passed=False))
        assert str(file.validation) == str(make_report(passed=False))


class TestConsolidation:
    def fill(self, path):
        with create(path, config={"a": 1}) as file:
            file.write_evaluation_batch(TASK.evaluation_batch(6))
            commit_iterations(file, 0, 10)
            file.write_validation(make_report())
            file.write_analyses([make_analysis(5)])

    def contents(self, path):
        found = {}
        with h5py.File(path) as file:

            def visit(name, item):
                found[name] = {
                    key: str(value)
                    for key, value in item.attrs.items()
                    if key not in ("REFERENCE_LIST", "DIMENSION_LIST")
                }
                if isinstance(item, h5py.Dataset):
                    is_text = item.dtype == object
                    values = np.asarray(item.asstr()[()] if is_text else item[()])
                    dims = [] if item.is_scale else item.dims
                    found[name] |= {
                        "layout": (item.dtype, item.shape, item.maxshape, item.chunks),
                        "values": values.tolist() if is_text else values.tobytes(),
                        "dims": [[scale.name for scale in dim.values()] for dim in dims],
                    }

            file.visititems(visit)
        return found

    def test_it_changes_nothing_but_the_size(self, path, monkeypatch):
        self.fill(path)
        with RunFile.open(path, "r+") as file:
            n_trials = 8000
            file.write_analyses([make_analysis(5, n_trials=n_trials)])
            grown = path.stat().st_size
            monkeypatch.setattr(RunFile, "_consolidate", lambda self: None)
            file.write_analyses([make_analysis(5)])
            before = self.contents_unlocked(file)
            monkeypatch.undo()
            file._consolidate()
            assert path.stat().st_size < grown / 4
            assert self.contents_unlocked(file) == before
            # The same object goes on.
            file.commit(make_checkpoint(15))
        with RunFile.open(path, "r+") as file:
            assert file.iterations.tolist() == [0, 5, 10, 15]
            assert_equal_results(file.analyses[0], make_analysis(5))
            assert_equal_results(file.checkpoint(3), make_checkpoint(15))
        assert [item.name for item in path.parent.iterdir()] == [path.name]

    def contents_unlocked(self, file):
        copy = file.path.with_name("copy.h5")
        copy.write_bytes(file.path.read_bytes())
        found = self.contents(copy)
        copy.unlink()
        return found

    def test_no_room_for_it_is_no_failure(self, path, monkeypatch):
        self.fill(path)

        def fail(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("kpflow_numerics.store.run_file.copy_contents", fail)
        with RunFile.open(path, "r+") as file:
            file.write_analyses([make_analysis(5, n_trials=4000)])
            file.write_analyses([make_analysis(5)])
            assert_equal_results(file.analyses[0], make_analysis(5))
            file.commit(make_checkpoint(15))
        assert [item.name for item in path.parent.iterdir()] == [path.name]


class TestOverwriting:
    def test_it_is_refused_unless_asked_for(self, path):
        create(path).close()
        before = path.read_bytes()
        with pytest.raises(InputError, match=r"never overwritten.*overwrite=True \(--overwrite\)"):
            create(path)
        assert path.read_bytes() == before

    def test_the_old_run_stays_until_the_first_checkpoint(self, path):
        with create(path) as file:
            file.commit(make_checkpoint(5))
        with create(path, cell=kpf.LSTM(3, 4), overwrite=True) as file:
            file.write_evaluation_batch(TASK.evaluation_batch(3))
            assert file.path == path
            with RunFile.open(path) as old:
                assert_equal_results(old.checkpoint(-1), make_checkpoint(5))
            file.commit(make_checkpoint(0, kpf.LSTM(3, 4)))
            with pytest.raises(InputError, match="is being written"):
                RunFile.open(path)
            file.commit(make_checkpoint(1, kpf.LSTM(3, 4)))
        with RunFile.open(path) as file:
            assert file.cell == kpf.LSTM(3, 4)
            assert file.n_checkpoints == 2
            assert file.evaluation_batch.n_trials == 3
        assert [item.name for item in path.parent.iterdir()] == ["run.h5"]

    def test_a_new_run_without_checkpoint_leaves_the_old(self, path):
        create(path).close()
        before = path.read_bytes()
        with create(path, overwrite=True) as file:
            file.write_evaluation_batch(TASK.evaluation_batch(3))
        assert path.read_bytes() == before
        assert [item.name for item in path.parent.iterdir()] == ["run.h5"]

    def test_leftovers_of_a_killed_process_are_no_obstacle(self, path):
        create(path).close()
        path.with_name("run.h5.new").write_bytes(b"left")
        path.with_name("run.h5.new.journal").write_bytes(b"left")
        with create(path, overwrite=True) as file:
            file.commit(make_checkpoint(1))
        assert [item.name for item in path.parent.iterdir()] == ["run.h5"]

    def test_two_that_replace_the_same_run(self, path):
        create(path).close()
        with create(path, overwrite=True) as first:
            with pytest.raises(InputError, match=r"run\.h5\.new is in use"):
                create(path, overwrite=True)
            first.commit(make_checkpoint(1))
            with pytest.raises(InputError, match=r"not overwritten: .* is in use"):
                create(path, overwrite=True)

    def test_an_empty_file_may_be_replaced(self, path):
        path.touch()
        with create(path, overwrite=True) as file:
            file.commit(make_checkpoint(1))
        assert RunFile.open(path).close() is None

    @pytest.mark.parametrize("content", [b"my thesis", b"\x89HDF\r\n\x1a\n" + bytes(100)])
    def test_what_is_not_a_run_file_is_never_overwritten(self, path, content):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"is not overwritten: .*Delete it yourself"):
            create(path, overwrite=True)
        assert path.read_bytes() == content


class TestOpening:
    def test_missing(self, path):
        with pytest.raises(InputError, match=r"There is no run file .*run\.h5\."):
            RunFile.open(path)

    def test_a_directory(self, tmp_path):
        with pytest.raises(InputError, match="is a directory, not a run file"):
            RunFile.open(tmp_path)
        with pytest.raises(InputError, match=r"is a directory; name a file in it"):
            create(tmp_path)

    def test_empty(self, path):
        path.touch()
        with pytest.raises(InputError, match="is empty: what made it was stopped"):
            RunFile.open(path)

    @pytest.mark.parametrize(
        ("name", "hint"), [("a.h5", r"run file\.$"), ("a.npz", "kpf.load_network")]
    )
    def test_not_hdf5(self, tmp_path, name, hint):
        (tmp_path / name).write_bytes(b"PK some other thing")
        with pytest.raises(InputError, match=f"is not an HDF5 file, so .*{hint}"):
            RunFile.open(tmp_path / name)

    def test_hdf5_of_others(self, path):
        with h5py.File(path, "x") as file:
            file["x"] = 1
        before = path.read_bytes()
        for mode in ("r", "r+"):
            with pytest.raises(InputError, match="is an HDF5 file, but not a run file"):
                RunFile.open(path, mode)
        assert path.read_bytes() == before

    def test_hdf5_of_others_is_closed_before_its_file(self, path):
        with h5py.File(path, "x") as file:
            file["x"] = 1
        code = (
            "import sys\n"
            "from kpflow_numerics.store import RunFile\n"
            "try:\n"
            "    RunFile.open(sys.argv[1], 'r+')\n"
            "except ValueError:\n"
            "    print('refused')"
        )
        answer = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
        )
        assert (answer.stdout.strip(), answer.stderr) == ("refused", "")

    def test_a_newer_schema(self, path):
        create(path).close()
        with h5py.File(path, "r+") as file:
            file.attrs["schema_version"] = 99
        with pytest.raises(InputError, match=r"schema version 99; .*up to 3\. Update"):
            RunFile.open(path)

    def test_a_part_is_missing(self, path):
        create(path).close()
        with h5py.File(path, "r+") as file:
            del file["training"]
        with pytest.raises(InputError, match="is damaged: it lacks training"):
            RunFile.open(path)

    @pytest.mark.parametrize("kept", [9, 100, 2000, 0.5, 0.99, -1])
    def test_truncated_anywhere(self, path, kept):
        with create(path) as file:
            commit_iterations(file, 0, 20)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * kept) if 0 < kept < 1 else kept])
        for mode in ("r", "r+"):
            with pytest.raises(InputError, match="cannot be read as HDF5: it is truncated"):
                RunFile.open(path, mode)

    def test_in_use(self, path):
        with create(path), pytest.raises(InputError, match="is being written by another process"):
            RunFile.open(path)
        with (
            RunFile.open(path),
            RunFile.open(path),
            pytest.raises(InputError, match="is in use by another process"),
        ):
            RunFile.open(path, "r+")
        RunFile.open(path, "r+").close()

    def test_other_programs_respect_the_lock(self, path):
        with create(path), pytest.raises(BlockingIOError):
            h5py.File(path)

    def test_modes(self, path):
        create(path).close()
        with pytest.raises(InputError, match="mode must be one of 'r', 'r\\+'; got 'w'"):
            RunFile.open(path, "w")

    def test_no_permission(self, path, monkeypatch):
        create(path).close()

        def refuse(*_):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("kpflow_numerics.store._opening.JournalledFile", refuse)
        with pytest.raises(StoreError, match="Could not open .*: permission is denied"):
            RunFile.open(path)
        with pytest.raises(StoreError, match="Could not make .*: permission is denied"):
            create(path.with_name("other.h5"))


def test_directories_are_made(tmp_path):
    create(tmp_path / "a" / "b" / "run.h5").close()
    assert (tmp_path / "a" / "b" / "run.h5").exists()


def test_a_directory_that_is_a_file(tmp_path):
    (tmp_path / "a").touch()
    with pytest.raises(StoreError, match="Could not make"):
        create(tmp_path / "a" / "run.h5")


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"cell": "gru"}, InputTypeError, "cell must be a cell of kpflow_numerics; got 'gru'"),
            ({"task": "x"}, InputTypeError, "task must be a task of kpflow_numerics; got 'x'"),
            ({"seed": -1}, InputError, "seed must be at least 0"),
            ({"config": {"a": None}}, InputTypeError, "a must be a string"),
        ],
    )
    def test_arguments_of_create(self, path, options, error, message):
        with pytest.raises(error, match=message):
            create(path, **options)
        assert not path.exists()

    def test_a_cell_with_odd_settings(self, path, monkeypatch):
        monkeypatch.setattr(kpf.GRU, "settings", lambda self: {"x": object()})
        with pytest.raises(InputTypeError, match="has settings that a file cannot hold"):
            create(path)

    def test_reading_is_not_writing(self, path):
        with create(path) as file:
            file.commit(make_checkpoint(0))
        with RunFile.open(path) as file:
            for write in (
                lambda: file.commit(make_checkpoint(1)),
                lambda: file.record_iteration(1, 0.5, 0.5),
                lambda: file.write_config({}),
                lambda: file.write_evaluation_batch(TASK.evaluation_batch(2)),
                lambda: file.write_analysis(make_analysis(1)),
                lambda: file.write_validation(make_report()),
            ):
                with pytest.raises(InputError, match=r'is open for reading\. .*mode="r\+"'):
                    write()
            assert file.n_checkpoints == 1

    def test_closed(self, path):
        file = create(path)
        file.close()
        file.close()
        assert repr(file).endswith("closed)")
        with pytest.raises(InputError, match=r"is closed\. Open it again"):
            _ = file.losses
        with pytest.raises(InputError, match=r"is closed\. Open it again"):
            file.commit(make_checkpoint(0))

    def test_no_such_checkpoint(self, path):
        with create(path) as file:
            with pytest.raises(InputError, match="holds no checkpoint yet"):
                file.checkpoint(0)
            file.commit(make_checkpoint(0))
            with pytest.raises(InputError, match="index must be from -1 to 0; got 1"):
                file.checkpoint(1)
            with pytest.raises(InputTypeError, match="index must be an integer"):
                file.checkpoint(0.5)
            assert repr(file).endswith("run.h5', 1 checkpoints)")

    def test_no_batch(self, path):
        with create(path) as file, pytest.raises(InputError, match="holds no evaluation batch"):
            _ = file.evaluation_batch

    @pytest.mark.parametrize(
        ("checkpoint", "error", "message"),
        [
            ("x", InputTypeError, "checkpoint must be a Checkpoint; got 'x'"),
            (make_checkpoint(3), InputError, "one of the file's or greater than the last, 5; got"),
            (
                make_checkpoint(7, kpf.LSTM(3, 4)),
                InputError,
                r"params\['weight_ih'\] must have shape \(12, 3\) and dtype float64, .*\(16, 3\)",
            ),
            (make_checkpoint(7, dtype="float32"), InputError, "got .* and float32"),
            (
                replace(make_checkpoint(7), params={"w": np.ones(3)}),
                InputError,
                "checkpoint.params must hold weight_ih, weight_hh, .*; got w",
            ),
            (
                replace(make_checkpoint(7), optimizer_state={}),
                InputError,
                "checkpoint.optimizer_state must hold .*; got nothing",
            ),
            (replace(make_checkpoint(7), readout=3), InputTypeError, "readout must map names"),
            (
                replace(make_checkpoint(7), readout={"a": np.array("x")}),
                InputTypeError,
                r"checkpoint.readout\['a'\] must be real",
            ),
        ],
    )
    def test_a_checkpoint_that_does_not_fit(self, path, checkpoint, error, message):
        with create(path) as file:
            file.commit(make_checkpoint(1))
            file.commit(make_checkpoint(5))
            with pytest.raises(error, match=message):
                file.commit(checkpoint)
            file.commit(make_checkpoint(6))
        with RunFile.open(path) as file:
            assert file.iterations.tolist() == [1, 5, 6]

    @pytest.mark.parametrize("name", ["write_evaluation_batch", "write_validation"])
    def test_other_things(self, path, name):
        with create(path) as file, pytest.raises(InputTypeError, match="must be a .*; got 3"):
            getattr(file, name)(3)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    path = tmp_path_factory.mktemp("runs") / "run.h5"
    with create(path, config={"a": 1}) as file:
        file.write_evaluation_batch(TASK.evaluation_batch(6))
        commit_iterations(file, 0, 10)
        file.write_analyses([make_analysis(0), make_analysis(7)])
        file.write_validation(make_report())
    with xarray.open_datatree(path, engine="h5netcdf") as tree:
        yield tree


class TestXarray:
    def test_every_axis_has_a_name(self, tree):
        for node in tree.subtree:
            for name, variable in node.dataset.variables.items():
                assert len(set(variable.dims)) == variable.ndim, name
                assert not any("phony" in dim for dim in variable.dims), name
                if name not in ("run_id", "configuration"):
                    assert variable.attrs["long_name"], name

    def test_values_by_label(self, tree):
        analysis = make_analysis(7)
        ranks = tree["analysis"].dataset.set_index(checkpoint="iteration")["rank"]
        value = ranks.sel(checkpoint=7, operator="K", recipe="entropy").item()
        assert value == analysis.rank("K", "entropy").value
        assert np.isnan(ranks.sel(checkpoint=7, operator="P", recipe="entropy").item())

    def test_interference_by_the_names_of_tasks(self, tree):
        data = tree["analysis/interference"].dataset
        held = make_analysis(0).interference
        at = {"checkpoint": 0, "task": "pro", "other_task": "anti – 2"}
        place = {name: at[name] for name in ("task", "other_task")}
        for name in ("matrix", "cosines", "full_cosines", "contribution_cosines"):
            found = data[name].isel(checkpoint=0).sel(place).item()
            assert found == getattr(held, name)[0, 1], name
        part = data["by_parameter"].isel(checkpoint=0).sel(parameter="readout/bias", **place)
        assert part.item() == held.by_parameter["readout/bias"][0, 1]
        assert data["present"].values.tolist() == [True, False]
        assert np.isnan(data["matrix"].values[1]).all()

    def test_error_bars_are_linked(self, tree):
        data = tree["analysis"].dataset
        linked = data["rank"].attrs["ancillary_variables"].split()
        assert {"rank_lower", "rank_upper", "rank_standard_error"} <= set(linked)
        estimate = make_analysis(7).rank("NTK")
        at = {"checkpoint": 1, "operator": list(data.operator).index("NTK"), "recipe": 0}
        for name in ("lower", "upper", "standard_error"):
            assert data[f"rank_{name}"].isel(at).item() == getattr(estimate, name)
            assert data[f"rank_{name}"].dims == data["rank"].dims

    def test_axes_of_parameters(self, tree):
        params = tree["checkpoints/params"]
        assert params["weight_hh"].dims == ("checkpoint", "gate_unit", "previous_unit")
        assert params["weight_ih"].dims == ("checkpoint", "gate_unit", "input")
        moments = tree["checkpoints/optimizer/first_moment"]
        assert moments["weight_hh"].dims == params["weight_hh"].dims
        assert tree["checkpoints/readout"]["weight"].dims == ("checkpoint", "output", "unit")
        np.testing.assert_array_equal(tree["checkpoints"]["iteration"], [0, 5, 10])
        np.testing.assert_array_equal(
            params["weight_hh"][1], make_checkpoint(5).params["weight_hh"]
        )

    def test_trials_and_training(self, tree):
        assert tree["evaluation"]["inputs"].sel(input="cos").dims == ("trial", "time")
        assert tree["evaluation/conditions"]["angle"].dims == ("trial",)
        assert tree["training"]["loss"].sel(iteration=4).item() == 0.2
        assert tree["validation"]["passed"].dtype == bool
        assert json.loads(tree["task"].attrs["options"])["n_stimulus"] == 2
        assert tree.attrs["schema_name"] == "kpflow_numerics run"


def test_axis_names_of_unknown_parameters():
    assert axis_names("bias", (5,), 5) == ("unit",)
    assert axis_names("gain/x", (5, 2), 5) == ("gain_x_axis_0", "gain_x_axis_1")
    assert axis_names("step", (), 5) == ()


def test_nothing_in_a_file_is_pickled(path):
    with create(path, config={"a": 1}) as file:
        file.write_evaluation_batch(TASK.evaluation_batch(6))
        commit_iterations(file, 0, 5)
        file.write_analyses([make_analysis(0)])
        file.write_validation(make_report())
    with h5py.File(path) as file:

        def visit(_, item):
            if isinstance(item, h5py.Dataset):
                assert item.dtype.kind != "V"
                if item.dtype.kind == "O":
                    assert h5py.check_string_dtype(item.dtype) is not None

        file.visititems(visit)
    assert not re.search(rb"\x80[\x02-\x05].{0,30}(numpy|builtins|copyreg)", path.read_bytes())


def test_h5py_is_loaded_only_for_the_store():
    code = (
        "import sys, kpflow_numerics as kpf\n"
        "kpf.GRU, kpf.MemoryPro, kpf.fit, kpf.load_network\n"
        "assert 'h5py' not in sys.modules\n"
        "kpf.RunFile\n"
        "assert 'h5py' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_long_text_is_kept_with_its_task(tmp_path):
    """Beyond the 64 KiB that HDF5 holds of an attribute itself."""
    task = kpf.Characters('ein "Satz"\\,\n' * 20_000, n_steps=5)
    cell = kpf.VanillaRNN(task.n_inputs, 4)
    config = {"task": {"name": task.name, **task.to_dict()}}
    kpf.RunFile.create(tmp_path / "run.h5", cell=cell, task=task, config=config).close()
    with kpf.RunFile.open(tmp_path / "run.h5") as file:
        assert file.task == task
        assert file.config == config
