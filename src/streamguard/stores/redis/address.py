"""Where a Redis is and how to log in: URLs, credentials, TLS."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from copy import copy
from socket import SO_KEEPALIVE, SOL_SOCKET
from typing import Final, cast
from urllib.parse import urlsplit

from redis.asyncio.connection import parse_url

from ...errors import ConfigurationError
from .driver import RawConnection, pack
from .tls import VERIFY, Tls

__all__ = ["Address", "ClusterAddress"]

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


class Address:
    """Where a single Redis is and how to log in. Its `str` holds no credential."""

    def __init__(self, url: str) -> None:
        """Raises `ConfigurationError` for anything but `redis://`, `rediss://` and `unix://` URLs; its text never
        repeats the URL, since a password with a slash in it ends up in the strangest places."""
        scheme = self._scheme = url.partition("://")[0]
        if scheme not in ("redis", "rediss", "unix"):
            raise ConfigurationError("the URL of a single Redis begins with redis://, rediss:// or unix://")
        try:
            self._options: dict[str, object] = dict(parse_url(url))
            port = self._options.get("port", 6379)
            read = urlsplit(url)
            if "#" in url or ("@" in read.query and "@" not in read.netloc):
                raise ValueError("what looks like a host and a port is the beginning of a login")
            # redis-py takes a database it cannot read for 0.
            if scheme != "unix" and _DATABASE.fullmatch(read.path) is None:
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
        if self._options.get("ssl_cert_reqs", "none") not in VERIFY:
            raise ConfigurationError(f"ssl_cert_reqs is one of {', '.join(VERIFY)}")
        options = {name: str(value) for name, value in self._options.items() if name.startswith("ssl_")}
        self._tls = Tls(options) if scheme == "rediss" else None
        if scheme == "unix":
            if "path" not in self._options:
                raise ConfigurationError("a unix:// URL names a socket: unix:///run/redis.sock?db=0")
            self._text = f"unix://{self._options['path']}"
        else:
            self._text = f"{scheme}://{self._options.get('host', 'localhost')}:{port}"

    def __str__(self) -> str:
        return self._text

    def at(self, host: str, port: int) -> Address:
        """The same login at another place."""
        other = copy(self)
        other._options = {**self._options, "host": host, "port": port}  # noqa: SLF001 -- its own class
        other._text = f"{self._scheme}://{_bracketed(host)}:{port}"  # noqa: SLF001
        return other

    @property
    def host(self) -> str:
        """A name or an IP address; empty for a socket."""
        return "" if self._scheme == "unix" else str(self._options.get("host", "localhost"))

    @property
    def port(self) -> int:
        """As the URL says it."""
        return cast("int", self._options.get("port", 6379))

    @property
    def database(self) -> int:
        """The number of the database."""
        return cast("int", self._options.get("db", 0))

    async def connect(self, protocol: Callable[[], RawConnection] = RawConnection) -> RawConnection:
        """Connect and log in. It has no timeout: its user has a deadline.

        Raises:
            OSError: nobody answers there, or TLS failed.
            CommandError: the server refused the credentials or the database.
        """
        loop, options = asyncio.get_running_loop(), self._options
        path = options.get("path")
        if isinstance(path, str):
            _, raw = await loop.create_unix_connection(protocol, path)
        else:
            host, port = str(options.get("host", "localhost")), cast("int", options.get("port", 6379))
            tls = None if self._tls is None else self._tls.context()
            _, raw = await loop.create_connection(protocol, host, port, ssl=tls)
            raw.transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_KEEPALIVE, 1)
        try:
            await raw.log_in(self._greeting())
        except BaseException:
            raw.close()
            raise
        return raw

    def _greeting(self) -> list[bytes]:
        """The commands that come first on a connection, packed."""
        options = self._options
        commands: list[tuple[str | bytes | int, ...]] = []
        username, password = options.get("username"), options.get("password")
        if username or password:
            named = (str(username),) if username else ()
            commands.append(("AUTH", *named, str(password or "")))
        database = cast("int", options.get("db", 0))
        if database:
            commands.append(("SELECT", database))
        return [pack(command) for command in commands]


class ClusterAddress:
    """Some servers of a Redis Cluster, and how to log in to all of its servers. Its `str` holds no credential."""

    def __init__(self, url: str) -> None:
        """Raises `ConfigurationError` for anything but `redis+cluster://` and `rediss+cluster://` URLs; its text never
        repeats the URL."""
        scheme, _, rest = url.partition("://")
        if scheme not in CLUSTER_SCHEMES:
            raise ConfigurationError("the URL of a Redis Cluster begins with redis+cluster:// or rediss+cluster://")
        authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
        login, at, hosts = authority.rpartition("@")
        try:
            if "@" in login or ("," in hosts and "" in hosts.split(",")):  # a login for each server, or none of a name
                raise ConfigurationError("")
            named = [CLUSTER_SCHEMES[scheme] + login + at + host + rest[len(authority) :] for host in hosts.split(",")]
            self.seeds: Final = tuple(Address(one) for one in named)
            """The servers that the URL names: through any of them all others are found."""
        except ConfigurationError as exc:
            if str(exc).startswith(("a Redis URL takes", "ssl_")):
                raise
            raise ConfigurationError(
                f"this {scheme}:// URL cannot be read; its form is scheme://user:password@host:port,host:port, one "
                "login for all servers, with special characters percent-encoded"
            ) from None
        if any(seed.database for seed in self.seeds):
            raise ConfigurationError("a Redis Cluster has one database: leave its number out of the URL")
        self._text = f"{scheme}://" + ",".join(f"{_bracketed(seed.host)}:{seed.port}" for seed in self.seeds)

    def __str__(self) -> str:
        return self._text


CLUSTER_SCHEMES: Final = {"redis+cluster": "redis://", "rediss+cluster": "rediss://"}
"""With how a URL of one of its servers would begin."""


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
