"""One call of the host's application in a task of its own, which may outlive the connection it was made for.

Frameworks lend an endpoint things for as long as the call lasts: FastAPI's `yield` dependencies, a middleware's
database session. A guarded endpoint's stream uses them until it ends, its client does not stay that long, and a server
breaks a connection only when its call returns. So the server's call and the framework's are two tasks: once nothing
more goes out on this connection, the first returns, and the runtime owns the second until it is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ...errors import NotStartedError

__all__ = ["Call", "Owner"]

Owner = Callable[["asyncio.Task[None]"], None]
"""Owns a task from now on.

Raises:
    NotStartedError: it cannot any more.
"""


class Call:
    """The framework's call for one request. Made and run by the server's task, once."""

    __slots__ = ("_hang_up", "_over", "_owner", "_receive", "_send", "_task", "left")

    def __init__(self) -> None:
        self.left: bool = False
        """The server has its own call back: nothing can be sent any more, and the client counts as gone."""
        self._owner: Owner | None = None
        self._hang_up: Callable[[], None] | None = None

    async def run(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Call `app` under a copy of this task's context. Returns when that is over, or when it was left.

        What the application raises is raised here. Cancelling this cancels the application's task and waits for it;
        but one that began a stream (see `lend`) is left to the stream's owner instead.
        """
        self._receive, self._send = receive, send
        loop = asyncio.get_running_loop()
        self._over: asyncio.Future[None] = loop.create_future()
        self._task: asyncio.Task[None] = loop.create_task(self._called(app, scope), name="streamguard-call")
        self._task.add_done_callback(self._resolve)
        try:
            await self._over
        except asyncio.CancelledError:
            if not self.leave():
                await _cancelled(self._task)
            raise
        if not self.left:
            self._task.result()

    def lend(self, owner: Owner) -> None:
        """The call began a stream, which may use what the call holds: `owner` takes the call over when it is left."""
        self._owner = owner

    def take_back(self) -> None:
        """The stream is over: the call is an ordinary one again."""
        self._owner = None

    def on_leave(self, hang_up: Callable[[], None] | None) -> None:
        """Have `hang_up` called when the server leaves, to break off what is being sent."""
        self._hang_up = hang_up

    def leave(self) -> bool:
        """Give the server its own call back, which breaks the connection if the response is not whole.

        Returns whether that is so. Otherwise nothing happened: the call began no stream, or nobody can own it.
        """
        if self.left:
            return True
        if self._owner is None or self._task.done():
            return False
        try:
            self._owner(self._task)
        except NotStartedError:
            return False
        self.left = True
        if self._hang_up is not None:
            self._hang_up()
        if not self._over.done():
            self._over.set_result(None)
        return True

    # -- what the application calls ----------------------------------------------------------------------------------

    async def _called(self, app: ASGIApp, scope: Scope) -> None:
        await app(scope, self._received, self._sent)

    async def _received(self) -> Message:
        return {"type": "http.disconnect"} if self.left else await self._receive()

    def _sent(self, message: Message) -> Awaitable[None]:  # no coroutine of its own for each event
        return _nothing() if self.left else self._send(message)

    def _resolve(self, _: asyncio.Task[None]) -> None:
        if not self._over.done():
            self._over.set_result(None)


async def _nothing() -> None:
    """What sending comes to when nobody is there."""


async def _cancelled(task: asyncio.Task[None]) -> None:
    """Cancel `task` once, and wait for its end however often the present one is cancelled meanwhile.

    Raises:
        BaseException: what it raised instead.
    """
    task.cancel()
    with anyio.CancelScope(shield=True):
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait({task})
    if not task.cancelled():
        task.result()
