"""The end of a stream that this process took over from another worker."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol

from ...errors import StoreError
from ...faults import Fault, FaultCode
from ...observations import Observation, Signal
from ...saving.end_steps import EndSteps
from ...saving.sealed_stream import SealedStream
from ...saving.stored_replies import StoredReplies
from ...scopes import ScopedObserver, StreamContext, Work, bound, scope
from ...settings import Settings
from ...stores.log_reads import LogReads
from ...stores.records import LostLog, Seal, Status, StreamMeta, Terminal
from ...stores.store import StreamStore
from ...values import EventKind, Outcome, Persisted
from ...wire import protocol_named
from ...wire.base import WireProtocol
from ..producing.log_tally import LogTally
from ..producing.stream_records import new_stream_of_meta
from ..request import Ending
from ..viewing.log_events import LOG_LOST
from .closing import Closing
from .open_parts import NOTHING_LEFT, OpenParts
from .silence import is_silent

__all__ = ["StartTask", "Takeover", "interrupted"]


class StartTask(Protocol):
    """Starts a task in the runtime's group."""

    def __call__(
        self, run: Callable[[StreamMeta, Outcome], Awaitable[None]], meta: StreamMeta, outcome: Outcome, /
    ) -> None: ...


class Takeover:
    """Ends streams whose epoch this process has just raised. The first seal stands, whoever made it."""

    def __init__(
        self,
        store: StreamStore,
        settings: Settings,
        *,
        reads: LogReads,
        closing: Closing,
        end_steps: EndSteps,
        stored_replies: StoredReplies,
        tally: LogTally | None,
        observe: ScopedObserver,
        start: StartTask,
    ) -> None:
        self._store = store
        self._settings = settings
        self._closing = closing
        self._end_steps = end_steps
        self._stored_replies = stored_replies
        self._tally = tally
        self._observe = observe
        self._start = start
        self._open_parts = OpenParts(store, reads, settings, stored_replies, tally=tally)

    def end_soon(self, meta: StreamMeta, outcome: Outcome) -> None:
        """`end` in a task of the runtime's own."""
        with bound(StreamContext.about(meta, Work.TAKE_OVER)):
            self._start(self._end_quietly, meta, outcome)

    async def _end_quietly(self, meta: StreamMeta, outcome: Outcome) -> None:
        with suppress(StoreError):  # its lease runs out again, and a sweep finds it
            await self.end(meta, outcome)

    async def end(self, meta: StreamMeta, outcome: Outcome) -> Ending | None:
        """End the stream: as it was sealed, or else with `outcome`. Returns how it ended; None when yet another worker
        has taken it over.

        Raises:
            StoreError: the store failed; its lease runs out again, and a sweep finds it.
            ConfigurationError: its protocol is not known here.
        """
        with scope(StreamContext.about(meta, Work.TAKE_OVER), self._observe):
            return await self._end(meta, outcome)

    async def _end(self, meta: StreamMeta, outcome: Outcome) -> Ending | None:
        protocol = protocol_named(meta.protocol, meta.client_version)
        proposed = Ending(outcome, interrupted(meta) if outcome is Outcome.INTERRUPTED else None)
        ended = await (self._end_lost(meta, proposed) if meta.lost else self._end_logged(meta, protocol, proposed))
        if ended is not None:
            fields: dict[str, str | int] = {
                "binding": meta.binding,
                "protocol": meta.protocol,
                "outcome": ended.outcome,
                "seq": meta.last_seq,
                "epoch": meta.epoch,
            }
            self._observe(Observation.about(meta, Signal.ORPHAN_SETTLED, fault=ended.fault, fields=fields))
            with suppress(StoreError):  # the owner's slot expires by itself
                await self._store.release_slot(meta.ref.key.owner, meta.ref.stream_id)
        return ended

    async def _end_logged(self, meta: StreamMeta, protocol: WireProtocol, proposed: Ending) -> Ending | None:
        seal = meta.seal
        if seal is None and await self._stored_replies.is_saved_whole(meta):
            return await self._end_lost(meta, Ending(Outcome.COMPLETED, None))
        if seal is None:
            silent = await is_silent(self._store, meta, self._settings)
            left = await self._open_parts.of(meta)
            last_seq = await self._open_parts.append(meta, left.ends)
            if last_seq is None:
                return None
            proposal = Seal(proposed.outcome, last_seq, proposed.fault, meta.usage or left.usage, silent=silent)
            _, seal = await self._store.seal(meta.ref, meta.epoch, proposal)
            if seal is None or (seal != proposal and await self._is_lost(meta)):
                return None
        result = await self._end_steps.finish(SealedStream.of_meta(meta, seal), None)
        close = self._closing.close_of(meta.ref, protocol, meta.epoch, meta.message_id, seal, result)
        reply = await self._closing.carry_out(close, result)
        return Ending(seal.outcome, seal.fault) if reply.status in (Status.OK, Status.DUPLICATE) else None

    async def _is_lost(self, meta: StreamMeta) -> bool:
        """Whether yet another worker owns a stream that is sealed: the store tells every caller that seal."""
        now = await self._store.meta(meta.ref)
        return now is not None and now.epoch != meta.epoch

    async def _end_lost(self, meta: StreamMeta, proposed: Ending) -> Ending | None:
        """What was logged before the log was lost is all that anybody has of it, unless it is saved whole."""
        early = proposed.outcome is not Outcome.COMPLETED
        silent = early and await is_silent(self._store, meta, self._settings)
        # Nothing goes into such a log: what it leaves open is ended in the saved message alone.
        left = await self._open_parts.of(meta) if early else NOTHING_LEFT
        usage, ends = meta.usage or left.usage, tuple(left.ends)
        seal = Seal(proposed.outcome, meta.last_seq, proposed.fault, usage, ends, silent=silent)
        result = await self._end_steps.finish_unlogged(
            SealedStream.of_meta(meta, seal), None, (), after_seq=meta.last_seq
        )
        persisted = Persisted.NO if result.persisted is Persisted.PENDING else result.persisted
        terminal = Terminal(proposed.outcome, persisted, result.quota, meta.message_id, proposed.fault, LOG_LOST)
        reply = await self._store.declare_lost(
            LostLog(new_stream_of_meta(meta), meta.epoch, 0.0, self._settings.finished_ttl_seconds, terminal)
        )
        if reply.status not in (Status.OK, Status.DUPLICATE):
            return None
        if self._tally is not None:
            self._tally.ended([(EventKind.TERMINAL, terminal.to_json())])
        if result.after_close is not None:
            result.after_close()
        if result.quota_now is not result.quota:
            await self._store.update_meta(meta.ref, quota=result.quota_now)
        return proposed


def interrupted(meta: StreamMeta) -> Fault:
    """What viewers of a stream whose writer died are told."""
    return Fault.about(meta, FaultCode.INTERRUPTED, reason="writer_lost")
