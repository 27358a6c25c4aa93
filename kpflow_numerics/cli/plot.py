"""``kpflow plot``."""

from __future__ import annotations

import argparse
from typing import Any

from ._settings import add_command


def add(commands: Any) -> None:
    """Add the command and its arguments."""
    parser = add_command(
        commands, "plot", "draw the figures of a run",
        "Draw the figures of an analysed run file, as PDF and PNG.",
    )  # fmt: skip
    parser.add_argument("file", metavar="RUN", help="a run file")
    parser.add_argument("--output", metavar="DIR", help="directory (default RUN/figures)")
    parser.add_argument("--overwrite", action="store_true", help="replace existing figures")
    parser.set_defaults(command=_plot)


def _plot(parsed: argparse.Namespace) -> int:
    from ..experiments.run import write_figures

    for path in write_figures(parsed.file, parsed.output, overwrite=parsed.overwrite):
        print(path)
    return 0
