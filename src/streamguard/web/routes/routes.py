"""What each route answers; see the table in the reference."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from ...cursor import Cursor
from ...errors import FaultError, NotStartedError, QuotaError
from ...faults import Fault, FaultCode
from ...observations import Observation, Signal
from ...offloading import offloaded
from ...stores.records import StreamMeta
from ...values import MAX_SEQ, SessionKey, StreamRef, is_stream_id
from ...wire.large_json import is_large, json_pieces
from ...wire.sse import on_one_line
from ...wire.values import MAX_DEPTH, encode_json
from ..access.checked_ids import checked_session_id
from ..access.identity import Identity
from ..access.origin import check_origin
from ..guard_context import GuardContext
from ..headers import RawHeaders, request_id_of, stream_headers
from ..middleware.exchange import exchange_of
from ..response.plain_responses import bare, fault_response, nothing_more
from ..response.resumption import cursor_of, resume_response
from ..response_ids import ResponseIds
from .download import LogDownload
from .messages import SavedMessages, page_of
from .paths import RouteName, Target, decoded
from .quota_status import status_of
from .stop_target import answer_meant

__all__ = ["Routes"]

RETRY_MS: Final = 3000
"""How long a native EventSource waits before it comes back after a failure that may pass."""
NO_STREAM: Final = "0" * 24
"""Stands for the stream in the end cursor of a failure that concerns none."""


class Routes:
    """Answers every request that `paths` recognises."""

    def __init__(self, context: GuardContext) -> None:
        self._context = context
        self._messages = SavedMessages(context)

    async def __call__(self, target: Target, request: Request) -> Response:
        """The answer; failures are answers too.

        Raises:
            NotStartedError: the guard is not running (health answers that itself).
        """
        ids = ResponseIds(request_id_of(request.headers.get("x-request-id")))
        exchange_of(request.scope).headers = ids.headers()
        if request.method == "OPTIONS":
            return self._allowed(target, ids, 204)
        if request.method not in target.route.methods:
            return self._allowed(target, ids, 405)
        if target.route in (RouteName.LIVE, RouteName.READY, RouteName.STREAMING):
            return self._health(target.route, ids)
        self._context.check_started(request.scope)
        if target.route is RouteName.RESUME:
            return await self._resume(target, request, ids)
        try:
            return await self._about_session(target, request, ids)
        except FaultError as exc:
            return fault_response(self._context.refused(exc, ids), ids.headers())

    def _allowed(self, target: Target, ids: ResponseIds, status_code: int) -> Response:
        allow = (b"allow", ", ".join((*target.route.methods, "OPTIONS")).encode())
        if status_code == 405:
            fault = Fault.of(FaultCode.REQUEST_INVALID, status=405, reason="method_not_allowed")
            return fault_response(ids.complete(fault), [*ids.headers(), allow])
        return nothing_more([*ids.headers(), allow])

    # -- resume -------------------------------------------------------------------------------------------------------

    async def _resume(self, target: Target, request: Request, ids: ResponseIds) -> Response:
        in_stream = request.query_params.get("errors") == "stream"
        cursor: Cursor | None = None
        try:
            cursor = cursor_of(request)
            if in_stream and cursor is not None and cursor.seq == MAX_SEQ:
                # The end cursor of a failure told below. Before authentication: a browser that must not come
                # back would otherwise be told so for ever.
                return nothing_more([*ids.headers(), (b"x-resume-reason", b"finished")])
            return await self._resumed(target, request, cursor, ids)
        except FaultError as exc:
            fault = self._context.refused(exc, ids, signal=Signal.RESUME_REFUSED)
            if in_stream:
                return self._fault_in_stream(fault, cursor, ids)
            return fault_response(fault, ids.headers())

    async def _resumed(self, target: Target, request: Request, cursor: Cursor | None, ids: ResponseIds) -> Response:
        context = self._context
        key, _ = await self._key(target, request, ids)
        context.allowances.reads.spend(key.owner)
        slot = context.allowances.viewers.take(key.owner)
        runtime = context.runtime
        found = await runtime.sessions.resume(key, cursor)
        return resume_response(context, request, ids, found, slot, has_cursor=cursor is not None)

    def _fault_in_stream(self, fault: Fault, cursor: Cursor | None, ids: ResponseIds) -> Response:
        """A failure for a native EventSource, which gives up for good on any other status than 200.

        One that may pass has it come back with the cursor it had; one that stays gives it an end cursor, which is
        answered 204: the only way to have an EventSource stop by itself.
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

    # -- everything else about a session ------------------------------------------------------------------------------

    async def _about_session(self, target: Target, request: Request, ids: ResponseIds) -> Response:
        changes = request.method in ("POST", "DELETE")
        if changes:
            check_origin(request, self._context.settings.cors_origins)
        key, identity = await self._key(target, request, ids)
        allowances = self._context.allowances
        if changes and identity.is_new:  # made for this request: there is nothing to stop or to erase
            return nothing_more(ids.headers())
        if changes:
            allowances.changes.spend(key.owner)
        elif target.route in (RouteName.RAW, RouteName.MESSAGES):
            allowances.reads.spend(key.owner)
        if target.route is RouteName.STOP:
            return await self._stop(key, request, ids)
        if target.route is RouteName.RAW:
            return await self._raw(key, target, request, ids)
        if target.route is RouteName.MESSAGES:
            return await self._saved(key, request, ids)
        if changes:
            longest = self._context.endpoints.longest_stream_seconds
            await self._context.runtime.sessions.erase(key, longest_stream_seconds=longest)
            await self._messages.erase(key)
            self._observe(Signal.SESSION_ERASED, None, ids)
            return nothing_more(ids.headers())
        record = await self._context.runtime.sessions.status(key)
        body: dict[str, object] = {
            "session_id": key.session_id,
            "active": _status(record.active_id, record.active),
            "last": _status(record.last_id, record.last),
            "quota": None,
        }
        headers = ids.headers()
        try:
            body["quota"] = await status_of(self._context.runtime, key, record)
        except QuotaError:  # the rest is known all the same
            headers.append((b"x-streamguard-notice", FaultCode.QUOTA_UNAVAILABLE.encode()))
        return _json(body, 200, headers)

    async def _stop(self, key: SessionKey, request: Request, ids: ResponseIds) -> Response:
        stopped = await self._context.runtime.sessions.stop(key, await answer_meant(request))
        if stopped is None:
            return nothing_more(ids.headers())
        ids.stream_id, ids.message_id = stopped.ref.stream_id, stopped.message_id
        self._observe(Signal.STOP_REQUESTED, stopped.ref, ids)
        body = {"session_id": key.session_id, "stream_id": ids.stream_id, "message_id": ids.message_id}
        return _json(body, 202, ids.headers())

    async def _saved(self, key: SessionKey, request: Request, ids: ResponseIds) -> Response:
        page, headers = page_of(request), ids.headers()
        last: StreamMeta | None = None
        if self._messages.readable:
            try:
                last = (await self._context.runtime.sessions.status(key)).last
            except FaultError:  # the messages can be read all the same, but not whether the last reply is among them
                headers.append((b"x-streamguard-notice", FaultCode.STORE_UNAVAILABLE.encode()))
        return await _large_json(await self._messages.read(key, page, last), headers)

    async def _raw(self, key: SessionKey, target: Target, request: Request, ids: ResponseIds) -> Response:
        if not is_stream_id(target.stream):
            raise FaultError(Fault.of(FaultCode.NOT_FOUND))
        runtime = self._context.runtime
        slot = self._context.allowances.viewers.take(key.owner)
        try:
            meta, text = await runtime.sessions.raw(key, target.stream)
        except BaseException:
            slot.release()
            raise
        _name_stream(ids, meta)
        headers: RawHeaders = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-disposition", f'attachment; filename="{meta.ref.stream_id}.txt"'.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"cache-control", b"no-store"),
            *ids.headers(),
        ]
        if request.method == "HEAD":
            slot.release()
            await text.aclose()
            return bare(200, headers)
        return LogDownload(text, slot, headers=headers, send_seconds=runtime.settings.viewer_send_seconds)

    async def _key(self, target: Target, request: Request, ids: ResponseIds) -> tuple[SessionKey, Identity]:
        """Whose session the path names, and who that is.

        Raises:
            FaultError: `unauthenticated`, `limit_rate`, or `session_invalid`.
        """
        identity = await self._context.owner(request)
        self._context.allowances.call(identity, request)
        ids.session_id = checked_session_id(decoded(target.session))
        exchange_of(request.scope).headers = ids.headers()
        return SessionKey(str(identity), ids.session_id), identity

    def _observe(self, signal: Signal, ref: StreamRef | None, ids: ResponseIds) -> None:
        session = {} if ref is not None else {"session_id": ids.session_id}
        self._context.runtime.observe(
            Observation(signal, ref=ref, message_id=ids.message_id, request_id=ids.request_id, fields=session)
        )

    # -- health -------------------------------------------------------------------------------------------------------

    def _health(self, route: RouteName, ids: ResponseIds) -> Response:
        """Unauthenticated: it names no owner, session or stream."""
        if route is RouteName.LIVE:
            return _json({"status": "ok"}, 200, ids.headers())
        try:
            health = self._context.runtime.health()
        except NotStartedError:
            return _json({"status": "not_started", "reasons": ["not_started"]}, 503, ids.headers())
        reasons = list(health.reasons)
        if route is RouteName.READY:
            status = "ready" if health.ready else "not_ready"
            return _json({"status": status, "reasons": reasons}, 200 if health.ready else 503, ids.headers())
        steady = list(health.steady)
        status = "draining" if health.draining else "degraded" if steady else "ok"
        body = {
            "status": status,
            "reasons": steady,
            "streams": health.streams,
            "degraded_streams": health.degraded_streams,
            "viewers": health.viewers,
        }
        return _json(body, 200, ids.headers())


