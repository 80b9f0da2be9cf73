"""One call of the application inside the middleware, whose response is captured, or passed on as it is."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Final, Self

import anyio
from starlette.background import BackgroundTask
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ...contained import Contained
from ...runtime.producing.item_source import DivertedItems
from ..middleware.application_call import cancelled

__all__ = ["InnerCall", "UnfinishedResponseError", "Use"]

_START: Final = "http.response.start"
_BODY: Final = "http.response.body"
_FILE: Final = "http.response.pathsend"
"""The whole body is this file (an extension of ASGI, which Granian has)."""

BUFFERED_BYTES: Final = 65_536
"""How far the application may be ahead of the log. Waiting for each piece to be taken would cost a switch between two
tasks per event; a client that reads nothing has the application wait at this point, as a server's own buffer does."""
MAX_BUFFERED: Final = 256
"""The same in pieces, for an application that sends very small ones."""


_TURNS: Final = 64
"""Turns of the event loop in which a failed call ends after its last piece: some three for each middleware."""
_TURNS_OF_WHOLE: Final = 3
"""Turns in which a call ends after a body that it sent at once: two of Starlette's `StreamingResponse`, one for a
middleware."""


class UnfinishedResponseError(RuntimeError):
    """The application returned without the last piece of its body."""


class Use(Enum):
    """What becomes of the application's response. Never goes back."""

    UNDECIDED = "it has not begun, or nobody has looked at how it begins"
    CAPTURED = "its body is taken piece by piece"
    PASSED = "its messages go to the client as they are, in the order and at the pace of the application"
    DROPPED = "nobody takes anything of it any more"


