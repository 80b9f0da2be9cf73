"""Reads and erases a session's messages in the message stores of a guard."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, TypeVar

from ...deadlines import Deadline
from ...errors import (
    FaultError,
    MessageCorruptError,
    MessageForbiddenError,
    MessageFormatError,
    MessageInvalidError,
    MessageNotFoundError,
    MessageStoreError,
)
from ...faults import Fault, FaultCode, Phase
from ...messages import MessageStore, StoredMessage
from ...runtime.versions import NEWER_FORMAT, UNREADABLE
from ...stores.records import StreamMeta
from ...values import Persisted, SessionKey
from ..guard_context import GuardContext
from .message_entries import Entry, branch_fields, entry_of, in_conversation_order, persisted_field, unsaved_entry
from .message_page import MessagePage

__all__ = ["SavedMessages"]

T = TypeVar("T")

READ_SECONDS: Final = 10.0
"""How long a database may take to answer a page, or to erase a session, before it counts as failed."""
RETRY_AFTER_SECONDS: Final = 2
NOTHING_THERE: Final = (MessageNotFoundError, MessageForbiddenError, MessageInvalidError)
"""There is no such session, it is another owner's, or no store could have it: clients get the same answer for each."""


class SavedMessages:
    """The message stores of a guard, as the routes need them.

    Each session is in one store: that of the endpoint that answered it last, or else the first that knows it.
    """

    def __init__(self, context: GuardContext) -> None:
        self._bindings = context.endpoints.bindings
        self._context = context

    @property
    def readable(self) -> bool:
        """Whether there is a store to read from."""
        return bool(self._bindings.stores)

    async def read(self, key: SessionKey, page: MessagePage, last: StreamMeta | None) -> dict[str, object]:
        """The route's document, with the reply of the session's `last` stream if that is not saved yet.

        Raises:
            FaultError: `not_found` when no message store is configured; `store_unavailable` when it fails.
        """
        stores = self._bindings.stores
        if not stores:
            raise FaultError(Fault.of(FaultCode.NOT_FOUND, reason="no_message_store", session_id=key.session_id))
        store = await self._store_of(key, stores, last)
        step = partial(store.list, key, after=page.after, limit=page.limit + 1, branches=page.branches)
        found = await self._call(key, store, "list", step) or []
        shown = found[: page.limit]
        entries = [entry_of(stored) | (branch_fields(stored) if page.branches else {}) for stored in shown]
        more = len(found) > page.limit
        if last is not None and last.persisted in (Persisted.PENDING, Persisted.NO):
            await self._add_unsaved(key, store, last, shown, entries, after=page.after, more=more)
        following = shown[-1].position if more else None
        ordered = entries if page.branches else in_conversation_order(entries)
        return {"session_id": key.session_id, "messages": ordered, "next": following}

    async def erase(self, key: SessionKey) -> None:
        """Delete the session in every message store, after it was erased in the stream store, which refuses late saves.

        Raises:
            FaultError: `store_unavailable`: one store failed. The others were called all the same; a retry is safe.
        """
        failed: FaultError | None = None
        for store in self._bindings.stores:
            try:
                await self._call(key, store, "delete_session", partial(store.delete_session, key))
            except FaultError as exc:
                failed = exc
        if failed is not None:
            raise failed

    async def _store_of(self, key: SessionKey, stores: Sequence[MessageStore], last: StreamMeta | None) -> MessageStore:
        if len(stores) > 1:
            target = None if last is None else self._bindings.target_of(last.binding)
            if isinstance(target, MessageStore):
                return target
            for store in stores:
                if await self._call(key, store, "list", partial(store.list, key, limit=1)):
                    return store
        return stores[0]

    async def _add_unsaved(
        self,
        key: SessionKey,
        store: MessageStore,
        last: StreamMeta,
        shown: Sequence[StoredMessage],
        entries: list[Entry],
        *,
        after: int,
        more: bool,
    ) -> None:
        """Mark the last reply as not saved: in its entry, or in one of its own after all others.

        That entry has no parts: the stream replays them, and a client that has them would show them twice.
        """
        for stored, entry in zip(shown, entries, strict=True):
            if stored.message.message_id == last.message_id:
                entry |= persisted_field(stored, last)
                return
        if more:
            return
        found = await self._call(key, store, "get", partial(store.get, key, last.message_id, branches=True))
        if found is None:
            entries.append(unsaved_entry(last))
        elif found.superseded is None and found.position > (shown[-1].position if shown else after):
            # It was saved a moment ago.
            entries.append(entry_of(found) | persisted_field(found, last))

    async def _call(
        self, key: SessionKey, store: MessageStore, operation: str, step: Callable[[], Awaitable[T]]
    ) -> T | None:
        """What a store answers; None for what is not there. Calls go through the store's saver and its breaker.

        Raises:
            FaultError: the store failed.
        """
        deadline = Deadline.after(READ_SECONDS)
        try:
            return await self._context.runtime.saving.client(store).call(operation, step, deadline=deadline)
        except MessageStoreError as exc:
            if isinstance(exc, NOTHING_THERE) and not isinstance(exc, MessageCorruptError):
                return None
            raise FaultError(
                Fault.of(
                    FaultCode.STORE_UNAVAILABLE,
                    phase=Phase.PERSISTENCE,
                    reason=_reason_of(exc),
                    retry_after_seconds=RETRY_AFTER_SECONDS,
                    session_id=key.session_id,
                )
            ) from exc


def _reason_of(error: MessageStoreError) -> str | None:
    """The fault's reason if the store answered with something that this version cannot read; None if it failed."""
    if isinstance(error, MessageCorruptError):
        return UNREADABLE
    return NEWER_FORMAT if isinstance(error, MessageFormatError) else None
