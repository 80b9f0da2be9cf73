"""The commands that are used, and which of them an account may not run.

The list is the one of `docs/reference/redis.md`; a test compares it with the page, and with every script and every
command of the package.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import Final

from ...contained import gathered
from ...deadlines import Deadline
from ...errors import StoreForbiddenError, StoreUnavailableError
from ...unavailable import UnavailableReason
from .codec import decode_text
from .driver import Command, CommandError, Connection, Connector, Reply, unknown_script
from .errors import checked, mapped_errors
from .keys import Keys
from .namespace import read_answer
from .pipeline import Connections, Server
from .scripts import Scripts
from .stream_calls import TryCommands

__all__ = ["DIRECT", "OPTIONAL", "SCRIPTED", "Permissions", "is_refusal", "probe_key"]

SCRIPTED: Final = (
    ("SET", "@", "1", "PX", "@ttl"),
    ("GET", "@"),
    ("MGET", "@"),
    ("EXISTS", "@"),
    ("HGET", "@", "f"),
    ("HMGET", "@", "f"),
    ("HSET", "@", "f", "v"),
    ("HDEL", "@", "f"),
    ("HINCRBY", "@", "f", "1"),
    ("XADD", "@", "NOMKSTREAM", "*", "f", "v"),
    ("XRANGE", "@", "-", "+"),
    ("XREVRANGE", "@", "+", "-", "COUNT", "1"),
    ("XSETID", "@", "1-1"),
    ("XLEN", "@"),
    ("ZADD", "@", "XX", "1", "m"),
    ("ZREM", "@", "m"),
    ("ZRANGE", "@", "0", "0"),
    ("ZRANGEBYSCORE", "@", "0", "0"),
    ("ZREVRANGEBYSCORE", "@", "0", "0"),
    ("ZREMRANGEBYSCORE", "@", "0", "0"),
    ("ZSCAN", "@", "0"),
    ("ZSCORE", "@", "m"),
    ("ZCARD", "@"),
    ("ZCOUNT", "@", "0", "0"),
    ("PTTL", "@"),
    ("PEXPIRE", "@", "1000"),
    ("TIME",),
    ("PUBLISH", "@c", ""),
    ("UNLINK", "@"),
    ("DEL", "@"),
)
"""The commands on keys, in scripts and outside, each with an example; `@` is a key, and `@c` a channel. The first one
makes the key, the last ones remove it."""

_MAKING: Final = frozenset({"HSET", "HINCRBY"})
"""These make a key where there is none, and it would live for ever."""

DIRECT: Final = ("EVALSHA", "SCRIPT LOAD", "PING", "SUBSCRIBE", "UNSUBSCRIBE")
"""The other commands that are needed."""

OPTIONAL: Final = ("INFO", "ROLE", "SELECT", "CLUSTER SLOTS", "ASKING", "MULTI", "EXEC", "WATCH")
"""For the warnings at start, for a master that Sentinel names, for a database other than 0 (connecting asks for those
two), for a cluster, and for cheaper appends."""

_TTL_MS: Final = 10_000
_PROBES: Final = 200_000
"""So many keys have some of every server's slots among theirs."""
_TRIED: Final[tuple[str | int, ...]] = tuple(word for command in SCRIPTED[1:] for word in (len(command), *command))
_REFUSED: Final = re.compile(
    "NOPERM|no permissions to|can't run this command|can't access at least one of the|can't publish to the channel|"
    "[Uu]nknown (?:Redis )?command"
)
"""Redis 6.2 hides the code of an error within a script, and says it in words."""
_HARMLESS: Final = re.compile(r"WRONGTYPE|wrong kind of value|not an integer|no such key")
"""The command was allowed; the key is of another type, as intended for most, or missing."""


