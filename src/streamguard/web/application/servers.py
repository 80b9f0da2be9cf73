"""Finds the server of this process's application: whether it is stopping, and whether a developer waits for it.

A server that stops by itself (uvicorn's `--limit-max-requests`, Hypercorn's workers) sends no signal, and ends the
lifespan only after its connections have closed. ASGI has no message for it, so the server object is asked: it is found
among the coroutines of this event loop. If none is found, the end of the lifespan begins the drain.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from types import CoroutineType, FrameType
from typing import Final, Protocol

__all__ = ["ServerWatch"]

LOOK_SECONDS: Final = (0.0, 0.1, 0.5, 1.0, 3.0)
"""The pauses before each search for the server. One that is not found by then is of an unknown kind."""
ASK_SECONDS: Final = 0.1
_MAX_DEPTH: Final = 64


class _Server(Protocol):
    @property
    def stopping(self) -> bool:
        """Whether it accepts no more connections."""

    @property
    def development(self) -> bool:
        """Whether a developer waits for it to end."""


class ServerWatch:
    """Begins the drain when the server stops without a signal. Made and run in the server's event loop."""

    def __init__(self, on_stop: Callable[[], None]) -> None:
        self._on_stop = on_stop
        self._server: _Server | None = None

    @property
    def development(self) -> bool:
        """Whether a developer waits for the process to end: under a server that reloads, or in a test."""
        if self._server is not None:
            return self._server.development
        return "pytest" in sys.modules and "PYTEST_CURRENT_TEST" in os.environ

    async def run(self) -> None:
        """Find the server, and poll it until it stops. Returns if there is none."""
        for seconds in LOOK_SECONDS:
            await asyncio.sleep(seconds)
            self._server = _find_server()
            if self._server is not None:
                break
        else:
            return
        while not self._server.stopping:  # noqa: ASYNC110 -- no server has an event for it
            await asyncio.sleep(ASK_SECONDS)
        self._on_stop()


class _Uvicorn:
    def __init__(self, server: object) -> None:
        self._server = server

    @property
    def stopping(self) -> bool:
        listening = getattr(self._server, "servers", ())
        # After its maximum number of requests it only closes its listeners.
        closed = bool(getattr(self._server, "started", False) and listening) and not any(
            listener.is_serving() for listener in listening
        )
        return closed or bool(getattr(self._server, "should_exit", False))

    @property
    def development(self) -> bool:
        return bool(getattr(getattr(self._server, "config", None), "reload", False))


class _Hypercorn:
    def __init__(self, serving: CoroutineType[object, object, object]) -> None:
        self._serving = serving

    def _local(self, name: str) -> object:
        """A local variable of the worker, which gets it as it starts."""
        frame: FrameType | None = self._serving.cr_frame
        return None if frame is None else frame.f_locals.get(name)

    @property
    def stopping(self) -> bool:
        if self._serving.cr_frame is None:
            return True
        context = self._local("context")
        return any(
            event.is_set()
            for event in (getattr(context, name, None) for name in ("terminate", "terminated"))
            if event is not None
        )

    @property
    def development(self) -> bool:
        return bool(getattr(self._local("config"), "use_reloader", False))


class _TestClient:
    """Starlette's. Its lifespan ends with the test, which should not wait."""

    stopping = False
    development = True


def _find_server() -> _Server | None:
    for coroutine, frame in _waiting_coroutines():
        match frame.f_globals.get("__name__"), frame.f_code.co_name:
            case "uvicorn.server", "serve" | "_serve":
                return _Uvicorn(frame.f_locals.get("self"))
            case "hypercorn.asyncio.run", "worker_serve":
                return _Hypercorn(coroutine)
            case "starlette.testclient", "lifespan":
                return _TestClient()
    return None


def _waiting_coroutines() -> Iterator[tuple[CoroutineType[object, object, object], FrameType]]:
    """The waiting coroutines of this event loop, the outermost of each task first."""
    for task in asyncio.all_tasks():
        coroutine: object = task.get_coro()
        for _ in range(_MAX_DEPTH):
            if not isinstance(coroutine, CoroutineType) or coroutine.cr_frame is None:
                break
            yield coroutine, coroutine.cr_frame
            coroutine = coroutine.cr_await
