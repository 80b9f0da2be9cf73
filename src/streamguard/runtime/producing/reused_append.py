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
    events: Sequence[tuple[EventKind, bytes]] = ()
    refresh: bool = False
    within_seconds: float = math.inf
    decided: LateDecision | None = None
    cache: AppendCache = field(default_factory=AppendCache, compare=False, repr=False)
