"""The requests about a session: resume, stop, status, download, erasure."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Final, NamedTuple

from ..cursor import Cursor
from ..deadlines import Deadline
from ..decoding import DAMAGE, decoding
from ..errors import FaultError, LogBrokenError, StoreCorruptError, StoreError, StoreUnavailableError
from ..faults import Fault, FaultCode, Phase
from ..settings import Settings
from ..stores.breaker import Breaker
from ..stores.log_reads import SLICE_BYTES, LogReads
from ..stores.records import SessionRecord, StreamMeta
from ..stores.registrations import StopReply
from ..stores.store import StreamStore
from ..values import START, Position, SessionKey, StreamRef, StreamState
from ..wire import EventParser, protocol_named
from ..wire.recognition import SSE
from .opening.end_wait import EndWait
from .opening.eviction import Eviction
from .producing.live_streams import LiveStreams
from .producing.stream import LiveStream
from .versions import RETRY_AFTER_SECONDS, UNREADABLE, check_protocol, unavailable, unreadable_reason
from .viewing.resume import Nothing, Resumed, refused, resolve, resolve_after, why_broken

__all__ = ["ANY_STREAM", "Sessions", "StopTarget"]

STOP_PENDING_SECONDS: Final = 60.0
"""For how long a stop that found no running stream is remembered: longer than most requests take to prepare."""
STOP_ROUNDS: Final = 3
"""So often a stop looks again when streams end and begin meanwhile."""
COMMENTS_AT_END: Final = 16
"""How many of a stream's last records are looked at for one that a client sees."""
COMMENTS_BYTES: Final = 65_536


class StopTarget(NamedTuple):
    """The stream that a stop is for: the one with these ids, as far as they are given."""

    stream_id: str | None = None
    message_id: str | None = None

    def names(self, stream: StreamMeta | LiveStream) -> bool:
        """Whether the stop is for that stream."""
        return self.stream_id in (None, stream.ref.stream_id) and self.message_id in (None, stream.message_id)


ANY_STREAM: Final = StopTarget()
"""The stop is for whichever stream runs."""


