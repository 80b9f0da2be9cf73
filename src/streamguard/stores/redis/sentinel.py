"""A Redis whose master Sentinel names, of now or after a failover.

Every connection first asks a sentinel where the master is, and is used only if that server says that it is one. One
further connection for each event loop stays subscribed to that sentinel: when it tells of a new master, connections to
the old one end at once. A sentinel that falls silent is left for another one. An old master that nobody told takes
itself for one for about ten seconds more, and everything written to it in that time is lost.

Protocol: https://redis.io/docs/latest/develop/reference/sentinel-clients/
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final, cast
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from ...deadlines import Deadline
from ...errors import ConfigurationError
from ...loops import PerLoop
from ...unavailable import UnavailableReason
from .address import Address
from .driver import DRIVER_ERRORS, CommandError, RawConnection, pack
from .refusals import error_code

__all__ = ["SentinelAddress", "UnresolvedError"]

_PORT: Final = 26_379
_ASK_SECONDS: Final = 0.25
"""How long one sentinel may take at first, connecting included: three that are silent must fit into the time of one
command. It doubles while none answers."""
_LONGEST_ASK_SECONDS: Final = 4.0

_PROBE_SECONDS: Final = 2.0
"""A sentinel that is listened to, and brought nothing for this long, gets a PING; after as long again, it is gone."""
_PING: Final = pack(("PING",))

_SWITCHED: Final = b"+switch-master"
_LOGIN_CODES: Final = frozenset({"NOAUTH", "NOPERM", "WRONGPASS"})


class UnresolvedError(OSError):
    """Sentinel names no master that can be used. `reason` is one of those of `NoMasterError`."""

    def __init__(self, reason: UnavailableReason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class _Watch:
    """The connections of one event loop to masters, and the one that hears of a new master."""

    def __init__(self, service: bytes) -> None:
        self._service = service
        self._places: dict[RawConnection, tuple[str, int]] = {}
        self._listener: _SentinelConnection | None = None
        self._probe: asyncio.TimerHandle | None = None
        self._heard = True
        """Something came since the last probe."""
        self.told: tuple[int, tuple[str, int] | None] = (0, None)
        """How often a new master was told of, and the last one."""

    @property
    def listening(self) -> bool:
        return self._listener is not None

    def listen(self, connection: _SentinelConnection) -> None:
        """Hear of new masters on a connection to a sentinel that is subscribed."""
        self._listener = connection
        connection.on_message = self.heard
        connection.on_end = self._deaf
        self._heard = True
        self._probe_later()

    def _probe_later(self) -> None:
        self._probe = asyncio.get_running_loop().call_later(_PROBE_SECONDS, self._probed)

    def _probed(self) -> None:
        """A sentinel that is silent, or out of reach, could not tell of a new master."""
        listener, heard, self._heard = self._listener, self._heard, False
        if listener is None:
            return
        if not heard:
            listener.close()
            return
        self._probe_later()
        with suppress(ConnectionResetError):
            listener.write(_PING)

    def _no_more_probes(self) -> None:
        if self._probe is not None:
            self._probe.cancel()
            self._probe = None

    def add(self, raw: RawConnection, place: tuple[str, int]) -> None:
        """Watch a connection to a master until it ends."""
        self._places[raw] = place
        raw.on_end = lambda: self._remove(raw)

    def close_if_unused(self) -> None:
        """Hear nothing more if nobody needs to."""
        listener = self._listener
        if listener is not None and not self._places:
            self._listener = listener.on_end = None
            self._no_more_probes()
            listener.close()

    def abandon(self) -> None:
        """Give up without the event loop, which is closed."""
        listener, self._listener = self._listener, None
        self._no_more_probes()
        if listener is not None:
            listener.on_end = None
            listener.abandon()

    def _remove(self, raw: RawConnection) -> None:
        self._places.pop(raw, None)
        self.close_if_unused()

    def heard(self, message: object) -> None:
        """A message to a subscribed connection."""
        self._heard = True
        match message:
            case [b"message", bytes() as channel, bytes() as text] if channel == _SWITCHED:
                name, *words = text.split(b" ")
                if name == self._service and len(words) == 4:
                    self._switch((words[2].decode(), int(words[3])))

    def _switch(self, place: tuple[str, int]) -> None:
        self.told = self.told[0] + 1, place
        for raw, other in tuple(self._places.items()):
            if other != place:
                raw.lose(ConnectionResetError("Sentinel names another master now"))

    def _deaf(self) -> None:
        """The sentinel is gone. Whoever connects next finds another one to listen to."""
        self._listener = None
        self._no_more_probes()
        for raw in self._places:
            raw.retired = True


class _SentinelConnection(RawConnection):
    """A connection to a sentinel. Once `on_message` is set, what arrives goes there."""

    def __init__(self) -> None:
        super().__init__()
        self.on_message: Callable[[object], None] | None = None

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.on_message is not None:
            replies, self.replies = self.replies, []
            for reply in replies:
                self.on_message(reply)


class SentinelAddress:
    """Where the sentinels are, whose master is meant, and how to log in to both. Its `str` holds no credential."""

    def __init__(self, url: str) -> None:
        """Raises `ConfigurationError` for anything but a `redis+sentinel://` or `rediss+sentinel://` URL."""
        scheme = url.partition("://")[0]
        base = scheme.partition("+")[0]
        try:
            login, hosts, service, database, options = _parts(url)
            self._sentinels = [_place(host) for host in hosts]
            own = {name[9:]: options.pop(name) for name in _SENTINEL_OPTIONS if name in options}
            query = urlencode({name: value for name, value in options.items() if name.startswith("ssl_")})
            self._master = Address(f"{base}://{login}localhost/{database}?{urlencode(options)}")
            username, password = own.get("username", ""), own.get("password", "")
            asking = f"{quote(username, safe='')}:{quote(password, safe='')}@" if own else ""
            self._asking = Address(f"{base}://{asking}localhost?{query}")
        except ValueError:
            raise ConfigurationError(
                f"this {scheme}:// URL cannot be read; its form is "
                f"{scheme}://user:password@host:port,host:port/service/database, with special characters "
                "percent-encoded; sentinels with a password of their own take ?sentinel_password=…"
            ) from None
        self._service = service
        names = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self._sentinels)
        self._text = f"{scheme}://{names}/{service}"
        self._ask_seconds = _ASK_SECONDS
        self._watches: PerLoop[_Watch] = PerLoop(lambda: _Watch(service.encode()), _Watch.abandon)

    def __str__(self) -> str:
        return self._text

    async def connect(self) -> RawConnection:
        """Connect to the present master and log in. It has no timeout: its user has a deadline.

        Raises:
            UnresolvedError: the sentinels name none that can be used.
            OSError: the one they name does not answer, or TLS failed.
            CommandError: it refused the credentials or the database.
        """
        watch = self._watches.get()
        tried: set[tuple[str, int]] = set()
        answered = ignorant = False
        refused: CommandError | None = None
        failure: OSError | None = None
        try:
            for sentinel in tuple(self._sentinels):
                self._rank(sentinel, first=False)  # unless all goes well, another one is asked first next time
                told_before, _ = watch.told
                try:
                    async with Deadline.after(self._ask_seconds).limit():
                        place = await self._ask(sentinel, watch)
                except CommandError as exc:
                    refused = exc
                    continue
                except DRIVER_ERRORS:
                    continue
                answered, ignorant = True, ignorant or place is None
                if place is None or place in tried:
                    continue
                tried.add(place)
                try:
                    raw = await self._connect_to(place, watch, told_before)
                except OSError as exc:  # another sentinel may know better
                    failure = exc
                    continue
                self._rank(sentinel, first=True)
                return raw
        finally:
            self._ask_seconds = _ASK_SECONDS if answered else min(2 * self._ask_seconds, _LONGEST_ASK_SECONDS)
            watch.close_if_unused()
        if failure is not None:
            raise failure
        if ignorant:
            raise UnresolvedError(UnavailableReason.UNKNOWN_SERVICE, f"no sentinel knows the service {self._service}")
        if refused is None:
            raise UnresolvedError(UnavailableReason.NO_SENTINEL, "no sentinel answers")
        if error_code(refused) in _LOGIN_CODES or "AUTH" in str(refused):
            text = "the sentinels want other credentials (sentinel_username, sentinel_password)"
            raise UnresolvedError(UnavailableReason.SENTINEL_LOGIN, text) from refused
        raise UnresolvedError(UnavailableReason.NO_SENTINEL, "the servers named as sentinels are none") from refused

    def _rank(self, sentinel: tuple[str, int], *, first: bool) -> None:
        others = [one for one in self._sentinels if one != sentinel]
        self._sentinels = [sentinel, *others] if first else [*others, sentinel]

    async def _ask(self, sentinel: tuple[str, int], watch: _Watch) -> tuple[str, int] | None:
        """Where the master is, as one sentinel says; None if it does not know the service."""
        asked = cast("_SentinelConnection", await self._asking.at(*sentinel).connect(_SentinelConnection))
        listens = False
        try:
            asking = [pack(("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service))]
            if not watch.listening:
                asking.append(pack(("SUBSCRIBE", _SWITCHED)))
            answer, *subscribed = await asked.ask(asking)
            if isinstance(answer, CommandError):
                raise answer
            match answer:
                case [bytes() as host, bytes() as port]:
                    place = host.decode(), int(port)
                case _:
                    return None
            listens = bool(subscribed) and isinstance(subscribed[0], list) and not watch.listening
            if listens:
                watch.listen(asked)
                for message in subscribed[1:]:  # it came at once
                    watch.heard(message)
            return place
        finally:
            if not listens:
                asked.close()

    async def _connect_to(self, place: tuple[str, int], watch: _Watch, told_before: int) -> RawConnection:
        """A connection to the server that a sentinel named, which must be a master, and the one that was told of last
        since `told_before`, if any was."""
        raw = await self._master.at(*place).connect()
        try:
            (role,) = await raw.ask([pack(("ROLE",))])
            # An account that may not ask gets READONLY when it writes, and connects anew.
            if isinstance(role, list) and role[0] != b"master":
                raise UnresolvedError(
                    UnavailableReason.NO_MASTER, "the server that the sentinels name is no master, or not yet"
                )
            times, latest = watch.told
            if times != told_before and latest != place:  # it does not know itself that it was replaced meanwhile
                raise UnresolvedError(UnavailableReason.NO_MASTER, "the sentinels have just named another master")
        except BaseException:
            raw.close()
            raise
        watch.add(raw, place)
        return raw


_SENTINEL_OPTIONS: Final = ("sentinel_username", "sentinel_password")


def _parts(url: str) -> tuple[str, list[str], str, str, dict[str, str]]:
    """The login with its at sign or nothing, the hosts, the service, the database or nothing, and the options.

    Raises:
        ValueError: it has another form.
    """
    _, _, rest = url.partition("://")
    rest, _, query = rest.partition("?")
    authority, _, path = rest.partition("/")
    login, at, hosts = authority.rpartition("@")
    service, _, database = path.partition("/")
    if not service or "@" in path or "@" in login or (database and not database.isdecimal()):
        raise ValueError("no service, or a credential that is not encoded")
    options = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    return login + at, hosts.split(","), unquote(service), database, options


def _place(text: str) -> tuple[str, int]:
    """A host and its port.

    Raises:
        ValueError: there is none.
    """
    read = urlsplit(f"//{text}")
    if not read.hostname or read.username is not None:
        raise ValueError("no host")
    return read.hostname, read.port or _PORT
