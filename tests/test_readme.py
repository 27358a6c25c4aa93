"""Every code block of the README and of CONTRIBUTING runs as it is printed, one after another."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from kpflow_numerics.cli import main

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[tuple[str, str]]:
    found = []
    for name in ("README.md", "CONTRIBUTING.md"):
        for kind, code in BLOCK.findall((ROOT / name).read_text(encoding="utf-8")):
            if kind == language:
                found.append((name, code))
    return found


@pytest.mark.parametrize("name", sorted({name for name, _ in blocks("python")}))
def test_python_blocks_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__main__"}
    for home, code in blocks("python"):
        if home == name:
            exec(compile(code, name, "exec"), names)


def test_there_is_a_script_in_the_readme() -> None:
    assert any(
        name == "README.md" and "import kpflow_numerics" in code for name, code in blocks("python")
    )


@pytest.mark.parametrize(
    "command",
    sorted(
        {
            line.removeprefix("$ ")
            for _, code in blocks("console")
            for line in code.splitlines()
            if line.startswith("$ kpflow ")
        }
    ),
)
def test_printed_commands_are_understood(command: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*shlex.split(command.split("#")[0])[1:], "--help"])
    assert stopped.value.code == 0
