"""A stream's end: seal, save, settle, close — once, in the runtime's own task, each step safe to repeat.

Whoever holds the epoch runs it: here the producer's worker for its own streams, in `orphans` any worker for a stream it
took over. The first seal decides; everything after writes what was sealed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar

from ...deadlines import Deadline
from ...errors import StoreCorruptError, StoreUnavailableError
from ...faults import Fault
from ...observations import Observation, Signal
from ...saving.end_steps import EndResult, EndSteps, LocalStream
from ...settings import Settings
from ...stores.breaker import Breaker
from ...stores.records import AppendReply, Close, LostLog, Seal, Status, Terminal
from ...stores.store import StreamStore
from ...values import EventKind, Outcome, StreamRef
from ...wire.base import WireProtocol
from ..producing.stream import LiveStream
from ..producing.stream_records import new_stream_of, sealed_stream_of
from ..request import Ending
from ..viewing.log_events import LOG_LOST
from .end_events import close_open_parts, end_events, proposed_seal
from .local_stream import local_stream_of

__all__ = ["Finaliser"]

T = TypeVar("T")

RETRY_SECONDS: Final = 0.1
MAX_RETRY_SECONDS: Final = 1.0


class Finaliser:
    """Runs the steps of a stream's end. Holds no state of its own but its collaborators."""

    def __init__(
        self,
        store: StreamStore,
        breaker: Breaker,
        settings: Settings,
        *,
        observe: Callable[[Observation], None],
        end_steps: EndSteps,
        give_up: Callable[[], bool],
    ) -> None:
        self._store = store
        self._breaker = breaker
        self._settings = settings
        self._observe = observe
        self._end_steps = end_steps
        self._give_up = give_up
        """Whether retries against an unreachable store should end (the drain is over)."""

    async def finalise(self, stream: LiveStream, ending: Ending) -> None:
        """End a stream produced here. On return its viewers have their end; with an unreachable store it keeps
        retrying to write it until the drain ends.

        A record that cannot be read or written to costs this stream its log, and nobody else anything.

        Cancelling it leaves the stream to whoever finds its lease expired.
        """
        try:
            await self._finalise(stream, ending)
        except StoreCorruptError:
            await self._end_unreadable(stream, ending)

    async def _finalise(self, stream: LiveStream, ending: Ending) -> None:
        close_open_parts(stream, ending)
        stream.backlog.flush()
        if self._end_steps.have_nothing_to_do(stream.ref, stream.request.binding) and await self._sealed_and_closed(
            stream, ending
        ):
            return
        await self._flushed(stream)
        if stream.superseded:
            self._end_superseded(stream)
            return
        if stream.degraded:
            await self._end_degraded(stream, ending)
            return
        proposal = proposed_seal(stream, ending)
        deadline = self._deadline()
        status, seal = await self._seal(stream, proposal, deadline)
        if status is Status.FENCED or not stream.owned():
            stream.supersede()
            self._end_superseded(stream)
            return
        if status is None:
            await self._seal_late(stream, proposal)
            return
        if seal is None:
            stream.degrade("log_gone" if status is Status.GONE else "log_behind")
            await self._end_degraded(stream, ending)
            return
        stream.sealed(seal)
        result = await self._end_steps.finish(sealed_stream_of(stream, seal), self._local(stream))
        if not stream.owned():
            # What was left to the new owner, such as settling, is not done here. Should the store lose the takeover, a
            # close under the old epoch would pass, and nobody would do it: a sweep finds the sealed stream instead.
            self._end_superseded(stream)
            return
        close = self.closing(stream.ref, stream.protocol, stream.epoch, stream.message_id, seal, result)
        reply = await self._retry(partial(self.close, close, result), deadline=self._deadline())
        if reply is not None and reply.status is Status.NOT_SEALED and stream.owned():
            reply = await self._closed_again(stream, seal, close, result)
        if not stream.owned():  # its feed is the follower's already
            self._end_superseded(stream)
            return
        if reply is None:
            self._show_local_end(stream, Ending(seal.outcome, seal.fault), seal.held, result)
            await self._retry(partial(self.close, close, result), deadline=None)
            self._ended(stream, seal.outcome, result, seal.fault)
            return
        self._show_closed(stream, close, reply, seal.held, result)
        if stream.owned():
            self._ended(stream, seal.outcome, result, seal.fault)

    async def _sealed_and_closed(self, stream: LiveStream, ending: Ending) -> bool:
        """End a stream in one round trip, the one of its last append if there is one under way: the seal refuses where
        that failed. False where it takes the single steps."""
        await stream.backlog.wait_until_sent()
        if stream.degraded or stream.superseded:
            return False
        seal, result = proposed_seal(stream, ending), EndResult()
        close = self.closing(stream.ref, stream.protocol, stream.epoch, stream.message_id, seal, result)
        stream.log.begin_sealing()
        try:
            answer = await self._retry(partial(self._store.seal_and_close, close, seal), deadline=self._deadline())
        finally:
            stream.log.end_sealing()
        reply = None if answer is None else answer[2]
        if reply is None or reply.status is Status.NOT_SEALED or not stream.owned():
            if stream.backlog.unacked:
                stream.backlog.resubmit()  # the writer may have left it to this
            return False
        stream.sealed(seal)
        self._show_closed(stream, close, reply, seal.held, result)
        if stream.owned():
            self._ended(stream, seal.outcome, result, seal.fault)
        return True

    def closing(
        self,
        ref: StreamRef,
        protocol: WireProtocol,
        epoch: int,
        message_id: str,
        seal: Seal,
        result: EndResult,
    ) -> Close:
        """What `close` writes for a seal: the notices, the fault, the protocol's closing parts, the terminal."""
        events = end_events(protocol, seal.outcome, seal.fault, seal.held, result)
        terminal = Terminal(
            seal.outcome, result.persisted, result.quota, message_id, seal.fault, original=seal.original
        )
        settings = self._settings
        retention = (
            settings.finished_ttl_seconds if result.outbox_payload is None else settings.outbox_retention_seconds
        )
        return Close(ref, epoch, events, terminal, retention, result.outbox_payload)

    # -- steps ------------------------------------------------------------------------------------------------------

    async def close(self, close: Close, result: EndResult) -> AppendReply:
        """Close, and have what is left go on. The index entry comes first: without one nobody would find what the
        close leaves owed."""
        if close.outbox_payload is not None:
            await self._store.enqueue(close.ref, due_seconds=result.due_seconds)
        reply = await self._store.close(close)
        if reply.status in (Status.OK, Status.DUPLICATE) and result.after_close is not None:
            result.after_close()
        return reply

    async def _flushed(self, stream: LiveStream) -> None:
        """Wait until every event is acknowledged, or the stream is degraded or superseded."""
        while stream.backlog.unacked and not stream.degraded and not stream.superseded:
            await stream.feed.change()

    async def _seal(self, stream: LiveStream, proposal: Seal, deadline: Deadline) -> tuple[Status | None, Seal | None]:
        """Seal until the deadline. A None status means that the store could not be reached."""
        while True:
            answer = await self._retry(lambda: self._store.seal(stream.ref, stream.epoch, proposal), deadline=deadline)
            if answer is None:
                return None, None
            status, seal = answer
            if status is not Status.GAP:
                return status, seal
            # An older snapshot came back between the last append and the seal: append again what it lacks.
            meta = await self._retry(lambda: self._store.meta(stream.ref), deadline=deadline)
            if meta is None or not stream.backlog.rewind(meta.last_seq):
                return status, None
            stream.backlog.resubmit()
            await self._flushed(stream)
            if stream.degraded or stream.superseded:
                return status, None

    async def _closed_again(
        self, stream: LiveStream, seal: Seal, close: Close, result: EndResult
    ) -> AppendReply | None:
        """An older snapshot came back between seal and close: put back what it lacks, and close as it was decided."""
        status, standing = await self._seal(stream, seal, self._deadline())
        if status is None:
            return None
        if standing != seal:
            return AppendReply(status, 0, stop_requested=False)
        return await self._retry(partial(self.close, close, result), deadline=self._deadline())

    async def _seal_late(self, stream: LiveStream, proposal: Seal) -> None:
        """Give its viewers their end, and write it when the store is back. The log itself is whole."""
        feed, held = stream.feed, proposal.held
        ending = Ending(proposal.outcome, proposal.fault)
        # Should the store never return, the database has it. What both have is the same, or the first of it stands.
        saved = await self._end_steps.finish_unlogged(
            sealed_stream_of(stream, proposal),
            self._local(stream),
            feed.all_data() if stream.saved else (),
            after_seq=feed.base,
        )
        self._show_local_end(stream, ending, held, saved)
        answer = await self._retry(lambda: self._store.seal(stream.ref, stream.epoch, proposal), deadline=None)
        status, seal = answer or (Status.FENCED, None)
        if status is Status.FENCED:
            self._ended(stream, proposal.outcome, saved, proposal.fault)
            return
        if seal is None:  # the log is gone or behind: say so with a tombstone
            await self._tombstone(stream, ending, saved)
            return
        stream.sealed(seal)
        if saved.later is not None:
            await saved.later()
        result = await self._end_steps.finish(sealed_stream_of(stream, seal), self._local(stream))
        close = self.closing(stream.ref, stream.protocol, stream.epoch, stream.message_id, seal, result)
        await self._retry(partial(self.close, close, result), deadline=None)
        self._ended(stream, seal.outcome, result, seal.fault)

    async def _end_degraded(self, stream: LiveStream, ending: Ending) -> None:
        if ending.outcome is Outcome.COMPLETED and stream.early_end is not None:
            ending = stream.early_end
            if ending.fault is not None:
                stream.fail(ending.fault)
            close_open_parts(stream, ending)
        held = tuple(stream.encoder.held) if ending.outcome is Outcome.COMPLETED else ()
        feed = stream.feed
        seal = proposed_seal(stream, ending)
        result = await self._end_steps.finish_unlogged(
            sealed_stream_of(stream, seal),
            self._local(stream),
            feed.all_data() if stream.saved else (),
            after_seq=feed.base,
        )
        self._show_local_end(stream, ending, held, result)
        await self._tombstone(stream, ending, result)

    async def _end_unreadable(self, stream: LiveStream, ending: Ending) -> None:
        """The stream's own record came in the way of its end: end it as one without a log."""
        if stream.superseded:
            self._end_superseded(stream)
            return
        stream.degrade("record_unreadable")
        if stream.feed.ended:  # its viewers have their end already; a sweep sees to the record
            stream.disown()
            self._ended(stream, ending.outcome, EndResult(), ending.fault)
        else:
            await self._end_degraded(stream, ending)

    async def _tombstone(self, stream: LiveStream, ending: Ending, result: EndResult) -> None:
        """One terminal record with the real outcome, and nothing else, for a log that is not the whole stream."""
        if result.later is not None:
            result = replace(result, persisted=await result.later(), later=None)
        if not stream.log.disowned:
            written = result.quota

            async def lose() -> AppendReply:
                nonlocal written
                written = result.quota_now
                terminal = Terminal(
                    ending.outcome, result.persisted, written, stream.message_id, ending.fault, LOG_LOST
                )
                retention = self._settings.finished_ttl_seconds
                return await self._store.declare_lost(
                    LostLog(new_stream_of(stream), stream.epoch, 0.0, retention, terminal)
                )

            try:
                reply = await self._retry(lose, deadline=None)
                if result.quota_now is not written:  # it was settled while the record was on its way
                    await self._retry(
                        lambda: self._store.update_meta(stream.ref, quota=result.quota_now), deadline=None
                    )
            except StoreCorruptError:  # what stands there cannot be read: not this stream's to change
                stream.disown()
            else:
                if reply is not None and reply.status in (Status.FENCED, Status.SEALED):
                    stream.disown()
            result = replace(result, quota=result.quota_now)
        self._ended(stream, ending.outcome, result, ending.fault)

    def _show_local_end(self, stream: LiveStream, ending: Ending, held: Sequence[bytes], result: EndResult) -> None:
        """Give this process's viewers the stream's end, without ids: it is not in the log."""
        events = end_events(stream.protocol, ending.outcome, ending.fault, held, result)
        terminal = Terminal(ending.outcome, result.persisted, result.quota, stream.message_id, ending.fault, LOG_LOST)
        stream.end_unlogged([*events, (EventKind.TERMINAL, terminal.to_json())])

    def _show_closed(
        self, stream: LiveStream, close: Close, reply: AppendReply, held: Sequence[bytes], result: EndResult
    ) -> None:
        if reply.status in (Status.OK, Status.DUPLICATE):
            stream.end_logged([*close.events, (EventKind.TERMINAL, close.terminal.to_json())])
            return
        if reply.status is Status.FENCED:
            stream.supersede()
            self._end_superseded(stream)
            return
        # The log vanished between seal and close (erased, or the store came back empty).
        self._show_local_end(stream, Ending(close.terminal.outcome, close.terminal.fault), held, result)

    def _local(self, stream: LiveStream) -> LocalStream:
        return local_stream_of(stream, self._store, self._breaker)

    def _end_superseded(self, stream: LiveStream) -> None:
        """Its viewers go on with what the new owner writes (the runtime follows it for them)."""
        stream.finish()

    def _ended(self, stream: LiveStream, outcome: Outcome, result: EndResult, fault: Fault | None) -> None:
        self._observe(
            Observation.about(
                stream,
                Signal.STREAM_ENDED,
                fault=fault,
                fields={
                    "outcome": outcome,
                    "persisted": result.persisted,
                    "quota": result.quota,
                    "events": stream.feed.emitted,
                    "bytes": stream.feed.data_bytes,
                    "seconds": stream.activity.age_seconds,
                    "degraded": stream.degraded,
                    **({"notices_dropped": stream.notices.dropped} if stream.notices.dropped else {}),
                },
            )
        )

    # -- retrying ---------------------------------------------------------------------------------------------------

    def _deadline(self) -> Deadline:
        return Deadline.after(self._settings.append_deadline_seconds)

    async def _retry(self, step: Callable[[], Awaitable[T]], *, deadline: Deadline | None) -> T | None:
        """Repeat `step` while the store fails: until `deadline`, or without one until the drain gives up.

        Returns None when the time was up, which opens the breaker.

        Raises:
            StoreCorruptError: the stream's record cannot be read: repeating does not help.
        """
        pause = RETRY_SECONDS
        while True:
            try:
                return await step()
            except StoreUnavailableError as exc:
                self._breaker.stumbled(exc)
                error = exc
            if self._give_up() or (deadline is not None and deadline.left_seconds <= pause):
                if deadline is not None:
                    self._breaker.exhausted(error)
                return None
            await asyncio.sleep(pause)
            pause = min(pause * 2, MAX_RETRY_SECONDS)
            if deadline is None:
                await self._breaker.passed()
