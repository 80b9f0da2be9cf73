"""The response to a client that comes back: the rest of a stream, or 204 if there is none."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from ...cursor import Cursor
from ...errors import CursorInvalidError, FaultError
from ...faults import Fault, FaultCode
from ...observations import Observation, Signal
from ...runtime import Nothing, Resumed
from ...scopes import StreamContext, Work
from ...stores.records import StreamMeta
from ...values import StreamState
from ...wire import UNDECIDED, protocol_named
from ..access.slots import Slot
from ..guard_context import GuardContext
from ..headers import stream_headers
from ..response_ids import ResponseIds
from .plain_responses import empty_response, no_content
from .stream_response import StreamResponse
from .view_options import ViewOptions

__all__ = ["cursor_of", "known_message_id", "resume_response"]


def cursor_of(request: Request) -> Cursor | None:
    """The last event that the client has. `Last-Event-ID` wins: an EventSource that reconnects keeps its `?cursor=`.

    An empty one is none. Several in one place must be equal: whichever of them was taken, the client might miss events.

    Raises:
        FaultError: `cursor_invalid`.
    """
    texts = set(request.headers.getlist("last-event-id")) - {""} or set(request.query_params.getlist("cursor")) - {""}
    if not texts:
        return None
    text, *others = texts
    if others:
        raise FaultError(Fault.of(FaultCode.CURSOR_INVALID, reason="cursor_ambiguous"))
    try:
        return Cursor.parse(text)
    except CursorInvalidError as exc:
        raise FaultError(Fault.of(FaultCode.CURSOR_INVALID)) from exc


def known_message_id(meta: StreamMeta) -> str | None:
    """The id of a stream's message; None while its first event may still decide it."""
    return None if meta.protocol == UNDECIDED.name and meta.state is StreamState.OPEN else meta.message_id


def resume_response(
    context: GuardContext,
    request: Request,
    ids: ResponseIds,
    found: Resumed | Nothing,
    slot: Slot,
    *,
    has_cursor: bool,
    before: bytes = b"",
) -> Response:
    """The answer to a client that comes back. `before` goes before the stream's events. Takes over `slot`, and observes
    the resume."""
    runtime = context.runtime
    if found.meta is not None:
        ids.stream_id, ids.message_id = found.meta.ref.stream_id, known_message_id(found.meta)
    if isinstance(found, Nothing):
        slot.release()
        runtime.observe(
            Observation(
                Signal.RESUME_EMPTY,
                ref=None if found.meta is None else found.meta.ref,
                message_id=None if found.meta is None else found.meta.message_id,
                request_id=ids.request_id,
                fields={"reason": found.reason, "session_id": ids.session_id},
                trace=ids.trace,
                owner=ids.owner,
            )
        )
        return no_content([*ids.headers(), (b"x-resume-reason", found.reason.encode())])
    meta, after = found.meta, found.after
    runtime.observe(
        Observation(
            Signal.STREAM_RESUMED,
            ref=meta.ref,
            message_id=meta.message_id,
            request_id=ids.request_id,
            fields={"after_seq": after.seq, "state": meta.state, "protocol": meta.protocol},
            trace=ids.trace,
        )
    )
    protocol = protocol_named(meta.protocol, meta.client_version)
    headers = stream_headers(protocol.media_type, protocol.headers) + ids.headers()
    if request.method == "HEAD":
        slot.release()
        return empty_response(200, headers)
    # A client with a cursor got ids before, and needs them again.
    options = ViewOptions.of(context, request, binding=meta.binding, ids=True if has_cursor else None)
    return StreamResponse(
        runtime,
        lambda: runtime.resume_view(meta, after, ids=options.ids, keep_alive=options.keep_alive),
        slot,
        status_code=200,
        headers=headers,
        before=before,
        about=StreamContext.about(
            meta, Work.RESUME, request_id=ids.request_id, binding=meta.binding, protocol=meta.protocol
        ),
    )
