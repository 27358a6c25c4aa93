"""``kpflow sweep``: grids of runs."""

from __future__ import annotations

import argparse
from typing import Any

from ._settings import TASK_NAMES, add_assignments, add_command, add_setting_flags, given_settings

DESCRIPTION = """\
Run a grid of trainings and analyses, over any settings, in parallel processes: plan it, run it (as
often as it takes: it goes on where it was stopped), merge the results into one labelled file, and
look at the report.
"""

EXAMPLES = """\
examples:
  kpflow sweep plan memory-pro --vary cell.gain=0.5,1,2 --vary training.seed=0:5 \\
                    --iterations 300 --output runs/gain-sweep
  kpflow sweep run runs/gain-sweep --workers 2
  kpflow sweep status runs/gain-sweep
  kpflow sweep merge runs/gain-sweep
  kpflow sweep report runs/gain-sweep
"""

PLAN_EXAMPLES = """\
what --vary takes:
  cell.gain=0.5,1,2                             three values
  training.seed=0:5                             the integers 0 to 4
  training.learning_rate=log:1e-4:1e-2:5        five values from 1e-4 to 1e-2
  task.name=memory-pro,flip-flop                words
  "size: cell.n_units=32,64 & training.learning_rate=5e-3,2e-3"
                                                settings that vary together, under a name

the same as a file, `kpflow sweep plan sweep.toml --output runs/gain-sweep`:
  [task]
  name = "memory-pro"
  [training]
  n_iterations = 300
  [sweep]
  threads = 1                # of each worker
  keep_runs = false          # only what is merged
  tolerances = [0.1, 0.01]   # note when the loss reaches these
  [sweep.axes]
  cell.gain = [0.5, 1, 2]
  training.learning_rate = {from = 1e-4, to = 1e-2, n = 5, spacing = "log"}
  training.seed = "0:5"
"""


def add(commands: Any) -> None:
    """Add the command and its own commands."""
    parser = add_command(
        commands, "sweep", "grids of runs: plan, run, status, merge, report", DESCRIPTION, EXAMPLES
    )
    steps = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_plan(steps)
    run = _add_step(
        steps, "run", "run what is not finished", _run,
        "Run every cell of a planned sweep that is not finished. The same command goes on after\n"
        "an interrupt or a crash. A cell that fails does not stop the others.",
        "The exit code is 1 if a cell has failed.\n",
    )  # fmt: skip
    run.add_argument("--workers", type=int, metavar="N",
                     help="processes [cores / threads of the plan]")  # fmt: skip
    run.add_argument("--retry-failed", action="store_true", help="run failed cells again")
    status = _add_step(steps, "status", "how far a sweep is, and what failed", _status,
                       "Print how many cells are done, running and failed, and why.")  # fmt: skip
    status.add_argument("--traceback", action="store_true", help="print whole tracebacks")
    merge = _add_step(
        steps, "merge", "one labelled file of all results", _merge,
        "Merge the results into one HDF5 file, which xarray opens as a labelled grid. The sweep\n"
        "need not be finished.",
    )  # fmt: skip
    merge.add_argument("--output", metavar="FILE", help="the file [DIR/sweep.h5]")
    _add_step(steps, "report", "figures and a page about the results", _report,
              "Merge the results, and write DIR/report.html and DIR/figures.")  # fmt: skip


def _add_step(
    steps: Any, name: str, summary: str, command: Any, description: str, epilog: str = ""
) -> argparse.ArgumentParser:
    parser = add_command(steps, name, summary, description, epilog)
    parser.add_argument("directory", metavar="DIR", help="the directory of the sweep")
    parser.set_defaults(command=command)
    return parser


def _add_plan(steps: Any) -> None:
    parser = add_command(
        steps, "plan", "make the plan of a sweep",
        "Check every cell of a grid, print it with what it will take, and write the plan. Nothing\n"
        "is run. Flags win over the file.",
        PLAN_EXAMPLES,
    )  # fmt: skip
    parser.add_argument(
        "plan", metavar="TASK|FILE", nargs="?",
        help=f"a TOML file with the tables [sweep] and [sweep.axes], or a task: "
        f"{', '.join(TASK_NAMES)}",
    )  # fmt: skip
    parser.add_argument("--output", metavar="DIR", help="directory of the sweep; without it the "
                        "plan is only shown")  # fmt: skip
    parser.add_argument("--vary", action="append", default=[], metavar="KEY=VALUES",
                        help="an axis of the grid; may be repeated")  # fmt: skip
    parser.add_argument("--threads", type=int, metavar="N", help="threads of each worker [1]")
    parser.add_argument("--keep", metavar="NAMES", help="what is kept of each run beside its final "
                        "numbers, among loss-curve, ranks, quantities, lyapunov, interference, "
                        "spectra [all but the last]")  # fmt: skip
    parser.add_argument("--tolerances", metavar="LOSSES",
                        help="losses whose first iteration is noted [0.1,0.01,0.001]")  # fmt: skip
    parser.add_argument("--discard-runs", action="store_true",
                        help="remove the run file of each cell at its end")  # fmt: skip
    group = parser.add_argument_group(
        "settings", "those of every cell; what is left out has the default in brackets"
    )
    add_setting_flags(group)
    add_assignments(group)
    parser.set_defaults(command=_plan)


