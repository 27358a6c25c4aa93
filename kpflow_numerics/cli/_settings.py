"""Words and flags of settings, and what was given by them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._parser import HelpFormatter

if TYPE_CHECKING:
    from ..experiments.config import RunSettings

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
    "characters",
)
QUANTITY_NAMES = (
    "trace",
    "frobenius-norm",
    "alignment",
    "rank-bound",
    "schmidt-rank",
    "lyapunov",
    "rank-over-time",
    "retained-directions",
    "output-kernel",
    "core-cosine",
    "self-reference",
)
CELL_KINDS = ("vanilla-rnn", "leaky-rnn", "gru", "lstm", "low-rank-rnn")
NETWORK_KINDS = ("vanilla-rnn", "leaky-rnn", "gru", "lstm")
"""Cells that a network trained elsewhere can be."""

SETTING_FLAGS: tuple[tuple[str, str, type, str], ...] = (
    ("--units", "cell.n_units", int, "number of units H"),
    ("--gain", "cell.gain", float, "scale g of the initial recurrent weights"),
    ("--iterations", "training.n_iterations", int, "iterations of training"),
    ("--batch-size", "training.batch_size", int, "trials in each iteration"),
    ("--learning-rate", "training.learning_rate", float, "learning rate"),
    ("--seed", "training.seed", int, "seed of all random numbers"),
    ("--trials", "analysis.n_trials", int, "evaluation trials B that the operators are built on"),
    (
        "--checkpoints",
        "analysis.n_checkpoints",
        int,
        "how many checkpoints are analysed, of those that training.checkpoint_every keeps",
    ),
    ("--eigenpairs", "analysis.n_eigenpairs", int, "leading eigenpairs of K and NTK"),
    ("--max-memory", "analysis.max_memory_gib", float, "memory that an analysis may take, GiB"),
)
CHOICE_FLAGS: tuple[tuple[str, str, tuple[str, ...], str], ...] = (
    ("--cell", "cell.kind", CELL_KINDS, "cell"),
    ("--optimizer", "training.optimizer", ("adam", "momentum", "sgd"), "optimiser"),
    ("--dtype", "training.dtype", ("float64", "float32"), "precision"),
    (
        "--interference",
        "analysis.interference",
        ("tasks", "conditions", "none"),
        "between what interference is measured",
    ),
)
QUANTITIES_KEY = "analysis.quantities"
DEFAULT_WORD = "default"


def add_command(
    commands: Any, name: str, summary: str, description: str, epilog: str = ""
) -> argparse.ArgumentParser:
    """Return the parser of a new command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=epilog,
        formatter_class=HelpFormatter,
    )
    return parser


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add what determines a run: its task, its settings, its configuration file."""
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
    add_setting_flags(group)
    add_assignments(group)


def add_setting_flags(group: Any, tables: str = "") -> None:
    """Add a flag for each of the common settings, or for those of one table."""
    defaults = default_settings()
    for flag, key, words, text in CHOICE_FLAGS:
        if key.startswith(tables):
            group.add_argument(
                flag, dest=key, choices=words, metavar="NAME",
                help=f"{text}: {', '.join(words)} [{defaults[key]}]",
            )  # fmt: skip
    for flag, key, kind, text in SETTING_FLAGS:
        if key.startswith(tables):
            group.add_argument(
                flag, dest=key, type=kind, help=f"{text} [{defaults[key]}]",
                metavar="N" if kind is int else "X",
            )  # fmt: skip
    group.add_argument(
        "--quantities", dest=QUANTITIES_KEY, type=_quantities, metavar="NAMES",
        help=f"what is found beside the ranks, such as {DEFAULT_WORD},core-cosine; names among "
        f"{', '.join(QUANTITY_NAMES)}, and {DEFAULT_WORD} for "
        f"{', '.join(defaults[QUANTITIES_KEY])} [{DEFAULT_WORD}]",
    )  # fmt: skip


def _quantities(text: str) -> list[str]:
    """Return the names of a list with commas; the settings check them."""
    names: list[str] = []
    for name in filter(None, map(str.strip, text.split(","))):
        names += default_settings()[QUANTITIES_KEY] if name == DEFAULT_WORD else [name]
    return list(dict.fromkeys(names))


def add_assignments(group: Any) -> None:
    """Add ``--set``."""
    group.add_argument(
        "--set",
        dest="assignments",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="any other setting, such as task.n_memory=60 or training.clip_norm=0.5",
    )


def default_settings() -> dict[str, Any]:
    """Return every setting by its dotted key."""
    from ..experiments.config import RunSettings

    tables = RunSettings().to_dict()
    return {
        f"{table}.{key}": value for table, keys in tables.items() for key, value in keys.items()
    }


def given_settings(parsed: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that were given as flags, by dotted key."""
    from ..experiments.config import parse_assignment

    given = {key: value for key, value in vars(parsed).items() if "." in key and value is not None}
    if parsed.task is not None:
        given["task.name"] = parsed.task
    return given | dict(parse_assignment(text) for text in parsed.assignments)


def settings_of_flags(parsed: argparse.Namespace) -> RunSettings:
    """Return the settings of the configuration file, with the flags in their place."""
    from ..experiments.config import override, read_settings, settings_from_dict

    config = getattr(parsed, "config", None)
    tables = read_settings(config) if config else {}
    return settings_from_dict(
        override(tables, given_settings(parsed)), config or "the command line"
    )


def run_path(parsed: argparse.Namespace, name: str) -> Path:
    """Return where the run file goes."""
    return Path(parsed.output) if parsed.output else Path("runs") / f"{name}.h5"
