"""The reconciler as a cron monitor: check-ins while it works, silence when it does not."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal

from ...observations import Observation, Signal

if TYPE_CHECKING:
    from sentry_sdk.client import BaseClient

__all__ = ["MINUTE", "MONITOR_SLUG", "CheckIns"]

MONITOR_SLUG: Final = "streamguard-reconciler"
MINUTE: Final = 60.0
"""Sentry's schedules know no shorter interval, and its servers drop more than a few check-ins of one monitor per
minute (https://docs.sentry.io/product/crons/getting-started/#rate-limits)."""
MARGIN_MINUTES: Final = 2

Status = Literal["in_progress", "ok", "error"]


class CheckIns:
    """Sends the check-ins of one process: a pair a minute at most, however often it sweeps, and a failure at once.

    Workers that share the work share the monitor, and the first of them checks in: when it dies, the next one does as
    soon as its place is free, within a lease; check-ins are missed when the last of them is gone. One that dies in the
    middle of a round leaves its check-in without an end, which Sentry reports as a timeout.
    """

    def __init__(self, slug: str, clock: Callable[[], float], *, every_seconds: float, gap_seconds: float) -> None:
        self._slug = slug
        self._clock = clock
        self._gap = gap_seconds
        self._sent_at = self._failed_at = -math.inf
        self._open: str | None = None
        self.config: dict[str, Any] = {
            "schedule": {"type": "interval", "value": max(1, math.ceil(every_seconds / MINUTE)), "unit": "minute"},
            "checkin_margin": MARGIN_MINUTES,
            "max_runtime": max(5, 2 * math.ceil(every_seconds / MINUTE)),
            "failure_issue_threshold": 2,
            "recovery_threshold": 1,
        }

    def __call__(self, observation: Observation, client: BaseClient) -> None:
        """Send what the observation asks for."""
        if observation.fields.get("leads") is False:  # another worker's check-ins speak for all
            self._open = None
            return
        now = self._clock()
        if observation.name is Signal.RECONCILE_STARTED:
            if now - self._sent_at >= self._gap:
                self._sent_at, self._open = now, uuid.uuid4().hex
                self._send(client, self._open, "in_progress", None)
            return
        failed = observation.fields.get("outcome") == "failed"
        alarm = failed and now - self._failed_at >= self._gap
        check_in_id, self._open = self._open, None
        if check_in_id is None and not alarm:
            return
        if failed:
            self._failed_at = now
        seconds = observation.fields.get("seconds")
        duration = float(seconds) if isinstance(seconds, (int, float)) else None
        self._send(client, check_in_id or uuid.uuid4().hex, "error" if failed else "ok", duration)

    def _send(self, client: BaseClient, check_in_id: str, status: Status, duration: float | None) -> None:
        client.capture_event(
            {
                "type": "check_in",
                "monitor_slug": self._slug,
                "check_in_id": check_in_id,
                "status": status,
                "duration": duration,
                "environment": client.options.get("environment"),
                "release": client.options.get("release"),
                "monitor_config": self.config,
            }
        )
