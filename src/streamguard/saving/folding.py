"""Where the payloads of a sealed stream come from, and folding them into the message to save."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from ..decoding import DAMAGE
from ..errors import LogBrokenError, StreamGuardError
from ..offloading import offloaded
from ..stores.log_reads import LogReads
from ..stores.records import StreamMeta
from ..stores.roles.stream_registry import StreamRegistry
from ..values import START, EventKind, Position, StreamRef
from ..wire import UIMessage, knows_protocol, protocol_named
from ..wire.large_json import LARGE
from .attempts import Attempts
from .sealed_stream import SealedStream

__all__ = ["LogUnreadableError", "PayloadSource", "fold_earlier", "fold_stream"]

READ_BYTES: Final = 65_536
PAYLOAD_BYTES: Final = 256
"""What folding a payload costs in addition to its length, in bytes of payload."""
LONGEST_CHAIN: Final = 50
"""How many earlier streams of one message are folded again, at most."""
_SAVED_KINDS: Final = (EventKind.DATA, EventKind.CLOSING)


class LogUnreadableError(StreamGuardError):
    """The log lacks some of what was to be saved, or holds what its protocol cannot read."""


@dataclass(frozen=True, slots=True)
class PayloadSource:
    """A stream's payloads: those of the log's events up to `log_seq`, then `tail`."""

    ref: StreamRef
    log_seq: int
    tail: Sequence[bytes] = ()

    async def batches(self, reads: LogReads, attempts: Attempts) -> AsyncIterator[list[bytes]]:
        """All of them, in order, in pieces of bounded size.

        Raises:
            LogUnreadableError: the log lacks some.
            StoreError: the store failed until the attempts were used up.
        """
        position = START
        while position.seq < self.log_seq:
            try:
                events = await attempts(partial(reads.read, self.ref, position, max_bytes=READ_BYTES))
            except LogBrokenError as exc:
                raise LogUnreadableError(str(exc)) from exc
            if not events:
                raise LogUnreadableError(f"the log of stream {self.ref.stream_id} ends at {position.seq}")
            position = Position(events[-1].epoch, events[-1].seq)
            yield [event.data for event in events if event.kind in _SAVED_KINDS and event.seq <= self.log_seq]
        batch: list[bytes] = []
        size = 0
        for payload in self.tail:
            batch.append(payload)
            size += len(payload) + PAYLOAD_BYTES
            if size >= READ_BYTES:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch


async def fold_stream(
    reads: LogReads,
    sealed: SealedStream,
    source: PayloadSource,
    attempts: Attempts,
    *,
    previous: UIMessage | None = None,
) -> UIMessage:
    """The message that a stream makes of `previous`. Gives other tasks a turn as it goes.

    Raises:
        LogUnreadableError, StoreError: see `PayloadSource.batches`.
    """
    folding = protocol_named(sealed.protocol).folding(sealed.message_id, previous)
    size = 0
    try:
        async for batch in source.batches(reads, attempts):
            for payload in batch:
                folding.add(payload)
                size += len(payload)
            await asyncio.sleep(0)
        for payload in sealed.seal.held:
            folding.add(payload)
        return await offloaded(folding.message, large=size >= LARGE)
    except DAMAGE as exc:
        raise LogUnreadableError(f"the log of stream {sealed.ref.stream_id} is not {sealed.protocol}'s") from exc


async def fold_earlier(
    store: StreamRegistry,
    reads: LogReads,
    earlier: StreamMeta | None,
    attempts: Attempts,
    *,
    previous: UIMessage | None = None,
    wanted: Callable[[StreamMeta], bool] = lambda _: True,
) -> UIMessage | None:
    """What the streams before one made of `previous` under the same message id, folded from their logs while these
    last: `earlier` and those before it, back to one that is not `wanted`.

    Raises:
        StoreError: the store failed until the attempts were used up.
    """
    chain: list[StreamMeta] = []
    while earlier is not None and wanted(earlier) and len(chain) < LONGEST_CHAIN:
        chain.append(earlier)
        earlier = await attempts(partial(store.previous, earlier.ref, earlier.message_id))
    message = previous
    for meta in reversed(chain):
        if meta.seal is None or not knows_protocol(meta.protocol):
            continue
        sealed = SealedStream.of_meta(meta, meta.seal)
        try:
            message = await fold_stream(
                reads, sealed, PayloadSource(meta.ref, meta.seal.last_seq), attempts, previous=message
            )
        except LogUnreadableError:
            continue
    return message
