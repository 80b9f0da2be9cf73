"""How many events of one kind may be sent: an outage has thousands of faults, and one of them says it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ...locks import step_lock

if TYPE_CHECKING:
    from sentry_sdk.types import Event

__all__ = ["PER_FINGERPRINT", "Cap"]

WINDOW_SECONDS: Final = 60.0
PER_FINGERPRINT: Final = 10
"""Faults of one fingerprint in one window."""
PER_WINDOW: Final = 200
"""Events of all fingerprints together in one window."""
REMEMBERED_KINDS: Final = 256


@dataclass
class _Window:
    """What became of one fingerprint since a moment."""

    begun: float
    sent: int = 0
    left_out: int = 0
    sample: Event | None = None
    """One of those that were left out, to be sent with their number."""


class Cap:
    """Counts per fingerprint. What was left out in a window is told of, by one event, when the window is over. Threads
    may use it at once, as guards in several event loops do that share an observer."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = step_lock()
        """Held while anything below changes."""
        self._windows: OrderedDict[tuple[str, ...], _Window] = OrderedDict()
        self._all = _Window(clock())
        self._due_at = float("inf")
        """When the first window with something to tell is over."""

    def admits(self, kind: tuple[str, ...], sample: Callable[[], Event], *, most: int = PER_FINGERPRINT) -> bool:
        """Whether one more of this kind may be sent now; if not, it is counted, and `sample` is asked for one."""
        now = self._clock()
        with self._lock:
            if now - self._all.begun >= WINDOW_SECONDS:
                self._all = _Window(now)
            window = self._windows.get(kind)
            if window is None or (now - window.begun >= WINDOW_SECONDS and not window.left_out):
                window = self._windows[kind] = _Window(now)
                self._windows.move_to_end(kind)
                if len(self._windows) > REMEMBERED_KINDS:
                    self._windows.popitem(last=False)
            if window.sent < most and self._all.sent < PER_WINDOW:
                window.sent += 1
                self._all.sent += 1
                return True
            window.left_out += 1
            if window.sample is None:
                window.sample = sample()
                self._due_at = min(self._due_at, window.begun + WINDOW_SECONDS)
            return False

    def due(self, *, all_of_them: bool = False) -> Sequence[Event]:
        """Events that say how many others were left out: of windows that are over, or of all at a process's end. Each
        is given once."""
        now = self._clock()
        if not all_of_them and now < self._due_at:
            return ()
        told: list[Event] = []
        with self._lock:
            self._due_at = float("inf")
            for kind, window in list(self._windows.items()):
                event = window.sample
                if event is None:
                    continue
                if all_of_them or now - window.begun >= WINDOW_SECONDS:
                    del self._windows[kind]
                    event["contexts"]["streamguard"] = {**event["contexts"]["streamguard"], "left_out": window.left_out}
                    told.append(event)
                else:
                    self._due_at = min(self._due_at, window.begun + WINDOW_SECONDS)
        return told
