"""The sessions whose pending requests were stopped, in memory.

Pure: no clock is read. `now` is on the store's clock.
"""

from __future__ import annotations

from ...values import SessionKey
from .expiring import ExpiringTable

__all__ = ["Stops"]


class Stops:
    """The marks of one store, by owner."""

    def __init__(self) -> None:
        self._marks: ExpiringTable[str, dict[str, tuple[float, float]]] = ExpiringTable()
        """Per owner and session: when it was stopped, and until when that stands. The latest is the last."""

    def mark(self, key: SessionKey, now: float, *, seconds: float, limit: int) -> None:
        """See `StreamRegistry.stop_pending_requests`."""
        marks = self._standing(key.owner, now)
        marks.pop(key.session_id, None)
        marks[key.session_id] = now, now + seconds
        by_end = sorted(marks, key=lambda session_id: marks[session_id][1])
        for session_id in by_end[: max(0, len(marks) - limit)]:
            del marks[session_id]
        self._keep(key.owner, marks)

    def concern(self, key: SessionKey, now: float, *, arrived: float) -> bool:
        """Whether an answer whose request arrived then is to be stopped. A mark that is older than the request is
        removed."""
        marks = self._standing(key.owner, now)
        if key.session_id not in marks:
            return False
        stopped, _ = marks[key.session_id]
        if arrived < stopped:
            return True
        del marks[key.session_id]
        self._keep(key.owner, marks)
        return False

    def forget(self, key: SessionKey, now: float) -> None:
        """Remove a session's mark, if there is one."""
        marks = self._standing(key.owner, now)
        if marks.pop(key.session_id, None) is not None:
            self._keep(key.owner, marks)

    def expire(self, now: float) -> None:
        """Forget marks whose time is over."""
        self._marks.expire(now)

    def _standing(self, owner: str, now: float) -> dict[str, tuple[float, float]]:
        marks = self._marks.get(owner, now) or {}
        return {session_id: mark for session_id, mark in marks.items() if mark[1] > now}

    def _keep(self, owner: str, marks: dict[str, tuple[float, float]]) -> None:
        if marks:
            self._marks.put(owner, marks, max(until for _, until in marks.values()))
        else:
            self._marks.remove(owner)
