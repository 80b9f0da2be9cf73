"""Heartbeats: renew every lease of this process in one round trip, and declare lost logs once the store is back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from ...errors import StoreCorruptError, StoreUnavailableError
from ...settings import Settings
from ...stores.appends import AppendReply
from ...stores.breaker import Breaker
from ...stores.records import LostLog, Status
from ...stores.store import StreamStore
from ..producing.backlog import BacklogState
from ..producing.stream import LiveStream
from ..producing.stream_records import new_stream_of, ttl_seconds_of

__all__ = ["Leases"]

BATCH: Final = 500


class Leases:
    """Renews the leases every `heartbeat_seconds`, or at once after `renew_soon`. The replies tell of stop requests
    and of streams that other workers took over."""

    def __init__(
        self,
        store: StreamStore,
        breaker: Breaker,
        settings: Settings,
        *,
        streams: Callable[[], Iterable[LiveStream]],
    ) -> None:
        self._store = store
        self._breaker = breaker
        self._settings = settings
        self._streams = streams
        self._wanted = asyncio.Event()
        self._all_wanted = False
        self._doubtful: dict[LiveStream, None] = {}
        """Those that `look_soon` was asked for."""
        breaker.when_closed(self.renew_soon)

    def renew_soon(self) -> None:
        """Send heartbeats of all streams now: hints may have been missed, or the store came back."""
        self._all_wanted = True
        self._wanted.set()

    def look_soon(self, stream: LiveStream) -> None:
        """Send one stream's heartbeat now: a hint says that it may be another worker's."""
        self._doubtful[stream] = None
        self._wanted.set()

    async def run(self) -> None:
        """Send heartbeats until cancelled."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self._settings.heartbeat_seconds
        while True:
            try:
                async with asyncio.timeout_at(due):  # noqa: TID251 -- a period
                    await self._wanted.wait()
            except TimeoutError:
                self._all_wanted = True
            self._wanted.clear()
            everything, self._all_wanted = self._all_wanted, False
            doubtful, self._doubtful = self._doubtful, {}
            if everything:
                due = loop.time() + self._settings.heartbeat_seconds
            if self._breaker.open:
                continue
            try:
                await (self.renew_all() if everything else self._renew(doubtful))
            except StoreUnavailableError as exc:
                self._breaker.stumbled(exc)

    async def renew_all(self) -> None:
        """Renew every lease once. A record that cannot be read concerns its own stream alone.

        Raises:
            StoreUnavailableError: the store failed; some leases may not be renewed.
        """
        await self._renew(self._streams())
        await self._declare_lost()

    async def _renew(self, streams: Iterable[LiveStream]) -> None:
        mine = [
            s for s in streams if s.log.registered and not (s.degraded or s.superseded or s.finished or s.log.withdrawn)
        ]
        for batch in _batches(mine):
            acked = [stream.acked for stream in batch]
            try:
                replies = await self._heartbeat(batch)
            except StoreCorruptError:
                replies = [await self._heartbeat_alone(stream) for stream in batch]
            for stream, reply, known in zip(batch, replies, acked, strict=True):
                if stream.degraded or stream.superseded or stream.finished or stream.log.withdrawn:
                    continue
                if reply.status is Status.FENCED:
                    stream.supersede()
                elif reply.status is Status.GONE:
                    stream.degrade("log_gone")
                elif reply.status is Status.CORRUPT:
                    stream.degrade("record_unreadable")
                elif reply.status is Status.SEALED:
                    continue  # under our own epoch: by our own close, whose reply is on its way
                elif reply.status is Status.REFUSED:  # its server did nothing, and says nothing of the log
                    unexplained = StoreUnavailableError("heartbeat: the store refused it", operation="heartbeat")
                    self._breaker.stumbled(reply.refusal or unexplained)
                else:
                    if reply.last_seq < known and stream.backlog.state is BacklogState.IDLE:
                        # An older snapshot of the log came back while the endpoint is quiet: no append would notice.
                        stream.backlog.put_back(reply.last_seq)
                    if reply.stop_requested:
                        stream.stop()

    async def _declare_lost(self) -> None:
        settings = self._settings
        for stream in [s for s in self._streams() if s.degraded and not s.log.disowned]:
            try:
                reply = await self._store.declare_lost(
                    LostLog(
                        new_stream_of(stream), stream.epoch, settings.lease_seconds, settings.live_ttl_seconds, None
                    )
                )
            except StoreCorruptError:  # the record cannot be read, so this stream must not change it
                stream.disown()
                continue
            except StoreUnavailableError as exc:
                if not self._store.partly_down():
                    raise
                self._breaker.stumbled(exc)  # the streams on its other servers need not wait
                continue
            if reply.status in (Status.FENCED, Status.SEALED, Status.GONE):
                stream.disown()
            elif reply.stop_requested:
                stream.stop()

    async def _heartbeat(self, batch: list[LiveStream]) -> list[AppendReply]:
        return await self._store.heartbeat(
            [(s.ref, s.epoch) for s in batch],
            lease_seconds=self._settings.lease_seconds,
            ttl_seconds=ttl_seconds_of(batch[0]),
            consumed={s.ref: s.consumed for s in batch if s.consumed is not None},
        )

    async def _heartbeat_alone(self, stream: LiveStream) -> AppendReply:
        """Renew one lease of a batch that failed because of one record. A store that answers for each stream never
        needs this."""
        try:
            (reply,) = await self._heartbeat([stream])
        except StoreCorruptError:
            return AppendReply(Status.CORRUPT, 0, stop_requested=False)
        return reply


def _batches(streams: list[LiveStream]) -> Iterator[list[LiveStream]]:
    """Batches of streams with the same TTL, as many as one round trip carries."""
    by_ttl: dict[float, list[LiveStream]] = {}
    for stream in streams:
        by_ttl.setdefault(ttl_seconds_of(stream), []).append(stream)
    for alike in by_ttl.values():
        for start in range(0, len(alike), BATCH):
            yield alike[start : start + BATCH]
