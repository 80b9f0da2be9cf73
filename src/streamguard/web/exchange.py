"""What the outermost layer and the innermost response tell each other about one HTTP exchange."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .call import Call
from .headers import RawHeaders, expose

__all__ = ["CutLayer", "Exchange", "exchange_of"]

_SCOPE_KEY: Final = "streamguard.exchange"

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods whose calls stay in the server's own task."""


@dataclass(slots=True, eq=False)
class Exchange:
    """Lives in the scope. An object and not a scope key, because mounts and middlewares copy the scope's dict."""

    cut: bool = False
    """The response ended without its stream's terminal: no final body message may go out."""
    headers: RawHeaders = field(default_factory=list)
    """Ids for whatever answer this exchange gets, also one that is not ours (a host's `HTTPException`)."""
    call: Call | None = None
    """The framework's call, where a layer of ours made it; without one it is the server's own, and ends with it."""


def exchange_of(scope: Scope) -> Exchange:
    """The scope's exchange; a new one where no layer put it there."""
    exchange = scope.get(_SCOPE_KEY)
    if not isinstance(exchange, Exchange):
        exchange = scope[_SCOPE_KEY] = Exchange()
    return exchange


class CutLayer:
    """Outermost ASGI layer: has a cut response end as a broken connection, whatever middlewares are inside.

    A response that merely stops is enough for a server to break the connection. But `BaseHTTPMiddleware` runs the
    app in a task of its own and writes the final, empty body message when that returns: a clean end, which every
    client reads as success. That one message is swallowed, and nothing else is.

    A call that may begin a stream runs in a task of its own (see `Call`). Inside another such layer, as in a mounted
    application, it does nothing.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or isinstance(scope.get(_SCOPE_KEY), Exchange):
            await self.app(scope, receive, send)
            return
        exchange = exchange_of(scope)

        def outermost_send(message: Message) -> Awaitable[None]:  # no coroutine of its own for each event
            if message.get("more_body"):
                return send(message)
            if message["type"] == "http.response.body":
                if exchange.cut:
                    return _nothing()
            elif exchange.headers and message["type"] == "http.response.start":
                message = {**message, "headers": _completed(list(message.get("headers", ())), exchange.headers)}
            return send(message)

        if scope["method"] in _SAFE:
            await self.app(scope, receive, outermost_send)
            return
        exchange.call = Call()
        await exchange.call.run(self.app, scope, receive, outermost_send)


async def _nothing() -> None:
    """What sending a message that is swallowed comes to."""


def _completed(headers: RawHeaders, ids: RawHeaders) -> RawHeaders:
    present = {name.lower() for name, _ in headers}
    return expose(headers + [line for line in ids if line[0] not in present])
