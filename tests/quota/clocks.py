"""Clocks that stand until they are turned: in this process, and one that Redis's scripts go by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import redis

from streamguard.stores import RedisClient

__all__ = ["Clock", "DatedClient", "ServerClock", "TurnedClient"]

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


class DatedClient(RedisClient):
    """Runs scripts as they are, but for the time, which is written into each: for a Redis that has no place for a
    `ServerClock`."""

    def __init__(self, url: str, clock: Clock, *, command_seconds: float = 1.0) -> None:
        super().__init__(url, command_seconds=command_seconds)
        self._clock = clock

    async def call(
        self, operation: str, script: str, keys: Sequence[bytes], args: Sequence[str | bytes | int] = ()
    ) -> object:
        seconds, rest = divmod(self._clock.now_ms, 1000)
        dated = script.replace("redis.call('TIME')", f"{{'{seconds}', '{rest * 1000}'}}")
        assert dated != script, "a script that knows no time"
        return await super().call(operation, dated, keys, args)
