"""``kpflow import``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ._settings import (
    NETWORK_KINDS,
    TASK_NAMES,
    add_assignments,
    add_command,
    run_path,
    settings_of_flags,
)

DESCRIPTION = """\
Make a run file from a network trained in PyTorch: a state_dict in .safetensors, .npz, or .pt and
.pth as torch.save writes them. PyTorch is not needed, and nothing that a file may hold is run.
"""


def add(commands: Any) -> None:
    """Add the command and its arguments."""
    parser = add_command(
        commands,
        "import",
        "a network trained elsewhere as a run file",
        DESCRIPTION,
        "examples:\n"
        "  kpflow import gru.pt --task memory-pro\n"
        "  kpflow import rnn.npz --task flip-flop --activation relu --output runs/rnn.h5\n"
        "  kpflow analyze runs/rnn.h5\n",
    )
    parser.add_argument("file", metavar="FILE", help="a network")
    parser.add_argument(
        "--task", choices=TASK_NAMES, metavar="TASK",
        help=f"the task that it was trained on: {', '.join(TASK_NAMES)}",
    )  # fmt: skip
    parser.add_argument("--output", metavar="FILE", help="run file (default runs/NAME.h5)")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing run file")
    add_assignments(parser)
    add_network_flags(parser)
    parser.set_defaults(command=_import)


def add_network_flags(parser: argparse.ArgumentParser) -> None:
    """Add a flag for all that a file of weights cannot tell."""
    group = parser.add_argument_group("networks", "what a file of weights cannot tell")
    group.add_argument("--cell", choices=NETWORK_KINDS, metavar="NAME",
                       help=f"cell: {', '.join(NETWORK_KINDS)}")  # fmt: skip
    group.add_argument("--activation", choices=("tanh", "relu"), help="activation of the cell")
    group.add_argument("--form", choices=("rate", "current"), help="form of a leaky cell")
    group.add_argument("--leak", type=float, metavar="A", help="leak dt/tau of a leaky cell")
    group.add_argument("--prefix", help="name of the recurrent layer in the file, such as encoder")
    group.add_argument("--readout", help="name of the linear readout in the file")


def network_flags(parsed: argparse.Namespace) -> dict[str, Any]:
    """Return what was given by those flags."""
    names = ("cell", "activation", "form", "leak", "prefix", "readout")
    return {name: getattr(parsed, name) for name in names}


def _import(parsed: argparse.Namespace) -> int:
    from .._errors import InputError
    from ..experiments.import_network import import_network
    from ..experiments.progress import progress_for
    from ..experiments.run import is_run_file

    source = Path(parsed.file)
    if is_run_file(source):
        raise InputError(f"{source} is a run file already: `kpflow info {source}` describes it.")
    path = run_path(parsed, source.stem)
    import_network(
        source,
        settings_of_flags(parsed),
        path,
        task_given=parsed.task is not None,
        overwrite=parsed.overwrite,
        progress=progress_for(),
        **network_flags(parsed),
    )
    print(f"run file  {path}\nnext      kpflow analyze {path}")
    return 0
