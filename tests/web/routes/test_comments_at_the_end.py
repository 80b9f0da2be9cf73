"""A stream that is passed on may end with comments, which have no id: whoever has seen its last event has seen all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from streamguard import Run
from streamguard.cursor import Cursor
from tests.harness.sse import EventReader

from ..serving import calling, make_guard

pytestmark = pytest.mark.anyio

ENDS = {
    "comments": ": over\n\n: and out\n\n",
    "a name without data": "event: done\n\n",
    "half a block": "data: half",
    "blank lines": "\n\n",
}


@pytest.mark.parametrize("notice", [False, True], ids=["", "with a notice"])
@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
async def test_a_client_with_the_last_event_is_told_that_there_is_no_more(end: str, notice: bool) -> None:
    """`EventSource` comes back after every end but 204, always with the id of the last event."""
    guard = make_guard()

    @guard.stream("request.query_params.id", protocol="opaque", ids=True)
    async def chat(request: Request, run: Run) -> AsyncIterator[str]:
        yield "data: one\n\n"
        yield "data: two\n\n"
        if notice:
            run.notice("value_replaced", message="the chart was too large", reason="chart")
        yield end

    app = Starlette(routes=[Route("/chat", chat, methods=["POST"])], lifespan=guard.lifespan)
    guard.install(app, "/api/chat")
    async with calling(app, guard) as client:
        first, last = EventReader().feed((await client.post("/chat?id=s")).content)
        rest = await client.get("/api/chat/s/stream", headers={"last-event-id": str(first.id)})
        nothing = await client.get("/api/chat/s/stream", headers={"last-event-id": str(last.id)})
    assert [event.data for event in EventReader().feed(rest.content)] == ["two"]
    assert (nothing.status_code, nothing.headers.get("x-resume-reason")) == (204, "finished")


@pytest.mark.promise("I3")
async def test_lines_of_json_are_no_comments() -> None:
    """They have no ids; a client has its cursor from the session's status."""
    guard = make_guard()

    @guard.stream("request.query_params.id", protocol="ndjson")
    async def chat(request: Request) -> AsyncIterator[dict[str, int]]:
        for number in (1, 2, 3):
            yield {"n": number}

    app = Starlette(routes=[Route("/chat", chat, methods=["POST"])], lifespan=guard.lifespan)
    guard.install(app, "/api/chat")
    async with calling(app, guard) as client:
        lines = (await client.post("/chat?id=s")).content.splitlines(keepends=True)
        end = Cursor.parse((await client.get("/api/chat/s")).json()["last"]["cursor"])
        for seen in range(len(lines) + 1):
            rest = await client.get("/api/chat/s/stream", params={"cursor": str(replace(end, seq=seen))})
            assert (rest.status_code, rest.content) == (200 if seen < len(lines) else 204, b"".join(lines[seen:]))
    assert len(lines) == 3
