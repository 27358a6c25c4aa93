"""The ``kpflow`` command.

Only the standard library is imported before a command is chosen, so that help is instant.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .experiments.config import RunSettings

TASK_NAMES = (
    "memory-pro",
    "memory-anti",
    "delay-pro",
    "delay-anti",
    "memory-pro-one-hot",
    "memory-anti-one-hot",
    "delay-pro-one-hot",
    "delay-anti-one-hot",
    "multi-task",
    "flip-flop",
    "low-rank-forecast",
)
CELL_KINDS = ("vanilla-rnn", "leaky-rnn", "gru", "lstm")

EXIT_CODES = """exit codes:
  0    done
  1    done, and a validation check failed
  2    an argument, a file or the data could not be used; the message says which and why
  3    training diverged; all committed checkpoints are kept
  130  interrupted; all committed checkpoints are kept
"""

DESCRIPTION = """\
Numerics of learning in recurrent networks: the parameter operator K, the propagator P and the
tangent kernel NTK = P K P* of a network, exact or certified, from training to report.
"""

EXAMPLES = """\
start here:
  kpflow run memory-pro                          train, analyse, validate, report
  kpflow analyze network.npz --task memory-pro   the same for a network trained elsewhere
  kpflow info runs/memory-pro.h5                 what a run file holds
"""

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

SETTING_FLAGS: tuple[tuple[str, str, type, str], ...] = (
    ("--units", "cell.n_units", int, "number of units H"),
    ("--gain", "cell.gain", float, "scale g of the initial recurrent weights"),
    ("--iterations", "training.n_iterations", int, "iterations of training"),
    ("--batch-size", "training.batch_size", int, "trials in each iteration"),
    ("--learning-rate", "training.learning_rate", float, "learning rate"),
    ("--seed", "training.seed", int, "seed of all random numbers"),
    ("--trials", "analysis.n_trials", int, "evaluation trials B that the operators are built on"),
    ("--checkpoints", "analysis.n_checkpoints", int, "how many checkpoints are analysed"),
    ("--eigenpairs", "analysis.n_eigenpairs", int, "leading eigenpairs of K and NTK"),
    ("--max-memory", "analysis.max_memory_gib", float, "memory that an analysis may take, GiB"),
)
CHOICE_FLAGS: tuple[tuple[str, str, tuple[str, ...], str], ...] = (
    ("--cell", "cell.kind", CELL_KINDS, "cell"),
    ("--optimizer", "training.optimizer", ("adam", "momentum", "sgd"), "optimiser"),
    ("--dtype", "training.dtype", ("float64", "float32"), "precision"),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and leave with its exit code."""
    sys.exit(_run_command(arguments))


def _run_command(arguments: Sequence[str] | None) -> int:
    parsed = build_parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = parsed.command
    from ._errors import InputError, InputTypeError, MemoryLimitError

    try:
        return command(parsed)
    except (InputError, InputTypeError, MemoryLimitError, ModuleNotFoundError, OSError) as error:
        return _fail(2, f"{error}")
    except KeyboardInterrupt:
        return _fail(130, "interrupted; everything committed is kept. "
                     "The same command continues where it stopped.")  # fmt: skip
    except Exception as error:
        from .training import TrainingDiverged

        if isinstance(error, TrainingDiverged):
            return _fail(3, f"{error}")
        raise


