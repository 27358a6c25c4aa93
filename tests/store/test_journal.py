"""Changes reach the disk together or not at all, wherever the power is cut."""

from __future__ import annotations

import errno
import io
import os

import numpy as np
import pytest

from kpflow_numerics._errors import InputError
from kpflow_numerics.store import StoreError
from kpflow_numerics.store._journal import PAGE, JournalledFile, journal_path
from tests.cases.disk import Disk, PowerCut

IDENTITY = (3, b"i" * 32)
# The operation of a commit at which the journal is whole and the file is changed in part.
IN_PLACE = 12


@pytest.fixture(autouse=True)
def quick_sync(monkeypatch):
    """Do not wait for the device, which matters when the power fails, not when a process ends."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def first_content():
    content = bytearray(np.random.default_rng(31).bytes(3 * PAGE + 700))
    content[IDENTITY[0] : IDENTITY[0] + 32] = IDENTITY[1]
    return bytes(content)


def make_file(path, content):
    file = JournalledFile(path, "x")
    file.identify(*IDENTITY)
    file.write(content)
    file.commit()
    file.close()


def change(file):
    """Change pages here and there, and behind the end."""
    for offset, length in ((100, 50), (PAGE - 8, 16), (2 * PAGE + 5, 1200), (3 * PAGE + 650, 9000)):
        file.seek(offset)
        file.write(np.random.default_rng(offset).bytes(length))


def shrink(file):
    file.seek(PAGE + 9)
    file.write(b"short")
    file.truncate(PAGE + 14)


def changed(content, how):
    twin = Twin(content)
    how(twin)
    return twin.getvalue()


class Twin(io.BytesIO):
    """A file in memory whose truncate lengthens too, as that of a file on disk."""

    def truncate(self, size=None):
        size = self.tell() if size is None else size
        lacking = size - len(self.getbuffer())
        if lacking > 0:
            place = self.tell()
            self.seek(0, os.SEEK_END)
            self.write(bytes(lacking))
            self.seek(place)
        return super().truncate(size)


def read(path):
    file = JournalledFile(path, "r")
    content = file.read(file.size)
    file.close()
    return content


@pytest.mark.parametrize("seed", range(20, 32))
def test_it_acts_as_a_file_in_memory(tmp_path, seed):
    rng = np.random.default_rng(seed)
    twin, file = Twin(), JournalledFile(tmp_path / "f", "x")
    for _ in range(120):
        offset, length = (int(rng.integers(0, 5 * PAGE)) for _ in range(2))
        kind = rng.integers(6)
        if kind < 2:
            data = rng.bytes(length % 3000 + 1)
            for each in (twin, file):
                each.seek(offset)
                assert each.write(data) == len(data)
                assert each.tell() == offset + len(data)
        elif kind == 2:
            assert twin.truncate(offset) == file.truncate(offset)
        elif kind == 3:
            file.commit()
            assert (tmp_path / "f").read_bytes() == twin.getvalue()
        else:
            buffers = bytearray(length), bytearray(length)
            for each in (twin, file):
                each.seek(offset)
            assert twin.readinto(buffers[0]) == file.readinto(buffers[1])
            assert buffers[0] == buffers[1]
        assert file.seek(0, os.SEEK_END) == file.size == len(twin.getbuffer())
        assert file.seek(-min(5, file.size), os.SEEK_CUR) == max(file.size - 5, 0)
    file.close()


@pytest.mark.parametrize("how", [change, shrink])
def test_a_cut_anywhere_leaves_all_or_nothing(tmp_path, monkeypatch, how):
    old = first_content()
    new = changed(old, how)
    disk = Disk(monkeypatch, PowerCut)
    outcomes = []
    for cut in range(100):
        path = tmp_path / f"{cut}"
        disk.arm(None)
        make_file(path, old)
        file = JournalledFile(path, "r+")
        file.identify(*IDENTITY)
        how(file)
        disk.arm(cut)
        try:
            file.commit()
            finished = True
        except PowerCut:
            finished = False
        file.close()
        disk.arm(None)
        outcome = read(path)
        assert outcome in (old, new)
        outcomes.append(outcome == new)
        # The next writer finds the same, and leaves no journal.
        again = JournalledFile(path, "r+")
        assert again.read(again.size) == outcome
        again.close()
        assert path.read_bytes() == outcome
        assert not journal_path(path).exists()
        if finished:
            break
    assert finished
    assert outcomes[0] is False
    assert outcomes[-1] is True
    assert outcomes == sorted(outcomes)


def test_a_cut_in_the_middle_of_recovery(tmp_path, monkeypatch):
    old = first_content()
    new = changed(old, change)
    disk = Disk(monkeypatch, PowerCut)
    path = tmp_path / "f"
    make_file(path, old)
    file = JournalledFile(path, "r+")
    file.identify(*IDENTITY)
    change(file)
    disk.arm(IN_PLACE)
    with pytest.raises(PowerCut):
        file.commit()
    file.close()
    assert path.read_bytes() not in (old, new)
    assert path.read_bytes()[: len(old)] not in (old, new[: len(old)])
    for cut in range(100):
        disk.arm(cut)
        try:
            JournalledFile(path, "r+").close()
            break
        except PowerCut:
            disk.arm(None)
            assert read(path) == new
    assert cut > 4
    assert path.read_bytes() == new


def test_the_device_holds_the_journal_before_the_file_is_touched(tmp_path, monkeypatch):
    path = tmp_path / "f"
    make_file(path, first_content())
    disk = Disk(monkeypatch, PowerCut)
    file = JournalledFile(path, "r+")
    change(file)
    file.commit()
    file.close()
    journal = str(journal_path(path))
    steps = [name for name, target in disk.log if target == journal]
    assert steps[-2:] == ["sync", "remove"]
    touched = [place for place, (_, target) in enumerate(disk.log) if target == str(path)]
    assert disk.log.index(("sync", journal)) < touched[0]
    assert disk.log.index(("sync_directory", str(tmp_path))) < touched[0]
    # And the file's own changes before the journal goes.
    assert disk.log[-2:] == [("sync", str(path)), ("remove", journal)]


def test_the_harness_sees_a_missing_journal(tmp_path, monkeypatch):
    old = first_content()
    new = changed(old, change)
    monkeypatch.setattr(JournalledFile, "_write_journal", lambda *_: None)
    disk = Disk(monkeypatch, PowerCut)
    torn = 0
    for cut in range(20):
        path = tmp_path / f"{cut}"
        disk.arm(None)
        make_file(path, old)
        file = JournalledFile(path, "r+")
        change(file)
        disk.arm(cut)
        try:
            file.commit()
        except PowerCut:
            torn += path.read_bytes()[: len(old)] not in (old, new[: len(old)])
        file.close()
    assert torn > 2


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO])
@pytest.mark.parametrize("lasts", [True, False])
def test_no_room_anywhere_leaves_all_or_nothing(tmp_path, monkeypatch, number, lasts):
    old = first_content()
    new = changed(old, change)
    disk = Disk(monkeypatch, OSError(number, os.strerror(number)))
    messages = []
    for fail_at in range(100):
        path = tmp_path / f"{fail_at}"
        disk.arm(None)
        make_file(path, old)
        file = JournalledFile(path, "r+")
        file.identify(*IDENTITY)
        change(file)
        disk.arm(fail_at, lasts=lasts)
        message = ""
        try:
            file.commit()
        except StoreError as error:
            message = str(error)
        file.close()
        n_operations = disk.count
        disk.arm(None)
        if "are lost" in message:
            # A device that fails for good does not even cut off what was added behind the end.
            assert read(path)[: len(old) if lasts else None] == old
            assert not journal_path(path).exists()
        else:
            assert read(path) == new
        messages.append(message.partition(":")[0].partition(" /")[0])
        if n_operations <= fail_at:
            break
    assert messages[-1] == ""
    assert set(messages) == {"Could not write", "Could not finish writing", ""}


def test_the_reason_is_told_in_words(tmp_path, monkeypatch):
    path = tmp_path / "f"
    make_file(path, first_content())
    file = JournalledFile(path, "r+")
    change(file)
    disk = Disk(monkeypatch, OSError(errno.ENOSPC, "x"))
    disk.arm(0)
    message = r"Could not write .*: no space is left on the device\. Everything committed before"
    with pytest.raises(StoreError, match=message):
        file.commit()
    file.close()


def test_no_room_for_a_recovery(tmp_path, monkeypatch):
    path = tmp_path / "f"
    make_file(path, first_content())
    disk = Disk(monkeypatch, PowerCut)
    file = JournalledFile(path, "r+")
    file.identify(*IDENTITY)
    change(file)
    disk.arm(IN_PLACE)
    with pytest.raises(PowerCut):
        file.commit()
    file.close()
    disk.error = OSError(errno.ENOSPC, "x")
    disk.arm(0)
    with pytest.raises(StoreError, match=r"interrupted commit of .*no space.*Nothing is lost"):
        JournalledFile(path, "r+")
    # Reading needs no room.
    assert read(path) == changed(first_content(), change)


def test_a_journal_of_another_file_is_not_applied(tmp_path, monkeypatch):
    disk = Disk(monkeypatch, PowerCut)
    path, other = tmp_path / "f", tmp_path / "g"
    make_file(path, first_content())
    file = JournalledFile(path, "r+")
    file.identify(*IDENTITY)
    change(file)
    disk.arm(IN_PLACE)
    with pytest.raises(PowerCut):
        file.commit()
    file.close()
    disk.arm(None)
    journal_path(path).rename(journal_path(other))
    other.write_bytes(b"something else" * 99)
    for mode in ("r", "r+"):
        with pytest.raises(InputError, match=r"g\.journal belongs to another run file"):
            JournalledFile(other, mode)
    other.unlink()
    with pytest.raises(InputError, match=r"g\.journal is left over from a run file"):
        JournalledFile(other, "x")
    assert not other.exists()


@pytest.mark.parametrize("damage", [b"", b"kpflow", bytes(200)])
def test_a_journal_that_is_not_whole_is_dropped(tmp_path, damage):
    path = tmp_path / "f"
    make_file(path, first_content())
    journal_path(path).write_bytes(damage)
    assert read(path) == first_content()
    assert journal_path(path).exists()
    JournalledFile(path, "r+").close()
    assert not journal_path(path).exists()
    assert path.read_bytes() == first_content()


def test_one_writer_or_many_readers(tmp_path):
    path = tmp_path / "f"
    make_file(path, first_content())
    writer = JournalledFile(path, "r+")
    with pytest.raises(InputError, match="is being written by another process"):
        JournalledFile(path, "r")
    with pytest.raises(InputError, match="is in use by another process"):
        JournalledFile(path, "r+")
    writer.close()
    readers = [JournalledFile(path, "r") for _ in range(2)]
    with pytest.raises(InputError, match="is in use by another process"):
        JournalledFile(path, "r+")
    for reader in readers:
        reader.close()
    JournalledFile(path, "r+").close()


def test_what_is_not_committed_is_not_there(tmp_path):
    path = tmp_path / "f"
    make_file(path, first_content())
    file = JournalledFile(path, "r+")
    change(file)
    file.close()
    assert path.read_bytes() == first_content()


def test_a_commit_without_changes_touches_nothing(tmp_path, monkeypatch):
    path = tmp_path / "f"
    make_file(path, first_content())
    disk = Disk(monkeypatch, PowerCut)
    file = JournalledFile(path, "r+")
    disk.arm(0)
    file.commit()
    file.close()
    assert disk.count == 0


def test_a_move_keeps_the_lock_and_removes_an_old_journal(tmp_path):
    path, target = tmp_path / "f.new", tmp_path / "f"
    target.write_bytes(b"old")
    journal_path(target).write_bytes(b"old")
    make_file(path, first_content())
    file = JournalledFile(path, "r+")
    file.move_onto(target)
    assert not path.exists()
    assert not journal_path(target).exists()
    with pytest.raises(InputError, match="is being written"):
        JournalledFile(target, "r")
    file.close()
    assert target.read_bytes() == first_content()
