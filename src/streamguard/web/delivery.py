"""Sends one viewer's chunks: from the viewer's own task, or at once from whatever made an event visible.

An event that a waiting viewer gets used to cost a future, a turn of the event loop and the waking of a task, which is
more than framing and sending it. So a `Delivery` listens to its feed, and while its viewer waits,
being told sends. That is done as the viewer's task would do it: with that task as the current one and in its context.
A `send` that cannot finish at once (the client reads too slowly, or a layer in between waits) is finished by the task
itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Generator
from contextvars import copy_context
from types import CoroutineType
from typing import Final, Literal

from starlette.types import Message, Send

from ..runtime import Viewer
from ._current_task import swap_current_task

__all__ = ["Delivery"]

_resume: Final = CoroutineType.send
"""Called with the coroutine: its bound method would be made, and dropped, for each event."""

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
        "_task",
        "_viewer",
    )

    def __init__(self, viewer: Viewer, send: Send) -> None:
        self._viewer = viewer
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._clock = self._loop.time
        self._task = asyncio.current_task(self._loop)
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
        viewer, send = self._viewer, self._send
        self._at_once = await self._sent_at_once(start)
        viewer.listen(self._push)
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
            viewer.sending_since = viewer.last_at
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            viewer.sending_since = None
            if len(chunk) >= FAIR_BYTES:
                await asyncio.sleep(0)

    async def _sent_at_once(self, message: Message) -> bool:
        sending = self._send(message)
        if not isinstance(sending, CoroutineType):
            await sending
            return False
        try:
            waits_for = sending.send(None)
        except StopIteration:
            return True
        await _Rest(sending, waits_for)
        return False

    async def _news(self) -> bytes | Awaitable[bytes] | None:
        """Wait while others send. Returns what was found and not sent, if anything."""
        needed = self._needed = self._loop.create_future()
        try:
            await needed
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
        if self._at_once:
            viewer = self._viewer
            feed = viewer.feed
            try:
                # One event that was just shown, which is what nearly every push is about.
                if feed is not None and viewer.position == feed.visible - 1 >= feed.base and viewer.cut_reason is None:
                    chunk = feed.newest(viewer.ids)
                    viewer.position += 1
                    if 0 < len(chunk) < FAIR_BYTES:
                        viewer.last_at = self._clock()
                        if self._step(chunk) and not feed.ended:
                            return
                    else:
                        self._found = chunk or None
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
        loop = self._loop
        sending = self._send({"type": "http.response.body", "body": chunk, "more_body": True})
        if type(sending) is not CoroutineType:
            self._at_once = False
            return self._left(_Rest(_awaited(sending), None))
        current = swap_current_task(loop, self._task)
        try:
            waits_for = self._context.run(_resume, sending, None)
        except StopIteration:
            return True
        finally:
            swap_current_task(loop, current)
        return self._left(_Rest(sending, waits_for))

    def _left(self, rest: _Rest) -> Literal[False]:
        """The task has to do the rest, and a watchdog may see how long that takes."""
        self._rest = rest
        self._viewer.sending_since = self._viewer.last_at
        return False


async def _awaited(sending: Awaitable[None]) -> None:
    await sending


class _Rest:
    """What is left of a coroutine that was begun by hand and now waits for something: await it to finish it."""

    __slots__ = ("_begun", "_waits_for")

    def __init__(self, begun: Coroutine[object, None, None], waits_for: object) -> None:
        self._begun = begun
        self._waits_for = waits_for

    def __await__(self) -> Generator[object, None, None]:
        begun, waits_for = self._begun, self._waits_for
        try:
            while True:
                try:
                    yield waits_for
                except GeneratorExit:
                    begun.close()
                    raise
                except BaseException as exc:  # noqa: BLE001 -- a cancellation, say: the coroutine's to handle
                    waits_for = begun.throw(exc)
                else:
                    waits_for = begun.send(None)
        except StopIteration:
            return
