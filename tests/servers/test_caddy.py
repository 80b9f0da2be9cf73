"""A real Caddy in front of each server, with the configuration of the how-to page: every event at once, and broken
connections that stay broken."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from tests.docs.samples import blocks
from tests.harness.caddy import Caddy
from tests.harness.redis import RedisServer

from .behind_proxy import BehindProxy
from .matrix import GRACEFUL_SECONDS, Chat, Site, said, worker_of

pytestmark = pytest.mark.anyio

((_, CONFIGURATION),) = blocks("docs/how-to/deploy/caddy.md", "caddyfile")
UNFLUSHED: Final = CONFIGURATION.replace("flush_interval -1", "")
"""What the page says holds for events by their type alone."""


@pytest.fixture(scope="module", params=GRACEFUL_SECONDS)
def place(request: pytest.FixtureRequest, redis: RedisServer) -> Iterator[Site]:
    worker = worker_of("starlette", request.param, redis)
    yield Site(worker, redis)
    worker.close()


@pytest.fixture(scope="module", params=[CONFIGURATION, UNFLUSHED], ids=["page", "unflushed"])
def caddy(request: pytest.FixtureRequest, place: Site) -> Iterator[Caddy]:
    with Caddy(request.param, upstream=place.worker.port) as server:
        yield server


@pytest.fixture
def chat(place: Site, caddy: Caddy) -> Chat:
    if not place.worker.alive:
        place.worker.start()
    return Chat(place, through=caddy.port)


class TestCaddy(BehindProxy):
    """The page's configuration."""


async def test_answers_are_not_compressed(place: Site) -> None:
    if not place.worker.alive:
        place.worker.start()
    compressing = CONFIGURATION.replace("\treverse_proxy", "\tencode gzip\n\treverse_proxy")
    with Caddy(compressing, upstream=place.worker.port) as caddy:
        chat = Chat(place, through=caddy.port)
        chat.headers["Accept-Encoding"] = "gzip"
        async with chat.post(gate=chat.id) as stream:
            assert "content-encoding" not in stream.headers
            await said(stream, "w0")
            await chat.open_gate()
            assert (await stream.read_rest())[-1].data == "[DONE]"
