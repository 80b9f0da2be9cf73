"""One response reading one stream: from the log while it is behind the feed's window, then from the shared feed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Final

from ...deadlines import Deadline
from ...errors import LogBrokenError, StoreCorruptError, StoreError, StreamGuardError
from ...faults import Fault, FaultCode, Phase, Severity
from ...retrying import Backoff
from ...values import Position, StreamRef, Subject
from ...wire.base import WireProtocol
from ...wire.sse import KEEP_ALIVE
from .feed import CHUNK_BYTES, Feed
from .feed_viewer import OnNews
from .log_chunk import LogChunk, LogEnd
from .log_events import LOG_UNREADABLE
from .replays import Replay, Replays
from .resume import why_broken

__all__ = ["Viewer", "ViewerCutError"]

STORE_BACKOFF: Final = Backoff(0.02, 0.2)
"""The pauses of a replay whose store fails."""
WRITE_BYTES: Final = CHUNK_BYTES + CHUNK_BYTES // 2
"""A chunk up to this size goes out in one write. A feed's chunks have about `CHUNK_BYTES`; only the chunk of one large
event is larger than this."""


class ViewerCutError(StreamGuardError):
    """The response must end without a clean end of body, so that its client knows it does not have everything.

    `frame` goes out first; it may be empty. It tells of `fault`.
    """

    def __init__(self, reason: str, frame: bytes = b"", fault: Fault | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.frame = frame
        self.fault = fault


class Viewer:
    """Delivers one stream, from a position to its terminal, in chunks ready to send.

    Not shared and not thread-safe. Cancelling the awaitable that `poll` returned loses nothing: the position moves only
    with its result.
    """

    __slots__ = (
        "_ids_wanted",
        "_keep_alive",
        "_keep_alive_due",
        "_on_close",
        "_on_news",
        "_over",
        "_patience_seconds",
        "_read_up_to",
        "_replay",
        "_replays",
        "_rest",
        "cut_reason",
        "drained",
        "feed",
        "ids",
        "last_at",
        "live",
        "on_drop",
        "opened_at",
        "position",
        "position_seen",
        "protocol",
        "ref",
        "remote",
        "sending_since",
        "subject",
    )

    def __init__(
        self,
        *,
        replays: Replays,
        subject: Subject,
        protocol: WireProtocol,
        feed: Feed | None,
        after: Position,
        ids: bool | None,
        now: float,
        patience_seconds: float,
        on_close: Callable[[Viewer], None],
        keep_alive: bytes = KEEP_ALIVE,
    ) -> None:
        """`protocol` is that of a viewer without a feed; a feed's viewers have the feed's. `ids`: whether blocks carry
        ids; None: as the protocol's blocks do by themselves. `keep_alive` is for a viewer whose blocks carry none."""
        self._replays = replays
        self._replay: Replay | None = None
        """The stream's log, while this reads from it."""
        self.subject: Subject = subject
        """The stream."""
        self.ref: StreamRef = subject.ref
        self.protocol: WireProtocol = protocol if feed is None else feed.protocol
        self.feed: Feed | None = feed
        self.position: int = after.seq
        """The last event delivered."""
        self._read_up_to = after
        """The last event that was delivered from the log, or the event that the viewer starts after."""
        self._ids_wanted = ids
        self.ids: bool = self.protocol.ids_by_default if ids is None else ids
        self.opened_at: float = now
        self.remote: bool = False
        """Whether another process produced the stream when this began. The registry sets it."""
        self.position_seen: int = after.seq
        """The position at the watchdog's last look."""
        self.last_at: float = now
        """Loop time of the watchdog's last look that found the position moved or sent a keep-alive."""
        self.sending_since: float | None = None
        """Loop time at which the response began its current write; None outside a write. The response sets it."""
        self.on_drop: Callable[[], None] | None = None
        """Cancels the response's hanging write. The response sets it."""
        self._patience_seconds = patience_seconds
        """How long a replay waits for a store that fails."""
        self._on_close = on_close
        self.cut_reason: str | None = None
        """Why the viewer was cut; None while it is not. Its response may not have noticed yet."""
        self.drained: bool = False
        """The last `poll` gave all there was: the next one gives something only after `on_news`."""
        self._over = False
        """The stream's end was delivered."""
        self._keep_alive = keep_alive
        """The bytes sent while the stream has no new event, to a viewer whose blocks carry no ids."""
        self._keep_alive_due = False
        self._rest: memoryview | None = None
        """The unsent rest of a chunk that is too large for one write. Nothing else may be sent before it."""
        self.live: bool = False
        """Whether a frame that the feed has at hand may be the next chunk: no cut, no rest, and the protocol's own
        `ids`."""
        self._on_news: OnNews | None = None
        if feed is not None:
            feed.viewers = (*feed.viewers, self)
            self._find_live()

    def protocol_decided(self, protocol: WireProtocol) -> None:
        """See `FeedViewer`."""
        self.protocol = protocol
        if self._ids_wanted is None:
            self.ids = protocol.ids_by_default
        self._find_live()

    def _find_live(self) -> None:
        usual = self._rest is None and self.cut_reason is None and self.ids is self.protocol.ids_by_default
        self.live = usual and self.feed is not None

    def listen(self, on_news: OnNews) -> None:
        """Call `on_news` whenever `poll` may have something to send, until `close`. It must not raise."""
        if self.feed is not None:
            if self._on_news is not None:
                self.feed.leave(self._on_news)
            self.feed.listen(on_news)
        self._on_news = on_news

    @property
    def listening(self) -> bool:
        """Whether `listen` was called and `close` was not."""
        return self._on_news is not None

    @property
    def all_there(self) -> bool:
        """Whether `poll` gives the rest of the stream, to its end, without a wait."""
        feed = self.feed
        return feed is not None and feed.complete and self.position >= feed.base

    @property
    def at_end(self) -> bool:
        """Whether nothing follows the chunk that `poll` gave last: it is the stream's end."""
        if self._rest is not None or self.cut_reason is not None:
            return False
        feed = self.feed
        return self._over or (feed is not None and feed.complete and self.position >= feed.visible)

    def end(self) -> None:
        """The last chunk was delivered, unless the viewer was cut meanwhile: see `at_end`."""
        self._over = self.cut_reason is None

    def poll(self) -> bytes | Awaitable[bytes] | None:
        """The next chunk: whole SSE blocks, about 64 KiB at most; the next piece of a larger block; or a keep-alive.

        Empty exactly when the stream's end went out and nothing follows. None when there is nothing to send yet. An
        awaitable when the log has to be read: its result is a chunk too, but after an empty one the caller polls again.

        Raises:
            ViewerCutError: the rest cannot be delivered on this connection.
        """
        feed = self.feed
        if self.live and feed is not None and feed.newest and self.position + 1 == feed.visible:  # nearly always
            self.position = feed.visible
            self._keep_alive_due, self.drained = False, True
            return feed.newest
        self.drained = False
        while True:
            if self._rest is not None and self.cut_reason is None:
                return self._piece(self._rest)
            feed = self.feed
            if feed is not None and feed.base <= self.position < feed.visible and self.cut_reason is None:
                chunk, self.position = feed.take(self.position, ids=self.ids)
                if not chunk:  # a terminal record without a wire form
                    continue
                self._keep_alive_due = False
                return self._in_pieces(chunk)
            if self.cut_reason is not None:
                raise ViewerCutError(self.cut_reason)
            if self._over:
                return b""
            if feed is None or self.position < feed.base:
                return self._next_of_log(None if feed is None else feed.last_id)
            if feed.ended:
                if feed.complete:
                    self._over = True
                    return b""
                if (fault := feed.end_fault) is None:
                    raise ViewerCutError("ended")
                raise self._cut_by(fault, str(fault.code))
            if self._keep_alive_due:
                self._keep_alive_due = False
                return self._keep_alive_bytes() or None
            return None

    async def _next_of_log(self, last_id: int | None) -> bytes:
        """Up to 64 KiB of the log after the position; empty when its events have no wire form or the log ended.

        Events past `last_id`, if it is given, are not in the log: a viewer that fell behind there cannot catch up.
        """
        if last_id is not None and self.position >= last_id:
            raise ViewerCutError("slow")
        feed = self.feed
        after = self._read_up_to
        if after.seq != self.position and feed is not None:
            after = feed.position(self.position)
        chunk = await self._read(after)
        last = chunk.last
        for up_to in (last_id, None if feed is None else feed.emitted):  # the feed will bring what comes after
            if up_to is not None and up_to < last.seq:
                last = Position(last.epoch, up_to)
        if last.seq <= after.seq:  # a tombstone: what came before it was not the whole stream
            raise self._gone("not_registered")
        self._over = chunk.end is LogEnd.WHOLE and last == chunk.last
        self.position, self._read_up_to = last.seq, last
        if feed is not None and last.seq >= feed.base:
            self._leave_log()
            if feed.position(last.seq) != last:
                raise self._gone("cursor_ahead")  # the log has other events by now than the feed
        return self._in_pieces(chunk.bytes_between(after.seq, last.seq))

    def _in_pieces(self, chunk: bytes) -> bytes:
        """The chunk, or its first piece: the single write of a large event would look like one that hangs."""
        if len(chunk) <= WRITE_BYTES:
            return chunk
        return self._piece(memoryview(chunk))

    def _piece(self, rest: memoryview) -> bytes:
        """The next piece of the rest of a chunk."""
        piece, left = bytes(rest[:CHUNK_BYTES]), rest[CHUNK_BYTES:]
        self._rest = left or None
        self._find_live()
        return piece

    def _leave_log(self) -> None:
        replay, self._replay = self._replay, None
        if replay is not None:
            replay.leave()

    async def _read(self, after: Position) -> LogChunk:
        """The log's next events after event `after`. A failing store is asked again within the viewer's patience.

        Raises:
            ViewerCutError: the log does not go on from there any more, or the store failed for too long.
        """
        replay = self._replay
        if replay is None:
            replay = self._replay = self._replays.join(self.ref)
        retries = STORE_BACKOFF.retries(Deadline.after(self._patience_seconds))
        while True:
            try:
                with suppress(LogBrokenError):
                    if (chunk := await replay.chunk(after, self.protocol, ids=self.ids)) is not None:
                        return chunk
                raise self._gone(why_broken(await replay.record(), after.seq))
            except StoreCorruptError as exc:  # asking again does not help
                raise self._unreadable() from exc
            except StoreError as exc:
                if self.cut_reason is not None:
                    raise ViewerCutError(self.cut_reason) from exc
                if not await retries.pause():
                    fault = Fault.of(FaultCode.STORE_UNAVAILABLE, phase=Phase.RESUME, severity=Severity.FATAL)
                    raise self._cut_by(fault, str(fault.code)) from exc

    def _unreadable(self) -> ViewerCutError:
        return self._gone(LOG_UNREADABLE)

    def _gone(self, reason: str) -> ViewerCutError:
        """The error for a log that does not have the rest of the stream."""
        return self._cut_by(Fault.of(FaultCode.RESUME_FAILED, severity=Severity.FATAL, reason=reason), reason)

    def _cut_by(self, fault: Fault, reason: str) -> ViewerCutError:
        """The error for a fault of which the viewer is told."""
        fault = replace(
            fault,
            session_id=self.ref.key.session_id,
            stream_id=self.ref.stream_id,
            message_id=self.subject.message_id,
        )
        return ViewerCutError(reason, self.protocol.fault_frame(fault), fault)

    def keep_alive(self) -> None:
        """Let the next `poll` that finds no event return a keep-alive."""
        self._keep_alive_due = True
        self._tell()

    def _keep_alive_bytes(self) -> bytes:
        """What keeps the connection open; empty where nothing can."""
        own = self.protocol.keep_alive
        # No blank line alone may follow an id: see `KEEP_ALIVE`.
        return self._keep_alive if own == KEEP_ALIVE and not self.ids else own

    @property
    def left_reason(self) -> str:
        """Why it views no longer, once that is so: why it was cut, `ended`, or `left`."""
        return self.cut_reason or ("ended" if self._over else "left")  # of a log, the end may have been read only

    def cut(self, reason: str) -> None:
        """Make `poll` raise `ViewerCutError(reason)`. For use from another task."""
        if self.cut_reason is None:
            self.cut_reason, self.live = reason, False
        self._tell()

    def drop(self, reason: str) -> None:
        """Cut the viewer, and cancel the write that it hangs in."""
        self.cut(reason)
        if self.on_drop is not None:
            self.on_drop()

    def close(self) -> None:
        """Leave the stream. Idempotent; never waits."""
        on_close, self._on_close = self._on_close, _nothing
        if self._replay is not None:
            self._leave_log()
        feed = self.feed
        if feed is not None:
            feed.viewers = tuple(one for one in feed.viewers if one is not self)
            if self._on_news is not None:
                feed.leave(self._on_news)
        self._on_news = None
        on_close(self)

    def _tell(self) -> None:
        if self._on_news is not None:
            self._on_news(b"", self.position)


def _nothing(_: Viewer) -> None:
    """The `on_close` of a viewer that is closed already."""
