"""A file whose changes reach the disk together, or not at all.

HDF5 changes its index of chunks in place: when a node of that index splits, a writer that is killed
in the middle of ``flush()`` leaves a file whose data cannot be read, also what was flushed before.
So HDF5 writes into memory here, and :meth:`JournalledFile.commit` puts the changed pages into
a journal beside the file, waits until the device holds it, and only then changes the file. Whoever
opens the file next finishes a commit whose journal is complete, and drops one whose journal is not.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from .._errors import InputError
from ..results import format_bytes
from . import _disk
from ._disk import StoreError, reason

try:
    import fcntl
except ImportError:  # Windows: no lock, as with HDF5 without file locking.
    fcntl = None  # type: ignore[assignment]

PAGE = 4096
IDENTITY_BYTES = 32

_HEADER = struct.Struct(f"<8sQ{IDENTITY_BYTES}sQQQ")
_EXTENT = struct.Struct("<QQ")
_MAGIC = b"kpflowJ1"
_DIGEST_BYTES = 32
_OPENING = {"r": "r", "r+": "r+", "x": "x+"}


def journal_path(path: Path) -> Path:
    """Return where the journal of a file is while a commit is under way."""
    return path.with_name(path.name + ".journal")


class JournalledFile:
    """What h5py takes as a file object, with changes held in memory until they are committed.

    Parameters
    ----------
    path : Path
        The file.
    mode : {"r", "r+", "x"}
        To read, to read and write, or to make a file where there is none.

    Raises
    ------
    OSError
        If the file cannot be opened.
    InputError
        If another process has it open, or the journal beside it belongs to another file.

    Notes
    -----
    A commit writes the changed pages twice. Memory: the pages changed since the last commit.
    """

    def __init__(self, path: Path, mode: str) -> None:
        self.path = path
        self._writable = mode != "r"
        self._identity = (0, bytes(IDENTITY_BYTES))
        self._position = 0
        if mode == "x" and journal_path(path).exists():
            raise InputError(
                f"{journal_path(path)} is left over from a run file that was moved or deleted "
                "while a commit was unfinished. Move it beside that file, or delete it."
            )
        self._file = io.FileIO(path, _OPENING[mode])
        try:
            self._lock()
            self._size = os.fstat(self._file.fileno()).st_size
            self._on_disk = self._size
            self._pages: dict[int, bytearray] = {}
            if journal_path(path).exists():
                self._recover()
        except BaseException:
            self._file.close()
            raise

    @property
    def size(self) -> int:
        """Length in bytes, changes included."""
        return self._size

    def identify(self, offset: int, identity: bytes) -> None:
        """Say which bytes of the file never change, and so tell it from others."""
        self._identity = (offset, identity.ljust(IDENTITY_BYTES, b"\0"))

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def read(self, length: int) -> bytes:
        """Return up to `length` bytes from the position on. h5py asks for :meth:`readinto`."""
        buffer = bytearray(length)
        return bytes(buffer[: self.readinto(buffer)])

    def readinto(self, buffer: memoryview | bytearray) -> int:
        """Fill a buffer from the position on, and return how many bytes there were."""
        target = memoryview(buffer).cast("B")
        target = target[: max(0, min(len(target), self._size - self._position))]
        start, stop = self._position, self._position + len(target)
        self._read_disk(start, target)
        for number in self._pages_between(start, stop):
            page = self._pages.get(number)
            if page is not None:
                first = max(start, number * PAGE)
                last = min(stop, (number + 1) * PAGE)
                target[first - start : last - start] = memoryview(page)[
                    first - number * PAGE : last - number * PAGE
                ]
        self._position = stop
        return len(target)

    def write(self, data: bytes | memoryview) -> int:
        """Change bytes from the position on, in memory."""
        source = memoryview(data).cast("B")
        start, stop = self._position, self._position + len(source)
        for number in self._pages_between(start, stop):
            first = max(start, number * PAGE)
            last = min(stop, (number + 1) * PAGE)
            page = self._page(number)
            page[first - number * PAGE : last - number * PAGE] = source[
                first - start : last - start
            ]
        self._size = max(self._size, stop)
        self._position = stop
        return len(source)

    def truncate(self, size: int | None = None) -> int:
        """Change the length, in memory."""
        size = self._position if size is None else size
        if size < self._size:
            boundary = size // PAGE
            if size % PAGE:
                self._page(boundary)[size % PAGE :] = bytes(PAGE - size % PAGE)
            self._pages = {
                number: page for number, page in self._pages.items() if number * PAGE < size
            }
            self._on_disk = min(self._on_disk, size)
        self._size = size
        return size

    def flush(self) -> None:
        """Do nothing: what HDF5 has flushed becomes durable by :meth:`commit`."""

    def commit(self) -> None:
        """Make all changes durable in one step.

        Raises
        ------
        StoreError
            If the system refuses. The file is then as it was after the commit before, or, where
            the message says so, the journal holds the changes and the next opening makes them.
        """
        old_size = os.fstat(self._file.fileno()).st_size
        if not self._pages and self._size == old_size:
            return
        self._fill_gap(old_size)
        journal = journal_path(self.path)
        try:
            self._write_journal(journal, old_size)
            self._write_beyond(old_size)
        except OSError as error:
            # HDF5 ignores what stands behind its end, should the device fail here as well.
            with contextlib.suppress(OSError):
                _disk.truncate(self._file, old_size)
            with contextlib.suppress(OSError):
                _disk.remove(journal)
            needed = format_bytes(len(self._pages) * PAGE)
            raise StoreError(
                f"Could not write {self.path}: {reason(error)}. Everything committed before is "
                f"intact; the changes since, {needed}, are lost. Make room, about twice that, and "
                "resume."
            ) from error
        try:
            self._write_within(old_size)
        except OSError as error:
            raise StoreError(
                f"Could not finish writing {self.path}: {reason(error)}. Nothing is lost: the "
                f"journal {journal} holds the changes. Keep the two together, make room, and open "
                "the run file again."
            ) from error
        _disk.remove(journal)
        self._pages.clear()
        self._on_disk = self._size

    def move_onto(self, path: Path) -> None:
        """Give the file another name, in place of a file that may have it."""
        _disk.sync(self._file)
        _disk.replace(self.path, path)
        _disk.remove(journal_path(path))
        _disk.sync_directory(path.parent)
        self.path = path

    def close(self) -> None:
        """Close the file, without what was not committed."""
        self._file.close()

    def _lock(self) -> None:
        if fcntl is None:
            return
        kind = fcntl.LOCK_EX if self._writable else fcntl.LOCK_SH
        try:
            fcntl.flock(self._file, kind | fcntl.LOCK_NB)
        except BlockingIOError as error:
            doing = "in use" if self._writable else "being written"
            raise InputError(
                f"{self.path} is {doing} by another process or by an object that was not closed. "
                "Wait until it ends, or copy the file and use the copy."
            ) from error
        except OSError:
            # A file system without locks, such as some network mounts.
            return

    def _read_disk(self, start: int, target: memoryview) -> None:
        held = max(0, min(len(target), self._on_disk - start))
        self._file.seek(start)
        done = 0
        while done < held:
            count = self._file.readinto(target[done:held])
            if not count:
                break
            done += count
        target[done:] = bytes(len(target) - done)

    def _page(self, number: int) -> bytearray:
        page = self._pages.get(number)
        if page is None:
            page = bytearray(PAGE)
            self._read_disk(number * PAGE, memoryview(page))
            self._pages[number] = page
        return page

    @staticmethod
    def _pages_between(start: int, stop: int) -> range:
        return range(start // PAGE, -(-stop // PAGE)) if stop > start else range(0)

    def _fill_gap(self, old_size: int) -> None:
        """Hold as zeros what was cut off and then added again."""
        for number in self._pages_between(self._on_disk, min(old_size, self._size)):
            self._page(number)

    def _extents(self) -> Iterator[tuple[int, bytes]]:
        """Yield runs of changed pages as (offset, bytes)."""
        numbers = sorted(self._pages)
        start = 0
        while start < len(numbers):
            stop = start + 1
            while stop < len(numbers) and numbers[stop] == numbers[stop - 1] + 1:
                stop += 1
            run = b"".join(self._pages[number] for number in numbers[start:stop])
            offset = numbers[start] * PAGE
            yield offset, run[: max(0, self._size - offset)]
            start = stop

    def _write_journal(self, path: Path, old_size: int) -> None:
        extents = list(self._extents())
        digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
        with path.open("wb", buffering=0) as file:
            position = 0
            header = _HEADER.pack(_MAGIC, *self._identity, old_size, self._size, len(extents))
            parts = [header]
            for offset, data in extents:
                parts += [_EXTENT.pack(offset, len(data)), data]
            for part in parts:
                digest.update(part)
                _disk.write_at(file, position, part)
                position += len(part)
            _disk.write_at(file, position, digest.digest())
            _disk.sync(file)
        _disk.sync_directory(path.parent)

    def _write_beyond(self, old_size: int) -> None:
        """Write what lies behind the old end: the only step that needs room on the device."""
        boundary = -(-old_size // PAGE)
        if self._size > old_size:
            _disk.truncate(self._file, self._size)
        for number in sorted(self._pages):
            if number >= boundary:
                self._write_page(number)
        _disk.sync(self._file)

    def _write_within(self, old_size: int) -> None:
        boundary = -(-old_size // PAGE)
        for number in sorted(self._pages):
            if number < boundary:
                self._write_page(number)
        if self._size < old_size:
            _disk.truncate(self._file, self._size)
        _disk.sync(self._file)

    def _write_page(self, number: int) -> None:
        length = min(PAGE, self._size - number * PAGE)
        _disk.write_at(self._file, number * PAGE, memoryview(self._pages[number])[:length])

    def _recover(self) -> None:
        """Take over a commit that was under way when the last writer was killed."""
        journal = journal_path(self.path)
        try:
            content = journal.read_bytes()
        except OSError as error:
            raise StoreError(f"Could not read {journal}: {reason(error)}.") from error
        found = _parse(content)
        if found is None:
            if self._writable:
                _disk.remove(journal)
            return
        identity, old_size, size, extents = found
        if not self._is_identified_by(identity, is_first=old_size == 0):
            raise InputError(
                f"{journal} belongs to another run file than {self.path}. Move it beside the file "
                "that it came from, or delete it."
            )
        for offset, data in extents:
            self._position = offset
            self.write(data)
        self._size, self._position = size, 0
        if self._writable:
            try:
                for number in sorted(self._pages):
                    self._write_page(number)
                _disk.truncate(self._file, self._size)
                _disk.sync(self._file)
            except OSError as error:
                raise StoreError(
                    f"Could not finish an interrupted commit of {self.path}: {reason(error)}. "
                    f"Nothing is lost: {journal} holds it. Make room and try again."
                ) from error
            _disk.remove(journal)
            self._pages.clear()
            self._on_disk = self._size

    def _is_identified_by(self, identity: tuple[int, bytes], *, is_first: bool) -> bool:
        offset, expected = identity
        found = bytearray(IDENTITY_BYTES)
        self._read_disk(offset, memoryview(found))
        return bytes(found) == expected or (is_first and not any(found))


def _parse(
    content: bytes,
) -> tuple[tuple[int, bytes], int, int, list[tuple[int, bytes]]] | None:
    """Return identity, old size, new size and changes of a journal; None if it is incomplete."""
    body, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
    if (
        len(body) < _HEADER.size
        or hashlib.blake2b(body, digest_size=_DIGEST_BYTES).digest() != digest
    ):
        return None
    magic, offset, identity, old_size, size, count = _HEADER.unpack_from(body)
    if magic != _MAGIC:
        return None
    extents, position = [], _HEADER.size
    for _ in range(count):
        start, length = _EXTENT.unpack_from(body, position)
        position += _EXTENT.size
        extents.append((start, body[position : position + length]))
        position += length
    return (offset, identity), old_size, size, extents
