"""The rows of the results page are all there, and have its form."""

from __future__ import annotations

import importlib.util
import inspect
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from kpflow_numerics import cli

ROOT = Path(__file__).resolve().parents[1]


def load(path: Path) -> ModuleType:
    specification = importlib.util.spec_from_file_location(path.stem, path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


results = load(ROOT / "docs" / "results.py")
FOLDER = ROOT / "docs" / "results.d"


def test_every_row_is_there() -> None:
    rows = results.read_rows(FOLDER)
    text = results.to_rst(rows)
    assert all(f".. _row-{number}:" in text for number in range(1, 25))


def commands_of(text: str) -> list[list[str]]:
    """Return the words of each command of a row, without settings of the environment."""
    words = [shlex.split(command) for command in re.findall(r"``(.+?)``", text, re.DOTALL)]
    return [[*_without_environment(each)] for each in words]


def _without_environment(words: list[str]) -> Iterator[str]:
    is_leading = True
    for word in words:
        is_leading = is_leading and re.fullmatch("[A-Z_]+=.*", word) is not None
        if not is_leading:
            yield word


def check_command(words: list[str]) -> None:
    """Raise AssertionError for a command that cannot be run: a name or an option is not known."""
    if words[0] == "kpflow":
        try:
            cli.build_parser().parse_args(words[1:])
        except SystemExit as end:
            raise AssertionError(f"kpflow does not take {words[1:]}") from end
        return
    if words[:3] == ["python", "-m", "pytest"]:
        assert (ROOT / words[3]).exists(), f"there is no {words[3]}"
        return
    assert words[0] == "python", f"{words[0]} is no command"
    assert (ROOT / words[1]).exists(), f"there is no {words[1]}"
    text = (ROOT / words[1]).read_text(encoding="utf-8")
    options = {word for word in words[2:] if word.startswith("--")}
    unknown = {option for option in options if f'"{option}"' not in text}
    assert not unknown, f"{words[1]} has no option {unknown}"
    if words[1] == "examples/run_experiments.py":
        _check_experiment(words[2:])


def _check_experiment(words: list[str]) -> None:
    values = {
        words[place + 1] for place, word in enumerate(words) if word in ("--stem", "--output")
    }
    names = [word for word in words if "=" not in word and not word.startswith("--")]
    names = [name for name in names if name not in values]
    assert names, "no example is named"
    for name in names:
        path = ROOT / "examples" / f"{name}.py"
        assert path.exists(), f"there is no example {name}"
        example = load(path)
        known = {*inspect.signature(example.main).parameters, *example.SIZES["full"]}
        for word in words:
            key, is_argument, _ = word.partition("=")
            assert not is_argument or key in known, f"{name} has no argument {key}"


ROWS = sorted(FOLDER.glob("*.toml"))


@pytest.mark.parametrize("path", ROWS, ids=lambda path: path.stem)
def test_commands_can_be_run(path: Path) -> None:
    row = results.tomllib.loads(path.read_text(encoding="utf-8"))
    commands = commands_of(row["command"])
    assert commands
    for words in commands:
        check_command(words)


@pytest.mark.parametrize(
    ("command", "match"),
    [
        ("make it so", "make is no command"),
        ("python examples/run_experiment.py plot_chaos", "no examples/run_experiment.py"),
        ("python examples/run_experiments.py plot_no_such_thing", "no example plot_no_such"),
        ("python examples/run_experiments.py plot_chaos n_step=3", "no argument n_step"),
        ("python examples/run_experiments.py n_steps=3", "no example is named"),
        ("python examples/run_experiments.py plot_chaos --stemm x", "no option {'--stemm'}"),
        ("python benchmarks/time_to_accuracy.py --budget 8", "no option {'--budget'}"),
        ("python -m pytest tests/spectral/test_cover.py", "no tests/spectral/test_cover.py"),
        ("kpflow train memory-pro --iteratoins 9", "kpflow does not take"),
        ("kpflow train memory-por", "kpflow does not take"),
    ],
)
def test_a_command_that_cannot_be_run_is_found(command: str, match: str) -> None:
    (words,) = commands_of(f"``OMP_NUM_THREADS=1 {command}``")
    with pytest.raises(AssertionError, match=match):
        check_command(words)


@pytest.mark.parametrize(
    ("right", "wrong", "match"),
    [
        ('agrees = "yes"', 'agrees = "maybe"', "'maybe'"),
        ('why = "w"', 'reason = "w"', "reason"),
        ('why = "w"', 'why = " "', "leaves why empty"),
    ],
)
def test_a_row_without_the_form_is_refused(
    right: str, wrong: str, match: str, tmp_path: Path
) -> None:
    texts = "\n".join(f'{key} = "{key[0]}"' for key in results.TEXTS if key != "agrees")
    row = f'{texts}\nagrees = "yes"\n'
    for number in results.ROWS:
        (tmp_path / f"row_{number:02d}.toml").write_text(row)
    assert len(results.read_rows(tmp_path)) == 24
    (tmp_path / "row_07.toml").write_text(row.replace(right, wrong))
    with pytest.raises(ValueError, match=match):
        results.read_rows(tmp_path)
    (tmp_path / "row_07.toml").unlink()
    with pytest.raises(ValueError, match="7"):
        results.read_rows(tmp_path)
