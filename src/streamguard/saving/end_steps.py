"""What the steps between a stream's seal and its close have to tell each other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from ...faults import Fault
from ...saving.beginning import Beginning
from ...stores.base import NewStream, Seal, StreamMeta
from ...values import Outcome, Persisted, QuotaState, StreamRef
from ...wire.folding import Json
from ..producing.stream import LiveStream

__all__ = ["Finishing", "Sealed", "Settled", "new_stream_of", "new_stream_of_meta"]


@dataclass(frozen=True, slots=True)
class Sealed:
    """A stream whose end is decided: what it takes to save it, in any process."""

    ref: StreamRef
    message_id: str
    protocol: str
    binding: str
    epoch: int
    began: Beginning
    seal: Seal
    request_id: str | None = None
    """None where the request is no longer known."""

    @classmethod
    def of_stream(cls, stream: LiveStream, seal: Seal) -> Sealed:
        """Of a stream produced here."""
        return cls(
            ref=stream.ref,
            message_id=stream.message_id,
            protocol=stream.protocol.name,
            binding=stream.request.binding,
            epoch=stream.epoch,
            began=Beginning.of_stream(stream),
            seal=seal,
            request_id=stream.request_id,
        )

    @classmethod
    def of_meta(cls, meta: StreamMeta, seal: Seal) -> Sealed:
        """Of any stream, from its record."""
        return cls(
            ref=meta.ref,
            message_id=meta.message_id,
            protocol=meta.protocol,
            binding=meta.binding,
            epoch=meta.epoch,
            began=Beginning.of_meta(meta),
            seal=seal,
        )

    @property
    def whole(self) -> bool:
        """Whether it ended by itself."""
        return self.seal.outcome is Outcome.COMPLETED


@dataclass(frozen=True, slots=True)
class Settled:
    """What saving and settling came to, for the terminal record."""

    persisted: Persisted = Persisted.NOT_ASKED
    quota: QuotaState = QuotaState.NONE
    notices: tuple[Fault, ...] = ()
    closing: tuple[bytes, ...] = ()
    """The protocol's payloads that tell of it, before everything else that closes the stream."""
    owed: bytes | None = None
    """The outbox payload, when something is left to do."""
    due_seconds: float = 0.0
    """When the outbox should look at it first."""
    after_close: Callable[[], None] | None = None
    """To be called once the stream is closed: what is left goes on in the background."""
    quota_by_now: Callable[[], QuotaState] | None = None
    """Of a stream that nothing can be owed for: what settling it from memory has come to."""
    later: Callable[[], Awaitable[Persisted]] | None = None
    """Of a stream that nothing can be owed for: waits for what is still under way, and says what came of it."""

    @property
    def quota_now(self) -> QuotaState:
        """What is true by now."""
        return self.quota if self.quota_by_now is None else self.quota_by_now()


class Finishing:
    """Saves the sealed reply and settles its usage, between seal and close. Every step is safe to repeat.

    This one does nothing: neither a message store nor a quota is configured.
    """

    def has_nothing_to_do(self, stream: LiveStream) -> bool:
        """Whether `finish` would do nothing for it, so that it may be sealed and closed in one go."""
        return True

    async def is_saved_whole(self, meta: StreamMeta) -> bool:
        """Whether a stream that nobody writes any more, and that is not sealed, was saved to its end all the same: then
        it ended, and the store lost that. False where it cannot be told soon."""
        return False

    async def continued(self, meta: StreamMeta) -> Sequence[Mapping[str, Json]]:
        """The parts of the message that a stream continues, as they were before it; none where it continues none, or
        it cannot be told soon."""
        return ()

    async def finish(self, sealed: Sealed, stream: LiveStream | None) -> Settled:
        """Finish a stream whose log is whole; `stream` when it was produced here. Takes a few seconds at most: what
        takes longer goes on after the close."""
        return Settled()

    async def finish_unlogged(
        self, sealed: Sealed, stream: LiveStream | None, payloads: Sequence[bytes], *, after_seq: int
    ) -> Settled:
        """Finish a stream whose log is not whole: the log's first `after_seq` events and then `payloads` are."""
        return Settled()


def new_stream_of(stream: LiveStream) -> NewStream:
    """The registration of a stream produced here."""
    return NewStream(
        ref=stream.ref,
        message_id=stream.message_id,
        protocol=stream.protocol.name,
        binding=stream.request.binding,
        fingerprint=stream.request.fingerprint,
        age_seconds=stream.age_seconds,
        abandon_after_seconds=stream.request.abandon_after_seconds,
        client_version=stream.protocol.client_version,
    )


def new_stream_of_meta(meta: StreamMeta) -> NewStream:
    """The registration of any stream, from its record."""
    return NewStream(
        ref=meta.ref,
        message_id=meta.message_id,
        protocol=meta.protocol,
        binding=meta.binding,
        fingerprint=meta.fingerprint,
        age_seconds=meta.age_seconds,
        abandon_after_seconds=meta.abandon_after_seconds,
        client_version=meta.client_version,
    )
