"""Sends one viewer's chunks: from the viewer's own task, or at once from whatever made an event visible.

An event that a waiting viewer gets used to cost a future, a turn of the event loop and the waking of a task, which is
more than framing and sending it. So a `Delivery` listens to its feed, and while its viewer waits,
being told sends. That is done as the viewer's task would do it: with that task as the current one and in its context.
A `send` that cannot finish at once (the client reads too slowly, or a layer in between waits) is finished by the task
itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from contextvars import copy_context
from types import CoroutineType, GeneratorType, coroutine
from typing import Final, Self, TypeAlias, cast

from starlette.types import Message, Send

from ..runtime import Viewer
from ._current_task import run_as

__all__ = ["Delivery"]

_SENT: Final = object()
"""What a sender says when it has sent what it was given."""

_NOTHING: Final = cast("Message", None)
"""What a sender is given that only has to go on."""

Sending: TypeAlias = "GeneratorType[object, Message, None]"

FAIR_BYTES: Final = 8_192
"""A chunk this large may be followed at once by another: give other tasks a turn. Smaller ones took all there was."""


class Delivery:
    """Delivers one viewer's stream. Made and run in one task."""

    __slots__ = (
        "_at_once",
        "_clock",
        "_context",
        "_failed",
        "_found",
        "_loop",
        "_needed",
        "_rest",
        "_send",
        "_sender",
        "_task",
        "_viewer",
    )

    def __init__(self, viewer: Viewer, send: Send) -> None:
        self._viewer = viewer
        self._sender = _sender(send)
        next(self._sender)
        self._send = self._sender.send
        """Begins to send a message. Returns `_SENT`, or what the rest has to wait for."""
        self._loop = asyncio.get_running_loop()
        self._clock = self._loop.time
        self._task = cast("asyncio.Task[object]", asyncio.current_task(self._loop))
        self._context = copy_context()
        self._at_once = False
        """Whether sending is likely to need no waiting. Where it does (every time under `BaseHTTPMiddleware`), the task
        is better left to it."""
        self._needed: asyncio.Future[None] | None = None
        """There while the viewer waits: resolving it wakes the task, for what cannot be done without it."""
        self._found: bytes | Awaitable[bytes] | None = None
        self._rest: _Rest | None = None
        self._failed: BaseException | None = None

    async def run(self, start: Message) -> None:
        """Send `start`, then everything up to the stream's end.

        Raises:
            ViewerCutError: the rest cannot be delivered on this connection.
            OSError: the client left (ASGI 2.4). Whatever else `send` raises comes through too.
        """
        try:
            self._at_once = await self._sent_at_once(start)
            self._viewer.listen(self._push)
            await self._deliver()
        finally:
            self._sender.close()

    async def _deliver(self) -> None:
        viewer = self._viewer
        while True:
            found = viewer.poll()
            if found is None:
                found = await self._news()
                if found is None:
                    continue
            if not isinstance(found, bytes):
                found = await found
                if not found:
                    continue
            chunk = found
            if not chunk:
                return
            viewer.sending_since = self._clock()
            await self._sent_at_once({"type": "http.response.body", "body": chunk, "more_body": True})
            viewer.sending_since = None
            if len(chunk) >= FAIR_BYTES:
                await asyncio.sleep(0)

    async def _sent_at_once(self, message: Message) -> bool:
        """Send a message. Returns whether that needed no waiting."""
        waits_for = self._send(message)
        if waits_for is _SENT:
            return True
        await _Rest(self._sender, waits_for)
        return False

    async def _news(self) -> bytes | Awaitable[bytes] | None:
        """Wait while others send. Returns what was found and not sent, if anything."""
        needed = self._needed = self._loop.create_future()
        try:
            await needed
        except asyncio.CancelledError as exc:
            if self._rest is not None:  # left to this task a moment ago
                await self._rest.broken_off(exc)
            raise
        finally:
            self._needed = None
        failed, self._failed = self._failed, None
        if failed is not None:
            raise failed
        rest, self._rest = self._rest, None
        if rest is not None:
            await rest
            self._viewer.sending_since = None
        found, self._found = self._found, None
        return found

    # -- what the viewer calls ---------------------------------------------------------------------------------------

    def _push(self) -> None:
        """Something changed: send what there is, or have the task look."""
        needed = self._needed
        if needed is None:
            return
        if self._at_once and not self._sender.gi_running:
            viewer = self._viewer
            feed = viewer.feed
            try:
                if (
                    feed is not None
                    and viewer.cut_reason is None
                    and (chunk := feed.newest(viewer.position, ids=viewer.ids))
                    and len(chunk) < FAIR_BYTES
                ):  # one event that was just shown, as nearly always
                    viewer.position += 1  # and then as `_step`, without the call
                    message = {"type": "http.response.body", "body": chunk, "more_body": True}
                    waits_for = run_as(self._task, self._loop, self._context, self._send, message)
                    if waits_for is not _SENT:
                        self._leave(waits_for)
                    elif not feed.ended:
                        return
                elif self._sent_all_there_is():
                    return
            except (Exception, asyncio.CancelledError) as exc:  # noqa: BLE001 -- the viewer's, whose task raises it
                self._failed = exc
        self._needed = None
        if not needed.done():
            needed.set_result(None)

    def _sent_all_there_is(self) -> bool:
        """Whether nothing is left for the task to do."""
        while (found := self._viewer.poll()) is not None:
            if not (isinstance(found, bytes) and 0 < len(found) < FAIR_BYTES):
                self._found = found
                return False
            if not self._step(found):
                return False
        return True

    def _step(self, chunk: bytes) -> bool:
        """Send a chunk as the viewer's task. Returns whether that is done; if not, the task has to do the rest."""
        message = {"type": "http.response.body", "body": chunk, "more_body": True}
        waits_for = run_as(self._task, self._loop, self._context, self._send, message)
        if waits_for is _SENT:
            return True
        self._leave(waits_for)
        return False

    def _leave(self, waits_for: object) -> None:
        """Leave the rest to the task."""
        self._rest = _Rest(self._sender, waits_for)
        self._viewer.sending_since = self._clock()  # a watchdog may see how long that takes


