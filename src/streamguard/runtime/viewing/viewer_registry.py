"""The viewers of a process, the feeds that are kept for them of streams other processes write, and what operators are
told of their number."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

import anyio

from ...errors import StoreError
from ...settings import Settings
from ...stores.log_reads import LogReads
from ...stores.records import StreamMeta
from ...stores.store import StreamStore
from ...values import Position, StreamRef, StreamState
from ...wire import protocol_named
from ...wire.base import WireProtocol
from ...wire.sse import KEEP_ALIVE
from .feed import Feed
from .follower import Follower
from .presence import Presence
from .viewer import Viewer

__all__ = ["ViewerRegistry"]

REPORTS: Final = 3.0
"""For so many reports a worker's last one stands: two may fail, and a dead worker's viewers are soon forgotten."""


class ViewerRegistry:
    """Makes viewers. However many watch one remote stream, one follower serves them, for as long as one is left."""

    def __init__(
        self,
        store: StreamStore,
        settings: Settings,
        *,
        reads: LogReads,
        local: Callable[[StreamRef], Feed | None],
        start: Callable[[Callable[[], Awaitable[None]]], None],
    ) -> None:
        self._store = store
        self._settings = settings
        self._reads = reads
        self._local = local
        self._start = start
        self._feeds: dict[StreamRef, Feed] = {}
        """The followed feed that the next viewer of a stream joins."""
        self._followed: dict[Feed, anyio.CancelScope] = {}
        """What ends the following of each followed feed."""
        self.viewers: set[Viewer] = set()
        self._worker = secrets.token_hex(8)
        self.presence: Presence = Presence(store, settings)
        """Tells the writers of the streams that are followed here that they are viewed."""

    async def run(self) -> None:
        """Tell the store for ever how many view which stream here, every `heartbeat_seconds`, for operators. Nothing
        else depends on it, so no event, viewer or request waits for it; while nobody views, nothing is said."""
        seconds = self._settings.heartbeat_seconds
        said = False
        while True:
            await asyncio.sleep(seconds)
            counts = Counter(viewer.ref.stream_id for viewer in self.viewers)
            if counts or said:
                try:
                    await self._store.report_viewers(self._worker, counts, seconds=seconds * REPORTS)
                except StoreError:  # the breaker hears of that from those who need the store
                    continue
                said = bool(counts)

    def resume(self, meta: StreamMeta, after: Position, *, ids: bool, keep_alive: bytes = KEEP_ALIVE) -> Viewer:
        """A viewer of any stream, after event `after`: of this process's own feed if it has one."""
        ref = meta.ref
        protocol = protocol_named(meta.protocol, meta.client_version)
        feed = self._local(ref)
        if feed is None:
            feed = self._feeds.get(ref)
        if feed is not None and not feed.continues(after):  # the log has other events by now, or it lags behind
            feed = None
        if feed is None and meta.state is not StreamState.CLOSED:
            feed = Feed(protocol, ref.stream_id, start=meta.end, limit_bytes=self._settings.viewer_backlog_bytes)
            viewer = self.viewer(ref, protocol, feed, after, ids=ids, keep_alive=keep_alive)
            self.follow(ref, feed)
            self.presence.begin(meta, feed)
            return viewer
        return self.viewer(ref, protocol, feed, after, ids=ids, keep_alive=keep_alive)

    def viewer(
        self,
        ref: StreamRef,
        protocol: WireProtocol,
        feed: Feed | None,
        after: Position,
        *,
        ids: bool,
        keep_alive: bytes = KEEP_ALIVE,
    ) -> Viewer:
        """A viewer of a feed, or with None of a closed stream's log."""
        viewer = Viewer(
            reads=self._reads,
            ref=ref,
            protocol=protocol,
            feed=feed,
            after=after,
            ids=ids,
            now=asyncio.get_running_loop().time(),
            patience_seconds=self._settings.append_deadline_seconds,
            on_close=self._closed,
            keep_alive=keep_alive,
        )
        self.viewers.add(viewer)
        return viewer

    def follow(self, ref: StreamRef, feed: Feed) -> None:
        """Extend a feed from the store for as long as it has viewers."""
        if feed.ended or not feed.viewers or feed in self._followed:
            return
        self._feeds.setdefault(ref, feed)
        self._followed[feed] = scope = anyio.CancelScope()

        async def run() -> None:
            # Not by cancelling the task: anyio would take that for the whole group's end.
            with scope:
                await self._following(ref, feed)

        self._start(run)

    def cut_all(self, reason: str) -> None:
        """Cut every viewer that does not have its stream's end yet."""
        for viewer in list(self.viewers):
            if viewer.feed is None or not viewer.feed.complete:
                viewer.drop(reason)

    async def _following(self, ref: StreamRef, feed: Feed) -> None:
        try:
            await Follower(
                self._store,
                ref,
                feed,
                poll_seconds=self._settings.heartbeat_seconds,
                patience_seconds=self._settings.append_deadline_seconds,
            ).run()
        finally:
            self._leave(ref, feed)

    def _leave(self, ref: StreamRef, feed: Feed) -> None:
        """Follow a feed no longer; who comes now gets a new one."""
        if self._feeds.get(ref) is feed:
            del self._feeds[ref]
        self.presence.end(feed)
        scope = self._followed.pop(feed, None)
        if scope is not None:
            scope.cancel()
        feed.end(complete=False)

    def _closed(self, viewer: Viewer) -> None:
        self.viewers.discard(viewer)
        feed = viewer.feed
        if feed is None or feed.viewers:
            return
        feed.watched_at = asyncio.get_running_loop().time()
        if feed in self._followed:
            self._leave(viewer.ref, feed)
        if feed.ended:
            feed.clear()
