"""How many streams one process may have."""

from __future__ import annotations

from dataclasses import replace

from ...errors import FaultError
from ...faults import Fault, FaultCode
from ...observations import Observation, Observer, Signal
from ..producing.live_streams import LiveStreams
from ..request import StreamRequest
from ..versions import RETRY_AFTER_SECONDS

__all__ = ["Capacity"]


class Capacity:
    """Counts the streams of a process, and the requests that may become one, against its limit."""

    def __init__(self, limit: int, streams: LiveStreams, *, observe: Observer) -> None:
        self._limit = limit
        self._streams = streams
        self._observe = observe
        self.opening: int = 0
        """Requests being admitted; each may become a stream. `Opening` counts them."""

    @property
    def full(self) -> bool:
        """Whether there is no capacity for one more stream."""
        return self._streams.count + self.opening >= self._limit

    def check(self) -> None:
        """Refuse if there is no capacity for one more stream.

        Raises:
            FaultError: `limit_streams`, 503.
        """
        if self.full:
            reason = "max_streams_per_process"
            fault = Fault.of(
                FaultCode.LIMIT_STREAMS, status=503, reason=reason, retry_after_seconds=RETRY_AFTER_SECONDS
            )
            raise FaultError(fault)

    def check_for(self, request: StreamRequest) -> None:
        """As `check`; the fault names the request, and observers are told."""
        try:
            self.check()
        except FaultError as exc:
            fault = replace(exc.fault, session_id=request.key.session_id, request_id=request.request_id)
            self._observe(Observation(Signal.FAULT, request_id=request.request_id, fault=fault))
            raise FaultError(fault) from None
