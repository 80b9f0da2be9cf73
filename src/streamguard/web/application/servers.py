"""What serves this process's application: whether it is stopping, and whether a developer waits for it.

A server that stops by itself (uvicorn's `--limit-max-requests`, Hypercorn's workers) sends no signal, and reaches the
lifespan's end only after its connections have closed. ASGI has no word for it, so the server is asked: it is found by
the coroutines it runs in this event loop. Where none is found, the lifespan's end begins the drain, as ever.
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
"""After how long each the server is looked for again. One that is not found by then is none that is known."""
ASK_SECONDS: Final = 0.1
_MAX_DEPTH: Final = 64


class _Server(Protocol):
    @property
    def stopping(self) -> bool:
        """Whether it accepts nothing more."""

    @property
    def development(self) -> bool:
        """Whether somebody waits for it to end."""


class ServerWatch:
    """Begins the drain when the server stops without a signal. Made and run in the event loop it looks at."""

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
        """Find the server, and ask it until it stops. Returns where there is none."""
        for seconds in LOOK_SECONDS:
            await asyncio.sleep(seconds)
            self._server = _found()
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
        # Past its number of requests it closes its listeners, and says nothing.
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
        """One of its variables, which it gets as it starts."""
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
    """Starlette's. Its lifespan ends when the test is through, and nobody wants to wait then."""

    stopping = False
    development = True


def _found() -> _Server | None:
    for coroutine, frame in _coroutines():
        match frame.f_globals.get("__name__"), frame.f_code.co_name:
            case "uvicorn.server", "serve" | "_serve":
                return _Uvicorn(frame.f_locals.get("self"))
            case "hypercorn.asyncio.run", "worker_serve":
                return _Hypercorn(coroutine)
            case "starlette.testclient", "lifespan":
                return _TestClient()
    return None


def _coroutines() -> Iterator[tuple[CoroutineType[object, object, object], FrameType]]:
    """Those that wait in this event loop, the outermost of each task first."""
    for task in asyncio.all_tasks():
        coroutine: object = task.get_coro()
        for _ in range(_MAX_DEPTH):
            if not isinstance(coroutine, CoroutineType) or coroutine.cr_frame is None:
                break
            yield coroutine, coroutine.cr_frame
            coroutine = coroutine.cr_await
