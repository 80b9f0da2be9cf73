"""What the message stores have of replies whose streams this process takes over, or shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..errors import MessageStoreError, StoreError
from ..messages import Role
from ..settings import Settings
from ..stores.log_reads import LogReads
from ..stores.records import StreamMeta
from ..stores.store import StreamStore
from ..values import message_id_of
from ..wire import UIMessage
from ..wire.folding import Json
from .attempts import Attempts
from .bindings import Bindings
from .folding import LogUnreadableError, PayloadSource, fold_stream
from .sealed_stream import SealedStream
from .session_writer import SessionWriter, ui_message_of
from .stream_start import StreamStart
from .target_clients import TargetClients

__all__ = ["StoredReplies", "visible_seconds"]


def visible_seconds(settings: Settings, *, taken_over: bool) -> float:
    """How long a stream's end waits for its message store: less than a lease for a stream that was taken over, whose
    lease nobody renews."""
    visible = settings.save_visible_seconds
    return min(visible, settings.lease_seconds / 3) if taken_over else visible


class StoredReplies:
    """Reads stored replies, without waiting long for them."""

    def __init__(
        self,
        store: StreamStore,
        bindings: Bindings,
        settings: Settings,
        clients: TargetClients,
        *,
        reads: LogReads,
    ) -> None:
        self._store = store
        self._reads = reads
        self._bindings = bindings
        self._settings = settings
        self._clients = clients

    async def is_saved_whole(self, meta: StreamMeta) -> bool:
        """Whether a stream that is not sealed was saved to its end all the same: then it ended, and the stream store
        lost that. False where it cannot be told soon."""
        session = self._session(meta)
        return session is not None and await session.has_whole(meta, self._attempts())

    async def parts_before(self, meta: StreamMeta) -> Sequence[Mapping[str, Json]]:
        """The parts of the message that a stream continues, as they were before it. Empty where it continues no
        message, or it cannot be told soon."""
        session, attempts = self._session(meta), self._attempts()
        if session is None:
            return ()
        try:
            if await attempts(lambda: self._store.previous(meta.ref, meta.message_id)) is None:
                return ()
            stored = await session.get(meta.message_id, attempts)
        except (MessageStoreError, StoreError):
            return ()
        return () if stored is None else stored.message.parts

    async def message_before(self, meta: StreamMeta) -> UIMessage | None:
        """The message that a stream continues, as it was before the stream. None where it continues no message, or it
        cannot be told soon.

        Reads nothing for a stream that began its message, as its ids show unless the host chose the message's. Else, no
        more of the message store than the message itself. Of a stream that is saved already, its log is read too: the
        stored message ends with what the stream added.
        """
        if meta.message_id == message_id_of(meta.ref.stream_id):
            return None
        session, attempts = self._session(meta), self._attempts()
        if session is None:
            return None
        try:
            stored = await session.get(meta.message_id, attempts)
            if stored is None or stored.message.role is not Role.ASSISTANT:
                return None
            message = ui_message_of(stored.message)
            if meta.ref.stream_id not in stored.streams:
                return message
            if stored.streams[0] == meta.ref.stream_id:
                return None
            added = await self._added(meta, attempts)
        except (MessageStoreError, StoreError, LogUnreadableError):
            return None
        return None if added is None else _without_end(message, added)

    async def _added(self, meta: StreamMeta, attempts: Attempts) -> UIMessage | None:
        """What a stream that is saved says by itself; None where its record does not have its end."""
        seal = meta.seal
        if seal is None:  # the record was read before the end
            ended = await attempts(lambda: self._store.meta(meta.ref))
            seal = None if ended is None else ended.seal
        if seal is None:
            return None
        source = PayloadSource(meta.ref, seal.last_seq)
        return await fold_stream(self._reads, SealedStream.of_meta(meta, seal), source, attempts)

    def _session(self, meta: StreamMeta) -> SessionWriter | None:
        target = self._bindings.target_of(meta.binding)
        return None if target is None else self._clients.writer(target, meta.ref, StreamStart.of_meta(meta))

    def _attempts(self) -> Attempts:
        return Attempts(visible_seconds(self._settings, taken_over=True), retries=False)


def _without_end(message: UIMessage, added: UIMessage) -> UIMessage | None:
    """`message` without the parts that a stream added to its end; None where it does not end with them.

    A data part may have replaced an earlier one of its id: it stays where that was.
    """
    parts = list(message.parts)
    for part in reversed(added.parts):
        if parts and parts[-1] == part:
            parts.pop()
        elif part not in parts or not str(part.get("type")).startswith("data-"):
            return None
    return replace(message, parts=tuple(parts))
