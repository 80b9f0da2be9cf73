"""An answer that no request begins, as an `async with`.

Who ends what:

    the body is left           → the producer ends: completed, or failed with what the body raised
    the stream is cut          → the body is cancelled, which is absorbed where it is left
    the caller's task is cancelled → the stream is interrupted, and the cancellation goes on
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from types import TracebackType
from typing import Final, NoReturn

from ..errors import AlreadyStartedError, ConfigurationError, FaultError
from ..faults import Fault, FaultCode
from ..runtime import LiveStream, Runtime, StreamRequest
from ..runtime.opening.request_key import RequestKey
from ..runtime.producing.phases import Answer
from ..runtime.request import Ending
from ..scopes import StreamContext, Work, scope
from ..stores.records import StreamMeta, Terminal
from ..values import Outcome
from ..web.endpoint.recognised_items import items_of_iterator
from ..web.guard_context import GuardContext
from .started_run import StartedRun

__all__ = ["StartedStream"]

NAME: Final = "the body of guard.start"
"""What errors about its items call it."""
CANCELLED: Final = "cancelled"
"""The reason of a stream whose body's task was cancelled."""


class StartedStream:
    """What `guard.start` returns: entered once, in the task that produces the answer."""

    def __init__(self, context: GuardContext, request: StreamRequest, key: RequestKey | None) -> None:
        self._context = context
        self._request = request
        self._key = key
        self._run: StartedRun | None = None
        self._stream: LiveStream | None = None
        self._entered = False
        self._scope = ExitStack()
        """Where the body's log lines and spans get the stream from."""

    async def __aenter__(self) -> StartedRun:
        """Register the stream, and begin.

        Raises:
            FaultError: it is refused: `conflict_active`, `limit_streams`, `quota_exceeded`, `quota_unavailable`,
                `store_unavailable`, `shutting_down`, `idempotency_conflict`, or `not_found` for a session that the
                message store says is another owner's. Nothing is registered or reserved then.
            AlreadyStartedError: the idempotency key has an answer.
            NotStartedError: the guard is not running.
            ConfigurationError: it was entered before.
        """
        if self._entered:
            raise ConfigurationError("guard.start(…) is entered once: call it again for another answer")
        runtime = self._context.runtime
        self._entered = True
        request = replace(
            self._request, arrived_at=time.monotonic(), on_end=self._told, trace=runtime.observe.traceparent()
        )
        opened = await runtime.idempotent_opening.open(request, self._key)
        if isinstance(opened, StreamMeta):
            raise _already_started(opened)
        try:
            forbidden = await _is_forbidden(opened)
        except BaseException:  # cancelled, for example: there is no producer
            error = FaultError(Fault.about(opened, FaultCode.INTERRUPTED))
            runtime.idempotent_opening.abandon(opened, self._key, error)
            raise
        if forbidden:
            await self._refuse(runtime, opened)
        run = StartedRun(opened, runtime.observe)
        self._stream, self._run = opened, run
        runtime.launch(opened, lambda: self._items(opened, run))
        runtime.start(self._follow_stream)
        self._scope.enter_context(scope(StreamContext.about(opened, Work.BODY), runtime.observe))
        return run

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        """End the stream as the body ended, and wait for that: sealed, saved and settled, or owed.

        Cancelling the wait does not keep the stream from its end.

        Raises:
            StreamCutError: the stream was ended by something else than its body, or than a stop.
        """
        run, stream = self._run, self._stream
        if run is None or stream is None:
            return False
        with suppress(ValueError):  # left in another context than it was entered in, as fixtures may be
            self._scope.close()
        absorbed = False
        try:
            absorbed = await run.scope.leave(exc)
        finally:
            if absorbed:
                run.items.leave()
            else:
                self._leave(run, stream, exc)
        await stream.ended()
        end = run.has_ended()
        if stream.first_answer.state is Answer.FAILED:  # before its first event: a retry is a fresh attempt
            await self._context.runtime.idempotent_opening.give_back(self._key, stream)
        if exc is not None and not absorbed:
            exc.__traceback__ = traceback  # without the producer's frames, where it was raised too
            return False
        if end.outcome in (Outcome.FAILED, Outcome.INTERRUPTED):
            raise run.cut_error(end)
        return absorbed

    def _leave(self, run: StartedRun, stream: LiveStream, exc: BaseException | None) -> None:
        """Tell the producer how the body was left, other than by the stream's own end."""
        cancelled = isinstance(exc, asyncio.CancelledError) and run.scope.cancelled_by_others
        if cancelled or isinstance(exc, (KeyboardInterrupt, GeneratorExit)):  # the process ends, or who runs the body
            fault = Fault.about(stream, FaultCode.INTERRUPTED, reason=CANCELLED)
            stream.cancel(Ending(Outcome.INTERRUPTED, fault))
            run.items.leave()
        elif isinstance(exc, (StopIteration, StopAsyncIteration)):  # which would end the producer like a generator
            error = RuntimeError(f"{NAME} raised {type(exc).__name__}")
            error.__cause__ = exc
            run.items.leave(error)
        else:
            run.items.leave(exc)

    def _items(self, stream: LiveStream, run: StartedRun) -> AsyncIterator[object]:
        """What the producer iterates. Under a binding whose answers are recognised, the first item decides."""
        return items_of_iterator(run.items, NAME, stream) if stream.speaking.undecided else run.items

    async def _follow_stream(self) -> None:
        """Cancel the body once the stream ends without it, also where no producer iterates its items yet."""
        if self._stream is not None and self._run is not None:
            await self._stream.ending()
            self._run.items.close()

    def _told(self, terminal: Terminal) -> None:
        if self._run is not None:
            self._run.told(terminal)

    async def _refuse(self, runtime: Runtime, stream: LiveStream) -> NoReturn:
        """The session is another owner's, as the message store says: as if there were no such session."""
        error = FaultError(Fault.about(stream, FaultCode.NOT_FOUND))
        await runtime.reject(stream, error)
        await runtime.idempotent_opening.give_back(self._key, stream)
        raise error


async def _is_forbidden(stream: LiveStream) -> bool:
    messages = stream.user_messages
    return messages is not None and await messages.forbidden(stream.backlog.budget.session_deadline)


def _already_started(meta: StreamMeta) -> AlreadyStartedError:
    return AlreadyStartedError(
        session_id=meta.ref.key.session_id,
        stream_id=meta.ref.stream_id,
        message_id=meta.message_id,
        outcome=None if meta.seal is None else meta.seal.outcome,
        persisted=meta.persisted,
    )