def _plan(parsed: argparse.Namespace) -> int:
    from ..experiments.sweep.directory import SweepDirectory
    from ..experiments.sweep.plan import plan_from_tables
    from ..experiments.sweep.run import default_workers

    plan = plan_from_tables(_tables(parsed), parsed.plan or "the command line")
    print(plan.summary(default_workers(plan.threads)))
    if parsed.output is None:
        print("\nNothing is written without --output.")
        return 0
    directory = SweepDirectory.create(parsed.output, plan)
    print(f"\nplan      {directory.path / 'plan.toml'}")
    print(f"next      kpflow sweep run {directory.path}")
    return 0


def _tables(parsed: argparse.Namespace) -> dict[str, Any]:
    """Return the tables of the file, with what the flags say in their place."""
    from .._errors import InputError, suggest
    from ..experiments.config import override, read_settings
    from ..experiments.sweep.axes import parse_axis

    parsed.task, tables = None, {}
    if parsed.plan in TASK_NAMES:
        parsed.task = parsed.plan
    elif parsed.plan is not None and not parsed.plan.endswith(".toml"):
        raise InputError(
            f"{parsed.plan!r} is neither a task nor a .toml file.{suggest(parsed.plan, TASK_NAMES)}"
        )
    elif parsed.plan is not None:
        tables = read_settings(parsed.plan)
    given = given_settings(parsed)
    tables = override(tables, given)
    sweep = dict(tables.get("sweep", {}))
    axes = [parse_axis(text) for text in parsed.vary]
    for name, _ in axes:
        if [each for each, _ in axes].count(name) > 1:
            raise InputError(f"--vary names {name} twice.")
    for key in {name for name, _ in axes} | {
        key for _, values in axes if isinstance(values, dict) for key in values
    }:
        # A task may be named for the settings that are not its own.
        if key in given and key != "task.name":
            raise InputError(
                f"{key} is varied by --vary, and {given[key]!r} by a flag would not be used: leave "
                "out one of the two."
            )
    if axes:
        sweep.pop("order", None)
    sweep["axes"] = {**sweep.get("axes", {}), **dict(axes)}
    if parsed.threads is not None:
        sweep["threads"] = parsed.threads
    if parsed.keep is not None:
        sweep["keep"] = [name.strip() for name in parsed.keep.split(",") if name.strip()]
    if parsed.tolerances is not None:
        sweep["tolerances"] = _losses(parsed.tolerances)
    if parsed.discard_runs:
        sweep["keep_runs"] = False
    return {**tables, "sweep": sweep}


def _losses(text: str) -> list[float]:
    from .._errors import InputError

    try:
        return [float(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise InputError(f"--tolerances takes losses such as 0.1,0.01; got {text!r}.") from error


def _run(parsed: argparse.Namespace) -> int:
    from ..experiments.progress import progress_for
    from ..experiments.sweep import run_sweep

    status = run_sweep(
        parsed.directory,
        workers=parsed.workers,
        retry_failed=parsed.retry_failed,
        progress=progress_for(),
    )
    print(status.summary())
    print(f"\nnext      kpflow sweep report {parsed.directory}")
    return 1 if status.failures else 0


def _status(parsed: argparse.Namespace) -> int:
    from ..experiments.sweep import sweep_status

    status = sweep_status(parsed.directory)
    print(status.summary())
    if parsed.traceback:
        for failure in status.failures:
            print(f"\ncell {failure.index} ({failure.label}):\n{failure.traceback}")
    return 0


def _merge(parsed: argparse.Namespace) -> int:
    from pathlib import Path

    from ..experiments.sweep import merge_sweep

    grid = merge_sweep(parsed.directory, parsed.output)
    print(grid)
    print(f"\nresults   {parsed.output or Path(parsed.directory) / 'sweep.h5'}")
    return 0


def _report(parsed: argparse.Namespace) -> int:
    from ..experiments.sweep import report_sweep

    path = report_sweep(parsed.directory)
    print(f"results   {path.parent / 'sweep.h5'}")
    print(f"figures   {path.parent / 'figures'}")
    print(f"report    {path}")
    return 0
