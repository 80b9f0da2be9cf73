"""The ways from one process to the places where its endpoints save."""

from __future__ import annotations

from collections.abc import Callable

from ..settings import Settings
from ..stores.breaker import Breaker
from ..stores.store import StreamStore
from ..values import StreamRef
from .bindings import Target
from .session_writer import SessionWriter
from .stream_start import Beginning
from .target_client import Saver

__all__ = ["Savers"]


class Savers:
    """One `Saver` for each message store or function, made when it is first asked for.

    `on_change` is told whether the breaker of one of them is open now; `breaker` is the stream store's.
    """

    def __init__(
        self, store: StreamStore, settings: Settings, breaker: Breaker, *, on_change: Callable[[bool], None]
    ) -> None:
        self._store = store
        self._settings = settings
        self._breaker = breaker
        self._on_change = on_change
        self._savers: dict[Target, Saver] = {}

    @property
    def paused(self) -> bool:
        """Whether a message store is not asked at present, since it failed each time of late."""
        return any(saver.breaker.open for saver in self._savers.values())

    def of(self, target: Target) -> Saver:
        """The one way from this process to a message store, for readers too."""
        saver = self._savers.get(target)
        if saver is None:
            saver = self._savers[target] = Saver(target, self._settings, on_change=self._on_change)
        return saver

    def writer(self, target: Target, ref: StreamRef, began: Beginning) -> SessionWriter:
        """A writer into the session of a stream."""
        return SessionWriter(self._store, self.of(target), ref.key, began, reachable=lambda: not self._breaker.open)
