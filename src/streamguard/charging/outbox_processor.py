"""Working off outbox entries: each owes a save, the settlement of a quota, or both."""

from __future__ import annotations

from ..errors import StoreCorruptError, StoreFormatError
from ..saving.bindings import Bindings
from ..saving.save_outbox import SaveOutbox
from ..saving.save_result import SaveResult, SaveStatus
from ..saving.service import Saving
from ..stores.records import OutboxEntry
from ..stores.store import StreamStore
from .settlements import Settlements

__all__ = ["OutboxProcessor"]


class OutboxProcessor:
    """Settles, then saves what the outbox entries of closed streams owe."""

    def __init__(
        self, store: StreamStore, bindings: Bindings, saving: Saving, settlements: Settlements, outbox: SaveOutbox
    ) -> None:
        self._store = store
        self._bindings = bindings
        self._saving = saving
        self._settlements = settlements
        self._outbox = outbox

    async def process(self, owed: OutboxEntry) -> SaveResult:
        """Make an attempt at what an entry owes, and put on record what came of it, which it also returns.

        An entry whose record cannot be read becomes a dead letter; a later version's is left to its workers.

        Raises:
            StoreUnavailableError: the stream store failed; the claim runs out.
        """
        try:
            return await self._process(owed)
        except StoreFormatError:
            return SaveResult(SaveStatus.FAILED, "newer_format")
        except StoreCorruptError as exc:
            unreadable = SaveResult(SaveStatus.REFUSED, "record_unreadable", exc)
            await self._outbox.dead_letter(owed.ref, None, unreadable, attempts=owed.attempts)
            return unreadable

    async def _process(self, owed: OutboxEntry) -> SaveResult:
        meta = await self._store.meta(owed.ref)
        if meta is None or meta.seal is None:
            return SaveResult(SaveStatus.FAILED, "gone")
        if not self._bindings.knows(meta.binding):
            return await self._outbox.release_claim(
                owed.ref, meta.message_id, "unknown_binding", attempts=owed.attempts
            )
        settled = await self._settlements.settle_owed(owed, meta)
        return await self._saving.save_owed(owed, meta, meta.seal) if settled is None else settled
