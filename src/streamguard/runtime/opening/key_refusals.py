"""What a request with a key is told when it gets no stream of its own, and what observers are told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ...errors import FaultError
from ...faults import REGISTRY, Fault, FaultCode
from ...observations import Observation, Signal
from ...stores.records import StreamMeta
from ..request import StreamRequest
from ..versions import RETRY_AFTER_SECONDS
from ..viewing.resume import refused

__all__ = ["KeyRefusals"]


class KeyRefusals:
    """Makes the faults of one request. What `refusal` and `gone` return has been observed."""

    def __init__(self, request: StreamRequest, observe: Callable[[Observation], None]) -> None:
        self._request = request
        self._observe = observe

    def fault(self, code: FaultCode, reason: str | None = None) -> Fault:
        """A fault of the request, not observed."""
        return Fault.of(
            code,
            reason=reason,
            retry_after_seconds=RETRY_AFTER_SECONDS if REGISTRY[code].retryable else None,
            session_id=self._request.key.session_id,
            request_id=self._request.request_id,
        )

    def refusal(self, code: FaultCode, reason: str | None = None) -> FaultError:
        """The request is refused."""
        return self._observed(FaultError(self.fault(code, reason)))

    def gone(self, meta: StreamMeta, reason: str) -> FaultError:
        """The stream that answers the key cannot be shown any more."""
        error = refused(meta.ref.key, meta.ref.stream_id, reason, meta.message_id)
        error.fault = replace(error.fault, request_id=self._request.request_id)
        return self._observed(error)

    def observe_shared(self, meta: StreamMeta) -> None:
        """The request gets a stream that an equal request began."""
        self._observe(
            Observation(
                Signal.STREAM_RESUMED,
                ref=meta.ref,
                message_id=meta.message_id,
                request_id=self._request.request_id,
                fields={"after_seq": 0, "state": meta.state, "protocol": meta.protocol},
            )
        )

    def _observed(self, error: FaultError) -> FaultError:
        fault = error.fault
        request = self._request
        self._observe(
            Observation(
                Signal.FAULT,
                message_id=fault.message_id,
                request_id=fault.request_id,
                fault=fault,
                fields={"binding": request.binding, "protocol": request.protocol.name, "framework": request.framework},
                owner=request.key.owner,
            )
        )
        return error
