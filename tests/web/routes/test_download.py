"""A log's download: a slice at a time, as its client takes it, and never a clean end of half a log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import Message

from streamguard import StreamGuard
from streamguard.errors import StoreUnavailableError
from streamguard.stores.store import StreamStore
from tests.harness.waiting import wait_until_async
from tests.runtime.lines import Line

from ..serving import USER, calling, make_guard, serving

pytestmark = pytest.mark.anyio

PIECES, PIECE = 200, "x" * 1_000


class Downloads:
    """An application with a log of several slices, and the store it is in."""

    def __init__(self, **settings: object) -> None:
        self.guard: StreamGuard = make_guard(**settings)
        self.app = FastAPI()
        self.path = ""

        @self.app.post("/api/chat")
        @self.guard.stream(session=lambda: "s")
        async def chat() -> AsyncIterator[str]:
            for _ in range(PIECES):
                yield PIECE

        self.guard.install(self.app, "/api/chat")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Downloads]:
        def between(store: StreamStore) -> StreamStore:
            self.line = Line(store)
            return self.line

        with self.guard.instrumented(store=between):
            async with calling(self.app, self.guard) as client:
                stream_id = (await client.post("/api/chat")).headers["x-stream-id"]
                self.path = f"/api/chat/s/streams/{stream_id}/raw"
                yield self

    @property
    def viewers(self) -> int:
        return self.guard._context.limits.viewers.count

    async def get(self, send: Callable[[Message], Awaitable[None]], receive: Callable[[], Awaitable[Message]]) -> None:
        """One download, with what a server gives an application."""
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": self.path,
            "raw_path": self.path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(name.lower().encode(), value.encode()) for name, value in USER.items()],
            "client": ("127.0.0.1", 5000),
            "server": ("chat.example", 80),
            "state": {},
        }
        await self.app(scope, receive, send)


async def silence() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


async def test_a_download_reads_on_when_its_client_took_what_it_has() -> None:
    downloads = Downloads()
    async with downloads.running():
        taken: asyncio.Queue[Message] = asyncio.Queue()
        may_go_on = asyncio.Semaphore(0)

        async def send(message: Message) -> None:
            taken.put_nowait(message)
            await may_go_on.acquire()

        read = downloads.line.calls["read"]
        download = asyncio.create_task(downloads.get(send, silence))
        text, reads = b"", []
        async with asyncio.timeout(20):
            while (message := await taken.get()).get("more_body", True):
                text += message.get("body", b"")
                reads.append(downloads.line.calls["read"] - read)
                may_go_on.release()
            may_go_on.release()
            await download
        assert text == PIECE.encode() * PIECES
        assert reads == [1, *range(1, len(reads))]
        assert len(reads) > 10
        assert downloads.viewers == 0


async def test_a_store_that_fails_half_way_breaks_the_connection() -> None:
    downloads = Downloads()
    async with downloads.running(), serving(downloads.app) as port:
        downloads.line.errors["read"] = [None, None, StoreUnavailableError("away", operation="read")]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=USER) as client:
            with pytest.raises(httpx.RemoteProtocolError):
                await client.get(downloads.path)
            whole = await client.get(downloads.path)
        assert whole.text == PIECE * PIECES
        await wait_until_async(lambda: downloads.viewers == 0, description="nobody downloads")


async def test_a_store_that_fails_at_once_is_an_answer() -> None:
    downloads = Downloads()
    async with downloads.running():
        messages: list[Message] = []

        async def send(message: Message) -> None:
            messages.append(message)

        downloads.line.errors["read"] = [StoreUnavailableError("away", operation="read")]
        await downloads.get(send, silence)
        assert messages[0]["status"] == 503
        assert downloads.viewers == 0


async def test_a_client_that_does_not_read_is_given_up() -> None:
    downloads = Downloads(viewer_send_seconds=0.1)
    async with downloads.running():
        messages: list[Message] = []

        async def send(message: Message) -> None:
            messages.append(message)
            if len(messages) == 3:
                await asyncio.Event().wait()

        async with asyncio.timeout(20):
            await downloads.get(send, silence)
        assert len(messages) == 3
        assert messages[-1]["more_body"], "no end that reads as success"
        assert downloads.viewers == 0


async def test_a_client_that_leaves_ends_its_download() -> None:
    downloads = Downloads()
    async with downloads.running():
        messages: list[Message] = []
        left = asyncio.Event()

        async def send(message: Message) -> None:
            messages.append(message)
            if len(messages) == 3:
                left.set()
            await asyncio.sleep(0)

        async def receive() -> Message:
            await left.wait()
            return {"type": "http.disconnect"}

        async with asyncio.timeout(20):
            await downloads.get(send, receive)
        assert len(messages) < PIECES * len(PIECE) / 16_384
        assert downloads.viewers == 0


async def test_a_middlewares_mistake_is_its_own() -> None:
    """What `send` raises comes out as it is, and not in a group."""
    downloads = Downloads()
    async with downloads.running():

        async def send(message: Message) -> None:
            if message["type"] == "http.response.body":
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await downloads.get(send, silence)
        assert downloads.viewers == 0
