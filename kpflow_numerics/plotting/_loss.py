"""Loss and accuracy over training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .._typing import FloatArray
from .._validation import InputError, InputTypeError
from ._axes import draw_legend, drawing_on, integer_ticks, key_target, labelled_handles
from .style import GREY, PALETTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

EVALUATION_COLOUR = PALETTE[1]


@dataclass(frozen=True, eq=False)
class History:
    """What training left: a loss an iteration, and an evaluation a checkpoint.

    Attributes
    ----------
    losses : ndarray, shape (n_iterations,)
        Loss on each training batch.
    iterations : ndarray, shape (n_checkpoints,)
        Iterations after which the network was evaluated.
    evaluation_losses, accuracies : ndarray, shape (n_checkpoints,)
        Loss and accuracy on the evaluation batch.
    """

    losses: FloatArray
    iterations: FloatArray
    evaluation_losses: FloatArray
    accuracies: FloatArray

    @property
    def has_loss(self) -> bool:
        """Whether there is any loss to draw."""
        return bool(len(self.losses) or np.isfinite(self.evaluation_losses).any())

    @property
    def has_accuracy(self) -> bool:
        """Whether there is any accuracy to draw."""
        return bool(np.isfinite(self.accuracies).any())


def read_history(source: Any) -> History:
    """Return the history of a training run, a run file, or the path of one."""
    if isinstance(source, History):
        return source
    if isinstance(source, (str, Path)):
        from ..store import RunFile

        with RunFile.open(source) as run:
            return read_history(run)
    if hasattr(source, "checkpoints"):
        checkpoints: Sequence[Any] = source.checkpoints
    elif hasattr(source, "n_checkpoints"):
        checkpoints = [source.checkpoint(index) for index in range(source.n_checkpoints)]
    else:
        raise InputTypeError(
            "Loss and accuracy are drawn from a run file, its path or what kpf.train returned; "
            f"got {type(source).__name__}."
        )
    return History(
        losses=np.asarray(source.losses, dtype=np.float64),
        iterations=np.array([checkpoint.iteration for checkpoint in checkpoints]),
        evaluation_losses=np.array([checkpoint.evaluation_loss for checkpoint in checkpoints]),
        accuracies=np.array([checkpoint.accuracy for checkpoint in checkpoints]),
    )


def loss(source: Any, *, ax: Axes | None = None) -> Axes:
    """Draw the loss on training and evaluation trials over training.

    Parameters
    ----------
    source : str, Path, RunFile or TrainingRun
        What to draw.
    ax : Axes, optional
        Where to draw; a new figure of a column's width by default.

    Returns
    -------
    Axes
        With the loss of every training batch as a thin line and that of the evaluation batch at
        every checkpoint, on a logarithmic axis.

    Raises
    ------
    InputError
        If the source holds no losses, as that of a network trained elsewhere.

    Examples
    --------
    >>> from kpflow_numerics import plotting
    >>> ax = plotting.loss("run.h5")  # doctest: +SKIP
    """
    history = read_history(source)
    if not history.has_loss:
        raise InputError("The source holds no losses to draw.")
    with drawing_on(ax, height=2.1) as axes:
        if len(history.losses):
            axes.plot(
                np.arange(len(history.losses)),
                history.losses,
                color=GREY,
                linewidth=0.5,
                label="training batches",
            )
        _draw_evaluations(axes, history.iterations, history.evaluation_losses)
        axes.set_yscale("log")
        axes.set_xlabel("Training iteration")
        axes.set_ylabel("Loss")
        integer_ticks(axes)
        draw_legend(key_target(ax, axes), labelled_handles([axes]))
    return axes


def accuracy(source: Any, *, ax: Axes | None = None) -> Axes:
    """Draw the accuracy on the evaluation trials over training.

    Parameters
    ----------
    source : str, Path, RunFile or TrainingRun
        What to draw.
    ax : Axes, optional
        Where to draw; a new figure of a column's width by default.

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        If the source holds no accuracies.

    Examples
    --------
    >>> from kpflow_numerics import plotting
    >>> ax = plotting.accuracy("run.h5")  # doctest: +SKIP
    """
    history = read_history(source)
    if not history.has_accuracy:
        raise InputError("The source holds no accuracies to draw.")
    with drawing_on(ax, height=1.9) as axes:
        _draw_evaluations(axes, history.iterations, history.accuracies)
        axes.set_ylim(0.0, 1.0)
        axes.set_xlabel("Training iteration")
        axes.set_ylabel("Accuracy (evaluation trials)")
        integer_ticks(axes)
    return axes


def _draw_evaluations(ax: Axes, iterations: FloatArray, values: FloatArray) -> None:
    ax.plot(
        iterations,
        values,
        color=EVALUATION_COLOUR,
        marker="o",
        markersize=2.8,
        label="evaluation trials",
        clip_on=False,
        zorder=3,
    )
