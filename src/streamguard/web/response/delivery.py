"""Sends one viewer's chunks, all in the one task that runs the delivery, and so in its one context."""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.types import Message, Send

from ...runtime import Viewer

__all__ = ["FAIR_BYTES", "Delivery"]

FAIR_BYTES: Final = 8_192
"""A chunk this large may be followed at once by another: give other tasks a turn. Smaller ones took all there was."""


class Delivery:
    """Delivers one viewer's stream. Made and run in one task.

    Whatever became visible while the task was away goes out in one `send`, of about 64 KiB at most. Host middleware may
    keep context variables, cancel scopes and locks around its `send`: each call of it is an ordinary one.
    """

    __slots__ = ("_send", "_viewer", "_woken")

    def __init__(self, viewer: Viewer, send: Send) -> None:
        self._viewer = viewer
        self._send = send
        self._woken: asyncio.Future[None] | None = None
        """There while the viewer waits for news."""

    async def run(self, start: Message) -> None:
        """Send `start`, then everything up to the stream's end.

        Raises:
            ViewerCutError: the rest cannot be delivered on this connection.
            OSError: the client left (ASGI 2.4). Whatever else `send` raises comes through too.
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
            if not isinstance(found, bytes):
                found = await found
                if not found:
                    continue
            if not found:
                return
            viewer.sending_since = clock()  # a watchdog looks how long that takes
            await send({"type": "http.response.body", "body": found, "more_body": True})
            viewer.sending_since = None
            if len(found) >= FAIR_BYTES:
                await asyncio.sleep(0)

    def _wake(self) -> None:
        """Have the task look again, if it waits."""
        woken = self._woken
        if woken is not None:
            self._woken = None
            if not woken.done():
                woken.set_result(None)
