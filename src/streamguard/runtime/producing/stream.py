"""A stream produced in this process: its events, what is acknowledged of them, and how it is ending."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ...deadlines import Deadline, Timer
from ...faults import Fault, FaultCode
from ...settings import Settings
from ...stores.budget import Budget
from ...stores.records import UNTOLD, Seal, StreamMeta
from ...values import START, EventKind, Outcome, StreamRef, Usage
from ...wire.base import Encoder, LeftOut, WireProtocol
from ..request import Ending, FirstItem, StreamRequest
from ..viewing.feed import EVENT_BYTES, Feed
from .bounds import Bounds
from .reused_append import ReusedAppend
from .wakeup import Wakeup

if TYPE_CHECKING:
    from ...saving.user_messages import UserMessages

__all__ = ["PENDING_BYTES", "LiveStream"]

PENDING_BYTES: Final = 1_048_576
"""A producer this far ahead of its log waits: memory stays bounded when the store is slower than the model."""
COMMIT_BYTES: Final = 262_144
"""Most of one stream in one commit, so that a large burst does not hold up the others' events."""
LEFT_OUT_KINDS: Final = 20
"""Operators are told of so many kinds of values that were left out of one stream."""
REFRESH_SECONDS: Final = 60.0
"""Appends renew TTLs this often: measured, doing it each time costs about 2 µs of Redis per event."""


_DATA: Final = EventKind.DATA


