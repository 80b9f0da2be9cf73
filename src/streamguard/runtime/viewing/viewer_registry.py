"""The viewers of a process, and the feeds that it keeps for them of streams that other processes write."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection

import anyio

from ...observations import Observation, SelectiveObserver, Signal
from ...settings import Settings
from ...stores.log_reads import LogReads
from ...stores.records import StreamMeta
from ...stores.store import StreamStore
from ...values import Position, StreamRef, StreamState, Subject
from ...wire import protocol_named
from ...wire.base import WireProtocol
from ...wire.sse import KEEP_ALIVE
from .feed import Feed
from .follower import Follower
from .presence import Presence
from .replays import Replays
from .throttle import Throttle
from .viewer import Viewer

__all__ = ["ViewerRegistry"]


class ViewerRegistry:
    """Makes viewers, and knows those that are open. One follower serves all viewers of a remote stream, until the last
    one leaves."""

    def __init__(
        self,
        store: StreamStore,
        settings: Settings,
        *,
        reads: LogReads,
        local: Callable[[StreamRef], Feed | None],
        start: Callable[[Callable[[], Awaitable[None]]], None],
        observe: SelectiveObserver,
    ) -> None:
        self._store = store
        self._settings = settings
        self.replays: Replays = Replays(reads, log_bytes=settings.viewer_backlog_bytes)
        """The logs that are being replayed here."""
        self._local = local
        self._start = start
        self._observe = observe
        self._feeds: dict[StreamRef, Feed] = {}
        """The followed feed that a stream's next viewer joins."""
        self._followed: dict[Feed, anyio.CancelScope] = {}
        """The scope of each feed's follower; cancelling it ends the following."""
        self.viewers: set[Viewer] = set()
        self.presence: Presence = Presence(store, settings)
        """Tells the writers of the streams that are followed here that they have viewers."""
        self.throttle: Throttle = Throttle()
        """For clients that come and go: other streams have their turns between them."""

    def all(self) -> Collection[Viewer]:
        """The viewers that are open. Copy it to keep it across an await."""
        return self.viewers

    def resume(self, meta: StreamMeta, after: Position, *, ids: bool | None, keep_alive: bytes = KEEP_ALIVE) -> Viewer:
        """A viewer of any stream, after event `after`: of this process's own feed if it has one."""
        ref = meta.ref
        protocol = protocol_named(meta.protocol, meta.client_version)
        feed = self._local(ref)
        remote = feed is None
        if feed is None:
            feed = self._feeds.get(ref)
        if feed is not None and not feed.continues(after):  # the log has other events by now, or the feed lags behind
            feed = None
        if feed is None and meta.state is not StreamState.CLOSED:
            feed = Feed(protocol, ref.stream_id, start=meta.end, limit_bytes=self._settings.viewer_backlog_bytes)
            viewer = self.viewer(meta, protocol, feed, after, ids=ids, keep_alive=keep_alive, remote=True)
            self.follow(ref, feed)
            self.presence.begin(meta, feed)
            return viewer
        remote = remote and feed is not None
        return self.viewer(meta, protocol, feed, after, ids=ids, keep_alive=keep_alive, remote=remote)

    def viewer(
        self,
        subject: Subject,
        protocol: WireProtocol,
        feed: Feed | None,
        after: Position,
        *,
        ids: bool | None,
        keep_alive: bytes = KEEP_ALIVE,
        remote: bool = False,
    ) -> Viewer:
        """A viewer of a feed, `remote` if another process writes its stream; without a feed, of a closed stream's
        log."""
        viewer = Viewer(
            replays=self.replays,
            subject=subject,
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
        viewer.remote = remote
        if self._observe.wants(Signal.VIEWER_JOINED):
            fields = {"remote": remote}
            self._observe(Observation.about(subject, Signal.VIEWER_JOINED, fields=fields))
        return viewer

    def follow(self, ref: StreamRef, feed: Feed) -> None:
        """Extend a feed from the store for as long as it has viewers."""
        if feed.ended or not feed.viewers or feed in self._followed:
            return
        self._feeds.setdefault(ref, feed)
        self._followed[feed] = scope = anyio.CancelScope()

        async def run() -> None:
            # Ended by its scope, not by cancelling the task: that would be told of as a crash.
            with scope:
                await self._following(ref, feed)

        self._start(run)

    def cut_all(self, reason: str) -> None:
        """Cut every viewer that has not had its stream's end yet."""
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
        """Stop following a feed; the stream's next viewer gets a new one."""
        if self._feeds.get(ref) is feed:
            del self._feeds[ref]
        self.presence.end(feed)
        scope = self._followed.pop(feed, None)
        if scope is not None:
            scope.cancel()
        feed.end(complete=False)

    def _closed(self, viewer: Viewer) -> None:
        self.viewers.discard(viewer)
        now = asyncio.get_running_loop().time()
        if self._observe.wants(Signal.VIEWER_LEFT):
            seconds = now - viewer.opened_at
            self._observe(
                Observation.about(
                    viewer.subject,
                    Signal.VIEWER_LEFT,
                    fields={"reason": viewer.left_reason, "seconds": seconds, "remote": viewer.remote},
                )
            )
        feed = viewer.feed
        if feed is None or feed.viewers:
            return
        feed.watched_at = now
        if feed in self._followed:
            self._leave(viewer.ref, feed)
        if feed.ended:
            feed.clear()
