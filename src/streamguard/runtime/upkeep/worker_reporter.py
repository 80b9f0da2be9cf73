"""Tells the store every few seconds how this worker is, for `streamguard ps`."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib import metadata
from typing import Final

from ...deadlines import LoopClock
from ...distribution import DISTRIBUTION
from ...errors import StoreError
from ...observations import Observation, Signal
from ...settings import Settings
from ...stores.breaker import Breaker
from ...stores.roles.worker_reports import WorkerReports
from ...values import Outcome
from ..producing.stream import LiveStream
from .health import Health

__all__ = ["WorkerCounters", "WorkerReporter"]

KEEP_SECONDS: Final = 600.0
"""How long a worker that died is still shown."""
MAX_KINDS: Final = 24
"""How many results of resumes are told apart; others count as `other`."""
MAX_REASONS: Final = 8
MAX_TEXT: Final = 64


def _version() -> str:
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:  # run from its source
        return "unknown"


VERSION: Final = _version()
HOST: Final = socket.gethostname()[:MAX_TEXT]
"""Both read once, at import: not on an event loop."""


class WorkerCounters:
    """Counts what a process did since its start. An observer; of ended streams it is told by itself, so that each of
    them makes no observation for it."""

    signals: Final = frozenset({Signal.STREAM_RESUMED, Signal.RESUME_EMPTY, Signal.RESUME_REFUSED, Signal.FAULT})

    def __init__(self) -> None:
        self.events: int = 0
        """Of streams that ended."""
        self.ends: Counter[str] = Counter()
        """By outcome."""
        self.resumes: Counter[str] = Counter()
        """By result and reason: `resumed`, `empty:finished`, `refused:cursor_ahead`."""
        self.faults: int = 0

    def ended(self, outcome: Outcome, events: int) -> None:
        """A stream of this process ended."""
        self.events += events
        self.ends[str(outcome)] += 1

    def __call__(self, observation: Observation, /) -> None:
        fields = observation.fields
        match observation.name:
            case Signal.STREAM_RESUMED:
                self._resume("resumed")
            case Signal.RESUME_EMPTY:
                self._resume(f"empty:{fields.get('reason')}")
            case Signal.RESUME_REFUSED:
                fault = observation.fault
                self._resume(f"refused:{'unknown' if fault is None else fault.reason or fault.code}")
            case _:
                self.faults += 1

    def _resume(self, kind: str) -> None:
        kind = kind[:MAX_TEXT]
        self.resumes[kind if kind in self.resumes or len(self.resumes) < MAX_KINDS else "other"] += 1


class WorkerReporter:
    """Reports every `heartbeat_seconds`. Nothing waits for a report, and a store that fails only misses some."""

    def __init__(
        self,
        store: WorkerReports,
        breaker: Breaker,
        settings: Settings,
        clock: LoopClock,
        worker: str,
        *,
        streams: Callable[[], Iterable[LiveStream]],
        health: Callable[[], Health],
        counters: WorkerCounters,
    ) -> None:
        self._store = store
        self._breaker = breaker
        self._seconds = settings.heartbeat_seconds
        self._clock = clock
        self._streams = streams
        self._health = health
        self._counters = counters
        self._worker = worker
        self._began = time.monotonic()
        self._stalled = clock.stalled_seconds

    async def run(self) -> None:
        """Report until cancelled."""
        late = 0.0
        while True:
            if not self._breaker.open:
                with suppress(StoreError):  # the breaker is told by callers that need the store
                    await self._store.report_worker(self._worker, self.report(late), keep_seconds=KEEP_SECONDS)
            due = time.monotonic() + self._seconds
            await asyncio.sleep(self._seconds)
            late = max(0.0, time.monotonic() - due)

    async def leave(self) -> None:
        """Take the last report away: this worker ends in good order."""
        if not self._breaker.open:
            with suppress(StoreError):
                await self._store.report_worker(self._worker, b"", keep_seconds=KEEP_SECONDS)

    def report(self, late_seconds: float = 0.0) -> bytes:
        """What this worker says of itself, as JSON; about half a kilobyte. Documented in `docs/reference/cli.md`."""
        stalled, self._stalled = self._stalled, self._clock.stalled_seconds
        health, counters = self._health(), self._counters
        report = {
            "v": 1,
            "host": HOST,
            "pid": os.getpid(),
            "version": VERSION,
            "up_seconds": round(time.monotonic() - self._began, 1),
            "interval_seconds": self._seconds,
            "loop_lag_seconds": round(max(late_seconds, self._stalled - stalled), 3),
            "streams": health.streams,
            "viewers": health.viewers,
            "degraded": health.degraded_streams,
            "ready": health.ready,
            "draining": health.draining,
            "breaker": "open" if self._breaker.open else "closed",
            "reasons": [reason[:MAX_TEXT] for reason in health.reasons[:MAX_REASONS]],
            "events": counters.events + sum(stream.acked for stream in self._streams()),
            "ends": dict(counters.ends),
            "resumes": dict(counters.resumes),
            "faults": counters.faults,
        }
        return json.dumps(report, separators=(",", ":")).encode()
