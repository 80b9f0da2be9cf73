"""What a process knows of its own health."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ...charging.reservations import Reservations
from ...deadlines import LoopClock
from ...saving.service import Saving
from ...settings import Settings
from ...unavailable import UnavailableReason
from ..drain_state import DrainState
from ..producing.live_streams import LiveStreams
from ..viewing.viewer_registry import ViewerRegistry
from .readiness import Readiness
from .tasks import Tasks

__all__ = ["Health", "HealthCheck", "RecentReasons"]


@dataclass(frozen=True, slots=True)
class Health:
    """What a process knows of its own health."""

    ready: bool
    """The store can be used and new streams are admitted."""
    reasons: tuple[str, ...]
    """What is wrong now."""
    steady: tuple[str, ...]
    """What is wrong now or was a moment ago, so that it does not flap."""
    streams: int
    viewers: int
    degraded_streams: int
    draining: bool
    store_reason: UnavailableReason | None = None
    """Why the store is unreachable, if it is and somebody knows."""


class RecentReasons:
    """Remembers each reason for `seconds` after it was last given."""

    def __init__(self, seconds: float, *, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._until: dict[str, float] = {}

    def add(self, reasons: Iterable[str]) -> tuple[str, ...]:
        """Returns `reasons`, and those that were given a moment ago."""
        now = self._clock()
        self._until = {reason: until for reason, until in self._until.items() if until > now}
        present = dict.fromkeys(reasons)
        self._until |= dict.fromkeys(present, now + self._seconds)
        return tuple({**present, **self._until})


class HealthCheck:
    """Gathers what the parts of a runtime know. Works before the runtime is entered and after it was left too."""

    def __init__(
        self,
        settings: Settings,
        clock: LoopClock,
        *,
        tasks: Tasks,
        drain: DrainState,
        streams: LiveStreams,
        viewers: ViewerRegistry,
        readiness: Readiness,
        saving: Saving,
        reservations: Reservations,
    ) -> None:
        self._tasks = tasks
        self._drain = drain
        self._streams = streams
        self._viewers = viewers
        self._readiness = readiness
        self._saving = saving
        self._reservations = reservations
        self._recent = RecentReasons(settings.health_settle_seconds, clock=clock.loop.time)
        self._further: list[Callable[[], Iterable[str]]] = []

    def add_source(self, reasons: Callable[[], Iterable[str]]) -> None:
        """Give the reasons of `reasons` too. They do not make the process unready."""
        self._further.append(reasons)

    def check(self) -> Health:
        """The process's health now. Never waits."""
        running, draining = self._tasks.running, self._drain.begun
        reasons = self._store_reasons() if running else ["not_started"]
        if draining:
            reasons.append("draining")
        degraded = sum(1 for stream in self._streams.values() if stream.degraded)
        if degraded:
            reasons.append("degraded_streams")
        reasons += [f"task_restarted:{name}" for name in sorted(self._tasks.crashes)]
        if running:
            reasons += [reason for further in self._further for reason in further()]
        return Health(
            ready=running and not draining and not self._readiness.reasons,
            reasons=tuple(reasons),
            steady=self._recent.add(reasons) if running else tuple(reasons),
            streams=len(self._streams),
            viewers=len(self._viewers.viewers) if running else 0,
            degraded_streams=degraded,
            draining=draining,
            store_reason=self._readiness.why if running else None,
        )

    def _store_reasons(self) -> list[str]:
        reasons = list(self._readiness.reasons)
        if not reasons and self._saving.paused:
            reasons.append("messages_unreachable")
        if self._reservations.failing:
            reasons.append("quota_unreachable")
        return reasons
