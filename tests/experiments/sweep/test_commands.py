"""``kpflow sweep``, as a new user would try it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from kpflow_numerics import cli
from kpflow_numerics.experiments.sweep.plan import read_plan

SMALL = [
    *("--units", "4", "--iterations", "6", "--batch-size", "3", "--trials", "2"),
    *("--checkpoints", "2", "--eigenpairs", "3", "--set", "task.n_stimulus=2"),
    *("--set", "task.n_memory=2", "--set", "task.n_response=2"),
]
GRID = ["--vary", "cell.gain=0.5,1", "--vary", "training.seed=5:7"]


def kpflow(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", ["", "plan", "run", "status", "merge", "report"])
def test_help_teaches(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert kpflow("sweep", *command.split(), "--help") == 0
    shown = capsys.readouterr().out
    assert "usage: kpflow sweep" in shown
    assert max(map(len, shown.splitlines())) <= 100


def test_from_plan_to_report(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = ["sweep", "plan", "memory-pro", *SMALL, *GRID, "--cell", "vanilla-rnn"]
    assert kpflow(*plan) == 0
    shown = capsys.readouterr().out
    assert "SweepPlan(gain (2) x seed (2): 4 cells)" in shown
    assert "Nothing is written without --output" in shown
    assert list(here.iterdir()) == []
    assert kpflow(*plan, "--output", "runs/sweep") == 0
    assert "next      kpflow sweep run runs/sweep" in capsys.readouterr().out
    assert kpflow("sweep", "status", "runs/sweep") == 0
    assert "4 pending" in capsys.readouterr().out
    assert kpflow("sweep", "run", "runs/sweep", "--workers", "1") == 0
    shown = capsys.readouterr()
    assert "4 done" in shown.out
    assert "sweep: 4/4" in shown.err
    assert kpflow("sweep", "run", "runs/sweep") == 0
    assert "sweep:" not in capsys.readouterr().err
    assert kpflow("sweep", "merge", "runs/sweep", "--output", "all.h5") == 0
    assert "4 of 4 cells done" in capsys.readouterr().out
    assert (here / "all.h5").exists()
    assert kpflow("sweep", "report", "runs/sweep") == 0
    shown = capsys.readouterr().out
    for name in ("sweep.h5", "figures", "report.html"):
        assert f"runs/sweep/{name}" in shown
        assert (here / "runs" / "sweep" / name).exists()
    assert kpflow(*plan, "--max-memory", "3", "--output", "runs/sweep") == 2
    assert "another plan: analysis.max_memory_gib is 4.0 there, 3.0 here" in capsys.readouterr().err


def test_a_file_and_flags_give_one_plan(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "sweep.toml").write_text(
        '[task]\nname = "flip-flop"\n[cell]\nn_units = 5\n[sweep]\nkeep = ["ranks"]\n'
        'keep_runs = false\ntolerances = [0.5, 0.1]\n[sweep.axes]\ntraining.seed = "3:5"\n'
    )
    flags = ["--vary", "training.seed=3:5", "--units", "5", "--keep", "ranks", "--discard-runs"]
    flags += ["--tolerances", "0.5,0.1"]
    assert kpflow("sweep", "plan", "sweep.toml", "--output", "one") == 0
    assert kpflow("sweep", "plan", "flip-flop", *flags, "--output", "two") == 0
    assert (here / "one" / "plan.toml").read_text() == (here / "two" / "plan.toml").read_text()
    assert kpflow("sweep", "plan", "sweep.toml", "--units", "7", "--output", "three") == 0
    assert read_plan("three/plan.toml").settings(1).cell.n_units == 7
    assert kpflow("sweep", "plan", "one/plan.toml", "--output", "one") == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plan", "memory-por", *GRID], "Did you mean 'memory-pro'"),
        (["plan", "memory-pro"], "needs at least one axis"),
        (["plan", "memory-pro", "--vary", "cell.gain"], "--vary takes a setting"),
        (["plan", "memory-pro", *GRID, "--vary", "cell.gain=3"], "--vary names cell.gain twice"),
        (
            ["plan", "memory-pro", *GRID, "--gain", "3"],
            "cell.gain is varied by --vary, and 3.0 by a flag would not be used",
        ),
        (
            ["plan", "--vary", "size: cell.n_units=4,8 & cell.gain=1,2", "--units", "5"],
            "cell.n_units is varied by --vary, and 5 by a flag would not be used",
        ),
        (["plan", "memory-pro", *GRID, "--keep", "all"], "keep must be one of"),
        (["plan", "memory-pro", *GRID, "--tolerances", "low"], "--tolerances takes losses"),
        (["plan", "absent.toml"], "no configuration file absent.toml"),
        (["run", "absent"], "is not the directory of a sweep"),
        (["status", "absent"], "is not the directory of a sweep"),
        (["merge", "absent"], "is not the directory of a sweep"),
        (["report", "absent"], "is not the directory of a sweep"),
    ],
)
def test_bad_input_gets_one_message_and_leaves_nothing(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert kpflow("sweep", *arguments) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert "Traceback" not in shown.err
    assert list(here.iterdir()) == []


def test_a_failed_cell_is_the_exit_code(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wild = [*SMALL, "--cell", "vanilla-rnn", "--set", "cell.activation=relu", "--optimizer", "sgd"]
    wild += ["--set", "training.clip_norm=1e300", "--vary", "training.learning_rate=1e200"]
    assert kpflow("sweep", "plan", "memory-pro", *wild, "--output", "wild") == 0
    assert kpflow("sweep", "run", "wild", "--workers", "1") == 1
    assert "TrainingDiverged" in capsys.readouterr().out
    assert kpflow("sweep", "status", "wild", "--traceback") == 0
    assert "Traceback (most recent call last)" in capsys.readouterr().out


def test_the_commands_of_the_page_are_understood(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = Path(__file__).resolve().parents[3] / "docs" / "sweeps.rst"
    commands = re.findall(r"^   \$ kpflow (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(commands) == 5
    assert kpflow(*shlex.split(commands[0])) == 0
    assert kpflow("sweep", "status", "runs/gain-sweep") == 0
    assert "15 pending" in capsys.readouterr().out
    for command in commands[1:]:
        assert kpflow(*shlex.split(command), "--help") == 0
