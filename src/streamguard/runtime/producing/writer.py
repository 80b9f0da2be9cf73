"""The process's one writer: it appends the new events of every backlog, in one round trip, over and over.

Group commit: while one commit is under way, events gather for the next, and for a moment longer in a busy process
(`Gathering`).

The writer knows streams by their backlogs. A backlog is dirty while events of it wait for a commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
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
from .commit_passes import acknowledge_all, ask_for_lone, degraded
from .gathering import Gathering
from .last_commit import LastCommit, StoreHealth
from .log_tally import LogTally
from .trouble import Trouble

__all__ = ["Writer"]

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
        self._gathering = Gathering(clock.loop)
        self._asked_at = 0.0
        """When the last commit was begun, on the clock that judges the store."""
        self._retries = RETRY.retries()
        self._trouble = Trouble()
        self.enqueue: Callable[[Backlog], object] = self.submit
        """See `CommitQueue`. As `submit` while the writer has nothing to do, or somebody counts."""

    def submit(self, backlog: Backlog) -> None:
        """The backlog has events to commit. Wakes the writer if it has nothing to do; an urgent one ends its pause.
        Repeats are free."""
        self._dirty[backlog] = None
        if self._tally is not None:
            self._tally.watch(backlog)
        else:
            self.enqueue = self._dirty.setdefault
        if backlog.urgent:
            self._gathering.end()
            if backlog.acked == 0 and backlog.first_commit is None and backlog.state is not _CLOSED:
                self._expect_first(backlog)
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
        backlog.first_until = submitted + self._deadline
        late = partial(self._first_is_late, backlog, seconds)  # a function inside would refer to itself
        backlog.first_commit, backlog.undisturbed = Timer(self._patience, submitted + seconds, late), False

    def _first_is_late(self, backlog: Backlog, seconds: float) -> None:
        again = min(self._breaker.answered_at + seconds, backlog.first_until)
        if again > self._patience.time():  # the store answered somebody: this process is late, or others came first
            late = partial(self._first_is_late, backlog, seconds)
            backlog.first_commit = Timer(self._patience, again, late)
            return
        backlog.first_commit = None
        error = self._trouble.since(backlog.first_until - self._deadline, f"first append: no answer within {seconds} s")
        self._breaker.exhausted(error)
        backlog.owner.degrade("append_deadline", error)
        self._dirty.pop(backlog, None)

    def leave_to_end(self, backlog: Backlog) -> LastCommit | None:
        """Leave what waits of a stream to its end, which writes it in the same step; None where that must not be.

        The writer knows nothing of these events until `LastCommit.failed` gives them back.
        """
        now = self._clock()
        if backlog not in self._dirty or not backlog.ask_for_end(now):
            return None
        del self._dirty[backlog]
        asked_at = self._patience.at(now)
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
                self._wake, self.enqueue = asyncio.get_running_loop().create_future(), self.submit
                await self._wake
                self._wake = None
            await self._gathering.until_due()
            await self._commit()

    async def _commit(self) -> None:
        if not self._dirty:  # what waited went with its stream's end
            self._gathering.as_planned()
            return
        now = self._clock()
        asked_at = self._patience.at(now)
        dirty = iter(self._dirty)
        backlogs = list(islice(dirty, COMMIT_STREAMS))
        idle, more = set(), 0
        for backlog in ask_for_lone(backlogs, now):
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
        if self._tally is None:
            self.enqueue = self._dirty.setdefault
        if not batch:
            self._gathering.as_planned()
            return
        self._gathering.committing(now, events, several=more > 0)
        if self._dirty:  # more than a commit carries
            self._gathering.end()
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
            broken = acknowledge_all(backlogs, self._dirty)
        else:
            for backlog, reply in zip(backlogs, replies, strict=True):
                refused = refused or reply.status is Status.REFUSED or reply.status is Status.LATE
                try:
                    self._take_reply(backlog, reply)
                except Exception as exc:  # noqa: BLE001 -- the other streams must not wait for the accident of one
                    broken = degraded(backlog, exc)
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
                replies.append(AppendReply(Status.REFUSED, 0, stop_requested=False, refusal=exc))
        return replies

    def _left(self, backlog: Backlog, now: float) -> float:
        """How long the store may take for a stream whose last commit failed, or that waits for its first, in seconds;
        0 when its time is up. A first commit has no longer than until it is looked at (see `_first_is_late`)."""
        within, first = self._within, backlog.first_commit
        if backlog.failing_since is not None:
            within += backlog.failing_since - now
        if first is not None:
            heard = min(self._breaker.answered_at + backlog.budget.first_commit_seconds, backlog.first_until)
            within = min(within, _sooner((first.at if first.at > heard else heard) - now))
        return max(within, 0.0)

    def _failed(self, backlogs: list[Backlog], error: StoreUnavailableError) -> None:
        now = self._patience.time()
        self._trouble.remember(error, now)
        if self._tally is not None:
            self._tally.failures += len(backlogs)
        for backlog in backlogs:
            if backlog.state is _CLOSED:  # it lost its log meanwhile
                continue
            if backlog.failing_since is None:
                backlog.failing_since, backlog.undisturbed = self._asked_at, False
            if now - backlog.failing_since >= self._deadline:
                self._breaker.exhausted(error)
                backlog.owner.degrade("append_deadline", error)
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
            case Status.REFUSED:
                refusal = reply.refusal or StoreUnavailableError("append: the store refused it", operation="append")
                self._failed([backlog], refusal)
            case Status.LATE:  # it says that the time is up, and not what that was spent on
                since = self._asked_at if backlog.failing_since is None else backlog.failing_since
                self._failed([backlog], self._trouble.since(since, "append: it came too late"))
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


def _sooner(seconds: float) -> float:
    """How much of the time that this process waits the store is given."""
    return max(seconds - MARGIN_SECONDS, seconds / 2)
