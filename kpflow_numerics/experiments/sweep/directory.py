"""The directory of a sweep: its plan, the claims on its cells, and their results.

::

    plan.toml           the plan; never changed
    claims.lock         byte i is locked by the process that works on cell i
    runs/0007.h5        the run file of a cell
    results/0007.json   what the sweep keeps of a finished cell
    failures/0007.json  the traceback of a failed one
    workers.log         what the workers wrote on standard error
    sweep.h5            the merged results
    report.html         the report

A cell is finished when its result is there, which appears in one step. A lock ends with the process
that holds it, so that no claim outlives its owner.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..._errors import InputError
from ...store import StoreError
from ...store.sealed import read_sealed, write_sealed
from .plan import SweepPlan, differences, read_plan

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

DONE, FAILED, RUNNING, PENDING, DAMAGED = "done", "failed", "running", "pending", "damaged"
STATES = (DONE, FAILED, RUNNING, PENDING, DAMAGED)


@dataclass(frozen=True)
class SweepDirectory:
    """A sweep on disk.

    Attributes
    ----------
    path : Path
        The directory.
    plan : SweepPlan
        Its plan.
    digest : str
        A fingerprint of the file of the plan, which every result carries.
    """

    path: Path
    plan: SweepPlan
    digest: str

    @classmethod
    def open(cls, path: str | Path) -> SweepDirectory:
        """Open the directory of a sweep.

        Raises
        ------
        InputError
            If there is no plan in it.
        """
        path = Path(path)
        if not (path / "plan.toml").is_file():
            is_plan = path.is_file() and path.suffix == ".toml"
            remedy = "Make one with `kpflow sweep plan`."
            if is_plan:
                remedy = f"Plan it first: kpflow sweep plan {path} --output DIRECTORY."
            raise InputError(f"{path} is not the directory of a sweep. {remedy}")
        digest = hashlib.sha256((path / "plan.toml").read_bytes()).hexdigest()
        return cls(path, read_plan(path / "plan.toml"), digest)

    @classmethod
    def create(cls, path: str | Path, plan: SweepPlan) -> SweepDirectory:
        """Make the directory of a sweep, or open one that has the same plan.

        Raises
        ------
        InputError
            If the directory has another plan, or something else is in it.
        StoreError
            If the system refuses.
        """
        path = Path(path)
        target = path / "plan.toml"
        if path.is_file():
            raise InputError(f"{path} is a file; name a directory for the sweep.")
        if not target.exists() and path.is_dir() and any(path.iterdir()):
            raise InputError(
                f"{path} holds something else than a sweep. Choose another directory (--output)."
            )
        try:
            path.mkdir(parents=True, exist_ok=True)
            partial = path / f".plan.toml.{os.getpid()}"
            partial.write_text(plan.to_toml(), encoding="utf-8")
            try:
                # Fails where another process has made a plan meanwhile.
                os.link(partial, target)
            except FileExistsError:
                pass
            finally:
                partial.unlink()
            for name in ("runs", "results", "failures"):
                (path / name).mkdir(exist_ok=True)
        except OSError as error:
            raise StoreError(f"Could not make {path}: {error.strerror}.") from error
        found = cls.open(path)
        if found.plan != plan:
            differing = "; ".join(differences(found.plan.to_dict(), plan.to_dict())[:5])
            raise InputError(
                f"{path} holds a sweep with another plan: {differing}. Choose another directory "
                "(--output), or delete that one."
            )
        return found

    def run_file(self, index: int) -> Path:
        """Return where the run file of a cell is."""
        return self.path / "runs" / f"{index:04d}.h5"

    def _record(self, kind: str, index: int) -> Path:
        return self.path / kind / f"{index:04d}.json"

    def has_result(self, index: int) -> bool:
        """Whether a cell has a result, whole or damaged."""
        return self._record("results", index).exists()

    def has_failure(self, index: int) -> bool:
        """Whether a cell has failed."""
        return self._record("failures", index).exists()

    def is_settled(self, index: int) -> bool:
        """Whether a cell has a result or has failed."""
        return self.has_result(index) or self.has_failure(index)

    def is_damaged(self, index: int) -> bool:
        """Whether the result or the failure of a cell is there, but cannot be used."""
        for read in (self.result, self.failure):
            try:
                read(index)
            except FileNotFoundError:
                continue
            except InputError:
                return True
        return False

    def write_result(self, index: int, result: Mapping[str, Any]) -> None:
        """Finish a cell."""
        self._write("results", index, result)
        self._record("failures", index).unlink(missing_ok=True)

    def write_failure(self, index: int, failure: Mapping[str, Any]) -> None:
        """Note that a cell has failed."""
        self._write("failures", index, failure)

    def _write(self, kind: str, index: int, record: Mapping[str, Any]) -> None:
        sealed = {"plan": self.digest, "index": index, **record}
        write_sealed(self._record(kind, index), sealed)

    def result(self, index: int) -> dict[str, Any]:
        """Return the result of a cell.

        Raises
        ------
        FileNotFoundError
            If there is none.
        InputError
            If it is damaged, or of another plan or cell.
        """
        return self._read("results", index)

    def failure(self, index: int) -> dict[str, Any]:
        """Return how a cell has failed; raises as :meth:`result`."""
        return self._read("failures", index)

    def _read(self, kind: str, index: int) -> dict[str, Any]:
        path = self._record(kind, index)
        record = read_sealed(path)
        if (record["plan"], record["index"]) != (self.digest, index):
            raise InputError(f"{path} belongs to another plan or another cell.")
        return record

    def forget(self, index: int, *, run: bool) -> None:
        """Remove the result and the failure of a cell, and with `run` its run file."""
        for kind in ("results", "failures"):
            self._record(kind, index).unlink(missing_ok=True)
        if run:
            self.remove_run(index)

    def remove_run(self, index: int) -> None:
        """Remove the run file of a cell, with its journal."""
        path = self.run_file(index)
        path.unlink(missing_ok=True)
        path.with_name(f"{path.name}.journal").unlink(missing_ok=True)

    @contextmanager
    def claim(self, index: int) -> Iterator[bool]:
        """Claim a cell for this process while the body runs; False if another process has it.

        Raises
        ------
        StoreError
            If the system has no file locks.
        """
        if fcntl is None:
            raise StoreError("A sweep needs file locks, which Python has not on this system.")
        descriptor = os.open(self.path / "claims.lock", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, index)
            except (BlockingIOError, PermissionError):
                yield False
            except OSError as error:
                raise StoreError(
                    f"{self.path} is on a file system without locks ({error.strerror}); make the "
                    "sweep on a local disk."
                ) from error
            else:
                yield True
        finally:
            os.close(descriptor)

    def is_claimed(self, index: int) -> bool:
        """Whether a live process works on a cell."""
        with self.claim(index) as is_free:
            return not is_free

    def state(self, index: int) -> str:
        """Return the state of a cell, as one of :data:`STATES`."""
        if self.is_damaged(index):
            return DAMAGED
        if self.has_result(index):
            return DONE
        if self.has_failure(index):
            return FAILED
        return RUNNING if self.is_claimed(index) else PENDING
