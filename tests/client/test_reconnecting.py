"""What the reader does when its connection breaks or its request is refused: how often, after which pause, how long."""

from __future__ import annotations

import httpx
import pytest

from streamguard import FaultCode, Outcome
from streamguard.client import (
    Backoff,
    GaveUpError,
    MalformedAnswerError,
    NoStream,
    RefusedError,
    ResumeFailedError,
    StreamClient,
    UnansweredError,
)
from streamguard.errors import ConfigurationError

from .server import QUICK, Script, answer, cursor, part, refusal

pytestmark = pytest.mark.anyio

QUESTION = {"id": "c1"}
DELTA = {"type": "text-delta", "id": "t", "delta": "word "}
DONE = "[DONE]"


def broken() -> Exception:
    return httpx.ReadError("connection reset")


async def test_a_cut_answer_goes_on_after_its_last_event() -> None:
    server = Script(
        [
            answer(part(1, DELTA), part(2, DELTA)[:-9], cut=True),
            answer(part(2, DELTA), cut=True),
            answer(part(3, {"type": "finish"}), part(4, DONE)),
        ]
    )
    async with server.client() as client, client.ask(QUESTION) as stream:
        events = [event async for event in stream]
    assert [event.id for event in events] == [cursor(number) for number in range(1, 5)]
    assert (stream.outcome, stream.connections, stream.cursor) == (Outcome.COMPLETED, 3, cursor(4))
    assert server.methods == ["POST", "GET", "GET"]
    assert [request.headers.get("last-event-id") for request in server.requests] == [None, cursor(1), cursor(2)]
    assert str(server.requests[1].url) == "http://chat.test/api/chat/c1/stream?ids=1"


async def test_an_answer_that_continues_a_message_goes_on_after_the_earlier_parts() -> None:
    """Whose last one alone has an id. By then the answer itself may have said nothing."""
    earlier = b"".join(part(0, data).partition(b"\n")[2] for data in ({"type": "start"}, DELTA))
    server = Script([answer(earlier, part(0, DELTA), cut=True), answer(part(1, DELTA), part(2, DONE))])
    async with server.client() as client, client.resume("c1") as stream:
        assert not isinstance(stream, NoStream)
        assert await stream.text() == "word " * 3
    assert [request.headers.get("last-event-id") for request in server.requests] == [None, cursor(0)]


async def test_a_clean_end_without_the_answers_end_is_a_cut() -> None:
    server = Script([answer(part(1, DELTA)), answer(part(2, DONE))])
    async with server.client() as client, client.ask(QUESTION) as stream:
        assert await stream.text() == "word "
    assert stream.outcome is Outcome.COMPLETED
    assert stream.connections == 2


async def test_a_clean_end_before_the_first_event_is_a_cut_while_the_answer_is_written() -> None:
    """nginx makes it of a worker that dies, over HTTP/1.0. Only the server can tell."""
    stream = {"stream_id": cursor(1)[2:26], "message_id": "m", "persisted": None, "quota": "none", "cursor": None}
    status = {"session_id": "c1", "active": None, "quota": None}
    being_written = httpx.Response(200, json={**status, "last": {**stream, "outcome": None}})
    whole = answer(b"data: a word\n\n", b'event: streamguard.end\ndata: {"outcome":"completed","persisted":null}\n\n')
    server = Script([answer(ui_message=False), being_written, whole])
    whole.headers.pop("x-vercel-ai-ui-message-stream")
    async with server.client() as client, client.ask(QUESTION) as stream_read:
        assert await stream_read.text() == "a word"
    assert server.methods == ["POST", "GET", "GET"]
    for outcome in (Outcome.INTERRUPTED, Outcome.COMPLETED):
        ended = httpx.Response(200, json={**status, "last": {**stream, "outcome": outcome}})
        server = Script([answer(ui_message=False), ended])
        async with server.client() as client, client.ask(QUESTION) as stream_read:
            assert await stream_read.text() == ""
        assert stream_read.outcome is outcome


async def test_a_connection_that_breaks_after_the_end_matters_no_more() -> None:
    server = Script([answer(part(1, DONE), cut=True)])
    async with server.client() as client, client.ask(QUESTION) as stream:
        assert [event.data async for event in stream] == [DONE]
    assert len(server.requests) == 1


async def test_progress_resets_the_bound() -> None:
    lost: list[httpx.Response | Exception] = []
    for number in range(1, 6):
        lost += [answer(part(number, DELTA), cut=True), broken(), broken()]
    server = Script([*lost, answer(part(6, DONE))])
    async with server.client(attempts=3) as client, client.ask(QUESTION) as stream:
        assert await stream.text() == "word " * 5
    assert len(server.requests) == 16


