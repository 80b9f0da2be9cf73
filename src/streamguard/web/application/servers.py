"""Finds the server of this process's application: whether it is stopping, whether a developer waits for it, and for
how long it waits for its connections.

A server that stops by itself (uvicorn's `--limit-max-requests`, Hypercorn's workers) sends no signal, and ends the
lifespan only after its connections have closed. ASGI has no message for it, so the server object is asked: it is found
among the coroutines of this event loop, or below the loop on the stack. If none is found, the end of the lifespan
begins the drain. Known are uvicorn, Hypercorn, Granian, and gunicorn with its own ASGI worker or uvicorn's.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from types import CoroutineType, FrameType
from typing import Final, NamedTuple, Protocol

from .parents_sigterm import ParentsSigterm

__all__ = ["ServerPatience", "ServerWatch"]

LOOK_SECONDS: Final = (0.0, 0.1, 0.5, 1.0, 3.0)
"""The pauses before each search for the server. One that is not found by then is of an unknown kind."""
ASK_SECONDS: Final = 0.1
_MAX_DEPTH: Final = 64


class ServerPatience(NamedTuple):
    """How long a server that was told to stop waits for its connections before it breaks them."""

    server: str
    setting: str
    """What sets it, as it is written on the server's command line."""
    seconds: float


class _Server(Protocol):
    @property
    def stopping(self) -> bool:
        """Whether it accepts no more connections."""

    @property
    def development(self) -> bool:
        """Whether a developer waits for it to end."""

    @property
    def patience(self) -> ServerPatience | None:
        """None: it waits for every connection, or does not tell."""


class ServerWatch:
    """Begins the drain when the server stops without a signal. Made and run in the server's event loop.

    Args:
        on_stop: called once, when the server stops.
        on_found: called once, with the patience of a server that is found and does not wait for ever.
        on_serving: called once, when a server is found in a process that runs no test.
    """

    def __init__(
        self,
        on_stop: Callable[[], None],
        on_found: Callable[[ServerPatience], None] | None = None,
        on_serving: Callable[[], object] | None = None,
    ) -> None:
        self._on_stop = on_stop
        self._on_found = on_found
        self._on_serving = on_serving
        self._server: _Server | None = None

    @property
    def development(self) -> bool:
        """Whether a developer waits for the process to end: under a server that reloads, or in a test."""
        if self._server is not None:
            return self._server.development
        return _in_a_test()

    async def run(self) -> None:
        """Find the server, and poll it until it stops. Returns if there is none."""
        for seconds in LOOK_SECONDS:
            await asyncio.sleep(seconds)
            self._server = _find_server()
            if self._server is not None:
                break
        else:
            return
        if self._on_serving is not None and not isinstance(self._server, _TestClient) and not _in_a_test():
            self._on_serving()
        patience = self._server.patience
        if self._on_found is not None and patience is not None and not self._server.development:
            self._on_found(patience)
        sigterm = ParentsSigterm()
        if isinstance(self._server, _Hypercorn):
            sigterm.install()
        while not self._server.stopping:
            await asyncio.sleep(ASK_SECONDS)  # no server has an event for it
            sigterm.check()
        self._on_stop()


class _Uvicorn:
    """`manager`: gunicorn's worker around it, or None."""

    def __init__(self, server: object, manager: object) -> None:
        self._server = server
        self._manager = manager

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
        return _true(self._server, "config", "reload") or _true(self._manager, "cfg", "reload")

    @property
    def patience(self) -> ServerPatience | None:
        own = _patience("uvicorn", "--timeout-graceful-shutdown", self._server, "config", "timeout_graceful_shutdown")
        return own or _patience("gunicorn", "--graceful-timeout", self._manager, "cfg", "graceful_timeout")


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
        return _true(self._local("config"), "use_reloader")

    @property
    def patience(self) -> ServerPatience | None:
        return _patience("Hypercorn", "--graceful-timeout", self._local("config"), "graceful_timeout")


