"""The process's one writer: every dirty stream's new events, in one round trip, over and over.

Group commit without a timer: while one commit is under way, events gather for the next. Only past
`BUSY_STREAMS` or `BUSY_EVENTS` may it pause for up to `PAUSE_SECONDS`, because then syscalls dominate.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from typing import Final

from ...deadlines import Deadline, LoopClock
from ...errors import StoreCorruptError, StoreUnavailableError
from ...settings import Settings
from ...stores.breaker import Breaker
from ...stores.records import AppendReply, AppendRequest, Status
from ...stores.store import StreamStore
from .stream import LiveStream

__all__ = ["Writer"]

BUSY_STREAMS: Final = 50
BUSY_EVENTS: Final = 200
PAUSE_SECONDS: Final = 0.005
RATE_SECONDS: Final = 0.1
RETRY_SECONDS: Final = 0.05
MARGIN_SECONDS: Final = 0.05
"""How much sooner the store gives up a commit than this process does: what was shown as not logged is never logged."""
COMMIT_STREAMS: Final = 500
"""Streams in one commit at most: its replies must arrive well within the command timeout."""

_OK: Final = Status.OK


class Writer:
    """Commits dirty streams in order over the store's dedicated connection.

    `on_stop` and `on_fenced` are told what replies say about a stream; they must not block.
    """

    def __init__(
        self,
        store: StreamStore,
        breaker: Breaker,
        settings: Settings,
        *,
        on_stop: Callable[[LiveStream], None],
        on_fenced: Callable[[LiveStream], None],
        clock: LoopClock,
    ) -> None:
        self._store = store
        self._breaker = breaker
        self._deadline = settings.append_deadline_seconds
        self._within = _sooner(self._deadline)
        """How long the store may take to carry out a commit."""
        self._on_stop = on_stop
        self._on_fenced = on_fenced
        self._clock = clock.loop.time
        self._patience = clock
        self._dirty: dict[LiveStream, None] = {}
        self._wake: asyncio.Future[None] | None = None
        self._committed_at = 0.0
        self._asked_at = 0.0
        """When the last commit was begun, on the clock that judges the store."""
        self._appends_per_second = 0.0
        """Smoothed over about `RATE_SECONDS`."""
        self._pausing = False
        self._urgent = False
        """One of the dirty streams should not wait for company."""

    def submit(self, stream: LiveStream) -> None:
        """The stream has events to commit. Repeats are free; an urgent stream ends a pause."""
        self._dirty[stream] = None
        if stream.urgent:
            self._urgent = True
            if stream.acked == 0 and stream.first_commit is None and stream.writing:
                self._expect_first(stream)
        elif self._pausing:
            return
        wake = self._wake
        if wake is not None and not wake.done():
            wake.set_result(None)

    def _expect_first(self, stream: LiveStream) -> None:
        """Give the first commit of a stream what its request may wait, however long a command may take: its client has
        nothing yet, and this may be the store's first silence."""
        submitted = self._patience.time()

        def look() -> None:
            now = self._patience.time()
            again = min(self._breaker.answered_at + seconds, submitted + self._deadline)
            if again > now:  # the store answered somebody: this process is late, or the others' events come first
                stream.first_commit = Deadline(self._patience, again).call(look)
                return
            stream.first_commit = None
            error = StoreUnavailableError(f"first append: no answer within {seconds} s", operation="append")
            self._breaker.exhausted(error)
            stream.degrade("append_deadline")
            self._dirty.pop(stream, None)

        seconds = stream.budget.first_commit_seconds
        stream.first_commit = Deadline(self._patience, submitted + seconds).call(look)

    async def run(self) -> None:
        """Commit for ever. Cancelling it leaves the last commit in doubt, which retries resolve."""
        while True:
            if not self._dirty:
                self._wake = asyncio.get_running_loop().create_future()
                await self._wake
                self._wake = None
            await self._gather()
            await self._commit()

    async def _gather(self) -> None:
        """Let a busy process's events gather for a moment, unless one of them should not wait."""
        waiting = self._committed_at + PAUSE_SECONDS - self._clock()
        if waiting <= 0 or self._urgent or not self._busy():
            return
        loop = asyncio.get_running_loop()
        self._wake = wake = loop.create_future()
        self._pausing = True
        timer = loop.call_later(waiting, _resolve, wake)
        try:
            await wake
        finally:
            timer.cancel()
            self._wake = None
            self._pausing = False

    def _busy(self) -> bool:
        """Whether a pause would gather many streams' events, or many of a few streams."""
        if len(self._dirty) > BUSY_STREAMS or self._appends_per_second * PAUSE_SECONDS > BUSY_STREAMS / 2:
            return True
        return sum(stream.feed.emitted - stream.acked for stream in self._dirty) > BUSY_EVENTS

    async def _commit(self) -> None:
        now = self._clock()
        streams: list[LiveStream] = []
        batch: list[AppendRequest] = []
        dirty = iter(self._dirty)
        for stream in islice(dirty, COMMIT_STREAMS):
            append = stream.next_append(now)
            if append is not None:
                within = self._within
                if stream.failing_since is not None or stream.first_commit is not None:
                    within = self._left(stream)
                append.within_seconds = within
                streams.append(stream)
                batch.append(append)
        self._dirty = dict.fromkeys(dirty)
        self._urgent = bool(self._dirty)
        if not batch:
            return
        elapsed = max(now - self._committed_at, 0.0005)
        self._appends_per_second += (len(batch) / elapsed - self._appends_per_second) * min(elapsed / RATE_SECONDS, 1.0)
        self._committed_at = now
        self._asked_at = self._patience.time()
        try:
            replies = await self._store.append(batch)
            self._breaker.answered()
        except StoreUnavailableError as exc:
            self._breaker.stumbled(exc)
            self._failed(streams, exc)
            await asyncio.sleep(RETRY_SECONDS)
            return
        except StoreCorruptError:
            replies = await self._one_by_one(batch)
        except Exception as exc:
            # Or they would wait for ever; what it was is the supervisor's to tell.
            self._failed(streams, StoreUnavailableError(f"append: {type(exc).__name__}", operation="append"))
            raise
        refused = False
        broken: Exception | None = None
        for stream, reply in zip(streams, replies, strict=True):
            status = reply.status
            try:
                if status is _OK and stream.writing:  # nearly always
                    if stream.acknowledge():
                        self._dirty[stream] = None
                    if reply.stop_requested:
                        self._on_stop(stream)
                else:
                    refused = refused or status is Status.REFUSED or status is Status.LATE
                    self._take_reply(stream, reply)
            except Exception as exc:  # noqa: BLE001 -- one stream's accident, which the others must not wait for
                broken = exc
                with suppress(Exception):
                    stream.degrade("internal")
        if broken is not None:
            raise broken
        if refused:
            await asyncio.sleep(RETRY_SECONDS)

    async def _one_by_one(self, batch: list[AppendRequest]) -> list[AppendReply]:
        """Append again what one stream's record kept from being answered: a store that answers for each stream
        (`Status.CORRUPT`) never needs it."""
        replies = []
        for append in batch:
            try:
                replies += await self._store.append([append])
            except StoreCorruptError:
                replies.append(AppendReply(Status.CORRUPT, 0, stop_requested=False))
            except StoreUnavailableError as exc:
                self._breaker.stumbled(exc)
                replies.append(AppendReply(Status.REFUSED, 0, stop_requested=False))
        return replies

    def _left(self, stream: LiveStream) -> float:
        """How long the store may take for a stream whose last commit failed, or that waits for its first, in seconds;
        0 when its time is up."""
        within = self._within
        if stream.failing_since is not None:
            within += stream.failing_since - self._patience.time()
        elif stream.first_commit is not None:
            within = min(within, _sooner(stream.budget.first_commit_seconds))
        return max(within, 0.0)

    def _failed(self, streams: list[LiveStream], error: StoreUnavailableError) -> None:
        now = self._patience.time()
        for stream in streams:
            if not stream.writing:  # it lost its log meanwhile
                continue
            if stream.failing_since is None:
                stream.failing_since = self._asked_at
            if now - stream.failing_since >= self._deadline:
                self._breaker.exhausted(error)
                stream.degrade("append_deadline")
            else:
                self._dirty[stream] = None

    def _take_reply(self, stream: LiveStream, reply: AppendReply) -> None:
        if not stream.writing:
            return
        match reply.status:
            case Status.OK | Status.DUPLICATE:
                if stream.acknowledge():
                    self._dirty[stream] = None
                if reply.stop_requested:
                    self._on_stop(stream)
            case Status.REFUSED | Status.LATE:
                refusal = StoreUnavailableError(f"append: the store answered {reply.status}", operation="append")
                self._failed([stream], refusal)
            case Status.GAP:
                if stream.rewind(reply.last_seq):
                    self._dirty[stream] = None
                else:
                    stream.degrade("log_behind")
            case Status.SEALED if stream.closing:
                pass  # by this process, in a step whose reply was lost; who took it repeats it
            case Status.FENCED | Status.SEALED:
                self._on_fenced(stream)
            case Status.CORRUPT:
                stream.degrade("record_unreadable")
            case _:
                stream.degrade("log_gone")


def _sooner(seconds: float) -> float:
    """What the store is given of the time that this process waits."""
    return max(seconds - MARGIN_SECONDS, seconds / 2)


def _resolve(wake: asyncio.Future[None]) -> None:
    if not wake.done():
        wake.set_result(None)