async def test_without_progress_it_gives_up() -> None:
    server = Script([answer(part(1, DELTA), cut=True), lambda: answer(part(2, DELTA)[:-2], cut=True)])
    async with server.client(attempts=3) as client, client.ask(QUESTION) as stream:
        assert (await anext(stream)).id == cursor(1)
        with pytest.raises(GaveUpError) as gave_up:
            await anext(stream)
        assert [event async for event in stream] == []
    error = gave_up.value
    assert (error.attempts, error.session_id, error.cursor) == (4, "c1", cursor(1))
    assert isinstance(error.cause, httpx.RemoteProtocolError)
    assert error.__cause__ is error.cause
    assert len(server.requests) == 4
    assert stream.outcome is None


async def test_a_deadline_ends_it_too() -> None:
    server = Script([answer(part(1, DELTA), cut=True), broken()])
    async with (
        server.client(attempts=1000, deadline_seconds=0.05, backoff=Backoff(0.01, 0.01)) as client,
        client.ask(QUESTION) as stream,
    ):
        await anext(stream)
        with pytest.raises(GaveUpError) as gave_up:
            await anext(stream)
    assert gave_up.value.elapsed_seconds <= 0.05
    assert 2 <= len(server.requests) < 20


async def test_a_keep_alive_is_a_sign_of_life() -> None:
    quiet = [answer(b": hb\n", cut=True) for _ in range(6)]
    server = Script([*quiet, answer(part(1, DONE))])
    async with server.client(attempts=2) as client, client.resume("c1") as stream:
        assert [event.data async for event in stream] == [DONE]


async def test_retry_after_is_waited_for_and_one_that_is_too_long_is_not() -> None:
    server = Script([refusal(FaultCode.STORE_UNAVAILABLE, retry_after=1), answer(part(1, DONE))])
    async with server.client(deadline_seconds=5.0) as client, client.resume("c1") as stream:
        assert [event.data async for event in stream] == [DONE]
    server = Script([refusal(FaultCode.LIMIT_RATE, retry_after=60)])
    async with server.client(deadline_seconds=5.0) as client:
        with pytest.raises(GaveUpError) as gave_up:
            async with client.resume("c1"):
                pass
    assert gave_up.value.retry_after_seconds == 60.0
    assert isinstance(gave_up.value.cause, RefusedError)
    assert gave_up.value.cause.code == "limit_rate"
    assert len(server.requests) == 1


async def test_a_retry_line_is_the_shortest_pause() -> None:
    server = Script([answer(b"retry: 30\n" + part(1, DELTA), cut=True), answer(part(2, DONE))])
    async with (
        server.client(backoff=Backoff(0.001, 0.02), deadline_seconds=0.02) as client,
        client.ask(QUESTION) as stream,
    ):
        await anext(stream)
        with pytest.raises(GaveUpError):  # 30 ms, or the longest pause of 20, are more than are left
            await anext(stream)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("refused", "error", "status"),
    [
        (lambda: refusal(FaultCode.UNAUTHENTICATED), RefusedError, 401),
        (lambda: refusal(FaultCode.FORBIDDEN_ORIGIN), RefusedError, 403),
        (lambda: refusal(FaultCode.NOT_FOUND), RefusedError, 404),
        (lambda: refusal(FaultCode.RESUME_FAILED, status=409, reason="not_registered"), ResumeFailedError, 409),
        (lambda: refusal(FaultCode.RESUME_FAILED, reason="cursor_ahead"), ResumeFailedError, 410),
        (lambda: httpx.Response(410, content=b"gone"), RefusedError, 410),
        (lambda: httpx.Response(404, content=b"<html>"), RefusedError, 404),
    ],
)
async def test_what_does_not_pass_ends_it_at_once(refused, error: type[RefusedError], status: int) -> None:  # type: ignore[no-untyped-def]
    """Neither a first request nor a reconnection is repeated."""
    server = Script([refused])
    async with server.client() as client:
        with pytest.raises(error) as raised:
            async with client.resume("c1", after=cursor(1)):
                pass
        assert raised.value.status == status
    assert len(server.requests) == 1
    server = Script([answer(part(1, DELTA), cut=True), refused])
    async with server.client() as client, client.ask(QUESTION) as stream:
        await anext(stream)
        with pytest.raises(error) as raised:
            await anext(stream)
        assert raised.value.status == status
    assert len(server.requests) == 2
    if isinstance(raised.value, ResumeFailedError):
        assert raised.value.cursor == cursor(1)
        assert raised.value.reason in ("not_registered", "cursor_ahead")


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_what_may_pass_is_asked_for_no_more_often_than_the_bound_says(status: int) -> None:
    server = Script([lambda: httpx.Response(status, content=b"<html>a proxy's own page")])
    async with server.client(attempts=3) as client:
        with pytest.raises(GaveUpError) as gave_up:
            async with client.resume("c1", after=cursor(1)):
                pass
    assert len(server.requests) == 4
    assert isinstance(gave_up.value.cause, RefusedError)
    assert (gave_up.value.cause.status, gave_up.value.cause.fault) == (status, None)


