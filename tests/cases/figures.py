"""What is asked of a drawn figure: its pixels, and what covers what."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def rendered(figure: Figure) -> np.ndarray:
    """Return the pixels of a figure, shape (height, width, 4)."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def overlaps(ax: Axes) -> list[str]:
    """Return the texts and legends outside the axes' data that overlap one another."""
    figure = ax.get_figure()
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    things = [ax.title, ax.xaxis.label, ax.yaxis.label, *ax.texts]
    for axis in (ax.xaxis, ax.yaxis):
        low, high = sorted(axis.get_view_interval())
        things += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    things += [legend for legend in (ax.get_legend(), *figure.legends) if legend is not None]
    boxes = [
        (thing, thing.get_window_extent(renderer))
        for thing in things
        if thing.get_visible() and (not hasattr(thing, "get_text") or thing.get_text())
    ]
    inside = ax.get_window_extent(renderer)
    found = []
    for place, (first, box) in enumerate(boxes):
        if not hasattr(first, "get_text") and box.overlaps(inside.shrunk(0.99, 0.99)):
            found.append(f"{first} covers data")
        for second, other in boxes[place + 1 :]:
            if box.shrunk(0.96, 0.96).overlaps(other.shrunk(0.96, 0.96)):
                found.append(f"{first} and {second}")
    return found
