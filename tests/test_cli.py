"""The command line, as a new user would try it."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import kpflow_numerics as kpf
from kpflow_numerics import cli
from kpflow_numerics.analysis import DEFAULT_QUANTITIES, INTERFERENCE, QUANTITIES
from kpflow_numerics.analysis.activity_quantities import COSINE, MODE_SHARE
from kpflow_numerics.cells import CELLS
from kpflow_numerics.cli._settings import QUANTITY_NAMES
from kpflow_numerics.experiments.report import _figures as report_figures
from kpflow_numerics.interop.load_network import _GATES_OF_KIND
from kpflow_numerics.plotting import _figures
from kpflow_numerics.store import RunFile
from kpflow_numerics.tasks import TASKS
from kpflow_numerics.training import OPTIMIZERS

SMALL = [
    *("--units", "6", "--iterations", "30", "--batch-size", "4"),
    *("--trials", "3", "--checkpoints", "3", "--eigenpairs", "4"),
    *("--set", "task.n_stimulus=3", "--set", "task.n_memory=2", "--set", "task.n_response=3"),
    *("--set", "training.checkpoint_every=10"),
]


def kpflow(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def draw_one_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the first figure of all, where what is tested are the commands: drawing takes long."""
    every, panels = _figures.run_figures, report_figures.report_panels
    monkeypatch.setattr(_figures, "run_figures", lambda run: itertools.islice(every(run), 1))
    monkeypatch.setattr(
        report_figures, "report_panels", lambda run: dict(itertools.islice(panels(run).items(), 1))
    )


def test_the_words_are_those_of_the_library() -> None:
    assert set(cli.TASK_NAMES) == set(TASKS)
    assert set(cli.CELL_KINDS) == set(CELLS)
    assert set(cli.NETWORK_KINDS) == set(_GATES_OF_KIND)
    words = {flag: accepted for flag, _, accepted, _ in cli.CHOICE_FLAGS}
    assert set(words["--optimizer"]) == set(OPTIMIZERS)
    assert words["--interference"] == INTERFERENCE
    assert QUANTITY_NAMES == QUANTITIES


