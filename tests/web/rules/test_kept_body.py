"""The messages of a request whose body a rule has read."""

from __future__ import annotations

import asyncio

import pytest
from starlette.types import Message

from streamguard.web.rules.kept_body import KeptBody

pytestmark = pytest.mark.anyio


async def test_calls_that_are_made_before_any_is_awaited_get_a_message_each() -> None:
    body: Message = {"type": "http.request", "body": b'{"id": "s"}', "more_body": False}
    end: Message = {"type": "http.disconnect"}
    messages: asyncio.Queue[Message] = asyncio.Queue()
    messages.put_nowait(body)
    messages.put_nowait(end)
    kept = KeptBody({"type": "http", "headers": []}, messages.get, 1_000)
    assert await kept.json() == {"id": "s"}
    first, second = kept.receive(), kept.receive()
    assert [await first, await second] == [body, end]
