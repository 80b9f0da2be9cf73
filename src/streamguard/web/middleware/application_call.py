"""One call of the host's application in a task of its own, which may outlive the connection it was made for.

Frameworks lend an endpoint things for as long as the call lasts: FastAPI's `yield` dependencies, a middleware's
database session. A guarded endpoint's stream uses them until it ends, but its client may leave earlier, and a server
breaks a connection only when its call returns. So the server's call and the application's call are two tasks: once
nothing more goes out on this connection, the server's call returns, and the runtime owns the application's until it
ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ...contained import Contained
from ...errors import NotStartedError

__all__ = ["ApplicationCall", "TaskOwner", "cancelled", "disconnected"]

T = TypeVar("T")

TaskOwner = Callable[["asyncio.Task[None]"], None]
"""Owns a task from now on.

Raises:
    NotStartedError: it cannot any more.
"""


class ApplicationCall:
    """The call of the application for one request, which begins when this is made, under a copy of the context of the
    server's task.

    Args:
        send: what the application sends with. Hot path: nothing of the call's own is around it.
        silence: called when the call is detached. From then on `send` sends nothing.
        loop: the running event loop, where the caller knows it.
    """

    __slots__ = ("_on_detach", "_over", "_owner", "_receive", "_silence", "_work", "detached")

    def __init__(
        self,
        app: ASGIApp,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        silence: Callable[[], None],
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.detached: bool = False
        """The server's own call has returned: nothing can be sent any more, and the client counts as gone."""
        self._receive = receive
        self._silence = silence
        self._owner: TaskOwner | None = None
        self._on_detach: Callable[[], None] | None = None
        loop = loop or asyncio.get_running_loop()
        self._over: asyncio.Future[None] = loop.create_future()
        """Done when the call has ended, or is detached."""
        work = partial(app, scope, self._application_receive, send)
        self._work = Contained(work, name="streamguard-call", loop=loop, on_end=self._resolve)

    async def wait(self) -> None:
        """Wait, in the server's task, until the call ends or is detached.

        What the application raises is raised here. Cancelling this cancels the application's task and waits for it;
        but a call that may be detached (see `allow_detaching`) is detached instead.
        """
        try:
            await self._over
        except asyncio.CancelledError:
            if not self.detach():
                await cancelled(self._work)
            raise
        if not self.detached:
            self._work.result()

    def allow_detaching(self, owner: TaskOwner) -> None:
        """The call began a stream, which may use what the call holds: `owner` takes the task over when it is
        detached."""
        self._owner = owner

    def forbid_detaching(self) -> None:
        """The stream has ended: the call ends with its connection again."""
        self._owner = None

    def on_detach(self, callback: Callable[[], None] | None) -> None:
        """Call `callback` when the call is detached, to break off what is being sent."""
        self._on_detach = callback

    def detach(self) -> bool:
        """Let the server's own call return, which breaks the connection if the response is not whole.

        Returns whether the call is detached. If not, nothing happened: the call began no stream, or nothing can own
        it.
        """
        if self.detached:
            return True
        if self._owner is None or self._work.task.done():
            return False
        try:
            self._owner(self._work.release())
        except NotStartedError:
            return False
        self.detached = True
        self._silence()
        if self._on_detach is not None:
            self._on_detach()
        if not self._over.done():
            self._over.set_result(None)
        return True

    # -- what the application calls ----------------------------------------------------------------------------------

    def _application_receive(self) -> Awaitable[Message]:
        """The application's `receive`. No coroutine of its own, which each request would wait in to its end."""
        return disconnected() if self.detached else self._receive()

    def _resolve(self, _: asyncio.Task[None] | None) -> None:
        if not self._over.done():
            self._over.set_result(None)


async def disconnected() -> Message:
    """What `receive` gives once the client has left."""
    return {"type": "http.disconnect"}


async def cancelled(work: Contained[T]) -> None:
    """Cancel `work` once and wait for its end, however often this wait is cancelled meanwhile.

    Raises:
        Exception: what it raised instead of being cancelled.
    """
    task = work.task
    task.cancel()
    with anyio.CancelScope(shield=True):
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait({task})
    if not task.cancelled():
        work.result()
