"""A colour for each trial, and the key that explains it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from .._typing import Array, FloatArray
from .._validation import check_choice
from ..tasks import Task, TrialBatch
from ._axes import draw_legend
from .style import GREY, PALETTE, angle_colour_map, angle_colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D


@dataclass(frozen=True, eq=False)
class TrialColours:
    """Colours of trials by one column of their condition table.

    Attributes
    ----------
    colours : ndarray, shape (B, 3)
        The colour of each trial.
    kind : {"angle", "category", "number", "none"}
        What the key shows: a turn, names, a scale, or nothing.
    label : str
        What the column is.
    values : ndarray, shape (B,)
        The column.
    names : dict
        The label of each category, by its value.
    """

    colours: FloatArray
    kind: str
    label: str
    values: Array
    names: dict[float | str, str]

    def draw_key(
        self,
        target: Axes | Figure,
        panels: Sequence[Axes],
        *,
        markers: Sequence[Line2D] = (),
        raised: float = 0.0,
    ) -> None:
        """Explain the colours: a scale beside the panels, or names above the target.

        Parameters
        ----------
        target : Axes or Figure
            What a legend stands above.
        panels : sequence of Axes
            What a scale stands beside.
        markers : sequence of Line2D
            More entries of the legend.
        raised : float
            Distance of a legend from the axes, in points.
        """
        from matplotlib.lines import Line2D

        handles = [
            Line2D([], [], color=self.colours[np.flatnonzero(self.values == value)[0]], label=name)
            for value, name in self.names.items()
        ]
        if handles or markers:
            title = self.label if handles else None
            draw_legend(target, [*handles, *markers], title=title, raised=raised)
        if self.kind in ("angle", "number"):
            self._draw_scale(panels)

    def _draw_scale(self, panels: Sequence[Axes]) -> None:
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import Normalize

        if self.kind == "angle":
            mappable = ScalarMappable(Normalize(0.0, 2.0 * np.pi), angle_colour_map())
        else:
            low, high = float(np.min(self.values)), float(np.max(self.values))
            mappable = ScalarMappable(Normalize(low, high), _number_colour_map())
        figure = cast("Figure", panels[0].get_figure())
        bar = figure.colorbar(mappable, ax=list(panels), aspect=25, pad=0.02)
        bar.outline.set_visible(False)
        # Matplotlib would draw a scale of many colours as an image.
        cast("QuadMesh", bar.solids).set(rasterized=False, edgecolor="face")
        bar.set_label(self.label)
        if self.kind == "angle":
            bar.set_ticks([0.0, np.pi, 2.0 * np.pi], labels=["0", "π", "2π"])


def trial_colours(
    n_trials: int, batch: TrialBatch | None, task: Task | None, condition: str | None
) -> TrialColours:
    """Return the colour of each trial.

    A column of angles gets a cyclic scale, one of a few different values a colour each, and any
    other column a scale.

    Parameters
    ----------
    n_trials : int
        Number of trials ``B``.
    batch : TrialBatch, optional
        The trials; without them all are grey.
    task : Task, optional
        The task, whose `primary_condition` is the default.
    condition : str, optional
        The column; by default the task's primary condition, or the first one.

    Raises
    ------
    InputError
        If there is no such column.
    """
    if batch is None or not batch.conditions:
        grey = np.full((n_trials, 3), int(GREY[1:3], 16) / 255)
        return TrialColours(grey, "none", "", np.zeros(n_trials), {})
    if condition is None:
        condition = getattr(task, "primary_condition", "")
        if condition not in batch.conditions:
            condition = next(iter(batch.conditions))
    check_choice(condition, "condition", batch.conditions)
    values = batch.conditions[condition]
    label = condition.replace("_", " ")
    distinct = np.unique(values)
    if condition == "angle":
        return TrialColours(angle_colours(values), "angle", "angle (rad)", values, {})
    if len(distinct) <= len(PALETTE) or values.dtype.kind not in "iuf":
        return TrialColours(
            _category_colours(values, distinct),
            "category",
            label,
            values,
            {value.item(): _category_name(condition, value, batch) for value in distinct},
        )
    scaled = (values - distinct[0]) / (distinct[-1] - distinct[0])
    return TrialColours(_number_colour_map()(scaled)[:, :3], "number", label, values, {})


def _category_colours(values: Array, distinct: Array) -> FloatArray:
    from matplotlib.colors import to_rgb

    place = np.searchsorted(distinct, values)
    return np.array([to_rgb(PALETTE[index % len(PALETTE)]) for index in place])


def _category_name(condition: str, value: Array, batch: TrialBatch) -> str:
    if condition == "task" and value.dtype.kind in "iu" and value < len(batch.task_names):
        return batch.task_names[int(value)]
    return f"{value:g}" if value.dtype.kind in "iuf" else str(value)


def _number_colour_map() -> ListedColormap:
    """Return viridis without its lightest end, which a thin line would lose on white."""
    import matplotlib
    from matplotlib.colors import ListedColormap

    return ListedColormap(matplotlib.colormaps["viridis"](np.linspace(0.0, 0.88, 96)))
