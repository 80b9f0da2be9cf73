"""Saving what streams said, in the steps of their end and after: once, and with the truth told about it.

A save is a task of the runtime's. The end of its stream waits for it a few seconds. What takes longer, or fails, is
owed: an outbox entry is written before the stream closes, and any worker that knows the binding saves it later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from ..errors import StoreCorruptError, StoreUnavailableError
from ..loops import StartTask
from ..messages import MessageStore
from ..scopes import Work
from ..settings import Settings
from ..stores.breaker import Breaker
from ..stores.log_reads import LogReads
from ..stores.records import OutboxEntry, Seal, StreamMeta
from ..stores.store import StreamStore
from ..values import Persisted, StreamRef
from ..wire import knows_protocol, protocol_named
from ..wire.folding import Json
from .attempts import Attempts
from .bindings import Bindings, SaveTarget
from .end_steps import EndResult, EndStep, LocalStream
from .faults import fault_of_wait
from .folding import PayloadSource
from .outbox_payload import NewerPayloadError, OutboxSave, read_payload, write_payload
from .reports import SaveReports
from .revision import Revision
from .running_saves import SHUTDOWN, RunningSave, RunningSaves
from .save_outbox import SaveOutbox
from .save_result import SaveResult, SaveStatus
from .sealed_stream import SealedStream
from .stored_replies import visible_seconds
from .stream_save import StreamSave
from .stream_start import StreamStart
from .target_client import TargetClient
from .target_clients import TargetClients
from .user_messages import UserMessages

__all__ = ["Saving"]

MARGIN_SECONDS: Final = 5.0
"""Between the time a running save may still take and the moment the outbox looks at its entry."""
LAST_SECONDS: Final = 1.0
"""What a save may take that begins when the drain is over: of a stream that hung on the stream store until then."""

_PERSISTED: Final = {
    SaveStatus.SAVED: Persisted.YES,
    SaveStatus.SUPERSEDED: Persisted.YES,
    SaveStatus.NOTHING: Persisted.NOT_ASKED,
}
"""Everything else is `NO` where nothing can be owed."""
_UNSAVED: Final = (SaveStatus.FAILED, SaveStatus.REFUSED)
"""What would be owed elsewhere."""


class Saving(EndStep):
    """The saves of one process. `start` runs a task of the runtime's; `changed` is told when one of them is over."""

    work = Work.SAVE

    def __init__(
        self,
        store: StreamStore,
        bindings: Bindings,
        settings: Settings,
        breaker: Breaker,
        clients: TargetClients,
        outbox: SaveOutbox,
        reports: SaveReports,
        *,
        reads: LogReads,
        start: StartTask,
        changed: Callable[[], None],
    ) -> None:
        self._store = store
        self._bindings = bindings
        self._settings = settings
        self._breaker = breaker
        self._clients = clients
        self._outbox = outbox
        self._reports = reports
        self._reads = reads
        self._start = start
        self._saves = RunningSaves(start=start, changed=changed, made=reports.made)

    @property
    def under_way(self) -> int:
        """How many saves this process is not done with."""
        return self._saves.under_way

    @property
    def paused(self) -> bool:
        """Whether a message store is not asked at present, since it failed each time of late."""
        return self._clients.paused

    def client(self, target: SaveTarget) -> TargetClient:
        """The one way from this process to a message store, for readers too."""
        return self._clients.of(target)

    def give_up(self) -> None:
        """Break off what is under way, for the process ends. What is owed is left to other workers, at once."""
        self._saves.give_up()

    # -- when a stream begins -----------------------------------------------------------------------------------------

    def may_forbid(self, binding: str) -> bool:
        """Whether an endpoint's message store may refuse a session: it is asked while the stream is registered."""
        target = self._bindings.target_of(binding)
        return isinstance(target, MessageStore) and target.may_forbid

    def user_messages(
        self,
        ref: StreamRef,
        message_id: str,
        *,
        binding: str,
        began: StreamStart,
        revision: Revision | None,
        on_continued: Callable[[Sequence[Mapping[str, Json]]], None],
    ) -> UserMessages | None:
        """What is written before the reply of a stream that begins; opens its session. None where nothing is saved.

        `on_continued`: see `UserMessages`.
        """
        target = self._bindings.target_of(binding)
        if target is None:
            return None
        writer = self._clients.writer(target, ref, began)
        user_messages = UserMessages(
            writer,
            ref,
            message_id,
            self._settings,
            start=self._start,
            revision=revision,
            on_continued=on_continued,
            on_failure=partial(self._reports.attempt_failed, ref, binding),
        )
        user_messages.open_soon()
        return user_messages

    # -- in a stream's end --------------------------------------------------------------------------------------------

    def has_nothing_to_do(self, ref: StreamRef, binding: str) -> bool:
        bindings = self._bindings
        return bindings.target_of(binding) is None and (bindings.knows(binding) or not bindings.any)

    async def finish(self, sealed: SealedStream, local: LocalStream | None, result: EndResult) -> EndResult:
        """Save a stream whose log is whole. Waits `save_visible_seconds` at most, or less than a lease for a stream
        that was taken over, whose lease nobody renews."""
        target = self._bindings.target_of(sealed.binding)
        if target is None:
            return self._left_to_others(sealed, result) if self._bindings.is_others(sealed.binding) else result
        running = self._begin(sealed, target, local, PayloadSource(sealed.ref, sealed.seal.last_seq))
        saved = await running.wait(visible_seconds(self._settings, taken_over=local is None))
        if saved is None:
            return replace(
                result,
                persisted=Persisted.PENDING,
                notices=(*result.notices, self._reports.waiting(sealed, running)),
                outbox_payload=_payload(running.user_messages),
                due_seconds=running.attempts.remaining_seconds + MARGIN_SECONDS,
                after_close=partial(self._record_when_over, sealed, running),
            )
        ended = self._done(sealed, running, saved, result)
        if saved.status not in (SaveStatus.FAILED, SaveStatus.REFUSED):
            return ended
        refused = saved.status is SaveStatus.REFUSED
        return replace(
            ended,
            persisted=Persisted.NO if refused else Persisted.PENDING,
            outbox_payload=_payload(running.user_messages),
            due_seconds=self._settings.outbox_retry_seconds if saved.reason != SHUTDOWN else 0.0,
            after_close=partial(self._is_owed, sealed, saved),
        )

    async def finish_unlogged(
        self,
        sealed: SealedStream,
        local: LocalStream | None,
        result: EndResult,
        payloads: Sequence[bytes],
        *,
        after_seq: int,
    ) -> EndResult:
        """Save a stream whose log is not whole, from what this process has of it. Nothing can be owed for it."""
        target = self._bindings.target_of(sealed.binding)
        if target is None:
            return result
        if local is None and sealed.whole:  # as `is_saved_whole` found
            return replace(result, persisted=Persisted.YES)
        if local is not None and await local.disowned():
            superseded = SaveResult(SaveStatus.CONFLICT, "superseded")
            notices = self._reports.over(sealed, local.user_messages, superseded)
            return replace(result, persisted=Persisted.NO, notices=(*result.notices, *notices))
        source = PayloadSource(sealed.ref, after_seq, payloads)
        running = self._begin(sealed, target, local, source, unlogged=True)
        saved = await running.wait(visible_seconds(self._settings, taken_over=local is None))
        if saved is not None:
            return replace(self._done(sealed, running, saved, result), unsaved=saved.status in _UNSAVED)
        return replace(
            result,
            persisted=Persisted.PENDING,
            notices=(*result.notices, self._reports.waiting(sealed, running)),
            later=partial(_saved_later, running),
            after_close=partial(self._mark_when_over, sealed, running) if local is None else None,
        )

    def _left_to_others(self, sealed: SealedStream, result: EndResult) -> EndResult:
        fault = fault_of_wait(sealed, None, None)
        unknown = SaveResult(SaveStatus.FAILED, "unknown_binding")
        self._reports.fault(sealed, fault, None)
        return replace(
            result,
            persisted=Persisted.PENDING,
            notices=(*result.notices, fault),
            outbox_payload=write_payload(()),
            after_close=partial(self._is_owed, sealed, unknown),
        )

    def _done(self, sealed: SealedStream, running: RunningSave, saved: SaveResult, result: EndResult) -> EndResult:
        notices = (*result.notices, *self._reports.over(sealed, running.user_messages, saved))
        persisted = _PERSISTED.get(saved.status, Persisted.NO)
        if saved.status is not SaveStatus.SAVED:
            return replace(result, persisted=persisted, notices=notices)
        closing = protocol_named(sealed.protocol).persisted(
            sealed.message_id, stream_id=sealed.ref.stream_id, session_id=sealed.ref.key.session_id
        )
        return replace(result, persisted=persisted, notices=notices, closing=tuple(closing))

    # -- after it -----------------------------------------------------------------------------------------------------

    def _is_owed(self, sealed: SealedStream, result: SaveResult) -> None:
        """The stream is closed, its entry is in the outbox."""
        self._reports.owed(sealed, result.reason)
        if result.status is SaveStatus.REFUSED:
            self._saves.record(partial(self._outbox.record_result, sealed.ref, sealed.message_id, result, attempts=0))

    def _record_when_over(self, sealed: SealedStream, running: RunningSave) -> None:
        """The stream is closed, its entry is in the outbox, and its save goes on."""

        async def record() -> None:
            result = await running.wait()
            if result is not None:
                await self._outbox.record_result(sealed.ref, sealed.message_id, result, attempts=0)

        self._reports.owed(sealed, "running")
        self._saves.record(record)

    def _mark_when_over(self, sealed: SealedStream, running: RunningSave) -> None:
        """The stream is closed, and its save goes on, for which nothing can be owed."""

        async def mark() -> None:
            try:
                await self._store.update_meta(sealed.ref, persisted=(await _saved_later(running))[0])
            except StoreUnavailableError as exc:
                self._breaker.stumbled(exc)
            except StoreCorruptError:  # what it says of the save cannot be put right
                pass

        self._saves.record(mark)

    async def save_owed(self, owed: OutboxEntry, meta: StreamMeta, seal: Seal) -> SaveResult:
        """Make an attempt at a save that is owed, and put on record what came of it, which it also returns.

        Raises:
            StoreError: the stream store failed, or has no readable record; the claim runs out.
        """
        target = self._bindings.target_of(meta.binding)
        if target is None:
            await self._outbox.complete(owed.ref, Persisted.NOT_ASKED)
            return SaveResult(SaveStatus.NOTHING)
        if not knows_protocol(meta.protocol):
            return await self._outbox.release_claim(
                owed.ref, meta.message_id, "unknown_protocol", attempts=owed.attempts
            )
        try:
            save = read_payload(owed.payload)
        except NewerPayloadError:
            return await self._outbox.release_claim(owed.ref, meta.message_id, "newer_format", attempts=owed.attempts)
        except ValueError as exc:
            damaged = SaveResult(SaveStatus.REFUSED, "payload_unreadable", exc)
            await self._outbox.dead_letter(owed.ref, meta.message_id, damaged, attempts=owed.attempts)
            return damaged
        sealed = SealedStream.of_meta(meta, seal)
        source = PayloadSource(owed.ref, seal.last_seq)
        running = self._begin(sealed, target, None, source, owed=save, retries=False)
        result = await running.wait() or SaveResult(SaveStatus.FAILED, SHUTDOWN)
        await self._outbox.record_result(owed.ref, meta.message_id, result, attempts=owed.attempts)
        return result

    # -- a save -------------------------------------------------------------------------------------------------------

    def _begin(
        self,
        sealed: SealedStream,
        target: SaveTarget,
        local: LocalStream | None,
        source: PayloadSource,
        *,
        owed: OutboxSave | None = None,
        retries: bool = True,
        unlogged: bool = False,
    ) -> RunningSave:
        user_messages = local.user_messages if local is not None else None
        if user_messages is None:
            writer = self._clients.writer(target, sealed.ref, sealed.began)
            user_messages = UserMessages(
                writer, sealed.ref, sealed.message_id, self._settings, start=self._start, owed=owed
            )
        seconds = LAST_SECONDS if self._saves.given_up else self._settings.save_total_seconds
        save = StreamSave(
            self._store,
            self._reads,
            user_messages.session,
            sealed,
            source,
            user_messages=user_messages,
            attempts=Attempts(seconds, retries=retries, on_retry=partial(self._reports.save_retried, sealed)),
            unlogged=unlogged,
        )
        return self._saves.begin(sealed, save, user_messages)


async def _saved_later(running: RunningSave) -> tuple[Persisted, bool]:
    """What a save came to for which nothing can be owed, once it is over: `persisted` and `unsaved` of `EndResult`."""
    result = await running.wait()
    if result is None:
        return Persisted.NO, True
    return _PERSISTED.get(result.status, Persisted.NO), result.status in _UNSAVED


def _payload(user_messages: UserMessages) -> bytes:
    save = user_messages.to_outbox()
    return write_payload(
        save.user_messages,
        save.replies_to,
        branch=save.branch,
        supersession=save.supersession,
        superseding_id=save.superseding_id,
    )
