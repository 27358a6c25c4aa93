"""``kpflow train``."""

from __future__ import annotations

import argparse
from typing import Any

from ._settings import add_command, add_settings, run_path, settings_of_flags
from .run import RUN_EXAMPLES


def add(commands: Any) -> None:
    """Add the command and its arguments."""
    parser = add_command(
        commands,
        "train",
        "only train, into a run file",
        "Train a network on a task and keep its checkpoints in a run file.",
        RUN_EXAMPLES.replace("kpflow run", "kpflow train"),
    )
    add_settings(parser)
    parser.set_defaults(command=_train)


def _train(parsed: argparse.Namespace) -> int:
    from ..experiments.progress import progress_for
    from ..experiments.train import train_to_file

    settings = settings_of_flags(parsed)
    path = run_path(parsed, settings.task.name)
    train_to_file(
        settings, path, overwrite=parsed.overwrite, resume=parsed.resume, progress=progress_for()
    )
    from ..store import describe_run

    print(describe_run(path))
    return 0
