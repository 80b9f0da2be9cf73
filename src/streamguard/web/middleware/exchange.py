"""What the outermost layer and the innermost response tell each other about one HTTP exchange."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple, Protocol

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from ..headers import RawHeaders, header_of
from .application_call import ApplicationCall
from .request_reader import RequestReader, declared_length

__all__ = [
    "EXCHANGE",
    "AnswerIds",
    "Exchange",
    "LayerSends",
    "Placement",
    "ResponseState",
    "exchange_of",
    "reader_of",
    "reading_through",
]

EXCHANGE: Final = "streamguard.exchange"
"""The key of a scope under which its exchange is."""


class Placement(Enum):
    """Where the outermost layer is."""

    NOWHERE = "there is none"
    INSIDE = "inside a BaseHTTPMiddleware of the host's"
    OUTERMOST = "outside every middleware that could end an answer, as far as it can be known"


class ResponseState(Enum):
    """How much of the response the client has, which decides how the connection ends."""

    WHOLE = "nothing is missing: a response that is no stream, or a stream whose terminal went out"
    CUT_SHORT = "there is more, but not on this connection: the client has to see a broken connection"
    CLIENT_LEFT = "the client left, and does not see how the response ends"


class AnswerIds(Protocol):
    """The ids of an answer, as far as they are known."""

    def headers(self) -> RawHeaders:
        """Their headers."""
        ...


class LayerSends(NamedTuple):
    """The `send` that the outermost layer gives the application, and the one that it was given. A message that has more
    to follow passes from one to the other as it is."""

    inner: Send
    outer: Send


@dataclass(slots=True, eq=False)
class Exchange:
    """Lives in the scope. An object and not a scope key, because mounts and middlewares copy the scope's dict."""

    response: ResponseState = ResponseState.WHOLE
    """Unless it is whole, no final body message may go out."""
    ids: AnswerIds | None = None
    """For the headers of every answer to this exchange, also one that is not ours (a host's `HTTPException`)."""
    call: ApplicationCall | None = None
    """The call of the application, where the outermost layer made one. None: the server's own call, which ends with
    the connection."""
    arrived_at: float = field(default_factory=time.monotonic)
    """When the outermost layer saw the request, before any code of the host's; without a layer, when our first code
    did."""
    reader: RequestReader | None = None
    """Reads the request; None until our code reads it."""
    endpoint_task: asyncio.Task[object] | None = None
    """The task in which a guarded endpoint was called for it."""
    rule: str | None = None
    """The rule of `StreamGuardMiddleware` that answers it, by its name for messages."""
    withheld: RawHeaders | None = None
    """The request's header lines as the layer got them, where it took out the encodings for a rule that may turn out
    not to match."""
    placement: Placement = Placement.NOWHERE
    """Where the layer is that this exchange began in."""
    sends: LayerSends | None = None
    """Those of the layer, while it calls the application."""
    mounted: bool = False
    """That layer is around an application which is mounted in another one."""
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    """The event loop that serves it. Before Python 3.12, asking for it anew is a system call each time."""


def exchange_of(scope: Scope) -> Exchange:
    """The scope's exchange; a new one where no layer put it there."""
    exchange: Exchange | None = scope.get(EXCHANGE)
    if exchange is None:
        exchange = scope[EXCHANGE] = Exchange()
    return exchange


def reader_of(request: Request, exchange: Exchange) -> RequestReader:
    """The reader of an endpoint's request, whose exchange that is. From here on the request reads through it, for every
    holder of the request."""
    # Dependencies hold this very object, and it has no other door.
    reader, request._receive = reading_through(exchange, request.scope, request.receive)  # noqa: SLF001
    return reader


def reading_through(exchange: Exchange, scope: Scope, receive: Receive) -> tuple[RequestReader, Receive]:
    """The reader of a request, and a `receive` that reads through it in the place of `receive`. A new reader where no
    layer put one there."""
    reader = exchange.reader
    if reader is not None:
        return reader, reader.outlasting(receive)
    declared = declared_length(header_of(scope, b"content-length"))
    reader = exchange.reader = RequestReader(receive, limit=lambda: None, declared=declared)
    return reader, reader.receive_for_endpoint
