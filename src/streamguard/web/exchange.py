"""What the outermost layer and the innermost response tell each other about one HTTP exchange."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .headers import RawHeaders, expose

__all__ = ["CutLayer", "Exchange", "exchange_of"]

_SCOPE_KEY: Final = "streamguard.exchange"


@dataclass(slots=True, eq=False)
class Exchange:
    """Lives in the scope. An object and not a scope key, because mounts and middlewares copy the scope's dict."""

    cut: bool = False
    """The response ended without its stream's terminal: no final body message may go out."""
    headers: RawHeaders = field(default_factory=list)
    """Ids for whatever answer this exchange gets, also one that is not ours (a host's `HTTPException`)."""


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
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
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

        await self.app(scope, receive, outermost_send)


async def _nothing() -> None:
    """What sending a message that is swallowed comes to."""


def _completed(headers: RawHeaders, ids: RawHeaders) -> RawHeaders:
    present = {name.lower() for name, _ in headers}
    return expose(headers + [line for line in ids if line[0] not in present])
