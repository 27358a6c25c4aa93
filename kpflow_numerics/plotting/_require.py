"""The one place that asks for Matplotlib."""

from __future__ import annotations

import importlib

from .._errors import MissingExtraError


def require_matplotlib() -> None:
    """Raise :class:`MissingExtraError` unless Matplotlib can be imported."""
    try:
        importlib.import_module("matplotlib")
    except ImportError as error:
        raise MissingExtraError(
            f"Figures need Matplotlib, which cannot be imported ({error}). Install it with "
            "`pip install 'kpflow-numerics[plot]'`."
        ) from error
