"""A session's saved messages, as its page reads them back, and their erasure."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final, TypeVar

from starlette.requests import Request

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
from ...messages import MessageStatus, MessageStore, Role, StoredMessage
from ...runtime.versions import NEWER_FORMAT, UNREADABLE
from ...saving.user_message_writer import RESULTS_SUFFIX
from ...stores.records import StreamMeta
from ...values import MAX_SEQ, Outcome, Persisted, SessionKey
from ..guard_context import GuardContext

__all__ = ["Page", "SavedMessages", "page_of"]

T = TypeVar("T")

DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 500
READ_SECONDS: Final = 10.0
"""How long a database may take to answer a page, or to erase a session, before it counts as failed."""
RETRY_AFTER_SECONDS: Final = 2
NOTHING_THERE: Final = (MessageNotFoundError, MessageForbiddenError, MessageInvalidError)
"""A session that is not there, is somebody else's, or could not be there: one as the other to whoever asks."""


@dataclass(frozen=True, slots=True)
class Page:
    """Which messages a request asks for: up to `limit` past position `after`; those of old `branches` too?"""

    after: int
    limit: int
    branches: bool


def page_of(request: Request) -> Page:
    """What `?after=`, `?limit=` and `?branches=` say.

    Raises:
        FaultError: `request_invalid`.
    """
    return Page(
        _number(request, "after", default=0, lowest=0, highest=MAX_SEQ),
        _number(request, "limit", default=DEFAULT_LIMIT, lowest=1, highest=MAX_LIMIT),
        _number(request, "branches", default=0, lowest=0, highest=1) == 1,
    )


class SavedMessages:
    """The message stores of a guard, as the routes need them.

    A session is expected in one store: that of the endpoint that answered it last, or else the first that knows it.
    """

    def __init__(self, context: GuardContext) -> None:
        self._bindings = context.endpoints.bindings
        self._context = context

    @property
    def readable(self) -> bool:
        """Whether there is a store to read from."""
        return bool(self._bindings.stores)

    async def read(self, key: SessionKey, page: Page, last: StreamMeta | None) -> dict[str, object]:
        """The route's document, with the reply of the session's `last` stream if that is not saved yet.

        Raises:
            FaultError: `not_found` when no message store is configured; `store_unavailable` when it fails.
        """
        stores = self._bindings.stores
        if not stores:
            raise FaultError(Fault.of(FaultCode.NOT_FOUND, reason="no_message_store", session_id=key.session_id))
        store = await self._store_of(key, stores, last)
        step = partial(store.list, key, after=page.after, limit=page.limit + 1, branches=page.branches)
        found = await self._asked(key, store, "list", step) or []
        shown = found[: page.limit]
        entries = [_entry(stored) | (_branch_of(stored) if page.branches else {}) for stored in shown]
        more = len(found) > page.limit
        if last is not None and last.persisted in (Persisted.PENDING, Persisted.NO):
            await self._add_unsaved(key, store, last, shown, entries, after=page.after, more=more)
        following = shown[-1].position if more else None
        ordered = entries if page.branches else _as_said(entries)
        return {"session_id": key.session_id, "messages": ordered, "next": following}

    async def erase(self, key: SessionKey) -> None:
        """Delete the session in every message store; after its erasure in the stream store, which refuses late saves.

        Raises:
            FaultError: `store_unavailable`: one failed. The others were asked all the same; it is safe to ask again.
        """
        failed: FaultError | None = None
        for store in self._bindings.stores:
            try:
                await self._asked(key, store, "delete_session", partial(store.delete_session, key))
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
                if await self._asked(key, store, "list", partial(store.list, key, limit=1)):
                    return store
        return stores[0]

    async def _add_unsaved(
        self,
        key: SessionKey,
        store: MessageStore,
        last: StreamMeta,
        shown: Sequence[StoredMessage],
        entries: list[dict[str, object]],
        *,
        after: int,
        more: bool,
    ) -> None:
        """Say of the last reply that it is not saved: on its entry, or, past all others, with one of its own.

        Without parts: the stream has them and replays them, and a client that had them already would show them twice.
        """
        for stored, entry in zip(shown, entries, strict=True):
            if stored.message.message_id == last.message_id:
                entry |= _not_yet(stored, last)
                return
        if more:
            return
        found = await self._asked(key, store, "get", partial(store.get, key, last.message_id, branches=True))
        if found is None:
            entries.append(_unsaved(last))
        elif found.superseded is None and found.position > (shown[-1].position if shown else after):
            # It was saved a moment ago.
            entries.append(_entry(found) | _not_yet(found, last))

    async def _asked(
        self, key: SessionKey, store: MessageStore, operation: str, step: Callable[[], Awaitable[T]]
    ) -> T | None:
        """What a store answers; None for what is not there. On the way that saves take, with its bounds and breaker.

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
    """The fault's reason when the store answered, but with something this version cannot read; None when it failed."""
    if isinstance(error, MessageCorruptError):
        return UNREADABLE
    return NEWER_FORMAT if isinstance(error, MessageFormatError) else None