@pytest.mark.parametrize(
    "command",
    ["", "run", "train", "analyze", "import", "validate", "plot", "info", "sweep", "sweep plan"],
)
def test_help_teaches(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert kpflow(*command.split(), "--help") == 0
    shown = capsys.readouterr().out
    assert "usage: kpflow" in shown
    assert len(shown.splitlines()) > 5
    assert max(map(len, shown.splitlines())) <= 100


@pytest.mark.parametrize("command", ["run", "analyze", "import", "sweep plan"])
def test_words_that_can_be_given_are_in_the_help_and_whole(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    kpflow(*command.split(), "--help")
    shown = set(re.findall(r"[\w-]+", capsys.readouterr().out))
    accepted = {flag: words for flag, _, words, _ in cli.CHOICE_FLAGS}
    if command in ("analyze", "import"):
        accepted["--cell"] = cli.NETWORK_KINDS
    assert shown.issuperset(cli.TASK_NAMES)
    for flag in shown.intersection(accepted):
        assert shown.issuperset(accepted[flag])


@pytest.mark.parametrize("command", ["run", "analyze", "sweep plan"])
def test_the_default_quantities_are_in_the_help_and_whole(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    kpflow(*command.split(), "--help")
    shown = " ".join(capsys.readouterr().out.split())
    assert ", ".join(DEFAULT_QUANTITIES) in shown
    assert "of those that training.checkpoint_every keeps [6]" in shown


def test_help_does_not_load_numpy() -> None:
    code = (
        "import sys\n"
        "from kpflow_numerics import cli\n"
        "try:\n    cli.main(['--help'])\n"
        "except SystemExit:\n    pass\n"
        "print('numpy' in sys.modules)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.splitlines()[-1] == "False"


def test_the_main_job(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert kpflow("run", "memory-pro", *SMALL) == 0
    shown = capsys.readouterr()
    run_file = here / "runs" / "memory-pro.h5"
    report = here / "runs" / "memory-pro" / "report.html"
    figures = sorted((here / "runs" / "memory-pro" / "figures").iterdir())
    assert run_file.exists()
    assert "<svg" in report.read_text(encoding="utf-8")
    assert {path.suffix for path in figures} >= {".png"}
    for path in ("runs/memory-pro.h5", "runs/memory-pro/figures", "runs/memory-pro/report.html"):
        assert path in shown.out
    assert "rank K" in shown.out
    assert "checks passed" in shown.out
    assert "training: 30/30" in shown.err
    first, second, *_ = shown.err.splitlines()
    assert first.startswith("runs/memory-pro.h5: GRU(n_inputs=3, n_units=")
    assert first.endswith("on memory-pro, 30 iterations of 4 trials by adam")
    assert second == "training: 0/30"
    with RunFile.open(run_file) as file:
        assert [analysis.iteration for analysis in file.analyses] == [0, 20, 30]
        assert file.validation is not None
        assert file.validation.passed

    draw_one_figure(monkeypatch)
    before = run_file.read_bytes()
    assert kpflow("run", "memory-pro", *SMALL) == 0
    assert "training" not in capsys.readouterr().err
    assert run_file.read_bytes() == before

    other = [*SMALL, "--seed", "5"]
    assert kpflow("run", "memory-pro", *other) == 2
    assert "training.seed is 0 there, 5 here" in capsys.readouterr().err
    assert run_file.read_bytes() == before
    assert kpflow("run", "memory-pro", *other, "--overwrite") == 0
    assert run_file.read_bytes() != before

    capsys.readouterr()
    assert kpflow("analyze", str(run_file), "--task", "flip-flop", "--leak", "0.3") == 2
    assert "has its own task, network and training: leave out --leak, --task" in (
        capsys.readouterr().err
    )
    assert kpflow("analyze", str(run_file)) == 0
    assert "analysis" not in capsys.readouterr().err
    assert kpflow("analyze", str(run_file), "--checkpoints", "2") == 2
    assert "analysed already, with other settings" in capsys.readouterr().err
    assert kpflow("analyze", str(run_file), "--checkpoints", "2", "--overwrite") == 0
    with RunFile.open(run_file) as file:
        assert [analysis.iteration for analysis in file.analyses] == [0, 30]
        assert file.config["analysis"]["n_checkpoints"] == 2
    capsys.readouterr()
    assert kpflow("info", str(run_file)) == 0
    assert "GRU" in capsys.readouterr().out
    assert kpflow("validate", str(run_file), "--checkpoint", "0") == 0
    assert "P P^-1" in capsys.readouterr().out
    assert kpflow("validate", str(run_file), "--checkpoint", "4") == 2
    assert "checkpoint must be from -4 to 3; got 4" in capsys.readouterr().err
    assert kpflow("plot", str(run_file)) == 2
    assert "has files already" in capsys.readouterr().err
    assert kpflow("plot", str(run_file), "--output", "drawn") == 0
    drawn = {path.name for path in (here / "drawn").iterdir()}
    assert "training.png" in drawn
    assert drawn <= {path.name for path in figures}


def test_a_multi_task_run_measures_interference(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = [*SMALL, "--trials", "8", "--set", "task.n_context=2"]
    assert kpflow("run", "multi-task", *small, "--output", "m.h5") == 0
    shown = capsys.readouterr().out
    assert re.search(r"Sign: tasks interfere: (not )?raised, minus the cosine -?\d", shown)
    with RunFile.open("m.h5") as file:
        batch, held = file.evaluation_batch, [each.interference for each in file.analyses]
        wanted = []
        for index in (0, 2, 3):
            network = file.checkpoint(index)
            trajectory = kpf.simulate(file.cell, network.params, batch.inputs)
            error = kpf.state_error(trajectory, network.readout, batch.targets, mask=batch.mask)
            lin = kpf.linearize(trajectory)
            wanted.append(kpf.interference(lin, error, batch.task_ids, names=batch.task_names))
        times = [analysis.iteration for analysis in file.analyses]
        sign = file.signs[2]
    assert times == [0, 20, 30]
    accumulated = kpf.accumulated_contribution_cosines(wanted, times=times)
    for found, expected, total in zip(held, wanted, accumulated, strict=True):
        assert found.names == batch.task_names
        np.testing.assert_allclose(found.matrix, expected.matrix, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(found.accumulated_contribution_cosines, total, atol=1e-9)
    assert sign.estimate.value == pytest.approx(-np.mean([e.cosines for e in wanted], axis=0).min())
    assert (here / "m" / "figures" / "interference.png").exists()
    assert "Cosines between the tasks" in (here / "m" / "report.html").read_text(encoding="utf-8")
    assert kpflow("info", "m.h5") == 0
    assert "memory-pro and memory-anti" in capsys.readouterr().out

    again = ["analyze", "m.h5", "--overwrite"]
    assert kpflow(*again, "--set", "analysis.interference=units") == 2
    assert "analysis.interference must be one of" in capsys.readouterr().err
    (alone,) = kpf.analyze("m.h5", n_checkpoints=1, interference="conditions")
    assert len(alone.interference.names) == 8
    kpf.analyze("m.h5", n_checkpoints=1, interference="none")
    with RunFile.open("m.h5") as file:
        assert file.analyses[0].interference is None


def test_quantities_are_found_kept_shown_and_drawn(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kpflow("run", "memory-pro", *SMALL, "--output", "q.h5") == 0
    assert "core-cosines.png" not in {path.name for path in (here / "q" / "figures").iterdir()}
    asked = ["analyze", "q.h5", "--overwrite", "--quantities"]
    assert kpflow(*asked, " core-cosine,default, self-reference,trace") == 0
    with RunFile.open("q.h5") as file:
        wanted = ["core-cosine", *DEFAULT_QUANTITIES, "self-reference"]
        assert file.config["analysis"]["quantities"] == wanted
        batch, held = file.evaluation_batch, file.analyses
        networks = [file.checkpoint(index) for index in (0, 2, 3)]
        cell = file.cell
    for network, analysis in zip(networks, held, strict=True):
        trajectory = kpf.simulate(cell, network.params, batch.inputs)
        lin = kpf.linearize(trajectory)
        cosines = kpf.core_against_kernel(lin)
        assert analysis.quantity(COSINE, "NTK", "core").value == cosines.kernel_core
        assert analysis.quantity(COSINE, "K", "ones").value == cosines.parameter_ones
        error = kpf.state_error(trajectory, network.readout, batch.targets, mask=batch.mask)
        bias = kpf.self_referential_bias(lin, error)
        assert analysis.quantity(MODE_SHARE, "dh").value == bias.share
        assert analysis.quantity(MODE_SHARE, "chance").value == bias.chance
        random = analysis.quantity(MODE_SHARE, "dh of random errors")
        assert random.lower < random.value < random.upper
    names = {path.name for path in (here / "q" / "figures").iterdir()}
    assert {"core-cosines.png", "core-cosines-centred.png", "self-reference.png"} <= names
    page = (here / "q" / "report.html").read_text(encoding="utf-8")
    for heading in ("Core against kernel", "Self-referential bias"):
        assert f">{heading}</h2>" in page
    capsys.readouterr()
    assert kpflow("info", "q.h5") == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    ends = [f"{each.quantity(MODE_SHARE, 'P P* err').value:.4g}" for each in (held[0], held[-1])]
    assert [*MODE_SHARE.split(), "P", "P*", "err", *ends] in rows


def test_more_iterations_are_added_when_asked(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kpflow("train", "memory-pro", *SMALL, "--output", "short.h5") == 0
    longer = [*SMALL, "--iterations", "40"]
    assert kpflow("train", "memory-pro", *longer, "--output", "short.h5") == 2
    assert "Continue it with --resume" in capsys.readouterr().err
    assert kpflow("train", "memory-pro", *longer, "--output", "short.h5", "--resume") == 0
    assert "40 iterations of 4 trials by adam, from 30 on\ntraining: 30/40\n" in (
        capsys.readouterr().err
    )
    assert kpflow("train", "memory-pro", *longer, "--output", "long.h5") == 0
    with RunFile.open("short.h5") as resumed, RunFile.open("long.h5") as uninterrupted:
        np.testing.assert_array_equal(resumed.losses, uninterrupted.losses)
        np.testing.assert_array_equal(
            resumed.checkpoint(-1).params["weight_hh"],
            uninterrupted.checkpoint(-1).params["weight_hh"],
        )


def test_an_interrupted_run_goes_on_where_it_stopped(here: Path) -> None:
    arguments = ["train", "memory-pro", *SMALL, "--iterations", "600", "--output", "run.h5"]
    process = subprocess.Popen(
        [sys.executable, "-m", "kpflow_numerics", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stderr is not None
    assert any("training: 60/600" in line for line in process.stderr)
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 130, rest
    assert "interrupted" in rest
    # Python itself prints an interrupt that it drops in a finaliser; nothing else may be shown.
    assert rest.count("Traceback") == rest.count("Exception ignored in")
    with RunFile.open("run.h5") as file:
        assert 0 < file.n_checkpoints < 61
    assert kpflow(*arguments) == 0
    assert kpflow(*arguments[:-1], "whole.h5") == 0
    with RunFile.open("run.h5") as resumed, RunFile.open("whole.h5") as uninterrupted:
        np.testing.assert_array_equal(resumed.losses, uninterrupted.losses)
        np.testing.assert_array_equal(
            resumed.checkpoint(-1).readout["weight"], uninterrupted.checkpoint(-1).readout["weight"]
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["runn", "memory-pro"], "Did you mean 'run'?"),
        (["--verson"], "there is no option --verson. Did you mean '--version'?"),
        (["run", "memory-por"], "characters; got 'memory-por'. Did you mean 'memory-pro'?"),
        (["run", "--outpt", "run.h5"], "there is no option --outpt. Did you mean '--output'?"),
        (["run", "--cell", "GUR"], "lstm, low-rank-rnn; got 'GUR'. Did you mean 'gru'?"),
        (["sweep", "pln"], "got 'pln'. Did you mean 'plan'?"),
        (["import", "text.npz", "--cell", "low-rank-rnn"], "Did you mean 'leaky-rnn'?"),
        (["run", "--set", "cell.gian=3"], "Did you mean 'gain'?"),
        (["run", "--set", "gain=3"], "Did you mean 'cell.gain'?"),
        (["run", "--set", "cell.kind=gur"], "Did you mean 'gru'?"),
        (["run", "--seed", "-1"], "training.seed must be at least 0; got -1."),
        (["run", "--gain", "-1"], "cell.gain must be finite and at least 0; got -1.0."),
        (["run", "--checkpoints", "0"], "analysis.n_checkpoints must be at least 1; got 0."),
        (["run", "--max-memory", "0"], "max_memory_gib must be finite and greater than 0"),
        (["train", "--output", "text.h5", "--iterations", "-3"], "n_iterations must be at least 0"),
        (["run", "memory-pro", "--units", "0"], "n_units must be at least 1"),
        (["run", "memory-pro", "--units", "many"], "invalid int value"),
        (["run", "memory-pro", "--set", "task.n_memry=3"], "Did you mean 'n_memory'"),
        (["run", "memory-pro", "--set", "cell.activation=relu"], "activation"),
        (["run", "memory-pro", "--set", "training.learning_rate=-1"], "learning_rate must be"),
        (["run", "memory-pro", "--quantities", "default,trase"], "Did you mean 'trace'"),
        (["run", "memory-pro", "--set", "nonsense"], "--set takes section.key=value"),
        (["run", "memory-pro", "--config", "absent.toml"], "no configuration file absent.toml"),
        (["analyze", "absent.h5"], "There is no file absent.h5"),
        (["analyze", "text.h5"], "text.h5 is not an HDF5 file, so it is not a run file."),
        (["info", "absent.h5"], "absent.h5"),
        (["info", "text.h5"], "text.h5"),
        (["validate", "text.h5"], "text.h5"),
        (["plot", "text.h5"], "text.h5"),
        (["analyze", "text.npz", "--task", "memory-pro"], "is not a whole .npz file"),
        (["analyze", "text.npz"], "name the task"),
        (["analyze", "net.pt", "--task", "memory-pro"], "is not an archive of torch.save"),
    ],
)
def test_bad_input_gets_one_message_and_leaves_nothing(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    for name in ("text.h5", "text.npz", "net.pt"):
        (here / name).write_text("not what the name says")
    before = sorted(path.name for path in here.rglob("*"))
    assert kpflow(*arguments) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert "Traceback" not in shown.err
    assert shown.out == ""
    assert sorted(path.name for path in here.rglob("*")) == before


def test_a_diverging_run_keeps_its_checkpoints(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wild = [*SMALL, "--cell", "vanilla-rnn", "--set", "cell.activation=relu"]
    wild += ["--optimizer", "sgd", "--learning-rate", "1e200", "--set", "training.clip_norm=1e300"]
    assert kpflow("train", "memory-pro", *wild, "--output", "wild.h5") == 3
    assert "diverged" in capsys.readouterr().err
    with RunFile.open("wild.h5") as file:
        assert file.n_checkpoints >= 1


@pytest.mark.parametrize(
    ("name", "task", "told"),
    [
        ("gru_memory_pro_64.safetensors", "memory-pro", []),
        ("rnn_memory_pro_64.npz", "memory-pro", ["--activation", "tanh"]),
        ("lstm_flip_flop_48.npz", "flip-flop", []),
        ("rnn_relu_flip_flop_48.safetensors", "flip-flop", ["--activation", "relu"]),
    ],
)
def test_networks_trained_in_pytorch(
    here: Path,
    shared_data: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    task: str,
    told: list[str],
) -> None:
    draw_one_figure(monkeypatch)
    path = str(shared_data / "pytorch" / name)
    few = ["--trials", "2", "--eigenpairs", "4"]
    assert kpflow("analyze", path, "--task", task, *told, *few) == 0
    shown = capsys.readouterr()
    stem = Path(name).stem
    assert (here / "runs" / f"{stem}.h5").exists()
    assert (here / "runs" / stem / "report.html").exists()
    assert "of" in shown.out
    assert "checks passed" in shown.out
    assert name in shown.err
    assert kpflow("analyze", path, "--task", task, *told, *few) == 2
    assert "exists" in capsys.readouterr().err


def test_a_network_that_does_not_fit_the_task(
    here: Path, shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(shared_data / "pytorch" / "gru_memory_pro_64.npz")
    assert kpflow("analyze", path, "--task", "multi-task") == 2
    assert "takes 3 inputs, but task multi-task gives 7" in capsys.readouterr().err
    assert not (here / "runs").exists()


def test_help_is_instant() -> None:
    times = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "kpflow_numerics", "--help"], capture_output=True)
        times.append(time.perf_counter() - start)
    bare = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import argparse"], capture_output=True)
        bare.append(time.perf_counter() - start)
    assert min(times) < 5 * min(bare)


def test_characters_of_a_file_from_the_command_line(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_one_figure(monkeypatch)
    text = here / "text.txt"
    text.write_text("to be, or not to be? " * 7, encoding="utf-8")
    words = [*SMALL[:12], "--set", "task.text_file=text.txt", "--set", "task.n_steps=6"]
    assert kpflow("run", "characters", *words, "--set", "training.checkpoint_every=10") == 0
    with RunFile.open("runs/characters.h5") as file:
        assert file.task == kpf.Characters(text.read_text(encoding="utf-8"), n_steps=6)
        last, batch = file.checkpoint(-1), file.evaluation_batch
        judged = kpf.evaluate(file.cell, last.params, last.readout, file.task, batch)
        assert judged.loss == pytest.approx(last.evaluation_loss, rel=1e-12)
        assert file.analyses[-1].evaluation_loss == pytest.approx(judged.loss, rel=1e-12)
        assert file.validation is not None
        assert file.validation.passed
    report = (here / "runs" / "characters" / "report.html").read_text(encoding="utf-8")
    assert "cross entropy" in report
    capsys.readouterr()

    text.write_text("to bee, or not to bee? " * 7, encoding="utf-8")
    assert kpflow("run", "characters", *words, "--set", "training.checkpoint_every=10") == 2
    assert "trained on another text than task.text_file has now" in capsys.readouterr().err
