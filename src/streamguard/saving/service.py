"""Saving what streams said, in the steps of their end and after: once, and with the truth told about it.

A save is a task of the runtime's. The end of its stream waits for it a few seconds; what takes longer, or fails, is
owed: an outbox entry is written before the stream closes, and any worker that knows the binding settles it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final

from ..errors import MessageStoreError, StoreCorruptError, StoreError, StoreFormatError, StoreUnavailableError
from ..messages import MessageStore
from ..observations import Observation
from ..runtime.ending.finishing import Finishing, Sealed, Settled
from ..runtime.producing.stream import LiveStream
from ..settings import Settings
from ..stores.base import UNTOLD, OutboxEntry, StreamMeta, StreamStore
from ..stores.breaker import Breaker
from ..stores.log_reads import LogReads
from ..values import Persisted, StreamRef
from ..wire import knows_protocol, protocol_named
from ..wire.folding import Json
from .beginning import Beginning
from .bindings import Bindings, Target
from .calls import Attempts, Saver
from .faults import fault_of_wait
from .owed import OwedSaves
from .payload import NewerPayloadError, OwedSave, read_payload, write_payload
from .reply import SaveResult, StreamSave, Verdict
from .reports import SaveReports
from .running import SHUTDOWN, RunningSave
from .session_writer import SessionWriter
from .source import Source
from .user_messages import Start, UserMessages

__all__ = ["Saving"]

MARGIN_SECONDS: Final = 5.0
"""Between the time a running save may still take and the moment the outbox looks at its entry."""
LAST_SECONDS: Final = 1.0
"""What a save may take that begins when the drain is over: of a stream that hung on the stream store until then."""

SettleQuota = Callable[[OutboxEntry, StreamMeta], Awaitable[SaveResult | None]]

_PERSISTED: Final = {
    Verdict.SAVED: Persisted.YES,
    Verdict.SUPERSEDED: Persisted.YES,
    Verdict.NOTHING: Persisted.NOT_ASKED,
}
"""Everything else is `NO` where nothing can be owed."""


class Saving(Finishing):
    """The saves of one process. `start` runs a task of the runtime's; `changed` is told when one of them is over."""

    def __init__(
        self,
        store: StreamStore,
        bindings: Bindings,
        settings: Settings,
        breaker: Breaker,
        *,
        reads: LogReads,
        observe: Callable[[Observation], None],
        start: Start,
        changed: Callable[[], None],
    ) -> None:
        self._store = store
        self._bindings = bindings
        self._settings = settings
        self._breaker = breaker
        self._reads = reads
        self._reports = SaveReports(observe)
        self._start = start
        self._changed = changed
        self.owed: OwedSaves = OwedSaves(store, settings, observe=observe)
        self._savers: dict[Target, Saver] = {}
        self._running: set[RunningSave] = set()
        self._followed = 0
        """Saves whose end is still to be put on record."""
        self._given_up = False
        self.settle_quota: SettleQuota | None = None
        """Settles what an entry owes besides; answers None where its save is to be tried now."""

    @property
    def under_way(self) -> int:
        """How many saves this process has not done with."""
        return len(self._running) + self._followed

    @property
    def paused(self) -> bool:
        """Whether a message store is not asked at present, since it failed each time of late."""
        return any(saver.breaker.open for saver in self._savers.values())

    def give_up(self) -> None:
        """Break off what is under way, for the process ends. What is owed is left to other workers, at once."""
        self._given_up = True
        for running in self._running:
            running.give_up()

    def ask(self, stream: LiveStream) -> None:
        """A stream is about to be registered: meanwhile ask its message store whether it may be, if that may refuse."""
        target = self._bindings.target_of(stream.request.binding)
        if isinstance(target, MessageStore) and target.may_forbid:
            self.prepare(stream)

    def prepare(self, stream: LiveStream) -> None:
        """A stream begins: open its session, if its messages are to be saved and that was not done."""
        target = self._bindings.target_of(stream.request.binding)
        if stream.user_messages is not None:
            stream.user_messages.began(Beginning.of_stream(stream))
        elif target is not None:
            writer = self._writer(stream.ref, Beginning.of_stream(stream), self.saver(target))
            stream.user_messages = UserMessages(
                writer,
                stream.ref,
                stream.message_id,
                self._settings,
                start=self._start,
                revision=stream.request.revision,
                answered=stream.encoder.answered,
            )
            stream.user_messages.open_soon()

    # -- in a stream's end --------------------------------------------------------------------------------------------

    def has_nothing_to_do(self, stream: LiveStream) -> bool:
        binding = stream.request.binding
        return self._bindings.target_of(binding) is None and not self._bindings.is_others(binding)

    async def is_saved_whole(self, meta: StreamMeta) -> bool:
        target = self._bindings.target_of(meta.binding)
        if target is None:
            return False
        writer = self._writer(meta.ref, Beginning.of_meta(meta), self.saver(target))
        return await writer.has_whole(meta, Attempts(self._patience(None), retries=False))

    async def continued(self, meta: StreamMeta) -> Sequence[Mapping[str, Json]]:
        target = self._bindings.target_of(meta.binding)
        if target is None:
            return ()
        attempts = Attempts(self._patience(None), retries=False)
        try:
            if await attempts(lambda: self._store.previous(meta.ref, meta.message_id)) is None:
                return ()
            writer = self._writer(meta.ref, Beginning.of_meta(meta), self.saver(target))
            stored = await writer.get(meta.message_id, attempts)
        except (MessageStoreError, StoreError):
            return ()
        return () if stored is None else stored.message.parts

    async def finish(self, sealed: Sealed, stream: LiveStream | None) -> Settled:
        """Save a stream whose log is whole. Waits `save_visible_seconds` at most, or less than a lease for a stream
        that was taken over, whose lease nobody renews."""
        target = self._bindings.target_of(sealed.binding)
        if target is None:
            return self._left_to_others(sealed) if self._bindings.is_others(sealed.binding) else Settled()
        running = self._begin(sealed, target, stream, Source(sealed.ref, sealed.seal.last_seq))
        result = await running.wait(self._patience(stream))
        if result is None:
            return self._still_running(sealed, running)
        settled = self._done(sealed, running, result)
        if result.verdict not in (Verdict.FAILED, Verdict.REFUSED):
            return settled
        refused = result.verdict is Verdict.REFUSED
        return Settled(
            persisted=Persisted.NO if refused else Persisted.PENDING,
            notices=settled.notices,
            owed=_payload(running.user_messages),
            due_seconds=self._settings.outbox_retry_seconds if result.reason != SHUTDOWN else 0.0,
            after_close=partial(self._owes, sealed, result, bury=refused),
        )

    async def finish_unlogged(
        self, sealed: Sealed, stream: LiveStream | None, payloads: Sequence[bytes], *, after_seq: int
    ) -> Settled:
        """Save a stream whose log is not whole, from what this process has of it. Nothing can be owed for it."""
        target = self._bindings.target_of(sealed.binding)
        if target is None:
            return Settled()
        if stream is None and sealed.whole:  # as `is_saved_whole` found
            return Settled(Persisted.YES)
        if stream is not None and await self.is_disowned(stream):
            superseded = SaveResult(Verdict.CONFLICT, "superseded")
            return Settled(Persisted.NO, notices=self._reports.over(sealed, stream.user_messages, superseded))
        source = Source(sealed.ref, after_seq, payloads)
        running = self._begin(sealed, target, stream, source, unlogged=True)
        result = await running.wait(self._patience(stream))
        if result is not None:
            return self._done(sealed, running, result)
        return Settled(
            Persisted.PENDING,
            notices=(self._reports.waiting(sealed, running),),
            later=partial(self._later, running),
            after_close=partial(self._mark_later, sealed, running) if stream is None else None,
        )

    def _patience(self, stream: LiveStream | None) -> float:
        visible = self._settings.save_visible_seconds
        return visible if stream is not None else min(visible, self._settings.lease_seconds / 3)

    def _left_to_others(self, sealed: Sealed) -> Settled:
        fault = fault_of_wait(sealed, None, failing=False)
        result = SaveResult(Verdict.FAILED, "unknown_binding")
        self._reports.fault(sealed, fault, result)
        return Settled(
            Persisted.PENDING,
            notices=(fault,),
            owed=write_payload(()),
            after_close=partial(self._owes, sealed, result, bury=False),
        )

    def _still_running(self, sealed: Sealed, running: RunningSave) -> Settled:
        return Settled(
            Persisted.PENDING,
            notices=(self._reports.waiting(sealed, running),),
            owed=_payload(running.user_messages),
            due_seconds=running.attempts.remaining_seconds + MARGIN_SECONDS,
            after_close=partial(self._follow, sealed, running),
        )

    def _done(self, sealed: Sealed, running: RunningSave, result: SaveResult) -> Settled:
        notices = self._reports.over(sealed, running.user_messages, result)
        persisted = _PERSISTED.get(result.verdict, Persisted.NO)
        if result.verdict is not Verdict.SAVED:
            return Settled(persisted, notices=notices)
        closing = protocol_named(sealed.protocol).persisted(
            sealed.message_id, stream_id=sealed.ref.stream_id, session_id=sealed.ref.key.session_id
        )
        return Settled(persisted, notices=notices, closing=tuple(closing))

    async def is_disowned(self, stream: LiveStream) -> bool:
        """Whether another worker owns a stream that this one could not log, as far as anybody says."""
        if not stream.disowned and not self._breaker.open:
            try:
                meta = await self._store.meta(stream.ref)
            except StoreError:
                return False
            if meta is not None:
                stream.disowned = meta.taken if stream.epoch == UNTOLD else meta.epoch != stream.epoch
        return stream.disowned

    # -- after it -----------------------------------------------------------------------------------------------------

    def _owes(self, sealed: Sealed, result: SaveResult, *, bury: bool) -> None:
        """The stream is closed, its entry is in the outbox."""
        self._reports.owed(sealed, result.reason)
        if bury:
            self._followed += 1
            self._start(partial(self._concluded, sealed, result))

    def _follow(self, sealed: Sealed, running: RunningSave) -> None:
        self._reports.owed(sealed, "running")
        self._followed += 1
        self._start(partial(self._concluded, sealed, running))

    async def _concluded(self, sealed: Sealed, what: RunningSave | SaveResult) -> None:
        """Put on record what came of a save after its stream was closed."""
        try:
            result = what if isinstance(what, SaveResult) else await what.wait()
            if result is not None:
                await self.owed.conclude(sealed.ref, sealed.message_id, result, attempts=0)
        finally:
            self._followed -= 1
            self._changed()

    async def _later(self, running: RunningSave) -> Persisted:
        result = await running.wait()
        return Persisted.NO if result is None else _PERSISTED.get(result.verdict, Persisted.NO)

    def _mark_later(self, sealed: Sealed, running: RunningSave) -> None:
        self._followed += 1
        self._start(partial(self._marked, sealed, running))

    async def _marked(self, sealed: Sealed, running: RunningSave) -> None:
        try:
            persisted = await self._later(running)
            await self._store.update_meta(sealed.ref, persisted=persisted)
        except StoreUnavailableError as exc:
            self._breaker.stumbled(exc)
        except StoreCorruptError:  # what it says of the save cannot be put right
            pass
        finally:
            self._followed -= 1
            self._changed()

    async def settle_owed(self, owed: OutboxEntry) -> SaveResult:
        """Make an attempt at a save that is owed, and put on record what came of it, which it also returns.

        Work whose record cannot be read becomes a dead letter; a later version's is left to its workers.

        Raises:
            StoreUnavailableError: the stream store failed; the claim runs out.
        """
        try:
            return await self._settle_owed(owed)
        except StoreFormatError:
            return SaveResult(Verdict.FAILED, "newer_format")
        except StoreCorruptError as exc:
            unreadable = SaveResult(Verdict.REFUSED, "record_unreadable", exc)
            await self.owed.bury(owed.ref, None, unreadable, attempts=owed.attempts)
            return unreadable

    async def _settle_owed(self, owed: OutboxEntry) -> SaveResult:
        meta = await self._store.meta(owed.ref)
        if meta is None or meta.seal is None:
            return SaveResult(Verdict.FAILED, "gone")
        if not self._bindings.knows(meta.binding):
            return await self._left(owed, meta, "unknown_binding")
        settled = None if self.settle_quota is None else await self.settle_quota(owed, meta)
        if settled is not None:
            return settled
        target = self._bindings.target_of(meta.binding)
        if target is None:
            await self.owed.discharge(owed.ref, Persisted.NOT_ASKED)
            return SaveResult(Verdict.NOTHING)
        if not knows_protocol(meta.protocol):
            return await self._left(owed, meta, "unknown_protocol")
        try:
            save = read_payload(owed.payload)
        except NewerPayloadError:
            return await self._left(owed, meta, "newer_format")
        except ValueError as exc:
            damaged = SaveResult(Verdict.REFUSED, "payload_unreadable", exc)
            await self.owed.bury(owed.ref, meta.message_id, damaged, attempts=owed.attempts)
            return damaged
        sealed = Sealed.of_meta(meta, meta.seal)
        source = Source(owed.ref, meta.seal.last_seq)
        running = self._begin(sealed, target, None, source, owed=save, retries=False)
        result = await running.wait() or SaveResult(Verdict.FAILED, SHUTDOWN)
        await self.owed.conclude(owed.ref, meta.message_id, result, attempts=owed.attempts)
        return result

    async def _left(self, owed: OutboxEntry, meta: StreamMeta, reason: str) -> SaveResult:
        await self.owed.leave(owed.ref, meta.message_id, reason, attempts=owed.attempts)
        return SaveResult(Verdict.FAILED, reason)

    # -- a save -------------------------------------------------------------------------------------------------------

    def _begin(
        self,
        sealed: Sealed,
        target: Target,
        stream: LiveStream | None,
        source: Source,
        *,
        owed: OwedSave | None = None,
        retries: bool = True,
        unlogged: bool = False,
    ) -> RunningSave:
        saver = self.saver(target)
        user_messages = stream.user_messages if stream is not None else None
        if user_messages is None:
            writer = self._writer(sealed.ref, sealed.began, saver)
            user_messages = UserMessages(
                writer, sealed.ref, sealed.message_id, self._settings, start=self._start, owed=owed
            )
        save = StreamSave(
            self._store,
            self._reads,
            user_messages.writer,
            sealed,
            source,
            user_messages=user_messages,
            attempts=Attempts(LAST_SECONDS if self._given_up else self._settings.save_total_seconds, retries=retries),
            unlogged=unlogged,
        )
        running = RunningSave(save, user_messages)
        self._running.add(running)
        self._start(partial(self._run, sealed, running))
        return running

    async def _run(self, sealed: Sealed, running: RunningSave) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            await running.run()
        finally:
            self._running.discard(running)
            self._changed()
        self._reports.made(sealed, running, loop.time() - begun)

    def _writer(self, ref: StreamRef, began: Beginning, saver: Saver) -> SessionWriter:
        return SessionWriter(self._store, saver, ref.key, began, reachable=lambda: not self._breaker.open)

    def saver(self, target: Target) -> Saver:
        """The one way from this process to a message store, for whoever reads from it too."""
        saver = self._savers.get(target)
        if saver is None:
            saver = self._savers[target] = Saver(target, self._settings, on_change=self._reports.breaker_changed)
        return saver


def _payload(user_messages: UserMessages) -> bytes:
    owed = user_messages.owes()
    return write_payload(
        owed.user_messages, owed.replies_to, branch=owed.branch, revising=owed.revising, revised=owed.revised
    )
