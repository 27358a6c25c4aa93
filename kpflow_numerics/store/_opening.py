"""Making and opening run files."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import h5py
import numpy as np

from .._validation import InputError, InputTypeError
from ..cells import Cell
from ..tasks import Task
from . import _disk
from ._checkpoints import add_empty_history
from ._disk import StoreError, reason
from ._journal import JournalledFile, journal_path
from ._variables import TEXT
from .provenance import collect_provenance
from .schema import RUN_ID, SCHEMA_NAME, SCHEMA_VERSION, check_schema

_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def write_head(
    file: h5py.File, cell: Cell, settings: str, task: Task, config: str, seed: int | None
) -> None:
    """Write all that a run has before it begins."""
    file.attrs["schema_name"] = SCHEMA_NAME
    file.attrs["schema_version"] = SCHEMA_VERSION
    file.attrs["Conventions"] = "CF-1.11"
    file.attrs["title"] = f"{cell!r} on {task.name}"
    # Contiguous and never rewritten, so that its place in the file never changes.
    file.create_dataset(RUN_ID, data=np.bytes_(uuid.uuid4().hex))
    network = file.create_group("network")
    network.attrs["kind"] = cell.kind
    network.attrs["settings"] = settings
    network.attrs["n_units"] = cell.n_units
    tasks = file.create_group("task")
    tasks.attrs["task_name"] = task.name
    tasks.attrs["options"] = json.dumps(task.to_dict())
    provenance = file.create_group("provenance")
    for name, value in collect_provenance().items():
        provenance.attrs[name] = value
    if seed is not None:
        provenance.attrs["seed"] = str(seed)
    provenance.create_dataset("configuration", data=config, dtype=TEXT)
    add_empty_history(file)


def settings_text(cell: Cell) -> str:
    """Return the settings of a cell as JSON.

    Raises
    ------
    InputTypeError
        If JSON cannot hold one.
    """
    try:
        return json.dumps(cell.settings())
    except TypeError as error:
        raise InputTypeError(
            f"{cell!r} has settings that a file cannot hold: {error}. A setting must be a number, "
            "a string, a boolean, None, or a list or dict of these."
        ) from error


def open_new(target: Path, *, overwrite: bool) -> JournalledFile:
    """Open a file for a new run: where it will be, or beside one that it is to replace."""
    if target.is_dir():
        raise InputError(f"{target} is a directory; name a file in it, such as {target}/run.h5.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            if overwrite:
                _disk.remove(journal_path(target))
            return JournalledFile(target, "x")
        if not overwrite:
            raise InputError(
                f"{target} exists, and is never overwritten unless that is asked for. Choose "
                "another name, continue it with RunFile.open(path, 'r+'), or replace it with "
                "overwrite=True (--overwrite)."
            )
        _check_replaceable(target)
        scratch = beside(target, ".new")
        if scratch.exists():
            # Left by a process that was killed; one that is still writing holds its lock.
            JournalledFile(scratch, "r+").close()
            _disk.remove(scratch)
        _disk.remove(journal_path(scratch))
        return JournalledFile(scratch, "x")
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(f"Could not make {target}: {reason(error)}.") from error


def _check_replaceable(target: Path) -> None:
    """Refuse to replace what is not a run file, or is in use."""
    if not target.stat().st_size:
        return
    try:
        disk, file = open_existing(target, "r+")
        file.close()
        disk.close()
    except InputError as error:
        raise InputError(
            f"{target} is not overwritten: {error} Delete it yourself, or choose another name."
        ) from error


def open_existing(target: Path, mode: str) -> tuple[JournalledFile, h5py.File]:
    """Open a run file, and refuse what is none.

    Raises
    ------
    InputError, StoreError
        As :meth:`RunFile.open` says.
    """
    disk = _open_disk(target, mode)
    try:
        file = _open_hdf5(disk, target, mode)
        try:
            check_schema(file, target)
            identify(disk, file)
        except BaseException:
            # HDF5 marks a file open for writing when it closes it; nothing of that is committed.
            file.close()
            raise
    except BaseException:
        disk.close()
        raise
    return disk, file


def identify(disk: JournalledFile, file: h5py.File) -> None:
    """Tell the journal by which bytes it knows its file."""
    disk.identify(file[RUN_ID].id.get_offset(), file[RUN_ID][()])


def _open_disk(target: Path, mode: str) -> JournalledFile:
    if target.is_dir():
        raise InputError(f"{target} is a directory, not a run file.")
    try:
        return JournalledFile(target, mode)
    except FileNotFoundError as error:
        raise InputError(f"There is no run file {target}.") from error
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(f"Could not open {target}: {reason(error)}.") from error


def _open_hdf5(disk: JournalledFile, target: Path, mode: str) -> h5py.File:
    if not disk.size:
        raise InputError(
            f"{target} is empty: what made it was stopped before it wrote anything. Delete it."
        )
    signature = bytearray(len(_SIGNATURE))
    disk.readinto(signature)
    disk.seek(0)
    if bytes(signature) != _SIGNATURE:
        is_network = target.suffix in (".npz", ".safetensors", ".pt", ".pth")
        hint = " A network is read by kpf.load_network or `kpflow analyze`." if is_network else ""
        raise InputError(f"{target} is not an HDF5 file, so it is not a run file.{hint}")
    try:
        return h5py.File(disk, mode)
    except OSError as error:
        raise InputError(
            f"{target} cannot be read as HDF5: it is truncated or damaged, or was moved without "
            f"its journal {journal_path(target).name}. HDF5 says: {error}."
        ) from error


def beside(path: Path, suffix: str) -> Path:
    """Return a path in the same directory, with more behind its name."""
    return path.with_name(path.name + suffix)
