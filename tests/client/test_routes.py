"""The requests beside the stream: messages page by page, status, stop, and what goes wrong with them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from streamguard import FaultCode, Outcome
from streamguard.client import (
    MalformedAnswerError,
    QuotaLimit,
    QuotaStatus,
    RefusedError,
    StoppedStream,
    UnansweredError,
)

from .server import Script, refusal

pytestmark = pytest.mark.anyio


def message(number: int) -> dict[str, object]:
    part = {"type": "text", "text": f"m{number}"}
    known = {"id": str(number), "role": "assistant", "parts": [part], "status": "complete", "persisted": "yes"}
    times = {"created_at": "2026-11-29T10:00:00.250Z", "updated_at": f"2026-11-29T10:00:0{number}.000Z"}
    rest = {"outcome": "completed", "stream_id": "s", "position": number, "replies_to": None}
    return {**known, **rest, **times, "usage": {"tokens": number}}


async def test_messages_are_read_page_by_page() -> None:
    pages = [
        {"session_id": "c 1", "messages": [message(1), message(2)], "next": 2},
        {"session_id": "c 1", "messages": [message(3)], "next": None},
    ]
    server = Script([*(httpx.Response(200, json=page) for page in pages), httpx.Response(500)])
    async with server.client() as client:
        messages = [one async for one in client.messages("c 1")]
    assert [one.text for one in messages] == ["m1", "m2", "m3"]
    assert (messages[0].outcome, messages[0].position) == (Outcome.COMPLETED, 1)
    assert messages[0].created_at == datetime(2026, 11, 29, 10, 0, 0, 250_000, UTC)
    assert (messages[2].updated_at.second, messages[2].usage) == (3, {"tokens": 3})
    assert [str(request.url.query, "ascii") for request in server.requests] == [
        "after=0&limit=500",
        "after=2&limit=500",
    ]
    assert server.requests[0].url.raw_path.startswith(b"/api/chat/c%201/messages")


async def test_a_stop_names_what_it_stops() -> None:
    stopped = {"session_id": "c1", "stream_id": "s1", "message_id": "m1"}
    server = Script([httpx.Response(202, json=stopped), httpx.Response(204)])
    async with server.client() as client:
        assert await client.stop("c1", message_id="m1") == StoppedStream("c1", "s1", "m1")
        assert await client.stop("c1") is None
    assert [request.url.query for request in server.requests] == [b"message_id=m1", b""]


@pytest.mark.parametrize("following", [0, 1, "2"])
async def test_pages_that_lead_nowhere_end(following: object) -> None:
    server = Script([lambda: httpx.Response(200, json={"messages": [message(1)], "next": following})])
    async with server.client() as client:
        with pytest.raises(MalformedAnswerError):
            [one async for one in client.messages("c1", after=1)]
    assert len(server.requests) == 1


async def test_a_status_has_the_quota() -> None:
    limit = {"name": "tokens-day", "unit": "tokens", "per_seconds": 86400, "limit": 100, "used": 60, "reserved": 5}
    quota = {"limits": [{**limit, "remaining": 35, "resets_in_seconds": 30.25}], "pending_release": 1}
    status = {"session_id": "c1", "active": None, "last": None}
    server = Script([httpx.Response(200, json={**status, "quota": quota}), httpx.Response(200, json=status)])
    async with server.client() as client:
        found = (await client.status("c1")).quota
        assert (await client.status("c1")).quota is None
    assert found == QuotaStatus((QuotaLimit("tokens-day", "tokens", 86400, 100, 60, 5, 35, 30.25),), 1)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"session_id": "c1", "active": {"stream_id": 1}}'])
async def test_what_is_no_answer_of_a_guard_is_malformed(body: bytes) -> None:
    server = Script([lambda: httpx.Response(200, content=body)])
    async with server.client() as client:
        with pytest.raises(MalformedAnswerError):
            await client.status("c1")
        with pytest.raises(MalformedAnswerError):
            await client.stop("c1")
        with pytest.raises(MalformedAnswerError):
            [one async for one in client.messages("c1")]


async def test_they_are_sent_once_and_say_what_went_wrong() -> None:
    server = Script([httpx.ReadError("connection reset")])
    async with server.client() as client:
        with pytest.raises(UnansweredError):
            await client.delete("c1")
    assert len(server.requests) == 1
    server = Script([refusal(FaultCode.STORE_UNAVAILABLE, retry_after=3)])
    async with server.client() as client:
        with pytest.raises(RefusedError) as refused:
            await client.status("c1")
    assert (refused.value.code, refused.value.retry_after_seconds) == ("store_unavailable", 3.0)
    assert len(server.requests) == 1


async def test_a_retry_after_may_be_a_date() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    for value, expected in ((soon, True), ("tomorrow", False)):
        server = Script([httpx.Response(503, headers={"retry-after": value})])
        async with server.client() as client:
            with pytest.raises(RefusedError) as refused:
                await client.status("c1")
        seconds = refused.value.retry_after_seconds
        assert (seconds is not None and 90 < seconds <= 100) if expected else seconds is None


async def test_a_date_is_read_by_the_servers_clock() -> None:
    there = datetime.now(UTC) - timedelta(days=1)
    dates = {"date": format_datetime(there, usegmt=True)}
    dates["retry-after"] = format_datetime(there + timedelta(seconds=100), usegmt=True)
    server = Script([httpx.Response(503, headers=dates)])
    async with server.client() as client:
        with pytest.raises(RefusedError) as refused:
            await client.status("c1")
    assert refused.value.retry_after_seconds == 100