@dataclass(slots=True, eq=False, kw_only=True)
class LiveStream:
    """One stream and its writer's view of it.

    Invariants: `acked <= feed.emitted`; without degradation `feed.visible` never passes what the store
    acknowledged. Only the writer moves `acked`; only the producer's task emits, but for notices.
    """

    request: StreamRequest
    ref: StreamRef
    settings: Settings
    opened_at: float
    """Loop time, like all that follow."""
    budget: Budget
    """What its request may wait for the store."""
    submit: Callable[[LiveStream], None]
    """Tells the writer that something waits."""
    on_degraded: Callable[[LiveStream, str], None]
    on_left_out: Callable[[LiveStream, Fault, LeftOut], None]
    """Told of an item that could not be passed on as it was, as its viewers are."""
    protocol: WireProtocol = field(init=False)
    message_id: str = field(init=False)
    request_id: str | None = field(init=False)
    encoder: Encoder = field(init=False)
    feed: Feed = field(init=False)

    # What it is to this process.
    saved: bool = False
    """Its messages are to be saved."""
    user_messages: UserMessages | None = None
    """What is written before the reply, once a stream that is to be saved has begun."""
    epoch: int = UNTOLD
    """What it is written under, once it is registered."""
    created_at: float | None = None
    """When it began: Unix time on the store's clock, once it is registered. The store's own word, since no clock of
    this process may be compared with the store's."""
    in_doubt: bool = False
    """Its registration was asked for, and no answer has come: it may be registered."""
    registered: bool = False
    writing: bool = True
    """Its events go into its log: it is neither degraded nor superseded nor finished."""
    degraded: bool = False
    """Its log is not the whole stream: later events carry no id."""
    degraded_reason: str | None = None
    superseded: bool = False
    """Another worker owns it: nothing may be appended, saved or settled here any more."""
    disowned: bool = False
    """Superseded while degraded: its viewers, told that it is not resumable, still get the answer; nothing of it
    is written."""
    listening: bool = False
    """Somebody hears of stop requests for it."""
    attended: bool = False
    """The request that began it waits for its first event: there is somebody, who has no viewer yet."""

    # What was said, and how much of it is in the log.
    began: bool = False
    acked: int = 0
    """The log's last event, as far as the store said."""
    pending: bool = False
    """Events wait for their append, and the writer knows."""
    failing_since: float | None = None
    """When the first of the commits that failed for it was begun, if the last one did; on the `LoopClock`."""
    first_commit: Timer | None = None
    """Runs while the log has nothing of it yet and its first event waits for that."""
    urgent: bool = True
    """The next commit should not wait for company: a first event, or the end."""
    refresh_at: float = field(init=False)
    """When the next append is to renew the TTLs."""
    items: int = 0
    """What the endpoint has given so far."""
    said: bool = False
    """An item of the endpoint's came to something that clients see."""
    items_seen: int = 0
    """As many there were when somebody looked last."""
    last_item_at: float = field(init=False)
    """When somebody looked and there were more."""
    full: bool = False
    """The producer got so far ahead of the log that it should wait for `room`."""
    consumed: Usage | None = None
    """As the endpoint told."""
    notices_dropped: int = 0
    """Notices past what a stream may have of them."""

    # How it ends.
    producer: asyncio.Task[None] | None = None
    cancelling: Ending | None = None
    """Why the producer was cancelled, if it was."""
    cancelled_at: float | None = None
    overruled: Ending | None = None
    """What became of a natural end whose log failed in the last moment, under `on_store_failure="fail"`."""
    stopped: bool = False
    """A stop was asked; the seal decides whether it came in time."""
    finalising: bool = False
    closing: bool = False
    """It is being sealed and closed, in one step with what it still appends."""
    closed: bool = False
    """The store said so: nothing of it is held there any more but its record and log."""
    seal: Seal | None = None
    failure: BaseException | None = None
    """What the endpoint raised."""
    fault: Fault | None = None
    """The structured form of how it failed."""
    finished: bool = False
    """Finalised, as far as this process can."""

    _bounds: Bounds = field(init=False)
    _append: ReusedAppend = field(init=False)
    _acked_bytes: int = 0
    """What the log has of the feed's `emitted_bytes`."""
    _in_flight_bytes: int = 0
    """What it will have of them with the commit under way."""
    _in_flight_seq: int = 0
    """The last event that the commit under way carries."""
    _failed_first: bool = False
    _answered: bool = False
    """Its client was told that it begins."""
    _announcement: Fault | None = None
    _left_out_kinds: set[tuple[str, str, str]] = field(default_factory=set)
    _waiting: int = 0
    """How many wait for one of these three."""
    _first: Wakeup = field(default_factory=Wakeup)
    _room: Wakeup = field(default_factory=Wakeup)
    _all_sent: Wakeup = field(default_factory=Wakeup)
    _done: asyncio.Event = field(default_factory=asyncio.Event)
    _ending: asyncio.Event = field(default_factory=asyncio.Event)
    _clock: Callable[[], float] = field(init=False)
    _free_bytes: int = 0
    """Until so much is said, events need not be looked at one by one (see `emit`)."""

    def __post_init__(self) -> None:
        request, settings = self.request, self.settings
        self.protocol, self.message_id, self.request_id = request.protocol, request.message_id, request.request_id
        self.encoder = request.protocol.encoder(
            message_id=request.message_id, max_event_bytes=settings.max_event_bytes, on_left_out=self.left_out
        )
        self.feed = Feed(
            request.protocol,
            self.ref.stream_id,
            start=START,
            limit_bytes=max(settings.viewer_backlog_bytes, PENDING_BYTES),
        )
        self.feed.watched_at = self.opened_at
        self.last_item_at = self.opened_at
        self.refresh_at = self.opened_at + REFRESH_SECONDS
        self._bounds = Bounds(self.ref, self.feed, settings)
        self._append = ReusedAppend(self.ref, self.epoch)
        self._clock = asyncio.get_running_loop().time

    @property
    def ttl_seconds(self) -> float:
        """How long its record outlives the last heartbeat: one that is to be saved or settled must be there until that
        is done."""
        owes = self.saved or self.request.demand is not None
        return max(self.settings.live_ttl_seconds, self.settings.outbox_retention_seconds if owes else 0.0)

    @property
    def pending_bytes(self) -> int:
        """Of events that wait for their append, as `emitted_bytes` counts them; over `PENDING_BYTES` the producer waits
        too."""
        return self.feed.emitted_bytes - self._acked_bytes if self.writing else 0

    @property
    def age_seconds(self) -> float:
        """How long ago it began, on this process's monotonic clock."""
        return self._clock() - self.opened_at

    @contextmanager
    def attending(self) -> Iterator[None]:
        """While entered, the request that began it is there, though it has no viewer yet."""
        self.attended = True
        try:
            yield
        finally:
            self.attended = False
            self.feed.watched_at = self._clock()

    def enter(self, meta: StreamMeta) -> None:
        """The store registered it so, before its first event."""
        self.registered = True
        self.stopped = meta.stop_requested
        self.epoch, self.created_at = meta.epoch, meta.created_at
        self._append = ReusedAppend(self.ref, self.epoch)
        self.feed.begin_epoch(self.epoch)

    # -- what the producer does -------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Emit what comes before the first item; later calls do nothing."""
        if not self.began:
            self.began = True
            if self.user_messages is not None and self.producer is not None:
                self.user_messages.accepted()
            for payload in self.encoder.begin():
                self.emit(EventKind.DATA, payload)
            if self._announcement is not None:
                self.emit(EventKind.NOTICE, self._announcement.to_json(), bounded=False)

    def announce(self, fault: Fault) -> None:
        """Tell this process's viewers of a fault that cannot be logged; before the first item, right after `begin`."""
        if self.began:
            self.emit(EventKind.NOTICE, fault.to_json(), bounded=False)
        else:
            self._announcement = fault

    def emit(self, kind: EventKind, payload: bytes, *, bounded: bool = True) -> None:
        """Number an event and hand it to the writer. `bounded=False` is for what the runtime itself has to say.
        Of a stream that another worker owns, nothing is said any more.

        Raises:
            EventTooLargeError: the payload is over `max_event_bytes`.
            StreamLimitError: the stream would grow past its size or event count.
        """
        if self.superseded:
            return
        feed = self.feed
        if bounded:
            self._bounds.check(kind, len(payload))
        seq = feed.push(kind, payload)
        if self.degraded:
            feed.show(seq)
            self._first.wake()
            return
        self._look_ahead()
        if not self.pending:
            self.pending = True
            self.submit(self)

    def emit_data(self, payload: bytes) -> None:
        """`emit` for data far from any limit, which nearly all is: the path that millions take.

        Raises:
            EventTooLargeError, StreamLimitError: as `emit`.
        """
        feed = self.feed
        said = feed.emitted_bytes + len(payload) + EVENT_BYTES
        if said > self._free_bytes:
            self.emit(EventKind.DATA, payload)
            return
        feed.emitted_bytes = said  # as `push`, without the call
        feed.data.append(payload)
        if not self.pending:
            self.pending = True
            self.submit(self)

    def _look_ahead(self) -> None:
        """Find how much may be said before the stream is at a limit, or its producer too far ahead of the log."""
        self.full = self.crowded
        self._free_bytes = min(self._bounds.free_bytes(), self._acked_bytes + PENDING_BYTES)

    async def room(self) -> None:
        """Wait until the log has caught up enough for more."""
        while self.crowded:
            await self._wait(self._room)
        self.full = False

    def owned(self) -> bool:
        """Whether this process may still write the stream; may change at every await."""
        return not self.superseded

    @property
    def crowded(self) -> bool:
        """Whether the producer is so far ahead of the log that it waits."""
        return self.pending_bytes > PENDING_BYTES

    def cancel(self, ending: Ending) -> None:
        """End the producer early. The first reason stands; a stream past its producer is left alone."""
        if self.cancelling is not None or self.finalising:
            return
        self.cancelling = ending
        self.cancelled_at = self._clock()
        self._ending.set()
        self._room.wake()
        if self.producer is not None:
            self.producer.cancel()

    def conclude(self) -> bool:
        """The producer is through: the stream is finalised from here on. Returns whether it was not before."""
        first, self.finalising = not self.finalising, True
        self._ending.set()
        return first

    @property
    def is_ending(self) -> bool:
        """Whether nothing more will be produced: it was cancelled, or its producer is through."""
        return self.cancelling is not None or self.finalising

    async def ending(self) -> None:
        """Wait until `is_ending`. Any number of waiters; cancelling one changes nothing."""
        await self._ending.wait()

    def overrule(self, ending: Ending) -> bool:
        """End the stream so because its log failed. Returns whether its producer was through already."""
        self.cancel(ending)
        if self.finalising:
            self.overruled = ending
        return self.finalising

    # -- what the writer does ---------------------------------------------------------------------------------------

    def next_append(self, now: float) -> ReusedAppend | None:
        """What the next commit should carry for this stream; None when nothing waits."""
        feed, acked = self.feed, self.acked
        last = feed.base + len(feed.data)
        if last == acked or not self.writing:
            return None
        self._in_flight_bytes, self._in_flight_seq = feed.emitted_bytes, last
        if last == acked + 1:
            kind = feed.kinds.get(last, _DATA) if feed.kinds else _DATA
            events: Sequence[tuple[EventKind, bytes]] = ((kind, feed.data[-1]),)
        else:
            events = feed.payloads(acked + 1, last)
            if self._in_flight_bytes - self._acked_bytes > COMMIT_BYTES:
                size = 0
                for index, (_, data) in enumerate(events):
                    size += len(data) + EVENT_BYTES
                    if size >= COMMIT_BYTES:
                        events = events[: index + 1]
                        self._in_flight_bytes, self._in_flight_seq = self._acked_bytes + size, acked + index + 1
                        break
        append = self._append
        append.first_seq, append.events, append.refresh = acked + 1, events, now >= self.refresh_at
        if append.refresh:
            self.refresh_at = now + REFRESH_SECONDS
        if self._waiting and self._in_flight_seq == last:
            self._all_sent.wake()
        return append

    def acknowledge(self) -> bool:
        """What `next_append` gave is in the log: show it. Returns whether more waits."""
        feed = self.feed
        self._acked_bytes = self._in_flight_bytes
        self.acked = last_seq = self._in_flight_seq
        self.urgent = False
        self.failing_since = None
        if self.first_commit is not None:
            self._first_committed()
        feed.show(last_seq)
        self.pending = feed.emitted_bytes != self._acked_bytes
        if self._waiting:
            self._wake_waiting()
        return self.pending

    def _first_committed(self) -> None:
        """Wait no longer for the first commit."""
        timer, self.first_commit = self.first_commit, None
        if timer is not None:
            timer.cancel()

    def _wake_waiting(self) -> None:
        """Have those look again for whom an acknowledgement may have changed something."""
        if self.acked >= self.feed.emitted:
            self._all_sent.wake()
        if self.feed.visible > 0:
            self._first.wake()
        if not self.crowded:
            self._room.wake()

    async def _wait(self, what: Wakeup) -> None:
        self._waiting += 1
        try:
            await what.until_woken()
        finally:
            self._waiting -= 1

    async def all_sent(self) -> None:
        """Wait until every event is in the log or on its way there, or the log is lost. One waiter."""
        if self.acked < self.feed.emitted and not self.degraded and not self.superseded:
            await self._wait(self._all_sent)

    def rewind(self, last_seq: int) -> bool:
        """An older snapshot of the log ends at `last_seq`: have the writer append what follows again.

        Returns whether the events are still at hand.
        """
        if not self.feed.base <= last_seq <= self.acked:
            return False
        self._acked_bytes -= self.feed.size(last_seq + 1, self.acked)
        self.acked = last_seq
        self._look_ahead()
        return True

    def put_back(self, last_seq: int) -> None:
        """The log ends at `last_seq` although it had more: append that again, or go on without the log."""
        if self.rewind(last_seq):
            self.resubmit()
        else:
            self.degrade("log_behind")

    def flush(self) -> None:
        """Have what waits committed without waiting for company."""
        self.urgent = True
        if self.pending:
            self.submit(self)

    def resubmit(self) -> None:
        """Have the writer look at the stream again, after `rewind`."""
        self.pending = True
        self.submit(self)

    def degrade(self, reason: str) -> None:
        """Go on without the log: what waits, and all that follows, is shown without ids."""
        if self.degraded or self.superseded:
            return
        self.degraded = True
        self.degraded_reason = reason
        self._write_no_more()
        if self.saved:
            self.feed.keep_all()  # what is saved of it has no other source any more
        self.feed.lose_ids()
        self.on_degraded(self, reason)
        self.feed.show(self.feed.emitted)
        self._room.wake()
        self._all_sent.wake()
        if self.feed.visible > 0:
            self._first.wake()

    def supersede(self) -> None:
        """Another worker owns the stream: stop producing; what was never logged was never said.

        A degraded stream was said without being logged: it goes on for its viewers, disowned.
        """
        if self.degraded:
            self.disowned = True
            return
        if self.superseded:
            return
        self.superseded = True
        self._write_no_more()
        self.feed.drop_hidden()
        self.cancel(Ending(Outcome.INTERRUPTED, None))
        self._room.wake()
        self._all_sent.wake()
        self.feed.wake()

    def _write_no_more(self) -> None:
        self.writing = self.pending = False
        self._first_committed()
        self._free_bytes = 0  # what is still said takes the long way

    def unsay(self, fault: Fault) -> None:
        """Its log failed before anybody saw anything of it: refuse it with this fault, as if nothing had been said. Of
        a stream that its client was answered with, nothing changes."""
        if self.acked == 0 and not self._answered and not self.feed.viewers:
            self.feed.drop_hidden()
            self.said = False
            self.failed_first(fault, None)

    # -- what the edge sees -----------------------------------------------------------------------------------------

    async def first(self, timeout_seconds: float) -> FirstItem:
        """Wait for the first event that may be shown. One waiter. Cancelling it leaves the stream running."""
        if self.feed.visible == 0 and not self.finished and not self._failed_first:
            with suppress(TimeoutError):
                async with Deadline.after(timeout_seconds).limit():
                    await self._wait(self._first)
        if self._failed_first:  # even when its end is visible by now
            return FirstItem.FAILED
        self._answered = True
        if self.feed.visible > 0 or self.finished:
            return FirstItem.READY
        self.begin()
        return FirstItem.LATE

    async def ended(self) -> None:
        """Wait until the stream is finalised. Any number of waiters; cancelling one changes nothing."""
        await self._done.wait()

    def finish(self) -> None:
        """The stream is finalised as far as this process can."""
        self.finished = True
        self._write_no_more()
        self.encoder.held.clear()
        self._done.set()
        self._first.wake()

    def failed_first(self, fault: Fault, error: BaseException | None) -> None:
        """Record how it failed, and tell whoever waits for the first event."""
        self.fault = fault
        self.failure = error
        self._failed_first = True
        self._first.wake()

    def notice(self, fault: Fault) -> bool:
        """Log a non-fatal notice, in order with the items. Returns whether it was: not once the stream is ending, nor
        past its share of the stream's limits."""
        if self.finalising or self.superseded:
            return False
        self.begin()
        payload = fault.to_json()
        if not self._bounds.admit_notice(len(payload)):
            self.notices_dropped += 1
            return False
        self.emit(EventKind.NOTICE, payload, bounded=False)
        return True

    def left_out(self, left_out: LeftOut, *, user_message_id: str | None = None) -> None:
        """Tell viewers of an item, or a message to save, that had to be changed; operators once of each kind."""
        fault = Fault.about(self, FaultCode.VALUE_REPLACED, reason=left_out.reason, user_message_id=user_message_id)
        kind = (left_out.part, left_out.reason, left_out.replaced[0].type_name)
        if self.notice(fault) and kind not in self._left_out_kinds and len(self._left_out_kinds) < LEFT_OUT_KINDS:
            self._left_out_kinds.add(kind)
            self.on_left_out(self, fault, left_out)

    def bring(self, size: int) -> None:
        """Count a message of `size` bytes that is to be saved before the reply.

        Raises:
            StreamLimitError: they are too many, or too large.
        """
        self._bounds.bring(size)

    def usage(self, **amounts: int) -> None:
        """Add to what the stream consumed, by unit."""
        if amounts:
            self.consumed = (self.consumed or Usage()).plus(amounts)