class Sessions:
    """Answers about sessions. Every method raises `FaultError` with `store_unavailable` when the store does not answer.

    `reads` reads logs; `streams` are those that this process produces.
    """

    def __init__(
        self,
        store: StreamStore,
        breaker: Breaker,
        settings: Settings,
        eviction: Eviction,
        end_wait: EndWait,
        *,
        reads: LogReads,
        streams: LiveStreams,
        correct_record: Callable[[StreamMeta], None],
    ) -> None:
        self._store = store
        self._breaker = breaker
        self._settings = settings
        self._eviction = eviction
        self._end_wait = end_wait
        self._reads = reads
        self._local = streams.of_session
        self._correct_record = correct_record

    async def resume(self, key: SessionKey, cursor: Cursor | None) -> Resumed | Nothing:
        """What a returning client gets, by the resume table.

        Raises:
            FaultError: `store_unavailable` (503), or `resume_failed` (409, 410) with the reason.
        """
        if cursor is not None:
            return await self._resume_after(key, cursor)
        with self._store_errors(key, Phase.RESUME):
            record = await self._store.session(key)
        for stream in self._local(key):
            asked = record.active_id or stream.ref.stream_id
            if stream.degraded and stream.ref.stream_id == asked:
                # This process knows before the store does, which the next heartbeat tells.
                raise refused(key, asked, "not_registered", stream.message_id)
        return resolve(key, record, self._settings)

    async def _resume_after(self, key: SessionKey, cursor: Cursor) -> Resumed | Nothing:
        ref = StreamRef(key, cursor.stream_id)
        with self._store_errors(key, Phase.RESUME):
            named, held = await self._store.check_position(ref, cursor.position)
        if held and any(stream.degraded and stream.ref == ref for stream in self._local(key)):
            message_id = None if named is None else named.message_id
            raise refused(key, cursor.stream_id, "not_registered", message_id)  # as above
        found = resolve_after(key, cursor, named, held=held)
        if isinstance(found, Resumed) and await self._shows_nothing(found):
            return Nothing("finished", found.meta)
        return found

    async def _shows_nothing(self, found: Resumed) -> bool:
        """Whether a closed stream goes on with comments alone, such as the notices of a stream that is passed on. They
        have no ids, so a client that was sent them, and comes back at every end, would come back for ever."""
        meta, after = found.meta, found.after
        if meta.state is not StreamState.CLOSED or meta.last_seq - after.seq > COMMENTS_AT_END:
            return False
        protocol = protocol_named(meta.protocol, meta.client_version)
        if protocol.terminal_visible or protocol.media_type != SSE:  # lines of JSON have no comments
            return False
        try:
            events = await self._reads.read(meta.ref, after, max_bytes=COMMENTS_BYTES)
            frames = [protocol.frame(event, "1") for event in events]
        except (LogBrokenError, StoreError, *DAMAGE):  # the viewer's to tell
            return False
        is_whole = bool(events) and events[-1].seq == meta.last_seq
        return is_whole and not EventParser().feed(b"".join(frames))

    async def status(self, key: SessionKey) -> SessionRecord:
        """The session's active and last stream."""
        with self._store_errors(key, Phase.REQUEST):
            record = await self._store.session(key)
        if record.last is not None:
            self._correct_record(record.last)
        return record

    async def stop(
        self, key: SessionKey, target: StopTarget = ANY_STREAM, *, pending: bool = True
    ) -> StreamMeta | LiveStream | None:
        """Stop the session's active stream, wherever it runs, if it is the `target`. Returns None when no stream is to
        be stopped.

        When no stream runs and the target names none, the stop is for `pending` requests instead: a stream is stopped
        if its request has arrived by now and it is registered soon.

        Returns once the stop is decided or its writer was told, not when the stream has ended.
        """
        running = [stream for stream in self._local(key) if not stream.finalising and target.names(stream)]
        unlogged = [stream for stream in running if stream.degraded]
        if unlogged:
            return _stop_all(unlogged)
        try:
            return await self._stop_logged(key, target, pending=pending and target == ANY_STREAM)
        except FaultError:
            if not running:
                raise
            return _stop_all(running)  # its seal will say so, if the store returns

    async def _stop_logged(self, key: SessionKey, target: StopTarget, *, pending: bool) -> StreamMeta | None:
        with self._store_errors(key, Phase.REQUEST):
            for _ in range(STOP_ROUNDS):
                meta = (await self._store.session(key)).active
                if meta is not None and meta.state is StreamState.OPEN:
                    stopped = await self._stop_running(meta) if target.names(meta) else None
                    if stopped is not None or not pending:
                        return stopped
                elif not pending or await self._store.stop_pending_requests(
                    key, seconds=STOP_PENDING_SECONDS, limit=self._settings.max_streams_per_owner
                ):
                    return None
                # The stream ended, or another was registered, in between.
            return None

    async def _stop_running(self, meta: StreamMeta) -> StreamMeta | None:
        key, reply = meta.ref.key, await self._store.request_stop(meta.ref)
        if reply is StopReply.ENDED:
            return None
        if reply is StopReply.EXPIRED:
            current = await self._store.meta(meta.ref)
            if current is not None:
                # The stop is on record: a worker of the later version that finds the stream keeps it.
                check_protocol(current, Phase.REQUEST)
                await self._eviction.take_over(current, stopped=True)
        local = [stream for stream in self._local(key) if stream.ref == meta.ref and not stream.finalising]
        if local:  # this process writes it, so it need not wait until the store says so
            _stop_all(local)
        return meta

    async def raw(self, key: SessionKey, stream_id: str) -> tuple[StreamMeta, AsyncGenerator[str]]:
        """A stream's record and the text in its log, in slices; the first slice is read before this returns.

        The iterator raises `StoreError` when the store fails, and `FaultError` when the log is gone: then the text so
        far is not the whole. Each slice is read when it is asked for, in a turn of its own.

        Raises:
            FaultError: `not_found` when this owner's session has no such stream; `resume_failed` when its log is gone.
        """
        with self._store_errors(key, Phase.REQUEST):
            meta = await self._store.meta(StreamRef(key, stream_id))
            if meta is None:
                raise FaultError(Fault.of(FaultCode.NOT_FOUND, session_id=key.session_id))
            check_protocol(meta, Phase.REQUEST)
            text = self._text(meta)
            first = await anext(text, "")
        return meta, _prepended(first, text)

    async def _text(self, meta: StreamMeta) -> AsyncGenerator[str]:
        protocol, key = protocol_named(meta.protocol), meta.ref.key
        position = START
        while position.seq < meta.last_seq:
            async with self._reads.paced(key.owner):
                try:
                    events = await self._store.read(meta.ref, position, max_bytes=SLICE_BYTES)
                except LogBrokenError as exc:
                    now = await self._store.meta(meta.ref)
                    raise refused(key, meta.ref.stream_id, why_broken(now, position.seq), meta.message_id) from exc
                if not events:
                    raise refused(key, meta.ref.stream_id, "stream_gone", meta.message_id)
                with decoding(lambda: StoreCorruptError("read: what was logged cannot be read", operation="read")):
                    text = protocol.text(events)
            position = Position(events[-1].epoch, events[-1].seq)
            yield text
            await asyncio.sleep(0)

    async def erase(self, key: SessionKey, *, longest_stream_seconds: float | None = None) -> None:
        """End the session's streams, wait until their writers are done, and delete everything of it.

        `longest_stream_seconds`: how long a stream of any endpoint may take, if that is not the setting
        `max_stream_seconds`.

        A damaged record is deleted too. Its writer, which such a record may not name, finds the stream gone and can
        write nothing of it any more.

        Raises:
            FaultError: also when a writer did not end in time; then nothing was deleted.
        """
        patience = self._settings.save_total_seconds
        with _ignoring_damage():
            await self.stop(key, pending=False)
        try:
            async with Deadline.after(patience).limit():
                for stream in self._local(key):
                    await stream.ended()
        except TimeoutError:
            raise self._still_written(key) from None
        with _ignoring_damage(), self._store_errors(key, Phase.REQUEST):
            record = await self._store.session(key)
            for meta in (record.active, record.last):
                if meta is None or meta.state is StreamState.CLOSED:
                    continue
                if meta.lease_seconds <= 0:
                    check_protocol(meta, Phase.REQUEST)
                    await self._eviction.take_over(meta, stopped=True)
                if not await self._end_wait.until_closed(meta.ref, patience):
                    raise self._still_written(key)
        settings = self._settings
        longest = max(longest_stream_seconds or 0.0, settings.max_stream_seconds)
        with self._store_errors(key, Phase.REQUEST):
            await self._store.erase(
                key,
                mark_seconds=settings.outbox_retention_seconds,
                # An unknown session owes nothing, so only a stream that runs without a log could still write.
                unknown_seconds=min(longest + settings.save_total_seconds, settings.outbox_retention_seconds),
            )

    @contextmanager
    def _store_errors(self, key: SessionKey, phase: Phase) -> Iterator[None]:
        """Turn the store's failures into the fault a client gets. While the breaker is open, the store is not asked."""
        if self._breaker.open:
            raise unavailable(key, phase)
        try:
            yield
        except StoreError as exc:
            if isinstance(exc, StoreUnavailableError):  # else the store answered, and is healthy
                self._breaker.stumbled(exc)
            raise unavailable(key, phase, unreadable_reason(exc)) from exc

    def _still_written(self, key: SessionKey) -> FaultError:
        return FaultError(
            Fault.of(
                FaultCode.STORE_UNAVAILABLE,
                phase=Phase.REQUEST,
                message="The conversation is still being written. Please try again.",
                reason="not_drained",
                retry_after_seconds=RETRY_AFTER_SECONDS,
                session_id=key.session_id,
            )
        )


async def _prepended(first: str, rest: AsyncGenerator[str]) -> AsyncGenerator[str]:
    async with aclosing(rest):
        yield first
        async for text in rest:
            yield text


@contextmanager
def _ignoring_damage() -> Iterator[None]:
    """Ignore that a record is damaged while streams are ended before their deletion: it is deleted as it is."""
    try:
        yield
    except FaultError as exc:
        if exc.fault.reason != UNREADABLE:
            raise


def _stop_all(streams: list[LiveStream]) -> LiveStream:
    """Stop streams of this process. Returns the newest."""
    for stream in streams:
        stream.stop()
    return streams[-1]
