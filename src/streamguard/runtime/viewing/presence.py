"""Tells the writers of remote streams that this process views them, so that they do not end them as unwatched."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final

from ...errors import StoreError
from ...retrying import Backoff
from ...settings import Settings
from ...stores.records import StreamMeta
from ...stores.roles.viewer_reports import ViewerReports
from ...values import StreamRef
from .feed import Feed

__all__ = ["Presence"]

NOTES: Final = 4
"""A viewed stream is noted so often within the time after which its writer would end it: notes may fail or be late."""
STORE_BACKOFF: Final = Backoff(0.25, 0.25)
"""The pauses while the store fails."""


class Presence:
    """Notes in the store that streams are viewed in this process: when the first viewer comes, at intervals, and when
    the last one leaves. It notes nothing of streams that go on without viewers, so that they cost nothing."""

    def __init__(self, store: ViewerReports, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._followed: dict[Feed, StreamRef] = {}
        """The feeds that have viewers here."""
        self._feeds: Counter[StreamRef] = Counter()
        """How many feeds each stream has: several for a while, when one lags behind what its client has seen."""
        self._period: dict[StreamRef, float] = {}
        """Seconds between the notes of each viewed stream."""
        self._due_at: dict[StreamRef, float] = {}
        """Loop time of each stream's next note. A stream without viewers has one last note."""
        self._changed = asyncio.Event()

    def begin(self, meta: StreamMeta, feed: Feed) -> None:
        """A new feed of another process's stream has a viewer from now on."""
        if meta.abandon_after_seconds is None:
            return
        self._followed[feed] = meta.ref
        self._feeds[meta.ref] += 1
        if self._feeds[meta.ref] == 1:
            self._period[meta.ref] = min(meta.abandon_after_seconds / NOTES, self._settings.heartbeat_seconds)
            self._note_soon(meta.ref)

    def end(self, feed: Feed) -> None:
        """The feed has no viewer any more. When its stream has no feed left, the last note is due."""
        ref = self._followed.pop(feed, None)
        if ref is None:
            return
        self._feeds[ref] -= 1
        if self._feeds[ref] == 0:
            del self._feeds[ref], self._period[ref]
            self._note_soon(ref)

    def _note_soon(self, ref: StreamRef) -> None:
        self._due_at[ref] = asyncio.get_running_loop().time()
        self._changed.set()

    async def run(self) -> None:
        """Note what is due, until cancelled."""
        loop, retries = asyncio.get_running_loop(), STORE_BACKOFF.retries()
        while True:
            self._changed.clear()
            now = loop.time()
            due = [ref for ref, at in self._due_at.items() if at <= now]
            if due and not await self._note(due):
                await retries.pause()
                continue
            retries.reset()
            for ref in due:
                if ref in self._period:
                    self._due_at[ref] = now + self._period[ref]
                elif self._due_at[ref] <= now:
                    del self._due_at[ref]
            next_at = min(self._due_at.values(), default=None)
            timer = None if next_at is None else loop.call_at(next_at, self._changed.set)
            try:
                await self._changed.wait()
            finally:
                if timer is not None:
                    timer.cancel()

    async def _note(self, refs: list[StreamRef]) -> bool:
        """Tell the store that streams are viewed. Returns whether it heard. The breaker is told of failures by callers
        that need the store."""
        try:
            await self._store.note_viewed(refs)
        except StoreError:
            return False
        return True
