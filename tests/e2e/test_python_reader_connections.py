"""What answers do to each other that share one `StreamClient`, and so its connections."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Final
from uuid import uuid4

import anyio
import httpx
import pytest

from streamguard import Outcome
from streamguard.client import StreamClient
from tests.docs.samples import blocks
from tests.harness.caddy import CaddyWithCertificate
from tests.harness.workers import Worker

pytestmark = pytest.mark.anyio

((_, CADDYFILE),) = blocks("docs/how-to/deploy/caddy.md", "caddyfile")
SETTINGS: Final = '{"max_streams_per_owner": 200, "max_viewers_per_owner": 200}'
POOL: Final = 100
"""How many connections httpx opens by default."""


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    environment = {"STREAMGUARD_URL": "memory://", "STREAMGUARD_SETTINGS": SETTINGS}
    with Worker("tests.apps.client_chat:app", env=environment) as worker:
        yield worker


def question(text: str) -> dict[str, object]:
    message = {"id": uuid4().hex, "role": "user", "parts": [{"type": "text", "text": text}]}
    return {"id": uuid4().hex, "messages": [message]}


async def test_a_stop_gets_through_beside_more_answers_than_a_pool_has_connections(worker: Worker) -> None:
    async with StreamClient(worker.url, headers={"X-User": "u"}) as client, AsyncExitStack() as opened:
        streams = [await opened.enter_async_context(client.ask(question("long"))) for _ in range(POOL + 1)]
        for stream in streams:
            await anext(stream)
        first = streams[0]
        assert await client.stop(str(first.session_id), stream_id=first.stream_id) is not None
        assert (await first.text(), first.outcome) == ("It goes on ", Outcome.STOPPED)


async def test_answers_on_one_http_2_connection_do_not_disturb_each_other(worker: Worker) -> None:
    with CaddyWithCertificate(CADDYFILE, upstream=worker.port) as caddy:
        async with httpx.AsyncClient(base_url=f"https://localhost:{caddy.port}", http2=True, verify=False) as http:
            client = StreamClient(http, headers={"X-User": "u"})

            async def whole() -> tuple[int, int]:
                async with client.ask(question("words 100")) as stream:
                    return len((await stream.text()).split()), stream.connections

            async def left() -> None:
                async with client.ask(question("words 100")) as stream:
                    async for event in stream:
                        if event.text:
                            break

            async def cancelled() -> None:
                with anyio.CancelScope() as scope:
                    async with client.ask(question("long")) as stream:
                        async for event in stream:
                            if event.text:
                                scope.cancel()

            async def stopped() -> Outcome | None:
                async with client.ask(question("long")) as stream:
                    await anext(stream)
                    await client.stop(str(stream.session_id), stream_id=stream.stream_id)
                    await stream.text()
                    return stream.outcome

            async def together() -> tuple[object, ...]:
                return tuple(await asyncio.gather(whole(), left(), cancelled(), stopped()))

            # httpx opens a connection for each request until it knows that one speaks HTTP/2.
            assert await whole() == (100, 1)
            rounds = [together() for _ in range(5)]
            assert await asyncio.gather(*rounds) == [((100, 1), None, None, Outcome.STOPPED)] * 5
