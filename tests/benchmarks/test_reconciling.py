"""A tiny run of the real thing: every orphan is ended, no live stream is lost. Nothing is timed."""

from __future__ import annotations

import pytest
from benchmarks.reconciling import main

from ..harness.redis_binaries import redis_binary

pytestmark = pytest.mark.processes


def test_a_tiny_run_ends_every_orphan(capsys: pytest.CaptureFixture[str]) -> None:
    redis_binary()  # skips, or fails in CI, with the install command
    main(["--orphans", "30", "--live", "2"])
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("30 of 30 orphans in ")
    assert line.endswith("; 0 live streams lost")
