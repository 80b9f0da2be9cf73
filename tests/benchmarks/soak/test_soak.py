"""The soak itself: a minute of it in the suite's slow tier."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.soak.__main__ import main
from benchmarks.soak.history import read_history, write_history

from ...harness.redis_binaries import redis_binary
from .good import good_history

SECONDS = 60


@pytest.mark.parametrize("kept", [True, False])
def test_a_history_is_checked_again(kept: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history = good_history()
    write_history(history if kept else replace(history, losses=()), tmp_path / "history.json")
    assert main(["--check", str(tmp_path / "history.json")]) == (0 if kept else 1)
    printed = capsys.readouterr().out
    chats, requests, streams = map(len, (history.questions, history.attempts, history.logs))
    assert printed.startswith(f"seed 1, 60 s\n{chats} chats, {requests} requests, {streams} streams, ")
    assert ("\nI3: lost/asker: " in printed) is not kept


@pytest.mark.slow
@pytest.mark.timeout(480)
def test_a_minute_of_faults_breaks_no_promise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    redis_binary()  # skips, or fails in CI, with the install command

    code = main(["--seconds", str(SECONDS), "--seed", "8", "--out", str(tmp_path)])

    printed = capsys.readouterr().out
    assert code == 0, printed
    history = read_history(tmp_path / "history.json")
    assert printed.startswith(f"seed 8, {SECONDS} s\n")
    assert len(history.injected) >= 10
    assert len(history.questions) >= 50
    assert any(attempt.seen for attempt in history.attempts)
    assert history.saved
    assert history.reserved
