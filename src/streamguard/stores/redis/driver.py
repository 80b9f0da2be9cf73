"""The only module that speaks to Redis, with `address`: connections, commands, driver errors.

It uses what every redis-py from 5.0 on has in public: how a URL is read, and the exceptions. Connections are our own,
because of what redis-py's do, measured at 8.1:

1. a retried `XADD` whose reply was lost writes twice: here nothing is retried;
2. its timeout starts anew for each reply: here one deadline covers a whole exchange, connecting and waiting for the
   connection included;
3. reading a reply its way, with streams, a task's wake and a timeout each, costs more than everything else about it:
   here the event loop's bytes go straight to hiredis;
4. it asks for RESP3, and names its library to the server: here connecting takes one round trip, with `AUTH` and
   `SELECT` where the address asks for them, and RESP2.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import count
from selectors import EVENT_READ, DefaultSelector
from socket import SHUT_RDWR
from typing import Final, NamedTuple, Protocol, TypeAlias, cast

from hiredis import Reader, pack_command
from redis.exceptions import RedisError, ResponseError

from ...deadlines import Deadline
from .refusals import error_code, why_closed

__all__ = [
    "DRIVER_ERRORS",
    "Command",
    "CommandError",
    "Connection",
    "Connector",
    "ProtocolError",
    "RawConnection",
    "Reply",
    "Usual",
    "pack",
    "pack_argument",
    "unknown_script",
]

CommandError: TypeAlias = RedisError
"""An error reply, among the other replies of an exchange."""

Reply: TypeAlias = "bytes | int | CommandError | list[Reply] | None"
"""What Redis answers under RESP2."""

pack: Final = cast("Callable[[tuple[str | bytes | int, ...]], bytes]", pack_command)
"""The stub says a tuple of one."""

DRIVER_ERRORS: Final = (RedisError, OSError)
"""Everything that is raised here; a timeout is an OSError."""

_WRONG_SERVER: Final = frozenset({"LOADING", "MASTERDOWN", "READONLY"})
"""Replies of a server that is not (or no longer) the one to write to: the next call connects anew."""

_PLAIN: Final = frozenset({int, bytes, list, type(None)})
"""Types of the replies that are no errors."""

IDLE_SECONDS: Final = 0.5
"""A connection unused for longer is looked at before it is used: a server that restarted has closed it."""


class ProtocolError(RedisError):
    """What came is no reply: this is no Redis."""


def unknown_script(reply: Reply) -> bool:
    """Whether the reply says that the server does not have the script that was called."""
    return isinstance(reply, CommandError) and str(reply).startswith("NOSCRIPT")


def pack_argument(argument: bytes) -> bytes:
    """One argument of a packed command."""
    return b"$%d\r\n%b\r\n" % (len(argument), argument)


class Command(NamedTuple):
    """A packed command, and the script it calls, to be loaded when the server does not know it."""

    packed: bytes
    script: str | None = None
    on_index: bytes | None = None
    """The index that it works on, if any: one of another type is begun anew (see `ResetIndex`)."""
    key: bytes | None = None
    """A key that it works on: of a cluster's servers it goes to the one that has that key's slot, where all its other
    keys must be too. None for a command about the server itself."""

    @classmethod
    def of(cls, *args: str | bytes | int) -> Command:
        """A plain command about the server itself."""
        return cls(pack(args))

    @classmethod
    def on(cls, key: bytes, name: str | bytes | int, *args: str | bytes | int) -> Command:
        """A plain command whose first argument is the key that it works on."""
        return cls(pack((name, key, *args)), key=key)


class Connector(Protocol):
    """Where a connection leads to. Its `str` holds no credential."""

    async def connect(self) -> RawConnection:
        """Connect and log in. It has no timeout: its user has a deadline.

        Raises:
            OSError: nobody answers there, or TLS failed.
            CommandError: the server refused the credentials or the database.
        """
        ...


class Usual(NamedTuple):
    """Replies that are nearly always the same: compared as bytes, they need not be parsed."""

    packed: bytes
    replies: tuple[Reply, ...]


Tell: TypeAlias = "Callable[[RawConnection, Exception | None], None]"
"""Is told that replies have arrived, or why they will not."""

_numbers: Final = count(1)


class RawConnection(asyncio.Protocol):
    """The transport of one connection, and what arrives on it."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._reader: Reader = Reader(protocolError=ProtocolError, replyError=ResponseError)
        self.replies: list[Reply] = []
        """What arrived and was not read yet."""
        self.lost: Exception | None = None
        """Why nothing more will arrive."""
        self.retired = False
        """It works, but there may be a better one: the next exchange connects anew."""
        self.on_end: Callable[[], None] | None = None
        """Called when it is closed or lost."""
        self.number: Final = next(_numbers)
        """No other connection of this process has it."""
        self._wanted = 0
        self._usual: Usual | None = None
        self._tell: Tell | None = None

    async def log_in(self, commands: Sequence[bytes]) -> None:
        """Send the first commands, and wait until the server has accepted them.

        Raises:
            CommandError: it refused one.
        """
        for reply in await self.ask(commands):
            if isinstance(reply, CommandError):
                raise reply

    async def ask(self, commands: Sequence[bytes]) -> list[Reply]:
        """Send commands before any exchange; their replies, error replies among them."""
        if not commands:
            return []
        self.write(b"".join(commands))
        await self.until(len(commands))
        replies, self.replies = self.replies, []
        return replies

    def lose(self, error: Exception) -> None:
        """End it for a reason of our own: what waits for replies fails with `error`, and nothing more is sent."""
        self.lost = error
        self.fail(error)
        self.close()

    def close(self) -> None:
        """Close it without waiting for the peer."""
        self.transport.close()
        self._tell_end()

    def abandon(self) -> None:
        """Close it without its event loop, which is closed."""
        with suppress(Exception):  # each kind of loop has an error of its own for that
            self.transport.abort()
        with suppress(Exception):
            self.transport.get_extra_info("socket").shutdown(SHUT_RDWR)
        self._tell_end()

    def _tell_end(self) -> None:
        on_end, self.on_end = self.on_end, None
        if on_end is not None:
            on_end()

    def write(self, packed: bytes) -> None:
        try:
            self.transport.write(packed)
        except RuntimeError as exc:
            # What uvloop raises for writing to a transport that the peer has reset; asyncio has an OSError for it.
            raise ConnectionResetError("the connection was lost before writing") from exc

    async def until(self, wanted: int) -> None:
        """Wait until so many replies are there."""
        if self.lost is not None:
            raise self.lost
        arrived: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.expect(wanted, partial(_resolve, arrived))
        await arrived

    def expect(self, wanted: int, tell: Tell, usual: Usual | None = None) -> None:
        """Call `tell` once, when so many replies are there. `usual` is what the next bytes nearly always begin with."""
        self._wanted, self._tell, self._usual = wanted, tell, usual

    def fail(self, error: Exception) -> None:
        """End the waiting for replies."""
        tell, self._tell = self._tell, None
        if tell is not None:
            tell(self, error)

    def readable(self) -> bool:
        """Whether something is there that the event loop has not seen. While no reply is due, that is the end of the
        connection."""
        with DefaultSelector() as selector:
            selector.register(self.transport.get_extra_info("socket").fileno(), EVENT_READ)
            return bool(selector.select(0))

    # -- what the event loop calls -----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        replies, gets = self.replies, self._reader.gets
        usual, self._usual = self._usual, None
        if usual is not None and data.startswith(usual.packed):
            data = data[len(usual.packed) :]
            replies += usual.replies
        try:
            self._reader.feed(data)
            while (found := gets()) is not False:  # not enough data; RESP2 has no booleans
                replies.append(found)
        except RedisError as exc:  # this is no Redis
            self.lost = exc
            self.fail(exc)
            return
        tell = self._tell
        if tell is not None and len(replies) >= self._wanted:
            self._tell = None
            tell(self, None)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.lost is None:
            self.lost = why_closed(self.replies) or exc or ConnectionResetError("the server closed the connection")
        self.fail(self.lost)
        self._tell_end()


