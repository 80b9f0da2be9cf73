"""What OpenAPI says of each route of the guard's, and the endpoint through which FastAPI runs it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

from fastapi import Header, Path, Query
from pydantic import BaseModel, WithJsonSchema
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ...faults import FaultCode
from ...web.routes.paths import RouteName
from .._openapi.answers import (
    StreamguardError,
    StreamguardLiveness,
    StreamguardMessages,
    StreamguardReadiness,
    StreamguardSession,
    StreamguardStopped,
    StreamguardStreaming,
)
from .._openapi.descriptions import ERROR_BODY, Described, Responses, failures, stream_response

__all__ = ["Documentation", "documentation_of", "endpoint_of"]

# Every parameter is a text that may be missing: the routes check them, and answer with a fault.
_Session = Annotated[str, Path(description="The conversation's id, percent-encoded: one path segment.")]
_Stream = Annotated[str, Path(description="An answer's id, as `X-Stream-Id` had it.")]
_Cursor = Annotated[str | None, Query(description="The last event's id that the client has, where it sends no header.")]
_LastEventId = Annotated[
    str | None, Header(alias="Last-Event-ID", description="The last event's id: resumes after it.")
]
_Errors = Annotated[
    str | None,
    Query(description="`stream`: failures have status 200 and are told in the stream, for a browser's EventSource."),
    WithJsonSchema({"type": "string", "enum": ["stream"]}),
]
_StreamId = Annotated[str | None, Query(description="Stop this answer only.")]
_MessageId = Annotated[str | None, Query(description="Stop the answer with this message only.")]
_After = Annotated[
    str | None,
    Query(description="The position before the page's first message."),
    WithJsonSchema({"type": "integer", "minimum": 0, "default": 0}),
]
_Limit = Annotated[
    str | None,
    Query(description="How many messages."),
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 500, "default": 100}),
]
_Branches = Annotated[
    str | None,
    Query(description="1: also the messages of branches that were edited away."),
    WithJsonSchema({"type": "integer", "enum": [0, 1], "default": 0}),
]

_STOP_BODY: Final = {
    "requestBody": {
        "required": False,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {"stream_id": {"type": "string"}, "message_id": {"type": "string"}},
                }
            }
        },
    }
}
_ANY: Final = (
    *(FaultCode.SESSION_INVALID, FaultCode.UNAUTHENTICATED, FaultCode.LIMIT_RATE),
    *(FaultCode.INTERNAL, FaultCode.STORE_UNAVAILABLE),
)
_GONE: Final = "Nothing to do: no such answer is running."


@dataclass(frozen=True, slots=True)
class Documentation:
    """One operation: what FastAPI's `add_api_route` takes."""

    name: str
    """Unique: hosts make ids of operations from it."""
    summary: str
    responses: Responses
    response_class: type[Response] = JSONResponse
    status_code: int = 200
    openapi_extra: dict[str, Any] = field(default_factory=dict)


def documentation_of(route: RouteName, method: str) -> Documentation:
    """What is said of a route, asked with this method."""
    match route:
        case RouteName.RESUME:
            there: Responses = {200: stream_response(None), 204: {"description": "There is nothing to resume."}}
            faults = _failures(FaultCode.CURSOR_INVALID, FaultCode.RESUME_FAILED, FaultCode.LIMIT_VIEWERS)
            return Documentation("resume", "Resume the running or last answer", {**there, **faults}, Described)
        case RouteName.STOP:
            stopped: Responses = {202: {"model": StreamguardStopped}, 204: {"description": _GONE}}
            faults = _failures(FaultCode.REQUEST_INVALID, FaultCode.FORBIDDEN_ORIGIN, FaultCode.PAYLOAD_TOO_LARGE)
            return Documentation(
                "stop", "Stop an answer", {**stopped, **faults}, status_code=202, openapi_extra=_STOP_BODY
            )
        case RouteName.SESSION if method == "DELETE":
            erased: Responses = {204: {"description": "Nothing of the session is left."}}
            faults = _failures(FaultCode.FORBIDDEN_ORIGIN)
            return Documentation("erase_session", "Erase a session", {**erased, **faults}, Described, 204)
        case RouteName.SESSION:
            return Documentation(
                "session", "A session's answers", {200: {"model": StreamguardSession}, **_failures(model=True)}
            )
        case RouteName.MESSAGES:
            faults = _failures(FaultCode.REQUEST_INVALID, FaultCode.NOT_FOUND)
            return Documentation(
                "messages", "A session's saved messages", {200: {"model": StreamguardMessages}, **faults}
            )
        case RouteName.RAW:
            text: Responses = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}
            faults = _failures(FaultCode.NOT_FOUND, FaultCode.LIMIT_VIEWERS)
            return Documentation("raw", "Download an answer's text", {**text, **faults}, Described)
        case RouteName.LIVE:
            return Documentation("live", "Whether the process runs", {200: {"model": StreamguardLiveness}})
        case RouteName.READY:
            return Documentation("ready", "Whether new answers are admitted", _either(StreamguardReadiness))
        case RouteName.STREAMING:
            return Documentation("streaming", "Whether answers are resumable", _either(StreamguardStreaming))


def endpoint_of(
    route: RouteName, answer: Callable[[Request], Awaitable[Response]]
) -> Callable[..., Awaitable[Response]]:
    """A new function for FastAPI, whose signature has the route's parameters. `answer` answers."""

    async def resume(
        request: Request,
        session: _Session,
        cursor: _Cursor = None,
        errors: _Errors = None,
        last_event_id: _LastEventId = None,
    ) -> Response:
        return await answer(request)

    async def stop(
        request: Request,
        session: _Session,
        stream_id: _StreamId = None,
        message_id: _MessageId = None,
        cursor: _Cursor = None,
    ) -> Response:
        return await answer(request)

    async def messages(
        request: Request, session: _Session, after: _After = None, limit: _Limit = None, branches: _Branches = None
    ) -> Response:
        return await answer(request)

    async def raw(request: Request, session: _Session, stream: _Stream) -> Response:
        return await answer(request)

    async def of_session(request: Request, session: _Session) -> Response:
        return await answer(request)

    async def health(request: Request) -> Response:
        return await answer(request)

    match route:
        case RouteName.RESUME:
            return resume
        case RouteName.STOP:
            return stop
        case RouteName.SESSION:
            return of_session
        case RouteName.MESSAGES:
            return messages
        case RouteName.RAW:
            return raw
        case RouteName.LIVE | RouteName.READY | RouteName.STREAMING:
            return health


def _either(model: type[BaseModel]) -> Responses:
    return {200: {"model": model}, 503: {"model": model}}


def _failures(*codes: FaultCode, model: bool = False) -> Responses:
    """With `model`, FastAPI makes the component to which all others refer."""
    return failures((*_ANY, *codes), {"model": StreamguardError} if model else ERROR_BODY)
