"""What a store promises about stops that come before the answer they mean, checked on what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field

from streamguard.stores.registrations import Registered
from streamguard.values import SessionKey

from .outbox_promises import PromiseBrokenError

__all__ = ["StopPromises"]


@dataclass
class StopPromises:
    """Which sessions' coming answers are stopped, as far as the steps so far say. No mark expires in an example."""

    _marked: dict[str, list[SessionKey]] = field(default_factory=dict)
    """By owner, the latest last."""

    def marked(self, key: SessionKey, answer: bool, *, limit: int, runs: bool) -> None:
        """`stop_pending_requests` was answered; `runs` when the session has a stream that is not sealed."""
        if answer is runs:
            raise PromiseBrokenError("stop", f"{answer} for a session of which a stream runs: {runs}")
        if answer:
            marks = self._marked.setdefault(key.owner, [])
            if key in marks:
                marks.remove(key)
            marks.append(key)
            del marks[:-limit]

    def erased(self, key: SessionKey) -> None:
        """A session was erased, and a stop of its coming answers with it."""
        marks = self._marked.get(key.owner, [])
        if key in marks:
            marks.remove(key)

    def registered(self, key: SessionKey, answer: object, *, known: bool, early: bool) -> None:
        """`register` was answered; `early` when the request arrived before every stop."""
        if known or not isinstance(answer, Registered):
            return
        marks = self._marked.get(key.owner, [])
        stopped = early and key in marks
        if key in marks and not early:
            marks.remove(key)
        if answer.meta.stop_requested is not stopped:
            raise PromiseBrokenError("stop", f"registered as stopped: {not stopped}")
