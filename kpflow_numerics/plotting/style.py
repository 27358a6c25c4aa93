"""One style for all figures: sizes, colours and fonts for a printed column."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from .._typing import FloatArray
from ._require import require_matplotlib

if TYPE_CHECKING:
    from matplotlib.colors import ListedColormap

COLUMN_WIDTH = 3.3
"""Width of a printed column, in inches."""

PAGE_WIDTH = 6.8
"""Width of a printed page, in inches."""

PALETTE = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
)
"""Colours of Okabe and Ito (2008) that most colour-blind readers tell apart; their yellow is left
out, because a thin line of it cannot be seen on white."""

OPERATOR_COLOURS = {"K": PALETTE[0], "P": PALETTE[1], "NTK": PALETTE[2]}
OPERATOR_MARKERS = {"K": "o", "P": "s", "NTK": "^"}
OPERATOR_LABELS = {"K": "$K$", "P": "$PP^*$", "NTK": "NTK"}
GREY = "#595959"
PERIOD_COLOURS = ("#f2f2f2", "#ffffff")

_SETTINGS: Any = {
    "font.size": 8.0,
    "axes.labelsize": 8.0,
    "axes.titlesize": 8.0,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "legend.fontsize": 7.0,
    "figure.titlesize": 8.0,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "mathtext.fontset": "dejavusans",
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.labelpad": 3.0,
    "axes.titlepad": 5.0,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "xtick.major.size": 3.0,
    "ytick.major.size": 3.0,
    "xtick.minor.size": 1.8,
    "ytick.minor.size": 1.8,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.5,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "legend.columnspacing": 1.2,
    "figure.dpi": 150.0,
    "savefig.dpi": 300.0,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    # Text of a PDF stays text; text of an SVG becomes paths, so that no font has to be there.
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "kpflow_numerics",
    "text.usetex": False,
    "axes.formatter.use_mathtext": True,
}


@contextmanager
def paper_style() -> Iterator[None]:
    """Draw the body in the style of the package; Matplotlib's settings are as before after it.

    Every function of :mod:`kpflow_numerics.plotting` that makes its own figure draws in this
    style. An `ax` that is given keeps the style of whoever made it.

    Examples
    --------
    >>> import matplotlib
    >>> from kpflow_numerics.plotting import paper_style
    >>> before = matplotlib.rcParams["font.size"]
    >>> with paper_style():
    ...     inside = matplotlib.rcParams["font.size"]
    >>> inside, matplotlib.rcParams["font.size"] == before
    (8.0, True)
    """
    require_matplotlib()
    import matplotlib

    with matplotlib.rc_context(_SETTINGS):
        yield


def angle_colours(angles: FloatArray) -> FloatArray:
    """Return a colour for each angle, shape ``(..., 3)`` of sRGB from 0 to 1.

    A circle in the colour space Oklab (B. Ottosson, 2020): the hue turns once, and the lightness
    falls from green to red, so that angles stay apart for readers who confuse these two. No
    colour is so light that a thin line would be lost on white.

    Parameters
    ----------
    angles : ndarray
        Angles in radians; any turn.

    Examples
    --------
    >>> import numpy as np
    >>> from kpflow_numerics.plotting.style import angle_colours
    >>> np.allclose(angle_colours(np.array([0.3])), angle_colours(np.array([0.3 + 2 * np.pi])))
    True
    """
    angles = np.asarray(angles, dtype=np.float64)
    lightness = 0.63 - 0.14 * np.cos(angles)
    green_red, blue_yellow = 0.12 * np.cos(angles), 0.12 * np.sin(angles)
    oklab = np.stack([lightness, green_red, blue_yellow], axis=-1)
    cone_responses = (oklab @ _CONES_FROM_OKLAB.T) ** 3
    linear = np.clip(cone_responses @ _RGB_FROM_CONES.T, 0.0, 1.0)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def angle_colour_map() -> ListedColormap:
    """Return the colours of :func:`angle_colours` as a Matplotlib colour map from 0 to 2 pi."""
    require_matplotlib()
    from matplotlib.colors import ListedColormap

    turn = 2.0 * np.pi * (np.arange(96) + 0.5) / 96
    return ListedColormap(angle_colours(turn), name="kpflow-angle")


_CONES_FROM_OKLAB = np.array(
    [
        [1.0, 0.3963377774, 0.2158037573],
        [1.0, -0.1055613458, -0.0638541728],
        [1.0, -0.0894841775, -1.2914855480],
    ]
)
_RGB_FROM_CONES = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)
