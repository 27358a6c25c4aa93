"""``kpflow validate``."""

from __future__ import annotations

import argparse
from typing import Any

from ._settings import add_command


def add(commands: Any) -> None:
    """Add the command and its arguments."""
    parser = add_command(
        commands,
        "validate",
        "check every formula on a checkpoint of a run",
        "Check every identity of the mathematics on a network of a run file: adjoints, Taylor\n"
        "slopes, P P^-1 = I, NTK = P K P*, backpropagation = J* P* err, Jacobians against\n"
        "automatic differentiation, and dh = -eta P K P* err on a real step of gradient descent.",
        "The exit code is 1 if a check fails.\n",
    )
    parser.add_argument("file", metavar="RUN", help="a run file")
    parser.add_argument(
        "--checkpoint", type=int, default=-1, metavar="INDEX", help="which checkpoint [last]"
    )
    parser.set_defaults(command=_validate)


def _validate(parsed: argparse.Namespace) -> int:
    from ..experiments.validate import validate_run

    report = validate_run(parsed.file, checkpoint=parsed.checkpoint)
    print(report)
    return 0 if report.passed else 1
