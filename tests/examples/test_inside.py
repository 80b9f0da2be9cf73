"""The example's own routes, which its page's panel asks: what is in the log, saved and owed; the visitor's database."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from ..harness.waiting import wait_until
from ..harness.workers import Worker
from .live import FRAMEWORKS, chat_body, example

SETTINGS = """{
    "breaker_probe_seconds": 0.1, "outbox_seconds": 0.2, "outbox_retry_seconds": 0.2, "outbox_max_retry_seconds": 0.5,
    "save_visible_seconds": 1.0, "settle_visible_seconds": 0.3
}"""


@pytest.fixture(scope="module", params=FRAMEWORKS)
def live(request: pytest.FixtureRequest) -> Iterator[Worker]:
    with example(request.param, gap_ms=1, STREAMGUARD_SETTINGS=SETTINGS) as worker:
        yield worker


@pytest.fixture
def session() -> str:
    return uuid.uuid4().hex


@pytest.fixture
def visitor(live: Worker) -> Iterator[httpx.Client]:
    with visitor_of(live) as client:
        yield client


def visitor_of(worker: Worker) -> httpx.Client:
    """Somebody new."""
    return httpx.Client(base_url=worker.url, headers={"x-user": uuid.uuid4().hex}, trust_env=False)


def inside(visitor: httpx.Client, session: str, **query: str) -> dict[str, Any]:
    answer = visitor.get("/demo/inside", params={"session": session, **query})
    answer.raise_for_status()
    assert answer.headers["cache-control"] == "no-store"
    found: dict[str, Any] = answer.json()
    return found


def test_one_worker_says_what_can_be_tried(visitor: httpx.Client) -> None:
    facts = visitor.get("/demo/facts").json()
    assert facts["workers"] == 1
    assert facts["worker"]
    assert facts["can"] == ["cut", "database", "quota"]


def test_a_chat_without_an_answer(visitor: httpx.Client, session: str) -> None:
    assert inside(visitor, session) == {"stream": None, "events": [], "owed": [], "database": "here"}


def test_the_log_is_shown_by_number_and_kind(visitor: httpx.Client, session: str) -> None:
    visitor.post("/api/chat", json=chat_body(session, "Hello"))
    found = inside(visitor, session)
    stream, events = found["stream"], found["events"]
    last = visitor.get(f"/api/chat/{session}").json()["last"]
    assert stream["id"] == last["stream_id"]
    assert (stream["state"], stream["outcome"], stream["persisted"]) == ("closed", "completed", "yes")
    assert [event["number"] for event in events] == list(range(1, stream["events"] + 1))
    kinds = [event["kind"] for event in events]
    assert kinds[:3] == ["start", "text-start", "text-delta"]
    assert kinds[-2:] == ["finish", "terminal"]
    assert "".join(event["text"] for event in events if event["kind"] == "text-delta").startswith("You said “Hello”.")


def test_only_what_came_since_is_read(visitor: httpx.Client, session: str) -> None:
    visitor.post("/api/chat", json=chat_body(session, "Hello"))
    found = inside(visitor, session)
    stream, events = found["stream"], found["events"]
    tenth = events[9]
    since = inside(visitor, session, stream=stream["id"], after=f"{tenth['epoch']}.{tenth['number']}")
    assert since["events"] == events[10:]
    for query in ({"stream": "another", "after": "1.10"}, {"stream": stream["id"], "after": "7.10"}, {"after": "x"}):
        assert inside(visitor, session, **query)["events"] == events, query


def test_nobody_sees_another_visitors_chat(visitor: httpx.Client, live: Worker, session: str) -> None:
    visitor.post("/api/chat", json=chat_body(session, "!persist-fail"))
    assert inside(visitor, session)["owed"]
    with visitor_of(live) as other:
        assert inside(other, session) == {"stream": None, "events": [], "owed": [], "database": "here"}


@pytest.mark.parametrize("session", ["", "a/b", "x" * 65, "é"])
def test_a_session_of_another_shape_is_refused(visitor: httpx.Client, session: str) -> None:
    refused = visitor.get("/demo/inside", params={"session": session})
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "session_invalid"


def test_what_is_owed_is_told(visitor: httpx.Client, session: str) -> None:
    visitor.post("/api/chat", json=chat_body(session, "!persist-fail"))
    (owed,) = inside(visitor, session)["owed"]
    assert (owed["session"], owed["what"]) == (session, ["save"])
    late = uuid.uuid4().hex
    visitor.post("/api/chat", json=chat_body(late, "!quota-release-fail 60000"))

    def owes() -> dict[str, list[str]]:
        return {entry["session"]: entry["what"] for entry in inside(visitor, late)["owed"]}

    wait_until(lambda: owes() == {session: ["save"], late: ["settlement"]}, description="both are owed")


def test_a_visitor_takes_the_database_away_and_brings_it_back(
    visitor: httpx.Client, live: Worker, session: str
) -> None:
    assert visitor.get("/demo/database").json() == {"database": "here"}
    assert visitor.post("/demo/database", json={"away": True}).json() == {"database": "away"}
    assert '"persistence_failed"' in visitor.post("/api/chat", json=chat_body(session, "Hello")).text
    assert visitor.get(f"/api/chat/{session}/messages").status_code == 503
    assert inside(visitor, session)["database"] == "away"
    with visitor_of(live) as other:
        assert other.get("/demo/database").json() == {"database": "here"}
        other.post("/api/chat", json=chat_body(session, "Hello"))
        kept = f"/api/chat/{session}/messages"

        def saved() -> int:  # the breaker is the process's: until its next probe, all are answered 503
            return len(other.get(kept).json().get("messages", []))

        wait_until(lambda: saved() == 2, description="the other's chat is saved")
    assert visitor.post("/demo/database", json={"away": False}).json() == {"database": "here"}
    wait_until(lambda: inside(visitor, session)["owed"] == [], description="the save is made")
    assert len(visitor.get(f"/api/chat/{session}/messages").json()["messages"]) == 2


@pytest.mark.parametrize("body", ["{}", "[", '{"away": 1}', "[true]"])
def test_a_switch_of_another_shape_changes_nothing(visitor: httpx.Client, body: str) -> None:
    refused = visitor.post("/demo/database", content=body, headers={"content-type": "application/json"})
    assert refused.status_code == 422
    assert visitor.get("/demo/database").json() == {"database": "here"}


def test_another_sites_form_cannot_switch_it(visitor: httpx.Client) -> None:
    refused = visitor.post("/demo/database", content='{"away": true}', headers={"content-type": "text/plain"})
    assert refused.status_code == 415
    assert visitor.get("/demo/database").json() == {"database": "here"}


def test_a_log_that_cannot_be_read_is_said(session: str) -> None:
    with example(STREAMGUARD_URL="redis://127.0.0.1:1/0") as worker, visitor_of(worker) as visitor:
        refused = visitor.get("/demo/inside", params={"session": session})
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "store_unavailable"