def _resolve(arrived: asyncio.Future[None], _: RawConnection, error: Exception | None) -> None:
    if arrived.done():
        return
    if error is None:
        arrived.set_result(None)
    else:
        arrived.set_exception(error)


class Connection:
    """One connection, with one exchange at a time. It is dropped whenever an exchange is broken off: what arrives on it
    afterwards belongs to no request."""

    def __init__(self, address: Connector) -> None:
        self._address = address
        self._raw: RawConnection | None = None
        self._used_at = 0.0

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as known."""
        return self._raw is not None and self._raw.lost is None

    @property
    def number(self) -> int:
        """Which connection this is at present: another number after each time that it connected anew; 0 for none."""
        raw = self._raw
        return 0 if raw is None or raw.lost is not None else raw.number

    async def connect(self) -> None:
        """Connect, if not connected; a connection the server has closed meanwhile is replaced."""
        raw = self._raw
        if raw is not None:
            if raw.lost is None and not raw.retired and not raw.replies and not raw.readable():
                return
            await self.drop()
        self._raw = await self._address.connect()

    async def drop(self) -> None:
        """Close the connection without waiting for the peer."""
        self.discard()

    def discard(self) -> None:
        """As `drop`."""
        raw, self._raw = self._raw, None
        if raw is not None:
            raw.close()

    def usable(self, now: float) -> RawConnection | None:
        """The connection, if it needs neither connecting nor a look, `now` (loop time)."""
        raw = self._raw
        if raw is None or raw.lost is not None or raw.retired or raw.replies or now - self._used_at > IDLE_SECONDS:
            return None
        return raw

    def abandon(self) -> None:
        """Give the connection up without its event loop, which is closed: the server sees its end."""
        raw, self._raw = self._raw, None
        if raw is not None:
            raw.abandon()

    async def ready(self, *, deadline: Deadline) -> RawConnection:
        """Connect if need be; a connection that was not used for a while is looked at.

        Raises:
            TimeoutError: not by `deadline`.
        """
        loop = asyncio.get_running_loop()
        raw = self.usable(loop.time())
        if raw is None:
            async with deadline.limit():
                await self.connect()
            raw = cast("RawConnection", self._raw)
            self._used_at = loop.time()
        return raw

    async def exchange(
        self,
        packed: Sequence[bytes],
        *,
        deadline: Deadline,
        over: RawConnection | None = None,
        count: int | None = None,
    ) -> tuple[list[Reply], bool]:
        """Send all in one write; their replies, in order, and whether errors are among them. One exchange at a time.
        `over` is what `ready` has just given, for who must know before what it goes over; `count` says how many
        commands these are, if they are in pieces.

        Raises:
            TimeoutError: not all were there by `deadline`. The connection is dropped then, as after
                everything else that is raised.
        """
        wanted = len(packed) if count is None else count
        raw = over or await self.ready(deadline=deadline)
        timer = deadline.call(partial(raw.fail, TimeoutError()))
        try:
            raw.write(b"".join(packed))
            await raw.until(wanted)
        except BaseException:
            await self.drop()
            raise
        finally:
            timer.cancel()
        return self.take(raw, wanted, asyncio.get_running_loop().time())

    def take(self, raw: RawConnection, wanted: int, now: float) -> tuple[list[Reply], bool]:
        """The replies to an exchange of so many commands, all of which are there `now` (loop time), and whether errors
        are among them. If they say that this is not the server to ask, the connection is dropped."""
        self._used_at = now
        replies, raw.replies = raw.replies, []
        refused = not _PLAIN.issuperset(map(type, replies))
        if len(replies) > wanted or (
            refused and any(isinstance(reply, CommandError) and error_code(reply) in _WRONG_SERVER for reply in replies)
        ):
            self.discard()
        return replies, refused

    async def send(self, packed: bytes) -> bool:
        """Send without waiting for an answer, unless not connected (then False)."""
        if self._raw is None:
            return False
        self._raw.write(packed)
        return True

    async def receive(self) -> list[Reply]:
        """Wait for a message; it and all that came with it. Breaking it off drops the connection."""
        raw = self._raw
        if raw is None:
            raise ConnectionResetError("the connection was dropped")
        try:
            if not raw.replies:
                await raw.until(1)
        except BaseException:
            await self.drop()
            raise
        replies, raw.replies = raw.replies, []
        return replies
