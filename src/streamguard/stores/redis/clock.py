"""The server's clock, estimated from the times in its replies: it says until when a write may still be carried out."""

from __future__ import annotations

import math
import time
from typing import Final

__all__ = ["ServerClock"]

STEP_BACK_MS: Final = 1_000
"""A reply that is this much behind what was known is no slow reply: the server's clock was set back, or it is another
server."""
KNOWN_SECONDS: Final = 60.0
"""How long a reading stands against one that is behind it: clocks drift."""


class ServerClock:
    """Estimates the server's time from the times in its replies. The estimate is behind by the way of a reply, never
    ahead: what it says is over, is over. (A server whose clock was set back, or that another has replaced, is the
    exception, until the next reply.)"""

    __slots__ = ("_heard_at", "_offset_ms")

    def __init__(self) -> None:
        self._offset_ms = -math.inf
        """The server's time less this process's, in milliseconds, when the reply with the latest time arrived."""
        self._heard_at = -math.inf

    @property
    def known(self) -> bool:
        """Whether a reply has said what the time is there."""
        return math.isfinite(self._offset_ms)

    def heard(self, server_ms: int | None) -> None:
        """A reply says that it was `server_ms` (Unix time) when the server wrote it; or it says nothing."""
        if server_ms is None:
            return
        now = time.monotonic()
        offset_ms = server_ms - now * 1000
        behind_ms = self._offset_ms - offset_ms
        if not 0 < behind_ms < STEP_BACK_MS or now - self._heard_at > KNOWN_SECONDS:
            self._offset_ms, self._heard_at = offset_ms, now

    def until(self, seconds: float) -> int | None:
        """The server's time, in whole milliseconds, in `seconds` from now; None when it is not known, or never."""
        until_ms = self._offset_ms + (time.monotonic() + seconds) * 1000
        return int(until_ms) if math.isfinite(until_ms) else None
