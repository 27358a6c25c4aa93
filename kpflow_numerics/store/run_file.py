"""A run in one HDF5 file."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np

from .._typing import FloatArray, IntArray
from .._validation import InputError, InputTypeError, check_choice, check_integer
from ..analysis.checkpoint import NetworkAnalysis
from ..analysis.failure_signs import FailureSign
from ..cells import Cell, cell_from_config
from ..results import Checkpoint, ValidationReport
from ..tasks import Task, TrialBatch, task_from_config
from . import _disk
from ._analyses import check_analyses, read_analyses, write_analyses
from ._batch import read_batch, write_batch
from ._checkpoints import (
    INDEX,
    append_history,
    check_checkpoint,
    read_checkpoint,
    read_column,
    write_checkpoint,
)
from ._journal import JournalledFile
from ._opening import beside, identify, open_existing, open_new, settings_text, write_head
from ._signs import check_signs, read_signs, write_signs
from ._validation_table import read_report, write_report
from ._variables import copy_contents
from .schema import SCHEMA_VERSION
from .toml import to_toml

_SPARE_BYTES = 2**20
_OBJECT_BYTES = 2048


class RunFile:
    """A run: the network, its training, its checkpoints, and what was found about them.

    Made by :meth:`create` or :meth:`open`, and used as a context manager. It is a recorder of
    training: every :meth:`commit`, and every ``write_...``, is on the device when it returns, and
    a process that is killed at any moment loses nothing that was committed before. One process
    writes at a time, and none reads meanwhile.

    The file is HDF5 with labelled dimensions: ``xarray.open_datatree(path, engine="h5netcdf")``
    reads it, and :mod:`kpflow_numerics.store.schema` describes its layout. While a commit is under
    way there is a journal beside it, ``NAME.journal``; if one is left after a crash, keep the two
    together: the next opening finishes the commit.

    Examples
    --------
    >>> import os, tempfile
    >>> import kpflow_numerics as kpf
    >>> path = os.path.join(tempfile.mkdtemp(), "run.h5")
    >>> task = kpf.MemoryPro(n_stimulus=2, n_memory=1, n_response=2)
    >>> cell = kpf.VanillaRNN(n_inputs=3, n_units=8)
    >>> with kpf.RunFile.create(path, cell=cell, task=task, seed=7) as file:
    ...     run = kpf.fit(cell, task, n_iterations=6, checkpoint_every=3, rng=7, recorder=file)
    >>> with kpf.RunFile.open(path) as file:
    ...     print(file.cell, file.iterations, file.checkpoint(-1).iteration)
    VanillaRNN(n_inputs=3, n_units=8, activation='tanh', bias=True) [0 3 6] 6
    """

    def __init__(self, disk: JournalledFile, file: h5py.File, target: Path, mode: str) -> None:
        self._disk = disk
        self._file = file
        self._target = target
        self._mode = mode
        self._pending: dict[int, tuple[float, float]] = {}
        self._is_open = True

    @classmethod
    def create(
        cls,
        path: str | Path,
        *,
        cell: Cell,
        task: Task,
        config: Mapping[str, Any] | None = None,
        seed: int | None = None,
        overwrite: bool = False,
    ) -> RunFile:
        """Make a run file.

        Parameters
        ----------
        path : str or Path
            Where; directories on the way are made.
        cell : Cell
            The cell.
        task : Task
            The task.
        config : mapping, optional
            The whole configuration, which is kept as TOML.
        seed : int, optional
            The seed of all random numbers.
        overwrite : bool
            Whether a run file that exists may be replaced. It stays as it is until the first
            checkpoint of the new run is committed: until then that is in ``NAME.new``.

        Returns
        -------
        RunFile

        Raises
        ------
        InputError
            If there is a file already and it is not to be overwritten or is not a run file, it is
            in use, or the configuration cannot be written as TOML.
        StoreError
            If the system refuses.
        """
        if not isinstance(cell, Cell):
            raise InputTypeError(f"cell must be a cell of kpflow_numerics; got {cell!r}.")
        if not isinstance(task, Task):
            raise InputTypeError(f"task must be a task of kpflow_numerics; got {task!r}.")
        if seed is not None:
            seed = check_integer(seed, "seed", minimum=0)
        text = to_toml({} if config is None else config)
        settings = settings_text(cell)
        target = Path(path)
        disk = open_new(target, overwrite=overwrite)
        try:
            file = h5py.File(disk, "w", libver=None)
            write_head(file, cell, settings, task, text, seed)
            file.flush()
            identify(disk, file)
            disk.commit()
        except BaseException:
            disk.close()
            _disk.remove(disk.path)
            raise
        return cls(disk, file, target, "r+")

    @classmethod
    def open(cls, path: str | Path, mode: str = "r") -> RunFile:
        """Open a run file.

        Parameters
        ----------
        path : str or Path
            The file.
        mode : {"r", "r+"}
            To read, or to write as well.

        Returns
        -------
        RunFile

        Raises
        ------
        InputError
            If the file is missing, a directory, not a run file, damaged, made by a newer version,
            or in use.
        StoreError
            If the system refuses.
        """
        check_choice(mode, "mode", ("r", "r+"))
        target = Path(path)
        disk, file = open_existing(target, mode)
        return cls(disk, file, target, mode)

    def close(self) -> None:
        """Close the file. What was recorded since the last commit is dropped."""
        if not self._is_open:
            return
        self._is_open = False
        try:
            self._file.close()
        finally:
            self._disk.close()
            if self._disk.path != self._target:
                _disk.remove(self._disk.path)

    def __enter__(self) -> RunFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        if not self._is_open:
            return f"RunFile({str(self._target)!r}, closed)"
        return f"RunFile({str(self._target)!r}, {self.n_checkpoints} checkpoints)"

    @property
    def path(self) -> Path:
        """Where the file is."""
        return self._target

    @property
    def title(self) -> str:
        """The cell and the task in words."""
        return str(self._h5.attrs["title"])

    @property
    def cell(self) -> Cell:
        """The cell.

        Raises
        ------
        InputError
            If it was an :class:`AutogradCell`, whose step a file cannot hold.
        """
        attributes = self._group("network").attrs
        kind, settings = str(attributes["kind"]), json.loads(attributes["settings"])
        if kind == "autograd":
            raise InputError(
                f"{self.path} holds an AutogradCell with the step {settings.get('name')!r}, and a "
                "file cannot hold a function. Build the cell again in Python; the parameters are "
                "in checkpoint(index).params."
            )
        return cell_from_config(kind, settings)

    @property
    def task(self) -> Task:
        """The task."""
        attributes = self._group("task").attrs
        return task_from_config(str(attributes["task_name"]), json.loads(attributes["options"]))

    @property
    def config(self) -> dict[str, Any]:
        """The configuration."""
        return tomllib.loads(self.config_text)

    @property
    def config_text(self) -> str:
        """The configuration as TOML."""
        text: str = self._group("provenance")["configuration"].asstr()[()]
        return text

    @property
    def provenance(self) -> dict[str, str | int]:
        """Versions, platform, threads, date, git commit and seed, as far as they are known."""
        attributes = self._group("provenance").attrs
        return {
            name: value if isinstance(value, str) and name != "seed" else int(value)
            for name, value in attributes.items()
        }

    @property
    def n_checkpoints(self) -> int:
        """Number of committed checkpoints."""
        return len(self._group("checkpoints")[INDEX])

    @property
    def iterations(self) -> IntArray:
        """Iteration of each checkpoint."""
        values: IntArray = self._group("checkpoints")[INDEX][:]
        return values

    @property
    def losses(self) -> FloatArray:
        """Training loss of each iteration before the last checkpoint."""
        return read_column(self._h5, "loss")

    @property
    def gradient_norms(self) -> FloatArray:
        """Norm of the gradient of each iteration before the last checkpoint."""
        return read_column(self._h5, "gradient_norm")

    @property
    def has_evaluation_batch(self) -> bool:
        """Whether there is an evaluation batch."""
        return "evaluation" in self._h5

    @property
    def evaluation_batch(self) -> TrialBatch:
        """The trials on which the run is evaluated and analysed.

        Raises
        ------
        InputError
            If there are none.
        """
        if not self.has_evaluation_batch:
            raise InputError(
                f"{self.path} holds no evaluation batch: write_evaluation_batch first."
            )
        return replace(read_batch(self._h5), loss_name=self.task.loss_name)

    @property
    def analyses(self) -> list[NetworkAnalysis]:
        """The analyses of checkpoints, by iteration."""
        return read_analyses(self._h5)

    @property
    def validation(self) -> ValidationReport | None:
        """The validation report, or None where there is none."""
        return read_report(self._h5)

    @property
    def signs(self) -> tuple[FailureSign, ...]:
        """The signs of failed learning; none where they were not looked for."""
        return read_signs(self._h5)

    def checkpoint(self, index: int) -> Checkpoint:
        """Return a checkpoint; index -1 is the last.

        Raises
        ------
        InputError
            If there is none of that index.
        """
        count = self.n_checkpoints
        if not count:
            raise InputError(f"{self.path} holds no checkpoint yet.")
        index = check_integer(index, "index", minimum=-count, maximum=count - 1)
        return read_checkpoint(self._h5, index % count)

    def record_iteration(self, iteration: int, loss: float, gradient_norm: float) -> None:
        """Keep the training loss and gradient norm of an iteration until the next commit."""
        self._check_writable()
        self._pending[int(iteration)] = (float(loss), float(gradient_norm))

    def commit(self, checkpoint: Checkpoint) -> None:
        """Make a checkpoint durable, with every iteration recorded before it.

        Raises
        ------
        InputError, InputTypeError
            If it does not continue the checkpoints of the file; the file stays as it was.
        StoreError
            If the system refuses; what was committed before is intact, and the file is closed.
        """
        self._check_writable()
        n_units = int(self._group("network").attrs["n_units"])
        check_checkpoint(self._h5, checkpoint)
        with self._transaction():
            append_history(self._file, self._pending)
            write_checkpoint(self._file, checkpoint, n_units)
        self._pending.clear()
        if self._disk.path != self._target:
            self._disk.move_onto(self._target)

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Keep another configuration in place of the one there is."""
        text = to_toml(config)
        with self._transaction():
            self._file["provenance/configuration"][()] = text

    def write_evaluation_batch(self, batch: TrialBatch) -> None:
        """Keep the trials on which the run is evaluated and analysed.

        Analyses of other trials are removed, since they would no longer fit.
        """
        if not isinstance(batch, TrialBatch):
            raise InputTypeError(f"batch must be a TrialBatch; got {batch!r}.")
        task = self.task
        with self._transaction():
            if "analysis" in self._file and not _same_trials(read_batch(self._file), batch):
                del self._file["analysis"]
                _remove_signs(self._file)
            write_batch(self._file, batch, task)
        self._consolidate()

    def write_analysis(self, analysis: NetworkAnalysis) -> None:
        """Keep an analysis, in place of one of the same iteration."""
        others = [
            other
            for other in self.analyses
            if other.iteration != getattr(analysis, "iteration", None)
        ]
        self.write_analyses([*others, analysis])

    def write_analyses(
        self, analyses: Iterable[NetworkAnalysis], *, batch: TrialBatch | None = None
    ) -> None:
        """Keep analyses in place of all others, in one step with the trials that they are of.

        Signs found in earlier analyses are removed, since they would no longer be those of these.

        Parameters
        ----------
        analyses : iterable of NetworkAnalysis
            Of different iterations, and all of one evaluation batch.
        batch : TrialBatch, optional
            That batch, where it is another than the file's.

        Raises
        ------
        InputError, InputTypeError
            If one file cannot hold them; it stays as it was.
        StoreError
            If the system refuses; what was committed before is intact, and the file is closed.
        """
        checked = check_analyses(analyses)
        task = self.task
        with self._transaction():
            if batch is not None:
                write_batch(self._file, batch, task)
            write_analyses(self._file, checked)
            _remove_signs(self._file)
            self._file.attrs["schema_version"] = SCHEMA_VERSION
        self._consolidate()

    def write_validation(self, report: ValidationReport) -> None:
        """Keep a validation report in place of any other."""
        if not isinstance(report, ValidationReport):
            raise InputTypeError(f"report must be a ValidationReport; got {report!r}.")
        with self._transaction():
            write_report(self._file, report)
        self._consolidate()

    def write_signs(self, signs: Iterable[FailureSign]) -> None:
        """Keep signs of failed learning in place of any others."""
        checked = check_signs(signs)
        with self._transaction():
            write_signs(self._file, checked)
        self._consolidate()

    @property
    def _h5(self) -> h5py.File:
        if not self._is_open:
            raise InputError(f"{self.path} is closed. Open it again with RunFile.open.")
        return self._file

    def _group(self, name: str) -> h5py.Group:
        return self._h5[name]

    def _check_writable(self) -> None:
        if self._h5 is not None and self._mode == "r":
            raise InputError(f'{self.path} is open for reading. Open it with mode="r+" to write.')

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Make the changes of the body durable in one step, or none of them."""
        self._check_writable()
        try:
            yield
            self._file.flush()
            self._disk.commit()
        except BaseException:
            # Memory may hold half of the changes; the disk holds none.
            self.close()
            raise

    def _consolidate(self) -> None:
        """Write the file anew without the room of removed data, if that is more than the rest."""
        live = _live_bytes(self._file)
        if self._disk.size < 2 * live + _SPARE_BYTES:
            return
        path = beside(self._disk.path, ".compact")
        # The file as it is stays valid: nothing is lost where there is no room for a second one.
        with suppress(OSError):
            _disk.remove(path)
            try:
                with h5py.File(path, "x") as compact:
                    copy_contents(self._file, compact)
                disk = JournalledFile(path, "r+")
            except BaseException:
                _disk.remove(path)
                raise
            disk.move_onto(self._disk.path)
            self._file.close()
            self._disk.close()
            self._disk, self._file = disk, h5py.File(disk, "r+")
            identify(self._disk, self._file)


def _remove_signs(file: h5py.File) -> None:
    if "signs" in file:
        del file["signs"]


def _same_trials(one: TrialBatch, other: TrialBatch) -> bool:
    return all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("inputs", "targets", "mask", "task_ids")
    )


def _live_bytes(file: h5py.File) -> int:
    """Return about how many bytes the contents of a file take."""
    total = 0

    def add(_: str, item: h5py.Group | h5py.Dataset) -> None:
        nonlocal total
        total += _OBJECT_BYTES
        if isinstance(item, h5py.Dataset):
            total += item.id.get_storage_size()

    file.visititems(add)
    return total
