"""``kpflow analyze``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ._settings import (
    CELL_KINDS,
    SETTING_FLAGS,
    TASK_NAMES,
    add_assignments,
    add_command,
    default_settings,
    given_settings,
    run_path,
    settings_of_flags,
)


def add(commands: Any) -> None:
    """Add the command and its arguments."""
    parser = add_command(
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
    defaults = default_settings()
    for flag, key, kind, text in SETTING_FLAGS:
        if key.startswith("analysis."):
            parser.add_argument(
                flag, dest=key, type=kind, help=f"{text} [{defaults[key]}]", metavar="N"
            )
    add_assignments(parser)
    group = parser.add_argument_group("networks", "what a file of weights cannot tell")
    group.add_argument("--cell", choices=CELL_KINDS, metavar="CELL", help="cell")
    group.add_argument("--activation", choices=("tanh", "relu"), help="activation of the cell")
    group.add_argument("--form", choices=("rate", "current"), help="form of a leaky cell")
    group.add_argument("--leak", type=float, metavar="A", help="leak dt/tau of a leaky cell")
    group.add_argument("--prefix", help="name of the recurrent layer in the file, such as encoder")
    group.add_argument("--readout", help="name of the linear readout in the file")
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
        analysis, signs = wanted_analysis(path, given), wanted_signs(path, given)
    else:
        analysis, signs = settings.analysis, settings.signs
        network_path, path = path, run_path(parsed, path.stem)
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
    outcome = complete(path, analysis, signs=signs, overwrite=parsed.overwrite, progress=progress)
    print(outcome.summary())
    return 0 if outcome.passed else 1
