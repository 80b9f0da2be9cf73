"""Counts the calls that streamguard makes for one event, on its whole way from the endpoint to `send`.

Nothing is timed: the same code makes the same calls on every machine. A call is one of a Python function that belongs
to streamguard, or that streamguard calls itself, or of a built-in one that streamguard calls. A coroutine that goes on
after a wait counts as a call, as it costs one.

The endpoint waits until its client has everything before it gives more, so that each commit carries what it gave at a
time: one event, as at reading speed, or many, as in a burst.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from enum import StrEnum
from types import FrameType
from typing import Final, NamedTuple
from unittest.mock import patch

from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message

import streamguard
from streamguard import StreamGuard, StreamGuardMiddleware, StreamRule
from streamguard.runtime.producing import writer

__all__ = ["BURST", "Calls", "Kind", "calls_per_event"]

PACKAGE: Final = os.path.dirname(streamguard.__file__)
BURST: Final = 32
"""Events that are given at once in a burst: half of those after which the producer lets others run."""
WARM: Final = 2
"""Groups of events before the counting: what is made once for a stream is no cost of an event."""
MARK: Final = b"some words of an answer"


class Kind(StrEnum):
    """Who makes the events."""

    GENERATOR = "generator"
    RETURNED = "returned response"
    MIDDLEWARE = "middleware"


class Calls(NamedTuple):
    """Calls for one event."""

    python: float
    """Of Python functions, and of coroutines and generators that go on."""
    builtin: float


@dataclass(slots=True)
class _Count:
    """Counts calls between `begin` and `end`, by the name of what is called."""

    calls: Counter[str] = field(default_factory=Counter)
    """Of Python functions."""
    builtin: Counter[str] = field(default_factory=Counter)

    def begin(self) -> None:
        sys.setprofile(self._note)

    @staticmethod
    def end() -> None:
        sys.setprofile(None)

    def _note(self, frame: FrameType, event: str, arg: object) -> None:
        if event == "call":
            caller = frame.f_back
            if _is_ours(frame) or (caller is not None and _is_ours(caller)):
                self.calls[f"{frame.f_globals.get('__name__')}.{frame.f_code.co_name}"] += 1
        elif event == "c_call" and _is_ours(frame):
            self.builtin[str(getattr(arg, "__qualname__", arg))] += 1


def _is_ours(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(PACKAGE)


class _Source:
    """Gives events in groups of `size`, the next group when the client has the last one."""

    def __init__(self, size: int, groups: int) -> None:
        self._size = size
        self._groups = groups
        self._arrived = 0
        self._all_there: asyncio.Future[None] | None = None
        self._count = _Count()

    @property
    def per_event(self) -> Calls:
        events = self._size * self._groups
        return Calls(self._count.calls.total() / events, self._count.builtin.total() / events)

    def __str__(self) -> str:
        """What was called most."""
        events = self._size * self._groups
        every = (self._count.calls + self._count.builtin).most_common(60)
        return "\n".join(f"{calls / events:8.2f}  {name}" for name, calls in every)

    async def texts(self) -> AsyncIterator[str]:
        for group in range(WARM + self._groups):
            if group == WARM:
                self._count.begin()
            for _ in range(self._size):
                yield f"{MARK.decode()}, sixty bytes of them or nearly so "
            while self._arrived < self._size:
                self._all_there = asyncio.get_running_loop().create_future()
                await self._all_there
            self._arrived = 0
        self._count.end()

    async def blocks(self) -> AsyncIterator[bytes]:
        async for text in self.texts():
            yield b"data: " + text.encode() + b"\n\n"

    def arrived(self, count: int) -> None:
        self._arrived += count
        if self._all_there is not None and not self._all_there.done():
            self._all_there.set_result(None)


async def _user(connection: HTTPConnection) -> str | None:
    return connection.headers.get("x-user")


def _application(kind: Kind, url: str, source: _Source) -> tuple[ASGIApp, StreamGuard]:
    guard = StreamGuard(url, authenticate=_user)

    async def yielding() -> AsyncIterator[str]:
        async for text in source.texts():
            yield text

    async def returning(_: Request) -> StreamingResponse:
        return StreamingResponse(source.blocks(), media_type="text/event-stream")

    app = Starlette()
    match kind:
        case Kind.GENERATOR:
            app.router.routes.append(Route("/chat", guard.stream(protocol="plain")(yielding), methods=["POST"]))
        case Kind.RETURNED:
            app.router.routes.append(Route("/chat", guard.stream()(returning), methods=["POST"]))
        case Kind.MIDDLEWARE:
            app.router.routes.append(Route("/chat", returning, methods=["POST"]))
            return StreamGuardMiddleware(app, guard=guard, rules=[StreamRule("/chat")]), guard
    guard.install(app, "/chat")
    return app, guard


async def calls_per_event(kind: Kind, url: str, *, size: int, groups: int) -> tuple[Calls, str]:
    """The calls that streamguard makes for one event, and a list of the most frequent ones, for people.

    Args:
        kind: who makes the events.
        url: the store.
        size: events at a time.
        groups: how many times so many are counted.
    """
    source = _Source(size, groups)
    app, guard = _application(kind, url, source)
    asked, left = False, asyncio.Event()

    async def receive() -> Message:
        nonlocal asked
        if not asked:
            asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            assert message["status"] == 200
        elif MARK in (body := message["body"]):
            source.arrived(body.count(MARK))

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
        "headers": [(b"host", b"test"), (b"x-user", b"ann"), (b"content-length", b"0")],
        "client": ("127.0.0.1", 1),
        "server": ("test", 80),
        "state": {},
    }
    # The writer's pause depends on the time that commits take, and so on the machine.
    async with guard:
        try:
            with patch.object(writer, "PAUSE_SECONDS", 0.0):
                await app(scope, receive, send)
        finally:
            sys.setprofile(None)
            left.set()
    return source.per_event, str(source)
