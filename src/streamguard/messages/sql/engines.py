"""Differences between databases: engines, clocks and ids."""

from __future__ import annotations

import math
from typing import Final

from sqlalchemy import ColumnElement, Double, Table, and_, func, literal_column
from sqlalchemy.dialects.mysql import VARBINARY
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import StaticPool

from ...distribution import install_command
from ...errors import ConfigurationError
from ...values import SessionKey
from .tables import BYTES_FOR_IDS

__all__ = [
    "ResponseIds",
    "StoredId",
    "clock_of",
    "ids_of",
    "isolated",
    "make_engine",
    "matching",
    "stored_id",
    "text_of",
]

_EXTRAS: Final = {"sqlite": "sqlite", "postgresql": "postgresql", "mysql": "mysql", "mariadb": "mysql"}
"""The extra that brings each dialect's driver."""

_DRIVERS: Final = {
    "sqlite": "sqlite+aiosqlite",
    "postgresql": "postgresql+asyncpg",
    "mysql": "mysql+asyncmy",
    "mariadb": "mariadb+asyncmy",
}

_PACKAGES: Final = frozenset({"aiosqlite", "asyncpg", "asyncmy"})
"""The drivers that the extras install."""

_CLOCKS: Final = {
    "sqlite": "(julianday('now') - 2440587.5) * 86400.0",
    # now() does not move within a transaction, even while it waits for a lock.
    "postgresql": "CAST(extract(epoch from clock_timestamp()) AS double precision)",
    # UNIX_TIMESTAMP() uses the connection's time zone, in which one hour of the year occurs twice.
    "mysql": "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) / 1e6",
}
_CLOCKS["mariadb"] = _CLOCKS["mysql"]

_RECYCLE_SECONDS: Final = 1800
"""Shorter than MySQL's `wait_timeout`, and than the time after which firewalls drop idle connections."""

_MOST_IDLE_SECONDS: Final = 31_536_000
"""The longest `idle_transaction_timeout` of MariaDB, which refuses others if `sql_mode` has STRICT_ALL_TABLES."""

_BUSY_SHARE: Final = 0.8
"""The part of a call's time for which SQLite waits for a lock, so that it gives up before the call's deadline cuts the
connection."""

StoredId = str | ColumnElement[bytes]
"""An id to store or to compare with."""

ResponseIds = dict[str, StoredId]
"""Columns that hold ids, and the values to compare them with."""


def make_engine(url: str | URL, *, timeout_seconds: float) -> AsyncEngine:
    """An engine for one store.

    Raises:
        ConfigurationError: `url` is not a URL, or names another database, a driver without asyncio, or a driver that is
            not installed. The text never repeats the URL, which may hold a password.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # their text repeats the URL
        raise ConfigurationError("the database URL is no SQLAlchemy URL, as postgresql+asyncpg://…/…") from None
    dialect = parsed.get_backend_name()
    if dialect not in _EXTRAS:
        raise _unknown(dialect)
    try:
        return create_async_engine(
            parsed,
            connect_args=_connect_args(parsed, dialect, timeout_seconds),
            hide_parameters=True,  # parameters hold messages
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


def _connect_args(url: URL, dialect: str, timeout_seconds: float) -> dict[str, float | str]:
    if dialect == "sqlite":
        return {"timeout": timeout_seconds * _BUSY_SHARE}
    if dialect in BYTES_FOR_IDS and "init_command" not in url.query:
        # MariaDB ends a transaction that stands still. MySQL has no such setting, and reads this as a comment.
        # `Sessions.lock` does the same on PostgreSQL.
        idle = f"/*M!100301 idle_transaction_timeout = {min(math.ceil(timeout_seconds), _MOST_IDLE_SECONDS)}, */"
        return {"init_command": f"SET {idle} @streamguard = 1"}
    return {}


def isolated(engine: AsyncEngine) -> AsyncEngine:
    """The same engine; on PostgreSQL with an isolation level at which each statement sees what was committed before it,
    whatever the host chose. Under `SERIALIZABLE` steps would fail needlessly; under `AUTOCOMMIT` they would not be
    atomic.

    On PostgreSQL this option costs nothing. On other databases `Sessions.lock` sets the level: on MySQL the option runs
    statements at each checkout and return, and a call that is cancelled during one of them leaves its connection to the
    garbage collector.

    Raises:
        ConfigurationError: the engine has one connection for all tasks, as SQLite in memory does.
    """
    if isinstance(engine.sync_engine.pool, StaticPool):
        raise ConfigurationError(
            "transactions on one shared connection would mix: give SQLite a file, or use MemoryMessageStore"
        )
    if engine.dialect.name != "postgresql":
        return engine
    return engine.execution_options(isolation_level="READ COMMITTED")


def clock_of(engine: AsyncEngine) -> ColumnElement[float]:
    """The database's own clock as Unix time, so that all processes use the same clock.

    Raises:
        ConfigurationError: the database is not supported.
    """
    if engine.dialect.name not in _CLOCKS:
        raise _unknown(engine.dialect.name)
    return literal_column(_CLOCKS[engine.dialect.name], Double())


def ids_of(engine: AsyncEngine, key: SessionKey, message_id: str | None = None) -> ResponseIds:
    """The columns and values that identify a session, or a message in it."""
    found = {"owner": key.owner, "session_id": key.session_id}
    if message_id is not None:
        found["message_id"] = message_id
    return {name: stored_id(engine.dialect.name, value) for name, value in found.items()}


def stored_id(dialect: str, found: str | bytes) -> StoredId:
    """An id, or what a row has of one, in the form in which a statement for this dialect takes it.

    On MySQL and MariaDB it travels as hexadecimal digits. The drivers put values into the text of a statement, and
    asyncmy 0.2.18 escapes bytes with backslashes even if the server takes backslashes literally (`sql_mode`
    NO_BACKSLASH_ESCAPES): then an id with a quote would end its literal, and what follows would be carried out.
    """
    if dialect not in BYTES_FOR_IDS:
        return text_of(found)
    raw = found.encode() if isinstance(found, str) else found
    return func.unhex(raw.hex(), type_=VARBINARY())


def text_of(stored: str | bytes) -> str:
    """The text of a stored id. Raises `UnicodeDecodeError` if it is not UTF-8."""
    return stored.decode() if isinstance(stored, bytes) else stored


def matching(table: Table, ids: ResponseIds) -> ColumnElement[bool]:
    """The condition for rows of `table` with these ids. A table without `message_id` is searched by session."""
    return and_(*(table.c[name] == value for name, value in ids.items() if name in table.c))


def _other_driver(url: URL) -> ConfigurationError:
    return ConfigurationError(f"use {_DRIVERS[url.get_backend_name()]}://, not {url.drivername}://")


def _unknown(dialect: str) -> ConfigurationError:
    return ConfigurationError(f"{dialect} is not supported: {', '.join(_DRIVERS.values())}")
