"""What an endpoint returned is closed exactly once, however early its stream is cancelled after that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
import sse_starlette
from fastapi import FastAPI

from streamguard.errors import ConfigurationError
from streamguard.runtime.request import Ending
from streamguard.values import Outcome

from ...harness.versions import only_from
from ..serving import calling, make_guard

with suppress(ImportError):  # earlier versions
    from fastapi.sse import EventSourceResponse

pytestmark = [pytest.mark.anyio, only_from("fastapi", "0.135", "has no SSE of its own")]


class Counted(AsyncIterator[str]):
    """Says one item, at once or never, and counts how often it is closed."""

    def __init__(self, *, waits: bool) -> None:
        self._waits = waits
        self._said = False
        self.closed = 0

    async def __anext__(self) -> str:
        if self._waits:
            await asyncio.Event().wait()
        if self._said:
            raise StopAsyncIteration
        self._said = True
        return "word"

    async def aclose(self) -> None:
        self.closed += 1


@pytest.mark.parametrize("waits", [True, False], ids=["its first item never comes", "its first item is there"])
@pytest.mark.parametrize("when", ["before it returns", "by its own task", "in the next turn", "never"])
@pytest.mark.parametrize("how", ["as FastAPI's events", "as it is", "in a response of sse-starlette"])
async def test_what_was_returned_is_closed_once(how: str, when: str, waits: bool) -> None:
    guard, items = make_guard(), Counted(waits=waits and when != "never")

    @guard.stream(lambda request: "s", protocol="plain" if how == "as it is" else None)
    async def chat():  # type: ignore[no-untyped-def] # FastAPI would make a model of it
        (stream,) = guard._running().streams.values()
        stopped = Ending(Outcome.STOPPED, None)
        if when == "before it returns":
            stream.cancel(stopped)
        elif when == "by its own task":
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        elif when == "in the next turn":
            asyncio.get_running_loop().call_soon(stream.cancel, stopped)
        return sse_starlette.EventSourceResponse(items) if how == "in a response of sse-starlette" else items

    app = FastAPI()
    if how == "as FastAPI's events":
        app.post("/chat", response_class=EventSourceResponse)(chat)
    else:
        app.post("/chat")(chat)
    guard.install(app, "/api/chat")
    async with calling(app, guard) as client:
        await client.post("/chat")
    assert items.closed == 1


async def test_a_response_that_cannot_be_read_is_closed_once() -> None:
    guard, items = make_guard(), Counted(waits=False)

    @guard.stream(lambda request: "s")
    async def chat():  # type: ignore[no-untyped-def] # as above
        return sse_starlette.EventSourceResponse(items, headers={"content-encoding": "br"})

    app = FastAPI()
    app.post("/chat")(chat)
    guard.install(app, "/api/chat")
    async with calling(app, guard) as client:
        with pytest.raises(ConfigurationError, match="compressed"):
            await client.post("/chat")
    assert items.closed == 1
