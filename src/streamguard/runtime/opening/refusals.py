"""The faults that requests for a stream are refused with."""

from __future__ import annotations

from ...errors import FaultError
from ...faults import Fault, FaultCode, Phase
from ...observations import Observation, Observer, Signal
from ...stores.records import StreamMeta
from ...wire import knows_protocol
from ..request import StreamRequest
from ..versions import RETRY_AFTER_SECONDS, UNKNOWN_PROTOCOL

__all__ = ["Refusals"]


class Refusals:
    """Makes the faults that requests are answered with, and tells observers."""

    def __init__(self, observe: Observer) -> None:
        self._observe = observe

    def refusal(
        self,
        request: StreamRequest,
        code: FaultCode,
        *,
        retry_after_seconds: int,
        phase: Phase | None = None,
        reason: str | None = None,
    ) -> FaultError:
        """The error that refuses a request; observers have been told."""
        fault = Fault.of(
            code,
            phase=phase,
            reason=reason,
            retry_after_seconds=retry_after_seconds,
            session_id=request.key.session_id,
            request_id=request.request_id,
        )
        self._observe(Observation(Signal.FAULT, request_id=request.request_id, fault=fault, owner=request.key.owner))
        return FaultError(fault)

    def owed(self, meta: StreamMeta) -> Fault:
        """What a client is told with its next request while an earlier reply is still to be settled; observers have
        been told."""
        fault = Fault.about(meta, FaultCode.QUOTA_RELEASE_FAILED, reason="earlier_reply")
        fields: dict[str, str | int] = {
            "binding": meta.binding,
            "protocol": meta.protocol,
            "seq": meta.last_seq,
            "epoch": meta.epoch,
        }
        self._observe(Observation.about(meta, Signal.FAULT, fault=fault, fields=fields))
        return fault

    def newer_version(self, request: StreamRequest, reason: str) -> FaultError:
        """The error for a session that belongs to a later version, whose workers can answer."""
        return self.refusal(
            request, FaultCode.STORE_UNAVAILABLE, retry_after_seconds=RETRY_AFTER_SECONDS, reason=reason
        )

    def check_protocol(self, request: StreamRequest, meta: StreamMeta) -> None:
        """Refuse before this worker takes over or joins a stream whose protocol only a later version knows: a worker of
        that version can end the stream properly.

        Raises:
            FaultError: `store_unavailable`.
        """
        if not knows_protocol(meta.protocol):
            raise self.newer_version(request, UNKNOWN_PROTOCOL)
