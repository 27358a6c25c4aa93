"""Small records, each in a file that is whole or is known not to be.

A record is JSON behind a line with its digest. It is written beside its place and moved there when
the device holds it, so that a process killed at any moment leaves the old record or the new one.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .._validation import InputError
from . import _disk
from ._disk import StoreError, reason

_HEAD = b"kpflow record, sha256 "


def write_sealed(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record, in place of one that there may be.

    One process may write a path at a time. Numbers keep all their bits.

    Raises
    ------
    StoreError
        If the system refuses; an earlier record is as it was.
    """
    body = json.dumps(record, separators=(",", ":")).encode()
    partial = path.with_name(f"{path.name}.partial")
    try:
        _disk.remove(partial)
        with io.FileIO(partial, "x") as file:
            _disk.write_at(file, 0, _HEAD + _digest(body) + b"\n" + body)
            _disk.sync(file)
        _disk.replace(partial, path)
        _disk.sync_directory(path.parent)
    except OSError as error:
        raise StoreError(f"Could not write {path}: {reason(error)}.") from error


def read_sealed(path: Path) -> dict[str, Any]:
    """Return a record.

    Raises
    ------
    FileNotFoundError
        If there is none.
    InputError
        If the file is not whole.
    """
    head, _, body = path.read_bytes().partition(b"\n")
    if head != _HEAD + _digest(body):
        raise InputError(
            f"{path} is damaged: its contents do not have the digest in its first line."
        )
    record: dict[str, Any] = json.loads(body)
    return record


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode()
