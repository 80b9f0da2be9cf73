"""A stream that is passed on may end with comments, which have no id: whoever has seen its last event has seen all."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from streamguard import Run
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
