"""The append request of a running stream, filled in anew for each commit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from ...stores.appends import AppendCache, LateDecision
from ...stores.records import UNTOLD
from ...values import EventKind, StreamRef

__all__ = ["ReusedAppend"]


@dataclass(slots=True, eq=False)
class ReusedAppend:
    """What a backlog is to a store: its `AppendRequest`.

    Hot path: nothing is made for a commit, and a store keeps the beginning of its command in `cache`. Stores see it
    read-only; whoever keeps one beyond `append` keeps a copy.
    """

    ref: StreamRef
    epoch: int = UNTOLD
    first_seq: int = 1
    several: Sequence[tuple[EventKind, bytes]] = ()
    """The events, unless there is a lone one."""
    lone: bytes | None = None
    lone_bytes: int = 0
    """The feed's `emitted_bytes` with the lone event that the next commit is to carry: while these are all, no other
    event waits."""
    refresh: bool = False
    within_seconds: float = math.inf
    decided: LateDecision | None = None
    cache: AppendCache = field(default_factory=AppendCache, repr=False)

    @property
    def events(self) -> Sequence[tuple[EventKind, bytes]]:
        """The events of the commit."""
        return self.several if self.lone is None else ((EventKind.DATA, self.lone),)
