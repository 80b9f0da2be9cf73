"""The route that resumes a session's stream."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from ...cursor import Cursor
from ...errors import FaultError
from ...faults import Fault
from ...observations import Signal
from ...runtime import Nothing, Resumed
from ...values import MAX_SEQ
from ...wire import protocol_named
from ..guard_context import GuardContext
from ..headers import stream_headers
from ..response.plain_responses import fault_response, no_content
from ..response.resumption import cursor_of, resume_response
from ..response.view_options import ViewOptions
from ..response_ids import ResponseIds
from .paths import RouteTarget
from .session_key import session_of, tell_who

__all__ = ["ResumeRoute"]

RETRY_MS: Final = 3000
"""How long a native EventSource waits before it comes back after a failure that may pass."""
NO_STREAM: Final = "0" * 24
"""The stream id in the end cursor of a failure that concerns no stream."""


class ResumeRoute:
    """Answers `GET {prefix}/{session}/stream`."""

    def __init__(self, context: GuardContext) -> None:
        self._context = context

    async def answer(self, target: RouteTarget, request: Request, ids: ResponseIds) -> Response:
        """The rest of the stream, 204, or a fault: with `?errors=stream` as an event of its own stream."""
        in_stream = request.query_params.get("errors") == "stream"
        cursor: Cursor | None = None
        try:
            cursor = await self._cursor(target, request, ids)
            if in_stream and cursor is not None and cursor.seq == MAX_SEQ:
                # The end cursor of a fault in a stream. It is answered before authentication: otherwise a browser that
                # must not come back would get another fault, again and again.
                return no_content([*ids.headers(), (b"x-resume-reason", b"finished")])
            return await self._resume(target, request, cursor, ids)
        except FaultError as exc:
            fault = self._context.observe_refusal(exc, ids, request.scope, signal=Signal.RESUME_REFUSED)
            if in_stream:
                return self._fault_in_stream(fault, cursor, ids)
            return fault_response(fault, ids.headers())

    async def _cursor(self, target: RouteTarget, request: Request, ids: ResponseIds) -> Cursor | None:
        """The request's cursor. One that is none is refused before authentication, as the end cursor is answered."""
        try:
            return cursor_of(request)
        except FaultError:
            await tell_who(self._context, target, request, ids)
            raise

    async def _resume(self, target: RouteTarget, request: Request, cursor: Cursor | None, ids: ResponseIds) -> Response:
        context = self._context
        throttle = context.runtime.viewer_registry.throttle
        await throttle.passed()  # here, since a token may take long to check
        key, _ = await session_of(context, target, request, ids)
        context.limits.reads.spend(key.owner)
        slot = context.limits.viewers.take(key.owner)
        try:
            found = await context.runtime.sessions.resume(key, cursor)
            whole = cursor is None and request.method == "GET"
            before = await self._before(request, found) if whole else b""
            await throttle.passed()  # again, since a store may answer many at once
        except BaseException:
            slot.release()
            raise
        return resume_response(context, request, ids, found, slot, has_cursor=cursor is not None, before=before)

    async def _before(self, request: Request, found: Resumed | Nothing) -> bytes:
        """What a client gets before a log that continues a message; empty where it continues none."""
        if isinstance(found, Nothing):
            return b""
        runtime, meta = self._context.runtime, found.meta
        protocol = protocol_named(meta.protocol, meta.client_version)
        if not protocol.tells_continued:
            return b""
        message = await runtime.stored_replies.message_before(meta)
        if message is None:
            return b""
        ids = ViewOptions.of(self._context, request, binding=meta.binding, ids=protocol.ids_by_default).ids
        cursor = str(Cursor(meta.ref.stream_id, meta.epoch, 0)) if ids else None
        return protocol.continued(message, cursor, max_event_bytes=runtime.settings.max_event_bytes)

    def _fault_in_stream(self, fault: Fault, cursor: Cursor | None, ids: ResponseIds) -> Response:
        """A fault for a native EventSource, which gives up for good on any other status than 200.

        After a fault that may pass, the EventSource comes back with the cursor that it had. Any other fault gives it an
        end cursor, which is answered 204: the only way to make an EventSource stop by itself.
        """
        protocol = self._context.endpoints.fault_protocol()
        end: str | None = None
        retry_ms = RETRY_MS
        if fault.retryable:
            retry_ms = max(RETRY_MS, 1000 * (fault.retry_after_seconds or 0))
        else:
            end = str(Cursor(NO_STREAM if cursor is None else cursor.stream_id, 0, MAX_SEQ))
        # `retry` inside the first data block: a block of its own would be an event without data to some clients.
        body = f"retry: {retry_ms}\n".encode() + protocol.fault_frame(fault, end)
        response = Response(body, status_code=200)
        response.raw_headers.extend(stream_headers(protocol.media_type, protocol.headers) + ids.headers())
        return response
