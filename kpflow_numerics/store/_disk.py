"""Every operation by which a run file changes the disk, one function each.

They are called through the module, so that tests can cut the power at each of them.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
from pathlib import Path

_REASONS = {
    errno.ENOSPC: "no space is left on the device",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the limit on the size of files is reached",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission is denied",
    errno.EPERM: "permission is denied",
    errno.EIO: "the device reports an input/output error",
}


class StoreError(OSError):
    """The system refuses to read or write a run file; the message says what remains intact."""


def reason(error: OSError) -> str:
    """Return why the system refused, in words."""
    return _REASONS.get(error.errno or 0, error.strerror or str(error))


def write_at(file: io.FileIO, offset: int, data: bytes | bytearray | memoryview) -> None:
    """Write all of the data at an offset of an unbuffered file."""
    file.seek(offset)
    rest = memoryview(data)
    while len(rest):
        rest = rest[file.write(rest) :]


def truncate(file: io.FileIO, size: int) -> None:
    """Make a file shorter, or longer by zeros."""
    file.truncate(size)


def sync(file: io.FileIO) -> None:
    """Return when the device holds what was written."""
    os.fsync(file.fileno())


def remove(path: Path) -> None:
    """Remove a file, if it is there."""
    path.unlink(missing_ok=True)


def replace(source: Path, target: Path) -> None:
    """Move a file onto another in one step."""
    source.replace(target)


def sync_directory(path: Path) -> None:
    """Return when the device holds the names in a directory, where the system can tell."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
