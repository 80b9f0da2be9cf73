"""What goes wrong in an application, `GuardedApp` tells its test: at start, in a call, at the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from streamguard import StreamGuard
from streamguard.errors import ConfigurationError
from streamguard.testing import GuardedApp, guarded_app

from .site import make_site, owner

pytestmark = pytest.mark.anyio


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
