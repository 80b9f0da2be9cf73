"""Lines that are alike: a store that is away fails a thousand streams, and a hundred lines say it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ..locks import step_lock

__all__ = ["LeftOut", "Repeats"]

WINDOW_SECONDS: Final = 60.0
REMEMBERED_KINDS: Final = 256
"""Kinds that are counted, the latest; what was left out of an older one is told of before it is forgotten."""
_ALIKE: Final = ("code", "reason", "error", "error_reason")


@dataclass
class LeftOut:
    """What became of lines of one kind since the first of them."""

    repeated: str
    level: int
    begun: float
    alike: Mapping[str, object]
    logged: int = 0
    count: int = 0
    seconds: float = field(default=0.0, init=False)

    def fields(self) -> dict[str, object]:
        """What is logged in place of those that were left out."""
        return {"repeated": self.repeated, **self.alike, "count": self.count, "seconds": round(self.seconds, 3)}


class Repeats:
    """Counts per kind of line and minute. Threads may use it at once, as guards in several event loops do that share an
    observer.

    Args:
        most: how many lines of one kind are logged in a minute.
        clock: seconds that never go back.
    """

    def __init__(self, most: int, clock: Callable[[], float]) -> None:
        self._most = most
        self._clock = clock
        self._lock = step_lock()
        """Held while anything below changes."""
        self._kinds: OrderedDict[tuple[object, ...], LeftOut] = OrderedDict()
        self._over: list[LeftOut] = []
        """Forgotten, and still to be told of."""
        self._due_at = float("inf")
        self.waiting: bool = False
        """Whether lines were left out that are still to be told of. An attribute, since it is asked for so often."""

    def admits(self, event: str, level: int, fields: Mapping[str, object]) -> bool:
        """Whether one more line of its kind may be logged now; if not, it is counted."""
        now = self._clock()
        alike = {name: fields[name] for name in _ALIKE if name in fields}
        kind = (event, level, *alike.items())
        with self._lock:
            known = self._kinds.get(kind)
            if known is None or (now - known.begun >= WINDOW_SECONDS and not known.count):
                known = self._kinds[kind] = LeftOut(str(event), level, now, alike)
                self._kinds.move_to_end(kind)
                if len(self._kinds) > REMEMBERED_KINDS:
                    self._forget(now)
            if known.logged < self._most:
                known.logged += 1
                return True
            known.count += 1
            self._due_at = min(self._due_at, known.begun + WINDOW_SECONDS)
            self.waiting = True
            return False

    def due(self, *, all_of_them: bool = False) -> Sequence[LeftOut]:
        """Kinds of which lines were left out in a minute that is over; with `all_of_them` in any. Each is told of
        once."""
        now = self._clock()
        if not (all_of_them or self._over) and now < self._due_at:
            return ()
        with self._lock:
            told, self._over = self._over, []
            self._due_at = float("inf")
            for kind, known in list(self._kinds.items()):
                if not known.count:
                    continue
                if all_of_them or now - known.begun >= WINDOW_SECONDS:
                    del self._kinds[kind]
                    known.seconds = now - known.begun
                    told.append(known)
                else:
                    self._due_at = min(self._due_at, known.begun + WINDOW_SECONDS)
            self.waiting = self._due_at < float("inf")
            return told

    def _forget(self, now: float) -> None:
        _, oldest = self._kinds.popitem(last=False)
        if oldest.count:
            oldest.seconds = now - oldest.begun
            self._over.append(oldest)
            self.waiting = True
