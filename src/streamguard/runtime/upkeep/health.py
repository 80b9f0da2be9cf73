"""What a process knows of its own health."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ...settings import Settings
from ..assembly import Assembly
from ..ending.drain import Drain
from ..producing.live_streams import LiveStreams
from .tasks import Tasks

__all__ = ["Health", "HealthCheck", "Steady"]


@dataclass(frozen=True, slots=True)
class Health:
    """What the process knows of itself."""

    ready: bool
    """The store can be used and new streams are admitted."""
    reasons: tuple[str, ...]
    """What is wrong at the moment."""
    steady: tuple[str, ...]
    """What is wrong, or was a moment ago: it does not flap."""
    streams: int
    viewers: int
    degraded_streams: int
    draining: bool


class Steady:
    """Goes on giving a reason for `seconds` after it was given last."""

    def __init__(self, seconds: float, *, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._until: dict[str, float] = {}

    def reasons(self, reasons: Iterable[str]) -> tuple[str, ...]:
        """`reasons`, and those that were given a moment ago."""
        now = self._clock()
        self._until = {reason: until for reason, until in self._until.items() if until > now}
        present = dict.fromkeys(reasons)
        self._until |= dict.fromkeys(present, now + self._seconds)
        return tuple({**present, **self._until})


class HealthCheck:
    """Looks at the parts of a runtime, also before it is entered and after it was left."""

    def __init__(self, settings: Settings, streams: LiveStreams, tasks: Tasks, drain: Drain) -> None:
        self._settings = settings
        self._streams = streams
        self._tasks = tasks
        self._drain = drain
        self._concerns: list[Callable[[], Iterable[str]]] = []

    def begin(self, parts: Assembly) -> None:
        """The runtime is entered: these are its parts."""
        self._parts = parts
        self._steady = Steady(self._settings.health_settle_seconds, clock=parts.clock.loop.time)

    def explain(self, concerns: Callable[[], Iterable[str]]) -> None:
        """Give these reasons too. None of them makes the process unready."""
        self._concerns.append(concerns)

    def look(self) -> Health:
        """What the process knows of itself. Never waits."""
        running, draining = self._tasks.running, self._drain.begun
        reasons = self._reasons_of(self._parts) if running else ["not_started"]
        if draining:
            reasons.append("draining")
        degraded = sum(1 for stream in self._streams.values() if stream.degraded)
        if degraded:
            reasons.append("degraded_streams")
        reasons += [f"task_restarted:{name}" for name in sorted(self._tasks.crashes)]
        if running:
            reasons += [reason for concerns in self._concerns for reason in concerns()]
        return Health(
            ready=running and not draining and not self._parts.readiness.reasons,
            reasons=tuple(reasons),
            steady=self._steady.reasons(reasons) if running else tuple(reasons),
            streams=len(self._streams),
            viewers=len(self._parts.viewer_registry.viewers) if running else 0,
            degraded_streams=degraded,
            draining=draining,
        )

    def _reasons_of(self, parts: Assembly) -> list[str]:
        """What is wrong with the stores, as the running parts know it."""
        reasons = list(parts.readiness.reasons)
        if not reasons and parts.saving.paused:
            reasons.append("messages_unreachable")
        if parts.reservations.failing:
            reasons.append("quota_unreachable")
        return reasons
