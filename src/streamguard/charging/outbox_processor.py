"""Working off outbox entries: each owes a save, the settlement of a quota, or both."""

from __future__ import annotations

from ..errors import StoreCorruptError, StoreFormatError
from ..saving.bindings import Bindings
from ..saving.save_outbox import OwedSaves
from ..saving.service import Saving
from ..saving.stream_save import SaveResult, Verdict
from ..stores.records import OutboxEntry
from ..stores.store import StreamStore
from .settlements import Settling

__all__ = ["OutboxProcessor"]


class OutboxProcessor:
    """Settles, then saves what the outbox entries of closed streams owe."""

    def __init__(
        self, store: StreamStore, bindings: Bindings, saving: Saving, settling: Settling, outbox: OwedSaves
    ) -> None:
        self._store = store
        self._bindings = bindings
        self._saving = saving
        self._settling = settling
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
            return SaveResult(Verdict.FAILED, "newer_format")
        except StoreCorruptError as exc:
            unreadable = SaveResult(Verdict.REFUSED, "record_unreadable", exc)
            await self._outbox.bury(owed.ref, None, unreadable, attempts=owed.attempts)
            return unreadable

    async def _process(self, owed: OutboxEntry) -> SaveResult:
        meta = await self._store.meta(owed.ref)
        if meta is None or meta.seal is None:
            return SaveResult(Verdict.FAILED, "gone")
        if not self._bindings.knows(meta.binding):
            return await self._outbox.leave(owed.ref, meta.message_id, "unknown_binding", attempts=owed.attempts)
        settled = await self._settling.settle_owed(owed, meta)
        return await self._saving.save_owed(owed, meta, meta.seal) if settled is None else settled
