"""`GuardedApp` carries requests as a server does: streams, disconnects, broken connections, lifespans, cookies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from fastapi import FastAPI
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Message, Receive, Scope, Send

from streamguard import FaultCode, FaultError, Outcome, Settings, Signal, StreamGuard, anonymous
from streamguard.errors import ConfigurationError
from streamguard.messages import MessageStore
from streamguard.testing import Answer, Ending, GuardedApp, guarded_app
from streamguard.testing._exchange import HIGH_WATER_BYTES, Exchange

pytestmark = pytest.mark.anyio

ANN, BOB = {"X-User": "ann"}, {"X-User": "bob"}


class Body(BaseModel):
    id: str
    n: int = 3
    size: int = 1
    wait_at: int | None = None
    crash_at: int | None = None


async def owner(connection: HTTPConnection) -> str | None:
    return connection.headers.get("x-user")


@dataclass
class Site:
    """An application of the test's own, and the event its endpoints wait for."""

    app: FastAPI
    guard: StreamGuard
    go_on: asyncio.Event

    def enter(self, headers: dict[str, str] | None = None) -> GuardedApp:
        return GuardedApp(self.app, self.guard, headers=ANN if headers is None else headers)


class ModelError(Exception):
    """As provider SDKs make them."""

    status_code = 500


def make_site(*, visitors: bool = False, messages: MessageStore | None = None, **settings: object) -> Site:
    guard = StreamGuard(
        authenticate=anonymous if visitors else owner,
        messages=messages,
        settings=Settings.model_validate({"drain_seconds": 1.0, **settings}),
    )
    app = FastAPI(lifespan=guard.lifespan)
    go_on = asyncio.Event()

    async def words(body: Body) -> AsyncIterator[str]:
        for number in range(body.n):
            if number == body.wait_at:
                await go_on.wait()
            if number == body.crash_at:
                raise ModelError("the model's own words")
            yield f"w{number} ".ljust(body.size, "x")

    app.post("/api/chat")(guard.stream(session="body.id")(words))
    app.post("/api/plain")(guard.stream(session="body.id", protocol="plain", binding="plain")(words))

    @app.get("/broken")
    async def broken() -> Response:
        raise RuntimeError("a bug of the host's")

    guard.install(app, "/api/chat")
    return Site(app, guard, go_on)


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


async def test_what_a_host_raises_is_at_hand() -> None:
    site = make_site()
    async with site.enter() as chat:
        answer = await chat.request("GET", "/broken")
        assert answer.status == 500
        assert isinstance(answer.error, RuntimeError)
        with pytest.raises(AssertionError, match="GET /api/nothing"):
            await chat.visitor()._asked("/api/nothing")


async def test_an_application_without_its_guard_is_found_out() -> None:
    site = make_site()
    app = Starlette()
    with pytest.raises(AssertionError, match="started without its guard"):
        await GuardedApp(app, site.guard).__aenter__()
    async with site.enter() as chat:
        assert (await chat.post({"id": "c1"})).status == 200


@pytest.mark.parametrize("when", ["startup", "shutdown"])
async def test_a_lifespan_that_fails_fails_the_test(when: str) -> None:
    guard = StreamGuard(authenticate=owner)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with guard:
            if when == "startup":
                raise RuntimeError("no database")
            yield
        raise RuntimeError("the database would not close")

    chat = GuardedApp(Starlette(lifespan=lifespan), guard)
    with pytest.raises(RuntimeError, match="database"):
        async with chat:
            assert when == "shutdown"


async def test_a_failed_test_is_not_hidden_by_a_failed_shutdown() -> None:
    guard = StreamGuard(authenticate=owner)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with guard:
            yield
        raise RuntimeError("the database would not close")

    with pytest.raises(ZeroDivisionError):
        async with GuardedApp(Starlette(lifespan=lifespan), guard):
            raise ZeroDivisionError


@pytest.mark.parametrize("answer", ["lifespan.startup.failed", "lifespan.shutdown.failed"])
async def test_a_lifespan_may_fail_without_raising(answer: str) -> None:
    guard = StreamGuard(authenticate=owner)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "lifespan.startup"
        async with guard:
            if answer == "lifespan.startup.failed":
                await send({"type": answer, "message": "no database"})
                return
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": answer, "message": "no database"})

    with pytest.raises(ConfigurationError, match="no database"):
        async with GuardedApp(app, guard):
            pass


async def test_waits_fail_with_what_was_waited_for() -> None:
    site = make_site(drain_seconds=0.1)
    site.app.add_api_route("/held", site.go_on.wait)
    async with site.enter() as chat:
        answer = await chat.post({"id": "c1", "wait_at": 1})
        await answer.read(3)
        chat.wait_seconds = answer.wait_seconds = 0.05
        for wait, what in (
            (answer.next_event(), "the next event"),
            (chat.idle(), "nothing is under way any more"),
            (chat.ended(answer), "stream_ended is seen 1 times"),
            (chat.request("GET", "/held"), "an answer to GET /held"),
        ):
            with pytest.raises(AssertionError, match=rf"not within 0\.05 s: .*{what}"):
                await wait
        site.go_on.set()


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


async def test_an_application_that_ends_without_an_answer() -> None:
    guard = StreamGuard(authenticate=owner)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await guard.app(scope, receive, send)
        elif scope["path"] == "/raises":
            raise ZeroDivisionError

    async with GuardedApp(app, guard) as chat:
        with pytest.raises(AssertionError, match="without an answer to GET /silent"):
            await chat.request("GET", "/silent")
        with pytest.raises(ZeroDivisionError):
            await chat.request("GET", "/raises")


async def test_other_answers_are_read_whole() -> None:
    site = make_site()
    site.app.add_api_route("/text", lambda: PlainTextResponse("[1]"))
    async with site.enter() as chat:
        answer: Answer = await chat.request("GET", "/text")
        assert (answer.body, answer.faults, answer.cursor, answer.ending) == (b"[1]", [], None, Ending.CLEAN)
        with pytest.raises(ValueError, match="no JSON object"):
            answer.json()


async def test_an_application_that_knows_no_lifespan_cannot_have_started_its_guard() -> None:
    guard = StreamGuard(authenticate=owner)

    async def silent(scope: Scope, receive: Receive, send: Send) -> None:
        """Ends without a word."""

    with pytest.raises(AssertionError, match="started without its guard"):
        await GuardedApp(silent, guard).__aenter__()


async def test_a_call_that_does_not_end_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test is not held up for ever, and no task survives it."""
    monkeypatch.setattr(guarded_app, "LEAVE_SECONDS", 0.05)
    site = make_site()
    begun = asyncio.Event()

    async def stubborn() -> Response:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")

    site.app.add_api_route("/stubborn", stubborn)
    async with site.enter() as chat:
        asking = asyncio.create_task(chat.request("GET", "/stubborn"))
        await begun.wait()
    with pytest.raises(AssertionError, match="without an answer to GET /stubborn"):
        await asking


async def test_it_needs_no_application_around_it() -> None:
    """`guard.app` is the routes alone."""
    guard = StreamGuard(authenticate=owner)
    async with GuardedApp(guard.app, guard, prefix="", headers=ANN) as chat:
        assert (await chat.status("c1")).last is None
        assert (await chat.resume("c1")).status == 204
