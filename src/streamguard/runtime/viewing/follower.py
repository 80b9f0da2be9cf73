"""Extends a feed with the events of a stream that another process writes: from hints, and from the log where they fail.

Hints are delivered at most once, so they are only a shortcut. A follower that sees a jump or another epoch, or gets no
hint for a while, reads the log after its last event. So it never leaves a gap, nor goes on from an event that the log
has lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import groupby
from typing import Final

from ...deadlines import Deadline
from ...errors import FaultError, LogBrokenError, StoreCorruptError, StoreError
from ...faults import Fault, FaultCode, Phase, Severity
from ...retrying import Backoff, Retries
from ...stores.records import Hint
from ...stores.roles.stream_log import StreamLog
from ...values import EventKind, StreamRef
from ...wire import UNDECIDED, protocol_named
from ..versions import check_protocol
from .feed import CHUNK_BYTES, Feed
from .log_events import LOG_UNREADABLE, is_readable, is_tombstone
from .resume import why_broken

__all__ = ["Follower"]

READ_BYTES: Final = 4 * CHUNK_BYTES
"""About how many bytes of the log are read at once."""
STORE_BACKOFF: Final = Backoff(0.02, 0.2)
"""The pauses while the store fails."""
PENDING_HINTS: Final = 256
"""So many hints may wait; a follower that is further behind reads the log instead."""


class Follower:
    """Extends one feed from the store, until the stream's terminal record or until it cannot go on."""

    def __init__(
        self, store: StreamLog, ref: StreamRef, feed: Feed, *, poll_seconds: float, patience_seconds: float
    ) -> None:
        self.ref = ref
        self.feed = feed
        self._store = store
        self._poll_seconds = poll_seconds
        """How long without a hint before the log is read anyway."""
        self._patience_seconds = patience_seconds
        """How long the store may fail before the viewers are cut."""
        self._retries: Retries | None = None
        """The pauses since the store began to fail; None while it answers."""
        self._hinted = asyncio.Event()
        """Set when the task has to look: at hints that did not extend the feed, or at the feed's end."""
        self._hints: list[Hint] = []
        """Hints that arrived while the task reads the log, or that it has to read the log for."""
        self._waits = False
        """The task waits for hints: the feed has all that was read and hinted so far."""
        self._heard_at = 0.0
        """Loop time of the last hint that extended the feed."""

    async def run(self) -> None:
        """Follow to the end. On return the feed has ended; cancelling it leaves the feed as it is."""
        while not self.feed.ended:
            try:
                async with self._store.subscribe(self.ref, self._on_hint):
                    await self._follow()
            except StoreCorruptError:  # asking again does not help
                self._fail(FaultCode.RESUME_FAILED, LOG_UNREADABLE)
            except StoreError:
                if self._retries is None:
                    self._retries = STORE_BACKOFF.retries(Deadline.after(self._patience_seconds))
                if not await self._retries.pause():
                    self._fail(FaultCode.STORE_UNAVAILABLE, None)

    def _on_hint(self, hint: Hint) -> None:
        """Hot path: while the task waits, a hint extends the feed as it arrives. It costs no task's turn, and no timer
        is begun anew."""
        if self._waits and not self._hints and self._extend_by((hint,)):
            self._heard_at = asyncio.get_running_loop().time()
            if self.feed.ended:
                self._hinted.set()
            return
        if len(self._hints) == PENDING_HINTS:
            self._hints = [Hint(0, (), False)]  # too far behind: read the log
        self._hints.append(hint)
        self._hinted.set()

    async def _follow(self) -> None:
        clock = asyncio.get_running_loop().time
        await self._catch_up()
        while not self.feed.ended:
            hints, self._hints = self._hints, []
            if not self._extend_by(hints):
                await self._catch_up()
                continue
            self._hinted.clear()
            self._waits, self._heard_at = True, clock()
            try:
                while not self._hinted.is_set():
                    silent_at = self._heard_at + self._poll_seconds
                    try:
                        async with asyncio.timeout_at(silent_at):  # noqa: TID251 -- a period
                            await self._hinted.wait()
                    except TimeoutError:
                        if clock() >= self._heard_at + self._poll_seconds:
                            break
            finally:
                self._waits = False
            if not self._hinted.is_set() and not self.feed.ended:
                await self._catch_up()

    async def _catch_up(self) -> None:
        """Extend the feed by what the log has after the feed's last event."""
        while not self.feed.ended:
            last = self.feed.position(self.feed.emitted)
            try:
                events = await self._store.read(self.ref, last, max_bytes=READ_BYTES)
            except LogBrokenError:  # the log has lost what the viewers have seen
                self._fail(FaultCode.RESUME_FAILED, why_broken(await self._store.meta(self.ref), last.seq))
                return
            if not events:
                await self._check_alive()
                self._retries = None
                return
            if self.feed.undecided and not await self._learn_protocol():
                return
            for epoch, written in groupby(events, key=lambda event: event.epoch):
                self._extend(epoch, [(event.kind, event.data) for event in written])
            await asyncio.sleep(0)

    async def _learn_protocol(self) -> bool:
        """The log has a first event: its record says what it is written in. False when that ended the feed."""
        meta = await self._store.meta(self.ref)
        if meta is None:
            self._fail(FaultCode.RESUME_FAILED, "stream_gone")
            return False
        try:
            check_protocol(meta, Phase.RESUME)
        except FaultError as exc:
            self.feed.end(complete=False, fault=exc.fault)
            return False
        if meta.protocol != UNDECIDED.name:
            self.feed.speak(protocol_named(meta.protocol, meta.client_version))
        return True

    async def _check_alive(self) -> None:
        """End the feed if the stream is gone or its log is lost."""
        meta = await self._store.meta(self.ref)
        if meta is None:
            self._fail(FaultCode.RESUME_FAILED, "stream_gone")
        elif meta.lost:
            self._fail(FaultCode.RESUME_FAILED, "not_registered")

    def _extend_by(self, hints: Sequence[Hint]) -> bool:
        """Extend the feed by the events of the hints. False when the log must be read instead."""
        if self.feed.undecided:
            return not hints  # any may tell of the first event, and only the log's record says what that is
        for hint in hints:
            # Its number alone does not say that an event follows: another epoch's events may have replaced ours.
            if not hint.events or hint.epoch != self.feed.epoch:
                return False
            skip = self.feed.emitted + 1 - hint.first_seq
            if skip < 0:
                return False
            self._extend(hint.epoch, hint.events[skip:])
        return True

    def _extend(self, epoch: int, events: Sequence[tuple[EventKind, bytes]]) -> None:
        feed = self.feed
        feed.begin_epoch(epoch)
        over = bool(events) and events[-1][0] is EventKind.TERMINAL
        lost = over and is_tombstone(events[-1][1])
        if not all(is_readable(kind, data) for kind, data in events):
            self._fail(FaultCode.RESUME_FAILED, LOG_UNREADABLE)
            return
        for kind, data in events[:-1] if lost else events:
            feed.push(kind, data)
        if over and not lost:
            feed.end(complete=True)
            return
        # Show the events before ending the feed: viewers send as soon as they hear of either.
        feed.show(feed.emitted)
        if lost:  # a clean end here would make half an answer look whole
            self._fail(FaultCode.RESUME_FAILED, "not_registered")

    def _fail(self, code: FaultCode, reason: str | None) -> None:
        self.feed.end(
            complete=False,
            fault=Fault.of(
                code,
                phase=Phase.RESUME,
                severity=Severity.FATAL,
                reason=reason,
                session_id=self.ref.key.session_id,
                stream_id=self.ref.stream_id,
            ),
        )
