"""What differs between databases: engines, clocks and ids."""

from __future__ import annotations

from typing import Final

from sqlalchemy import ColumnElement, Double, Table, and_, literal_column
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import StaticPool

from ...distribution import install_command
from ...errors import ConfigurationError
from ...values import SessionKey
from .tables import BYTES_FOR_IDS

__all__ = ["ResponseIds", "clock_of", "ids_of", "isolated", "make_engine", "matching", "stored_id", "text_of"]

_EXTRAS: Final = {"sqlite": "sqlite", "postgresql": "postgresql", "mysql": "mysql", "mariadb": "mysql"}
"""The extra that brings each dialect's driver."""

_DRIVERS: Final = {
    "sqlite": "sqlite+aiosqlite",
    "postgresql": "postgresql+asyncpg",
    "mysql": "mysql+asyncmy",
    "mariadb": "mariadb+asyncmy",
}

_PACKAGES: Final = frozenset({"aiosqlite", "asyncpg", "asyncmy"})
"""What the extras install."""

_CLOCKS: Final = {
    "sqlite": "(julianday('now') - 2440587.5) * 86400.0",
    # now() stands still within a transaction, even while it waits for a lock.
    "postgresql": "CAST(extract(epoch from clock_timestamp()) AS double precision)",
    # UNIX_TIMESTAMP() goes through the connection's time zone, where an hour a year comes twice.
    "mysql": "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) / 1e6",
}
_CLOCKS["mariadb"] = _CLOCKS["mysql"]

_RECYCLE_SECONDS: Final = 1800
"""Less than MySQL's `wait_timeout`, and than the time after which firewalls forget idle connections."""

_BUSY_SHARE: Final = 0.8
"""SQLite gives up waiting for a lock before the call's own deadline cuts the connection."""

ResponseIds = dict[str, str | bytes]
"""Columns that hold ids, and what to compare them with."""


def make_engine(url: str | URL, *, timeout_seconds: float) -> AsyncEngine:
    """An engine for one store.

    Raises:
        ConfigurationError: not a URL, another database, a driver without asyncio, or one that is not installed. The
            text never repeats the URL: a password may be in it.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # its text repeats the URL
        raise ConfigurationError("the database URL is no SQLAlchemy URL, as postgresql+asyncpg://…/…") from None
    dialect = parsed.get_backend_name()
    if dialect not in _EXTRAS:
        raise _unknown(dialect)
    options: dict[str, float] = {"timeout": timeout_seconds * _BUSY_SHARE} if dialect == "sqlite" else {}
    try:
        return create_async_engine(
            parsed,
            connect_args=options,
            hide_parameters=True,  # they hold messages
            pool_pre_ping=True,
            pool_recycle=_RECYCLE_SECONDS,
        )
    except ImportError as exc:
        if exc.name not in _PACKAGES:
            raise _other_driver(parsed) from exc
        raise ConfigurationError(
            f"the driver of {parsed.drivername} is missing: `{install_command(_EXTRAS[dialect])}`"
        ) from exc
    except InvalidRequestError as exc:
        raise _other_driver(parsed) from exc


def isolated(engine: AsyncEngine) -> AsyncEngine:
    """The same engine; on PostgreSQL one on which each statement sees what was committed before it, whatever the host
    chose. Under `SERIALIZABLE` steps would fail needlessly, under `AUTOCOMMIT` they would fall apart.

    There it costs nothing. Elsewhere `Sessions.lock` sees to it: on MySQL the option takes statements at each checkout
    and return, and a call that is cancelled during one of them loses its connection to the garbage collector.

    Raises:
        ConfigurationError: the engine has one connection for all, as SQLite in memory does.
    """
    if isinstance(engine.sync_engine.pool, StaticPool):
        raise ConfigurationError(
            "transactions on one shared connection would mix: give SQLite a file, or use MemoryMessageStore"
        )
    if engine.dialect.name != "postgresql":
        return engine
    return engine.execution_options(isolation_level="READ COMMITTED")


def clock_of(engine: AsyncEngine) -> ColumnElement[float]:
    """The database's own clock, as Unix time: many processes, one time.

    Raises:
        ConfigurationError: the database is none of those that are supported.
    """
    if engine.dialect.name not in _CLOCKS:
        raise _unknown(engine.dialect.name)
    return literal_column(_CLOCKS[engine.dialect.name], Double())


def ids_of(engine: AsyncEngine, key: SessionKey, message_id: str | None = None) -> ResponseIds:
    """The columns that find a session, or a message in it."""
    found = {"owner": key.owner, "session_id": key.session_id}
    if message_id is not None:
        found["message_id"] = message_id
    return {name: stored_id(engine.dialect.name, value) for name, value in found.items()}


def stored_id(dialect: str, text: str) -> str | bytes:
    """An id as the tables of a dialect have it."""
    return text.encode() if dialect in BYTES_FOR_IDS else text


def text_of(stored: str | bytes) -> str:
    """An id that the tables have. Raises `UnicodeDecodeError` for what is none."""
    return stored.decode() if isinstance(stored, bytes) else stored


def matching(table: Table, ids: ResponseIds) -> ColumnElement[bool]:
    """The rows of `table` that have these ids; a table without `message_id` is searched by session."""
    return and_(*(table.c[name] == value for name, value in ids.items() if name in table.c))


def _other_driver(url: URL) -> ConfigurationError:
    return ConfigurationError(f"use {_DRIVERS[url.get_backend_name()]}://, not {url.drivername}://")


def _unknown(dialect: str) -> ConfigurationError:
    return ConfigurationError(f"{dialect} is not supported: {', '.join(_DRIVERS.values())}")
