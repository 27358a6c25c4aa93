"""Figures as SVG text that can stand beside others in one document."""

from __future__ import annotations

import html
import io
import re
from typing import TYPE_CHECKING

from .style import paper_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def inline_svg(figure: Figure, prefix: str, description: str) -> str:
    """Return a figure as an ``<svg>`` element for a page of HTML.

    Parameters
    ----------
    figure : Figure
        The figure.
    prefix : str
        Put before every id, so that those of several figures on one page differ.
    description : str
        What the figure shows, for readers who cannot see it.

    Returns
    -------
    str
        The same text for the same figure and prefix. It scales with its container, and refers to
        nothing outside.
    """
    buffer = io.StringIO()
    with paper_style():
        figure.savefig(
            buffer,
            format="svg",
            metadata={"Creator": None, "Date": None, "Format": None, "Type": None},
        )
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'\sid="', f' id="{prefix}-', text)
    text = re.sub(r'\s(?:xlink:)?href="#', f' href="#{prefix}-', text)
    text = text.replace("url(#", f"url(#{prefix}-")
    box = re.search(r'viewBox="[^"]*"', text)
    assert box is not None, "Matplotlib writes a viewBox on every SVG"
    width, height = figure.get_size_inches()
    label = html.escape(description, quote=True)
    opening = (
        f'<svg {box[0]} role="img" aria-label="{label}" '
        f'style="aspect-ratio: {width:.3f} / {height:.3f}">'
    )
    return re.sub(r"^<svg[^>]*>", lambda _: opening, text, count=1)
