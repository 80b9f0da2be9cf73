"""What kept a writer's commits out of the log, for whoever is told that a log was given up."""

from __future__ import annotations

import math

from ...errors import StoreUnavailableError
from ...unavailable import UnavailableReason, reason_of

__all__ = ["Trouble"]


class Trouble:
    """The last failure of a commit. It keeps no exception: the frames of one hold the streams of its commit."""

    def __init__(self) -> None:
        self._at = -math.inf
        self._text = ""
        self._reason = UnavailableReason.OTHER

    def remember(self, error: StoreUnavailableError, now: float) -> None:
        """A commit failed `now`."""
        self._at, self._text, self._reason = now, str(error), reason_of(error)

    def since(self, at: float, silence: str) -> StoreUnavailableError:
        """The error for events that have waited since then and whose time is up: what failed last in that time. If
        nothing did, the store was silent, and the error's text is `silence`."""
        if self._at >= at:
            return StoreUnavailableError(self._text, operation="append", reason=self._reason)
        return StoreUnavailableError(silence, operation="append", reason=UnavailableReason.TIMEOUT)
