"""Whether the endpoint of another worker's stream said anything, as its log shows.

A worker that ends another worker's stream knows nothing else of it.
"""

from __future__ import annotations

from typing import Final

from ...errors import LogBrokenError, StoreCorruptError
from ...settings import Settings
from ...stores.records import StreamMeta
from ...stores.roles.stream_log import StreamLog
from ...values import EventKind, Position
from ...wire import knows_protocol, protocol_named

__all__ = ["is_silent"]

READ_BYTES: Final = 65_536


async def is_silent(store: StreamLog, meta: StreamMeta, settings: Settings) -> bool:
    """Whether the log holds nothing of the endpoint: only what the protocol begins with, and notices. A log that cannot
    be read counts as not silent.

    Raises:
        StoreError: the store failed.
    """
    if meta.last_seq == 0:
        return True
    if meta.first_seq > 1 or not knows_protocol(meta.protocol):
        return False
    encoder = protocol_named(meta.protocol).encoder(
        message_id=meta.message_id, max_event_bytes=settings.max_event_bytes
    )
    opening = len(encoder.begin())
    position, said = Position(0, 0), 0
    while position.seq < meta.last_seq:
        try:
            events = await store.read(meta.ref, position, max_bytes=READ_BYTES)
        except (LogBrokenError, StoreCorruptError):
            return False
        if not events:
            return False
        said += sum(event.kind is EventKind.DATA for event in events)
        if said > opening:
            return False
        position = Position(events[-1].epoch, events[-1].seq)
    return True
