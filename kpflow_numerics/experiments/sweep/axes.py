"""Axes of a sweep: what varies, from a TOML table, a mapping or a flag."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ..._errors import InputError, InputTypeError, suggest
from ..._validation import check_choice, check_integer, check_real
from ..config import RunSettings

SECTIONS = tuple(RunSettings().to_dict())
SPACINGS = ("linear", "log")
RESERVED_NAMES = (
    "accuracy",
    "checkpoint",
    "exponent",
    "index",
    "iteration",
    "loss",
    "of_task",
    "operator",
    "other_task",
    "quantity",
    "rank",
    "recipe",
    "status",
    "tolerance",
)
"""Names of dimensions and variables of a merged sweep, which no axis may have."""

_RANGE = re.compile(r"^\s*(-?\d+)?\s*:\s*(-?\d+)\s*(?::\s*(-?\d+)\s*)?$")
_SPACED = re.compile(r"^\s*(log|linear)\s*:([^:]+):([^:]+):\s*(\d+)\s*$")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


@dataclass(frozen=True)
class SweepAxis:
    """What varies along one axis of a grid.

    Attributes
    ----------
    name : str
        Its name, that of the dimension of the merged result.
    keys : tuple of str
        The settings that vary, such as ``"cell.gain"``; several are linked, and vary together.
    values : tuple of tuple
        For each place on the axis, a value of each key.
    """

    name: str
    keys: tuple[str, ...]
    values: tuple[tuple[Any, ...], ...]

    def __len__(self) -> int:
        return len(self.values)

    @property
    def is_linked(self) -> bool:
        """Whether several settings vary together."""
        return len(self.keys) > 1

    def assignments(self, place: int) -> dict[str, Any]:
        """Return the settings at a place."""
        return dict(zip(self.keys, self.values[place], strict=True))

    def label(self, place: int) -> str:
        """Return the values at a place in words."""
        if not self.is_linked:
            return text_of(self.values[place][0])
        return ", ".join(
            f"{key.partition('.')[2]}={text_of(value)}"
            for key, value in self.assignments(place).items()
        )

    def table(self) -> Any:
        """Return what stands for the axis in a TOML file."""
        columns = {
            key: [values[place] for values in self.values] for place, key in enumerate(self.keys)
        }
        return columns if self.is_linked else columns[self.keys[0]]


def text_of(value: Any) -> str:
    """Return a value of a setting as it is shown and labelled."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.12g}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(text_of, value))}]"
    return str(value)


def read_axes(table: Mapping[str, Any]) -> tuple[SweepAxis, ...]:
    """Return the axes that a table describes, in its order.

    Parameters
    ----------
    table : mapping
        A dotted setting such as ``"cell.gain"`` for an axis of its own, with its values; a name
        of one's own for an axis of linked settings, with a mapping of settings to values.

    Raises
    ------
    InputError, InputTypeError
        If a setting is unknown or varies twice, or values cannot be used.
    """
    if not isinstance(table, Mapping):
        raise InputTypeError(
            "The axes of a sweep must be a table of settings and their values, such as "
            f"cell.gain = [0.5, 1, 2]; got {table!r}."
        )
    named: list[tuple[str | None, dict[str, list[Any]]]] = []
    for name, given in table.items():
        if "." in name:
            named.append((None, {name: values_of(given, name)}))
        elif name in SECTIONS:
            named += [(None, {key: values_of(each, key)}) for key, each in _dotted({name: given})]
        else:
            named.append((name, _linked(name, given)))
    _refuse_repeats([key for _, columns in named for key in columns])
    names = _names([(name, tuple(columns)) for name, columns in named])
    return tuple(
        SweepAxis(name, tuple(columns), tuple(zip(*columns.values(), strict=True)))
        for name, (_, columns) in zip(names, named, strict=True)
    )


def parse_axis(text: str) -> tuple[str, Any]:
    """Return the entry of a table of axes that a flag ``--vary`` stands for.

    Parameters
    ----------
    text : str
        ``cell.gain=0.5,1,2``, ``training.seed=0:5``, ``training.learning_rate=log:1e-4:1e-2:5``,
        or linked settings, ``size: cell.n_units=32,64 & training.learning_rate=1e-3,5e-4``.

    Raises
    ------
    InputError
        If it has none of these forms.
    """
    name, colon, rest = text.partition(":")
    linked = bool(colon) and _NAME.fullmatch(name.strip()) is not None
    parts = (rest if linked else text).split("&")
    columns = {}
    for part in parts:
        key, equals, values = part.partition("=")
        if not equals or "." not in key or not values.strip():
            raise InputError(
                "--vary takes a setting and its values, such as cell.gain=0.5,1,2 or "
                f"training.seed=0:5; got {text!r}."
            )
        columns[key.strip()] = values.strip()
    if not linked and len(columns) == 1:
        return next(iter(columns.items()))
    if len(parts) != len(columns):
        raise InputError(f"--vary names a setting twice: {text!r}.")
    return (name.strip() if linked else "_".join(map(_last, columns))), columns


def values_of(given: Any, key: str) -> list[Any]:
    """Return the values of a setting that a list, a range or a text describes.

    Parameters
    ----------
    given : object
        A list, array or ``range``; ``{from = 1e-4, to = 1e-2, n = 5, spacing = "log"}``; or a text:
        ``"0:5"`` (five integers, as in Python), ``"log:1e-4:1e-2:5"``, ``"linear:0:1:5"`` (both
        ends are among the values), ``"0.5, 1, 2"``, or a TOML list.
    key : str
        The dotted setting.
    """
    kind = _checked_kind(key)
    if isinstance(given, str):
        values = _from_text(given, key, kind)
    elif isinstance(given, Mapping):
        values = _from_table(given, key, kind)
    elif isinstance(given, Iterable):
        values = [_plain(value) for value in given]
    else:
        raise InputTypeError(
            f"{key} must vary over a list, a range or a text; got {given!r}. A setting that does "
            "not vary belongs to the base settings."
        )
    if not values:
        raise InputError(f"{key} must vary over at least one value; got {given!r}.")
    if kind == "float":
        values = [
            float(value) if isinstance(value, int) and not isinstance(value, bool) else value
            for value in values
        ]
    return values


