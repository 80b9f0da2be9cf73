"""`MemoryStore`: the stream store of one process, and the executable specification of the contract.

No method awaits anything between its first and last line, and each holds one lock there, so each is one step for all
event loops that share a store. The rules of one record stand in `entries`; `tables` keeps the records and forgets them;
one module per role has the steps and tells subscribers.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ..composed import ComposedStore, Roles
from .inspection import MemoryInspection
from .outbox import MemoryOutbox
from .request_claims import MemoryRequestClaims
from .stream_log import MemoryLog
from .stream_registry import MemoryRegistry
from .stream_writes import MemoryWrites
from .subscribers import Subscribers
from .tables import MemoryTables
from .viewer_reports import MemoryViewerReports
from .work_sharing import MemoryWorkSharing
from .worker_reports import MemoryWorkerReports

__all__ = ["MemoryStore"]


class MemoryStore(ComposedStore):
    """Keeps streams in this process's memory. Event loops of several threads may share a store.

    Args:
        max_bytes: What all logs together may take, in bytes of payload plus a flat cost per event and stream. Past
            it, the streams that finished first are forgotten; running ones and those with work owed never are. A dead
            letter counts as finished.
        clock: Seconds on any monotonic scale; leases and TTLs are measured on it.
        wall_us: Microseconds since 1970; stamps and epochs are made of it. It may jump.
    """

    shared = False

    def __init__(
        self,
        *,
        max_bytes: int = 268_435_456,
        clock: Callable[[], float] = time.monotonic,
        wall_us: Callable[[], int] = lambda: time.time_ns() // 1_000,
    ) -> None:
        self._tables = tables = MemoryTables(max_bytes=max_bytes, clock=clock, wall_us=wall_us)
        subscribers = Subscribers(tables.lock)
        super().__init__(
            Roles(
                log=MemoryLog(tables, subscribers),
                registry=MemoryRegistry(tables, subscribers),
                writes=MemoryWrites(tables, subscribers),
                outbox=MemoryOutbox(tables),
                claims=MemoryRequestClaims(tables),
                sharing=MemoryWorkSharing(tables),
                viewers=MemoryViewerReports(tables),
                workers=MemoryWorkerReports(tables),
                inspection=MemoryInspection(tables),
            )
        )
