"""The only module that imports redis: addresses, connections, scripts sent by digest, driver errors.

redis-py's client classes are not used, only its connections: they bring TLS, AUTH and unix sockets, while commands
are packed here and many go out in one write. Departures from redis-py's defaults, each for a reason it showed when
measured at 8.1:

1. nothing is retried: a retried `XADD` whose reply was lost writes twice;
2. one deadline covers a whole exchange, connecting and waiting for the connection included: redis-py's own starts
   anew for each reply;
3. replies are read in batches, since redis-py spends more on each reply's timeout than the reply costs;
4. RESP2: nothing of RESP3 is needed, and connecting takes one round trip less.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple, TypeAlias, cast
from urllib.parse import urlsplit

from hiredis import pack_command
from redis._parsers import _AsyncHiredisParser  # no public name; the dependency is capped below the next major
from redis._parsers.hiredis import NOT_ENOUGH_DATA
from redis.asyncio.connection import AbstractConnection, parse_url
from redis.asyncio.connection import Connection as TCPConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    ChildDeadlockedError,
    IncorrectPolicyType,
    NoScriptError,
    RedisClusterException,
    RedisError,
)

from ..errors import ConfigurationError, StoreCorruptError, StoreUnavailableError

__all__ = [
    "Address",
    "Command",
    "CommandError",
    "Link",
    "Reply",
    "checked",
    "mapped_errors",
    "pack",
    "pack_argument",
    "unknown_script",
]

CommandError: TypeAlias = RedisError
"""An error reply, as it stands among the others."""

Reply: TypeAlias = "bytes | int | CommandError | list[Reply] | None"
"""What Redis answers under RESP2."""

pack: Final = cast("Callable[[tuple[str | bytes | int, ...]], bytes]", pack_command)
"""The stub says a tuple of one."""

_DRIVER_ERRORS: Final = (RedisError, RedisClusterException, ChildDeadlockedError, IncorrectPolicyType, OSError)
"""Everything redis-py raises; a timeout is an OSError."""

_CODE: Final = re.compile(r"\b(?:LOADING|MASTERDOWN|MISCONF|NOAUTH|NOPERM|OOM|READONLY|WRONGTYPE)\b")

_WRONG_SERVER: Final = frozenset({"LOADING", "MASTERDOWN", "READONLY"})
"""Replies of a server that is not (or no longer) the one to write to: the next call connects anew."""

_PLAIN: Final = frozenset({int, bytes, list, type(None)})
"""Types of the replies that are no errors."""

_DATABASE: Final = re.compile(r"/?[0-9]*")

_OPTIONS: Final = frozenset(
    {
        "connection_class",
        "db",
        "host",
        "password",
        "path",
        "port",
        "ssl_ca_certs",
        "ssl_ca_path",
        "ssl_cert_reqs",
        "ssl_certfile",
        "ssl_check_hostname",
        "ssl_keyfile",
        "username",
    }
)


@contextmanager
def mapped_errors(operation: str) -> Iterator[None]:
    """Turns whatever the driver raises into `StoreUnavailableError`. Its text names no host, key or credential."""
    try:
        yield
    except TimeoutError as exc:
        raise StoreUnavailableError(f"{operation}: Redis did not answer in time", operation=operation) from exc
    except _DRIVER_ERRORS as exc:
        raise StoreUnavailableError(
            f"{operation}: Redis could not be used ({type(exc).__name__})", operation=operation
        ) from exc


def checked(operation: str, replies: Sequence[Reply]) -> None:
    """Raises for the first error among `replies`.

    Raises:
        StoreCorruptError: a key holds another type than ours.
        StoreUnavailableError: Redis refused, for any other reason.
    """
    for reply in replies:
        if isinstance(reply, CommandError):
            code = _code(reply)
            if code == "WRONGTYPE":
                raise StoreCorruptError(
                    f"{operation}: a key of this namespace was written by something else", operation=operation
                ) from reply
            raise StoreUnavailableError(f"{operation}: Redis refused ({code})", operation=operation) from reply


def unknown_script(reply: Reply) -> bool:
    """Whether the server was asked for a script it does not have."""
    return isinstance(reply, NoScriptError)


def _code(error: CommandError) -> str:
    """The error's code. Redis 6.2 hides that of an error within a script in the middle of its text."""
    found = _CODE.search(str(error))
    return found[0] if found else error.status_code or type(error).__name__


def pack_argument(argument: bytes) -> bytes:
    """One argument of a packed command."""
    return b"$%d\r\n%b\r\n" % (len(argument), argument)


class Command(NamedTuple):
    """A packed command, and the script it calls, to be loaded when the server does not know it."""

    packed: bytes
    script: str | None = None

    @classmethod
    def of(cls, *args: str | bytes | int) -> Command:
        """A plain command."""
        return cls(pack(args))


