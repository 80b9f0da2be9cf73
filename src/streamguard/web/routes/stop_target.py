"""Which stream a stop request names.

A client knows the ids of its answer from the response's headers `X-Stream-Id` and `X-Message-Id`, from the ids of its
events, and from the routes. It sends them back in the query, in the same headers, as a cursor, or in a JSON body. A
stream is stopped only if every id that the request has is right.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote

from starlette.requests import ClientDisconnect, Request

from ...cursor import Cursor
from ...decoding import read_json
from ...errors import CursorInvalidError, FaultError
from ...faults import Fault, FaultCode
from ...runtime import StopTarget
from ..headers import header_value

__all__ = ["MAX_BODY_BYTES", "stop_target_of"]

MAX_BODY_BYTES: Final = 65_536
"""How large the body of a stop request may be; ids take a few hundred bytes."""


async def stop_target_of(request: Request) -> StopTarget:
    """The stream that `request` names; `ANY_STREAM` if it names none.

    Raises:
        FaultError: `request_invalid` if an id is empty, no text, or given with different values; `cursor_invalid`;
            `payload_too_large`.
    """
    query, headers = request.query_params, request.headers
    body = await _body(request)
    streams = [
        *query.getlist("stream_id"),
        *headers.getlist("x-stream-id"),
        *body.get("stream_id", []),
        *(_stream_of(text) for text in (*query.getlist("cursor"), *headers.getlist("last-event-id"))),
    ]
    messages = [
        *query.getlist("message_id"),
        *(_from_header(text) for text in headers.getlist("x-message-id")),
        *body.get("message_id", []),
    ]
    return StopTarget(_one("stream_id", streams), _one("message_id", messages))


def _one(name: str, values: list[str]) -> str | None:
    """The one value of `values`, which may have it several times; None without one.

    Raises:
        FaultError: the value is empty, or there are several.
    """
    if not values:
        return None
    value, *others = set(values)
    if others:
        raise _invalid(f"{name} is given with different values.", f"{name}_ambiguous")
    if not value:
        raise _invalid(f"{name} is empty. Leave it out to mean the answer that is running.", f"{name}_empty")
    return value


def _from_header(value: str) -> str:
    """The text of a header that our responses wrote with `header_value`."""
    text = unquote(value)
    return text if header_value(text).decode() == value else value


def _stream_of(cursor: str) -> str:
    try:
        return Cursor.parse(cursor).stream_id
    except CursorInvalidError as exc:
        raise FaultError(Fault.of(FaultCode.CURSOR_INVALID)) from exc


async def _body(request: Request) -> dict[str, list[str]]:
    """The ids in a JSON body. Any other body has none.

    Raises:
        FaultError: the body is too large, breaks off, or has an id that is no text.
    """
    raw = bytearray()
    try:
        async for piece in request.stream():
            raw += piece
            if len(raw) > MAX_BODY_BYTES:
                raise FaultError(Fault.of(FaultCode.PAYLOAD_TOO_LARGE, reason="command_body"))
    except ClientDisconnect as exc:
        raise _invalid("The request broke off.", "disconnected") from exc
    try:
        found = read_json(bytes(raw))
    except ValueError:
        return {}
    ids: dict[str, list[str]] = {}
    for name in ("stream_id", "message_id"):
        value = found.get(name) if isinstance(found, dict) else None
        if value is None:
            continue
        if not isinstance(value, str):
            raise _invalid(f"{name} is a text.", f"{name}_invalid")
        ids[name] = [value]
    return ids


def _invalid(message: str, reason: str) -> FaultError:
    return FaultError(Fault.of(FaultCode.REQUEST_INVALID, message=message, reason=reason))
