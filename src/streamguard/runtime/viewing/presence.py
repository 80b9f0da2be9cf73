"""Tells the writers of remote streams that somebody views them here, for those that would else end them."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final

from ...errors import StoreError
from ...settings import Settings
from ...stores.records import StreamMeta
from ...stores.store import StreamStore
from ...values import StreamRef
from .feed import Feed

__all__ = ["Presence"]

NOTES: Final = 4
"""So often a stream is said to be viewed within the time after which it would be ended: some may fail or be late."""
RETRY_SECONDS: Final = 0.25


class Presence:
    """Notes in the store that streams are viewed in this process: when the first viewer comes, now and then, and when
    the last one leaves. Streams that go on anyway are left out, so that they cost nothing."""

    def __init__(self, store: StreamStore, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._followed: dict[Feed, StreamRef] = {}
        """The feeds that have viewers here."""
        self._feeds: Counter[StreamRef] = Counter()
        """How many they are of each stream: several for a while, where one lags behind what its client has seen."""
        self._period: dict[StreamRef, float] = {}
        """How often each of their streams is to be noted, in seconds."""
        self._due_at: dict[StreamRef, float] = {}
        """Loop time of each one's next note. Of one that was left, the last."""
        self._changed = asyncio.Event()

    def begin(self, meta: StreamMeta, feed: Feed) -> None:
        """A stream of another process is viewed from here on, by a new feed of it."""
        if meta.abandon_after_seconds is None:
            return
        self._followed[feed] = meta.ref
        self._feeds[meta.ref] += 1
        if self._feeds[meta.ref] == 1:
            self._period[meta.ref] = min(meta.abandon_after_seconds / NOTES, self._settings.heartbeat_seconds)
            self._note_soon(meta.ref)

    def end(self, feed: Feed) -> None:
        """Nobody views that feed any more. Once its stream has none left, its time counts from now."""
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
        loop = asyncio.get_running_loop()
        while True:
            self._changed.clear()
            now = loop.time()
            due = [ref for ref, at in self._due_at.items() if at <= now]
            if due and not await self._noted(due):
                await asyncio.sleep(RETRY_SECONDS)
                continue
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

    async def _noted(self, refs: list[StreamRef]) -> bool:
        """Whether the store heard of it; its breaker hears of failures from those who need it."""
        try:
            await self._store.note_viewed(refs)
        except StoreError:
            return False
        return True
