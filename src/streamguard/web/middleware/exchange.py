"""What the outermost layer and the innermost response tell each other about one HTTP exchange."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from starlette.datastructures import Headers
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..application.guarded_endpoint import guarded_endpoint
from ..headers import RawHeaders, expose
from ..misuse import Misuse
from .application_call import Call
from .body_too_large import Oversize, caused_by_oversize
from .request_reader import Intake, declared_length

__all__ = ["CutLayer", "Exchange", "Placement", "break_off", "exchange_of", "in_middlewares_task", "intake_of"]

_SCOPE_KEY: Final = "streamguard.exchange"
_MIDDLEWARES_TASK: Final = f"{BaseHTTPMiddleware.__module__}."
"""How anyio names the task in which `BaseHTTPMiddleware` runs what is inside it."""


class Placement(Enum):
    """Where our layer is."""

    NOWHERE = "there is none"
    INSIDE = "inside a BaseHTTPMiddleware of the host's"
    OUTERMOST = "outside everything that could end an answer, as far as can be told"


@dataclass(slots=True, eq=False)
class Exchange:
    """Lives in the scope. An object and not a scope key, because mounts and middlewares copy the scope's dict."""

    cut: bool = False
    """The response ended without its stream's terminal: no final body message may go out."""
    gone: bool = False
    """The client left, so that it is all the same to it how the response ends."""
    headers: RawHeaders = field(default_factory=list)
    """Ids for whatever answer this exchange gets, also one that is not ours (a host's `HTTPException`)."""
    call: Call | None = None
    """The framework's call, where a layer of ours made it; without one it is the server's own, and ends with it."""
    arrived_at: float = field(default_factory=time.monotonic)
    """When the outermost layer saw the request, before anything of the host's; without one, when our first code did."""
    intake: Intake | None = None
    """Reads the request; None until something of ours reads it."""
    called_in: asyncio.Task[object] | None = None
    """The task in which a guarded endpoint was called for it."""
    placement: Placement = Placement.NOWHERE
    """Where the layer is that this exchange began in."""
    mounted: bool = False
    """That layer is around an application which is mounted in another one."""

    @property
    def is_cut_short(self) -> bool:
        """Whether a client is there, and has to see a broken connection."""
        return self.cut and not self.gone


def exchange_of(scope: Scope) -> Exchange:
    """The scope's exchange; a new one where no layer put it there."""
    exchange = scope.get(_SCOPE_KEY)
    if not isinstance(exchange, Exchange):
        exchange = scope[_SCOPE_KEY] = Exchange()
    return exchange


def intake_of(request: Request) -> Intake:
    """Reads the request of an endpoint; a new one under the request's own `receive` where no layer put one there.

    From here on the request, and whoever holds it, reads through it.
    """
    exchange = exchange_of(request.scope)
    intake = exchange.intake
    if intake is None:
        declared = declared_length(request.headers.get("content-length"))
        intake = exchange.intake = Intake(request.receive, limit=lambda: None, declared=declared)
        request._receive = intake.receive  # noqa: SLF001 -- dependencies hold this very object, and it has no other door
    else:
        request._receive = intake.below(request.receive)  # noqa: SLF001 -- likewise
    return intake


