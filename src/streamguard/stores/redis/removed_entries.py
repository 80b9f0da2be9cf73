"""Looks once more at streams whose entries in the lease index were removed in a step of their own.

In a cluster a stream is closed, declared lost or withdrawn on one server, and its entry is removed from another one. A
failover to a replica that lags can take back the first step and not the second: the stream is open again, and no sweep
finds it. So the worker that removed the entry looks once more when such a failover is over, and enters a stream that is
open. Where one server has both, one script does both; but entries of erased streams, and those that a sweep finds left
over, are removed in a later step there too.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import Final

from ...errors import StoreUnavailableError
from ...lua import read_reply
from ...values import StreamRef
from .driver import Command, CommandError
from .errors import UnansweredError
from .index_calls import LeaseAnswer, LeaseState, RenewEntries
from .namespace import RedisNamespace
from .sharded_index import INDEX_TTL_MS

__all__ = ["RemovedEntries"]

LOOK_AFTER_SECONDS: Final = 30.0
"""Longer than a master that is cut off goes on taking writes, which is `cluster-node-timeout`: 15 s by default."""
MOST: Final = 20_000
"""So many streams are remembered; of more, the oldest are not looked at."""
AT_ONCE: Final = 500
"""How many records are read in one exchange."""
_OPEN: Final = frozenset({b"due", b"running"})


class RemovedEntries:
    """The streams whose entries this process removed a while ago."""

    def __init__(self, redis: RedisNamespace) -> None:
        self._redis = redis
        self._removed: deque[tuple[float, StreamRef]] = deque(maxlen=MOST)
        """When each was removed, oldest first."""

    def add(self, ref: StreamRef) -> None:
        """The entry of `ref` is removed, after a step in which the stream ended."""
        self._removed.append((time.monotonic(), ref))

    async def look_again(self) -> None:
        """Enter those streams again that are open. Those whose servers do not answer stay for the next call. Cancelled,
        it forgets those that it was asking for."""
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
            for one in reversed(unanswered):
                if len(self._removed) < MOST:
                    self._removed.appendleft(one)

    def _take(self, until: float) -> list[tuple[float, StreamRef]]:
        some: list[tuple[float, StreamRef]] = []
        while len(some) < AT_ONCE and self._removed and self._removed[0][0] <= until:
            some.append(self._removed.popleft())
        return some

    async def _look(self, refs: Sequence[StreamRef]) -> set[StreamRef]:
        """Enter those that are open. Returns those whose servers did not answer.

        Raises:
            StoreUnavailableError: no server answered.
        """
        keys = [self._redis.keys.stream(ref) for ref in refs]
        reading = [self._redis.command(LeaseState(meta_key=key.meta, log_key=key.log)) for key in keys]
        left: set[StreamRef] = set()
        open_again: list[StreamRef] = []
        for ref, reply in zip(refs, await self._redis.connections.run("expired_leases", reading), strict=True):
            if isinstance(reply, UnansweredError):
                left.add(ref)
            elif not isinstance(reply, CommandError) and read_reply(LeaseAnswer, reply).state in _OPEN:
                open_again.append(ref)
        if open_again:
            entering = [self._entry(ref) for ref in open_again]
            entered = await self._redis.ask("expired_leases", *entering, partly=True)
            left.update(
                ref for ref, reply in zip(open_again, entered, strict=True) if isinstance(reply, UnansweredError)
            )
        return left

    def _entry(self, ref: StreamRef) -> Command:
        """Enter it as due: its record says whether it is."""
        keys = self._redis.keys.stream(ref)
        entering = RenewEntries(
            shard_key=keys.lease_shard, mode="NX", from_now_ms=0, ttl_ms=INDEX_TTL_MS, members=(keys.member,)
        )
        return self._redis.command(entering)
