"""A stream produced in this process: what it says, how it ends, and the parts that carry it.

Its events on their way into the log are its `Backlog`, its times its `Activity`, its phase its `Lifecycle`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from ...faults import Fault
from ...settings import Settings
from ...stores.budget import Budget
from ...stores.records import Seal, Status
from ...stores.registrations import Registered
from ...values import START, EventKind, Outcome, StreamRef, Usage
from ...wire.base import LeftOut, WireProtocol
from ..request import Ending, FirstItem, StreamRequest
from ..viewing.feed import Feed
from .activity import Activity
from .backlog import BACKLOG_BYTES, REFRESH_SECONDS, Backlog
from .bounds import Bounds
from .callbacks import StreamCallbacks
from .ended_stream import EndedStream
from .first_answer import FirstAnswer
from .lifecycle import Lifecycle
from .log_access import LogAccess
from .notices import Notices
from .phases import Answer, LogState, Output, Phase, move
from .speaking import Speaking

if TYPE_CHECKING:
    from ...saving.user_messages import UserMessages

__all__ = ["LiveStream"]


class LiveStream:
    """One stream, from its registration to its end. Only the producer's task emits, but for notices. Every field is
    changed by this class alone."""

    __slots__ = (
        "activity",
        "backlog",
        "callbacks",
        "consumed",
        "early_end",
        "feed",
        "first_answer",
        "lifecycle",
        "log",
        "message_id",
        "notices",
        "output",
        "producer",
        "protocol",
        "ref",
        "request",
        "request_id",
        "saved",
        "seal",
        "settings",
        "speaking",
        "stopped",
        "trace",
        "user_messages",
    )

    def __init__(
        self,
        request: StreamRequest,
        ref: StreamRef,
        settings: Settings,
        callbacks: StreamCallbacks[LiveStream],
        *,
        opened_at: float,
        budget: Budget,
        saved: bool,
    ) -> None:
        """A stream that is not registered yet. It begins at `opened_at`, in the event loop's time; `budget` is what its
        request may wait for the store; `saved`: whether its messages are to be saved."""
        self.request: StreamRequest = request
        self.request_id: str | None = request.request_id
        self.trace: str | None = request.trace
        self.ref: StreamRef = ref
        self.settings: Settings = settings
        self.callbacks: StreamCallbacks[LiveStream] = callbacks
        self.saved: bool = saved
        most = max(settings.viewer_backlog_bytes, BACKLOG_BYTES)
        self.feed: Feed = Feed(request.protocol, ref.stream_id, start=START, limit_bytes=most)
        self.feed.watched_at = opened_at
        bounds = Bounds(ref, self.feed, settings)
        self.notices: Notices = Notices(self, bounds)
        self.speaking: Speaking = Speaking(
            request,
            self.feed,
            settings,
            on_left_out=self.notices.left_out,
            on_tool=partial(callbacks.on_tool, self),
        )
        self.protocol: WireProtocol = request.protocol
        """What it speaks, and the message that it makes: both change once its first item decides."""
        self.message_id: str = request.message_id
        self.activity: Activity = Activity(opened_at, budget.loop.time, request.first_item_seconds)
        self.backlog: Backlog = Backlog(
            feed=self.feed,
            ref=ref,
            owner=self,
            bounds=bounds,
            budget=budget,
            queue=callbacks.writer,
            refresh_at=opened_at + REFRESH_SECONDS,
        )
        self.lifecycle: Lifecycle = Lifecycle()
        self.log: LogAccess = LogAccess()
        self.first_answer: FirstAnswer = FirstAnswer(self.backlog, self.lifecycle)
        self.output: Output = Output.NOTHING
        self.user_messages: UserMessages | None = None
        """What is written before the reply, once a stream that is to be saved has begun."""
        self.consumed: Usage | None = None
        """What it consumed, as the endpoint told."""
        self.producer: asyncio.Task[None] | None = None
        """The task that runs the endpoint, while it does."""
        self.stopped: bool = False
        """A stop was asked for; the seal decides whether it came in time."""
        self.early_end: Ending | None = None
        """How it was decided to end: its producer was cancelled, or its log failed when the producer was through."""
        self.seal: Seal | None = None
        """How it ended, as the store decided."""

    # -- what it is ----------------------------------------------------------------------------------------------------

    @property
    def acked(self) -> int:
        """The log's last event, as far as the store said."""
        return self.backlog.acked

    @property
    def epoch(self) -> int:
        """What it is written under, once it is registered."""
        return self.log.epoch

    @property
    def degraded(self) -> bool:
        """Whether its log is not the whole stream: later events carry no id."""
        return self.log.degraded_reason is not None

    @property
    def superseded(self) -> bool:
        """Whether another worker owns it: nothing may be appended, saved or charged here any more."""
        return self.log.state is LogState.SUPERSEDED

    def owned(self) -> bool:
        """Whether this process may still write the stream; may change at every await."""
        return self.log.state is not LogState.SUPERSEDED

    @property
    def finalising(self) -> bool:
        """Whether its producer is through: its end is being written, or the stream is over."""
        return self.lifecycle.phase in (Phase.FINALISING, Phase.FINISHED)

    @property
    def finished(self) -> bool:
        """Whether it is over, as far as this process can bring that about."""
        return self.lifecycle.phase is Phase.FINISHED

    @property
    def is_ending(self) -> bool:
        """Whether nothing more will be produced: it was cancelled, or its producer is through."""
        return self.lifecycle.phase is not Phase.PRODUCING

    @property
    def fault(self) -> Fault | None:
        """How it failed, in the form that clients are told."""
        return self.first_answer.fault

    # -- its registration ----------------------------------------------------------------------------------------------

    def enter(self, registered: Registered) -> None:
        """The store registered it, before its first event."""
        self.log.enter(registered)
        self.stopped = self.stopped or registered.stop_requested
        self.backlog.begin_epoch(registered.epoch)
        self.feed.begin_epoch(registered.epoch)

    def save_after(self, user_messages: UserMessages) -> None:
        """These are written before its reply."""
        self.user_messages = user_messages

    # -- what it says --------------------------------------------------------------------------------------------------

    def speak(self, protocol: WireProtocol, message_id: str | None = None) -> None:
        """Decide what an undecided stream speaks, right before its first item; `message_id`, if that is another one.
        Raises `RuntimeError` if it is decided already."""
        self.backlog.decide(self.speaking.decide(protocol, message_id))
        self.protocol, self.message_id = self.speaking.protocol, self.speaking.message_id
        if self.user_messages is not None:
            self.user_messages.reply_named(self.message_id)

    def begin(self) -> None:
        """Emit what comes before the first item. Later calls do nothing, nor do calls before `speak`."""
        if self.output is not Output.NOTHING or self.speaking.undecided:
            return
        self.output = move(self.output, Output.PREAMBLE)
        if self.user_messages is not None and self.producer is not None:
            self.user_messages.accepted()
        for payload in self.speaking.encoder.begin():
            self.emit(EventKind.DATA, payload)
        self.notices.emit_announced()

    def item_emitted(self) -> None:
        """An item of its endpoint came to something that clients see."""
        self.output = self.output if self.output is Output.ITEMS else move(self.output, Output.ITEMS)

    def emit(self, kind: EventKind, payload: bytes, *, bounded: bool = True) -> None:
        """Number an event and hand it to the writer. `bounded=False` is for what the runtime itself has to say.
        Nothing more is said of a stream that another worker owns.

        Raises:
            EventTooLargeError: the payload is over `max_event_bytes`.
            StreamLimitError: the stream would grow past its size or event count.
        """
        if self.superseded:
            return
        if bounded:
            self.backlog.bounds.check(kind, len(payload))
        seq = self.feed.push(kind, payload)
        if self.degraded:
            self.feed.show(seq)
            self.backlog.wake_request()
        else:
            self.backlog.added()

    def shown(self) -> None:
        """Its first event can be seen."""
        self.callbacks.on_shown(self)

    def left_out(self, fault: Fault, left_out: LeftOut) -> None:
        """An item could not be passed on as it was; its viewers were told so."""
        self.callbacks.on_left_out(self, fault, left_out)

    def usage(self, **amounts: int) -> None:
        """Add to what the stream consumed, by unit."""
        if amounts:
            self.consumed = (self.consumed or Usage()).plus(amounts)

    # -- what the request that began it sees ---------------------------------------------------------------------------

    async def first(self, timeout_seconds: float) -> FirstItem:
        """Wait for the first event that may be shown. One waiter. Cancelling it leaves the stream running."""
        if (item := await self.first_answer.wait(timeout_seconds)) is FirstItem.LATE:
            self.begin()
        return item

    async def ending(self) -> None:
        """Wait until `is_ending`. Any number of waiters; cancelling one changes nothing."""
        await self.lifecycle.ending()

    async def ended(self) -> None:
        """Wait until the stream is finalised. Any number of waiters; cancelling one changes nothing."""
        await self.lifecycle.finished()

    # -- how its log is lost to it -------------------------------------------------------------------------------------

    def degrade(self, reason: str, error: Exception | None = None) -> None:
        """Go on without the log: what waits, and all that follows, is shown without ids."""
        if not self.log.lose(reason):
            return
        self.backlog.close()
        if self.saved:
            self.feed.keep_all()  # what is saved of it has no other source any more
        self.feed.lose_ids()
        self.callbacks.on_degraded(self, reason, error)
        self.feed.show(self.feed.emitted)
        self.backlog.wake_producer()
        if self.feed.visible > 0:
            self.backlog.wake_request()

    def supersede(self) -> None:
        """Another worker owns the stream: stop producing; what was never logged was never said.

        A degraded stream was said without being logged: it goes on for its viewers, disowned.
        """
        if self.log.superseded or self.log.disowned or self.log.withdrawn:
            return
        if self.degraded:
            self.disown()
        else:
            self.log.supersede()
            self.backlog.close()
            self.feed.drop_hidden()
            self.cancel(Ending(Outcome.INTERRUPTED, None))
            self.backlog.wake_producer()
            self.feed.wake()
        self.callbacks.on_superseded(self)

    def disown(self) -> None:
        """Another worker owns its record; viewers here get the answer all the same, and nothing more is written."""
        self.log.disown()
        self.backlog.close()

    def log_refused(self, status: Status) -> None:
        """The store refused an append, and would refuse it again."""
        match status:
            case Status.SEALED if self.log.sealing:
                pass  # sealed by this process, in a step whose reply was lost; that step is repeated
            case Status.FENCED | Status.SEALED:
                self.supersede()
            case Status.CORRUPT:
                self.degrade("record_unreadable")
            case _:
                self.degrade("log_gone")

    # -- how it ends ---------------------------------------------------------------------------------------------------

    def produced_by(self, task: asyncio.Task[None] | None) -> None:
        """This task runs its endpoint; None once the endpoint is done."""
        self.producer = task

    def stop(self) -> None:
        """End it because its user asked for that."""
        self.stopped = True
        self.cancel(Ending(Outcome.STOPPED, None))

    def cancel(self, ending: Ending) -> None:
        """End the producer early. The first reason stands; a stream past its producer is left alone."""
        if self.is_ending:
            return
        self.early_end = ending
        self.lifecycle.move_to(Phase.CANCELLED)
        self.activity.cancelled_at = self.activity.clock()
        self.backlog.wake_producer()
        if self.producer is not None:
            self.producer.cancel()

    def begin_finalising(self) -> bool:
        """The producer is through: its end is written from here on. Returns False if that had begun before."""
        if self.finalising:
            return False
        self.lifecycle.move_to(Phase.FINALISING)
        self.speaking.end()
        self.protocol, self.message_id = self.speaking.protocol, self.speaking.message_id
        return True

    def end_without_log(self, ending: Ending) -> bool:
        """End it because its log failed. Returns whether its producer was through already."""
        self.cancel(ending)
        self.early_end = self.early_end or ending
        return self.finalising

    def fail(self, fault: Fault, error: BaseException | None = None) -> None:
        """Record how it failed. Before its first event its request is told that, unless its upstream told it."""
        self.first_answer.fail(fault, error, told=self.speaking.encoder.failure is not None)

    def retract(self, fault: Fault) -> None:
        """Its log failed before anybody saw anything: take back what it said and refuse it, unless it was answered."""
        if self.acked == 0 and self.first_answer.state is not Answer.ANSWERED and not self.feed.viewers:
            self.feed.drop_hidden()
            if self.output is Output.ITEMS:
                self.output = move(self.output, Output.PREAMBLE)
            self.fail(fault)

    def sealed(self, seal: Seal) -> None:
        """The store decided how it ended."""
        self.seal = seal

    def end_logged(self, events: Sequence[tuple[EventKind, bytes]]) -> None:
        """The store closed it: the log ends with these events, and so do its viewers'."""
        self.log.close()
        self._show_end(events, logged=True)

    def end_unlogged(self, events: Sequence[tuple[EventKind, bytes]]) -> None:
        """Give this process's viewers the stream's end, without ids: it is not in the log."""
        self.feed.lose_ids()
        self._show_end(events, logged=False)

    def _show_end(self, events: Sequence[tuple[EventKind, bytes]], *, logged: bool) -> None:
        for kind, data in events:
            self.feed.push(kind, data)
        if logged:
            self.backlog.end_logged()
        self.feed.end(complete=True)
        self.finish()

    def finish(self) -> None:
        """The stream is finalised as far as this process can. Later calls do nothing."""
        if self.lifecycle.phase is Phase.FINISHED:
            return
        self.log.leave()
        self.backlog.close()
        self.speaking.encoder.held.clear()
        self.lifecycle.move_to(Phase.FINISHED)
        self.backlog.wake_request()

    def release(self) -> None:
        """Nothing is done for the stream any more: its parts let go of it, so that no cycle keeps it in memory."""
        self.backlog.owner = ended = EndedStream(self, self.log)
        self.notices.release(ended)
        self.speaking.release()
