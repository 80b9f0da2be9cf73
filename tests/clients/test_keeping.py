"""AI SDK's own client and what is kept: with the example while its database fails, and with messages that go on over
several streams. Each on a log in memory, and on one in Redis."""

from __future__ import annotations

import json
from typing import Final

import pytest

from ..examples.live import example, scripted_answer
from ..harness.workers import Worker
from .test_clients import node, run_script

__all__ = ["node"]

PROMPTS: Final = ("Tell me of streams", "!persist-flaky", "!persist-slow 2500", "!persist-fail")
SETTINGS: Final = '{"save_visible_seconds": 1.5, "outbox_seconds": 1, "breaker_probe_seconds": 0.1}'


@pytest.fixture(params=["memory", "redis"])
def url(request: pytest.FixtureRequest) -> str:
    """Where streams are logged: nowhere that any other test looks."""
    return "memory://" if request.param == "memory" else str(request.getfixturevalue("redis_url"))


@pytest.mark.slow
def test_the_example_while_its_database_fails(node: str, url: str) -> None:
    answers = json.dumps({prompt: scripted_answer(prompt) for prompt in PROMPTS})
    with example(gap_ms=2, STREAMGUARD_URL=url, STREAMGUARD_SETTINGS=SETTINGS) as worker:
        run_script(node, "persistence.test.mjs", _environment(worker, answers))


def test_tools_and_approvals(node: str, url: str) -> None:
    with Worker("tests.apps.booking:app", env={"STREAMGUARD_URL": url, "STREAMGUARD_SETTINGS": "{}"}) as worker:
        run_script(node, "booking.test.mjs", _environment(worker, "{}"))


def _environment(worker: Worker, answers: str) -> dict[str, str]:
    return {"APP_URL": worker.url, "APP_WITHOUT_STORE_URL": worker.url, "ANSWERS": answers}
