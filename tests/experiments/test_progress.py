"""Progress is bars on a terminal and plain lines elsewhere."""

from __future__ import annotations

import io
import signal

import pytest

from kpflow_numerics.experiments.progress import Bars, LogLines, Silent, progress_for


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_bars_and_a_file_gets_lines() -> None:
    assert isinstance(progress_for(Terminal()), Bars)
    assert isinstance(progress_for(io.StringIO()), LogLines)


def test_lines_come_at_the_beginning_and_every_tenth() -> None:
    stream = io.StringIO()
    with LogLines(stream).stage("training", 1000) as stage:
        for _ in range(1000):
            stage.advance(note="loss 1e-3")
    lines = stream.getvalue().splitlines()
    assert len(lines) == 11
    assert lines[0] == "training: 0/1000"
    assert lines[1].startswith("training: 100/1000 after")
    assert lines[-1].endswith("loss 1e-3")
    assert "\r" not in stream.getvalue()


def test_a_resumed_stage_counts_on() -> None:
    stream = io.StringIO()
    with LogLines(stream).stage("training", 10, done=8) as stage:
        stage.advance()
        stage.advance()
    assert [line.split()[1] for line in stream.getvalue().splitlines()] == [
        "8/10",
        "9/10",
        "10/10",
    ]


def test_a_slow_stage_gives_one_early_sign_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(0, 1000, 2))
    monkeypatch.setattr("time.monotonic", lambda: float(next(now)))
    stream = io.StringIO()
    with LogLines(stream).stage("training", 100) as stage:
        for _ in range(9):
            stage.advance(note="loss 2e-1")
        assert stream.getvalue().splitlines() == [
            "training: 0/100",
            "training: 2/100 after 4.0 s  loss 2e-1",
        ]
        stage.advance()
    assert stream.getvalue().splitlines()[2].startswith("training: 10/100")


def test_bars_show_the_note_and_lines_stay() -> None:
    stream = Terminal()
    bars = Bars(stream)
    with bars.stage("training", 4) as stage:
        stage.advance(4, note="loss 2e-1")
        bars.say("a word")
    shown = stream.getvalue()
    assert "training" in shown
    assert "4/4" in shown
    assert "loss 2e-1" in shown
    assert "a word\n" in shown


def test_silence_is_silent() -> None:
    silent = Silent()
    with silent.stage("training", 3) as stage:
        stage.advance(3, note="x")
    silent.say("x")


def test_a_dropped_interrupt_is_raised_at_the_next_step() -> None:
    before = signal.getsignal(signal.SIGINT)
    try:
        with progress_for(io.StringIO()).stage("training", 3) as stage:
            stage.advance()
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
            with pytest.raises(KeyboardInterrupt):
                stage.advance()
    finally:
        signal.signal(signal.SIGINT, before)
