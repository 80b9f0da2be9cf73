"""The replays of a process: what several viewers read of one log is read and framed once.

A log does not change where it was written, so the frames of its events can be handed to any viewer of them. Whether the
log is still there does change. A viewer therefore gets a chunk only if the store said, after the viewer had asked, that
the log still holds the chunk's events: nobody reads what was erased, and what expired or was trimmed is reported.
Viewers that ask for the same at once share that question too.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar, cast

from ...decoding import decoding
from ...errors import StoreCorruptError
from ...stores.records import StreamMeta
from ...values import Position, StreamRef
from ...wire.base import WireProtocol
from .feed import CHUNK_BYTES
from .log_chunk import LogChunk, framed

if TYPE_CHECKING:
    from ...stores.log_reads import LogReads

__all__ = ["Replay", "Replays"]

T = TypeVar("T")

SHARED_BYTES: Final = 16_777_216
"""The most that all chunks together take that are kept for further viewers."""
LARGEST_SHARE: Final = 4
"""A chunk that takes more than one part in so many of a log's share is not kept: it would make way for nothing else."""

_Kind: TypeAlias = "tuple[str, str, bool]"
"""What decides about the frame of an event: the protocol, the client's version, and whether blocks carry ids."""


class Replay:
    """One log, while viewers read it. Not thread-safe."""

    __slots__ = ("_chunks", "_pending", "_replays", "held_bytes", "readers", "ref")

    def __init__(self, replays: Replays, ref: StreamRef) -> None:
        self._replays = replays
        self.ref: StreamRef = ref
        self.readers: int = 0
        """The viewers that read it now."""
        self.held_bytes: int = 0
        """About the memory of the chunks that it keeps."""
        self._chunks: OrderedDict[tuple[_Kind, Position], LogChunk] = OrderedDict()
        """By what they follow, the one used last at the end."""
        self._pending: dict[object, asyncio.Future[object]] = {}
        """What is being asked of the store, by what it is."""

    async def chunk(self, after: Position, protocol: WireProtocol, *, ids: bool) -> LogChunk | None:
        """Events after event `after`, about 64 KiB; None if the log has none. Cancelling a call disturbs no other.

        Raises:
            LogBrokenError: the log does not hold that event, or does not go on from it.
            StoreCorruptError: an event cannot be read.
            StoreError: the store failed.
        """
        kind = protocol.name, protocol.client_version, ids
        found = self._kept(kind, after)
        if found is not None:
            if await self._still_holds(found, after):
                return found
            self.clear()
        return await self._once((kind, after), lambda: self._read(kind, after, protocol))

    async def record(self) -> StreamMeta | None:
        """The stream's record, for a reader whose log is broken."""
        return await self._replays.reads.meta(self.ref)

    def leave(self) -> None:
        """A viewer reads it no longer. The last one takes all chunks with it."""
        self.readers -= 1
        if self.readers == 0:
            self._replays.forget(self)

    def clear(self) -> None:
        """Keep no chunk."""
        self._chunks.clear()
        self._replays.held_bytes -= self.held_bytes
        self.held_bytes = 0

    def drop_oldest(self) -> None:
        """Keep the chunk no longer that was not used for longest."""
        _, chunk = self._chunks.popitem(last=False)
        self.held_bytes -= chunk.size
        self._replays.held_bytes -= chunk.size

    def _kept(self, kind: _Kind, after: Position) -> LogChunk | None:
        key = kind, after
        if key not in self._chunks:
            for key, chunk in self._chunks.items():
                if key[0] == kind and chunk.goes_on(after):
                    break
            else:
                return None
        self._chunks.move_to_end(key)
        return self._chunks[key]

    def _keep(self, kind: _Kind, chunk: LogChunk) -> None:
        limit = self._replays.log_bytes
        if chunk.last == chunk.after or chunk.size > limit // LARGEST_SHARE or not self.readers:
            return
        key = kind, chunk.after
        if key in self._chunks:  # a live log went on meanwhile
            self.held_bytes -= self._chunks[key].size
            self._replays.held_bytes -= self._chunks.pop(key).size
        self._chunks[key] = chunk
        self.held_bytes += chunk.size
        self._replays.held_bytes += chunk.size
        while self.held_bytes > limit:
            self.drop_oldest()
        self._replays.trim()

    async def _still_holds(self, chunk: LogChunk, after: Position) -> bool:
        """Whether the log still has the chunk's events after `after`. If not, reading it says what it has."""

        async def ask() -> tuple[StreamMeta | None, bool]:
            return await self._replays.reads.check_position(self.ref, chunk.last)

        try:
            meta, held = await self._once(chunk.last, ask)
        except StoreCorruptError:  # the record; the log may be sound
            return False
        return held and meta is not None and max(after.seq, 1) >= meta.first_seq

    async def _read(self, kind: _Kind, after: Position, protocol: WireProtocol) -> LogChunk | None:
        events = await self._replays.reads.replay(self.ref, after, max_bytes=CHUNK_BYTES)
        if not events:
            return None
        with decoding(lambda: StoreCorruptError("read: what was logged cannot be framed", operation="read")):
            chunks = list(framed(protocol, self.ref.stream_id, after, events, ids=kind[2]))
        for chunk in chunks:
            self._keep(kind, chunk)
        return chunks[0]

    async def _once(self, key: object, ask: Callable[[], Awaitable[T]]) -> T:
        """What `ask` gives, or raises. Callers that come with the same `key` meanwhile get the same. If the one that
        asks is cancelled, the next one asks."""
        while (pending := self._pending.get(key)) is not None:
            await asyncio.wait([pending])  # unlike waiting for it directly, a cancellation does not reach it
            if not pending.cancelled():
                return cast("T", pending.result())
        pending = self._pending[key] = asyncio.get_running_loop().create_future()
        try:
            found = await ask()
        except Exception as exc:
            pending.set_exception(exc)
            pending.exception()  # it is raised here, so nobody else has to see it
            raise
        except BaseException:
            pending.cancel()
            raise
        else:
            pending.set_result(found)
            return found
        finally:
            del self._pending[key]


class Replays:
    """The logs that viewers of this process read.

    Chunks are kept while viewers read their log: at most `log_bytes` of each log, and `SHARED_BYTES` in all. A viewer
    that reads slowly finds its chunk gone, and has it read again.
    """

    def __init__(self, reads: LogReads, *, log_bytes: int) -> None:
        self.reads: LogReads = reads
        self.log_bytes: int = log_bytes
        self.held_bytes: int = 0
        """About the memory of all chunks that are kept."""
        self.logs: OrderedDict[StreamRef, Replay] = OrderedDict()
        """The logs with readers, the one that was joined last at the end."""

    def join(self, ref: StreamRef) -> Replay:
        """The log of a stream, for one viewer more, which calls `Replay.leave` in the end."""
        replay = self.logs.get(ref)
        if replay is None:
            replay = self.logs[ref] = Replay(self, ref)
        else:
            self.logs.move_to_end(ref)
        replay.readers += 1
        return replay

    def forget(self, replay: Replay) -> None:
        """Nobody reads this log any more."""
        replay.clear()
        del self.logs[replay.ref]

    def trim(self) -> None:
        """Keep no more than is allowed in all."""
        for replay in self.logs.values():
            if self.held_bytes <= SHARED_BYTES:
                return
            while replay.held_bytes and self.held_bytes > SHARED_BYTES:
                replay.drop_oldest()
