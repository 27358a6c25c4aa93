"""The ``kpflow`` command: a file for each of its commands.

Only the standard library is imported before a command is chosen, so that help is instant.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from . import analyze, import_, info, plot, run, sweep, train, validate
from ._parser import HelpFormatter, Parser
from ._settings import CELL_KINDS, CHOICE_FLAGS, NETWORK_KINDS, SETTING_FLAGS, TASK_NAMES

__all__ = [
    "CELL_KINDS",
    "CHOICE_FLAGS",
    "NETWORK_KINDS",
    "SETTING_FLAGS",
    "TASK_NAMES",
    "build_parser",
    "main",
]

COMMANDS = (run, train, analyze, import_, sweep, validate, plot, info)

EXIT_CODES = """exit codes:
  0    done
  1    done, and a validation check or a cell of a sweep failed
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


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and leave with its exit code."""
    sys.exit(_run_command(arguments))


def _run_command(arguments: Sequence[str] | None) -> int:
    parsed = build_parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = parsed.command
    from .._errors import InputError, InputTypeError, MemoryLimitError

    try:
        return command(parsed)
    except (InputError, InputTypeError, MemoryLimitError, ModuleNotFoundError, OSError) as error:
        return _fail(2, f"{error}")
    except KeyboardInterrupt:
        return _fail(130, "interrupted; everything committed is kept. "
                     "The same command continues where it stopped.")  # fmt: skip
    except Exception as error:
        from ..training import TrainingDiverged

        if isinstance(error, TrainingDiverged):
            return _fail(3, f"{error}")
        raise


def _fail(code: int, message: str) -> int:
    print(f"kpflow: {message}", file=sys.stderr)
    return code


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = Parser(
        prog="kpflow",
        description=DESCRIPTION,
        epilog=f"{EXAMPLES}\n{EXIT_CODES}",
        formatter_class=HelpFormatter,
    )
    from .. import __version__

    parser.add_argument("--version", action="version", version=f"kpflow {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add(commands)
    return parser