def _fail(code: int, message: str) -> int:
    print(f"kpflow: {message}", file=sys.stderr)
    return code


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="kpflow",
        description=DESCRIPTION,
        epilog=f"{EXAMPLES}\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    from . import __version__

    parser.add_argument("--version", action="version", version=f"kpflow {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_run(commands)
    _add_train(commands)
    _add_analyze(commands)
    _add_validate(commands)
    _add_plot(commands)
    _add_info(commands)
    return parser


def _add_command(
    commands: Any, name: str, summary: str, description: str, epilog: str = ""
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def _add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "task",
        nargs="?",
        choices=TASK_NAMES,
        metavar="TASK",
        help=f"one of {', '.join(TASK_NAMES)} (memory-pro unless the configuration names one)",
    )
    parser.add_argument("--config", metavar="FILE", help="TOML configuration file")
    parser.add_argument("--output", metavar="FILE", help="run file (default runs/TASK.h5)")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace an existing run file and its figures"
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="continue an existing run with more iterations or another analysis",
    )
    group = parser.add_argument_group("settings", "what is left out has the default in brackets")
    defaults = _default_settings()
    for flag, key, words, text in CHOICE_FLAGS:
        group.add_argument(
            flag, dest=key, choices=words, help=f"{text} [{defaults[key]}]",
            metavar=flag.removeprefix("--").upper(),
        )  # fmt: skip
    for flag, key, kind, text in SETTING_FLAGS:
        group.add_argument(flag, dest=key, type=kind, help=f"{text} [{defaults[key]}]", metavar="N")
    _add_assignments(group)


def _add_assignments(group: Any) -> None:
    group.add_argument(
        "--set",
        dest="assignments",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="any other setting, such as task.n_memory=60 or training.clip_norm=0.5",
    )


def _default_settings() -> dict[str, Any]:
    from .experiments.config import RunSettings

    tables = RunSettings().to_dict()
    return {
        f"{table}.{key}": value for table, keys in tables.items() for key, value in keys.items()
    }


def _add_run(commands: Any) -> None:
    parser = _add_command(
        commands, "run", "train, analyse, validate and report", RUN_DESCRIPTION, RUN_EXAMPLES
    )
    _add_settings(parser)
    parser.set_defaults(command=_run)


def _add_train(commands: Any) -> None:
    parser = _add_command(
        commands,
        "train",
        "only train, into a run file",
        "Train a network on a task and keep its checkpoints in a run file.",
        RUN_EXAMPLES.replace("kpflow run", "kpflow train"),
    )
    _add_settings(parser)
    parser.set_defaults(command=_train)


def _add_analyze(commands: Any) -> None:
    parser = _add_command(
        commands,
        "analyze",
        "ranks, spectra and modes of a run or of a network trained elsewhere",
        "Analyse the checkpoints of a run file, or a network trained in PyTorch and saved as\n"
        ".safetensors or .npz (a state_dict), validate it, and write figures and a report.",
        "examples:\n"
        "  kpflow analyze runs/memory-pro.h5 --checkpoints 20 --overwrite\n"
        "  kpflow analyze gru.safetensors --task memory-pro\n"
        "  kpflow analyze rnn.npz --task flip-flop --activation relu\n",
    )
    parser.add_argument("file", metavar="FILE", help="a run file, or a network")
    parser.add_argument(
        "--task", choices=TASK_NAMES, metavar="TASK", help="task of a network trained elsewhere"
    )
    parser.add_argument("--output", metavar="FILE", help="run file made for a network "
                        "(default runs/NAME.h5)")  # fmt: skip
    parser.add_argument(
        "--overwrite", action="store_true", help="replace existing results, figures and report"
    )
    defaults = _default_settings()
    for flag, key, kind, text in SETTING_FLAGS:
        if key.startswith("analysis."):
            parser.add_argument(
                flag, dest=key, type=kind, help=f"{text} [{defaults[key]}]", metavar="N"
            )
    _add_assignments(parser)
    group = parser.add_argument_group("networks", "what a file of weights cannot tell")
    group.add_argument("--cell", choices=CELL_KINDS, metavar="CELL", help="cell")
    group.add_argument("--activation", choices=("tanh", "relu"), help="activation of the cell")
    group.add_argument("--form", choices=("rate", "current"), help="form of a leaky cell")
    group.add_argument("--leak", type=float, metavar="A", help="leak dt/tau of a leaky cell")
    group.add_argument("--prefix", help="name of the recurrent layer in the file, such as encoder")
    group.add_argument("--readout", help="name of the linear readout in the file")
    parser.set_defaults(command=_analyze)


