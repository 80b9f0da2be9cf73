"""`GuardedApp` carries requests as a server does: streams, disconnects, broken connections, drains, cookies."""

from __future__ import annotations

import asyncio

import pytest
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Message, Receive, Scope, Send

from streamguard import FaultCode, FaultError, Outcome, Signal, StreamGuard
from streamguard.testing import Answer, Ending, GuardedApp
from streamguard.testing._exchange import HIGH_WATER_BYTES, Exchange

from .site import ANN, BOB, make_site, owner

pytestmark = pytest.mark.anyio


async def test_events_arrive_while_the_endpoint_still_runs() -> None:
    site = make_site()
    async with site.enter() as chat:
        answer = await chat.post({"id": "c1", "n": 3, "wait_at": 2})
        assert (answer.status, answer.is_stream) == (200, True)
        first = await answer.read(4)
        assert (answer.text, answer.ending) == ("w0 w1 ", Ending.OPEN)
        assert answer.cursor == first[-1].last_event_id
        status = await chat.status("c1")
        assert status.active is not None
        assert (status.active.stream_id, status.active.outcome) == (answer.stream_id, None)
        site.go_on.set()
        rest = await answer.rest()
        assert (answer.text, answer.ending, rest[-1].data) == ("w0 w1 w2 ", Ending.CLEAN, "[DONE]")
        assert answer.events == first + rest
        assert [part["type"] for part in answer.parts][:2] == ["start", "text-start"]
        assert answer.message_id == answer.parts[0]["messageId"]


async def test_a_client_that_leaves_and_comes_back_misses_nothing() -> None:
    site = make_site()
    async with site.enter() as chat:
        answer = await chat.post({"id": "c1", "n": 5, "wait_at": 3})
        seen = await answer.read(3)
        answer.drop()
        assert await answer.rest() == []
        assert answer.ending is Ending.DROPPED
        again = await chat.resume("c1", after=answer.cursor)
        assert again.stream_id == answer.stream_id
        site.go_on.set()
        await again.rest()
        assert again.ending is Ending.CLEAN
        assert answer.text + again.text == "w0 w1 w2 w3 w4 "
        whole = await chat.resume("c1")
        assert await whole.rest() == seen + again.events


async def test_a_stream_goes_on_without_its_client() -> None:
    site = make_site()
    async with site.enter() as chat:
        answer = await chat.post({"id": "c1", "n": 3, "wait_at": 1})
        answer.drop()
        site.go_on.set()
        end = await chat.ended(answer)
        assert end.fields["outcome"] == Outcome.COMPLETED
        await chat.idle()
        status = await chat.status("c1")
        assert status.active is None
        assert status.last is not None
        assert status.last.outcome is Outcome.COMPLETED
        assert answer.stream_id is not None
        assert await chat.raw("c1", answer.stream_id) == "w0 w1 w2 "


async def test_stop_and_delete() -> None:
    site = make_site()
    async with site.enter() as chat:
        answer = await chat.post({"id": "c1", "n": 3, "wait_at": 1})
        assert (await chat.stop("c1")).status == 202
        await answer.rest()
        assert answer.parts[-1] == {"type": "abort"}
        assert (await chat.stop("c1")).status == 204
        assert (await chat.delete("c1")).status == 204
        gone = await chat.resume("c1")
        assert (gone.status, gone.headers["x-resume-reason"]) == (204, "none")
        refused = await chat.resume("c1", after=answer.cursor)
        assert (refused.status, [fault.code for fault in refused.faults]) == (410, [FaultCode.RESUME_FAILED])
        told = await chat.resume("c1", after=answer.cursor, errors_in_stream=True)
        await told.rest()
        assert (told.status, [fault.reason for fault in told.faults]) == (200, ["stream_gone"])


@pytest.mark.parametrize("path", ["/api/chat", "/api/plain"])
async def test_faults_are_told_in_the_protocols_own_way(path: str) -> None:
    site = make_site()
    async with site.enter() as chat:
        answer = await chat.post({"id": "c1", "n": 3, "crash_at": 2}, path=path)
        await answer.rest()
        assert answer.text == "w0 w1 "
        assert [fault.code for fault in answer.faults] == [FaultCode.PROVIDER_ERROR]
        (seen,) = await chat.seen(Signal.FAULT)
        assert str(seen.error) == "the model's own words"
        assert answer.stream_id is not None
        first = await chat.post({"id": "c1", "n": 3, "crash_at": 0}, path=path)
        assert (first.status, first.is_stream, first.faults[0].code) == (502, False, FaultCode.PROVIDER_ERROR)
        assert first.json()["error"]


