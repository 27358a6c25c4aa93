"""A disk whose power is cut, or that has no room, from one operation on."""

from __future__ import annotations

from pathlib import Path

from kpflow_numerics.store import _disk

OPERATIONS = ("write_at", "truncate", "sync", "remove", "replace", "sync_directory")


class PowerCut(BaseException):
    """What a killed process sees."""


class Disk:
    """Counts what changes the disk, and fails from one operation on."""

    def __init__(self, monkeypatch, error):
        self.count, self.fail_at, self.lasts, self.error = 0, None, True, error
        self.log = []
        for name in OPERATIONS:
            monkeypatch.setattr(_disk, name, self._wrap(getattr(_disk, name), name))

    def arm(self, fail_at, *, lasts=True):
        self.count, self.fail_at, self.lasts = 0, fail_at, lasts

    def _wrap(self, operation, name):
        def counted(*arguments):
            self.count += 1
            target = arguments[0]
            self.log.append((name, str(target if isinstance(target, Path) else target.name)))
            fails = self.fail_at is not None and (
                self.count > self.fail_at if self.lasts else self.count == self.fail_at + 1
            )
            # Room is wanted only for writing; a dead process does nothing more.
            wants_room = name in ("write_at", "truncate", "sync")
            if fails and (self.error is PowerCut or wants_room):
                if name == "write_at" and self.count == self.fail_at + 1:
                    file, offset, data = arguments
                    operation(file, offset, memoryview(data)[: len(data) // 2])
                raise PowerCut if self.error is PowerCut else self.error
            return operation(*arguments)

        return counted
