"""The one append request of a running stream."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from ...stores.appends import AppendCache, LateDecision
from ...values import EventKind, StreamRef

__all__ = ["ReusedAppend"]


@dataclass(slots=True)
class ReusedAppend:
    """An `AppendRequest` that its stream fills in anew for each commit.

    Hot path: one object per stream instead of one per commit, and a store keeps the beginning of its command in
    `cache`. Stores see it read-only; whoever keeps one beyond `append` keeps a copy.
    """

    ref: StreamRef
    epoch: int
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
    cache: AppendCache = field(default_factory=AppendCache, compare=False, repr=False)

    @property
    def events(self) -> Sequence[tuple[EventKind, bytes]]:
        """The events of the commit."""
        return self.several if self.lone is None else ((EventKind.DATA, self.lone),)
