"""Tells the store how many viewers each stream has in this process, for operators."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

from ...errors import StoreError
from ...settings import Settings
from ...stores.store import StreamStore
from .viewer import Viewer

__all__ = ["ViewerReports"]

REPORTS: Final = 3.0
"""A report stands for the time of so many reports: two may fail, and a dead worker's viewers are soon forgotten."""


class ViewerReports:
    """Reports every `heartbeat_seconds`, while there are viewers. No event, viewer or request waits for a report."""

    def __init__(
        self, store: StreamStore, settings: Settings, worker: str, *, viewers: Callable[[], Iterable[Viewer]]
    ) -> None:
        self._store = store
        self._seconds = settings.heartbeat_seconds
        self._viewers = viewers
        self._worker = worker

    async def run(self) -> None:
        """Report until cancelled."""
        reported = False  # whether the store's last report names viewers
        while True:
            await asyncio.sleep(self._seconds)
            counts = Counter(viewer.ref.stream_id for viewer in self._viewers())
            if counts or reported:
                try:
                    await self._store.report_viewers(self._worker, counts, seconds=self._seconds * REPORTS)
                except StoreError:  # the breaker is told by callers that need the store
                    continue
                reported = bool(counts)
