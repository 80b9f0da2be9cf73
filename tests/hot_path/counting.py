"""Counts the calls that streamguard makes for one event, on its whole way from the endpoint to `send`.

Nothing is timed: the same code makes the same calls on every machine. A call is one of a Python function that belongs
to streamguard, or that streamguard calls itself, or of a built-in one that streamguard calls. A coroutine that goes on
after a wait counts as a call, as it costs one.

The endpoints wait until all clients have everything before they give more, so that each commit carries what they gave
at a time: one event, as of a lone stream at reading speed; many of one stream, as in a burst; or one of each of many
streams, as of a busy process.

Besides calls, every coroutine and generator is counted that goes on, whoever wrote it: a wake goes through all of those
between a task and what it waits for, a framework's too. A longer way is dearer, although it has no call of ours.
"""

from __future__ import annotations

import _weakrefset
import asyncio
import inspect
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from enum import StrEnum
from types import FrameType
from typing import Final, NamedTuple, Protocol
from unittest.mock import patch

import sentry_sdk  # noqa: F401 -- so that guards ask it whether the host has set it up, wherever this is imported
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message

import streamguard
from streamguard import StreamGuard, StreamGuardMiddleware, StreamRule
from streamguard.runtime.producing import gathering
from streamguard.web.application import servers

__all__ = ["BURST", "STREAMS", "Calls", "Count", "Kind", "Source", "application", "ask", "calls_per_event"]

PACKAGE: Final = os.path.dirname(streamguard.__file__)
BURST: Final = 32
"""Events that are given at once in a burst: half of those after which the producer lets others run."""
STREAMS: Final = 20
"""Streams of a busy process."""
WARM: Final = 2
"""Groups of events before the counting: what is made once for a stream is no cost of an event."""
MARK: Final = b"some words of an answer"


class Kind(StrEnum):
    """Who makes the events."""

    GENERATOR = "generator"
    RETURNED = "returned response"
    MIDDLEWARE = "middleware"
    UVICORN = "generator, a uvicorn's send"
    """Where no middleware of the host's wraps `send`. The others have one that does."""


class Calls(NamedTuple):
    """Calls for one event."""

    python: float
    """Of Python functions, and of coroutines and generators that go on."""
    builtin: float
    resumed: float
    """Coroutines and generators of any package that begin or go on."""


_RESUMABLE: Final = inspect.CO_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
_BESIDE: Final = frozenset((__file__, servers.__file__, _weakrefset.__file__))
"""No part of an event's way: these counts, and the search for the server, which finds none here and goes on. It looks
at all tasks there are, also those that other tests left."""


@dataclass(slots=True)
class Count:
    """Counts calls between `begin` and `end`, by the name of what is called."""

    calls: Counter[str] = field(default_factory=Counter)
    """Of Python functions."""
    builtin: Counter[str] = field(default_factory=Counter)
    resumed: Counter[str] = field(default_factory=Counter)
    """Of what may wait, in every package but this one."""

    def begin(self) -> None:
        sys.setprofile(self._note)

    @staticmethod
    def end() -> None:
        sys.setprofile(None)

    def most_frequent(self, of: int) -> str:
        """What was called most, for each of so many events or streams."""
        resumed = Counter({f"resumed {name}": times for name, times in self.resumed.items()})
        every = (self.calls + self.builtin + resumed).most_common(80)
        return "\n".join(f"{calls / of:8.2f}  {name}" for name, calls in every)

    def _note(self, frame: FrameType, event: str, arg: object) -> None:
        if event == "call":
            caller, code = frame.f_back, frame.f_code
            if code.co_flags & _RESUMABLE and code.co_filename not in _BESIDE:
                self.resumed[f"{frame.f_globals.get('__name__')}.{code.co_name}"] += 1
            if _is_ours(frame) or (caller is not None and _is_ours(caller)):
                self.calls[f"{frame.f_globals.get('__name__')}.{frame.f_code.co_name}"] += 1
        elif event == "c_call" and _is_ours(frame):
            self.builtin[str(getattr(arg, "__qualname__", arg))] += 1


def _is_ours(frame: FrameType) -> bool:
    name = frame.f_code.co_filename
    return name.startswith(PACKAGE) and name not in _BESIDE


class Source(Protocol):
    """What the endpoint of `application` gives."""

    def texts(self) -> AsyncIterator[str]: ...

    def blocks(self) -> AsyncIterator[bytes]: ...

    def arrived(self, count: int) -> None:
        """So many events reached their client."""


