"""A tiny run of the real thing: the quiet owner is answered, and the loud one's storm meets its limits. Nothing is
judged by its time."""

from __future__ import annotations

import re

import pytest
from benchmarks.owners import main

from ..harness.redis_binaries import redis_binary

pytestmark = pytest.mark.processes


def test_a_tiny_run_meets_the_limits(capsys: pytest.CaptureFixture[str]) -> None:
    redis_binary()  # skips, or fails in CI, with the install command
    main(["--seconds", "2", "--rounds", "1", "--events", "50"])
    alone, beside, answers, verdict = capsys.readouterr().out.splitlines()
    assert alone.startswith("first event alone: p50 ")
    assert beside.startswith("first event beside the loud owner: p50 ")
    for answered in ("raw 200", "resume 200", "delete 204", "refused 429"):
        assert f"'{answered}'" in answers
    assert re.search(r"(raw|resume|delete|refused) (5\d\d|broken)", answers) is None
    assert verdict.startswith("p99 grew ")
