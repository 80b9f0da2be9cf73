"""The development servers of Vite and Next.js in front of an application, as the how-to configures them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from typing import Final

import httpx
import pytest

from tests.clients.packed import install_locked
from tests.clients.test_clients import node
from tests.docs.samples import ROOT
from tests.harness.dev_servers import FRONT_ENDS, Next, Vite
from tests.harness.redis import RedisServer
from tests.harness.sse import open_sse

from .behind_proxy import BehindProxy
from .matrix import Chat, Site, worker_of

__all__ = ["node"]

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(300)]

PAGE: Final = (ROOT / "docs/how-to/front-ends/proxies.md").read_text()
SHOWN: Final = dict(re.findall(r'^```ts title="([^"]+)"\n(.*?)^```$', PAGE, re.M | re.S))
"""The page's files, by their paths."""
HANDLER: Final = "app/api/chat/route.ts"
WITHOUT_HANDLER: Final = {path: text for path, text in SHOWN.items() if path == "next.config.ts"}
WITH_HANDLER: Final = {**WITHOUT_HANDLER, HANDLER: SHOWN[HANDLER]}


@pytest.fixture(scope="module")
def packages(node: str) -> str:
    """The path of `node`, with what the servers are installed from."""
    install_locked(shutil.which("npm") or "npm", FRONT_ENDS)
    return node


@pytest.fixture(scope="module")
def place(redis: RedisServer) -> Iterator[Site]:
    worker = worker_of("starlette", "uvicorn", redis)
    yield Site(worker, redis)
    worker.close()


@pytest.fixture(scope="module")
def started(place: Site) -> Site:
    if not place.worker.alive:
        place.worker.start()
    return place


class BehindDevServer(BehindProxy):
    """A developer opens the page on `localhost`, so requests come with what browsers say of that."""

    async def test_pages_of_the_same_origin_may_change_things_and_others_not(self, chat: Chat) -> None:
        async def stopped(origin: str, site: str) -> int:
            target = f"/api/chat/{chat.id}/stop"
            said_by_browsers = {"Origin": origin, "Sec-Fetch-Site": site, "Host": f"localhost:{chat.port}"}
            headers = {**chat.headers, **said_by_browsers, "Cookie": "a=b"}
            async with open_sse(chat.port, target, method="POST", headers=headers) as answer:
                return answer.status

        assert await stopped(f"http://localhost:{chat.port}", "same-origin") == 204
        assert await stopped("http://elsewhere.example", "cross-site") == 403

    async def test_events_come_one_by_one_for_a_browser_too(self, chat: Chat) -> None:
        """Which takes compressed answers."""
        chat.headers["Accept-Encoding"] = "gzip, deflate, br, zstd"
        await self.test_each_event_arrives_before_the_next_is_produced(chat)


@pytest.fixture(scope="module")
def vite(packages: str, started: Site) -> Iterator[Vite]:
    with Vite(packages, SHOWN["vite.config.ts"], upstream=started.worker.port) as server:
        yield server


class TestVite(BehindDevServer):
    @pytest.fixture
    def chat(self, place: Site, vite: Vite) -> Chat:
        return _chat(place, vite.port)


@pytest.fixture(scope="module", params=[WITHOUT_HANDLER, WITH_HANDLER], ids=["rewrites", "handler"])
def next_js(request: pytest.FixtureRequest, packages: str, started: Site) -> Iterator[Next]:
    with Next(packages, request.param, upstream=started.worker.port) as server:
        # Each route is compiled when it is asked for first.
        for method, path in (("GET", "/api/chat/health/live"), ("POST", "/api/chat")):
            httpx.request(method, f"http://127.0.0.1:{server.port}{path}", trust_env=False, timeout=90)
        yield server


class TestNext(BehindDevServer):
    @pytest.fixture
    def chat(self, place: Site, next_js: Next) -> Chat:
        return _chat(place, next_js.port)


def _chat(place: Site, port: int) -> Chat:
    if not place.worker.alive:
        place.worker.start()
    return Chat(place, through=port)
