"""Where schedules are played: a memory store, or a Redis, each with the failures that it can have. `cluster_world` has
the cluster."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Sequence
from typing import Final, cast

import redis

from streamguard.errors import StoreUnavailableError
from streamguard.stores.memory import MemoryStore
from streamguard.stores.redis import RedisStore
from streamguard.stores.store import StreamStore
from streamguard.values import SessionKey, StreamRef

from ..harness.redis import RedisServer
from .history import History
from .plan import WORKERS

__all__ = ["Link", "MemoryWorld", "RedisWorld", "World", "ref_of"]

COMMAND_SECONDS: Final = 1.0
TICK_SECONDS: Final = 0.01
"""Longer than a lease."""


class Link:
    """One worker's way to its store: the next call may not arrive, or its reply may not."""

    def __init__(self, store: Callable[[], StreamStore], lost: Callable[[], None]) -> None:
        self._store = store
        self._lost = lost
        self.loses_request = self.loses_reply = False
        self.losses = 0

    def __getattr__(self, name: str) -> object:
        async def call(*args: object, **kwargs: object) -> object:
            if self.loses_request:
                self.loses_request = False
                self.losses += 1
                self._lost()
                raise StoreUnavailableError(f"{name}: the request is lost", operation=name)
            result = await getattr(self._store(), name)(*args, **kwargs)
            if self.loses_reply:
                self.loses_reply = False
                self.losses += 1
                self._lost()
                raise StoreUnavailableError(f"{name}: the reply is lost", operation=name)
            return result

        return call


class MemoryWorld:
    """A memory store, of which an older state comes back at a failover."""

    found_within_seconds = 1.0
    """How long it may take until a sweep finds a stream, or a claim what it owes, once nothing goes wrong any more."""

    def __init__(self) -> None:
        self._ticks = itertools.count()
        self._store = self._new_store()
        self._kept: MemoryStore | None = None
        self.links = [Link(lambda: self._store, lambda: None) for _ in range(WORKERS)]

    def _new_store(self) -> MemoryStore:
        """Its clock shows another time whenever it looks, and so the same ones whenever a seed is played."""
        return MemoryStore(clock=lambda: next(self._ticks) * TICK_SECONDS)

    async def begin(self, number: int, history: History) -> StreamRef:
        """Be ready for a schedule: nothing of its stream is there. Losses that the schedule did not ask for are entered
        in its history."""
        del history
        self._store, self._kept = self._new_store(), None
        for link in self.links:
            link.loses_request = link.loses_reply = False
        return ref_of(number)

    async def aclose(self) -> None:
        """Nothing is left."""

    async def calm(self) -> None:
        """Let nothing go wrong any more until `over`: every migration ends, every replica follows its master."""

    def later(self) -> None:
        """So much time passes that every failover is over, and workers look once more at what they did meanwhile."""

    async def over(self) -> None:
        """The schedule has ended, whether it was calm or not."""

    def store(self, who: int) -> StreamStore:
        """A worker's store."""
        return cast("StreamStore", self.links[who])

    async def lose(self, who: int, ref: StreamRef, *, reply: bool, where: int) -> None:
        """Lose a worker's next request, or the reply to it; `where` chooses among the servers that have a part of what
        is kept of the stream."""
        del ref, where
        self.links[who].loses_request, self.links[who].loses_reply = not reply, reply

    async def cut(self) -> None:
        """Cut every connection: there is none."""

    async def pause(self, ref: StreamRef) -> None:
        """Nothing here takes time."""

    async def lag(self, ref: StreamRef) -> None:
        """Keep the present state for a failover."""
        del ref
        lock = self._store._tables.lock
        self._kept = copy.deepcopy(self._store, {id(lock): lock})  # a lock cannot be copied

    async def fail_over(self, ref: StreamRef) -> None:
        """Bring the kept state back, if there is one."""
        del ref
        if self._kept is not None:
            self._store, self._kept = self._kept, None

    async def migrate(self, ref: StreamRef) -> None:
        """There are no slots."""

    async def move(self, ref: StreamRef) -> None:
        """There are no slots."""

    async def migrated(self) -> None:
        """There are no slots."""


class RedisWorld(MemoryWorld):
    """A Redis. At a failover all keys are what they were, and every connection is cut: all that a client can see of
    one. A lost reply cuts the connections too."""

    def __init__(self, server: RedisServer) -> None:
        super().__init__()
        self._masters: Callable[[], Sequence[redis.Redis]] = lambda: [server.client()]
        self._open([RedisStore(server.url, command_seconds=COMMAND_SECONDS) for _ in range(WORKERS)])

    def _open(self, stores: Sequence[RedisStore]) -> None:
        self._stores = stores
        self._dumps: list[tuple[redis.Redis, dict[bytes, tuple[bytes, int]]]] | None = None
        self.links = [Link(lambda store=store: store, self._kill) for store in stores]  # type: ignore[misc] # bound

    async def begin(self, number: int, history: History) -> StreamRef:
        del history
        for master in self._masters():
            master.flushall()
        self._dumps = None
        for link in self.links:
            link.loses_request = link.loses_reply = False
        return ref_of(number)

    async def aclose(self) -> None:
        for store in self._stores:
            await store.aclose()

    def _kill(self) -> None:
        for master in self._masters():
            master.client_kill_filter(_type="normal", skipme=True)

    async def cut(self) -> None:
        self._kill()

    async def lag(self, ref: StreamRef) -> None:
        del ref
        self._dumps = [(master, _dump(master)) for master in self._masters()]

    async def fail_over(self, ref: StreamRef) -> None:
        del ref
        dumps, self._dumps = self._dumps, None
        for master, dump in dumps or ():
            with master.pipeline(transaction=False) as pipe:
                pipe.flushall()
                for key, (value, ttl_ms) in dump.items():
                    pipe.restore(key, max(0, ttl_ms), value, replace=True)
                pipe.execute()
        self._kill()


World = MemoryWorld


def ref_of(number: int, attempt: int = 0) -> StreamRef:
    """The stream of a schedule; another `attempt` is in another session."""
    stream_id = f"{(attempt << 64) + number:024x}"
    return StreamRef(SessionKey(f"owner-{number}", f"session-{attempt}"), stream_id)


def _dump(master: redis.Redis) -> dict[bytes, tuple[bytes, int]]:
    found = {}
    for key in master.scan_iter(count=1000):
        value = master.dump(key)
        if isinstance(value, bytes):
            found[bytes(key)] = (value, int(master.pttl(key)))
    return found
