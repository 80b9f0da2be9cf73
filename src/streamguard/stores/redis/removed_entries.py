"""Looks once more at streams whose record and whose entry in an index were written in steps of their own.

In a cluster a stream is closed, declared lost or withdrawn on one server, and its entry is removed from the lease index
on another one. A failover to a replica that lags can take back the first step and not the second: the stream is open
again, and no sweep finds it. Likewise work that is owed: its entry is in the outbox from before the close until after
the completion, and a failover of either server can leave work on record that no entry names. So the worker that did
both steps looks once more when such a failover is over, and enters a stream that needs it. Where one server has both,
one script does both, or the order of its commands is enough; but entries of erased streams, and those that a worker
finds left over, are removed in a later step there too, and a failover may come in between.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from ...errors import StoreUnavailableError
from ...locks import step_lock
from ...values import StreamRef
from .driver import Command, CommandError, Reply
from .errors import UnansweredError
from .namespace import RedisNamespace

__all__ = ["RemovedEntries"]

LOOK_AFTER_SECONDS: Final = 30.0
"""Longer than a master that is cut off goes on taking writes, which is `cluster-node-timeout`: 15 s by default."""
MOST: Final = 20_000
"""So many streams are remembered; of more, the oldest are not looked at."""
AT_ONCE: Final = 500
"""How many records are read in one exchange."""


class RemovedEntries:
    """The streams whose entries in one index this process removed a while ago, or whose entries may be lost.

    Args:
        redis: where the index is.
        operation: what looks again, for errors.
        reading: reads what a stream's record says of its entry.
        needs_entry: whether it says that there has to be one.
        entering: enters a stream, unless it has an entry.
    """

    def __init__(
        self,
        redis: RedisNamespace,
        operation: str,
        *,
        reading: Callable[[StreamRef], Command],
        needs_entry: Callable[[Reply], bool],
        entering: Callable[[StreamRef], Command],
    ) -> None:
        self._redis = redis
        self._operation = operation
        self._reading = reading
        self._needs_entry = needs_entry
        self._entering = entering
        self._removed: deque[tuple[float, StreamRef]] = deque(maxlen=MOST)
        """When each was removed, oldest first."""
        self._changing = step_lock()
        """Held while they change: each event loop may do so, in its thread."""

    def add(self, ref: StreamRef) -> None:
        """Look at `ref` in a while: its entry and its record were written just now, or are about to be."""
        with self._changing:
            self._removed.append((time.monotonic(), ref))

    async def look_again(self) -> None:
        """Enter those streams again that need an entry. Those whose servers do not answer stay for the next call.
        Cancelled, it forgets those that it was asking for."""
        until = time.monotonic() - LOOK_AFTER_SECONDS
        unanswered: list[tuple[float, StreamRef]] = []
        try:
            while some := self._take(until):
                try:
                    left = await self._look([ref for _, ref in some])
                except StoreUnavailableError:
                    unanswered += some
                    break
                unanswered += [one for one in some if one[1] in left]
        finally:
            with self._changing:
                for one in reversed(unanswered):
                    if len(self._removed) < MOST:
                        self._removed.appendleft(one)

    def _take(self, until: float) -> list[tuple[float, StreamRef]]:
        some: list[tuple[float, StreamRef]] = []
        with self._changing:
            while len(some) < AT_ONCE and self._removed and self._removed[0][0] <= until:
                some.append(self._removed.popleft())
        return some

    async def _look(self, refs: Sequence[StreamRef]) -> set[StreamRef]:
        """Enter those that need it. Returns those whose servers did not answer.

        Raises:
            StoreUnavailableError: no server answered.
        """
        reading = [self._reading(ref) for ref in refs]
        left: set[StreamRef] = set()
        without: list[StreamRef] = []
        for ref, reply in zip(refs, await self._redis.connections.run(self._operation, reading), strict=True):
            if isinstance(reply, UnansweredError):
                left.add(ref)
            elif not isinstance(reply, CommandError) and self._needs_entry(reply):
                without.append(ref)
        if without:
            entering = [self._entering(ref) for ref in without]
            entered = await self._redis.ask(self._operation, *entering, partly=True)
            left.update(ref for ref, reply in zip(without, entered, strict=True) if isinstance(reply, UnansweredError))
        return left
