"""Clocks that stand until they are turned: in this process, and one that Redis's scripts go by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import redis

from streamguard.stores import RedisClient

__all__ = ["Clock", "ServerClock", "TurnedClient"]

_KEY: Final = b"clock"


class Clock:
    """A clock in this process."""

    def __init__(self) -> None:
        self.now_ms = 1_700_000_000_000

    def __call__(self) -> float:
        return self.now_ms / 1000

    def turn(self, seconds: float) -> None:
        self.now_ms += round(seconds * 1000)


class ServerClock(Clock):
    """A clock in a database of a Redis, for scripts that a `TurnedClient` runs there."""

    def __init__(self, server: redis.Redis) -> None:
        super().__init__()
        self._server = server
        self.turn(0)

    def turn(self, seconds: float) -> None:
        super().turn(seconds)
        seconds_now, rest = divmod(self.now_ms, 1000)
        self._server.hset(_KEY, mapping={"s": seconds_now, "us": rest * 1000})
        self._server.expire(_KEY, 3600)


class TurnedClient(RedisClient):
    """Runs scripts as they are, but for the time: that of a `ServerClock`."""

    async def call(
        self, operation: str, script: str, keys: Sequence[bytes], args: Sequence[str | bytes | int] = ()
    ) -> object:
        turned = script.replace("redis.call('TIME')", f"redis.call('HMGET', '{_KEY.decode()}', 's', 'us')")
        assert turned != script, "a script that knows no time"
        return await super().call(operation, turned, keys, args)
