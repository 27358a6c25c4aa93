"""Every example runs, has the form that the gallery needs, and gives numbers and a figure."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import kpflow_numerics as kpf

matplotlib = pytest.importorskip("matplotlib")

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.glob("plot_*.py"))
MOST_LINES = 110


@pytest.fixture(autouse=True)
def no_window() -> Iterator[None]:
    """Draw into memory, and leave no figure behind."""
    import matplotlib.pyplot as plt

    plt.switch_backend("agg")
    yield
    plt.close("all")


def load(path: Path) -> ModuleType:
    specification = importlib.util.spec_from_file_location(path.stem, path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def private_names(tree: ast.Module) -> set[str]:
    """Return what is taken from the library beyond its public names."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("kpflow_numerics"):
            found.add(f"from {node.module}")
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names if a.name.startswith("kpflow_numerics.")}
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "kpf"
            and node.attr not in {*kpf.__all__, "__version__"}
        ):
            found.add(f"kpf.{node.attr}")
    return found


def check_form(path: Path) -> None:
    """Raise where a script has not the form of an example."""
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    header = (ast.get_docstring(tree) or "").splitlines()
    if len(header) < 4 or not re.fullmatch("=+", header[1]) or len(header[1]) != len(header[0]):
        raise AssertionError(f"{path.name} begins with no title underlined by = of its length.")
    if len(re.findall(r"\.(?=\s|$)", "\n".join(header[3:]))) < 2:
        raise AssertionError(f"{path.name} does not say in two sentences what it shows.")
    if private_names(tree):
        raise AssertionError(f"{path.name} uses {sorted(private_names(tree))}, not public.")
    if len(text.splitlines()) > MOST_LINES:
        raise AssertionError(f"{path.name} has over {MOST_LINES} lines.")
    if '    main("full" if "--full" in sys.argv else "small")' not in text:
        raise AssertionError(f"{path.name} does not run small unless --full is given.")


def check_numbers(value: Any, name: str) -> int:
    """Return how many numbers there are; raise where one is not finite."""
    if isinstance(value, Mapping):
        return sum(check_numbers(each, f"{name}, {key}") for key, each in value.items())
    array = np.asarray(value, dtype=float)
    if not np.isfinite(array).all():
        raise AssertionError(f"{name} is not finite: {array}.")
    return array.size


def check_run(path: Path) -> None:
    """Raise where an example, run small, gives no numbers, no figure, or an empty one."""
    import matplotlib.pyplot as plt

    main = load(path).main
    first = next(iter(inspect.signature(main).parameters.values()))
    if (first.name, first.default) != ("scale", "small"):
        raise AssertionError(f'main of {path.name} does not begin with scale="small".')
    if not check_numbers(main(), path.stem):
        raise AssertionError(f"{path.name} returns no numbers.")
    figures = [plt.figure(number) for number in plt.get_fignums()]
    if not figures or not all(ax.has_data() for figure in figures for ax in figure.axes):
        raise AssertionError(f"{path.name} leaves no figure, or an empty panel.")
    for figure in figures:
        figure.canvas.draw()


def test_there_are_examples() -> None:
    assert len(NAMES) >= 7


@pytest.mark.parametrize("name", NAMES)
def test_an_example_has_the_form_of_the_gallery(name: str) -> None:
    check_form(EXAMPLES / f"{name}.py")


@pytest.mark.parametrize("name", NAMES)
def test_an_example_runs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    check_run(EXAMPLES / f"{name}.py")
    assert re.search(r"\d", capsys.readouterr().out), f"{name} prints no number"


GOOD = '''"""
A title
=======

It draws a line. It shows that a line is straight.
"""

import sys

import matplotlib.pyplot as plt

import kpflow_numerics as kpf


def main(scale="small"):
    """Draw."""
    plt.plot([1, 2])
    print(1.5)
    return {"length": [1.0, 1.5], "names": {"known": float("0" in kpf.__version__)}}


if __name__ == "__main__":
    main("full" if "--full" in sys.argv else "small")
'''


@pytest.mark.parametrize(
    ("right", "wrong", "match"),
    [
        ("=======", "====", "title underlined"),
        ("It shows that a line is straight.", "", "two sentences"),
        ('"0" in kpf.__version__', "kpf.results is None", "kpf.results"),
        ('"0" in kpf.__version__', "kpf._HOMES is None", "_HOMES"),
        ("import sys\n", "import sys\nfrom kpflow_numerics._jit import jit\n", "_jit"),
        ("import sys\n", "import sys\n" + "\n" * MOST_LINES, "lines"),
        ('"--full" in', '"--small" not in', "small unless"),
    ],
)
def test_a_planted_fault_of_form_is_found(
    right: str, wrong: str, match: str, tmp_path: Path
) -> None:
    path = tmp_path / "plot_planted.py"
    path.write_text(GOOD, encoding="utf-8")
    check_form(path)
    assert right in GOOD
    path.write_text(GOOD.replace(right, wrong), encoding="utf-8")
    with pytest.raises(AssertionError, match=match):
        check_form(path)


@pytest.mark.parametrize(
    ("right", "wrong", "error", "match"),
    [
        ("1.0, 1.5]", "1.0, float('nan')]", AssertionError, "length is not finite"),
        ("plt.plot([1, 2])", "pass", AssertionError, "no figure"),
        ("plt.plot([1, 2])", "plt.subplots(1, 2)[1][0].plot([1, 2])", AssertionError, "empty"),
        ('scale="small"', 'size="small"', AssertionError, 'scale="small"'),
        ("print(1.5)", "raise OSError('broken')", OSError, "broken"),
        ('{"length"', '{} and {"length"', AssertionError, "no numbers"),
    ],
)
def test_a_planted_failing_example_is_caught(
    right: str, wrong: str, error: type[Exception], match: str, tmp_path: Path
) -> None:
    path = tmp_path / "plot_planted.py"
    assert right in GOOD
    path.write_text(GOOD.replace(right, wrong), encoding="utf-8")
    with pytest.raises(error, match=match):
        check_run(path)


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the runner of experiments, with one good example and one that fails."""
    module = load(EXAMPLES / "run_experiments.py")
    (tmp_path / "plot_good.py").write_text(GOOD, encoding="utf-8")
    broken = GOOD.replace("print(1.5)", "raise OSError('broken')")
    (tmp_path / "plot_broken.py").write_text(broken, encoding="utf-8")
    monkeypatch.setattr(module, "HERE", tmp_path)

    def run(*words: str) -> Path:
        monkeypatch.setattr(sys, "argv", ["run_experiments.py", *words])
        monkeypatch.chdir(tmp_path)
        module.main()
        return tmp_path / "runs" / "experiments"

    return run


def test_an_experiment_is_kept(runner: Any) -> None:
    output = runner("plot_good", "--small")
    assert '"length": [' in (output / "plot_good.json").read_text()
    assert "1.5" in (output / "plot_good.txt").read_text()
    assert (output / "plot_good.svg").stat().st_size > 1000


def test_an_experiment_that_fails_does_not_stop_the_others(
    runner: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="failed: plot_broken"):
        runner("--small")
    assert "broken" in capsys.readouterr().err
    assert (tmp_path / "runs" / "experiments" / "plot_good.json").exists()


def test_arguments_reach_the_example(runner: Any) -> None:
    with pytest.raises(SystemExit, match="failed: plot_good"):
        runner("plot_good", "n_units=3", "--small")
