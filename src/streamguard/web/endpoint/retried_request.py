"""A request that was sent before: it gets the answer that there is, from its start or after its client's cursor.

fetch-event-source sends the same POST again when its connection breaks, with the last id in `Last-Event-ID`. A cursor
means something where a request may be a repetition: with an `Idempotency-Key`, or of an endpoint that joins. Elsewhere,
and on a GET without either, it is ignored.

The endpoint never runs for a request with a cursor. Its client has shown a part of an answer, and would put another one
behind it: what cannot be continued is refused as the resume table says, also where there is nothing to repeat.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from ...cursor import Cursor
from ...errors import FaultError, StoreError
from ...faults import Fault, FaultCode, Phase
from ...observations import Signal
from ...runtime import Nothing, Resumed, Runtime, StreamRequest
from ...runtime.opening.request_key import RequestKey
from ...runtime.versions import unavailable, unreadable_reason
from ...runtime.viewing.resume import refused
from ...stores.base import RequestClaim, StreamMeta
from ...values import START, SessionKey, StreamRef, new_stream_id
from ...wire import protocol_named
from ..guard_context import GuardContext, ResponseIds, fault_response
from ..headers import stream_headers
from ..middleware.exchange import exchange_of
from ..response.response import StreamResponse
from ..response.resumption import cursor_of, resumed
from ..response.view_options import ViewOptions
from .admitted_request import Admitted
from .idempotency_key import HEADER
from .options import StreamOptions

__all__ = ["answer_after", "answer_from_start", "cursor_of_repetition"]

GONE: Final = "stream_gone"


def cursor_of_repetition(request: Request, options: StreamOptions) -> Cursor | None:
    """The cursor of a request that may have been sent before; None without one.

    Raises:
        FaultError: `cursor_invalid`.
    """
    has_key = HEADER in request.headers and request.method != "GET"
    return cursor_of(request) if has_key or options.on_conflict == "join" else None


async def answer_after(
    context: GuardContext, admitted: Admitted, cursor: Cursor, request: Request, ids: ResponseIds
) -> Response:
    """The rest of the answer that the request was given before, or why there is none."""
    places = admitted.places
    places.keep_viewer()
    try:
        context.allowances.reads.spend(admitted.identity)
        found = await _found(context.runtime, admitted.request, admitted.key, cursor)
    except FaultError as exc:
        places.viewer.release()
        fault = context.refused(exc, ids, signal=Signal.RESUME_REFUSED)
        return fault_response(fault, ids.headers())
    except BaseException:
        places.viewer.release()
        raise
    if found.meta is not None:
        ids.session_id = found.meta.ref.key.session_id  # its own, where each request gets a session
    response = resumed(context, request, ids, found, places.viewer, has_cursor=True)
    exchange_of(request.scope).headers = ids.headers()
    return response


def answer_from_start(
    context: GuardContext,
    admitted: Admitted,
    meta: StreamMeta,
    request: Request,
    ids: ResponseIds,
    *,
    has_ids: bool | None,
) -> Response:
    """A view of the stream of an equal request, from its start. `has_ids`: what the endpoint says of ids, if so."""
    places = admitted.places
    places.keep_viewer()
    ids.session_id = meta.ref.key.session_id  # its own, where each request gets a session
    ids.stream_id, ids.message_id = meta.ref.stream_id, meta.message_id
    exchange_of(request.scope).headers = ids.headers()
    try:
        context.allowances.reads.spend(admitted.identity)
    except FaultError as exc:
        places.viewer.release()
        return fault_response(context.refused(exc, ids), ids.headers())
    protocol, runtime = protocol_named(meta.protocol, meta.client_version), context.runtime
    ids_by_default = protocol.ids_by_default if has_ids is None else has_ids
    options = ViewOptions.of(context, request, binding=admitted.request.binding, ids=ids_by_default)
    return StreamResponse(
        runtime,
        lambda: runtime.resume_view(meta, START, ids=options.ids, keep_alive=options.keep_alive),
        places.viewer,
        status_code=200,
        headers=stream_headers(protocol.media_type, protocol.headers) + ids.headers(),
    )


async def _found(runtime: Runtime, request: StreamRequest, key: RequestKey | None, cursor: Cursor) -> Resumed | Nothing:
    """What the resume table says of the cursor, if the stream that it names answers this request.

    Raises:
        FaultError: `resume_failed`, `idempotency_conflict`, `store_unavailable`.
    """
    if runtime.breaker.open:
        raise unavailable(request.key, Phase.RESUME)
    try:
        session = await (_joined(runtime, request, cursor) if key is None else _claimed(runtime, request, key, cursor))
    except StoreError as exc:
        raise unavailable(request.key, Phase.RESUME, unreadable_reason(exc)) from exc
    if session is None:
        raise refused(request.key, cursor.stream_id, GONE)
    return await runtime.sessions.resume(session, cursor)


async def _joined(runtime: Runtime, request: StreamRequest, cursor: Cursor) -> SessionKey | None:
    """The session of the cursor's stream, if an equal request began it; None otherwise."""
    meta = await runtime.admission.budget().asked(lambda: runtime.store.meta(StreamRef(request.key, cursor.stream_id)))
    equal = meta is not None and bool(request.fingerprint) and meta.fingerprint == request.fingerprint
    return request.key if equal else None


async def _claimed(runtime: Runtime, request: StreamRequest, key: RequestKey, cursor: Cursor) -> SessionKey | None:
    """The session of the cursor's stream, if that answers the key; None otherwise."""
    store, owner, budget = runtime.store, request.key.owner, runtime.admission.budget()
    mine = RequestClaim(StreamRef(request.key, new_stream_id()), key.fingerprint)
    seconds = min(key.ttl_seconds, key.attempt_seconds)
    standing = await budget.asked(lambda: store.claim_request(owner, key.name, mine, ttl_seconds=seconds))
    if standing.ref == mine.ref:  # nobody had claimed it: asked in the only way there is
        with suppress(StoreError):  # else the next request with the key has to wait a moment
            await budget.asked(lambda: store.release_request(owner, key.name, mine))
        return None
    if not key.is_of(standing):
        raise FaultError(Fault.of(FaultCode.IDEMPOTENCY_CONFLICT, session_id=request.key.session_id))
    return standing.ref.key if standing.ref.stream_id == cursor.stream_id else None
