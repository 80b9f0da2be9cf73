"""The ends of the parts that another worker's stream left open: a worker that takes a stream over has no encoder of it.

The ends go into the log under the new epoch, before the seal. So viewers see them, every fold of the log has them, and
a worker that takes the stream over from this one finds nothing open any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import islice
from typing import Final, NamedTuple

from ...errors import LogBrokenError
from ...saving.stored_replies import StoredReplies
from ...settings import Settings
from ...stores.appends import Append
from ...stores.log_reads import LogReads
from ...stores.records import Status, StreamMeta
from ...stores.roles.stream_writes import StreamWrites
from ...values import START, EventKind, Position, Usage
from ...wire import protocol_named
from ..producing.log_tally import LogTally

__all__ = ["NOTHING_LEFT", "Left", "OpenParts"]

READ_BYTES: Final = 65_536
APPEND_EVENTS: Final = 500
"""Ends in one append; each has a few hundred bytes."""
LEASE_PARTS: Final = 3
"""The lease is renewed once this fraction of it has passed: a third."""


class Left(NamedTuple):
    """What another worker's stream left."""

    ends: Sequence[bytes]
    """The payloads that end what is open."""
    usage: Usage | None
    """What the upstream said that it consumed; None where it said nothing."""


NOTHING_LEFT: Final = Left((), None)


class OpenParts:
    """Finds the open parts of streams whose epoch this process has just raised, and logs their ends."""

    def __init__(
        self,
        store: StreamWrites,
        reads: LogReads,
        settings: Settings,
        stored_replies: StoredReplies,
        *,
        tally: LogTally | None,
    ) -> None:
        self._store = store
        self._tally = tally
        self._reads = reads
        self._settings = settings
        self._stored_replies = stored_replies

    async def of(self, meta: StreamMeta) -> Left:
        """What the stream left open, and what it said that it consumed; nothing where its log cannot be read to its
        end.

        Reads the log in slices, and keeps the lease meanwhile.

        Raises:
            StoreError: the store failed.
            ConfigurationError: its protocol is not known here.
        """
        open_parts = protocol_named(meta.protocol).open_parts()
        if open_parts is None or meta.last_seq == 0:
            return NOTHING_LEFT
        open_parts.answered(await self._stored_replies.parts_before(meta))
        loop = asyncio.get_running_loop()
        position, renewed = START, loop.time()
        while position.seq < meta.last_seq:
            try:
                events = await self._reads.read(meta.ref, position, max_bytes=READ_BYTES)
            except LogBrokenError:
                return NOTHING_LEFT
            if not events:
                return NOTHING_LEFT
            for event in events:
                if event.kind is EventKind.DATA and event.seq <= meta.last_seq:
                    open_parts.add(event.data)
            position = Position(events[-1].epoch, events[-1].seq)
            await asyncio.sleep(0)
            if loop.time() - renewed > self._settings.lease_seconds / LEASE_PARTS:
                renewed = loop.time()
                await self._renew(meta)
        used = open_parts.usage
        return Left(open_parts.ends(), Usage(used) if used else None)

    async def append(self, meta: StreamMeta, ends: Sequence[bytes]) -> int | None:
        """Log them. Returns the number of the log's last event then; None when the stream is another worker's by now,
        or its log takes no more.

        Raises:
            StoreError: the store failed; what is in the log is no longer open for whoever looks next.
        """
        last_seq, waiting = meta.last_seq, iter(ends)
        while some := [(EventKind.DATA, payload) for payload in islice(waiting, APPEND_EVENTS)]:
            (reply,) = await self._store.append([Append(meta.ref, meta.epoch, last_seq + 1, some, refresh=False)])
            if reply.status not in (Status.OK, Status.DUPLICATE):
                return None
            if self._tally is not None:
                self._tally.ended(some)
            last_seq += len(some)
        return last_seq

    async def _renew(self, meta: StreamMeta) -> None:
        """Renew the lease. Whether anything is owed for the stream is not known here, so its record is kept as long as
        that of a stream that owes."""
        settings = self._settings
        ttl = max(settings.live_ttl_seconds, settings.outbox_retention_seconds)
        await self._store.heartbeat([(meta.ref, meta.epoch)], lease_seconds=settings.lease_seconds, ttl_seconds=ttl)
