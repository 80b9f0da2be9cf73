"""Makes live streams, and tells their clients and observers what becomes of their logs."""

from __future__ import annotations

from ...faults import Fault, FaultCode, Severity
from ...observations import Observation, Signal
from ...saving.bindings import Bindings
from ...saving.service import Saving
from ...settings import Settings
from ...stores.budget import Budget
from ...values import EventKind, Outcome, StreamRef
from ..observers import Observers
from ..producing.backlog import CommitQueue
from ..producing.callbacks import StreamCallbacks
from ..producing.stream import LiveStream
from ..request import Ending, StreamRequest
from ..viewing.viewer_registry import ViewerRegistry
from .user_messages import ask_for_session

__all__ = ["StreamFactory"]


class StreamFactory:
    """Makes the streams of one process."""

    def __init__(
        self,
        settings: Settings,
        bindings: Bindings,
        saving: Saving,
        *,
        writer: CommitQueue,
        viewers: ViewerRegistry,
        observe: Observers,
        worker: str,
    ) -> None:
        self._settings = settings
        self._bindings = bindings
        self._saving = saving
        self._viewers = viewers
        self._observe = observe
        self._callbacks = StreamCallbacks(
            worker=worker,
            writer=writer,
            on_degraded=self._degraded,
            on_superseded=self._superseded,
            on_shown=observe.first_event,
            on_tool=observe.tool,
            on_notice=observe.notice,
            on_left_out=observe.left_out,
        )

    def make(self, request: StreamRequest, ref: StreamRef, budget: Budget) -> LiveStream:
        """A stream that is not registered yet. `budget` is what its request may wait for the store."""
        stream = LiveStream(
            request,
            ref,
            self._settings,
            self._callbacks,
            opened_at=budget.loop.time(),
            budget=budget,
            saved=self._bindings.target_of(request.binding) is not None,
        )
        if stream.saved:
            ask_for_session(self._saving, stream)
        return stream

    def _degraded(self, stream: LiveStream, reason: str, error: Exception | None) -> None:
        """The stream lost its log: tell its client once that it cannot be resumed, or end it, as its policy says."""
        fields = {"reason": reason, "binding": stream.request.binding}
        self._observe(Observation.about(stream, Signal.STREAM_DEGRADED, error=error, fields=fields))
        if stream.request.on_store_failure == "fail" and stream.log.registered:
            fault = Fault.about(stream, FaultCode.STORE_UNAVAILABLE, severity=Severity.FATAL, reason=reason)
            producer_is_through = stream.end_without_log(Ending(Outcome.FAILED, fault))
            stream.retract(fault)
            if not producer_is_through:
                return  # observed with the stream's end
        else:
            fault = Fault.about(stream, FaultCode.NOT_RESUMABLE, reason=reason)
            if 0 < stream.feed.visible < stream.feed.emitted:
                # Before what waited for the log: whoever sees an event without an id knows why.
                stream.feed.insert(EventKind.NOTICE, fault.to_json())
            else:
                stream.notices.announce(fault)
        self._observe.fault(stream, fault, None, error)

    def _superseded(self, stream: LiveStream) -> None:
        """Another worker owns the stream: let its viewers follow the new owner."""
        fault = Fault.about(stream, FaultCode.SUPERSEDED)
        stream.log.told_of(fault)
        self._observe.superseded(stream, fault)
        if not stream.owned():
            self._viewers.follow(stream.ref, stream.feed)