class _Source:
    """Gives each of some streams events in groups of `size`, the next group when all clients have the last one."""

    def __init__(self, size: int, groups: int, streams: int) -> None:
        self._size = size
        self._groups = groups
        self._streams = streams
        self._arrived = 0
        self._group = 0
        """The group that is on its way."""
        self._next_group: asyncio.Future[None] | None = None
        self._count = Count()

    @property
    def _events(self) -> int:
        return self._size * self._streams * self._groups

    @property
    def per_event(self) -> Calls:
        count = self._count
        return Calls(*(one.total() / self._events for one in (count.calls, count.builtin, count.resumed)))

    def __str__(self) -> str:
        return self._count.most_frequent(self._events)

    async def texts(self) -> AsyncIterator[str]:
        for group in range(WARM + self._groups):
            for _ in range(self._size):
                yield f"{MARK.decode()}, sixty bytes of them or nearly so "
            while self._group <= group:
                if self._next_group is None:
                    self._next_group = asyncio.get_running_loop().create_future()
                await self._next_group

    async def blocks(self) -> AsyncIterator[bytes]:
        async for text in self.texts():
            yield b"data: " + text.encode() + b"\n\n"

    def arrived(self, count: int) -> None:
        self._arrived += count
        if self._arrived < self._size * self._streams:
            return
        self._arrived = 0
        self._group += 1
        if self._group == WARM:
            self._count.begin()
        elif self._group == WARM + self._groups:
            self._count.end()
        waited, self._next_group = self._next_group, None
        if waited is not None:
            waited.set_result(None)


async def _user(connection: HTTPConnection) -> str | None:
    return connection.headers.get("x-user")


def application(kind: Kind, url: str, source: Source) -> tuple[ASGIApp, StreamGuard]:
    guard = StreamGuard(url, authenticate=_user)

    async def yielding() -> AsyncIterator[str]:
        async for text in source.texts():
            yield text

    async def returning(_: Request) -> StreamingResponse:
        return StreamingResponse(source.blocks(), media_type="text/event-stream")

    app = Starlette()
    match kind:
        case Kind.GENERATOR | Kind.UVICORN:
            app.router.routes.append(Route("/chat", guard.stream(protocol="plain")(yielding), methods=["POST"]))
        case Kind.RETURNED:
            app.router.routes.append(Route("/chat", guard.stream()(returning), methods=["POST"]))
        case Kind.MIDDLEWARE:
            app.router.routes.append(Route("/chat", returning, methods=["POST"]))
            return StreamGuardMiddleware(app, guard=guard, rules=[StreamRule("/chat")]), guard
    guard.install(app, "/chat")
    return app, guard


async def calls_per_event(kind: Kind, url: str, *, size: int, groups: int, streams: int = 1) -> tuple[Calls, str]:
    """The calls that streamguard makes for one event, and a list of the most frequent ones, for people.

    Args:
        kind: who makes the events.
        url: the store.
        size: events of a stream at a time.
        groups: how many times so many are counted.
        streams: how many streams give them, together.
    """
    source = _Source(size, groups, streams)
    app, guard = application(kind, url, source)
    # The pauses between commits depend on the time that commits take, and so on the machine.
    async with guard, asyncio.timeout(120):
        try:
            with patch.object(gathering, "PAUSE_SECONDS", 0.0), patch.object(gathering, "BURST_PAUSE_SECONDS", 0.0):
                async with asyncio.TaskGroup() as clients:
                    for number in range(streams):
                        clients.create_task(ask(app, source, f"user-{number}", of_server=kind is Kind.UVICORN))
        finally:
            sys.setprofile(None)
    return source.per_event, str(source)


class _Cycle:
    """Has the `send` of a uvicorn, which is known by the module of its class, and as a uvicorn tells of a disconnect
    once it has the whole answer: it sets `over`."""

    __module__ = "uvicorn.protocols.http.counted"

    def __init__(self, source: Source, over: asyncio.Event) -> None:
        self._source = source
        self._over = over

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            assert message["status"] == 200
        elif MARK in (body := message["body"]):
            self._source.arrived(body.count(MARK))
        if message.get("more_body") is False:
            self._over.set()


async def ask(app: ASGIApp, source: Source, user: str, *, of_server: bool = False) -> None:
    """One request, to the end of its answer. `of_server`: whether `send` looks as a server's own."""
    asked, left = False, asyncio.Event()

    async def receive() -> Message:
        nonlocal asked
        if not asked:
            asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await left.wait()
        return {"type": "http.disconnect"}

    servers = _Cycle(source, left)

    async def send(message: Message) -> None:
        await servers.send(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/chat",
        "raw_path": b"/chat",
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"test"), (b"x-user", user.encode()), (b"content-length", b"0")],
        "client": ("127.0.0.1", 1),
        "server": ("test", 80),
        "state": {},
    }
    try:
        await app(scope, receive, servers.send if of_server else send)
    finally:
        left.set()
