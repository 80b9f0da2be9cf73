"""Facts about a Redis server for operators: what it says of itself, its clock, whether it takes our scripts, what it
forbids this account, and which of our keys have no TTL.

Commands used besides those of `RedisStore`: `TIME`, `CONFIG GET` and `SCAN`. What an account may not run is left open.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import Final

from ...contained import gathered
from ...errors import StoreCorruptError, StoreError
from .driver import Command, CommandError, Reply
from .errors import checked
from .keys import Keys
from .permissions import Permissions, probe_key
from .pipeline import Connections, Server
from .record_scan import RecordScan, scan_records
from .scripts import Scripts
from .topology import topology_of

__all__ = ["FULL", "OLDEST", "Clock", "KeySample", "RedisInspector", "ServerFacts", "inspect_servers", "unusable"]

_SECTIONS: Final = ("server", "replication", "memory", "persistence")
_FACT: Final = re.compile(r"^([a-z_]+):([^\r\n]*)", re.M)
_SCAN_COUNT: Final = 500
_SCANS: Final = 200
"""How many steps a sample takes at most: a database may hold millions of keys that are not ours."""
_WRITTEN_MS: Final = 10_000
OLDEST: Final = (6, 2)
FULL: Final = 0.9
"""From which part of its memory on a server counts as nearly full."""
_NAMED: Final = 10
"""How many keys without a TTL a sample names."""


@dataclass(frozen=True, slots=True)
class Clock:
    """How far the server's clock is from this process's."""

    ahead_seconds: float
    """The server's minus ours; known to half a round trip."""
    round_trip_seconds: float


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What a server says of itself; None for what it does not show this account."""

    version: str | None
    mode: str | None
    """`standalone`, `cluster` or `sentinel`."""
    role: str | None
    """`master` or `slave`."""
    eviction: str | None
    """`maxmemory-policy`."""
    used_bytes: int | None
    limit_bytes: int | None
    """`maxmemory`; 0 for no limit."""
    append_only: bool | None
    fsync: str | None
    """When the append-only file is synced: `always`, `everysec` or `no`."""
    snapshots: str | None
    """The `save` setting; empty for none."""
    writing_failed: bool
    """The last write of a snapshot or of the append-only file failed."""


@dataclass(frozen=True, slots=True)
class KeySample:
    """Some of a namespace's keys."""

    keys: int
    immortal: int
    """How many of them have no TTL."""
    examples: tuple[str, ...]
    """Some that have none."""
    complete: bool
    """Whether these are all keys of the namespace."""


class RedisInspector:
    """Asks a server about itself, or each server of a cluster (see `each`). Every method raises `StoreUnavailableError`
    when it does not answer or refuses, unless it says otherwise."""

    def __init__(self, url: str, *, namespace: str = "streamguard", command_seconds: float = 1.0) -> None:
        """Nothing is connected yet.

        Args:
            url: As `RedisStore` takes it.
            namespace: What our keys begin with.
            command_seconds: How long one call may take in all, in seconds.

        Raises:
            ConfigurationError: the URL cannot be used.
        """
        self._scripts = Scripts.load()
        topology = topology_of(url, self._scripts, command_seconds=command_seconds)
        self.address: str = topology.name
        """Where the server is, or the servers are; holds no credential."""
        self.of_cluster: bool = topology.cluster is not None
        """Whether the server is one of several."""
        self._namespace = namespace
        self._connections = topology.connections
        self._keys = Keys(namespace)
        self._permissions = Permissions(
            topology.subscribing, self._connections, self._scripts, self._keys, command_seconds=command_seconds
        )
        self._server: Server | None = None

    async def aclose(self) -> None:
        """Close the connections."""
        await self._connections.aclose()

    async def each(self) -> list[RedisInspector]:
        """An inspector for each server that takes writes. Only these ask; they need no closing of their own."""
        servers = await self._connections.servers("connect")
        return [self._of(server) for server in servers]

    def _of(self, server: Server) -> RedisInspector:
        one = copy(self)
        vars(one).update(address=server.name, _connections=server.connections, _server=server)
        return one

    async def clock(self) -> Clock:
        """Compare clocks, after the connection is made."""
        await self._run("connect", Command.of("TIME"))
        sent, began = time.time(), time.perf_counter()
        (reply,) = await self._run("time", Command.of("TIME"))
        took = time.perf_counter() - began
        match reply:
            case [bytes() as seconds, bytes() as microseconds]:
                theirs = int(seconds) + int(microseconds) / 1_000_000
            case _:
                raise StoreCorruptError("time: Redis gave an unexpected answer", operation="time")
        return Clock(theirs - sent - took / 2, took)

    async def facts(self) -> ServerFacts:
        """What the server says of itself. What it refuses to say is None."""
        replies = await self._connections.run(
            "facts",
            [
                *(Command.of("INFO", section) for section in _SECTIONS),
                *(Command.of("CONFIG", "GET", name) for name in ("save", "appendfsync")),
            ],
        )
        *sections, save, fsync = replies
        text = b"\n".join(reply for reply in sections if isinstance(reply, bytes)).decode("utf-8", "replace")
        facts = dict(_FACT.findall(text))
        append_only = facts.get("aof_enabled")
        return ServerFacts(
            version=facts.get("redis_version"),
            mode=facts.get("redis_mode"),
            role=facts.get("role"),
            eviction=facts.get("maxmemory_policy"),
            used_bytes=_number(facts.get("used_memory")),
            limit_bytes=_number(facts.get("maxmemory")),
            append_only=None if append_only is None else append_only == "1",
            fsync=_setting(fsync),
            snapshots=_setting(save),
            writing_failed="err" in (facts.get("rdb_last_bgsave_status"), facts.get("aof_last_write_status")),
        )

    async def load_scripts(self) -> int:
        """Load every script; how many there are."""
        await self._connections.load_scripts()
        return len(self._scripts.sources)

    async def write(self) -> None:
        """Write a key that lives for seconds."""
        key = probe_key(self._keys, self._server)
        await self._run("write", Command.on(key, "SET", "1", "PX", _WRITTEN_MS))

    async def forbidden(self) -> list[str]:
        """Which of the commands that are used this account may not run, and `keys` or `channels` if it may not use the
        namespace's. A key is written that lives for seconds."""
        return list(await self._permissions.lacks("probe", subscribing=True, server=self._server))

    async def sample(self, limit: int) -> KeySample:
        """Look at about `limit` keys of the namespace, in as many steps as that takes, but at most so many."""
        pattern = f"{self._namespace}:*"
        cursor = b"0"
        seen: set[bytes] = set()
        immortal: list[bytes] = []
        for _ in range(_SCANS):
            (reply,) = await self._run("scan", Command.of("SCAN", cursor, "MATCH", pattern, "COUNT", _SCAN_COUNT))
            found, cursor = _page(reply)
            keys = [key for key in found if key not in seen]
            seen.update(keys)
            if keys:
                ttls = await self._run("scan", *(Command.on(key, "PTTL") for key in keys))
                immortal += [key for key, ttl in zip(keys, ttls, strict=True) if ttl == -1]
            if cursor == b"0" or len(seen) >= limit:
                break
        names = tuple(key.decode("utf-8", "replace") for key in immortal[:_NAMED])
        return KeySample(len(seen), len(immortal), names, complete=cursor == b"0")

    async def records(self, limit: int) -> RecordScan:
        """Read about `limit` keys of the namespace, in as many steps as that takes, but at most so many, and name what
        cannot be read. It changes nothing, and keys are read in part.

        Raises:
            StoreUnavailableError: the server does not answer, or this account may not do so much.
        """
        keys, scan = Keys(self._namespace), RecordScan()

        async def read(commands: list[Command]) -> list[Reply]:
            return await self._connections.run("records", commands)

        cursor, seen = b"0", set[bytes]()
        for _ in range(_SCANS):
            pattern = f"{self._namespace}:*"
            (reply,) = await self._run("records", Command.of("SCAN", cursor, "MATCH", pattern, "COUNT", _SCAN_COUNT))
            found, cursor = _page(reply)
            fresh = [key for key in found if key not in seen]
            seen.update(fresh)
            await scan_records(keys, fresh, read, scan)
            if cursor == b"0" or len(seen) >= limit:
                break
        scan.complete = cursor == b"0"
        return scan

    async def _run(self, operation: str, *commands: Command) -> Sequence[Reply]:
        replies = await self._connections.run(operation, commands)
        checked(operation, replies)
        return replies