def _linked(name: str, given: Any) -> dict[str, list[Any]]:
    if not _NAME.fullmatch(name):
        raise InputError(
            f"An axis must be named by a setting such as cell.gain, or by letters, digits and _; "
            f"got {name!r}."
        )
    if not isinstance(given, Mapping):
        raise InputError(
            f"{name!r} is not a setting. An axis is a setting such as cell.gain with its values, "
            "or a name of your own with a table of settings that vary together."
            f"{suggest(name, _every_setting())}"
        )
    columns = {key: values_of(each, key) for key, each in _dotted(given)}
    lengths = {key: len(values) for key, values in columns.items()}
    if len(set(lengths.values())) != 1:
        listed = ", ".join(f"{key} has {length}" for key, length in lengths.items())
        raise InputError(
            f"The settings of the axis {name!r} vary together, so each must have as many values as "
            f"the others; {listed or 'it has no settings'}."
        )
    return columns


def _dotted(table: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """Yield dotted settings and their values, also where TOML has read the dot as a table."""
    for name, given in table.items():
        if name in SECTIONS and isinstance(given, Mapping):
            yield from ((f"{name}.{key}", each) for key, each in given.items())
        else:
            yield name, given


def _checked_kind(key: str) -> str | None:
    section, _, name = key.partition(".")
    if section not in SECTIONS or not name or "." in name:
        raise InputError(
            f"{key!r} is not a setting; one has the form section.key, the section being "
            f"{', '.join(SECTIONS)}.{suggest(key, _every_setting())}"
        )
    settings = getattr(RunSettings(), section)
    kinds = {entry.name: str(entry.type) for entry in fields(settings)}
    takes_options = kinds.pop("options", None) is not None
    kind = kinds.get(name)
    if kind is None and not takes_options:
        raise InputError(f"There is no setting {key}.{suggest(key, _every_setting())}")
    return kind


def _every_setting() -> list[str]:
    return [
        f"{section}.{key}"
        for section, values in RunSettings().to_dict().items()
        for key in values
    ]  # fmt: skip


def _from_text(text: str, key: str, kind: str | None) -> list[Any]:
    if counted := _RANGE.match(text):
        start, stop, step = counted.groups()
        if step == "0":
            raise InputError(f"{key}: the step of {text!r} must not be 0.")
        return list(range(int(start or 0), int(stop), int(step or 1)))
    if spaced := _SPACED.match(text):
        spacing, start, stop, count = spaced.groups()
        ends = {"from": _number(start, key), "to": _number(stop, key)}
        return _from_table({**ends, "n": int(count), "spacing": spacing}, key, kind)
    if text.strip().startswith("["):
        try:
            return list(tomllib.loads(f"values = {text}")["values"])
        except tomllib.TOMLDecodeError as error:
            raise InputError(f"{key}: {text!r} is not a TOML list: {error}.") from error
    return [_scalar(part.strip()) for part in text.split(",") if part.strip()]


def _scalar(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _number(text: str, key: str) -> float | int:
    value = _scalar(text.strip())
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{key}: {text!r} must be a number.")
    return value


def _from_table(table: Mapping[str, Any], key: str, kind: str | None) -> list[Any]:
    unknown = set(table) - {"from", "to", "n", "spacing"}
    if unknown or not {"from", "to", "n"} <= set(table):
        raise InputError(
            f"{key}: a range takes from, to, n and spacing, such as "
            f'{{from = 1e-4, to = 1e-2, n = 5, spacing = "log"}}; got {dict(table)!r}.'
        )
    spacing = check_choice(table.get("spacing", "linear"), f"{key}: spacing", SPACINGS)
    count = check_integer(table["n"], f"{key}: n")
    is_log = spacing == "log"
    start, stop = (
        check_real(table[end], f"{key}: {end}", minimum=0 if is_log else -np.inf,
                   open_minimum=is_log)
        for end in ("from", "to")
    )  # fmt: skip
    spaced = (np.geomspace if is_log else np.linspace)(start, stop, count)
    is_counted = kind == "int" or (
        kind is None and isinstance(table["from"], int) and isinstance(table["to"], int)
    )
    if is_counted:
        return [round(value) for value in spaced.tolist()]
    # Six digits, so that a person can name a place: 0.001, not 0.0010000000000000002.
    return [float(f"{value:.6g}") for value in spaced.tolist()]


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return value


def _refuse_repeats(keys: Sequence[str]) -> None:
    for key in keys:
        if keys.count(key) > 1:
            raise InputError(f"{key} varies along two axes; it can vary along one.")


def _last(key: str) -> str:
    return {"task.name": "task", "cell.kind": "cell"}.get(key, key.partition(".")[2])


def _names(axes: Sequence[tuple[str | None, tuple[str, ...]]]) -> list[str]:
    """Return a name for each axis: that of its setting where no other has it."""
    wanted = [name or _last(keys[0]) for name, keys in axes]
    names = []
    for (given, keys), name in zip(axes, wanted, strict=True):
        is_taken = wanted.count(name) > 1 or name in RESERVED_NAMES
        if is_taken and given is not None:
            raise InputError(
                f"An axis of a sweep cannot be named {name!r}, which is the name of something "
                "else in its result. Choose another name."
            )
        names.append(keys[0].replace(".", "_") if is_taken else name)
    return names
