"""Measures this process for those observers that ask: what it wrote, what it has under way, how late its loop is."""

from __future__ import annotations

import asyncio
from typing import Final

from ...charging.reservations import Reservations
from ...observations import Observation, Signal
from ...saving.service import Saving
from ...stores.breaker import Breaker
from ..drain_state import DrainState
from ..observers import Observers
from ..producing.live_streams import LiveStreams
from ..producing.log_tally import LogTally
from ..viewing.viewer_registry import ViewerRegistry

__all__ = ["Measuring"]

TELL_SECONDS: Final = 1.0
"""How often at most what was written is told."""
MEASURE_ROUNDS: Final = 5
"""Every so many of these, the process is measured."""


class Measuring:
    """Tells measurements that somebody asked for, and makes no other."""

    def __init__(
        self,
        *,
        observe: Observers,
        tally: LogTally | None,
        streams: LiveStreams,
        viewers: ViewerRegistry,
        saving: Saving,
        reservations: Reservations,
        breaker: Breaker,
        drain: DrainState,
    ) -> None:
        self._observe = observe
        self._tally = tally
        self._streams = streams
        self._viewers = viewers
        self._saving = saving
        self._reservations = reservations
        self._breaker = breaker
        self._drain = drain
        self._errors = 0
        """Errors of observers that were told already."""
        self._lag_seconds = 0.0
        """The longest delay of a timer since the process was measured last."""

    @property
    def wanted(self) -> bool:
        """Whether anybody asked for a measurement."""
        return self._observe.wants(Signal.LOG_WRITTEN) or self._observe.wants(Signal.PROCESS_MEASURED)

    async def run(self) -> None:
        """Measure until cancelled."""
        clock = asyncio.get_running_loop().time
        rounds = 0
        self.measure()  # what an earlier start of the guard left behind holds no longer
        while True:
            due = clock() + TELL_SECONDS
            await asyncio.sleep(TELL_SECONDS)
            self._lag_seconds = max(self._lag_seconds, clock() - due)
            rounds += 1
            self.tell_written()
            if rounds % MEASURE_ROUNDS == 0:
                self.measure()

    def tell(self) -> None:
        """Tell everything now: the process is about to end."""
        self.tell_written()
        self.measure()

    def tell_written(self) -> None:
        """Tell what was written since the last time, if anything was."""
        written = None if self._tally is None else self._tally.take()
        if written is not None:
            self._observe(written)

    def measure(self) -> None:
        """Tell what the process has under way."""
        if not self._observe.wants(Signal.PROCESS_MEASURED):
            return
        lag, self._lag_seconds = self._lag_seconds, 0.0
        errors, self._errors = self._observe.errors - self._errors, self._observe.errors
        backlogs = [stream.backlog for stream in self._streams.values() if not stream.degraded]
        fields: dict[str, str | int | float | bool | None] = {
            "streams": len(self._streams),
            "viewers": len(self._viewers.viewers),
            "queued_events": sum(backlog.unacked for backlog in backlogs),
            "queued_bytes": sum(backlog.pending_bytes for backlog in backlogs),
            "saves_under_way": self._saving.under_way,
            "reservations": self._reservations.count,
            "loop_lag_seconds": max(lag, 0.0),
            "breaker": "open" if self._breaker.open else "closed",
            "message_breaker": "open" if self._saving.paused else "closed",
            "draining": self._drain.begun,
            "observer_errors": errors,
        }
        self._observe(Observation(Signal.PROCESS_MEASURED, fields=fields))
