"""The backlog of one stream: its events on their way into the log, and what the store has acknowledged of them.

The producer adds events, the writer takes them in commits and acknowledges those. Nothing here waits for the store.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Protocol, TypeVar

from ...deadlines import Interruption, Timer
from ...stores.appends import LateDecision
from ...stores.budget import Budget
from ...values import EventKind
from ..viewing.feed import EVENT_BYTES, Feed
from .bounds import Bounds
from .log_owner import LogOwner
from .reused_append import ReusedAppend
from .wakeup import Wakeup

__all__ = ["BACKLOG_BYTES", "REFRESH_SECONDS", "Backlog", "BacklogState", "CommitQueue"]

BACKLOG_BYTES: Final = 1_048_576
"""A producer this far ahead of its log waits: memory stays bounded when the store is slower than the model."""
COMMIT_BYTES: Final = 262_144
"""Most of one stream in one commit, so that a large burst does not hold up the other streams' events."""
REFRESH_SECONDS: Final = 60.0
"""Appends renew TTLs this often: measured, doing it each time costs about 2 µs of Redis per event."""


class BacklogState(Enum):
    """What the writer has to do for the stream. Hot path: the backlog sets it without `phases.move`; `CLOSED` is final,
    and every other change is allowed."""

    IDLE = "idle"
    """Every event is in the log."""
    PENDING = "pending"
    """Events wait for their append, and the writer knows."""
    CLOSED = "closed"
    """Nothing more of the stream goes into its log."""


T = TypeVar("T")

_DATA: Final = EventKind.DATA
_IDLE: Final = BacklogState.IDLE
_PENDING: Final = BacklogState.PENDING
_CLOSED: Final = BacklogState.CLOSED


class CommitQueue(Protocol):
    """The backlogs that wait for a writer's next commit."""

    def submit(self, backlog: Backlog) -> None:
        """Add one, and tell the writer that its events wait. Repeats are free."""

    @property
    def enqueue(self) -> Callable[[Backlog], object]:
        """Adds one that is `undisturbed`. Hot path: while the writer is at work, and nobody counts, this is a function
        of a dict."""


