"""Which answer a client's command means: by the ids it gives, in any of the places where clients put them.

A client knows its answer by the headers `X-Stream-Id` and `X-Message-Id` of the response, by the ids of its events, and
by what the routes say of it. It gives them back in the query, in the same headers, as a cursor, or in a JSON body. All
that is given has to be right: an answer that only some of it names is not meant.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote

from starlette.requests import ClientDisconnect, Request

from ...cursor import Cursor
from ...decoding import read_json
from ...errors import CursorInvalidError, FaultError
from ...faults import Fault, FaultCode
from ...runtime import Meant
from ..headers import header_value

__all__ = ["MAX_BODY_BYTES", "answer_meant"]

MAX_BODY_BYTES: Final = 65_536
"""Of a command's body; ids take a few hundred."""


async def answer_meant(request: Request) -> Meant:
    """The answer that `request` names; `WHATEVER_RUNS` if it names none.

    Raises:
        FaultError: `request_invalid` when a name is empty, no text, or given in two different ways; `cursor_invalid`;
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
    return Meant(_one("stream_id", streams), _one("message_id", messages))


def _one(name: str, given: list[str]) -> str | None:
    """The one thing that is given, however often.

    Raises:
        FaultError: it is empty, or there are several.
    """
    if not given:
        return None
    value, *others = set(given)
    if others:
        raise _invalid(f"{name} is given with different values.", f"{name}_ambiguous")
    if not value:
        raise _invalid(f"{name} is empty. Leave it out to mean the answer that is running.", f"{name}_empty")
    return value


def _from_header(value: str) -> str:
    """The text that our responses write so into a header."""
    text = unquote(value)
    return text if header_value(text).decode() == value else value


def _stream_of(cursor: str) -> str:
    try:
        return Cursor.parse(cursor).stream_id
    except CursorInvalidError as exc:
        raise FaultError(Fault.of(FaultCode.CURSOR_INVALID)) from exc


async def _body(request: Request) -> dict[str, list[str]]:
    """The ids that a JSON body gives. Any other body says nothing.

    Raises:
        FaultError: it is too large, breaks off, or an id in it is no text.
    """
    raw = bytearray()
    try:
        async for piece in request.stream():
            raw += piece
            if len(raw) > MAX_BODY_BYTES:
                raise FaultError(Fault.of(FaultCode.PAYLOAD_TOO_LARGE, reason="command_body"))
    except ClientDisconnect as exc:  # what it was to name is not known
        raise _invalid("The request broke off.", "disconnected") from exc
    try:
        found = read_json(bytes(raw))
    except ValueError:
        return {}
    given: dict[str, list[str]] = {}
    for name in ("stream_id", "message_id"):
        value = found.get(name) if isinstance(found, dict) else None
        if value is None:
            continue
        if not isinstance(value, str):
            raise _invalid(f"{name} is a text.", f"{name}_invalid")
        given[name] = [value]
    return given


def _invalid(message: str, reason: str) -> FaultError:
    return FaultError(Fault.of(FaultCode.REQUEST_INVALID, message=message, reason=reason))
