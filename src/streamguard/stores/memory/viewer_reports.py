"""What `MemoryStore` knows of viewers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from ...values import StreamRef, StreamState
from ..roles.viewer_reports import ViewerReports
from .tables import MemoryTables

__all__ = ["MemoryViewerReports"]


class MemoryViewerReports(ViewerReports):
    """The last report of each worker."""

    def __init__(self, tables: MemoryTables) -> None:
        self._tables = tables
        self._viewers: dict[str, tuple[float, Mapping[str, int]]] = {}
        """Per worker how many view which stream, and until when that stands."""

    async def report_viewers(self, worker: str, viewers: Mapping[str, int], *, seconds: float) -> None:
        with self._tables.lock:
            now = self._tables.begin()
            self._viewers[worker] = now + seconds if viewers else now, dict(viewers)
            self._viewers = {name: said for name, said in self._viewers.items() if said[0] > now}

    async def viewer_counts(self) -> Mapping[str, int]:
        with self._tables.lock:
            now = self._tables.begin()
            found: Counter[str] = Counter()
            for until, said in self._viewers.values():
                if until > now:
                    found.update(said)
            return dict(found)

    async def note_viewed(self, refs: Sequence[StreamRef]) -> None:
        with self._tables.lock:
            now = self._tables.begin()
            for ref in refs:
                stream = self._tables.find(ref)
                if stream is not None and stream.state is StreamState.OPEN:
                    stream.viewed_at = now