@cast("Callable[[Callable[[Send], Generator[object, Message, None]]], Callable[[Send], Sending]]", coroutine)
def _sender(send: Send) -> Generator[object, Message, None]:
    """Sends the messages it is given, and says `_SENT` before the first and after each. What sending waits for comes
    out in between. One generator for all, because a coroutine driven by hand ends with an exception each time."""
    message = yield _SENT
    while True:
        sending = send(message)
        if type(sending) is not CoroutineType:
            sending = _awaited(sending)
        yield from sending  # type: ignore[misc] # may be: `coroutine` makes it so
        message = yield _SENT


async def _awaited(sending: Awaitable[None]) -> None:
    await sending


class _Rest:
    """What is left of a message that a sender began to send and that now waits for something: await it to finish it."""

    __slots__ = ("_error", "_sender", "_waits_for")

    def __init__(self, sender: Sending, waits_for: object) -> None:
        self._sender = sender
        self._waits_for = waits_for
        self._error: BaseException | None = None

    def broken_off(self, error: BaseException) -> Self:
        """Have it go on with `error`, as if that had come while it waited."""
        self._error = error
        return self

    def __await__(self) -> Generator[object, None, None]:
        sender, waits_for = self._sender, self._waits_for
        if self._error is not None:
            waits_for = sender.throw(self._error)
        while waits_for is not _SENT:
            try:
                yield waits_for
            except GeneratorExit:
                sender.close()
                raise
            except BaseException as exc:  # noqa: BLE001 -- a cancellation, say: the sender's to handle
                waits_for = sender.throw(exc)
            else:
                waits_for = sender.send(_NOTHING)