async def inspect_servers(connections: Connections) -> list[str]:
    """Warnings about the version, the eviction policy and the memory of every server that takes writes.

    Raises:
        StoreUnavailableError: one does not answer.
    """
    servers = await connections.servers("start")
    return [text for found in await gathered([partial(_inspect, one) for one in servers]) for text in found]


async def _inspect(server: Server) -> list[str]:
    return await _warnings_of(server.connections, server.name)


async def _warnings_of(connections: Connections, address: str) -> list[str]:
    """Warnings about the server's version, eviction policy and memory, as `streamguard doctor` has them. An account
    that may not run INFO gets none.

    Raises:
        StoreUnavailableError: the server does not answer.
    """
    replies = await connections.run("start", [Command.of("INFO", "server"), Command.of("INFO", "memory")])
    text = b"\n".join(reply for reply in replies if isinstance(reply, bytes))
    facts = dict(_FACT.findall(text.decode("utf-8", "replace")))
    warnings = []
    numbers = re.findall(r"\d+", facts.get("redis_version", ""))
    version = tuple(int(number) for number in numbers[:2])
    if version and version < OLDEST:
        warnings.append(f"Redis at {address} is version {facts['redis_version']}; streamguard needs 6.2 or later")
    policy = facts.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        warnings.append(
            f"Redis at {address} evicts keys when memory is full (maxmemory-policy {policy}), live streams among them; "
            "set it to noeviction"
        )
    used, limit = _number(facts.get("used_memory")), _number(facts.get("maxmemory"))
    if used is not None and limit and used > FULL * limit:
        warnings.append(
            f"Redis at {address} is nearly full: it has used over {FULL:.0%} of its maxmemory ({limit} bytes); when it "
            "is full, streams go on unlogged; raise maxmemory, or free memory"
        )
    return warnings


def _page(reply: Reply) -> tuple[list[bytes], bytes]:
    """The keys of a page of SCAN, and where the next begins."""
    match reply:
        case [bytes() as cursor, list() as found]:
            return [key for key in found if isinstance(key, bytes)], cursor
        case _:
            raise StoreCorruptError("scan: Redis gave an unexpected answer", operation="scan")


def unusable(error: StoreError, address: object, consequence: str) -> str:
    """The warning of a start that could not use the server at `address`."""
    refused = isinstance(error.__cause__, CommandError)
    return f"{error}; {consequence} until {'that is mended' if refused else 'it answers'} ({address})"


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None


def _setting(reply: Reply) -> str | None:
    match reply:
        case [bytes(), bytes() as value]:
            return value.decode("utf-8", "replace")
        case _:
            return None