def _add_validate(commands: Any) -> None:
    parser = _add_command(
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


def _add_plot(commands: Any) -> None:
    parser = _add_command(
        commands, "plot", "draw the figures of a run",
        "Draw the figures of an analysed run file, as PDF and PNG.",
    )  # fmt: skip
    parser.add_argument("file", metavar="RUN", help="a run file")
    parser.add_argument("--output", metavar="DIR", help="directory (default RUN/figures)")
    parser.add_argument("--overwrite", action="store_true", help="replace existing figures")
    parser.set_defaults(command=_plot)


def _add_info(commands: Any) -> None:
    parser = _add_command(
        commands, "info", "what a run file holds",
        "Print what a run file holds: network, task, training, ranks, validation, provenance.",
    )  # fmt: skip
    parser.add_argument("file", metavar="RUN", help="a run file")
    parser.set_defaults(command=_info)


def _given(parsed: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that were given as flags, by dotted key."""
    from .experiments.config import parse_assignment

    given = {key: value for key, value in vars(parsed).items() if "." in key and value is not None}
    if parsed.task is not None:
        given["task.name"] = parsed.task
    return given | dict(parse_assignment(text) for text in parsed.assignments)


def _settings(parsed: argparse.Namespace) -> RunSettings:
    from .experiments.config import override, read_settings, settings_from_dict

    config = getattr(parsed, "config", None)
    tables = read_settings(config) if config else {}
    return settings_from_dict(override(tables, _given(parsed)), config or "the command line")


def _run_path(parsed: argparse.Namespace, name: str) -> Path:
    return Path(parsed.output) if parsed.output else Path("runs") / f"{name}.h5"


def _run(parsed: argparse.Namespace) -> int:
    from .experiments.progress import progress_for
    from .experiments.run import run

    settings = _settings(parsed)
    outcome = run(
        settings,
        _run_path(parsed, settings.task.name),
        overwrite=parsed.overwrite,
        resume=parsed.resume,
        progress=progress_for(),
    )
    print(outcome.summary())
    return 0 if outcome.passed else 1


def _train(parsed: argparse.Namespace) -> int:
    from .experiments.progress import progress_for
    from .experiments.train import train_to_file

    settings = _settings(parsed)
    path = _run_path(parsed, settings.task.name)
    train_to_file(
        settings, path, overwrite=parsed.overwrite, resume=parsed.resume, progress=progress_for()
    )
    from .store import describe_run

    print(describe_run(path))
    return 0


def _analyze(parsed: argparse.Namespace) -> int:
    from .experiments.import_network import import_network
    from .experiments.progress import progress_for
    from .experiments.run import complete, is_run_file, wanted_analysis

    progress = progress_for()
    path = Path(parsed.file)
    settings = _settings(parsed)
    if is_run_file(path):
        analysis = wanted_analysis(path, _given(parsed))
    else:
        analysis = settings.analysis
        network_path, path = path, _run_path(parsed, path.stem)
        import_network(
            network_path,
            settings,
            path,
            task_given=parsed.task is not None,
            cell=parsed.cell,
            activation=parsed.activation,
            form=parsed.form,
            leak=parsed.leak,
            prefix=parsed.prefix,
            readout=parsed.readout,
            overwrite=parsed.overwrite,
            progress=progress,
        )
    outcome = complete(path, analysis, overwrite=parsed.overwrite, progress=progress)
    print(outcome.summary())
    return 0 if outcome.passed else 1


def _validate(parsed: argparse.Namespace) -> int:
    from .experiments.validate import validate_run

    report = validate_run(parsed.file, checkpoint=parsed.checkpoint)
    print(report)
    return 0 if report.passed else 1


def _plot(parsed: argparse.Namespace) -> int:
    from .experiments.run import write_figures

    for path in write_figures(parsed.file, parsed.output, overwrite=parsed.overwrite):
        print(path)
    return 0


def _info(parsed: argparse.Namespace) -> int:
    from .store import describe_run

    print(describe_run(parsed.file))
    return 0
