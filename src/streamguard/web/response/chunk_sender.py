"""Sends one viewer's chunks, all in one task and so under one context."""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.types import Message, Send

from .timed_viewer import ChunkSource

__all__ = ["FAIR_BYTES", "ChunkSender"]

FAIR_BYTES: Final = 8_192
"""After a chunk this large the next may be there at once: other tasks get a turn first, as they do after each chunk of
a log. A smaller chunk took all there was."""


class ChunkSender:
    """Sends one viewer's stream. Made and run in one task.

    Everything that became visible during one `send` goes out in the next, of about 64 KiB at most. Host middleware may
    keep context variables, cancel scopes and locks around its `send`: each call of it is an ordinary one.
    """

    __slots__ = ("_send", "_viewer", "_woken")

    def __init__(self, viewer: ChunkSource, send: Send) -> None:
        self._viewer = viewer
        self._send = send
        self._woken: asyncio.Future[None] | None = None
        """Resolved when the viewer has something new; None while nobody waits for it."""

    async def run(self, start: Message) -> None:
        """Send `start`, then everything up to the stream's end.

        Raises:
            ViewerCutError: the rest cannot be delivered on this connection.
            OSError: the client left (ASGI 2.4). Everything else that `send` raises comes through too.
        """
        viewer, send = self._viewer, self._send
        loop = asyncio.get_running_loop()
        clock, create_future = loop.time, loop.create_future
        await send(start)
        viewer.listen(self._wake)
        while True:
            found = viewer.poll()
            if found is None:
                self._woken = create_future()
                await self._woken
                continue
            from_log = not isinstance(found, bytes)
            if not isinstance(found, bytes):
                found = await found
                if not found:
                    await asyncio.sleep(0)
                    continue
            if not found:
                return
            viewer.sending_since = clock()  # the watchdog measures how long that takes
            await send({"type": "http.response.body", "body": found, "more_body": True})
            viewer.sending_since = None
            if from_log or len(found) >= FAIR_BYTES:
                await asyncio.sleep(0)

    def _wake(self) -> None:
        """Wake the task, if it waits."""
        woken = self._woken
        if woken is not None:
            self._woken = None
            if not woken.done():
                woken.set_result(None)
