"""A page written whole or not at all."""

from __future__ import annotations

from pathlib import Path

from ..._errors import InputError


def write_page(path: str | Path, text: str, *, overwrite: bool) -> Path:
    """Write a page; its directory is made if it does not exist.

    Raises
    ------
    InputError
        If the file exists and `overwrite` is False.
    """
    path = check_free(path, overwrite=overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def check_free(path: str | Path, *, overwrite: bool) -> Path:
    """Return the path, unless there is a file that is not to be replaced.

    Raises
    ------
    InputError
        If there is.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise InputError(f"{path} already exists. Choose another name, or pass overwrite=True.")
    return path
