"""`StartedRun`: the handle on an answer that no request began, which its body sends items to."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ConfigurationError, StreamCutError
from ..faults import Fault, FaultCode
from ..observations import Observation, Observer, Signal
from ..runtime import LiveStream
from ..stores.records import Terminal
from ..values import Outcome, Persisted, QuotaState
from ..web.endpoint.run import Run
from .body_scope import BodyScope
from .item_channel import ItemChannel

__all__ = ["StartedRun", "StreamEnd"]


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """How an answer ended, as its viewers are told."""

    outcome: Outcome
    persisted: Persisted
    """Whether the reply was saved. What is `pending` is owed: this worker or another saves it, and the session's status
    tells."""
    quota: QuotaState
    """Whether its quota was settled; likewise."""
    fault: Fault | None = None
    """Why it did not complete; None also where it was stopped."""


class StartedRun(Run):
    """The handle of an answer that was begun with `guard.start`: a `Run` that its body sends the items to."""

    def __init__(self, stream: LiveStream, observe: Observer) -> None:
        super().__init__(stream)
        self._observe = observe
        self._lost: Fault | None = None
        self._scope = BodyScope()
        self._items = ItemChannel(on_close=self._scope.cancel, closed_error=self._too_late)
        self._told: Terminal | None = None
        self._end: StreamEnd | None = None

    @property
    def end(self) -> StreamEnd | None:
        """How the answer ended; None inside the `async with`, and where it was left by a cancellation."""
        return self._end

    async def send(self, item: object) -> None:
        """Add an item to the answer: whatever an endpoint of the same protocol may yield, such as a `str`, a part as a
        dict or model, or a `Usage`.

        Returns once the item is in the stream, which is when the stream has room for another: a body that is faster
        than its log waits here. It may be called from any task of this event loop; items keep the order of the calls.
        Cancelled while it waits for earlier items, it sends nothing.

        Raises:
            StreamCutError: the answer has ended. The body has been cancelled then: only its other tasks, and a body
                that goes on all the same, see this.
        ConfigurationError: the body has been left.
        """
        await self._items.send(item)

    # -- for the `async with` -----------------------------------------------------------------------------------------

    def told(self, terminal: Terminal) -> None:
        """The stream's viewers are given this end, `terminal`."""
        self._told = terminal

    def has_ended(self) -> StreamEnd:
        """The stream is over: how it ended."""
        stream, told = self._stream, self._told
        if told is not None:
            self._end = StreamEnd(told.outcome, told.persisted, told.quota, told.fault)
            return self._end
        # Another worker has it, and does what is left; or this process could not bring it to its end.
        early = stream.early_end
        self._end = StreamEnd(
            Outcome.INTERRUPTED if early is None else early.outcome,
            Persisted.PENDING if stream.saved else Persisted.NOT_ASKED,
            QuotaState.NONE if stream.request.demand is None else QuotaState.PENDING,
            (None if early is None else early.fault) or self._lost_fault(),
        )
        if self._end.fault is self._lost and self._end.outcome is not Outcome.STOPPED:
            self._observe(Observation.about(stream, Signal.FAULT, fault=self._lost))
        return self._end

    def cut_error(self, end: StreamEnd) -> StreamCutError:
        """The error that tells the body's caller of an `end` that was not the body's."""
        fault = end.fault or self._stream.fault or self._lost_fault()
        error = StreamCutError(fault, end.outcome)
        error.__cause__ = self._stream.first_answer.error
        return error

    def _too_late(self) -> Exception:
        """The error of a `send` that comes too late."""
        if self._items.left:
            return ConfigurationError("run.send is for the body of the async with, which has been left")
        early = self._stream.early_end
        fault = (None if early is None else early.fault) or self._lost_fault()
        return StreamCutError(fault, Outcome.INTERRUPTED if early is None else early.outcome)

    def _lost_fault(self) -> Fault:
        """What the body is told of an end that was not this process's own: of one stream always the same."""
        if self._lost is None:
            self._lost = Fault.about(self._stream, FaultCode.INTERRUPTED)
        return self._stream.log.lost_to or self._lost

    @property
    def scope(self) -> BodyScope:
        """What cancels the body."""
        return self._scope

    @property
    def items(self) -> ItemChannel:
        """What the producer iterates."""
        return self._items