class _Gunicorn:
    """gunicorn's own ASGI worker."""

    def __init__(self, worker: object) -> None:
        self._worker = worker

    @property
    def stopping(self) -> bool:
        return not _true(self._worker, "alive")

    @property
    def development(self) -> bool:
        return _true(self._worker, "cfg", "reload")

    @property
    def patience(self) -> ServerPatience | None:
        return _patience("gunicorn", "--graceful-timeout", self._worker, "cfg", "graceful_timeout")


class _Granian:
    """A worker of Granian's. It is a plain function, which runs the loop until `told`; Rust serves beside it."""

    def __init__(self, told: object, parent: object) -> None:
        self._told = told
        self._parent = parent
        """The server whose process was forked for this worker; None where it was spawned."""

    @property
    def stopping(self) -> bool:
        return isinstance(self._told, asyncio.Event) and self._told.is_set()

    @property
    def development(self) -> bool:
        if self._parent is None:
            return "--reload" in sys.argv or "GRANIAN_RELOAD" in os.environ
        return _true(self._parent, "reload_on_changes")

    @property
    def patience(self) -> ServerPatience | None:
        return _patience("Granian", "--workers-kill-timeout", self._parent, "workers_kill_timeout")


class _TestClient:
    """Starlette's. Its lifespan ends with the test, which should not wait."""

    stopping = False
    development = True
    patience = None


def _in_a_test() -> bool:
    """Whether this is pytest's own process: a process that it starts inherits the variable, but not the module."""
    return "pytest" in sys.modules and "PYTEST_CURRENT_TEST" in os.environ


def _find_server() -> _Server | None:
    manager: object = None
    for coroutine, frame in _waiting_coroutines():
        match frame.f_globals.get("__name__"), frame.f_code.co_name:
            case "uvicorn.workers" | "uvicorn_worker._workers", "_serve":
                manager = frame.f_locals.get("self")
            case "uvicorn.server", "serve" | "_serve":
                return _Uvicorn(frame.f_locals.get("self"), manager)
            case "hypercorn.asyncio.run", "worker_serve":
                return _Hypercorn(coroutine)
            case "gunicorn.workers.gasgi", "_serve":
                return _Gunicorn(frame.f_locals.get("self"))
            case "starlette.testclient", "lifespan":
                return _TestClient()
    return _find_granian()


def _find_granian() -> _Server | None:
    told: object = None
    frame: FrameType | None = sys._getframe()  # noqa: SLF001 -- the documented way; `inspect` has no cheaper one
    while frame is not None:
        module, name = frame.f_globals.get("__name__"), frame.f_code.co_name
        if module in ("granian.server.mp", "granian.server.mt") and "evp" in frame.f_locals:
            told = frame.f_locals["evp"]
        elif told is not None and module == "granian.server.common" and name in ("serve", "_serve"):
            return _Granian(told, frame.f_locals.get("self"))
        frame = frame.f_back
    return None if told is None else _Granian(told, None)


def _waiting_coroutines() -> Iterator[tuple[CoroutineType[object, object, object], FrameType]]:
    """The waiting coroutines of this event loop, the outermost of each task first."""
    for task in asyncio.all_tasks():
        coroutine: object = task.get_coro()
        for _ in range(_MAX_DEPTH):
            if not isinstance(coroutine, CoroutineType) or coroutine.cr_frame is None:
                break
            yield coroutine, coroutine.cr_frame
            coroutine = coroutine.cr_await


def _of(owner: object, *names: str) -> object:
    """An attribute of an attribute; None where one is missing."""
    for name in names:
        owner = getattr(owner, name, None)
    return owner


def _true(owner: object, *names: str) -> bool:
    return bool(_of(owner, *names))


def _patience(server: str, setting: str, owner: object, *names: str) -> ServerPatience | None:
    seconds = _of(owner, *names)
    return ServerPatience(server, setting, float(seconds)) if isinstance(seconds, (int, float)) else None
