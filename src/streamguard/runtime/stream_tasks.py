"""The tasks of a process's streams: each runs a stream's producer, then its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, suppress

from ..charging.reservations import Reservations
from ..errors import StoreError
from ..observations import Observation, Signal
from ..scopes import NO_SCOPE, StreamContext, Work, bound, current_stream, scope
from ..stores.store import StreamStore
from ..values import Outcome
from .ending.finaliser import Finaliser
from .ending.withdrawal import Withdrawal
from .observers import Observers
from .producing.failures import fault_of
from .producing.live_streams import LiveStreams
from .producing.producer import produce
from .producing.stream import LiveStream
from .request import Ending
from .upkeep.tasks import Tasks

__all__ = ["StreamTasks"]


class StreamTasks:
    """Runs producers and ends of streams. `changed` is called when a stream is over."""

    def __init__(
        self,
        store: StreamStore,
        tasks: Tasks,
        streams: LiveStreams,
        finaliser: Finaliser,
        withdrawal: Withdrawal,
        reservations: Reservations,
        *,
        observe: Observers,
        changed: Callable[[], None],
    ) -> None:
        self._store = store
        self._tasks = tasks
        self._streams = streams
        self._finaliser = finaliser
        self._withdrawal = withdrawal
        self._reservations = reservations
        self._observe = observe
        self._changed = changed

    def launch(self, stream: LiveStream, items: Callable[[], AsyncIterator[object]]) -> None:
        """Start producing, under the caller's context variables. Returns at once."""
        self._tasks.start_containing(self._run, stream, items)

    def end_soon(self, stream: LiveStream, ending: Ending) -> None:
        """End a stream that has no producer. Returns at once."""
        with bound(StreamContext.about(stream, Work.FINALISE)):
            self._tasks.start(self.end, stream, ending)

    def abandon(self, stream: LiveStream) -> None:
        """End a stream without its producer, which does not exist or does not heed its cancellation. Returns at
        once."""
        if stream.producer is not None:
            self._observe(Observation.about(stream, Signal.ENDPOINT_ABANDONED))
        self.end_soon(stream, stream.early_end or Ending(Outcome.INTERRUPTED, None))

    async def reject(self, stream: LiveStream, error: BaseException) -> None:
        """End a stream whose endpoint failed before it had anything to iterate, and wait for that.

        Cancelling it does not keep the stream from its end.
        """
        self.end_soon(stream, Ending(Outcome.FAILED, fault_of(error, stream), error))
        await stream.ended()

    async def end(self, stream: LiveStream, ending: Ending) -> None:
        """Finalise a stream; later calls do nothing."""
        if not stream.begin_finalising():
            return
        with self._finalising(stream):
            if ending.outcome is Outcome.STOPPED:
                stream.begin()
            fault = ending.fault
            if fault is not None:
                stream.fail(fault, ending.error)
            try:
                if ending.status is not None and await self._withdrawal.end(stream, ending):
                    return
                if fault is not None:
                    self._observe.fault(stream, fault, ending)
                await self._finaliser.finalise(stream, ending)
            finally:
                stream.finish()
                self._streams.discard(stream.ref)
                if stream.request.on_over is not None:
                    stream.request.on_over()
                self._reservations.forget(stream.ref)
                self._changed()
                if not stream.feed.ended and not stream.superseded:
                    stream.feed.end(complete=False)
                log = stream.log
                if not (log.closed or log.withdrawn) and log.registered:
                    with suppress(StoreError):
                        await self._store.release_slot(stream.ref.key.owner, stream.ref.stream_id)
                stream.release()

    def _finalising(self, stream: LiveStream) -> AbstractContextManager[object]:
        """The scope of a stream's end: none where nobody would notice, since the task's own context says the same."""
        present = current_stream.get()
        if present is not None and self._observe.scopeless:
            known = present.stream_id, present.message_id
            if known == (stream.ref.stream_id, stream.message_id):
                return NO_SCOPE
        return scope(StreamContext.about(stream, Work.FINALISE), self._observe)

    async def _run(self, stream: LiveStream, items: Callable[[], AsyncIterator[object]]) -> None:
        try:
            context = StreamContext.about(
                stream, Work.PRODUCE, binding=stream.request.binding, protocol=stream.protocol.name
            )
            current_stream.set(context)  # for the whole task: also whoever tells that it failed asks for the stream
            with self._observe.scope(context):
                stream.produced_by(asyncio.current_task())
                ending = stream.early_end
                if ending is None:
                    producing = produce(stream, items)
                    del items  # it has the endpoint's arguments, which this task would keep for as long as it runs
                    ending = await producing
                stream.produced_by(None)
                self._tasks.finishing()
                await self.end(stream, ending)
        except BaseException as exc:
            if self._tasks.passes(exc):
                raise
            self._tasks.crashed(exc)