class Address:
    """Where Redis is and how to log in. Its `str` holds no credential."""

    def __init__(self, url: str) -> None:
        """Raises `ConfigurationError` for anything but `redis://`, `rediss://` and `unix://` URLs; its text never
        repeats the URL, since a password with a slash in it ends up in the strangest places."""
        scheme = url.partition("://")[0]
        if scheme in ("redis+cluster", "redis+sentinel"):
            raise ConfigurationError(
                f"{scheme}:// is not supported yet in this version; use redis://, rediss:// or unix://"
            )
        if scheme not in ("redis", "rediss", "unix"):
            raise ConfigurationError("a Redis URL begins with redis://, rediss:// or unix://")
        try:
            self._options: dict[str, object] = dict(parse_url(url))
            port = self._options.get("port", 6379)
            # redis-py takes a database it cannot read for 0.
            if scheme != "unix" and _DATABASE.fullmatch(urlsplit(url).path) is None:
                raise ValueError("the path is not a database number")
        except ValueError:
            raise ConfigurationError(
                f"this {scheme}:// URL cannot be read; "
                "its form is scheme://user:password@host:port/database, with special characters percent-encoded"
            ) from None
        unknown = sorted(self._options.keys() - _OPTIONS)
        if unknown:
            raise ConfigurationError(
                f"a Redis URL takes the options db and ssl_…; {', '.join(unknown)} has no meaning here"
            )
        if scheme == "unix":
            if "path" not in self._options:
                raise ConfigurationError("a unix:// URL names a socket: unix:///run/redis.sock?db=0")
            self._text = f"unix://{self._options['path']}"
        else:
            self._text = f"{scheme}://{self._options.get('host', 'localhost')}:{port}"

    def __str__(self) -> str:
        return self._text

    def connection(self, parser: _BatchParser, *, connect_seconds: float) -> AbstractConnection:
        """A connection, not yet connected, that reads through `parser`."""
        options = dict(self._options)
        make = options.pop("connection_class", TCPConnection)
        if "path" not in options:
            options["socket_keepalive"] = True
        connection: AbstractConnection = make(  # type: ignore[operator] # one of redis-py's connection classes
            **options,
            socket_timeout=None,  # `Link` has its own deadline
            socket_connect_timeout=connect_seconds,
            retry=Retry(NoBackoff(), 0),
            health_check_interval=0,
            decode_responses=False,
            protocol=2,
            driver_info=None,  # CLIENT SETINFO: two more round trips and one more command to allow
            parser_class=lambda socket_read_size: parser,
        )
        return connection


class _BatchParser(_AsyncHiredisParser):
    """Reads many replies in one call, errors among them, so that one deadline covers them all."""

    _reader: Any  # hiredis.Reader while connected; the base class declares None
    _stream: Any  # asyncio.StreamReader, likewise

    def __init__(self) -> None:
        super().__init__(socket_read_size=65_536)
        self.wanted = 0
        """How many replies the next read must bring; 0 for redis-py's own handshake."""
        self.greedy = False
        """Bring those too that arrived besides."""

    async def can_read(self) -> bool:
        # A connection that was reset, rather than closed, is not at its end but holds an exception.
        return self._stream.exception() is not None or bool(await super().can_read())

    async def read_response(self, disable_decoding: bool = False, push_request: bool = False) -> Any:
        if not self.wanted:
            return await super().read_response(disable_decoding, push_request)
        replies: list[Reply] = []
        gets, wanted = self._reader.gets, self.wanted
        most = sys.maxsize if self.greedy else wanted
        while True:
            for _ in range(most - len(replies)):
                found = gets()
                if found is NOT_ENOUGH_DATA:
                    break
                replies.append(found)
            if len(replies) >= wanted:
                return replies
            await self.read_from_socket()  # type: ignore[no-untyped-call] # redis-py


class Link:
    """One connection. It is dropped, by redis-py, whenever a write or read is broken off in the middle."""

    def __init__(self, address: Address, *, connect_seconds: float) -> None:
        self._parser = _BatchParser()
        self._connection = address.connection(self._parser, connect_seconds=connect_seconds)

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as known."""
        return bool(self._connection.is_connected)

    async def connect(self) -> None:
        """Connect, if not connected; a connection the server has closed meanwhile is replaced."""
        if self.connected and await self._connection.can_read():
            await self.drop()
        if not self.connected:
            await self._connection.connect()  # type: ignore[no-untyped-call] # redis-py

    async def drop(self) -> None:
        """Close the connection without waiting for the peer."""
        await self._connection.disconnect(nowait=True)

    async def exchange(self, packed: Sequence[bytes]) -> tuple[list[Reply], bool]:
        """Send all in one write; their replies, in order, and whether errors are among them. One exchange at a time."""
        await self.connect()
        await self._send(b"".join(packed))
        replies = await self._read(len(packed), greedy=False)
        refused = not _PLAIN.issuperset(map(type, replies))
        if refused and any(isinstance(reply, CommandError) and _code(reply) in _WRONG_SERVER for reply in replies):
            await self.drop()
        return replies, refused

    async def send(self, packed: bytes) -> bool:
        """Send without waiting for an answer, unless not connected (then False)."""
        if not self.connected:
            return False
        await self._send(packed)
        return True

    async def _send(self, packed: bytes) -> None:
        try:
            await self._connection.send_packed_command(packed)
        except RuntimeError as exc:
            # What uvloop raises for writing to a transport that the peer has reset; asyncio has an OSError for it.
            raise ConnectionResetError("the connection was lost before writing") from exc

    async def receive(self) -> list[Reply]:
        """Wait for a message; it and all that came with it. Breaking it off drops the connection."""
        return await self._read(1, greedy=True)

    async def _read(self, wanted: int, *, greedy: bool) -> list[Reply]:
        self._parser.wanted, self._parser.greedy = wanted, greedy
        try:
            replies: list[Reply] = await self._connection.read_response()
        finally:
            self._parser.wanted = 0
        return replies
