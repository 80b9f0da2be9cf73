"""Every sort of stream tells the same facts, with the same fields, and each of them once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Final

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from streamguard import Observation, Settings, Signal, StreamGuard, StreamGuardMiddleware, StreamRule
from streamguard.messages import MemoryMessageStore
from streamguard.quota import Quota
from streamguard.testing import GuardedApp
from tests.web.serving import USER, Gate, user_of

from .observed import QUICK

pytestmark = pytest.mark.anyio

LIMIT: Final = Quota(100, "day", "requests")
PARTS: Final[tuple[dict[str, object], ...]] = (
    {"type": "tool-input-available", "toolCallId": "c1", "toolName": "search", "input": {"q": "x"}},
    {"type": "text-start", "id": "t"},
    {"type": "text-delta", "id": "t", "delta": "Hello"},
    {"type": "text-end", "id": "t"},
)
VIEWING: Final = frozenset({Signal.VIEWER_JOINED, Signal.VIEWER_LEFT})
ONCE: Final = frozenset(
    {
        *VIEWING,
        Signal.QUOTA_RESERVED,
        Signal.STREAM_OPENED,
        Signal.FIRST_EVENT,
        Signal.TOOL_CALLED,
        Signal.REPLY_SAVED,
        Signal.QUOTA_SETTLED,
        Signal.STREAM_ENDED,
    }
)
"""What every answer tells that goes as it should."""
MISSING: Final = {
    "started": VIEWING,  # nobody viewed it
}
ENDS: Final = {
    "completed": ONCE,
    "failed": ONCE | {Signal.FAULT},
    "stopped": ONCE | {Signal.STOP_REQUESTED},
}


class Chat:
    """An application with an endpoint of every sort, each of which gives `PARTS`, and then ends as it is told to."""

    def __init__(self, end: str) -> None:
        self.end = end
        self.gate = Gate()
        self.guard = guard = StreamGuard(
            authenticate=user_of, messages=MemoryMessageStore(), settings=Settings.model_validate(QUICK)
        )

        async def yields(request: Request) -> AsyncIterator[dict[str, object]]:
            async for part in self.parts():
                yield part

        def yields_in_a_thread(request: Request) -> Iterator[dict[str, object]]:
            yield from PARTS
            if self.end == "failed":
                raise RuntimeError("the model failed")

        async def returns_an_iterator(request: Request) -> AsyncIterator[dict[str, object]]:
            return self.parts()

        async def returns_a_response(request: Request) -> Response:
            return self.response()

        async def inside(request: Request) -> Response:
            return self.response()

        routes = [Route("/inside", inside, methods=["POST"])]
        for endpoint in (yields, yields_in_a_thread, returns_an_iterator, returns_a_response):
            guarded = guard.stream("request.query_params.id", binding=endpoint.__name__, quota=LIMIT)(endpoint)
            routes.append(Route(f"/{endpoint.__name__}", guarded, methods=["POST"]))
        rule = StreamRule("/inside", session="query.id", binding="inside", quota=LIMIT)
        app = Starlette(
            routes=routes,
            lifespan=guard.lifespan,
            middleware=[Middleware(StreamGuardMiddleware, guard=guard, rules=[rule])],
        )
        guard.install(app, "/api/chat")
        self.app = GuardedApp(app, guard, headers=USER)

    async def parts(self) -> AsyncIterator[dict[str, object]]:
        for part in PARTS:
            yield part
        self.gate.reached.set()
        if self.end == "failed":
            raise RuntimeError("the model failed")
        if self.end == "stopped":
            await self.gate.wait()

    def response(self) -> Response:
        async def blocks() -> AsyncIterator[str]:
            async for part in self.parts():
                yield f"data: {json.dumps(part)}\n\n"
            yield "data: [DONE]\n\n"

        return StreamingResponse(
            blocks(), media_type="text/event-stream", headers={"x-vercel-ai-ui-message-stream": "v1"}
        )

    async def ask(self, sort: str) -> list[Observation]:
        """What is told of one answer, from its begin until nothing of it is under way."""
        if sort == "started":
            return await self._start()
        answer = await self.app.post({}, path=f"/{sort}?id=s")
        if self.end == "stopped":
            await self.gate.reached.wait()
            await self.app.stop("s")
        await answer.whole()
        await self.app.ended(answer)
        await self.app.seen(Signal.VIEWER_LEFT)
        await self.app.idle()
        return self.app.observations

    async def _start(self) -> list[Observation]:
        try:
            async with self.guard.start("ann", "s", binding="yields", request_id="job-7") as run:
                for part in PARTS:
                    await run.send(part)
                if self.end == "failed":
                    raise RuntimeError("the model failed")
                if self.end == "stopped":
                    await self.app.stop("s")
                    await self.gate.wait()
        except RuntimeError:
            pass
        await self.app.seen(Signal.STREAM_ENDED)
        await self.app.idle()
        return self.app.observations


SORTS: Final = ("yields", "yields_in_a_thread", "returns_an_iterator", "returns_a_response", "inside", "started")


@pytest.mark.parametrize(
    ("sort", "end"),
    [(sort, end) for sort in SORTS for end in ENDS if (sort, end) != ("yields_in_a_thread", "stopped")],
)
async def test_every_sort_of_stream_tells_the_same_facts_once(sort: str, end: str) -> None:
    chat = Chat(end)
    async with chat.app:
        told = [seen for seen in await chat.ask(sort) if seen.name is not Signal.STORE_WARNING]
        expected = ENDS[end] - MISSING.get(sort, frozenset())
        assert Counter(seen.name for seen in told) == Counter(expected)
        of_request = [seen for seen in told if seen.name is not Signal.STOP_REQUESTED]  # which is a request of its own
        assert len({(seen.ref, seen.message_id, seen.request_id) for seen in of_request}) == 1
        assert len({(seen.ref, seen.message_id) for seen in told}) == 1
        assert told[0].ref is not None
        assert told[0].message_id
        assert told[0].request_id
        (ended,) = [seen for seen in told if seen.name is Signal.STREAM_ENDED]
        assert ended.fields["outcome"] == end
        assert all(seen.fields["binding"] for seen in told if "binding" in seen.fields)


async def test_their_fields_are_the_same() -> None:
    """A dashboard need not know which sort of endpoint a host wrote."""
    fields: dict[str, dict[Signal, frozenset[str]]] = {}
    for sort in SORTS:
        chat = Chat("completed")
        async with chat.app:
            fields[sort] = {seen.name: frozenset(seen.fields) for seen in await chat.ask(sort) if seen.ref is not None}
    for sort, names in fields.items():
        assert names == {name: of for name, of in fields["yields"].items() if name not in MISSING.get(sort, ())}, sort
