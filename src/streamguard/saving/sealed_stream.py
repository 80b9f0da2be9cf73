"""A stream whose end is decided."""

from __future__ import annotations

from dataclasses import dataclass

from ..stores.records import Seal, StreamMeta
from ..values import Outcome, StreamRef
from .stream_start import StreamStart

__all__ = ["SealedStream"]


@dataclass(frozen=True, slots=True)
class SealedStream:
    """What it takes to save a stream whose end is decided, in any process."""

    ref: StreamRef
    message_id: str
    protocol: str
    binding: str
    epoch: int
    began: StreamStart
    seal: Seal
    request_id: str | None = None
    """None where the request is not known."""
    trace: str | None = None
    """As `NewStream.trace`."""

    @classmethod
    def of_meta(cls, meta: StreamMeta, seal: Seal) -> SealedStream:
        """Of any stream, from its record."""
        return cls(
            ref=meta.ref,
            message_id=meta.message_id,
            protocol=meta.protocol,
            binding=meta.binding,
            epoch=meta.epoch,
            began=StreamStart.of_meta(meta),
            seal=seal,
            request_id=meta.request_id,
            trace=meta.trace,
        )

    @property
    def told(self) -> dict[str, str | int]:
        """What observers are told of it with a fault of its end."""
        return {
            "binding": self.binding,
            "protocol": self.protocol,
            "outcome": self.seal.outcome,
            "seq": self.seal.last_seq,
            "epoch": self.epoch,
        }

    @property
    def whole(self) -> bool:
        """Whether it ended by itself."""
        return self.seal.outcome is Outcome.COMPLETED
