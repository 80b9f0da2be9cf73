"""How many streams one process may have, and who needs a place among them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ...errors import FaultError
from ...faults import Fault, FaultCode
from ...observations import Observation, Observer, Signal
from ..request import StreamRequest
from ..versions import RETRY_AFTER_SECONDS

__all__ = ["Capacity"]


class Capacity:
    """The places of one process. `streams` says how many are taken."""

    def __init__(self, limit: int, *, streams: Callable[[], int], observe: Observer) -> None:
        self._limit = limit
        self._streams = streams
        self._observe = observe
        self.opening: int = 0
        """Admissions under way; each may come to a stream."""

    @property
    def full(self) -> bool:
        """Whether there is no place for one more stream."""
        return self._streams() + self.opening >= self._limit

    def check(self) -> None:
        """Whether one more stream may be opened.

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
        """As `check`, and what is raised names the request, and is observed."""
        try:
            self.check()
        except FaultError as exc:
            fault = replace(exc.fault, session_id=request.key.session_id, request_id=request.request_id)
            self._observe(Observation(Signal.FAULT, request_id=request.request_id, fault=fault))
            raise FaultError(fault) from None