async def test_nothing_to_resume_is_no_error() -> None:
    server = Script([httpx.Response(204, headers={"x-resume-reason": "none"})])
    async with server.client() as client, client.resume("c1") as stream:
        assert isinstance(stream, NoStream)
        assert (stream.reason, [event async for event in stream]) == ("none", [])
        assert repr(stream) == "NoStream(session_id='c1', reason='none')"
    assert len(server.requests) == 1


async def test_nothing_to_resume_after_a_cut_is_the_end() -> None:
    last = {"stream_id": cursor(1)[2:26], "message_id": "m", "outcome": "stopped", "persisted": "yes", "quota": "none"}
    status = {"session_id": "c1", "active": None, "last": {**last, "cursor": cursor(1)}, "quota": None}
    finished = httpx.Response(204, headers={"x-resume-reason": "finished"})
    server = Script(
        [answer(part(1, "a block"), cut=True, ui_message=False), finished, httpx.Response(200, json=status)]
    )
    async with server.client() as client, client.ask(QUESTION) as stream:
        assert [event.data async for event in stream] == ["a block"]
    assert stream.outcome is Outcome.STOPPED
    assert len(server.requests) == 3


async def test_a_question_without_a_key_is_never_posted_again() -> None:
    for lost in (broken(), httpx.Response(503), refusal(FaultCode.STORE_UNAVAILABLE, retry_after=1)):
        server = Script([lost])
        async with server.client() as client:
            with pytest.raises((UnansweredError, RefusedError)) as raised:
                async with client.ask(QUESTION):
                    pass
        assert server.methods == ["POST"]
        assert isinstance(raised.value, RefusedError) or raised.value.__cause__ is lost


async def test_a_question_that_cannot_have_arrived_is_posted_again() -> None:
    server = Script([httpx.ConnectError("refused"), httpx.ConnectTimeout("slow"), answer(part(1, DONE))])
    async with server.client() as client, client.ask(QUESTION) as stream:
        assert [event.data async for event in stream] == [DONE]
    assert server.methods == ["POST"] * 3


async def test_a_question_with_a_key_is_posted_again_until_something_of_its_answer_came() -> None:
    server = Script(
        [
            broken(),
            refusal(FaultCode.CONFLICT_ACTIVE, retry_after=0),
            answer(cut=True),
            answer(part(1, DELTA), cut=True),
            answer(part(2, DONE)),
        ]
    )
    async with server.client(attempts=5) as client, client.ask(QUESTION, idempotency_key="k1") as stream:
        assert [event.id async for event in stream] == [cursor(1), cursor(2)]
    assert server.methods == ["POST", "POST", "POST", "POST", "GET"]
    assert {request.headers.get("idempotency-key") for request in server.requests[:4]} == {"k1"}
    assert "idempotency-key" not in server.requests[4].headers


@pytest.mark.parametrize("code", [FaultCode.PROVIDER_ERROR, FaultCode.QUOTA_EXCEEDED, FaultCode.IDEMPOTENCY_CONFLICT])
async def test_no_key_makes_the_model_or_the_quota_be_asked_again(code: FaultCode) -> None:
    server = Script([refusal(code)])
    async with server.client() as client:
        with pytest.raises(RefusedError) as raised:
            async with client.ask(QUESTION, idempotency_key="k1"):
                pass
    assert raised.value.code == code
    assert server.methods == ["POST"]


async def test_another_answer_of_the_session_is_not_taken_for_the_one_that_was_lost() -> None:
    server = Script([answer(cut=True), answer(part(1, DELTA), stream_id="f" * 24)])
    async with server.client() as client, client.ask(QUESTION) as stream:
        with pytest.raises(ResumeFailedError) as raised:
            await anext(stream)
    assert raised.value.reason == "another_stream"


