"""Every recorded stream gets to the client byte for byte, in whatever pieces it comes; with ids, its events do."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Final

import pytest
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from tests.harness.sse import EventReader

from ..serving import calling, make_guard
from .inside import PATH, TRANSCRIPTS, guarding, status_of, transcript

pytestmark = pytest.mark.anyio

NAMES: Final = sorted(path.name for path in TRANSCRIPTS.iterdir() if path.suffix in (".sse", ".ndjson"))
CHUNKINGS: Final = ("whole", "bytes", "7 bytes", "lines", "random")


def pieces(body: bytes, chunking: str) -> list[bytes]:
    match chunking:
        case "whole":
            return [body]
        case "lines":
            return body.splitlines(keepends=True)
        case "random":
            chance = random.Random(body)
            cuts = sorted({chance.randrange(len(body)) for _ in range(40)} | {0, len(body)})
            return [body[start:end] for start, end in pairwise(cuts)]
        case _:
            size = 1 if chunking == "bytes" else 7
            return [body[start : start + size] for start in range(0, len(body), size)]


async def upstream(request: Request) -> Response:
    name = request.query_params["name"]

    async def body() -> AsyncIterator[bytes]:
        for piece in pieces(transcript(name), request.query_params["chunking"]):
            yield piece

    headers = {"x-vercel-ai-ui-message-stream": "v1"} if name.startswith("ui-message") else {}
    media_type = "application/x-ndjson" if name.endswith(".ndjson") else "text/event-stream"
    return StreamingResponse(body(), media_type=media_type, headers=headers)


def events(body: bytes) -> list[tuple[str, str]]:
    return [(event.event, event.data) for event in EventReader().feed(body)]


def holds(got: bytes, body: bytes) -> bool:
    """Whether a client that looks at fields which it knows finds every event of `body`, in order."""
    found = iter(events(got))
    return all(any(_contains(one, wanted) for one in found) for wanted in events(body))


def _contains(got: tuple[str, str], wanted: tuple[str, str]) -> bool:
    if got == wanted:
        return True
    try:
        fields, wanted_fields = json.loads(got[1]), json.loads(wanted[1])
    except ValueError:
        return False
    both = isinstance(fields, dict) and isinstance(wanted_fields, dict)
    return both and got[0] == wanted[0] and fields.items() >= wanted_fields.items()


@pytest.mark.promise("I3")
@pytest.mark.parametrize("chunking", CHUNKINGS)
async def test_a_recorded_stream(chunking: str) -> None:
    guard = make_guard(max_resumes_per_minute=10_000)
    async with calling(guarding(guard, upstream, session="query.name"), guard) as client:
        for name in NAMES:
            body = transcript(name)
            fails = "error" in name or "failed" in name
            answer = await client.post(PATH, params={"name": name, "chunking": chunking, "ids": "0"})
            again = await client.get(f"/api/chat/{name}/stream", params={"ids": "0"})
            for got in (answer.content, again.content):
                assert got == body or (fails and holds(got, body)), name
            with_ids = await client.get(f"/api/chat/{name}/stream", params={"ids": "1"})
            assert with_ids.content == body if name.endswith(".ndjson") else holds(with_ids.content, body), name
            assert (await status_of(client, name))["outcome"] == ("failed" if fails else "completed"), name


@pytest.mark.promise("I3")
async def test_a_tail_continues_at_every_event() -> None:
    """What a client has, and the tail after its cursor, are the whole stream."""
    guard = make_guard(max_resumes_per_minute=10_000)
    async with calling(guarding(guard, upstream, session="query.name"), guard) as client:
        name = "openai-chat-text.sse"
        asked = {"name": name, "chunking": "whole", "ids": "1"}
        body = (await client.post(PATH, params=asked)).content
        reader = EventReader()
        seen = reader.feed(body)
        cursors = [event.id for event in seen if event.id]
        assert len(cursors) > 3
        for count, cursor in enumerate(cursors, 1):
            tail = await client.get(f"/api/chat/{name}/stream", headers={"last-event-id": str(cursor)})
            rest = events(tail.content) if tail.status_code == 200 else []
            assert rest == events(body)[count:]
