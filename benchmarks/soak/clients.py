"""Sends one request of a soak's client, and records it and its answer as an `Attempt`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import quote

import h11
from tests.harness.sse import Ending, SseConnection, open_sse

from .history import Action, Attempt, End, Seen
from .wire import PROTOCOLS, fault_in

__all__ = ["SILENCE_SECONDS", "Clock", "Request", "carry_out"]

SILENCE_SECONDS: Final = 20.0
"""Silence after which a stream counts as dead. Keep-alives come every second, and no fault delays them for more than
five seconds."""

Clock = Callable[[], float]
"""Returns the seconds since the soak began."""

_ENDS: Final = {
    Ending.CLEAN: End.CLEAN,
    Ending.CUT: End.CUT,
    Ending.UNFRAMED: End.CUT,
    Ending.DROPPED: End.DROPPED,
    Ending.OPEN: End.DROPPED,
}


@dataclass(frozen=True, slots=True)
class Request:
    """A viewer's request."""

    viewer: str
    action: Action
    owner: str
    session: str
    path: str
    port: int
    body: bytes = b""
    cursor: str | None = None
    in_query: bool = False
    in_stream: bool = False
    """Whether failures are to be reported inside the stream."""
    drop_after: int | None = None
    """Break the connection after this many bytes of the body; None: never."""
    request_key: str | None = None
    nonce: str | None = None


async def carry_out(request: Request, clock: Clock) -> Attempt:
    """Send a request and read the response to its end, or as far as the request says. A server's failures raise
    nothing."""
    blank = Attempt(
        viewer=request.viewer,
        action=request.action,
        owner=request.owner,
        session=request.session,
        begun=clock(),
        ended=0.0,
        status=0,
        end=End.NONE,
        cursor=request.cursor,
        nonce=request.nonce,
        request_key=request.request_key,
    )
    connection: SseConnection | None = None
    end = End.NONE
    try:
        async with open_sse(
            request.port,
            _path(request),
            method="POST" if request.action in (Action.ASK, Action.STOP) else "GET",
            headers=_headers(request),
            body=request.body,
            timeout=SILENCE_SECONDS,
        ) as connection:
            try:
                if request.drop_after is not None and connection.status == 200:
                    await connection.read_bytes(request.drop_after)
                    await connection.drop()
                else:
                    await connection.read_rest()
                end = _ENDS[connection.ending]
            except TimeoutError:
                end = End.SILENT
    except (OSError, h11.ProtocolError):
        pass  # refused, or cut before the head
    except TimeoutError:
        end = End.SILENT
    if connection is None:
        return replace(blank, ended=clock(), end=end)
    return _told(replace(blank, ended=clock(), end=end), connection, request)


def _path(request: Request) -> str:
    query = []
    if request.cursor is not None and request.in_query:
        query.append(f"cursor={quote(request.cursor, safe='')}")
    if request.in_stream:
        query.append("errors=stream")
    return request.path + ("?" + "&".join(query) if query else "")


def _headers(request: Request) -> dict[str, str]:
    headers = {"X-User": request.owner}
    if request.body:
        headers["Content-Type"] = "application/json"
    if request.cursor is not None and not request.in_query:
        headers["Last-Event-ID"] = request.cursor
    if request.request_key is not None:
        headers["Idempotency-Key"] = request.request_key
    return headers


def _told(attempt: Attempt, connection: SseConnection, request: Request) -> Attempt:
    """The attempt, completed from its response."""
    stream_id = connection.headers.get("x-stream-id")
    if "text/event-stream" not in connection.headers.get("content-type", ""):
        fault = _fault_of(bytes(connection.body))
        return replace(
            attempt,
            status=connection.status,
            stream_id=stream_id,
            code=fault.get("code"),
            reason=fault.get("reason") or connection.headers.get("x-resume-reason"),
        )
    seen = tuple(Seen(event.id, event.event, event.data) for event in connection.events)
    if request.in_stream and connection.reader.retry_ms is not None:
        told = (found for one in seen for name in PROTOCOLS if (found := fault_in(one, name)))
        fault = next(told, {})
        return replace(
            attempt,
            status=int(fault.get("status", 0)),  # 0: cut before the fault was sent
            stream_id=stream_id,
            code=fault.get("code"),
            reason=fault.get("reason"),
        )
    return replace(attempt, status=connection.status, stream_id=stream_id, seen=seen)


def _fault_of(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}
