"""A viewer's delivery, and the client that it is for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import NamedTuple

from starlette.types import Message

from streamguard.runtime import Viewer
from streamguard.runtime.viewing.feed import Feed
from streamguard.runtime.viewing.replays import Replays
from streamguard.stores.log_reads import LogReads
from streamguard.stores.memory import MemoryStore
from streamguard.stores.records import Terminal
from streamguard.values import EventKind, Outcome, Persisted, Position, QuotaState, SessionKey, StreamRef, new_stream_id
from streamguard.web.middleware.exchange import Exchange, ResponseState
from streamguard.web.response.chunk_sender import ChunkSender
from streamguard.wire import protocol_named
from streamguard.wire.base import WireProtocol

from ...harness.waiting import wait_until_async

__all__ = ["START", "WHO", "Client", "Named", "Window", "delivering", "hangs", "waits"]

START: Message = {"type": "http.response.start", "status": 200, "headers": []}
WHO: ContextVar[str] = ContextVar("who", default="nobody")

Sending = Callable[[Message], Awaitable[None]]


class Named(NamedTuple):
    """A stream, by its names."""

    ref: StreamRef
    message_id: str = "msg"
    request_id: str | None = None
    trace: str | None = None


class Window:
    """A feed, and a viewer of it."""

    def __init__(self, protocol: WireProtocol | None = None) -> None:
        protocol = protocol or protocol_named("plain")
        ref = StreamRef(SessionKey("ana", "chat-1"), new_stream_id())
        self.feed = Feed(protocol, ref.stream_id, start=Position(0, 0), limit_bytes=1_000_000)
        self.viewer = Viewer(
            replays=Replays(LogReads(MemoryStore(), 1), log_bytes=1_000_000),
            subject=Named(ref),
            protocol=protocol,
            feed=self.feed,
            after=Position(0, 0),
            ids=True,
            now=asyncio.get_running_loop().time(),
            patience_seconds=1.0,
            on_close=lambda _: None,
        )
        self.exchange = Exchange()
        self.exchange.response = ResponseState.CUT_SHORT  # as that of every stream that has begun
        self.delivery: ChunkSender | None = None

    def say(self, *texts: str) -> None:
        """Make these visible together."""
        for text in texts:
            self.feed.push(EventKind.DATA, text.encode())
        self.feed.show(self.feed.emitted)

    def end(self) -> None:
        terminal = Terminal(Outcome.COMPLETED, Persisted.NOT_ASKED, QuotaState.NONE, "msg")
        self.feed.push(EventKind.TERMINAL, terminal.to_json())
        self.feed.end(complete=True)


class Client:
    """Keeps the bodies it was sent, and who sent them.

    Attributes:
        ended: whether it was sent the end of the body.
    """

    def __init__(self) -> None:
        self.ended = False
        self.bodies: list[bytes] = []
        self.tasks: set[asyncio.Task[object] | None] = set()
        self.names: list[str] = []

    async def send(self, message: Message) -> None:
        self.tasks.add(asyncio.current_task())
        self.names.append(WHO.get())
        if message["type"] == "http.response.body":
            assert not self.ended
            self.bodies.append(message["body"])
            self.ended = not message["more_body"]

    def texts(self) -> list[str]:
        """The data lines, in the order sent."""
        lines = b"".join(self.bodies).decode().splitlines()
        return [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]

    async def has(self, *texts: str) -> None:
        """Wait until it has exactly these."""
        await wait_until_async(lambda: len(self.texts()) >= len(texts), description=f"{texts} arrived")
        assert self.texts() == list(texts)


@asynccontextmanager
async def delivering(window: Window, send: Sending, *, at_once: bool = False) -> AsyncIterator[asyncio.Task[bool]]:
    """A delivery that has sent its start and waits for the first event. Its result: whether the body has ended."""

    async def run() -> bool:
        WHO.set("the viewer")
        sender = ChunkSender(window.viewer, send, inside=send, at_once=at_once, exchange=window.exchange)
        window.delivery = sender
        return await sender.run(START)

    task = asyncio.create_task(run())
    await wait_until_async(lambda: waits(window), description="the viewer waits")
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])
        window.viewer.close()


def waits(window: Window) -> bool:
    woken = None if window.delivery is None else window.delivery._woken
    return woken is not None and not woken.done()


def hangs(window: Window) -> bool:
    return window.viewer.sending_since is not None