@dataclass(slots=True, eq=False, kw_only=True)
class Backlog(ReusedAppend):
    """One stream's events that wait for their append, and the request for it.

    Invariants: `acked <= feed.emitted`; `feed.visible` never passes `acked` before the backlog is closed. Only the
    writer moves `acked` while the backlog is open.
    """

    feed: Feed
    owner: LogOwner
    bounds: Bounds
    budget: Budget
    """What the request that began the stream may wait for the store."""
    queue: CommitQueue
    """That of its writer."""
    refresh_at: float
    """When the next append is to renew the TTLs, in the event loop's time."""

    state: BacklogState = _IDLE
    acked: int = 0
    """The log's last event, as far as the store said."""
    urgent: bool = True
    """The next commit should not wait for company: it carries the first event, or the end."""
    full: bool = False
    """The producer got so far ahead of the log that it should wait for capacity."""
    failing_since: float | None = None
    """When the first of the commits that failed for it was begun, if the last one did; on the `LoopClock`."""
    first_commit: Timer | None = None
    """Runs while the log has no event yet and the first one waits for its commit."""
    first_until: float = 0.0
    """When that wait is over, whatever the store answers others; on the `LoopClock`."""
    ended: bool = False
    """The log ended, and has every event of the feed: whatever the commit under way is answered."""

    undisturbed: bool = False
    """Hot path: nothing but lone events concern it. It is open, the last commit did not fail, nothing is urgent, and no
    task waits for it. Whoever changes one of these sets it to false, and whoever tells the writer of it twice; an
    acknowledgement finds out anew."""
    _shown_told: bool = False
    _rewound: bool = False
    """Events were put back: a commit of them may be under way that is known no more."""
    acked_total: int = 0
    """What the log has of the feed's `emitted_bytes`."""
    in_flight_total: int = 0
    """What the log will have of them with the commit under way."""
    in_flight_seq: int = 0
    """The last event that the commit under way carries."""
    _free_bytes: int = 0
    """Until the feed's `emitted_bytes` reach this, an event need not be held against the limits (see `add_data`)."""
    _waiting: int = 0
    """How many tasks wait for one of these three."""
    _shown: Wakeup = field(default_factory=Wakeup)
    _capacity: Wakeup = field(default_factory=Wakeup)
    _sent: Wakeup = field(default_factory=Wakeup)
    _until_closed: Interruption | None = None
    """The work in `unless_closed`, if any."""

    def begin_epoch(self, epoch: int) -> None:
        """Append under this epoch from now on. Nothing was appended yet, so nothing is kept of an append either."""
        self.epoch = epoch
        if self.state is not _CLOSED and self.feed.emitted_bytes == 0:
            self._free_bytes = min(self.bounds.first_bytes, BACKLOG_BYTES, self.feed.trim_over)

    def decide(self, decided: LateDecision) -> None:
        """Let the stream's record learn this with its first event."""
        self.decided: LateDecision | None = decided

    # -- the producer's side -------------------------------------------------------------------------------------------

    def add_data(self, payload: bytes) -> None:
        """Add one data event. Hot path: nearly every event is far from any limit and takes the short way.

        Raises:
            EventTooLargeError: the payload is over `max_event_bytes`.
            StreamLimitError: the stream would grow past its size or event count.
        """
        feed = self.feed
        emitted = feed.emitted_bytes + len(payload) + EVENT_BYTES
        if emitted > self._free_bytes:
            self.owner.emit(_DATA, payload)
            return
        feed.emitted_bytes = emitted  # as `Feed.push`, without the call
        feed.data.append(payload)
        if self.state is _IDLE:
            self.state = _PENDING
            self.lone, self.lone_bytes = payload, emitted
            # A name of its own, measured: a slot's function that is called as a method is searched for each time.
            queue = self.queue
            submit = queue.enqueue if self.undisturbed else queue.submit
            submit(self)

    def added(self) -> None:
        """An event was added to the feed by `Feed.push`: look how much may follow, and tell the writer."""
        self._look_ahead()
        if self.state is _IDLE:
            self.resubmit()

    def _look_ahead(self) -> None:
        """Find how much may be emitted before the stream is at a limit, its producer too far ahead of the log, or the
        feed's window to be trimmed."""
        self.full = self.over_capacity
        trim_over = self.feed.trim_over
        if self.feed.emitted_bytes > trim_over:
            self.undisturbed = False
        if self.state is not _CLOSED:
            self._free_bytes = min(self.bounds.free_bytes(), self.acked_total + BACKLOG_BYTES, trim_over)

    @property
    def pending_bytes(self) -> int:
        """Size of the events that wait for their append, as the feed's `emitted_bytes` counts them."""
        return 0 if self.state is _CLOSED else self.feed.emitted_bytes - self.acked_total

    @property
    def over_capacity(self) -> bool:
        """Whether the producer is so far ahead of the log that it waits."""
        return self.pending_bytes > BACKLOG_BYTES

    @property
    def unacked(self) -> int:
        """How many events wait for their acknowledgement."""
        return self.feed.emitted - self.acked

    async def wait_for_capacity(self) -> None:
        """Wait until the log has caught up enough for more, or `wake_producer`."""
        while self.over_capacity:
            self.flush()
            await self._wait(self._capacity)
        self.full = False

    async def wait_until_sent(self) -> None:
        """Wait until every event is in the log or on its way there, or the backlog is closed. One waiter."""
        while max(self.acked, self.in_flight_seq) < self.feed.emitted and self.state is not _CLOSED:
            if not self.urgent:
                self.flush()
            await self._wait(self._sent)

    async def unless_closed(self, work: Callable[[], Awaitable[T]]) -> T | None:
        """What `work` gives; None if the backlog is closed before it gives anything. One caller."""
        if self.state is _CLOSED:
            return None
        interruption = self._until_closed = Interruption()
        try:
            with interruption:
                return await work()
        except TimeoutError:
            if interruption.happened:
                return None
            raise
        finally:
            self._until_closed = None

    def wait_until_shown(self) -> Awaitable[None]:
        """Wait until an event may be shown, or `wake_request`. One waiter."""
        return self._wait(self._shown)

    async def _wait(self, wakeup: Wakeup) -> None:
        self._waiting += 1
        self.undisturbed = False
        try:
            await wakeup.until_woken()
        finally:
            self._waiting -= 1

    def wake_request(self) -> None:
        """Wake the task in `wait_until_shown`, if any."""
        if self.feed.visible > 0:
            self._tell_shown()
        self._shown.wake()

    def _tell_shown(self) -> None:
        if not self._shown_told:
            self._shown_told = True
            self.owner.shown()

    def wake_producer(self) -> None:
        """Wake the task in `wait_for_capacity`, if any."""
        self._capacity.wake()

    @property
    def in_flight_bytes(self) -> int:
        """Size of the events that the commit under way carries."""
        return self.in_flight_total - self.acked_total

    @property
    def closed(self) -> bool:
        """Whether nothing more of the stream goes into its log."""
        return self.state is _CLOSED

    def flush(self) -> None:
        """Commit what waits without waiting for company."""
        self.urgent, self.undisturbed = True, False
        if self.state is _PENDING:
            self.queue.submit(self)

    def close(self) -> None:
        """Nothing more goes into the log: the log is lost, another worker owns it, or the stream is over."""
        self.state, self.undisturbed = _CLOSED, False
        self._stop_first_commit()
        self._free_bytes = 0  # what is still emitted takes the long way
        self._sent.wake()
        interruption, self._until_closed = self._until_closed, None
        if interruption is not None:
            interruption.happen()

    # -- the writer's side ---------------------------------------------------------------------------------------------

    def ask(self, now: float) -> bool:
        """Ask the next commit for what it should carry for this stream. Returns whether anything waits."""
        feed, acked = self.feed, self.acked
        last = feed.base + len(feed.data)
        if self.state is _CLOSED:
            return False
        if last == acked:
            self.state = _IDLE
            return False
        self.in_flight_total, self.in_flight_seq = feed.emitted_bytes, last
        self.first_seq: int = acked + 1
        self.refresh: bool = now >= self.refresh_at
        if last == acked + 1 and not self.refresh and (acked or self.decided is None) and last not in feed.kinds:
            self.lone = feed.data[-1]
        else:
            self.lone, events = None, feed.payloads(acked + 1, last)
            if self.in_flight_total - self.acked_total > COMMIT_BYTES:
                events = self._within_commit(events)
            self.several: Sequence[tuple[EventKind, bytes]] = events
        if self.refresh:
            self.undisturbed, self.refresh_at = False, now + REFRESH_SECONDS
        if self._waiting and self.in_flight_seq == last:
            self._sent.wake()
        return True

    def ask_for_end(self, now: float) -> bool:
        """Ask the stream's end for all that waits, as `ask` would ask a commit for it. Returns False where a commit has
        to carry it: part of it may be in the log already, it is too much for one, or the commit has more to do."""
        if self._rewound or self.in_flight_seq != self.acked or self.failing_since is not None:
            return False
        plain = self.acked > 0 or self.decided is None
        return plain and now < self.refresh_at and self.pending_bytes <= COMMIT_BYTES and self.ask(now)

    def carried_by_end(self) -> None:
        """The stream's end has put what waited into the log; it is shown with that end."""
        self.acked, self.acked_total = self.in_flight_seq, self.in_flight_total

    def _within_commit(self, events: Sequence[tuple[EventKind, bytes]]) -> Sequence[tuple[EventKind, bytes]]:
        """The first of the events that wait, up to `COMMIT_BYTES` and the event that passes them."""
        size = 0
        for index, (_, data) in enumerate(events):
            size += len(data) + EVENT_BYTES
            if size >= COMMIT_BYTES:
                self.in_flight_total, self.in_flight_seq = self.acked_total + size, self.acked + index + 1
                return events[: index + 1]
        return events

    def acknowledge(self) -> bool:
        """What the commit under way carries is in the log: show it, unless the backlog is closed. Returns whether more
        waits."""
        if self.state is _CLOSED:
            return False
        hurried = self.failing_since is not None or self.first_commit is not None
        self.urgent, self.failing_since = False, None
        self.lone_bytes: int = 0  # a writer that was told twice asks again, and nothing waits
        self.acked, self.acked_total = self.in_flight_seq, self.in_flight_total
        pending = self.feed.emitted_bytes != self.acked_total
        self.state = _PENDING if pending else _IDLE
        self.feed.show(self.acked)
        if self.first_commit is not None:
            self._stop_first_commit()
            self._tell_shown()
        if self._waiting:
            self._wake_waiting()
        self.undisturbed = not (hurried or self._disturbed)  # a hurried one had less than the usual `within_seconds`
        return pending

    @property
    def _disturbed(self) -> bool:
        if self._waiting or self.urgent or self.refresh or self.acked < self.feed.visible:
            return True
        return self.failing_since is not None or self.first_commit is not None or self.state is _CLOSED

    def acknowledge_all(self) -> None:
        """Every event of the feed is in the log: show it."""
        self.in_flight_total, self.in_flight_seq = self.feed.emitted_bytes, self.feed.emitted
        self.acknowledge()

    def _stop_first_commit(self) -> None:
        """Wait no longer for the first commit."""
        timer, self.first_commit = self.first_commit, None
        if timer is not None:
            timer.cancel()

    def _wake_waiting(self) -> None:
        """Wake the tasks for which an acknowledgement may have changed something."""
        self._sent.wake()
        if self.feed.visible > 0:
            self._shown.wake()
        self._capacity.wake()

    def rewind(self, last_seq: int) -> bool:
        """An older snapshot of the log ends at `last_seq`: what follows is to be appended again. Returns whether the
        events are still at hand."""
        if not self.feed.base <= last_seq <= self.acked:
            return False
        self.acked_total -= self.feed.size(last_seq + 1, self.acked)
        self.acked, self.undisturbed, self._rewound = last_seq, False, True
        self.in_flight_seq, self.in_flight_total = last_seq, self.acked_total  # a commit under way says no more
        self._look_ahead()
        return True

    def put_back(self, last_seq: int) -> None:
        """The log ends at `last_seq` although it had more: append that again, or go on without the log."""
        if self.rewind(last_seq):
            self.resubmit()
        else:
            self.owner.degrade("log_behind")

    def resubmit(self) -> None:
        """Tell the writer that events wait, also when it was told already."""
        if self.state is not _CLOSED:
            self.state, self.undisturbed = _PENDING, False
            self.queue.submit(self)

    def end_logged(self) -> None:
        """The store closed the stream: every event in the feed is in the log."""
        self.ended = True
        self.acked = self.feed.emitted
