"""One large event: it arrives, is saved and replays, and nobody's backlog is too small for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable

import pytest
from fastapi import FastAPI
from pydantic import BaseModel

from streamguard import Settings, StreamGuard
from streamguard.messages import MemoryMessageStore
from streamguard.observations import Signal
from streamguard.testing import Ending, GuardedApp

from ..serving import USER, user_of

pytestmark = pytest.mark.anyio

SIZE = 6_000_000
IMAGE = {"type": "file", "mediaType": "image/png", "url": "data:image/png;base64," + "A" * SIZE}


class Body(BaseModel):
    id: str = "s"


def app_of(
    url: str, items: Callable[[], AsyncIterator[object]], *, saves: bool = True, **settings: object
) -> GuardedApp:
    given = {"drain_seconds": 0.2, "command_seconds": 10.0, "append_deadline_seconds": 15.0, **settings}
    messages = MemoryMessageStore() if saves else None
    guard = StreamGuard(url, authenticate=user_of, messages=messages, settings=Settings.model_validate(given))
    app = FastAPI(lifespan=guard.lifespan)

    @app.post("/api/chat")
    @guard.stream(session="body.id")
    async def chat(body: Body) -> AsyncIterator[object]:
        async for item in items():
            yield item

    guard.install(app, "/api/chat")
    return GuardedApp(app, guard, headers=USER, wait_seconds=30)


async def with_image() -> AsyncIterator[object]:
    yield "Here is your cat. "
    yield IMAGE
    for number in range(20):
        yield f"{number} "


TEXT = "Here is your cat. " + "".join(f"{number} " for number in range(20))


@pytest.mark.parametrize("store", ["memory", "redis"])
@pytest.mark.long
async def test_an_image_arrives_is_saved_and_replays(store: str, request: pytest.FixtureRequest) -> None:
    url = "memory://" if store == "memory" else str(request.getfixturevalue("redis_url"))
    async with app_of(url, with_image) as chat:
        answer = await chat.post({"id": "s"})
        await answer.rest()
        assert (answer.text, answer.faults, answer.ending) == (TEXT, [], Ending.CLEAN)
        assert IMAGE in answer.parts
        await chat.ended(answer)
        saved = json.loads((await chat.request("GET", "/api/chat/s/messages")).body)["messages"][0]["parts"]
        assert [part["type"] for part in saved] == ["text", "file", "text"] or IMAGE in saved
        again = await chat.resume("s", after=answer.events[2].last_event_id)
        await again.rest()
        assert IMAGE in again.parts


async def test_a_viewer_of_a_stream_without_its_log_gets_it_too() -> None:
    """It is larger than any backlog, and there is nothing to read it back from."""
    lost = asyncio.Event()

    async def items() -> AsyncIterator[object]:
        yield "before "
        await lost.wait()
        yield IMAGE
        yield "after"

    given = {"append_deadline_seconds": 0.3, "command_seconds": 0.2}
    async with app_of("memory://", items, saves=False, **given) as chat:
        answer = await chat.post({"id": "s"})
        await answer.read(3)
        chat.store.fail("append", "heartbeat")
        lost.set()
        await chat.seen(Signal.STREAM_DEGRADED)
        await answer.rest()
        assert answer.text == "before after"
        assert IMAGE in answer.parts
        chat.store.heal()


async def test_one_over_the_limit_leaves_the_rest_of_the_answer() -> None:
    async with app_of("memory://", with_image, max_event_bytes=1_000_000) as chat:
        answer = await chat.post({"id": "s"})
        await answer.rest()
        assert (answer.text, answer.ending) == (TEXT, Ending.CLEAN)
        assert [(fault.code, fault.reason, fault.severity) for fault in answer.faults] == [
            ("value_replaced", "too_large", "warning")
        ]
        left_out = {"type": "data-streamguard-replaced", "data": {"type": "file", "reason": "too_large"}}
        assert left_out in answer.parts
        await chat.ended(answer)
        saved = json.loads((await chat.request("GET", "/api/chat/s/messages")).body)["messages"][0]
        assert left_out in saved["parts"]
        assert saved["status"] == "complete"
        (seen,) = [one for one in chat.observations if one.fault is not None and one.fault.code == "value_replaced"]
        assert (seen.fields["part"], seen.fields["type"], seen.fields["count"]) == ("file", "file", 1)
