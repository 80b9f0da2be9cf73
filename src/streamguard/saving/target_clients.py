"""The ways from one process to the places where its endpoints save."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import MessageStoreError
from ..settings import Settings
from ..stores.breaker import Breaker
from ..stores.store import StreamStore
from ..values import StreamRef
from .bindings import SaveTarget
from .session_writer import SessionWriter
from .stream_start import StreamStart
from .target_client import TargetClient

__all__ = ["TargetClients"]


class TargetClients:
    """One `TargetClient` for each message store or function, made when it is first asked for.

    `on_change` is told the error that opened the breaker of one of them, and None when it closes; `breaker` is the
    stream store's.
    """

    def __init__(
        self,
        store: StreamStore,
        settings: Settings,
        breaker: Breaker,
        *,
        on_change: Callable[[MessageStoreError | None], None],
    ) -> None:
        self._store = store
        self._settings = settings
        self._breaker = breaker
        self._on_change = on_change
        self._clients: dict[SaveTarget, TargetClient] = {}

    @property
    def paused(self) -> bool:
        """Whether a message store is not asked at present, since it failed each time of late."""
        return any(client.breaker.open for client in self._clients.values())

    def of(self, target: SaveTarget) -> TargetClient:
        """The one way from this process to a message store, for readers too."""
        client = self._clients.get(target)
        if client is None:
            client = self._clients[target] = TargetClient(target, self._settings, on_change=self._on_change)
        return client

    def writer(self, target: SaveTarget, ref: StreamRef, began: StreamStart) -> SessionWriter:
        """A writer into the session of a stream."""
        return SessionWriter(self._store, self.of(target), ref.key, began, reachable=lambda: not self._breaker.open)
