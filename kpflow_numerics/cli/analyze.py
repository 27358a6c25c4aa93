"""``kpflow analyze``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ._settings import (
    TASK_NAMES,
    add_assignments,
    add_command,
    add_setting_flags,
    given_settings,
    run_path,
    settings_of_flags,
)
from .import_ import add_network_flags, network_flags


def add(commands: Any) -> None:
    """Add the command and its arguments."""
    parser = add_command(
        commands,
        "analyze",
        "ranks, spectra and modes of a run or of a network trained elsewhere",
        "Analyse the checkpoints of a run file, or a network trained in PyTorch and saved as\n"
        ".safetensors, .npz or .pt (a state_dict), validate it, and write figures and a report.",
        "examples:\n"
        "  kpflow analyze runs/memory-pro.h5 --checkpoints 20 --overwrite\n"
        "  kpflow analyze runs/memory-pro.h5 --quantities default,core-cosine,self-reference \\\n"
        "                 --overwrite\n"
        "  kpflow analyze gru.safetensors --task memory-pro\n"
        "  kpflow analyze rnn.npz --task flip-flop --activation relu\n",
    )
    parser.add_argument("file", metavar="FILE", help="a run file, or a network")
    parser.add_argument(
        "--task", choices=TASK_NAMES, metavar="TASK",
        help=f"task of a network trained elsewhere: {', '.join(TASK_NAMES)}",
    )  # fmt: skip
    parser.add_argument("--output", metavar="FILE", help="run file made for a network "
                        "(default runs/NAME.h5)")  # fmt: skip
    parser.add_argument(
        "--overwrite", action="store_true", help="replace existing results, figures and report"
    )
    add_setting_flags(parser, "analysis.")
    add_assignments(parser)
    add_network_flags(parser)
    parser.set_defaults(command=_analyze)


def _analyze(parsed: argparse.Namespace) -> int:
    from ..experiments.import_network import import_network
    from ..experiments.progress import progress_for
    from ..experiments.run import complete, is_run_file, wanted_analysis, wanted_signs

    progress = progress_for()
    path = Path(parsed.file)
    settings = settings_of_flags(parsed)
    if is_run_file(path):
        given = given_settings(parsed)
        _refuse_what_the_run_file_says(parsed, given)
        analysis, signs = wanted_analysis(path, given), wanted_signs(path, given)
    else:
        analysis, signs = settings.analysis, settings.signs
        network_path, path = path, run_path(parsed, path.stem)
        import_network(
            network_path,
            settings,
            path,
            task_given=parsed.task is not None,
            overwrite=parsed.overwrite,
            progress=progress,
            **network_flags(parsed),
        )
    outcome = complete(path, analysis, signs=signs, overwrite=parsed.overwrite, progress=progress)
    print(outcome.summary())
    return 0 if outcome.passed else 1


def _refuse_what_the_run_file_says(parsed: argparse.Namespace, given: Mapping[str, Any]) -> None:
    """Refuse settings of the network and its task, which a run file holds itself."""
    from .._errors import InputError

    named = [f"--{name}" for name, value in network_flags(parsed).items() if value is not None]
    named += ["--output"] if parsed.output else []
    named += [key for key in given if key.partition(".")[0] in ("task", "cell", "training")]
    if named:
        raise InputError(
            f"{parsed.file} is a run file, which has its own task, network and training: leave out "
            f"{', '.join('--task' if name == 'task.name' else name for name in named)}. Settings "
            "of analysis and signs can be given."
        )
