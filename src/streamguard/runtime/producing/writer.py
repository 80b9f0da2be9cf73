"""The process's one writer: it appends the new events of every backlog, in one round trip, over and over.

Group commit: while one commit is under way, events gather for the next. After a commit of more than `BUSY_EVENTS`, or
small ones with more than `STEADY_EVENTS` within `STEADY_SECONDS`, the next one begins no sooner than `PAUSE_SECONDS`
after it, because then round trips are most of what an event costs; if it had more than `BURST_EVENTS`, which no models
at reading speed make, no sooner than `BURST_PAUSE_SECONDS`. A few streams at reading speed never pause: they have
fewer. A lone burst may have as few, but a stream of it has several in a commit that follows another within
`NEXT_SECONDS`, and then it pauses too. First events, ends, and producers that are far ahead of the log end a pause.

The writer knows streams by their backlogs. A backlog is dirty while events of it wait for a commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from math import inf
from typing import Final

from ...contained import passes
from ...deadlines import LoopClock, Timer
from ...errors import StoreCorruptError, StoreUnavailableError
from ...event_times import EventTimes
from ...retrying import Backoff
from ...settings import Settings
from ...stores.appends import AllAppended, AppendReply, AppendRequest
from ...stores.records import Status
from ...stores.roles.stream_writes import StreamWrites
from .backlog import Backlog, BacklogState
from .last_commit import LastCommit, StoreHealth
from .log_tally import LogTally

__all__ = ["Writer"]

BUSY_EVENTS: Final = 8
STEADY_EVENTS: Final = 20
STEADY_SECONDS: Final = 0.004
NEXT_SECONDS: Final = 0.001
PAUSE_SECONDS: Final = 0.004
BURST_EVENTS: Final = 200
BURST_PAUSE_SECONDS: Final = 0.01
RETRY: Final = Backoff(0.05, 0.05)
"""The pause after a commit that failed: short, because the deadlines of the events that wait are short too."""
MARGIN_SECONDS: Final = 0.05
"""How much sooner the store gives up a commit than this process does: what was shown as not logged is never logged."""
COMMIT_STREAMS: Final = 500
"""Streams in one commit at most: its replies must arrive well within the command timeout."""

_OK: Final = Status.OK
_CLOSED: Final = BacklogState.CLOSED


class Writer:
    """Commits dirty backlogs in order over the store's dedicated connection, and tells the owner of each what the reply
    says about its stream."""

    def __init__(
        self,
        store: StreamWrites,
        breaker: StoreHealth,
        settings: Settings,
        *,
        clock: LoopClock,
        tally: LogTally | None = None,
        times: EventTimes | None = None,
    ) -> None:
        """`tally` counts what is written, and `times` logs when, where somebody wants to know."""
        self._tally = tally
        self._times = times
        self._store = store
        self._breaker = breaker
        self._deadline = settings.append_deadline_seconds
        self._within = _sooner(self._deadline)
        """How long the store may take to carry out a commit."""
        self._clock = clock.loop.time
        self._patience = clock
        self._dirty: dict[Backlog, None] = {}
        self._wake: asyncio.Future[None] | None = None
        self._committed_at = -inf
        self._counted_until = -inf
        self._counted = 0
        """Events of the commits begun in the `STEADY_SECONDS` up to `_counted_until`."""
        self._asked_at = 0.0
        """When the last commit was begun, on the clock that judges the store."""
        self._pause = 0.0
        """How long after the beginning of the last commit the next one begins at the earliest, in seconds."""
        self._retries = RETRY.retries()
        self._pausing = False
        self._urgent = False
        """One of the dirty backlogs should not wait for company."""
        self._heeding = tally is not None
        """What is submitted concerns more than the next commit: the writer has nothing to do, or counts."""

    def submit(self, backlog: Backlog) -> None:
        """The backlog has events to commit. Repeats are free; an urgent one ends a pause. Hot path: most come while the
        writer commits or pauses."""
        self._dirty[backlog] = None
        if self._heeding or backlog.urgent:
            self._heed(backlog)

    def _heed(self, backlog: Backlog) -> None:
        """Begin to commit, unless there is a pause that the backlog does not end."""
        if self._tally is not None:
            self._tally.watch(backlog)
        else:
            self._heeding = False
        if backlog.urgent:
            self._urgent = True
            if backlog.acked == 0 and backlog.first_commit is None and backlog.state is not _CLOSED:
                self._expect_first(backlog)
        elif self._pausing:
            return
        wake = self._wake
        if wake is not None and not wake.done():
            wake.set_result(None)

    @property
    def waiting(self) -> int:
        """How many streams have events that wait for a commit. One that has ended has none: its end may have shown that
        an append was carried out of which the reply was lost."""
        return sum(not backlog.closed for backlog in self._dirty)

    def _expect_first(self, backlog: Backlog) -> None:
        """Give the first commit of a stream only as long as its request may wait, however long a command may take: its
        client has nothing yet, and this may be the first time that the store is silent."""
        submitted, seconds = self._patience.time(), backlog.budget.first_commit_seconds
        self._look_at_first(backlog, submitted + seconds, submitted, seconds)

    def _look_at_first(self, backlog: Backlog, at: float, submitted: float, seconds: float) -> None:
        look = partial(self._first_is_late, backlog, submitted, seconds)  # a function inside would refer to itself
        backlog.first_commit, backlog.undisturbed = Timer(self._patience, at, look), False

    def _first_is_late(self, backlog: Backlog, submitted: float, seconds: float) -> None:
        again = min(self._breaker.answered_at + seconds, submitted + self._deadline)
        if again > self._patience.time():  # the store answered somebody: this process is late, or others came first
            self._look_at_first(backlog, again, submitted, seconds)
            return
        backlog.first_commit = None
        error = StoreUnavailableError(f"first append: no answer within {seconds} s", operation="append")
        self._breaker.exhausted(error)
        backlog.owner.degrade("append_deadline")
        self._dirty.pop(backlog, None)

    def leave_to_end(self, backlog: Backlog) -> LastCommit | None:
        """Leave what waits of a stream to its end, which writes it in the same step; None where that must not be.

        The writer knows nothing of these events until `LastCommit.failed` gives them back.
        """
        now = self._clock()
        if backlog not in self._dirty or not backlog.ask_for_end(now):
            return None
        del self._dirty[backlog]
        asked_at = self._patience.time()
        backlog.within_seconds = self._left(backlog, asked_at)
        return LastCommit(
            backlog,
            self._breaker,
            self._patience,
            self._clock,
            self._deadline,
            asked_at=asked_at,
            tally=self._tally,
            times=self._times,
        )

    async def run(self) -> None:
        """Commit until cancelled, which leaves the last commit in doubt; retries resolve that."""
        while True:
            if not self._dirty:
                self._wake, self._heeding = asyncio.get_running_loop().create_future(), True
                await self._wake
                self._wake = None
            await self._gather()
            await self._commit()

    async def _gather(self) -> None:
        """Let a busy process's events gather for a moment, unless one of them should not wait."""
        if not self._pause or self._urgent:
            return
        waiting = self._committed_at + self._pause - self._clock()
        if waiting <= 0:
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

    async def _commit(self) -> None:
        if not self._dirty:  # what waited went with its stream's end
            self._urgent = False
            return
        now, asked_at = self._clock(), self._patience.time()
        dirty = iter(self._dirty)
        backlogs = list(islice(dirty, COMMIT_STREAMS))
        idle, more = set(), 0
        for backlog in Backlog.ask_for_lone(backlogs, now, self._within):
            if not backlog.ask(now):
                idle.add(backlog)
                continue
            backlog.within_seconds = self._left(backlog, asked_at)
            more += len(backlog.events) - 1
            if self._tally is not None and backlog.failing_since is not None:
                self._tally.retries += 1
        if idle:
            backlogs = [backlog for backlog in backlogs if backlog not in idle]
        batch: Sequence[AppendRequest] = backlogs  # each is the request for its own events
        events = len(batch) + more
        self._dirty = dict.fromkeys(dirty)
        self._urgent = bool(self._dirty)
        if not batch:
            return
        if now >= self._counted_until:
            self._counted_until, self._counted = now + STEADY_SECONDS, 0
        self._counted += events
        busy = events > BUSY_EVENTS or self._counted > STEADY_EVENTS
        busy = busy or (more > 0 and now - self._committed_at < NEXT_SECONDS)
        self._committed_at, self._pause = now, 0.0
        if busy:
            self._pause = PAUSE_SECONDS if events <= BURST_EVENTS else BURST_PAUSE_SECONDS
        self._asked_at = asked_at
        if self._tally is not None:
            sizes = self._tally.sent(backlogs, batch, now)
        try:
            try:
                replies = await self._store.append(batch)
            except StoreCorruptError:
                replies = await self._one_by_one(batch)
            else:
                self._breaker.answered()
            if type(replies) is not AllAppended and len(replies) != len(batch):
                raise RuntimeError(f"append: {len(replies)} replies to {len(batch)} requests")
        except StoreUnavailableError as exc:
            self._breaker.stumbled(exc)
            self._failed(backlogs, exc)
            await self._retries.pause()
            return
        except BaseException as exc:
            # Otherwise the streams would wait without end. The supervisor tells what it was, also a stray cancellation.
            if isinstance(exc, asyncio.CancelledError) or not passes(exc):
                self._failed(backlogs, StoreUnavailableError(f"append: {type(exc).__name__}", operation="append"))
            raise
        # Before the clients of lone events are written to, as these are shown: that is no time of the store's.
        answered_at = now if self._tally is None and self._times is None else self._clock()
        refused = False
        broken: Exception | None = None
        if type(replies) is AllAppended:  # nearly always
            for backlog in backlogs:
                try:
                    if backlog.acknowledge():
                        self._dirty[backlog] = None
                except Exception as exc:  # noqa: BLE001 -- as below
                    broken = _degraded(backlog, exc)
        else:
            for backlog, reply in zip(backlogs, replies, strict=True):
                refused = refused or reply.status is Status.REFUSED or reply.status is Status.LATE
                try:
                    self._take_reply(backlog, reply)
                except Exception as exc:  # noqa: BLE001 -- the other streams must not wait for the accident of one
                    broken = _degraded(backlog, exc)
        if self._tally is not None:
            self._tally.answered(backlogs, batch, replies, sizes, now, answered_at)
        if self._times is not None:
            seconds = answered_at - now
            for written, backlog, reply in zip(batch, backlogs, replies, strict=True):
                if reply.status is _OK:
                    last = written.first_seq + len(written.events) - 1
                    self._times.appended(backlog.owner, written.first_seq, last, seconds=seconds)
        if broken is not None:
            raise broken
        if refused:
            await self._retries.pause()

    async def _one_by_one(self, batch: Sequence[AppendRequest]) -> list[AppendReply]:
        """Append again what one stream's record kept from being answered: a store that answers for each stream
        (`Status.CORRUPT`) never needs it."""
        replies: list[AppendReply] = []
        for append in batch:
            try:
                replies += await self._store.append([append])
            except StoreCorruptError:
                replies.append(AppendReply(Status.CORRUPT, 0, stop_requested=False))
            except StoreUnavailableError as exc:
                self._breaker.stumbled(exc)
                replies.append(AppendReply(Status.REFUSED, 0, stop_requested=False))
        return replies

    def _left(self, backlog: Backlog, now: float) -> float:
        """How long the store may take for a stream whose last commit failed, or that waits for its first, in seconds;
        0 when its time is up. A first commit has no longer than until it is looked at (see `_first_is_late`)."""
        within, first = self._within, backlog.first_commit
        if backlog.failing_since is not None:
            within += backlog.failing_since - now
        if first is not None:
            heard = self._breaker.answered_at + backlog.budget.first_commit_seconds
            within = min(within, _sooner((first.at if first.at > heard else heard) - now))
        return max(within, 0.0)

    def _failed(self, backlogs: list[Backlog], error: StoreUnavailableError) -> None:
        now = self._patience.time()
        if self._tally is not None:
            self._tally.failures += len(backlogs)
        for backlog in backlogs:
            if backlog.state is _CLOSED:  # it lost its log meanwhile
                continue
            if backlog.failing_since is None:
                backlog.failing_since, backlog.undisturbed = self._asked_at, False
            if now - backlog.failing_since >= self._deadline:
                self._breaker.exhausted(error)
                backlog.owner.degrade("append_deadline")
            else:
                self._dirty[backlog] = None

    def _take_reply(self, backlog: Backlog, reply: AppendReply) -> None:
        if backlog.state is _CLOSED:
            return
        status = reply.status
        if status is _OK or status is Status.DUPLICATE:
            if backlog.acknowledge():
                self._dirty[backlog] = None
            if reply.stop_requested:
                backlog.owner.stop()
            return
        match status:
            case Status.REFUSED | Status.LATE:
                refusal = StoreUnavailableError(f"append: the store answered {reply.status}", operation="append")
                self._failed([backlog], refusal)
            case Status.GAP:
                if backlog.rewind(reply.last_seq):
                    self._dirty[backlog] = None
                else:
                    backlog.owner.degrade("log_behind")
            case Status.SEALED if backlog.owner.log.sealed_in_doubt:  # with every event; by another it were `FENCED`
                if self._tally is not None:
                    self._tally.ended((), backlog)
                backlog.acknowledge_all()
            case refused:
                backlog.owner.log_refused(refused)


def _degraded(backlog: Backlog, failure: Exception) -> Exception:
    """Go on without the log of a stream whose reply could not be taken. Returns why, for whoever supervises."""
    with suppress(Exception):
        backlog.owner.degrade("internal")
    return failure


def _sooner(seconds: float) -> float:
    """How much of the time that this process waits the store is given."""
    return max(seconds - MARGIN_SECONDS, seconds / 2)


def _resolve(wake: asyncio.Future[None]) -> None:
    if not wake.done():
        wake.set_result(None)
