"""What bounds the reader's requests where a server, a proxy or the caller does something odd."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from streamguard import FaultCode, Outcome
from streamguard.client import EventStream, GaveUpError, ResumeFailedError, StreamClient, StreamClientError
from streamguard.errors import ConfigurationError
from streamguard.faults import Fault

from .server import STREAM_ID, Script, answer, cursor, part, refusal

pytestmark = pytest.mark.anyio

QUESTION = {"id": "c1"}
DELTA = {"type": "text-delta", "id": "t", "delta": "word "}
DONE = "[DONE]"
OURS = f"id: {cursor(1)}\ndata: {{1}}\n\n".encode()
THEIRS = b"id: theirs\ndata: {2}\n\n"


def status(outcome: str | None) -> httpx.Response:
    last = {"stream_id": STREAM_ID, "message_id": "m", "outcome": outcome, "persisted": None, "quota": None}
    return httpx.Response(200, json={"session_id": "c1", "active": None, "last": {**last, "cursor": None}})


async def test_an_answer_that_ends_with_ids_of_an_upstreams_ends() -> None:
    """No cursor names its last event, so the server sends that again, each time."""
    server = Script(
        [
            answer(OURS, THEIRS, ui_message=False),
            answer(THEIRS, ui_message=False),
            status("completed"),
        ]
    )
    async with server.client() as client, client.ask(QUESTION) as stream:
        assert [event.data async for event in stream] == ["{1}", "{2}"]
    assert stream.outcome is Outcome.COMPLETED
    assert len(server.requests) == 3


async def test_empty_answers_are_asked_for_no_more_often_than_the_bound_says() -> None:
    def ends() -> httpx.Response:
        assert len(server.requests) < 50, "a busy loop"
        return status(None) if server.requests[-1].url.path == "/api/chat/c1" else answer(ui_message=False)

    server = Script([answer(OURS, ui_message=False), ends])
    async with server.client(attempts=3) as client, client.ask(QUESTION) as stream:
        await anext(stream)
        with pytest.raises(GaveUpError):
            await anext(stream)
    assert len([request for request in server.requests if request.url.path.endswith("/stream")]) == 4


async def test_a_notice_that_comes_again_is_no_progress() -> None:
    notice = b": streamguard " + Fault.of(FaultCode.PERSISTENCE_PENDING).to_json() + b"\n"

    def again() -> httpx.Response:
        assert len(server.requests) < 50, "without a bound"
        return answer(notice, cut=True, ui_message=False)

    server = Script([answer(OURS, notice, cut=True, ui_message=False), again])
    async with server.client(attempts=3) as client, client.ask(QUESTION) as stream:
        with pytest.raises(GaveUpError):
            await stream.text()
    assert (len(server.requests), len(stream.faults)) == (4, 1)


async def cancelled(stream: EventStream) -> None:
    reading = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading


async def test_after_a_cancelled_read_the_next_one_goes_on() -> None:
    """Also where the connection was being made again when the first one was cancelled."""
    server = Script([answer(part(1, DELTA), cut=True), httpx.ReadError("reset"), answer(part(2, DONE))])
    async with server.client() as client, client.ask(QUESTION) as stream:
        await anext(stream)
        await cancelled(stream)
        assert [event.data async for event in stream] == [DONE]
    assert stream.outcome is Outcome.COMPLETED


@pytest.mark.parametrize(
    "absurd", ["Mon, 01 Jan 99999999999 00:00:00 GMT", "Mon, 01 Jan 2026 00:00:00 +99999999999999", "soon", "-1", ""]
)
async def test_an_absurd_retry_after_is_none(absurd: str) -> None:
    refused = refusal(FaultCode.STORE_UNAVAILABLE)
    refused.headers["retry-after"] = absurd
    server = Script([refused, answer(part(1, DONE))])
    async with server.client() as client, client.resume("c1") as stream:
        assert [event.data async for event in stream] == [DONE]
    assert len(server.requests) == 2


async def test_an_error_has_what_broke_as_its_cause() -> None:
    unlogged = b'data: {"type":"start"}\n\n'
    for replies in ([answer(unlogged, cut=True)], [answer(cut=True), httpx.Response(204)]):
        server = Script([*replies])
        async with server.client() as client, client.resume("c1") as stream:
            assert isinstance(stream, EventStream)
            with pytest.raises(ResumeFailedError) as raised:
                await stream.text()
        assert isinstance(raised.value.__cause__, httpx.RemoteProtocolError)


@pytest.mark.parametrize("key", ["", "a key", "ä", "k" * 256])
async def test_a_key_that_the_server_would_not_take_is_refused(key: str) -> None:
    """Without it a question might be posted twice."""
    server = Script([answer(part(1, DONE))])
    async with server.client() as client:
        with pytest.raises(ConfigurationError):
            async with client.ask(QUESTION, idempotency_key=key):
                pass
    assert not server.requests


@pytest.mark.parametrize("session", ["", ".", ".."])
async def test_what_would_name_another_path_is_no_session(session: str) -> None:
    server = Script([httpx.Response(204)])
    async with server.client() as client:
        with pytest.raises(ConfigurationError):
            await client.delete(session)
    assert not server.requests


@pytest.mark.parametrize("body", [{"x": float("nan")}, {"x": object()}])
async def test_what_is_no_json_is_not_asked(body: dict[str, object]) -> None:
    server = Script([answer(part(1, DONE))])
    async with server.client() as client:
        with pytest.raises(ConfigurationError):
            async with client.ask(body):
                pass
        with pytest.raises(ConfigurationError):
            async with client.ask(QUESTION, headers={"X-Name": "é東"}):
                pass
    assert not server.requests


async def test_a_stream_of_a_client_that_was_closed_is_our_error() -> None:
    server = Script([answer(part(1, DELTA), cut=True), answer(part(2, DONE))])
    http = server.http()
    async with StreamClient(http).ask(QUESTION) as stream:
        await anext(stream)
        await http.aclose()
        with pytest.raises(StreamClientError, match="closed"):
            await anext(stream)