async def test_visitors_are_told_apart() -> None:
    site = make_site()
    async with site.enter() as chat:
        bob, nobody = chat.visitor(BOB), chat.visitor()
        assert (await chat.post({"id": "c1"})).status == 200
        await chat.idle()
        assert (await bob.status("c1")).last is None
        with pytest.raises(FaultError) as refused:
            await nobody.status("c1")
        assert refused.value.fault.code is FaultCode.UNAUTHENTICATED


async def test_cookies_are_kept_by_each_visitor() -> None:
    site = make_site(visitors=True)
    async with site.enter({}) as chat:
        answer = await chat.post({"id": "c1"})
        assert list(chat.cookies)
        await answer.rest()
        assert (await chat.status("c1")).last is not None
        other = chat.visitor()
        assert (await other.status("c1")).last is None
        assert other.cookies != chat.cookies
        own = await chat.request("GET", "/api/chat/c1", headers={"Cookie": "nothing=1"})
        assert own.json()["last"] is None


async def test_the_application_can_be_started_again() -> None:
    site = make_site()
    chat = site.enter()
    for _ in range(2):
        async with chat:
            assert chat.observations == []
            answer = await chat.post({"id": "c1"})
            await answer.rest()
            assert answer.text == "w0 w1 w2 "
            await chat.seen(Signal.STREAM_OPENED)
        with pytest.raises(AssertionError, match="is not running"):
            chat.store.heal()


async def test_leaving_drains() -> None:
    site = make_site(drain_seconds=0.2)
    async with site.enter() as chat:
        answer = await chat.post({"id": "c1", "wait_at": 1})
    assert answer.ending is Ending.DROPPED
    (ended,) = [seen for seen in chat.observations if seen.name is Signal.STREAM_ENDED]
    assert ended.fields["outcome"] == Outcome.INTERRUPTED


@pytest.mark.long
async def test_a_viewer_that_is_cut_sees_a_broken_connection() -> None:
    """Also under a middleware that ends every response cleanly."""
    site = make_site(drain_seconds=0.2)

    class Meddling(BaseHTTPMiddleware):
        async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
            return await call_next(request)

    site.app.add_middleware(Meddling)
    async with site.enter() as chat:
        chat.store.fail()
        answer = await chat.post({"id": "c1", "n": 3, "wait_at": 2})
        await answer.read(4)
        for viewer in list(site.guard._running().viewer_registry.viewers):
            viewer.drop("test")
        site.go_on.set()
        await answer.rest()
        assert answer.ending is Ending.CUT
        chat.store.heal()
        await chat.idle()


async def exchange_with(app: object, body: bytes = b"") -> tuple[Exchange, asyncio.Task[None]]:
    exchange = Exchange(app, "GET", "/a%2Fb?x=1", headers=[("X-A", "1")], body=body, state={})  # type: ignore[arg-type]
    task = asyncio.create_task(exchange.run())
    await exchange.begun()
    return exchange, task


async def test_an_application_waits_for_a_client_that_does_not_read() -> None:
    sent = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal sent
        assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/a/b", b"/a%2Fb", b"x=1")
        assert await receive() == {"type": "http.request", "body": b"hello", "more_body": False}
        await send({"type": "http.response.start", "status": 200})
        for _ in range(10):
            await send({"type": "http.response.body", "body": b"x" * HIGH_WATER_BYTES, "more_body": True})
            sent += 1
        await send({"type": "http.response.body"})

    exchange, task = await exchange_with(app, b"hello")
    for _ in range(5):
        await asyncio.sleep(0)
    assert sent == 1
    received = 0
    while chunk := await exchange.chunk():
        received += len(chunk)
    assert (received, exchange.ending) == (10 * HIGH_WATER_BYTES, Ending.CLEAN)
    await task


async def test_a_disconnect_frees_an_application_that_waits() -> None:
    heard: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200})
        for _ in range(3):
            await send({"type": "http.response.body", "body": b"x" * 2 * HIGH_WATER_BYTES, "more_body": True})
        heard.append(await receive())

    exchange, task = await exchange_with(app)
    exchange.disconnect()
    await task
    assert heard == [{"type": "http.disconnect"}]
    assert (await exchange.chunk(), exchange.ending) == (b"", Ending.DROPPED)


async def test_other_answers_are_read_whole() -> None:
    site = make_site()
    site.app.add_api_route("/text", lambda: PlainTextResponse("[1]"))
    async with site.enter() as chat:
        answer: Answer = await chat.request("GET", "/text")
        assert (answer.body, answer.faults, answer.cursor, answer.ending) == (b"[1]", [], None, Ending.CLEAN)
        with pytest.raises(ValueError, match="no JSON object"):
            answer.json()


async def test_it_needs_no_application_around_it() -> None:
    """`guard.app` is the routes alone."""
    guard = StreamGuard(authenticate=owner)
    async with GuardedApp(guard.app, guard, prefix="", headers=ANN) as chat:
        assert (await chat.status("c1")).last is None
        assert (await chat.resume("c1")).status == 204
