"""The foot of a report: every setting, and what the numbers were made with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ._html import element, table
from ._section import Section, Subject

_LONGEST = 2000


def provenance_sections(subject: Subject) -> Iterator[Section]:
    """Yield the sections at the foot."""
    run = subject.run
    for heading, mapping in (("Settings", run.config), ("Provenance", run.provenance)):
        rows = [[name, element("code", value)] for name, value in flatten(mapping)]
        yield Section(heading, [table(["name", "value"], rows, wide=(1,))])


def flatten(mapping: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the entries of nested mappings under dotted names."""
    for name, value in mapping.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", _beginning(str(value))


def _beginning(text: str) -> str:
    """Return a text, or the beginning of one that no table should hold."""
    if len(text) <= _LONGEST:
        return text
    return f"{text[:_LONGEST]} ... ({len(text):,} characters)"
