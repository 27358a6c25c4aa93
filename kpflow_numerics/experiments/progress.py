"""Progress for people: bars on a terminal, plain log lines elsewhere."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TextIO


class Stage(Protocol):
    """One counted piece of work under way."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Count `steps` more, and show a short note."""


class Progress(Protocol):
    """Shows stages of work."""

    def stage(self, title: str, total: int, done: int = 0) -> Any:
        """Return a context manager that gives the :class:`Stage`."""

    def say(self, text: str) -> None:
        """Show a line that stays."""


class Interrupt:
    """Remembers an interrupt (control-C).

    Python drops the exception where it arrives inside a finaliser; :meth:`check` raises it again.
    """

    def __init__(self) -> None:
        self._seen = False
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._handle)

    def _handle(self, *_: Any) -> None:
        self._seen = True
        raise KeyboardInterrupt

    def check(self) -> None:
        """Raise KeyboardInterrupt if one has come."""
        if self._seen:
            raise KeyboardInterrupt


def _unwatched() -> None:
    """Stand for a check where nobody can interrupt."""


class Silent:
    """Shows nothing; for scripts."""

    @contextmanager
    def stage(self, title: str, total: int, done: int = 0) -> Iterator[Stage]:  # noqa: ARG002
        """Return a context manager whose stage ignores what it is told."""
        yield _SilentStage()

    def say(self, text: str) -> None:
        """Show nothing."""


class _SilentStage:
    def advance(self, steps: int = 1, note: str = "") -> None:
        pass


class Bars:
    """Progress bars, for a terminal."""

    def __init__(self, stream: TextIO, check: Callable[[], None] = _unwatched) -> None:
        self._stream = stream
        self.check = check

    @contextmanager
    def stage(self, title: str, total: int, done: int = 0) -> Iterator[Stage]:
        """Return a context manager that shows a bar while it is open."""
        from tqdm import tqdm

        with tqdm(
            desc=f"{title:<10}", total=total, initial=done, file=self._stream, dynamic_ncols=True,
            bar_format="{desc} {percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} "
            "[{elapsed}<{remaining}]{postfix}",
        ) as bar:  # fmt: skip
            yield _BarStage(bar, self.check)

    def say(self, text: str) -> None:
        """Show a line above the bars."""
        from tqdm import tqdm

        tqdm.write(text, file=self._stream)


class _BarStage:
    def __init__(self, bar: Any, check: Callable[[], None]) -> None:
        self._bar = bar
        self._check = check

    def advance(self, steps: int = 1, note: str = "") -> None:
        self._check()
        if note:
            self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(steps)


FIRST_SIGN_SECONDS = 3.0
"""After this a stage that is still in its first tenth has a line, once."""


class LogLines:
    """A plain line when a stage begins and for about every tenth of it, for log files."""

    def __init__(self, stream: TextIO, check: Callable[[], None] = _unwatched) -> None:
        self._stream = stream
        self.check = check

    @contextmanager
    def stage(self, title: str, total: int, done: int = 0) -> Iterator[Stage]:
        """Return a context manager that prints lines while it is open."""
        self.say(f"{title}: {done}/{total}")
        yield _LogStage(self, title, total, done)

    def say(self, text: str) -> None:
        """Print a line."""
        print(text, file=self._stream, flush=True)


class _LogStage:
    def __init__(self, log: LogLines, title: str, total: int, done: int) -> None:
        self._log, self._title, self._total, self._done = log, title, total, done
        self._start = time.monotonic()
        self._is_quiet = True

    def advance(self, steps: int = 1, note: str = "") -> None:
        self._log.check()
        tenth = self._done * 10 // max(self._total, 1)
        self._done += steps
        seconds = time.monotonic() - self._start
        is_first_sign = self._is_quiet and seconds >= FIRST_SIGN_SECONDS
        if is_first_sign or self._done * 10 // max(self._total, 1) > tenth:
            self._is_quiet = False
            suffix = f"  {note}" if note else ""
            self._log.say(
                f"{self._title}: {self._done}/{self._total} after {seconds:.1f} s{suffix}"
            )


def progress_for(stream: TextIO | None = None) -> Bars | LogLines:
    """Return bars if `stream` (standard error by default) is a terminal, otherwise log lines.

    Both raise KeyboardInterrupt at the next step if one was dropped.
    """
    stream = sys.stderr if stream is None else stream
    check = Interrupt().check
    return Bars(stream, check) if stream.isatty() else LogLines(stream, check)
