"""What the records of a stream say of it: made of a stream produced here, or of another record."""

from __future__ import annotations

from ...saving.sealed_stream import SealedStream
from ...saving.stream_start import StreamStart
from ...stores.records import NewStream, Seal, StreamMeta
from .stream import LiveStream

__all__ = ["new_stream_of", "new_stream_of_meta", "sealed_stream_of", "stream_start_of", "ttl_seconds_of"]


def stream_start_of(stream: LiveStream) -> StreamStart:
    """When a stream produced here began."""
    return StreamStart(stream.log.created_at, stream.activity.opened_at)


def ttl_seconds_of(stream: LiveStream) -> float:
    """How long a stream's record outlives the last heartbeat: one that is to be saved or charged must be on record
    until that is done."""
    settings = stream.settings
    owes = stream.saved or stream.request.demand is not None
    return max(settings.live_ttl_seconds, settings.outbox_retention_seconds if owes else 0.0)


def sealed_stream_of(stream: LiveStream, seal: Seal) -> SealedStream:
    """A stream produced here, with the end that was decided for it."""
    return SealedStream(
        ref=stream.ref,
        message_id=stream.message_id,
        protocol=stream.protocol.name,
        binding=stream.request.binding,
        epoch=stream.epoch,
        began=stream_start_of(stream),
        seal=seal,
        request_id=stream.request_id,
        trace=stream.trace,
    )


def new_stream_of(stream: LiveStream) -> NewStream:
    """The registration of a stream produced here."""
    return NewStream(
        ref=stream.ref,
        message_id=stream.message_id,
        protocol=stream.protocol.name,
        binding=stream.request.binding,
        fingerprint=stream.request.fingerprint,
        age_seconds=stream.activity.age_seconds,
        abandon_after_seconds=stream.request.abandon_after_seconds,
        client_version=stream.protocol.client_version,
        request_id=stream.request_id,
        trace=stream.trace,
        worker=stream.callbacks.worker,
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
        request_id=meta.request_id,
        trace=meta.trace,
        worker=meta.worker,
    )
