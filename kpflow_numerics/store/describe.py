"""What a run file holds, for a person."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .._errors import InputError
from ..results import Checkpoint, Estimate, format_bytes
from .run_file import RunFile

_LABEL_WIDTH = 13
_MOST_PAIRS = 10


def describe_run(path: str | Path) -> str:
    """Return what a run file holds: network, training, ranks, verdict, provenance.

    Parameters
    ----------
    path : str or Path
        The run file.

    Returns
    -------
    str
        Lines for a terminal.

    Raises
    ------
    InputError
        If the file cannot be used; see :meth:`RunFile.open`.

    Examples
    --------
    >>> import os, tempfile
    >>> import kpflow_numerics as kpf
    >>> from kpflow_numerics.store import describe_run
    >>> path = os.path.join(tempfile.mkdtemp(), "run.h5")
    >>> task = kpf.MemoryPro(n_stimulus=2, n_memory=1, n_response=2)
    >>> cell = kpf.VanillaRNN(n_inputs=3, n_units=8)
    >>> kpf.RunFile.create(path, cell=cell, task=task, seed=7).close()
    >>> print(describe_run(path))
    run.h5 ...
    network      VanillaRNN(n_inputs=3, n_units=8, activation='tanh', bias=True)
    task         memory-pro, trials of 5 steps, 3 inputs, 3 outputs
    checkpoints  none
    ...
    """
    with RunFile.open(path) as file:
        parts = [
            _heading(file),
            *_network(file),
            *_training(file),
            *_ranks(file),
            *_quantities(file),
            *_interference(file),
            *_signs(file),
            *_validation(file),
            *_provenance(file),
        ]
    return "\n".join(parts)


def _line(label: str, text: str) -> str:
    return f"{label:<{_LABEL_WIDTH}}{text}"


def _heading(file: RunFile) -> str:
    return f"{file.path.name} ({format_bytes(file.path.stat().st_size)})"


def _network(file: RunFile) -> list[str]:
    task = file.task
    lines = [_line("network", _cell_text(file))]
    if file.n_checkpoints:
        network = file.checkpoint(-1)
        count = sum(array.size for array in network.params.values())
        dtype = next(iter(network.params.values())).dtype
        readout = (
            f"readout to {len(network.readout['weight'])} outputs"
            if network.readout
            else "no readout"
        )
        lines.append(_line("", f"{count:,} parameters in {dtype}, {readout}"))
    lines.append(
        _line(
            "task",
            f"{task.name}, trials of {task.n_steps} steps, {task.n_inputs} inputs, "
            f"{task.n_outputs} outputs",
        )
    )
    if file.has_evaluation_batch:
        lines.append(_line("evaluation", f"{file.evaluation_batch.n_trials} trials"))
    return lines


def _cell_text(file: RunFile) -> str:
    try:
        return repr(file.cell)
    except InputError:
        return file.title.rpartition(" on ")[0]


def _training(file: RunFile) -> list[str]:
    if not file.n_checkpoints:
        return [_line("checkpoints", "none")]
    first, last = file.checkpoint(0), file.checkpoint(-1)
    losses = file.losses
    lines = []
    if len(losses):
        best = int(np.argmin(losses))
        lines.append(
            _line(
                "training",
                f"{last.iteration:,} iterations, training loss {losses[0]:.3g} at first, "
                f"{losses[best]:.3g} at best (iteration {best:,})",
            )
        )
    else:
        lines.append(_line("training", "none in this file"))
    if file.n_checkpoints == 1:
        lines.append(_line("checkpoints", f"1, at iteration {last.iteration:,}"))
    else:
        lines.append(
            _line(
                "checkpoints",
                f"{file.n_checkpoints}, from iteration {first.iteration:,} to {last.iteration:,}",
            )
        )
    if last.readout:
        lines += _course(first, last)
    return lines


def _course(first: Checkpoint, last: Checkpoint) -> list[str]:
    def course(name: str) -> str:
        ends = [first] if first.iteration == last.iteration else [first, last]
        return " -> ".join(f"{getattr(end, name):.3g}" for end in ends)

    return [
        _line("", f"evaluation loss {course('evaluation_loss')}"),
        _line("", f"accuracy {course('accuracy')}"),
    ]


def _ranks(file: RunFile) -> list[str]:
    analyses = file.analyses
    if not analyses:
        return [_line("analysis", f"none yet: kpflow analyze {file.path}")]
    ends = analyses[:1] if len(analyses) == 1 else [analyses[0], analyses[-1]]
    noun = "checkpoint" if len(analyses) == 1 else "checkpoints"
    rows = [("", "effective rank", *(f"iteration {end.iteration:,}" for end in ends))]
    for entry in analyses[-1].ranks:
        found = [
            next(
                (
                    _rank_text(other.estimate)
                    for other in end.ranks
                    if (other.operator, other.recipe) == (entry.operator, entry.recipe)
                ),
                "",
            )
            for end in ends
        ]
        rows.append((entry.operator, entry.recipe, *found))
    incomplete = [
        f"{operator} at iteration {analysis.iteration:,}"
        for analysis in analyses
        for operator, complete in analysis.complete.items()
        if not complete
    ]
    lines = [_line("analysis", f"{len(analyses)} {noun}; the rank of P is that of P P*")]
    lines += ["", *_table(rows), ""]
    if incomplete:
        lines.append(_line("attention", f"spectra are not complete: {', '.join(incomplete)}"))
    return lines


def _quantities(file: RunFile) -> list[str]:
    analyses = file.analyses
    keys = list(
        dict.fromkeys(
            (entry.name, entry.operators) for each in analyses for entry in each.quantities
        )
    )
    if not keys:
        return []
    ends = analyses[:1] if len(analyses) == 1 else [analyses[0], analyses[-1]]
    held = [{(each.name, each.operators): each.estimate for each in end.quantities} for end in ends]
    rows = [("", "of", *(f"iteration {end.iteration:,}" for end in ends))]
    for name, operators in keys:
        of = ", ".join("P P*" if each == "P" else each for each in operators)
        numbers = (_number_text(found[name, operators]) if (name, operators) in found else ""
                   for found in held)  # fmt: skip
        rows.append((name, of, *numbers))
    return [_line("quantities", "beside the ranks"), "", *_table(rows), ""]


def _number_text(estimate: Estimate) -> str:
    if estimate.is_exact or np.isnan(estimate.value):
        return f"{estimate.value:.4g}"
    if estimate.is_certified:
        return f"{estimate.value:.4g} in [{estimate.lower:.4g}, {estimate.upper:.4g}]"
    return f"{estimate.value:.4g} +- {estimate.standard_error:.1g}"


def _interference(file: RunFile) -> list[str]:
    held = [analysis for analysis in file.analyses if analysis.interference is not None]
    if not held:
        return []
    ends = held[:1] if len(held) == 1 else [held[0], held[-1]]
    found = [end.interference for end in ends if end.interference is not None]
    pairs = list(itertools.combinations(range(len(found[0].names)), 2))
    # A task without errors has no direction, and its cosines are NaN: those come last.
    pairs.sort(key=lambda pair: np.nan_to_num(found[-1].cosines[pair], nan=2.0))
    rows = [("", *(f"iteration {end.iteration:,}" for end in ends))]
    for i, j in pairs[:_MOST_PAIRS]:
        words = f"{found[0].names[i]} and {found[0].names[j]}"
        rows.append((words, *(f"{each.cosines[i, j]:.3f}" for each in found)))
    text = f"cosines between the gradients of {len(found[0].names)} tasks or conditions"
    if len(pairs) > _MOST_PAIRS:
        text += f", the {_MOST_PAIRS} least of {len(pairs)}"
    return [_line("interference", text), "", *_table(rows), ""]


def _rank_text(estimate: Estimate) -> str:
    if estimate.is_exact:
        return f"{estimate.value:.3f}"
    if estimate.is_certified:
        return f"{estimate.value:.3f} in [{estimate.lower:.3f}, {estimate.upper:.3f}]"
    return f"{estimate.value:.3f} +- {estimate.standard_error:.1g}"


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  "
        + "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _signs(file: RunFile) -> list[str]:
    labels = ("signs", *itertools.repeat("", max(0, len(file.signs) - 1)))
    return [_line(label, str(sign)) for label, sign in zip(labels, file.signs, strict=False)]


def _validation(file: RunFile) -> list[str]:
    report = file.validation
    if report is None:
        return [_line("validation", f"none yet: kpflow validate {file.path}")]
    n_passed = len(report.checks) - len(report.failed)
    lines = [_line("validation", f"{n_passed} of {len(report.checks)} checks passed")]
    return lines + [
        _line("", f"FAILED: {check.name}, error {check.error:.1e} above {check.threshold:.1e}")
        for check in report.failed
    ]


def _provenance(file: RunFile) -> list[str]:
    found = file.provenance
    versions = ("kpflow_numerics", "numpy", "scipy", "numba", "h5py")
    lines = [
        _line("made", f"{found['created']} on {found['platform']}, Python {found['python']}"),
        _line("", ", ".join(f"{name} {found[name]}" for name in versions)),
        _line("", f"{found['threads']} threads"),
    ]
    if "seed" in found:
        lines[-1] += f", seed {found['seed']}"
    if "git_commit" in found:
        lines.append(_line("", f"git commit {found['git_commit']} ({found['git_state']})"))
    text = file.config_text.rstrip("\n")
    if text:
        lines += ["", "configuration", *(f"  {line}".rstrip() for line in text.split("\n"))]
    return lines
