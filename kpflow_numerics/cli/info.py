"""``kpflow info``."""

from __future__ import annotations

import argparse
from typing import Any

from ._settings import add_command


def add(commands: Any) -> None:
    """Add the command and its arguments."""
    parser = add_command(
        commands, "info", "what a run file holds",
        "Print what a run file holds: network, task, training, ranks, validation, provenance.",
    )  # fmt: skip
    parser.add_argument("file", metavar="RUN", help="a run file")
    parser.set_defaults(command=_info)


def _info(parsed: argparse.Namespace) -> int:
    from ..store import describe_run

    print(describe_run(parsed.file))
    return 0