class Permissions:
    """Tries everything that is needed with the account that its connections log in with."""

    def __init__(
        self,
        address: Connector,
        connections: Connections,
        scripts: Scripts,
        keys: Keys,
        *,
        command_seconds: float,
    ) -> None:
        self._address = address
        self._connections = connections
        self._source = scripts.sources["permissions"]
        self._keys = keys
        self._seconds = command_seconds

    async def check(self, operation: str, *, subscribing: bool) -> None:
        """Whether this account may do everything; `subscribing` takes a connection of its own.

        Raises:
            StoreForbiddenError: it may not.
            StoreUnavailableError: the server does not answer, or takes no writes.
        """
        lacks = await self.lacks(operation, subscribing=subscribing)
        if lacks:
            names = ", ".join(lacks)
            raise StoreForbiddenError(f"{operation}: this account lacks {names}", operation=operation, lacks=lacks)

    async def lacks(self, operation: str, *, subscribing: bool, server: Server | None = None) -> tuple[str, ...]:
        """The commands that this account may not run, and `keys` or `channels` if it may not use the namespace's; at
        one server, or at all.

        Raises:
            StoreUnavailableError: the server does not answer, or takes no writes.
        """
        servers = [server] if server is not None else await self._connections.servers(operation)
        found, failures = list[str](), list[StoreUnavailableError]()
        for lacks in await gathered([partial(self._lacking_at, operation, server) for server in servers]):
            if isinstance(lacks, StoreUnavailableError):
                failures.append(lacks)
            else:
                found += lacks
        if failures and len(failures) == len(servers):
            raise failures[0]
        if subscribing:
            found += await self._subscribing(operation)
        return tuple(sorted(set(found)))

    async def _lacking_at(self, operation: str, server: Server) -> list[str] | StoreUnavailableError:
        """As `lacks`, for one server; or why it could not be asked. Of the servers of a cluster some may be down: the
        store is there for the streams that are on the others."""
        try:
            key = probe_key(self._keys, server)
            return await self._lacks_at(operation, server.connections, key)
        except StoreUnavailableError as exc:
            return exc

    async def _lacks_at(self, operation: str, connections: Connections, key: bytes) -> list[str]:
        trying = TryCommands(probe_key=key, ttl_ms=_TTL_MS, commands=_TRIED)
        written, loaded, ponged, tried = await connections.run(
            operation,
            [
                Command.on(key, "SET", "1", "PX", _TTL_MS),  # also tells a replica, and drops its connection
                Command.of("SCRIPT", "LOAD", self._source),
                Command.of("PING"),
                connections.command(trying),
            ],
        )
        found = _lacking(operation, [("SET", written), ("SCRIPT LOAD", loaded), ("PING", ponged)])
        if isinstance(tried, CommandError):
            if not (unknown_script(tried) and found):
                found += _lacking(operation, [("EVALSHA", tried)])
            made = not isinstance(written, CommandError)
            return found + await self._without_script(operation, connections, key, made=made)
        words = [decode_text(word) for word in read_answer(operation, trying, tried)]
        return found + _lacking(operation, list(zip(words[::2], words[1::2], strict=True)))

    async def _without_script(self, operation: str, connections: Connections, key: bytes, *, made: bool) -> list[str]:
        """As `lacks`, for an account that may not run the script, or not load it. `made`: the text is there."""
        names = {"@": key, "@c": key + b":c"}
        trying = [command for command in SCRIPTED[1:] if made or command[0] not in _MAKING]
        commands = [Command.of(*(names.get(word, word) for word in command)) for command in trying]
        replies = await connections.run(operation, commands)
        texts = [str(reply) if isinstance(reply, CommandError) else reply for reply in replies]
        return _lacking(operation, [(command[0], reply) for command, reply in zip(trying, texts, strict=True)])

    async def _subscribing(self, operation: str) -> list[str]:
        """As `lacks`, for what cannot be done on a connection that does something else."""
        connection = Connection(self._address)
        channel = self._keys.probe() + b":c"
        try:
            with mapped_errors(operation):
                commands = [Command.of("SUBSCRIBE", channel).packed, Command.of("UNSUBSCRIBE", channel).packed]
                replies, _ = await connection.exchange(commands, deadline=Deadline.after(self._seconds))
        finally:
            await connection.drop()
        return _lacking(operation, list(zip(("SUBSCRIBE", "UNSUBSCRIBE"), replies, strict=True)))


def probe_key(keys: Keys, server: Server | None) -> bytes:
    """A key that may be written at a server to see that it takes writes.

    Raises:
        StoreUnavailableError: it has lost its slots meanwhile.
    """
    if server is None:
        return keys.probe()
    for number in range(_PROBES):
        if server.owns(key := keys.probe(number)):
            return key
    text = "probe: this server of the cluster has no slots any more"
    raise StoreUnavailableError(text, operation="probe", reason=UnavailableReason.SLOT_MOVED)


def _lacking(operation: str, replies: Sequence[tuple[str, Reply | str]]) -> list[str]:
    """What errors among the replies to commands say that an account lacks.

    Raises:
        StoreUnavailableError: one says something else: the server takes no writes, say.
    """
    found = []
    for name, reply in replies:
        if not isinstance(reply, (str, CommandError)):
            continue
        text = str(reply)
        if is_refusal(text):
            found.append("channels" if "channel" in text else "keys" if "key" in text else name)
        elif isinstance(reply, CommandError):
            checked(operation, [reply])
        elif _HARMLESS.search(text) is None:
            checked(operation, [CommandError(text)])
    return found


def is_refusal(text: str) -> bool:
    """Whether an error reply says that this account may not run the command, or that the server has no such one."""
    return _REFUSED.search(text) is not None
