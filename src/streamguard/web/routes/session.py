"""The routes about a session besides resuming: its status, messages and raw text, stopping it, erasing it."""

from __future__ import annotations

from contextlib import AbstractContextManager

from starlette.requests import Request
from starlette.responses import Response

from ...cursor import Cursor
from ...errors import FaultError, QuotaError
from ...faults import Fault, FaultCode
from ...observations import Observation, Signal
from ...scopes import StreamContext, Work, scope
from ...stores.records import StreamMeta
from ...values import SessionKey, is_stream_id
from ..access.origin import SAFE_METHODS, check_origin
from ..guard_context import GuardContext
from ..headers import RawHeaders
from ..response.plain_responses import empty_response, no_content
from ..response_ids import ResponseIds
from .download import LogDownload
from .json_response import json_response, large_json_response
from .message_page import page_of
from .paths import RouteName, RouteTarget
from .quota_status import status_of
from .saved_messages import SavedMessages
from .session_key import session_of, tell_who
from .stop_target import stop_target_of

__all__ = ["SessionRoutes"]


class SessionRoutes:
    """Answers every route about one session but the one that resumes its stream."""

    def __init__(self, context: GuardContext) -> None:
        self._context = context
        self._messages = SavedMessages(context)

    async def answer(self, target: RouteTarget, request: Request, ids: ResponseIds) -> Response:
        """The answer to one request.

        Raises:
            FaultError: it is refused, or failed.
        """
        changes = request.method not in SAFE_METHODS
        if changes:
            try:
                check_origin(request, self._context.settings.cors_origins)
            except FaultError:
                await tell_who(self._context, target, request, ids)
                raise
        key, identity = await session_of(self._context, target, request, ids)
        if changes:
            if identity.is_new:  # made for this request: there is nothing to stop or to erase
                return no_content(ids.headers())
            self._context.limits.changes.spend(key.owner)
        elif target.route in (RouteName.RAW, RouteName.MESSAGES):
            self._context.limits.reads.spend(key.owner)
        match target.route:
            case RouteName.STOP:
                with self._scope(key, ids):
                    return await self._stop(key, request, ids)
            case RouteName.RAW:
                return await self._raw(key, target, request, ids)
            case RouteName.MESSAGES:
                return await self._saved_messages(key, request, ids)
            case RouteName.SESSION:
                if not changes:
                    return await self._status(key, ids)
                with self._scope(key, ids):
                    return await self._erase(key, ids)
            case other:
                raise AssertionError(f"no route of a session answers {other}")  # a defect: see `Routes`

    def _scope(self, key: SessionKey, ids: ResponseIds) -> AbstractContextManager[object]:
        context = StreamContext(
            Work.SESSION,
            owner=key.owner,
            session_id=key.session_id,
            stream_id=None,
            message_id=None,
            request_id=ids.request_id,
            trace=ids.trace,
        )
        return scope(context, self._context.runtime.observe)

    async def _status(self, key: SessionKey, ids: ResponseIds) -> Response:
        runtime = self._context.runtime
        record = await runtime.sessions.status(key)
        document: dict[str, object] = {
            "session_id": key.session_id,
            "active": _stream_status(record.active_id, record.active),
            "last": _stream_status(record.last_id, record.last),
            "quota": None,
        }
        headers = ids.headers()
        try:
            document["quota"] = await status_of(runtime, key, record)
        except QuotaError:  # the rest of the status is known all the same
            headers.append((b"x-streamguard-notice", FaultCode.QUOTA_UNAVAILABLE.encode()))
        return json_response(document, 200, headers)

    async def _erase(self, key: SessionKey, ids: ResponseIds) -> Response:
        longest = self._context.endpoints.longest_stream_seconds
        await self._context.runtime.sessions.erase(key, longest_stream_seconds=longest)
        await self._messages.erase(key)
        self._context.runtime.observe(
            Observation(
                Signal.SESSION_ERASED,
                request_id=ids.request_id,
                fields={"session_id": key.session_id},
                owner=key.owner,
            )
        )
        return no_content(ids.headers())

    async def _stop(self, key: SessionKey, request: Request, ids: ResponseIds) -> Response:
        stopped = await self._context.runtime.sessions.stop(key, await stop_target_of(request))
        if stopped is None:
            return no_content(ids.headers())
        ids.stream_id, ids.message_id = stopped.ref.stream_id, stopped.message_id
        observe = self._context.runtime.observe
        with scope(StreamContext.about(stopped, Work.STOP, request_id=ids.request_id), observe):
            observe(
                Observation(
                    Signal.STOP_REQUESTED, ref=stopped.ref, message_id=stopped.message_id, request_id=ids.request_id
                )
            )
        document = {"session_id": key.session_id, "stream_id": ids.stream_id, "message_id": ids.message_id}
        return json_response(document, 202, ids.headers())

    async def _saved_messages(self, key: SessionKey, request: Request, ids: ResponseIds) -> Response:
        page, headers = page_of(request), ids.headers()
        last: StreamMeta | None = None
        if self._messages.readable:
            try:
                last = (await self._context.runtime.sessions.status(key)).last
            except FaultError:  # the messages can be read, but not whether the last reply is among them
                headers.append((b"x-streamguard-notice", FaultCode.STORE_UNAVAILABLE.encode()))
        return await large_json_response(await self._messages.read(key, page, last), headers)

    async def _raw(self, key: SessionKey, target: RouteTarget, request: Request, ids: ResponseIds) -> Response:
        if not is_stream_id(target.stream):
            raise FaultError(Fault.of(FaultCode.NOT_FOUND))
        runtime = self._context.runtime
        slot = self._context.limits.viewers.take(key.owner)
        try:
            meta, text = await runtime.sessions.raw(key, target.stream)
        except BaseException:
            slot.release()
            raise
        ids.stream_id, ids.message_id = meta.ref.stream_id, meta.message_id
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
            return empty_response(200, headers)
        return LogDownload(text, slot, headers=headers, send_seconds=runtime.settings.viewer_send_seconds)


def _stream_status(stream_id: str | None, meta: StreamMeta | None) -> dict[str, object] | None:
    """One stream in a session's status; a stream whose record is gone has only its id."""
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
