"""An ASGI application's lifespan, run in this process as a server runs it."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.types import ASGIApp, Message

from ..errors import ConfigurationError

__all__ = ["Lifespan"]


class Lifespan:
    """Start it, and stop it from any task: the application's own side has a task of its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.state: dict[str, object] = {}
        """What the application put there, for each request's scope."""
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self._answers: asyncio.Queue[Message] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin it.

        Raises:
            ConfigurationError: the application said that it could not start. What it raised instead comes as it is.
        """
        self._task = asyncio.create_task(self._run(), name="streamguard-testing-lifespan")
        answer = await self._told("startup")
        if answer is None:
            await self._task  # raises what the application raised
            return
        if answer["type"] == "lifespan.startup.failed":
            # Starlette says so with a traceback, and raises the error too.
            await self._task
            raise ConfigurationError(f"the application did not start: {answer.get('message', '')}")

    async def stop(self) -> None:
        """End it, and wait for its end.

        Raises:
            ConfigurationError: the application said that it could not shut down. What it raised comes as it is.
        """
        task = self._task
        if task is None:
            return
        answer = None if task.done() else await self._told("shutdown")
        await task
        if answer is not None and answer["type"] == "lifespan.shutdown.failed":
            raise ConfigurationError(f"the application did not shut down: {answer.get('message', '')}")

    async def aclose(self) -> None:
        """Cancel what is left of it."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.wait([self._task])

    async def _told(self, event: str) -> Message | None:
        """The application's answer to an event; None when it ended without one."""
        assert self._task is not None  # noqa: S101 -- `start` made it
        self._messages.put_nowait({"type": f"lifespan.{event}"})
        answer = asyncio.create_task(self._answers.get())
        try:
            await asyncio.wait([answer, self._task], return_when=asyncio.FIRST_COMPLETED)
            return answer.result() if answer.done() else None
        finally:
            answer.cancel()

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        await self._app(scope, self._messages.get, self._answers.put)
