"""What a commit asks of its backlogs, and tells them: each in one pass over all of them.

Hot path: at reading speed most backlogs have one event of data and nothing else, so what concerns all of these is asked
once for the commit. `Backlog.ask` and `Backlog.acknowledge` do the same for one backlog, whatever it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from .backlog import Backlog, BacklogState

__all__ = ["acknowledge_all", "ask_for_lone", "degraded"]

_IDLE: Final = BacklogState.IDLE


def ask_for_lone(backlogs: Sequence[Backlog], now: float) -> list[Backlog]:
    """Have those that have one event of data and nothing else ask the next commit for that. Returns the others, which
    `Backlog.ask` knows more of."""
    others = []
    for backlog in backlogs:
        emitted = backlog.feed.emitted_bytes
        if emitted != backlog.lone_bytes or not backlog.undisturbed or now >= backlog.refresh_at:
            others.append(backlog)
            continue
        backlog.first_seq = backlog.in_flight_seq = backlog.acked + 1
        backlog.in_flight_total = emitted
    return others


def acknowledge_all(backlogs: Sequence[Backlog], dirty: dict[Backlog, None]) -> Exception | None:
    """What the commit under way carries is in the log: show it. Backlogs of which more waits become `dirty`. Returns
    what went wrong for one of them, if anything did: the other streams must not wait for that."""
    broken: Exception | None = None
    for backlog in backlogs:
        try:
            if not backlog.undisturbed:
                if backlog.acknowledge():
                    dirty[backlog] = None
                continue
            feed, payload = backlog.feed, backlog.lone
            backlog.acked = seq = backlog.in_flight_seq
            backlog.acked_total = total = backlog.in_flight_total
            if feed.emitted_bytes == total:
                backlog.state = _IDLE
            else:
                dirty[backlog] = None
            if payload is None:
                feed.show(seq)
            else:
                feed.show_next(seq, payload)
        except Exception as exc:  # noqa: BLE001 -- see above
            broken = degraded(backlog, exc)
    return broken


def degraded(backlog: Backlog, failure: Exception) -> Exception:
    """Go on without the log of a stream whose reply could not be taken. Returns why, for whoever supervises."""
    with suppress(Exception):
        backlog.owner.degrade("internal")
    return failure