class CutLayer:
    """Outermost ASGI layer: what must hold whatever middlewares are inside.

    **A cut response ends as a broken connection.** One that merely stops is enough for a server to break the
    connection. But `BaseHTTPMiddleware` runs the app in a task of its own and writes the final, empty body message when
    that returns: a clean end, which every client reads as success. That one message is swallowed, and nothing else is.

    **A request's messages are read here**, for the endpoint and for its viewer: see `Intake`.

    **A body that is too large is refused**, as its bytes come: see `Oversize`.

    A guarded endpoint's call runs in a task of its own (see `Call`). Inside another such layer, as in a mounted
    application, it does nothing. `routes` are the application's.

    Where it is not outermost, a `BaseHTTPMiddleware` outside it can end what it cut: see `break_off`.
    """

    def __init__(self, app: ASGIApp, routes: Callable[[], Iterable[BaseRoute]] = tuple) -> None:
        self.app = app
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or isinstance(scope.get(_SCOPE_KEY), Exchange):
            await self.app(scope, receive, send)
            return
        exchange = exchange_of(scope)
        exchange.placement = Placement.INSIDE if in_middlewares_task() else Placement.OUTERMOST
        exchange.mounted = "router" in scope  # which the outermost router puts there
        oversize: Oversize | None = None
        started = False
        forward = send

        def limit() -> int | None:
            found = guarded_endpoint(scope, self._routes)
            return None if found is None else found.max_request_bytes

        def refused() -> None:
            nonlocal oversize
            found = guarded_endpoint(scope, self._routes)
            if found is not None and not started:
                oversize = Oversize(found, scope, send)
                oversize.watch()

        def outermost_send(message: Message) -> Awaitable[None]:  # no coroutine of its own for each event
            nonlocal started, forward
            if message.get("more_body"):
                return forward(message)
            if message["type"] == "http.response.body":
                if exchange.cut:
                    return _swallow(message)
            elif message["type"] == "http.response.start":
                if oversize is not None and (oversize.answered or not _told(exchange)):
                    forward = _swallow
                    return oversize.answer(message.get("headers", ()))
                started = True
                if exchange.headers:
                    message = {**message, "headers": _completed(list(message.get("headers", ())), exchange.headers)}
            return forward(message)

        async def called(scope: Scope, receive: Receive, send: Send) -> None:
            """The application's call, reading through an intake."""
            declared = declared_length(Headers(scope=scope).get("content-length"))
            intake = exchange.intake = Intake(receive, limit=limit, declared=declared, on_refused=refused)
            try:
                await self.app(scope, intake.receive, send)
            except Exception as exc:
                if oversize is None or not caused_by_oversize(exc):
                    raise
            finally:
                intake.close()
                if oversize is not None:
                    await oversize.settle()
            if oversize is not None and not started:
                await oversize.answer()

        try:
            if guarded_endpoint(scope, self._routes) is None:
                await called(scope, receive, outermost_send)
            else:
                exchange.call = Call()
                await exchange.call.run(called, scope, receive, outermost_send)
        except Exception:
            if exchange.placement is Placement.INSIDE and exchange.is_cut_short:
                await break_off(send)
            raise
        if exchange.placement is Placement.INSIDE and exchange.is_cut_short:
            await break_off(send)


class _Unwritable:
    """What a server fails with when it is to write it."""

    def __bool__(self) -> bool:
        return True

    def __len__(self) -> int:
        raise Misuse.ENDED_BY_ERROR.error()

    def __bytes__(self) -> bytes:
        raise Misuse.ENDED_BY_ERROR.error()


async def break_off(send: Send) -> None:
    """Have the connection broken from inside a `BaseHTTPMiddleware`, which would end the response like a whole one.

    That is so whether what is inside returns or raises. But it passes on whatever it is given for a body, as do others
    like it around it, and the server, which cannot write this one, breaks the connection. For hosts that did not put
    the layer outside (`Misuse.LAYER_INSIDE` tells them to); `StreamGuard.wrap` needs none of it.
    """
    await send({"type": "http.response.body", "body": _Unwritable(), "more_body": True})


def in_middlewares_task() -> bool:
    """Whether this is the task in which a `BaseHTTPMiddleware` runs what is inside it."""
    task = asyncio.current_task()
    return task is not None and task.get_name().startswith(_MIDDLEWARES_TASK)


async def _swallow(message: Message) -> None:
    """Send nothing."""


def _completed(headers: RawHeaders, ids: RawHeaders) -> RawHeaders:
    present = {name.lower() for name, _ in headers}
    return expose(headers + [line for line in ids if line[0] not in present])


def _told(exchange: Exchange) -> bool:
    """Whether the endpoint itself answers that the body is too large."""
    return exchange.intake is not None and exchange.intake.told
