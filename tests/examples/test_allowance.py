"""The example's daily quota, over HTTP: counted, shown, used up; and what its two commands provoke."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Final

import httpx
import pytest

from ..harness.waiting import wait_until
from ..harness.workers import Worker
from .live import chat_body, example, scripted_answer
from .outside import outside

DAY: Final = 20_000
LATE: Final = "!quota-release-fail 2500"
SETTINGS: Final = """{
    "settle_visible_seconds": 0.3, "outbox_seconds": 0.2, "outbox_retry_seconds": 0.2, "outbox_max_retry_seconds": 0.5
}"""


@pytest.fixture(scope="module")
def live() -> Iterator[Worker]:
    with example(gap_ms=1) as worker:
        yield worker


@pytest.fixture
def session() -> str:
    return uuid.uuid4().hex


def visitor_of(worker: Worker) -> httpx.Client:
    """Somebody new; each is one owner, with a day of their own."""
    return httpx.Client(base_url=worker.url, headers={"x-user": uuid.uuid4().hex}, trust_env=False)


def standing(visitor: httpx.Client, session: str) -> tuple[int, int, int]:
    """What is used, reserved and left of the day's tokens."""
    (limit,) = visitor.get(f"/api/chat/{session}").json()["quota"]["limits"]
    assert (limit["unit"], limit["per_seconds"], limit["limit"]) == ("tokens", 86_400, DAY)
    return limit["used"], limit["reserved"], limit["remaining"]


def tokens(prompt: str) -> int:
    """What asking it costs: the words of the question and of the answer."""
    return len(prompt.split()) + len(scripted_answer(prompt).split())


def test_the_words_of_question_and_answer_are_counted(live: Worker, session: str) -> None:
    with visitor_of(live) as visitor:
        assert standing(visitor, session) == (0, 0, DAY)
        used = 0
        for prompt in ("Hello", "How does a stream survive?", "!long 123", "!crash"):
            answer = visitor.post("/api/chat", json=chat_body(uuid.uuid4().hex, prompt))
            assert answer.status_code == 200
            assert '"tokens-day";q=20000' in answer.headers["ratelimit-policy"]
            used += tokens(prompt)
            assert standing(visitor, session) == (used, 0, DAY - used)
        with visitor_of(live) as other:
            assert standing(other, session) == (0, 0, DAY)


def test_an_answer_that_failed_before_its_first_word_costs_nothing(live: Worker, session: str) -> None:
    with visitor_of(live) as visitor:
        visitor.post("/api/chat", json=chat_body(session, "!error-first"))
        assert standing(visitor, session) == (0, 0, DAY)


def test_quota_is_refused_before_the_model_is_asked(live: Worker, session: str) -> None:
    with visitor_of(live) as visitor:
        refused = visitor.post("/api/chat", json=chat_body(session, "!quota"))
        assert refused.status_code == 429
        fault = refused.json()["error"]
        assert (fault["code"], fault["reason"], fault["retryable"]) == ("quota_exceeded", "spent", True)
        assert 1 <= int(refused.headers["retry-after"]) <= 86_400
        assert "ratelimit" in refused.headers
        assert visitor.get(f"/api/chat/{session}").json()["last"] is None
        assert visitor.get(f"/api/chat/{session}/messages").json()["messages"] == []
        assert standing(visitor, session) == (0, 0, DAY)
        assert visitor.post("/api/chat", json=chat_body(session, "Hello")).status_code == 200


def test_more_than_a_whole_day_is_refused_for_good(live: Worker, session: str) -> None:
    with visitor_of(live) as visitor:
        refused = visitor.post("/api/chat", json=chat_body(session, f"!long {DAY}"))
        assert refused.status_code == 429
        assert (refused.json()["error"]["reason"], refused.json()["error"]["retryable"]) == ("too_large", False)
        assert "retry-after" not in refused.headers


def test_a_day_can_be_used_up(session: str) -> None:
    with example(gap_ms=1, DEMO_DAILY_TOKENS="350") as worker, visitor_of(worker) as visitor:
        answers = [visitor.post("/api/chat", json=chat_body(session, "Hello")) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert answers[-1].json()["error"]["reason"] == "spent"


def test_a_real_model_is_charged_what_it_says(session: str) -> None:
    with (
        outside() as world,
        example(OPENAI_API_KEY="sk-test", OPENAI_BASE_URL=world.openai_url) as worker,
        visitor_of(worker) as visitor,
    ):
        visitor.post("/api/chat", json=chat_body(session, "Hello"))
        used = sum(world.usage.values())
        assert standing(visitor, session) == (used, 0, DAY - used)


def test_with_0_nothing_is_counted(session: str) -> None:
    with example(gap_ms=1, DEMO_DAILY_TOKENS="0") as worker, visitor_of(worker) as visitor:
        for prompt in ("!quota", "!quota-release-fail"):
            answer = visitor.post("/api/chat", json=chat_body(session + prompt[1:], prompt))
            assert answer.status_code == 200
            assert "data-streamguard-error" not in answer.text
        assert visitor.get(f"/api/chat/{session}").json()["quota"] is None


@pytest.mark.parametrize("log", ["memory", "redis"])
def test_an_answer_that_cannot_be_settled_is_told_of_and_settled_later(
    log: str, session: str, request: pytest.FixtureRequest
) -> None:
    url = "memory://" if log == "memory" else str(request.getfixturevalue("redis_url"))
    environment = {"STREAMGUARD_URL": url, "STREAMGUARD_SETTINGS": SETTINGS}
    with example(gap_ms=1, **environment) as worker, visitor_of(worker) as visitor:
        answer = visitor.post("/api/chat", json=chat_body(session, LATE))
        assert answer.status_code == 200
        assert answer.text.count('"code":"quota_release_failed"') == 1
        assert '"severity":"warning"' in answer.text
        assert answer.text.rstrip().endswith("data: [DONE]")
        assert visitor.get(f"/api/chat/{session}").json()["last"]["quota"] == "pending"
        used, reserved, _ = standing(visitor, session)
        assert used == 0
        assert reserved >= tokens(LATE)

        def settled() -> bool:
            return bool(visitor.get(f"/api/chat/{session}").json()["last"]["quota"] == "settled")

        wait_until(settled, description="the outbox settles it", timeout=20)
        assert standing(visitor, session) == (tokens(LATE), 0, DAY - tokens(LATE))
