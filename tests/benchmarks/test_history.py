"""A tiny run of the real thing: every step is measured in sessions of each length. Nothing is judged."""

from __future__ import annotations

import pytest
from benchmarks.history import main

from ..harness.redis_binaries import redis_binary

pytestmark = pytest.mark.processes


def test_a_tiny_run_measures_every_step(capsys: pytest.CaptureFixture[str]) -> None:
    redis_binary()  # skips, or fails in CI, with the install command
    assert main(["--lengths", "3", "5"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split()[-2:] == ["3", "5"]
    assert [row[:36].strip() for row in rows] == [
        "the stream before of a message",
        "the latest stream of a session",
        "a stream, begun and ended",
        "the last message, memory",
        "the last message, SQLite",
    ]
