"""Keeps one process's feed of a stream that another process writes: hints as they come, ranges where they fail.

Hints are at most once, so they are only a shortcut. A follower that sees a jump, or hears nothing for a while, reads
the range, and so never leaves a gap.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from ..errors import StoreError
from ..faults import Fault, FaultCode, Phase, Severity
from ..model import EventKind, StreamRef
from ..stores.base import Hint, StreamStore
from .feed import CHUNK_BYTES, Feed

__all__ = ["Follower"]

READ_BYTES: Final = 4 * CHUNK_BYTES


class Follower:
    """Extends a feed from the store until the stream's terminal record, or until it cannot any more."""

    def __init__(self, store: StreamStore, ref: StreamRef, feed: Feed, *, poll_seconds: float) -> None:
        self.ref = ref
        self.feed = feed
        self._store = store
        self._poll_seconds = poll_seconds
        """How long without a hint before the range is read anyway."""
        self._hinted = asyncio.Event()
        self._hints: list[Hint] = []

    async def run(self) -> None:
        """Follow to the end. On return the feed has ended; cancelling it leaves the feed as it is."""
        try:
            async with self._store.watch(self.ref, self._on_hint):
                await self._follow()
        except StoreError:
            self._fail(FaultCode.STORE_UNAVAILABLE, None)

    def _on_hint(self, hint: Hint) -> None:
        self._hints.append(hint)
        self._hinted.set()

    async def _follow(self) -> None:
        read = True
        while not self._over():
            if read:
                await self._catch_up()
                if self._over():
                    return
            try:
                async with asyncio.timeout(self._poll_seconds):
                    await self._hinted.wait()
            except TimeoutError:
                read = True
                if not await self._alive():
                    return
                continue
            self._hinted.clear()
            hints, self._hints = self._hints, []
            read = not self._extend_by(hints)

    def _over(self) -> bool:
        return self.feed.ended

    async def _catch_up(self) -> None:
        """Read what the log has after the feed's end."""
        while not self.feed.ended:
            events = await self._store.read(self.ref, self.feed.emitted, max_bytes=READ_BYTES)
            if not events:
                await self._alive()
                return
            if events[0].seq != self.feed.emitted + 1:
                self._fail(FaultCode.RESUME_FAILED, "trimmed")
                return
            self._extend([(event.kind, event.data) for event in events])
            await asyncio.sleep(0)

    async def _alive(self) -> bool:
        """Whether more can come; ends the feed if not."""
        meta = await self._store.meta(self.ref)
        if meta is None:
            self._fail(FaultCode.RESUME_FAILED, "stream_gone")
            return False
        if meta.lost:
            self._fail(FaultCode.RESUME_FAILED, "not_registered")
            return False
        if meta.last_seq < self.feed.emitted:
            self._fail(FaultCode.RESUME_FAILED, "cursor_ahead")
            return False
        return True

    def _extend_by(self, hints: list[Hint]) -> bool:
        """Extend the feed by what the hints carry. False when the range must be read instead."""
        for hint in hints:
            if not hint.events:
                return False
            skip = self.feed.emitted + 1 - hint.first_seq
            if skip < 0:
                return False
            self._extend(hint.events[skip:])
        return True

    def _extend(self, events: Sequence[tuple[EventKind, bytes]]) -> None:
        feed = self.feed
        last = None
        for last, data in events:
            feed.push(last, data)
        feed.show(feed.emitted)
        if last is EventKind.TERMINAL:
            feed.end(complete=True)

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