class InnerCall(DivertedItems):
    """Calls `app` in a task of its own, under a copy of the context of the task that calls `head`.

    Until it is decided what becomes of the response, and while it is captured, its messages wait here. Who makes a call
    ends it with `aclose`, unless it was passed on. `loop` is the running event loop.
    """

    def __init__(self, app: ASGIApp, scope: Scope, receive: Receive, loop: asyncio.AbstractEventLoop) -> None:
        self.use: Use = Use.UNDECIDED
        self._app = app
        self._scope = scope
        self._receive = receive
        self._loop = loop
        self._waiting: list[Message] = []
        """A list, since an empty deque takes 760 bytes, for as long as the stream is open; `MAX_BUFFERED` are few."""
        self._size = 0
        self._work: Contained[None] | None = None
        self._task: asyncio.Task[None] | None = None
        """Of the work."""
        self._arrived: asyncio.Future[None] | None = None
        """Resolved when a message arrives, or the call ends."""
        self._room: asyncio.Future[None] | None = None
        """Resolved when the application may send more."""
        self._send_on: Callable[[Message], Awaitable[None]] | None = None
        """The client's `send`, once all that waited has been passed on."""
        self._whole = False
        """The last piece of the body was taken."""
        self._diverting: Callable[[object], bool] | None = None
        """See `divert`."""
        self._take: Callable[[object], bool] | None = None
        """Hot path: takes a piece in the application's own task. The same, but set only while nothing waits here, and
        the task that iterates this waits for a piece."""
        self._failure: Exception | None = None
        """What that raised."""
        self._first: Callable[[], Awaitable[bytes]] | None = None
        """See `beginning_with`."""
        self._on_unfinished: Callable[[], Awaitable[bool]] | None = None
        self._on_rest: Callable[[asyncio.Task[None]], None] | None = None

    async def head(self) -> Message | None:
        """Call the application, and wait for the start of its response; None if the call ends without one. What the
        application raised instead is raised when the call is passed on."""
        if self._task is None:
            self._work = Contained(self._call, name="streamguard-inner-call", loop=self._loop, on_end=self._wake)
            self._task = self._work.task
        while True:
            for message in self._waiting:  # others may come first: Starlette's `http.response.debug`
                if message["type"] == _START:
                    return message
            if self._task.done():
                return None
            await self._next()

    # -- a response that is captured -----------------------------------------------------------------------------------

    async def end_if_whole(self) -> None:
        """Give a call whose body is all here a moment to end. Its stream's end is then logged in one step with its
        events, and its client is sent all at once."""
        last = self._waiting[-1] if self._waiting else None
        if last is not None and last["type"] == _BODY and not last.get("more_body"):
            await self._ended_within(_TURNS_OF_WHOLE)

    def capture(
        self,
        *,
        on_unfinished: Callable[[], Awaitable[bool]] | None = None,
        on_rest: Callable[[asyncio.Task[None]], None] | None = None,
    ) -> None:
        """The body is taken piece by piece: iterate this.

        Args:
            on_unfinished: called when the call ends without the last piece; if it returns True, the iteration ends as
                if it had come.
            on_rest: called after the last piece with the task of a call that still runs: what the application does
                after its response, in background tasks for example. Its owner from then on.
        """
        self.use = Use.CAPTURED
        self._on_unfinished = on_unfinished
        self._on_rest = on_rest

    def beginning_with(self, first: Callable[[], Awaitable[bytes]]) -> Self:
        """Iterate this for the piece that `first` makes of the beginning, then for all that it left; for nothing at all
        if it returns an empty one."""
        self._first = first
        return self

    def divert(self, take: Callable[[object], bool]) -> None:
        """See `DivertedItems.divert`."""
        self._diverting = take

    def at_once(self) -> bytes | None:
        """The next piece of the body, if it is here and is not the last; None to iterate for it."""
        while self._waiting:
            message = self._waiting[0]
            if message["type"] in (_BODY, _FILE):
                body: bytes | None = message.get("body") if message.get("more_body") else None
                if body:
                    self._pop()
                    return body
                break
            self._pop()
        return None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """The next piece of the body, as the application sent it, except for the one of `beginning_with`.

        Raises:
            UnfinishedResponseError: the call ended without the last piece.
            Exception: what the application raises, also if a `BaseHTTPMiddleware` sent the last piece for it.
        """
        if self._first is not None:
            first, self._first = self._first, None
            beginning = await first()
            if not beginning:
                raise StopAsyncIteration
            return beginning
        while not self._whole:
            failure, self._failure = self._failure, None
            if failure is not None:
                try:
                    raise failure
                finally:
                    del failure  # else the exception's traceback would know the exception
            if not self._waiting:
                if self._task is None or self._task.done():
                    await self._end_unfinished()
                self._take = self._diverting
                await self._next()
                continue
            message = self._pop()
            if message["type"] == _BODY:
                self._whole = not message.get("more_body", False)
                body: bytes = message.get("body", b"")
                if body:
                    return body
            elif message["type"] == _FILE:
                self._whole = True
                body = await anyio.Path(message["path"]).read_bytes()
                if body:
                    return body
        await self._raise_if_completed_for_it()
        work = self._work
        if self._on_rest is not None and self.use is Use.CAPTURED and work is not None and not work.task.done():
            self.use = Use.DROPPED
            self._on_rest(work.release())
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End the call, and wait for its end. A call that was passed on, or whose rest was taken over, goes on."""
        self._first = None  # which leads back here
        if self.use in (Use.PASSED, Use.DROPPED):
            return
        self.use = Use.DROPPED
        self._open_room()
        task = self._task
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait({task})

    # -- a response that is passed on ----------------------------------------------------------------------------------

    def pass_on(self) -> None:
        """The response is not ours: `answer` passes it on. Nothing is passed on until then."""
        self.use = Use.PASSED

    async def answer(self, send: Send) -> None:
        """Pass everything on to the client, and wait for the end of the call. Cancelling it cancels the call.

        Raises:
            Exception: what the application raises.
        """
        work, task = self._work, self._task
        if work is None or task is None:
            raise RuntimeError("the application was not called")
        try:
            while self._waiting:
                await send(self._waiting.pop(0))
        except Exception as exc:  # noqa: BLE001 -- the application's to handle: its next `send` raises it
            self._waiting.clear()
            self._send_on = _raising(exc)
        except asyncio.CancelledError:
            await cancelled(work)
            raise
        else:
            self._send_on = send
        self._open_room()
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            await cancelled(work)
            raise
        work.result()

    async def abandon(self) -> None:
        """End a call that was to be passed on, if `answer` was never called."""
        if self.use is Use.PASSED and self._send_on is None and self._work is not None and not self._work.task.done():
            await cancelled(self._work)

    # -- what the application calls ------------------------------------------------------------------------------------

    async def _call(self) -> None:
        await self._app(self._scope, self._receive, self._send)

    async def _send(self, message: Message) -> None:
        take = self._take
        if take is not None and message.get("more_body"):  # hot path: only a piece of the body has that
            body = message.get("body")
            try:
                if not body or take(body):  # nearly always
                    return
            except Exception as exc:  # noqa: BLE001 -- raised where the pieces are iterated, not here
                # Without this method's frame, which knows this object.
                self._failure = exc.with_traceback(None if exc.__traceback__ is None else exc.__traceback__.tb_next)
                self._wake()
            self._take = self._diverting = None
            return
        while self._send_on is None:
            if self.use is Use.DROPPED:
                return
            if self.use is not Use.PASSED and self._size < BUFFERED_BYTES and len(self._waiting) < MAX_BUFFERED:
                body = message.get("body", b"")
                if type(body) is not bytes:  # the application may use its buffer for the next piece
                    message = {**message, "body": bytes(body)}
                self._waiting.append(message)
                self._size += len(body)
                if self._arrived is not None:
                    self._wake()
                return
            if self._room is None:
                self._room = self._loop.create_future()
            await asyncio.shield(self._room)
        await self._send_on(message)

    # -- both ----------------------------------------------------------------------------------------------------------

    async def _next(self) -> None:
        """Wait for a message, or for the end of the call."""
        self._arrived = self._loop.create_future()
        try:
            await self._arrived
        finally:
            self._take = None

    def _pop(self) -> Message:
        """The message that has waited longest. The application may send more once nothing waits."""
        message = self._waiting.pop(0)
        if not self._waiting:
            self._size = 0
            if self._room is not None:
                self._open_room()
        return message

    def _wake(self, _: asyncio.Task[None] | None = None) -> None:
        self._take = None
        if self._arrived is not None:
            _resolve(self._arrived)
            self._arrived = None

    def _open_room(self) -> None:
        if self._room is not None:
            _resolve(self._room)
            self._room = None

    async def _raise_if_completed_for_it(self) -> None:
        """A `BaseHTTPMiddleware` inside sends the last piece for an application that failed, and raises right after
        that, several in a row one after the other. What a background task raises is no part of the response."""
        await self._ended_within(_TURNS)
        if self._work is None or (error := self._work.error) is None:
            return
        modules = {frame.f_globals.get("__name__") for frame, _ in traceback.walk_tb(error.__traceback__)}
        if BaseHTTPMiddleware.__module__ in modules and BackgroundTask.__module__ not in modules:
            raise error

    async def _ended_within(self, turns: int) -> None:
        """Wait for the end of the call, for so many turns of the event loop at most."""
        task = self._task
        while turns and task is not None and not task.done():
            turns -= 1
            await asyncio.sleep(0)

    async def _end_unfinished(self) -> None:
        """Raise what the application raised, or that its response has no end.

        Raises:
            StopAsyncIteration: it is told otherwise.
        """
        if self._work is not None:
            self._work.result()
        if self._on_unfinished is not None and await self._on_unfinished():
            raise StopAsyncIteration
        raise UnfinishedResponseError("the application ended its response without the last message of its body")


def _resolve(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _raising(error: Exception) -> Send:
    async def send(_: Message) -> None:
        raise error

    return send