def _name_stream(ids: ResponseIds, meta: StreamMeta | None) -> None:
    if meta is not None:
        ids.stream_id, ids.message_id = meta.ref.stream_id, meta.message_id


def _status(stream_id: str | None, meta: StreamMeta | None) -> dict[str, object] | None:
    """One stream of a session's status; a stream whose record is gone has only its id."""
    if stream_id is None:
        return None
    return {
        "stream_id": stream_id,
        "message_id": meta and meta.message_id,
        "outcome": meta and meta.seal and meta.seal.outcome,
        "persisted": meta and meta.persisted,
        "quota": meta and meta.quota,
        "cursor": None if meta is None or meta.lost else str(Cursor(stream_id, *meta.end)),
    }


async def _large_json(body: Mapping[str, object], headers: RawHeaders) -> Response:
    """`_json` for a body of any size."""

    def encoded() -> bytes:
        try:
            return b"".join([on_one_line(piece).encode() for piece in json_pieces(body)])
        except (TypeError, ValueError, RecursionError):
            return _encoded(body)

    large = is_large(body)
    return _answer(await offloaded(encoded if large else partial(_encoded, body), large=large), 200, headers)


def _json(body: Mapping[str, object], status_code: int, headers: RawHeaders) -> Response:
    return _answer(_encoded(body), status_code, headers)


def _encoded(body: Mapping[str, object]) -> bytes:
    # A host's store may give what is no JSON. Each part in it may be as deep as any.
    return encode_json(body, sys.maxsize, max_depth=2 * MAX_DEPTH).data


def _answer(content: bytes, status_code: int, headers: RawHeaders) -> Response:
    response = Response(content, status_code=status_code, media_type="application/json")
    response.raw_headers.extend([(b"cache-control", b"no-store"), *headers])
    return response
