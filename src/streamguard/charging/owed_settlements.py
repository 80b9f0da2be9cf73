"""The settlements that outbox entries owe."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..errors import QuotaError
from ..faults import FaultCode
from ..observations import Observation, Signal
from ..saving.outbox_payload import NewerPayloadError
from ..saving.save_outbox import UNSETTLED, SaveOutbox
from ..saving.save_result import SaveResult, SaveStatus
from ..settings import Settings
from ..stores.records import OutboxEntry, StreamMeta
from ..stores.store import StreamStore
from ..values import Persisted, QuotaState
from .outbox_payload import read_settlement
from .settler import Settler
from .terms import QuotaBindings, said_nothing

__all__ = ["OwedSettlements"]


class OwedSettlements:
    """Settles what closed streams owe."""

    def __init__(
        self,
        store: StreamStore,
        settler: Settler,
        terms: QuotaBindings,
        settings: Settings,
        outbox: SaveOutbox,
        *,
        observe: Callable[[Observation], None],
    ) -> None:
        self._store = store
        self._settler = settler
        self._terms = terms
        self._settings = settings
        self._outbox = outbox
        self._observe = observe

    async def settle(self, entry: OutboxEntry, meta: StreamMeta) -> SaveResult | None:
        """Settle what a closed stream owes, and put on record what came of it. None when its save is due now.

        Raises:
            StoreError: the stream store failed; the claim runs out.
        """
        try:
            work = read_settlement(entry.payload)
        except NewerPayloadError:
            return await self._outbox.release_claim(entry.ref, meta.message_id, "newer_format", attempts=entry.attempts)
        except ValueError as exc:
            damaged = SaveResult(SaveStatus.REFUSED, "payload_unreadable", exc)
            await self._outbox.dead_letter(entry.ref, meta.message_id, damaged, attempts=entry.attempts)
            return damaged
        if not work.settles or meta.quota is not QuotaState.PENDING:
            return None if work.saves and _is_unsaved(meta, work.settles) else await self._complete(entry, None)
        charge, seal, terms = work.charge, meta.seal, self._terms.terms_of(meta.binding)
        state: QuotaState | None = QuotaState.NONE
        error: BaseException | None = None
        begun = time.monotonic()
        if charge is None and terms is not None and seal is not None:
            charge = terms.charge(seal, said_nothing=said_nothing(seal))
        if charge is not None:
            if not self._settler.has_service:
                return await self._outbox.release_claim(entry.ref, meta.message_id, "no_quota", attempts=entry.attempts)
            attempt = await self._settler.attempt(entry.ref, charge)
            state, error, _ = attempt
            if state is not None:
                seconds = time.monotonic() - begun
                self._settler.report(meta, meta.binding, charge, attempt, seconds=seconds)
        saves = work.saves and _is_unsaved(meta, True)
        if state is not None:
            if charge is not None:
                self._observe(Observation.about(meta, Signal.SETTLEMENT_RECOVERED))
            if not saves:
                return await self._complete(entry, state)
            await self._store.update_meta(entry.ref, quota=state)
            return None
        if saves:
            return None  # the entry stays until this is settled too, whatever comes of the save
        failed = SaveResult(SaveStatus.FAILED, UNSETTLED, error)
        if isinstance(error, QuotaError) and not error.retryable:
            failed = SaveResult(SaveStatus.REFUSED, "quota_refused", error)
        if failed.status is SaveStatus.REFUSED or entry.attempts + 1 >= self._settings.max_outbox_attempts:
            code = FaultCode.QUOTA_RELEASE_FAILED
            await self._outbox.dead_letter(entry.ref, meta.message_id, failed, attempts=entry.attempts + 1, code=code)
        else:
            await self._outbox.retry_later(entry.ref, failed.reason, attempts=entry.attempts)
        return failed

    async def _complete(self, entry: OutboxEntry, state: QuotaState | None) -> SaveResult:
        await self._store.complete(entry.ref, quota=state, retention_seconds=self._settings.finished_ttl_seconds)
        return SaveResult(SaveStatus.NOTHING, "settled")


def _is_unsaved(meta: StreamMeta, also_settles: bool) -> bool:
    """Whether a save that is owed is still to be made. An entry of nothing else stands for itself."""
    return not also_settles or meta.persisted in (Persisted.PENDING, Persisted.NO)
