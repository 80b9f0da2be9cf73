"""Maps exceptions of SQLAlchemy and the drivers to the errors of the contract."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from ...errors import (
    MessageConflictError,
    MessageInvalidError,
    MessageStoreError,
    MessageUnavailableError,
)
from ...unavailable import UnavailableReason, reason_of_connection
from .refusals import explained, reason_of_code

__all__ = ["RaceLostError", "as_message_error", "mapped_errors", "only_reads"]

_DRIVERS: Final = frozenset({"aiomysql", "aiosqlite", "asyncmy", "asyncpg", "pymysql", "sqlite3"})
"""Packages whose exceptions come from a database. SQLAlchemy does not wrap some of them while it connects."""

_DUPLICATES: Final = frozenset({"23505", "1062", "SQLITE_CONSTRAINT_PRIMARYKEY", "SQLITE_CONSTRAINT_UNIQUE"})

_CHECKS: Final = frozenset({"4025", "3819"})
"""Codes of a failed CHECK in MariaDB and MySQL, which their drivers do not report as an integrity error."""

_UNHOLDABLE: Final = frozenset(
    {
        # PostgreSQL: program limit (such as a value over a gigabyte); text that its encoding lacks; NUL
        "54000",
        "22001",
        "22003",
        "22021",
        "22P05",
        # MySQL and MariaDB: packet too large, data too long, out of range, text that its character set lacks
        "1153",
        "1264",
        "1366",
        "1406",
        "SQLITE_TOOBIG",
        "SQLITE_MISMATCH",
    }
)

_ONLY_READS: Final = frozenset(
    {
        "25006",
        # MySQL and MariaDB: --read-only, a transaction that only reads, a server that only reads
        "1290",
        "1792",
        "1836",
    }
)

_NAMES: Final = frozenset({UnavailableReason.NO_DATABASE})
"""What else may be missing under one of the next codes."""

_CAUSES: Final = 5
"""How many exceptions that another one came of are followed."""

_MISSING: Final = frozenset({"42P01", "42703", "3F000", "1146", "1054", "1049"})
"""Codes for a missing table, column, schema or database. SQLite has no code for it."""


class RaceLostError(MessageConflictError):
    """Another writer inserted a row with the same key first. Reading again shows that row."""


@contextmanager
def mapped_errors(operation: str) -> Iterator[None]:
    """Turns exceptions of a database, its driver or SQLAlchemy into a `MessageStoreError`. Other exceptions pass."""
    try:
        yield
    except MessageStoreError:
        raise
    except Exception as exc:
        mapped = as_message_error(operation, exc)
        if mapped is None:
            raise
        if isinstance(exc, UnicodeEncodeError):
            raise mapped from None  # it carries the whole text
        raise mapped from exc


def as_message_error(operation: str, exc: Exception) -> MessageStoreError | None:
    """The contract's error for `exc`; None for an exception that does not come from a database, such as a bug.

    The text names no host, statement or value. An SQLAlchemy error would show all parameters of the statement in every
    traceback, so this function hides them.
    """
    if isinstance(exc, StatementError):
        exc.hide_parameters = True
    if isinstance(exc, PoolTimeoutError):
        return _unavailable(operation, "no connection to the database came free", UnavailableReason.POOL_FULL)
    if isinstance(exc, DBAPIError):
        return _refused(operation, exc)
    if isinstance(exc, StatementError | UnicodeEncodeError):
        # The statement was never sent: the driver cannot encode a value. asyncmy's own exception is not wrapped.
        return MessageInvalidError(f"{operation}: the database cannot hold this", operation=operation)
    if isinstance(exc, SQLAlchemyError | OSError | EOFError) or type(exc).__module__.split(".")[0] in _DRIVERS:
        what = f"the database cannot be reached ({type(exc).__name__})"
        return _unavailable(operation, what, _reason_of(exc, "" if isinstance(exc, OSError) else _code(exc)))
    return None


def only_reads(exc: DBAPIError) -> bool:
    """Whether the server at this connection takes no writes: after a failover it may be a replica, or SQLite's file
    was replaced."""
    code = _code(exc.orig)
    return code in _ONLY_READS or code.startswith("SQLITE_READONLY")


def _refused(operation: str, exc: DBAPIError) -> MessageStoreError:
    code = _code(exc.orig)
    if code in _DUPLICATES:
        return RaceLostError(f"{operation}: a row of that key is there ({code})", operation=operation)
    if isinstance(exc, IntegrityError) or code in _CHECKS:
        return MessageInvalidError(
            f"{operation}: a constraint of the database forbids it ({code})", operation=operation
        )
    if code in _UNHOLDABLE or _unencodable(exc.orig):
        return MessageInvalidError(f"{operation}: the database cannot hold this ({code})", operation=operation)
    if code in _MISSING or "no such table" in str(exc.orig) or "no such column" in str(exc.orig):
        reason = reason_of_code(code)
        missing = UnavailableReason.TABLES_MISSING
        return _unavailable(operation, f"the database refused ({code})", reason if reason in _NAMES else missing)
    reason = _reason_of(exc.orig, code)
    if exc.connection_invalidated and not only_reads(exc):
        lost = UnavailableReason.CONNECTION_LOST if reason is UnavailableReason.OTHER else reason
        return _unavailable(operation, f"the connection to the database was lost ({code})", lost)
    return _unavailable(operation, f"the database refused ({code})", reason)


def _unavailable(operation: str, what: str, reason: UnavailableReason) -> MessageUnavailableError:
    return MessageUnavailableError(f"{operation}: {what}: {explained(reason)}", operation=operation, reason=reason)


def _reason_of(error: BaseException | None, code: str) -> UnavailableReason:
    """By its code; by the kind of the connection's error, which drivers wrap, where that says more."""
    by_code = reason_of_code(code)
    if by_code not in (UnavailableReason.OTHER, UnavailableReason.UNREACHABLE):
        return by_code
    for _ in range(_CAUSES):
        if isinstance(error, OSError | EOFError):
            return reason_of_connection(error)
        error = None if error is None else error.__cause__ or error.__context__
    return by_code


def _code(error: BaseException | None) -> str:
    """The database's own code: MySQL's number, an SQLSTATE, or SQLite's name. Without a code, the exception's name."""
    first = error.args[0] if error is not None and error.args else None
    if isinstance(first, int):
        return str(first)
    codes = (getattr(error, name, None) for name in ("sqlstate", "sqlite_errorname"))
    return next((str(code) for code in codes if code), type(error).__name__)


def _unencodable(error: BaseException | None) -> bool:
    """Whether the driver could not encode a value. asyncpg wraps the cause, which stays in the exception's chain."""
    while error is not None:
        if isinstance(error, UnicodeError | OverflowError):
            return True
        error = error.__cause__
    return False
