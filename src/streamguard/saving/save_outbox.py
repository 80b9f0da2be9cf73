"""What becomes of an outbox entry after an attempt at what it owes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from ..errors import StoreCorruptError, StoreError
from ..faults import Fault, FaultCode
from ..observations import Observation, Signal
from ..retrying import Backoff, jittered
from ..settings import Settings
from ..stores.records import Status
from ..stores.store import StreamStore
from ..values import Persisted, QuotaState, StreamRef
from .running_saves import SHUTDOWN
from .save_result import SaveResult, SaveStatus

__all__ = ["UNSETTLED", "SaveOutbox"]

T = TypeVar("T")

RETRIES: Final = 4
BACKOFF: Final = Backoff(0.2, 1.6)
UNCOUNTED: Final = frozenset({SHUTDOWN, "paused", "store_unavailable", "newer_format"})
"""Reasons that do not count as attempts: they say nothing of the save itself."""
UNSETTLED: Final = "quota_unavailable"
"""The reason of an entry whose save is done, and whose quota is still to be settled."""
ELSEWHERE_SECONDS: Final = 10.0
"""How long an entry is left to workers that know its binding, protocol or format."""


class SaveOutbox:
    """Completes, retries or dead-letters entries.

    Every method gives up when the stream store goes on failing: the entry comes up again when it is due.
    """

    def __init__(self, store: StreamStore, settings: Settings, *, observe: Callable[[Observation], None]) -> None:
        self._store = store
        self._settings = settings
        self._observe = observe

    async def record_result(self, ref: StreamRef, message_id: str, result: SaveResult, *, attempts: int) -> None:
        """Put on record what came of an attempt, after `attempts` that failed."""
        match result.status:
            case SaveStatus.SAVED | SaveStatus.SUPERSEDED:
                if await self.complete(ref, Persisted.YES):
                    self._tell(Signal.SAVE_RECOVERED, ref, message_id, attempts)
            case SaveStatus.NOTHING:
                await self.complete(ref, Persisted.NOT_ASKED)
            case SaveStatus.ERASED:
                await self.complete(ref, Persisted.NO)
            case SaveStatus.CONFLICT | SaveStatus.FORBIDDEN:
                if await self.complete(ref, Persisted.NO):
                    self._tell_lost(ref, message_id, result)
            case SaveStatus.REFUSED if await self._may_still_settle(ref, attempts):
                await self.retry_later(ref, UNSETTLED, attempts=attempts)
            case SaveStatus.REFUSED:
                await self.dead_letter(ref, message_id, result, attempts=attempts)
            case _ if result.reason in UNCOUNTED:
                await self.retry_later(ref, result.reason, attempts=max(attempts, 2), count=False)
            case _ if attempts + 1 >= self._settings.max_outbox_attempts:
                await self.dead_letter(ref, message_id, result, attempts=attempts + 1)
            case _:
                await self.retry_later(ref, result.reason, attempts=attempts)

    def _tell_lost(self, ref: StreamRef, message_id: str, result: SaveResult) -> None:
        """A reply that was owed is not saved, and is owed no longer: nobody was told of that yet."""
        conflict = result.status is SaveStatus.CONFLICT
        fault = Fault.of(
            FaultCode.SAVE_CONFLICT if conflict else FaultCode.PERSISTENCE_FAILED,
            retryable=False,
            reason=result.reason,
            session_id=ref.key.session_id,
            stream_id=ref.stream_id,
            message_id=message_id,
        )
        self._observe(Observation(Signal.FAULT, ref=ref, message_id=message_id, fault=fault, error=result.error))

    async def complete(self, ref: StreamRef, persisted: Persisted) -> bool:
        """No save is owed any more. Returns whether that is on record. The entry stays while a settlement is owed."""
        retention = self._settings.finished_ttl_seconds
        meta = await self._attempt(lambda: self._store.meta(ref))
        if meta is not None and meta.quota is QuotaState.PENDING:
            marked = await self._attempt(lambda: self._store.update_meta(ref, persisted=persisted))
            await self.retry_later(ref, UNSETTLED)
            return marked is Status.OK
        status = await self._attempt(
            lambda: self._store.complete(ref, persisted=persisted, retention_seconds=retention)
        )
        return status is Status.OK

    async def _may_still_settle(self, ref: StreamRef, attempts: int) -> bool:
        """Whether a settlement is owed too, and has attempts left: a dead letter would keep it from being made."""
        if attempts + 1 >= self._settings.max_outbox_attempts:
            return False
        meta = await self._attempt(lambda: self._store.meta(ref))
        return meta is not None and meta.quota is QuotaState.PENDING

    async def retry_later(self, ref: StreamRef, reason: str | None, *, attempts: int = 0, count: bool = True) -> None:
        """Try again later; the pause grows with the attempts."""
        settings = self._settings
        if reason == SHUTDOWN:
            due = 0.0
        else:
            longest = settings.outbox_max_retry_seconds
            due = Backoff(min(settings.outbox_retry_seconds, longest), longest).pause_seconds(attempts + 1)
        await self._attempt(
            lambda: self._store.retry_later(
                ref,
                due_seconds=due,
                reason=reason or "failed",
                ttl_seconds=settings.outbox_retention_seconds,
                count=count,
            )
        )

    async def release_claim(self, ref: StreamRef, message_id: str, reason: str, *, attempts: int) -> SaveResult:
        """Leave an entry to a worker that knows its binding, protocol or format, and give it up when none
        came for `unknown_binding_seconds`. Returns what that makes of the attempt."""
        settings = self._settings
        due = jittered(ELSEWHERE_SECONDS)
        left = await self._attempt(lambda: self._store.release_claim(ref, due_seconds=due, reason=reason))
        # A record is kept for so long from its stream's end, and leaving it does not keep it longer.
        patience = min(settings.unknown_binding_seconds, settings.outbox_retention_seconds / 2)
        if left is not None and left >= patience:
            await self.dead_letter(ref, message_id, SaveResult(SaveStatus.REFUSED, reason), attempts=attempts)
        return SaveResult(SaveStatus.FAILED, reason)

    async def dead_letter(
        self,
        ref: StreamRef,
        message_id: str | None,
        result: SaveResult,
        *,
        attempts: int,
        code: FaultCode = FaultCode.PERSISTENCE_FAILED,
    ) -> None:
        """Give up: an operator may look at it, and requeue it."""
        reason = result.reason or "failed"
        status = await self._attempt(
            lambda: self._store.dead_letter(ref, reason=reason, ttl_seconds=self._settings.outbox_retention_seconds)
        )
        if status is Status.OK:
            fault = Fault.of(
                code,
                retryable=False,
                reason=reason,
                session_id=ref.key.session_id,
                stream_id=ref.stream_id,
                message_id=message_id,
            )
            self._tell(Signal.SAVE_BURIED, ref, message_id, attempts, fault=fault, error=result.error, reason=reason)

    def _tell(
        self,
        signal: Signal,
        ref: StreamRef,
        message_id: str | None,
        attempts: int,
        *,
        fault: Fault | None = None,
        error: BaseException | None = None,
        reason: str | None = None,
    ) -> None:
        fields: dict[str, str | int | float | bool | None] = {"attempts": attempts}
        if reason is not None:
            fields["reason"] = reason
        self._observe(Observation(signal, ref=ref, message_id=message_id, fault=fault, error=error, fields=fields))

    async def _attempt(self, step: Callable[[], Awaitable[T]]) -> T | None:
        """What the stream store answers to a step, which is repeated a few times; None when it fails."""
        retries = BACKOFF.retries(most=RETRIES)
        while True:
            try:
                return await step()
            except StoreCorruptError:  # of this one record: asking again does not help
                return None
            except StoreError:
                if not await retries.pause():
                    return None
