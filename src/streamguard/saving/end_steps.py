"""The steps between a stream's seal and its close: save the reply, then settle its quota."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import ClassVar, Final

from ..facts import facts
from ..faults import Fault
from ..scopes import ScopedObserver, StreamContext, Work, scope
from ..values import Persisted, QuotaState, StreamRef
from .sealed_stream import SealedStream
from .user_messages import UserMessages

__all__ = ["NOTHING_DONE", "EndResult", "EndStep", "EndSteps", "LocalStream"]


@dataclass(frozen=True, slots=True)
class LocalStream:
    """What the steps need to know of a stream that this process produced."""

    user_messages: UserMessages | None
    """What is written before the reply; None for a stream that is not saved, or did not get so far."""
    owned: Callable[[], bool]
    """Whether this process may still write the stream, as far as it knows. May change at every await."""
    disowned: Callable[[], Awaitable[bool]]
    """Whether another worker owns a stream that this process could not log, as far as the stream store says."""


@facts
class EndResult:
    """What the steps came to, for the terminal record."""

    persisted: Persisted = Persisted.NOT_ASKED
    unsaved: bool = False
    """The save of a stream without a log failed, and cannot be owed: the reply is saved nowhere."""
    quota: QuotaState = QuotaState.NONE
    notices: tuple[Fault, ...] = ()
    closing: tuple[bytes, ...] = ()
    """The protocol's payloads that tell of the save, before all others that close the stream."""
    outbox_payload: bytes | None = field(default=None, repr=False)
    """The outbox payload, when something is left to do."""
    due_seconds: float = 0.0
    """When the outbox should look at it first."""
    after_close: Callable[[], None] | None = None
    """To be called once the stream is closed: what is left goes on in the background."""
    quota_by_now: Callable[[], QuotaState] | None = None
    """For a stream without a log: what settling it from memory has come to by now."""
    later: Callable[[], Awaitable[tuple[Persisted, bool]]] | None = None
    """For a stream without a log: waits for the save that is still under way, and gives `persisted` and `unsaved` as
    they are then."""

    @property
    def quota_now(self) -> QuotaState:
        """What is known of the quota by now."""
        return self.quota if self.quota_by_now is None else self.quota_by_now()

    async def when_saved(self) -> EndResult:
        """The same once no save is under way any more: as it is now, or with what `later` gives."""
        if self.later is None:
            return self
        persisted, unsaved = await self.later()
        return replace(self, persisted=persisted, unsaved=unsaved, later=None)


NOTHING_DONE: Final = EndResult()
"""Of a stream that nothing is saved or charged for, and what the first step begins with."""


class EndStep(ABC):
    """One of the steps. Safe to repeat."""

    work: ClassVar[Work]
    """What it is called in `scopes`."""

    @abstractmethod
    def has_nothing_to_do(self, ref: StreamRef, binding: str) -> bool:
        """Whether `finish` would do nothing for a stream of this process."""

    @abstractmethod
    async def finish(self, sealed: SealedStream, local: LocalStream | None, result: EndResult) -> EndResult:
        """Do it for a stream whose log is whole; `local` when this process produced it. Returns `result`, what the
        steps before came to, with what this one came to. Takes a few seconds at most: what takes longer goes on after
        the close."""

    @abstractmethod
    async def finish_unlogged(
        self,
        sealed: SealedStream,
        local: LocalStream | None,
        result: EndResult,
        payloads: Sequence[bytes],
        *,
        after_seq: int,
    ) -> EndResult:
        """Do it for a stream whose log is not whole: the log's first `after_seq` events and then `payloads` are."""


class EndSteps:
    """The steps, one after the other."""

    def __init__(self, *steps: EndStep, observe: ScopedObserver) -> None:
        self._steps = steps
        self._observe = observe

    def have_nothing_to_do(self, ref: StreamRef, binding: str) -> bool:
        """Whether `finish` would do nothing for a stream of this process, so that it may be sealed and closed in one
        go."""
        for step in self._steps:  # noqa: SIM110 -- `all` takes four calls more, for each stream
            if not step.has_nothing_to_do(ref, binding):
                return False
        return True

    async def finish(self, sealed: SealedStream, local: LocalStream | None) -> EndResult:
        """Finish a stream whose log is whole; `local` when this process produced it."""
        result = NOTHING_DONE
        for step in self._steps:
            with self._scope(step, sealed, local):
                result = await step.finish(sealed, local, result)
        return result

    async def finish_unlogged(
        self, sealed: SealedStream, local: LocalStream | None, payloads: Sequence[bytes], *, after_seq: int
    ) -> EndResult:
        """Finish a stream whose log is not whole: the log's first `after_seq` events and then `payloads` are."""
        result = NOTHING_DONE
        for step in self._steps:
            with self._scope(step, sealed, local):
                result = await step.finish_unlogged(sealed, local, result, payloads, after_seq=after_seq)
        return result

    def _scope(self, step: EndStep, sealed: SealedStream, local: LocalStream | None) -> AbstractContextManager[object]:
        """The step's scope; none for a step that has nothing to do."""
        if local is not None and step.has_nothing_to_do(sealed.ref, sealed.binding):
            return nullcontext()
        context = StreamContext.about(sealed, step.work, binding=sealed.binding, protocol=sealed.protocol)
        return scope(context, self._observe)
