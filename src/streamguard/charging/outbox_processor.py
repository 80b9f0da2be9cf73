"""Working off outbox entries: each owes a save, the settlement of a quota, or both."""

from __future__ import annotations

from contextlib import nullcontext

from ..contained import passes
from ..errors import StoreCorruptError, StoreError, StoreFormatError
from ..faults import Fault, FaultCode
from ..observations import Observation, Signal
from ..saving.bindings import Bindings
from ..saving.save_outbox import SaveOutbox
from ..saving.save_result import SaveResult, SaveStatus
from ..saving.service import Saving
from ..scopes import ScopedObserver, StreamContext, Work, bound, scope
from ..stores.records import OutboxEntry, Seal, StreamMeta
from ..stores.roles.stream_log import StreamLog
from .owed_settlements import OwedSettlements

__all__ = ["OutboxProcessor"]


class OutboxProcessor:
    """Settles, then saves what the outbox entries of closed streams owe."""

    def __init__(
        self,
        store: StreamLog,
        bindings: Bindings,
        saving: Saving,
        owed_settlements: OwedSettlements,
        outbox: SaveOutbox,
        *,
        observe: ScopedObserver,
    ) -> None:
        self._store = store
        self._bindings = bindings
        self._saving = saving
        self._owed_settlements = owed_settlements
        self._outbox = outbox
        self._observe = observe

    async def process(self, entry: OutboxEntry) -> SaveResult:
        """Make an attempt at what an entry owes, and put on record what came of it, which it also returns.

        An entry whose record cannot be read becomes a dead letter; a later version's is left to its workers.

        Raises:
            StoreUnavailableError: the stream store failed; the claim runs out.
        """
        meta = None
        try:
            meta = await self._store.meta(entry.ref)
            if meta is None or meta.seal is None:
                return SaveResult(SaveStatus.FAILED, "gone")
            with scope(StreamContext.about(meta, Work.OUTBOX), self._observe):
                return await self._process_of(entry, meta, meta.seal)
        except StoreFormatError:
            return SaveResult(SaveStatus.FAILED, "newer_format")
        except StoreCorruptError as exc:
            unreadable = SaveResult(SaveStatus.REFUSED, "record_unreadable", exc)
            with nullcontext() if meta is None else bound(StreamContext.about(meta, Work.OUTBOX)):
                message_id = None if meta is None else meta.message_id
                await self._outbox.dead_letter(entry.ref, message_id, unreadable, attempts=entry.attempts)
            return unreadable
        except StoreError:
            raise
        except BaseException as exc:
            if meta is None or passes(exc):
                raise
            fault = Fault.about(meta, FaultCode.INTERNAL)
            self._observe(Observation.about(meta, Signal.FAULT, fault=fault, error=exc))
            return SaveResult(SaveStatus.FAILED, "failed")

    async def _process_of(self, entry: OutboxEntry, meta: StreamMeta, seal: Seal) -> SaveResult:
        if not self._bindings.knows(meta.binding):
            return await self._outbox.release_claim(
                entry.ref, meta.message_id, "unknown_binding", attempts=entry.attempts
            )
        settled = await self._owed_settlements.settle(entry, meta)
        return await self._saving.save_owed(entry, meta, seal) if settled is None else settled