def _as_said(entries: list[dict[str, object]]) -> list[dict[str, object]]:
    """A page's entries in the order of the conversation: a reply that was saved late is last by position.

    Replies directly follow the message they answer, if that is in the page and answers none itself; everything else
    stays where it was.
    """
    asked = {entry["id"] for entry in entries if entry["replies_to"] is None}
    replies: dict[object, list[dict[str, object]]] = {}
    others: list[dict[str, object]] = []
    for entry in entries:
        answered = entry["replies_to"]
        (replies.setdefault(answered, []) if answered in asked else others).append(entry)
    return [one for entry in others for one in (entry, *replies.get(entry["id"], ()))]


def _not_yet(stored: StoredMessage, last: StreamMeta) -> dict[str, object]:
    """What an entry has to say of a message that `last` continues, if that is not saved."""
    return {} if last.ref.stream_id in stored.streams else {"persisted": last.persisted}


def _entry(stored: StoredMessage) -> dict[str, object]:
    message = stored.message
    entry: dict[str, object] = {"id": message.message_id, "role": message.role, "parts": list(message.parts)}
    if message.metadata is not None:
        entry["metadata"] = message.metadata
    return entry | {
        "status": stored.status,
        "persisted": Persisted.YES,
        "outcome": message.outcome,
        "stream_id": message.stream_id and message.stream_id.removesuffix(RESULTS_SUFFIX),
        "replies_to": message.replies_to,
        "position": stored.position,
        "created_at": _time(stored.created_at),
        "updated_at": _time(stored.updated_at),
        "usage": message.usage,
    }


def _branch_of(stored: StoredMessage) -> dict[str, object]:
    """Which branch an entry was stored in, and which one superseded it."""
    return {"branch": stored.message.branch, "superseded_by": stored.superseded}


def _unsaved(meta: StreamMeta) -> dict[str, object]:
    outcome = None if meta.seal is None else meta.seal.outcome
    usage = None if meta.seal is None else meta.seal.usage
    at = _time(meta.created_at)
    return {
        "id": meta.message_id,
        "role": Role.ASSISTANT,
        "parts": [],
        "status": MessageStatus.COMPLETE if outcome is Outcome.COMPLETED else MessageStatus.PARTIAL,
        "persisted": meta.persisted,
        "outcome": outcome,
        "stream_id": meta.ref.stream_id,
        "replies_to": None,
        "position": None,
        "created_at": at,
        "updated_at": at,
        "usage": {} if usage is None else usage.amounts,
    }


def _number(request: Request, name: str, *, default: int, lowest: int, highest: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= len(str(highest)) else -1
    if not lowest <= number <= highest:
        raise FaultError(
            Fault.of(
                FaultCode.REQUEST_INVALID,
                message=f"{name} is a number from {lowest} to {highest}.",
                reason=f"{name}_invalid",
            )
        )
    return number


def _time(unix_seconds: float) -> str:
    """RFC 3339 in UTC with milliseconds, like every time on the wire."""
    return datetime.fromtimestamp(unix_seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
