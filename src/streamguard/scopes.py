"""Where this process is at work on one stream: a context variable for logs, and a scope of each sink's own.

    with scope(StreamContext.about(meta, Work.TAKE_OVER), observe):
        ...

Everything that runs inside, tasks that are started there included, knows the stream as `current_stream`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar, Token
from dataclasses import field, replace
from enum import StrEnum
from types import TracebackType
from typing import Final, Protocol, Self, runtime_checkable

from .facts import facts
from .observations import Observation
from .values import SessionKey, StreamRef, Subject, short_hash

__all__ = [
    "NO_SCOPE",
    "ScopedObserver",
    "StreamContext",
    "TracingObserver",
    "Work",
    "bound",
    "completed",
    "current_stream",
    "scope",
]


class Work(StrEnum):
    """What a process does for a stream."""

    REQUEST = "request"
    """Checks a request: who asks, about which session, for how much. Nothing of a stream is known yet."""
    ADMIT = "admit"
    """Decides whether the stream may begin, reserves its quota and registers it."""
    PRODUCE = "produce"
    """Runs the endpoint, then ends the stream: the producer's whole task."""
    FINALISE = "finalise"
    """Seals, saves, settles and closes. Inside `PRODUCE`, unless the stream has no producer."""
    SAVE = "save"
    """Saves the reply, in the stream's end."""
    SETTLE = "settle"
    """Settles the quota, in the stream's end."""
    TAKE_OVER = "take_over"
    """Ends the stream of a worker that is gone."""
    OUTBOX = "outbox"
    """Makes up for a save or a settlement that a closed stream owes."""
    VIEW = "view"
    """Sends the stream to the client whose request began it."""
    RESUME = "resume"
    """Sends the stream to a client that came back for it."""
    STOP = "stop"
    """Stops the stream, as its owner asked."""
    BODY = "body"
    """Runs the body of `guard.start`, in the host's own task."""
    WATCH = "watch"
    """Looks after a stream beside its producer: its stop requests, its viewers."""
    SESSION = "session"
    """Answers a request to stop or erase a session, whose stream is not known yet."""


@facts
class StreamContext:
    """The stream that a piece of work is about. Holds ids only, no content.

    Hot path: five are made for each stream. Sinks and logs share one object, which none of them may change.
    """

    work: Work
    owner: str | None = field(repr=False)
    """In clear; sinks show `owner_hash`. Not in the `repr`, which error trackers send as a local variable; a tuple they
    would send item by item."""
    session_id: str | None
    stream_id: str | None
    """None before the stream is made."""
    message_id: str | None
    request_id: str | None
    """Of the request that is answered; otherwise of the request that began the stream; None where neither is known."""
    trace: str | None = None
    """The trace of the request that began the stream, as a W3C `traceparent`."""
    binding: str | None = None
    protocol: str | None = None
    framework: str | None = None
    """The web framework of the request that is answered, where it is known."""

    @classmethod
    def about(
        cls,
        subject: Subject,
        work: Work,
        *,
        request_id: str | None = None,
        binding: str | None = None,
        protocol: str | None = None,
    ) -> Self:
        """Work on a stream that exists. `request_id`: of another request than the one that began it."""
        ref = subject.ref
        return cls(
            work,
            owner=ref.key.owner,
            session_id=ref.key.session_id,
            stream_id=ref.stream_id,
            message_id=subject.message_id,
            request_id=request_id or subject.request_id,
            trace=subject.trace,
            binding=binding,
            protocol=protocol,
        )

    @property
    def owner_hash(self) -> str | None:
        """The owner as logs and sinks may show it."""
        return None if self.owner is None else short_hash(self.owner)

    @property
    def ref(self) -> StreamRef | None:
        """The stream; None before it is made."""
        if self.owner is None or self.session_id is None or self.stream_id is None:
            return None
        return StreamRef(SessionKey(self.owner, self.session_id), self.stream_id)

    def is_about(self, ref: StreamRef) -> bool:
        """Whether `ref` is this stream."""
        return self.stream_id == ref.stream_id


current_stream: Final[ContextVar[StreamContext | None]] = ContextVar("streamguard.current_stream", default=None)
"""The stream that the present task works on; None outside of any stream."""


def completed(observation: Observation) -> Observation:
    """The observation with what it lacks of the ids of the stream that is worked on, if it is about that; one about a
    request with no stream, with the owner in whose name it was made."""
    context = current_stream.get()
    if context is None:
        return observation
    ref = observation.ref
    message_id, request_id = observation.message_id, observation.request_id
    owner, trace = observation.owner, observation.trace or context.trace
    if ref is not None and message_id and request_id and trace == observation.trace:
        return observation  # nearly always: it lacks nothing
    if ref is not None and context.is_about(ref):
        message_id, request_id = message_id or context.message_id, request_id or context.request_id
    elif ref is None and request_id is not None and request_id == context.request_id:
        owner = owner or context.owner
    else:
        return observation
    before = (observation.message_id, observation.request_id, observation.owner, observation.trace)
    if (message_id, request_id, owner, trace) == before:
        return observation
    return replace(observation, message_id=message_id, request_id=request_id, owner=owner, trace=trace)


@runtime_checkable
class ScopedObserver(Protocol):
    """An observer with a scope of its own around all work on a stream: an isolation scope, a span.

    `scope` is called on the event loop and must not block. An exception that it raises is counted and goes no further;
    one that passes through the scope must not be swallowed.
    """

    def __call__(self, observation: Observation, /) -> None: ...

    def scope(self, context: StreamContext, /) -> AbstractContextManager[object]: ...


@runtime_checkable
class TracingObserver(Protocol):
    """An observer that knows which trace the present task belongs to."""

    def __call__(self, observation: Observation, /) -> None: ...

    def traceparent(self) -> str | None:
        """A W3C `traceparent` whose parent id is the present span; None outside of any trace."""
        ...


NO_SCOPE: Final[AbstractContextManager[None]] = nullcontext()
"""The scope of a sink that has none now: it need not be entered."""


class scope:  # noqa: N801 -- used as a function is
    """Mark what runs inside as this work on a stream, and enter the scope that `observe` has for it.

    A synchronous context manager for asynchronous code: enter and leave it in the same task. Cancellation leaves
    nothing behind. Hot path, several in each stream.
    """

    __slots__ = ("_context", "_inner", "_observe", "_token")

    def __init__(self, context: StreamContext, observe: ScopedObserver) -> None:
        self._context = context
        self._observe = observe

    @property
    def has_sinks(self) -> bool:
        """Whether a sink has a scope here. Inside of it."""
        return self._inner is not NO_SCOPE

    def __enter__(self) -> StreamContext:
        context = self._context
        self._token: Token[StreamContext | None] = current_stream.set(context)
        try:
            self._inner: AbstractContextManager[object] = self._observe.scope(context)
            if self._inner is not NO_SCOPE:
                self._inner.__enter__()
        except BaseException:
            current_stream.reset(self._token)
            raise
        return context

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if self._inner is not NO_SCOPE:
                self._inner.__exit__(exc_type, exc, traceback)
        finally:
            current_stream.reset(self._token)


class bound:  # noqa: N801 -- likewise
    """Only the context variable, for what is started inside: a task keeps it to its end, and also says in it that it
    failed."""

    __slots__ = ("_context", "_token")

    def __init__(self, context: StreamContext) -> None:
        self._context = context

    def __enter__(self) -> StreamContext:
        self._token: Token[StreamContext | None] = current_stream.set(self._context)
        return self._context

    def __exit__(self, *exc: object) -> None:
        current_stream.reset(self._token)
