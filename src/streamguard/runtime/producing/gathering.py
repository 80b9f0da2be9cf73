"""How long events gather before the writer's next commit.

After a commit of more than `BUSY_EVENTS`, or small ones with more than `STEADY_EVENTS` within `STEADY_SECONDS`, the
next one begins no sooner than `PAUSE_SECONDS` after it, because then round trips are most of what an event costs; if it
had more than `BURST_EVENTS`, which no models at reading speed make, no sooner than `BURST_PAUSE_SECONDS`. A few streams
at reading speed never pause: they have fewer. A lone burst may have as few, but a stream of it has several in a commit
that follows another within `NEXT_SECONDS`, and then it pauses too.

First events, ends, and producers that are far ahead of the log end a pause.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import Final

__all__ = ["Gathering"]

BUSY_EVENTS: Final = 8
STEADY_EVENTS: Final = 20
STEADY_SECONDS: Final = 0.004
NEXT_SECONDS: Final = 0.001
PAUSE_SECONDS: Final = 0.004
BURST_EVENTS: Final = 200
BURST_PAUSE_SECONDS: Final = 0.01


class Gathering:
    """The pause between two commits, all in the event loop's time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._committed_at = -inf
        self._planned = -inf
        """When the next commit begins at the earliest, if nothing ends the pause before it."""
        self._due = -inf
        """The same, or `-inf` where something has."""
        self._counted_until = -inf
        self._counted = 0
        """Events of the commits begun in the `STEADY_SECONDS` up to `_counted_until`."""
        self._wake: asyncio.Future[None] | None = None

    def committing(self, now: float, events: int, *, several: bool) -> None:
        """A commit begins; `several`: it has more than one event of a stream. Decides on the pause after it."""
        if now >= self._counted_until:
            self._counted_until, self._counted = now + STEADY_SECONDS, 0
        self._counted += events
        busy = events > BUSY_EVENTS or self._counted > STEADY_EVENTS
        busy = busy or (several and now - self._committed_at < NEXT_SECONDS)
        self._committed_at, self._planned = now, -inf
        if busy:
            self._planned = now + (PAUSE_SECONDS if events <= BURST_EVENTS else BURST_PAUSE_SECONDS)
        self._due = self._planned

    def as_planned(self) -> None:
        """What ended the pause needs no commit any more."""
        self._due = self._planned

    def end(self) -> None:
        """Let the next commit begin at once."""
        self._due = -inf
        if self._wake is not None:
            _resolve(self._wake)

    async def until_due(self) -> None:
        """Wait as long as the next commit should. Cancelled, it leaves everything as it is."""
        if self._due <= self._loop.time():
            return
        self._wake = wake = self._loop.create_future()
        timer = self._loop.call_at(self._due, _resolve, wake)
        try:
            await wake
        finally:
            timer.cancel()
            self._wake = None


def _resolve(wake: asyncio.Future[None]) -> None:
    if not wake.done():
        wake.set_result(None)
