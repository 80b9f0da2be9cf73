"""Opening a stream: what a process checks before and after it admits a request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ...errors import FaultError
from ...faults import DRAINING, Fault, FaultCode, Severity
from ...saving.service import Saving
from ...scopes import StreamContext, Work, scope
from ...stores.budget import Budget
from ...stores.records import StreamMeta
from ...values import Outcome, new_stream_id
from ..drain_state import DrainState
from ..observers import Observers
from ..producing.live_streams import LiveStreams
from ..producing.stream import LiveStream
from ..request import Ending, StreamRequest
from .admission import Admission
from .capacity import Capacity
from .user_messages import begin_user_messages

__all__ = ["Opening"]


class Opening:
    """Opens streams while the process has capacity and does not drain.

    `end_soon` ends a stream that has no producer, in the background; `changed` is called after each request.
    """

    def __init__(
        self,
        streams: LiveStreams,
        capacity: Capacity,
        admission: Admission,
        saving: Saving,
        *,
        drain: DrainState,
        end_soon: Callable[[LiveStream, Ending], None],
        observe: Observers,
        changed: Callable[[], None],
    ) -> None:
        self._streams = streams
        self._capacity = capacity
        self._admission = admission
        self._saving = saving
        self._drain = drain
        self._end_soon = end_soon
        self._observe = observe
        self._changed = changed

    async def open(self, request: StreamRequest, budget: Budget) -> LiveStream | StreamMeta:
        """A new stream, registered or degraded; or, under `join`, the running stream of an equal request.

        Raises:
            FaultError: `shutting_down`, `limit_streams` (429 for the owner, 503 for the process), `conflict_active`, or
                `store_unavailable`.
        """
        if request.stream_id is None:  # so that what is told of it until it is registered names it too
            request = replace(request, stream_id=new_stream_id())
        admitting = scope(_context_of(request), self._observe)
        with admitting:
            if request.trace is None and admitting.has_sinks:  # no trace was known before: one may have begun here
                trace = self._observe.traceparent()
                if trace is not None:
                    request = replace(request, trace=trace)
            draining = self._drain.begun
            if draining:
                refusal = _shutting_down(request)
                self._observe.refused(request, refusal.fault)
                raise refusal
            capacity = self._capacity
            if capacity.full and not await self._admission.needs_no_capacity(request, budget):
                capacity.check_for(request)
            capacity.opening += 1
            try:
                opened = await self._admission.open(request, budget)
                if isinstance(opened, StreamMeta):
                    return opened
                self._streams[opened.ref] = opened
                if opened.saved:
                    begin_user_messages(self._saving, opened)
            finally:
                capacity.opening -= 1
                self._changed()
            self._observe.opened(opened)
            if opened.stopped:  # after its request arrived, and before it was registered
                opened.cancel(Ending(Outcome.STOPPED, None))
            draining = self._drain.begun  # the drain may have begun while this stream was being registered
            if draining:
                refusal = _shutting_down(request)
                self._end_soon(opened, Ending(Outcome.INTERRUPTED, refusal.fault))
                raise refusal
            return opened


def _shutting_down(request: StreamRequest) -> FaultError:
    """For a request that comes once the drain has begun."""
    fault = Fault.of(
        FaultCode.SHUTTING_DOWN,
        severity=Severity.ERROR,
        reason=DRAINING,
        retry_after_seconds=1,
        session_id=request.key.session_id,
        request_id=request.request_id,
    )
    return FaultError(fault)


def _context_of(request: StreamRequest) -> StreamContext:
    """What is known of a stream before it is made."""
    return StreamContext(
        Work.ADMIT,
        owner=request.key.owner,
        session_id=request.key.session_id,
        stream_id=request.stream_id,
        message_id=request.message_id,
        request_id=request.request_id,
        trace=request.trace,
        binding=request.binding,
        protocol=request.protocol.name,
        framework=request.framework,
    )
