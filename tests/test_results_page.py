"""The rows of the results page are all there, and have its form."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SPECIFICATION = importlib.util.spec_from_file_location("results", ROOT / "docs" / "results.py")
assert SPECIFICATION is not None
assert SPECIFICATION.loader is not None
results = importlib.util.module_from_spec(SPECIFICATION)
SPECIFICATION.loader.exec_module(results)
FOLDER = ROOT / "docs" / "results.d"


def test_every_row_is_there() -> None:
    rows = results.read_rows(FOLDER)
    text = results.to_rst(rows)
    assert all(f".. _row-{number}:" in text for number in range(1, 25))


def unknown_scripts(command: str) -> set[str]:
    """Return the scripts that a command names and the repository does not hold."""
    named = re.findall(r"\b((?:examples|benchmarks|tests|docs)/[\w/]+\.py|plot_\w+)", command)
    paths = [name if "/" in name else f"examples/{name}.py" for name in named]
    return {path for path in paths if not (ROOT / path).exists()}


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.toml")), ids=lambda path: path.stem)
def test_commands_name_scripts_that_exist(path: Path) -> None:
    row = results.tomllib.loads(path.read_text(encoding="utf-8"))
    assert unknown_scripts(row["command"]) == set()


def test_a_script_that_is_not_there_is_found() -> None:
    command = "python examples/run_experiments.py plot_no_such_thing"
    assert unknown_scripts(command) == {"examples/plot_no_such_thing.py"}


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
