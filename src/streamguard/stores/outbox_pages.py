"""Pages of the outbox: what one holds, and where the next begins."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from .records import OutboxEntry

__all__ = ["OutboxPage", "OutboxPlace"]

_PLACE: Final = re.compile(r"([0-9]{1,18})\.([0-9]{1,9})", re.ASCII)


@dataclass(frozen=True, slots=True)
class OutboxPage:
    """Some entries of one kind, and how to go on."""

    entries: Sequence[OutboxEntry]
    next: str | None
    """Where the next page begins, for `after`; None if this is the last. It names no owner and no session."""
    left: int
    """How many entries come after this page. Some of them may stand for no work any more."""


class OutboxPlace(NamedTuple):
    """A place in a listing that is ordered by times: a form that a store may give to `OutboxPage.next`."""

    at_ms: int = 0
    """The time of the last entry before this place."""
    same: int = 0
    """How many entries of just that time are before it: it goes on among them."""

    def passed(self, times_ms: Sequence[int]) -> int:
        """How many entries are before this place, of those whose times are given: all from its time on. Those of just
        that time may be gone since, and then nothing later is passed over in their stead."""
        return min(self.same, sum(1 for at in times_ms if at == self.at_ms))

    def past(self, times_ms: Sequence[int]) -> OutboxPlace:
        """The place behind further entries, whose times are given in order."""
        if not times_ms:
            return self
        last = times_ms[-1]
        same = sum(1 for at in times_ms if at == last)
        return OutboxPlace(last, same + self.same if last == self.at_ms else same)

    @property
    def text(self) -> str:
        """As `OutboxPage.next` has it."""
        return f"{self.at_ms}.{self.same}"

    @classmethod
    def read(cls, text: str | None) -> OutboxPlace:
        """What `text` says, or the beginning.

        Raises:
            ValueError: it is no such place.
        """
        if text is None:
            return cls()
        match = _PLACE.fullmatch(text)
        if match is None:
            raise ValueError("no page of the outbox begins there")
        return cls(int(match[1]), int(match[2]))
