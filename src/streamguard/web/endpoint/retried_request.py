"""A retried request: it gets the answer that there is, from its start or after its client's cursor.

fetch-event-source sends the same POST again when its connection breaks, with the last id in `Last-Event-ID`. A cursor
means something where a request may be a retry: with an `Idempotency-Key`, or of an endpoint that joins. Elsewhere, and
on a GET without either, it is ignored.

The endpoint never runs for a request with a cursor: its client has shown a part of an answer, and would append another
answer to it. A cursor that cannot be continued is refused as the resume table says, also where no answer exists.
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
from ...scopes import StreamContext, Work
from ...stores.records import RequestClaim, StreamMeta
from ...values import START, SessionKey, StreamRef, new_stream_id
from ...wire import protocol_named
from ..guard_context import GuardContext
from ..headers import stream_headers
from ..response.plain_responses import fault_response
from ..response.resumption import known_message_id, resume_response
from ..response.stream_response import StreamResponse
from ..response.view_options import ViewOptions
from ..response_ids import ResponseIds
from .admitted_request import AdmittedRequest

__all__ = ["replay", "resume_after"]

GONE: Final = "stream_gone"


async def resume_after(
    context: GuardContext, admitted: AdmittedRequest, cursor: Cursor, request: Request, ids: ResponseIds
) -> Response:
    """The rest of the answer that an earlier request got, or the fault that says why there is none."""
    admitted.slots.keep_viewer()
    viewer_slot = admitted.slots.viewer
    try:
        context.limits.reads.spend(admitted.identity)
        found = await _found(context.runtime, admitted.request, admitted.key, cursor)
    except FaultError as exc:
        viewer_slot.release()
        fault = context.observe_refusal(exc, ids, request.scope, signal=Signal.RESUME_REFUSED)
        return fault_response(fault, ids.headers())
    except BaseException:
        viewer_slot.release()
        raise
    if found.meta is not None:
        ids.session_id = found.meta.ref.key.session_id  # another one, where each request gets a session of its own
    return resume_response(context, request, ids, found, viewer_slot, has_cursor=True)


def replay(
    context: GuardContext,
    admitted: AdmittedRequest,
    meta: StreamMeta,
    request: Request,
    ids: ResponseIds,
    *,
    ids_option: bool | None,
) -> Response:
    """A view of the stream that an equal request started, from its start. `ids_option` is the endpoint's `ids`."""
    admitted.slots.keep_viewer()
    viewer_slot = admitted.slots.viewer
    ids.session_id = meta.ref.key.session_id  # another one, where each request gets a session of its own
    ids.stream_id, ids.message_id = meta.ref.stream_id, known_message_id(meta)
    try:
        context.limits.reads.spend(admitted.identity)
    except FaultError as exc:
        viewer_slot.release()
        return fault_response(context.observe_refusal(exc, ids, request.scope), ids.headers())
    protocol, runtime = protocol_named(meta.protocol, meta.client_version), context.runtime
    options = ViewOptions.of(context, request, binding=admitted.request.binding, ids=ids_option)
    return StreamResponse(
        runtime,
        lambda: runtime.resume_view(meta, START, ids=options.ids, keep_alive=options.keep_alive),
        viewer_slot,
        about=StreamContext.about(
            meta, Work.RESUME, request_id=ids.request_id, binding=meta.binding, protocol=meta.protocol
        ),
        status_code=200,
        headers=stream_headers(protocol.media_type, protocol.headers) + ids.headers(),
    )


async def _found(runtime: Runtime, request: StreamRequest, key: RequestKey | None, cursor: Cursor) -> Resumed | Nothing:
    """What the resume table says of the cursor, if the stream that it names is the answer to this request.

    Raises:
        FaultError: `resume_failed`, `idempotency_conflict`, `store_unavailable`.
    """
    if runtime.breaker.open:
        raise unavailable(request.key, Phase.RESUME)
    try:
        session = await (
            _session_of_equal_request(runtime, request, cursor)
            if key is None
            else _session_of_key(runtime, request, key, cursor)
        )
    except StoreError as exc:
        raise unavailable(request.key, Phase.RESUME, unreadable_reason(exc)) from exc
    if session is None:
        raise refused(request.key, cursor.stream_id, GONE)
    return await runtime.sessions.resume(session, cursor)


async def _session_of_equal_request(runtime: Runtime, request: StreamRequest, cursor: Cursor) -> SessionKey | None:
    """The session of the cursor's stream, if an equal request started it; None otherwise."""
    meta = await runtime.budget().ask(lambda: runtime.store.meta(StreamRef(request.key, cursor.stream_id)))
    equal = meta is not None and bool(request.fingerprint) and meta.fingerprint == request.fingerprint
    return request.key if equal else None


async def _session_of_key(
    runtime: Runtime, request: StreamRequest, key: RequestKey, cursor: Cursor
) -> SessionKey | None:
    """The session of the cursor's stream, if that stream is the answer to the key; None otherwise."""
    store, owner, budget = runtime.store, request.key.owner, runtime.budget()
    mine = RequestClaim(StreamRef(request.key, new_stream_id()), key.fingerprint)
    seconds = min(key.ttl_seconds, key.attempt_seconds)
    standing = await budget.ask(lambda: store.claim_request(owner, key.name, mine, ttl_seconds=seconds))
    if standing.ref == mine.ref:  # no other request had claimed it; claiming is the only way to ask
        with suppress(StoreError):  # then the next request with the key has to wait a moment
            await budget.ask(lambda: store.release_request(owner, key.name, mine))
        return None
    if not key.is_of(standing):
        raise FaultError(Fault.of(FaultCode.IDEMPOTENCY_CONFLICT, session_id=request.key.session_id))
    return standing.ref.key if standing.ref.stream_id == cursor.stream_id else None
