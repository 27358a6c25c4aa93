"""``kpflow run``."""

from __future__ import annotations

import argparse
from typing import Any

from ._settings import add_command, add_settings, run_path, settings_of_flags

RUN_DESCRIPTION = """\
Train a network on a task, measure the ranks of K, P and NTK over training, validate every formula
on the trained network, and write figures and a self-contained report.

Everything is kept in one run file, runs/TASK.h5 by default; figures and report.html go to the
directory of the same name. The same command continues an interrupted run where it stopped.
"""

RUN_EXAMPLES = """\
examples:
  kpflow run memory-pro
  kpflow run flip-flop --cell lstm --units 48 --iterations 1500 --seed 5
  kpflow run memory-pro --set task.n_memory=60 --set cell.bias=false
  kpflow run memory-pro --config settings.toml --output runs/long-memory.h5

A configuration file has the tables [task], [cell], [training] and [analysis]:
  [task]
  name = "memory-pro"
  n_memory = 60
  [cell]
  kind = "gru"
  n_units = 128
  [training]
  n_iterations = 2000
Flags win over the file. `kpflow info` prints the whole configuration of a run.
"""


def add(commands: Any) -> None:
    """Add the command and its arguments."""
    parser = add_command(
        commands, "run", "train, analyse, validate and report", RUN_DESCRIPTION, RUN_EXAMPLES
    )
    add_settings(parser)
    parser.set_defaults(command=_run)


def _run(parsed: argparse.Namespace) -> int:
    from ..experiments.progress import progress_for
    from ..experiments.run import run

    settings = settings_of_flags(parsed)
    outcome = run(
        settings,
        run_path(parsed, settings.task.name),
        overwrite=parsed.overwrite,
        resume=parsed.resume,
        progress=progress_for(),
    )
    print(outcome.summary())
    return 0 if outcome.passed else 1
