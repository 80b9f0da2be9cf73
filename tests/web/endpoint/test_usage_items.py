"""An endpoint that yields a `Usage` among its items: it is charged, and no client sees it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI

from streamguard import StreamGuard, Usage
from streamguard.quota import Quota

from ...harness.sse import EventReader
from ..serving import calling, user_of

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("protocol", "item"), [("ui-message", "word"), ("plain", "word"), ("opaque", "data: word\n\n")]
)
async def test_usage_among_the_items_is_charged_and_not_sent(protocol: str, item: str) -> None:
    guard = StreamGuard(authenticate=user_of)
    app = FastAPI()

    @app.post("/chat/{session}")
    @guard.stream("session", protocol=protocol, quota=Quota(limit=100, per="day"), estimate=10)
    async def chat(session: str) -> AsyncIterator[str | Usage]:
        yield Usage({"tokens": 3})
        yield item
        yield Usage({"tokens": 4})

    guard.install(app, "/chat")
    async with calling(app, guard) as client:
        answer = await client.post("/chat/s")
        assert b"word" in answer.content
        assert b"tokens" not in answer.content
        assert b"Usage" not in answer.content
        assert EventReader().feed(answer.content)
        status = await client.get("/chat/s")
        (standing,) = status.json()["quota"]["limits"]
        assert standing["used"] == 7