@pytest.mark.parametrize("key", [None, "k1"])
async def test_events_without_ids_cannot_be_resumed_and_are_never_repeated(key: str | None) -> None:
    server = Script([answer(b'data: {"type":"text-delta","id":"t","delta":"w"}\n\n', cut=True), answer(part(1, DONE))])
    async with server.client() as client, client.ask(QUESTION, idempotency_key=key) as stream:
        await anext(stream)
        with pytest.raises(ResumeFailedError) as raised:
            await anext(stream)
    assert raised.value.reason == "not_resumable"
    assert len(server.requests) == 1


async def test_events_with_ids_of_an_upstreams_are_not_repeated() -> None:
    first = f"id: {cursor(1)}\ndata: {{}}\n\n".encode()
    foreign = b"id: theirs-2\ndata: {2}\n\nid: theirs-3\ndata: {3}\n\n"
    last = b"id: theirs-4\ndata: {4}\n\n" + f"id: {cursor(5)}\ndata: [DONE]\n\n".encode()
    server = Script([answer(first, foreign, cut=True, ui_message=False), answer(foreign, last, ui_message=False)])
    async with server.client() as client, client.ask(QUESTION) as stream:
        assert [event.data async for event in stream] == ["{}", "{2}", "{3}", "{4}", "[DONE]"]
    assert server.requests[1].headers["last-event-id"] == cursor(1)
    assert len(server.requests) == 2


async def test_a_log_that_cannot_be_read_for_a_while_is_asked_for_again() -> None:
    fault = '{"type":"data-streamguard-error","id":"x","transient":true,"data":%s}'
    away = refusal(FaultCode.STORE_UNAVAILABLE, phase="resume", severity="fatal").json()["error"]
    told = fault % httpx.Response(200, json=away).text
    cut_off = f'data: {told}\n\ndata: {{"type":"error","errorText":"x"}}\n\ndata: [DONE]\n\n'.encode()
    server = Script([answer(part(1, DELTA) + cut_off, cut=True), answer(part(2, DONE))])
    async with server.client() as client, client.ask(QUESTION) as stream:
        assert [event.data async for event in stream][-1] == DONE
    assert (stream.outcome, stream.faults) == (Outcome.COMPLETED, [])
    gone = refusal(FaultCode.RESUME_FAILED, severity="fatal", reason="log_unreadable").json()["error"]
    told = fault % httpx.Response(200, json=gone).text
    server = Script([answer(part(1, DELTA) + f"data: {told}\n\n".encode(), cut=True)])
    async with server.client() as client, client.ask(QUESTION) as stream:
        await anext(stream)
        with pytest.raises(ResumeFailedError) as raised:
            await anext(stream)
    assert raised.value.reason == "log_unreadable"


@pytest.mark.parametrize(
    "reply",
    [
        httpx.Response(200, json={"no": "stream"}),
        httpx.Response(204),
        httpx.Response(302, headers={"location": "/login"}),
        httpx.Response(200, headers={"content-type": "application/x-ndjson"}, content=b"{}\n"),
    ],
    ids=["json", "204", "redirect", "lines"],
)
async def test_a_response_that_is_no_stream_is_malformed(reply: httpx.Response) -> None:
    server = Script([reply])
    async with server.client() as client:
        with pytest.raises(MalformedAnswerError):
            async with client.ask(QUESTION):
                pass
    assert len(server.requests) == 1


@pytest.mark.parametrize("data", ["{half", "[]", '{"no": "type"}'])
async def test_a_damaged_part_is_malformed(data: str) -> None:
    server = Script([answer(part(1, data))])
    async with server.client() as client, client.ask(QUESTION) as stream:
        with pytest.raises(MalformedAnswerError):
            await anext(stream)


async def test_what_cannot_be_is_refused_when_it_is_made() -> None:
    with pytest.raises(ConfigurationError):
        StreamClient("http://chat.test", attempts=-1)
    with pytest.raises(ConfigurationError):
        StreamClient("http://chat.test", silence_seconds=0)
    async with StreamClient("gopher://chat.test", backoff=QUICK) as client:
        with pytest.raises(ConfigurationError, match="cannot be sent"):
            await client.status("c1")


async def test_headers_and_auth_go_with_every_request() -> None:
    server = Script([answer(part(1, DELTA), cut=True), answer(part(2, DONE))])
    async with (
        server.client(headers={"x-user": "ann"}, auth=("ann", "secret")) as client,
        client.ask(QUESTION, headers={"x-tenant": "acme"}, path="/ask?model=small") as stream,
    ):
        await stream.text()
    for request in server.requests:
        assert request.headers["x-user"] == "ann"
        assert request.headers["x-tenant"] == "acme"
        assert request.headers["authorization"].startswith("Basic ")
    assert server.requests[0].url.query == b"model=small&ids=1"
