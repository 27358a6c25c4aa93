"""A writer of TOML, of which the standard library has only the reader."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from .._validation import InputError, InputTypeError

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_ESCAPES = {
    "\b": "\\b",
    "\t": "\\t",
    "\n": "\\n",
    "\f": "\\f",
    "\r": "\\r",
    '"': '\\"',
    "\\": "\\\\",
}


def to_toml(tables: Mapping[str, Any]) -> str:
    """Return TOML text from which ``tomllib.loads`` makes an equal dict.

    Parameters
    ----------
    tables : mapping of str to object
        Strings, numbers, booleans, lists (or tuples, which come back as lists) and mappings of
        these, nested in any way. NumPy's scalars count as numbers.

    Returns
    -------
    str

    Raises
    ------
    InputTypeError
        If a key is not a string or a value is of another type; TOML has no null.
    InputError
        If a string holds half of a surrogate pair, which UTF-8 cannot encode.

    Examples
    --------
    >>> from kpflow_numerics.store import to_toml
    >>> print(to_toml({"seed": 7, "task": {"name": "memory-pro", "noise_std": 0.1}}), end="")
    seed = 7
    <BLANKLINE>
    [task]
    name = "memory-pro"
    noise_std = 0.1
    """
    if not isinstance(tables, Mapping):
        raise InputTypeError(f"A configuration must map names to values; got {tables!r}.")
    lines = _table_lines(tables, ())
    return "\n".join(lines).lstrip("\n") + ("\n" if lines else "")


def _table_lines(table: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    values = [item for item in table.items() if not isinstance(item[1], Mapping)]
    tables = [item for item in table.items() if isinstance(item[1], Mapping)]
    lines = [f"{_key(name, path)} = {_value(value, (*path, name))}" for name, value in values]
    for name, value in tables:
        header = ".".join(_key(part, path) for part in (*path, name))
        inner = _table_lines(value, (*path, name))
        # A table of nothing but tables needs no header of its own.
        if inner and inner[0] == "":
            lines += inner
        else:
            lines += ["", f"[{header}]", *inner]
    return lines


def _key(name: Any, path: tuple[str, ...]) -> str:
    if not isinstance(name, str):
        place = f" in {'.'.join(path)}" if path else ""
        raise InputTypeError(f"The keys of a configuration must be strings; got {name!r}{place}.")
    return name if _BARE_KEY.fullmatch(name) else _string(name, path)


def _value(value: Any, path: tuple[str, ...]) -> str:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, str):
        return _string(value, path)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(item, path) for item in value)}]"
    if isinstance(value, Mapping):
        items = (f"{_key(name, path)} = {_value(item, path)}" for name, item in value.items())
        return f"{{{', '.join(items)}}}"
    raise InputTypeError(
        f"{'.'.join(path)} must be a string, number, boolean, list or table, which a TOML file can "
        f"hold; got {value!r} ({type(value).__name__})."
    )


def _float(value: float) -> str:
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return repr(value)


def _string(text: str, path: tuple[str, ...]) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{'.'.join(map(repr, path))} holds the string {text!r}, which is not text that UTF-8 "
            "can encode."
        ) from error
    escaped = (
        _ESCAPES.get(letter) or (f"\\u{ord(letter):04x}" if _is_control(letter) else letter)
        for letter in text
    )
    return f'"{"".join(escaped)}"'


def _is_control(letter: str) -> bool:
    return ord(letter) < 0x20 or ord(letter) == 0x7F
