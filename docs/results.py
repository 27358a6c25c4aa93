"""The table and the sections of the results page, from one TOML file a row in results.d/."""

from __future__ import annotations

import textwrap
import tomllib
from pathlib import Path

ROWS = range(1, 25)
VERDICTS = {
    "yes": "agrees",
    "partly": "agrees in part",
    "no": "does not agree",
    "reported": "nothing to agree with: reported",
    "open": "not run yet",
}
TEXTS = ("title", "strength", "expected", "found", "recipe", "seeds", "command", "agrees", "why")


def read_rows(folder: Path) -> dict[int, dict[str, str]]:
    """Return the rows by number; raise ValueError where one is missing or has not the form."""
    rows = {}
    for path in sorted(folder.glob("*.toml")):
        row = tomllib.loads(path.read_text(encoding="utf-8"))
        if set(row) != set(TEXTS):
            odd = sorted(set(row) ^ set(TEXTS))
            raise ValueError(f"{path.name} must have the keys {', '.join(TEXTS)}; see {odd}.")
        empty = [key for key in TEXTS if not str(row[key]).strip()]
        if empty:
            raise ValueError(f"{path.name} leaves {', '.join(empty)} empty.")
        if row["agrees"] not in VERDICTS:
            raise ValueError(f"{path.name}: agrees is {row['agrees']!r}, not of {list(VERDICTS)}.")
        rows[int(path.stem.removeprefix("row_"))] = row
    if sorted(rows) != list(ROWS):
        raise ValueError(f"Rows {sorted(set(ROWS) ^ set(rows))} are missing, or not expected.")
    return rows


def to_rst(rows: dict[int, dict[str, str]]) -> str:
    """Return the table of all rows and a section for each."""
    lines = [".. list-table::", "   :header-rows: 1", "   :widths: 6 60 34", ""]
    lines += ["   * - Row", "     - What", "     - Verdict"]
    for number, row in rows.items():
        lines += [f"   * - :ref:`{number} <row-{number}>`", f"     - {row['title']}"]
        lines += [f"     - {VERDICTS[row['agrees']]}"]
    for number, row in rows.items():
        title = f"{number}. {row['title']}"
        lines += ["", f".. _row-{number}:", "", title, "-" * len(title), ""]
        for key in TEXTS[2:-2]:
            text = textwrap.indent(row[key].strip(), "    ").lstrip()
            if key == "expected":
                text += f" (strength {row['strength']})"
            lines.append(f":{key.capitalize()}: {text}")
        verdict = f"**{VERDICTS[row['agrees']]}**. {row['why'].strip()}"
        lines.append(f":Verdict: {textwrap.indent(verdict, '    ').lstrip()}")
    return "\n".join(lines) + "\n"


def write(folder: Path) -> None:
    """Write generated/results_rows.rst beside the sources in `folder`."""
    target = folder / "generated" / "results_rows.rst"
    target.parent.mkdir(exist_ok=True)
    text = to_rst(read_rows(folder / "results.d"))
    if not target.exists() or target.read_text(encoding="utf-8") != text:
        target.write_text(text, encoding="utf-8")
