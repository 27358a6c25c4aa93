"""The configuration of a run: a TOML file, flags, and what they may say."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from .._errors import InputError, InputTypeError, suggest

SECTION_OF_OPTIONS = ("task", "cell")


@dataclass(frozen=True)
class TaskSettings:
    """Which task; `options` are arguments of its class."""

    name: str = "memory-pro"
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CellSettings:
    """Which cell; `options` are further arguments of its class. `gain` scales ``weight_hh``."""

    kind: str = "gru"
    n_units: int = 64
    gain: float = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainingSettings:
    """How the network is trained."""

    n_iterations: int = 1000
    batch_size: int = 64
    optimizer: str = "adam"
    learning_rate: float = 5e-3
    clip_norm: float = 1.0
    tolerance: float = 0.0
    checkpoint_every: int = 100
    dtype: str = "float64"
    seed: int = 0


@dataclass(frozen=True)
class AnalysisSettings:
    """What is measured at how many checkpoints, on how many evaluation trials.

    `recipes` are those of the effective ranks of K, P and the NTK; without any, each operator has
    its own (see :data:`~kpflow_numerics.analysis.DEFAULT_RECIPES`). `quantities` are what
    :func:`~kpflow_numerics.analyze_network` finds beside the ranks, `interference` between what it
    looks for interference: ``"tasks"``, ``"conditions"`` or ``"none"``.
    """

    n_trials: int = 20
    n_checkpoints: int = 6
    n_eigenpairs: int = 20
    max_memory_gib: float = 4.0
    recipes: tuple[str, ...] = ()
    quantities: tuple[str, ...] = (
        "trace",
        "frobenius-norm",
        "alignment",
        "rank-over-time",
        "retained-directions",
    )
    interference: str = "tasks"


@dataclass(frozen=True)
class SignSettings:
    """From where on a sign of failed learning is raised.

    See :class:`~kpflow_numerics.SignThresholds`, whose fields and defaults these are; that class is
    not loaded for the help of the command line.
    """

    k_rank: float = 2.0
    retained_directions: float = 0.1
    interference: float = 0.5


@dataclass(frozen=True)
class RunSettings:
    """Everything that determines a run.

    Parameters
    ----------
    task, cell, training, analysis, signs
        One object for each table of the TOML file.
    """

    task: TaskSettings = field(default_factory=TaskSettings)
    cell: CellSettings = field(default_factory=CellSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    analysis: AnalysisSettings = field(default_factory=AnalysisSettings)
    signs: SignSettings = field(default_factory=SignSettings)

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Return nested dicts in the form of the TOML file."""
        tables = asdict(self)
        for section in SECTION_OF_OPTIONS:
            tables[section] |= tables[section].pop("options")
        return tables


_SECTIONS: dict[str, type] = {
    "task": TaskSettings,
    "cell": CellSettings,
    "training": TrainingSettings,
    "analysis": AnalysisSettings,
    "signs": SignSettings,
}


def settings_from_dict(tables: Mapping[str, Any], source: str = "configuration") -> RunSettings:
    """Return the settings that nested dicts describe; what they leave out has its default.

    Parameters
    ----------
    tables : mapping
        Tables ``task``, ``cell``, ``training``, ``analysis`` and ``signs``. Keys of ``task`` and
        ``cell`` beyond their own become options of the task's or the cell's class, which checks
        them.
    source : str
        Where they come from, for the messages.

    Raises
    ------
    InputError
        If a table or key is unknown (the message suggests the nearest one).
    InputTypeError
        If a value has the wrong type.
    """
    sections = {}
    for section, values in tables.items():
        if section not in _SECTIONS:
            raise InputError(
                f"{source} has an unknown table [{section}]; it takes "
                f"{', '.join(f'[{name}]' for name in _SECTIONS)}.{suggest(section, _SECTIONS)}"
            )
        if not isinstance(values, Mapping):
            raise InputTypeError(
                f"{source}: {section} must be a table [{section}]; got {values!r}."
            )
        sections[section] = _section(section, values, source)
    return RunSettings(**sections)


def analysis_settings(tables: Mapping[str, Any], source: str) -> AnalysisSettings:
    """Return the settings of the table ``analysis`` alone; other tables are not looked at."""
    settings: AnalysisSettings = _section("analysis", tables.get("analysis", {}), source)
    return settings


def sign_settings(tables: Mapping[str, Any], source: str) -> SignSettings:
    """Return the settings of the table ``signs`` alone; other tables are not looked at."""
    settings: SignSettings = _section("signs", tables.get("signs", {}), source)
    return settings


def _section(section: str, values: Mapping[str, Any], source: str) -> Any:
    kind = _SECTIONS[section]
    known = {entry.name: entry for entry in fields(kind) if entry.name != "options"}
    own: dict[str, Any] = {}
    options: dict[str, Any] = {}
    for key, value in values.items():
        if key in known:
            own[key] = _typed(f"{source}: {section}.{key}", value, known[key].type)
        elif section in SECTION_OF_OPTIONS:
            options[key] = value
        else:
            raise InputError(
                f"{source}: [{section}] has no key {key!r}; it takes {', '.join(known)}."
                f"{suggest(key, known)}"
            )
    return kind(**own, options=options) if section in SECTION_OF_OPTIONS else kind(**own)


def _typed(name: str, value: Any, wanted: Any) -> Any:
    if str(wanted) == "tuple[str, ...]":
        if not isinstance(value, (list, tuple)) or not all(isinstance(v, str) for v in value):
            raise InputTypeError(f"{name} must be a list of strings; got {value!r}.")
        return tuple(value)
    kinds: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "str": (str,)}
    if isinstance(value, bool) or not isinstance(value, kinds[str(wanted)]):
        raise InputTypeError(f"{name} must be of type {wanted}; got {value!r}.")
    return float(value) if isinstance(value, int) and wanted == "float" else value


def read_settings(path: str | Path) -> dict[str, Any]:
    """Return the tables of a TOML file.

    Raises
    ------
    InputError
        If the file is missing or not TOML.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError as error:
        raise InputError(f"There is no configuration file {path}.") from error
    except IsADirectoryError as error:
        raise InputError(f"{path} is a directory, not a TOML configuration file.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a TOML file: {error}.") from error


def override(tables: Mapping[str, Any], assignments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tables with dotted keys such as ``training.seed`` set to new values."""
    merged = {
        section: dict(values) if isinstance(values, Mapping) else values
        for section, values in tables.items()
    }
    for dotted, value in assignments.items():
        section, _, key = dotted.partition(".")
        if not key or "." in key:
            raise InputError(
                f"{dotted!r} must have the form section.key, such as training.seed."
                f"{_suggest_whole_key(dotted)}"
            )
        table = merged.setdefault(section, {})
        if not isinstance(table, dict):
            raise InputTypeError(f"{section} must be a table [{section}]; got {table!r}.")
        table[key] = value
    return merged


def _suggest_whole_key(key: str) -> str:
    """Return a hint at the setting of which a key is the second half, if there is one."""
    for section, names in RunSettings().to_dict().items():
        if key in names:
            return f" Did you mean '{section}.{key}'?"
    return ""


def parse_assignment(text: str) -> tuple[str, Any]:
    """Return the dotted key and the value of ``section.key=value``.

    The value is read as TOML, or as a bare string where it is not TOML.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise InputError(f"--set takes section.key=value, such as task.n_memory=60; got {text!r}.")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()
