"""A setting of Matplotlib for the gallery, named in ``conf.py``: Sphinx caches no functions."""

from __future__ import annotations

from typing import Any


def plain_numbers(_configuration: dict[str, Any], _script: str) -> None:
    """Write 20 and 0.2 on logarithmic axes, where Matplotlib would write 2 x 10^1."""
    import matplotlib as mpl

    mpl.rcParams["axes.formatter.min_exponent"] = 4
