"""What the message stores have of streams that this process takes over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..errors import MessageStoreError, StoreError
from ..settings import Settings
from ..stores.records import StreamMeta
from ..stores.roles.stream_registry import StreamRegistry
from ..wire.folding import Json
from .attempts import Attempts
from .bindings import Bindings
from .session_writer import SessionWriter
from .stream_start import StreamStart
from .target_clients import TargetClients

__all__ = ["StoredReplies", "visible_seconds"]


def visible_seconds(settings: Settings, *, taken_over: bool) -> float:
    """How long a stream's end waits for its message store: less than a lease for a stream that was taken over, whose
    lease nobody renews."""
    visible = settings.save_visible_seconds
    return min(visible, settings.lease_seconds / 3) if taken_over else visible


class StoredReplies:
    """Reads the stored replies of streams whose worker is gone."""

    def __init__(self, store: StreamRegistry, bindings: Bindings, settings: Settings, clients: TargetClients) -> None:
        self._store = store
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

    def _session(self, meta: StreamMeta) -> SessionWriter | None:
        target = self._bindings.target_of(meta.binding)
        return None if target is None else self._clients.writer(target, meta.ref, StreamStart.of_meta(meta))

    def _attempts(self) -> Attempts:
        return Attempts(visible_seconds(self._settings, taken_over=True), retries=False)
