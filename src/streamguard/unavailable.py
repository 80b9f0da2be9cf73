"""Why a store cannot be used, in one word of a closed list. Nothing that a server said goes into it."""

from __future__ import annotations

import re
import ssl
from enum import StrEnum
from errno import EADDRNOTAVAIL, ECONNREFUSED, EHOSTDOWN, EHOSTUNREACH, EMFILE, ENETDOWN, ENETUNREACH, ENFILE, ENOENT
from socket import gaierror
from typing import Final

__all__ = ["Unavailable", "UnavailableReason", "reason_of", "reason_of_connection"]


class UnavailableReason(StrEnum):
    """Why a store did not do what it was asked: the `reason` of the errors for that.

    Logs and Sentry have it as `error_reason`. The pages about Redis and about message stores say what to do about each.
    """

    # it answered, and refused
    OUT_OF_MEMORY = "out_of_memory"
    DISK_FULL = "disk_full"
    CANNOT_PERSIST = "cannot_persist"
    """It takes no writes, because it could not save its data to disk."""
    READ_ONLY = "read_only"
    """It is a replica, or was told to take no writes."""
    STARTING = "starting"
    SHUTTING_DOWN = "shutting_down"
    BUSY = "busy"
    """A script keeps it from doing anything else."""
    LOCKED = "locked"
    """A lock that somebody else holds did not become free in time."""
    DEADLOCK = "deadlock"
    TOO_MANY_CONNECTIONS = "too_many_connections"
    POOL_FULL = "pool_full"
    """Every connection of this process's pool is in use."""
    WRONG_PASSWORD = "wrong_password"  # noqa: S105 -- none
    PASSWORD_NEEDED = "password_needed"  # noqa: S105 -- none
    FORBIDDEN = "forbidden"
    """The account may not do that."""
    PROTECTED_MODE = "protected_mode"
    COMMAND_UNKNOWN = "command_unknown"
    NO_DATABASE = "no_database"
    TABLES_MISSING = "tables_missing"
    TOO_FEW_REPLICAS = "too_few_replicas"
    MASTER_DOWN = "master_down"
    """It is a replica without a connection to its master."""
    CLUSTER_DOWN = "cluster_down"
    SLOT_MOVED = "slot_moved"
    """Another server of the cluster has it."""
    TRY_AGAIN = "try_again"
    """Asking again is all that is needed."""
    NO_CLUSTER = "no_cluster"
    # no connection, or one that ended
    CONNECTION_REFUSED = "connection_refused"
    CONNECTION_LOST = "connection_lost"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    """There is no way to it, or the connection failed for a reason of its own."""
    HOST_UNKNOWN = "host_unknown"
    TLS_FAILED = "tls_failed"
    TOO_MANY_FILES = "too_many_files"
    """This process may not open another file or connection."""
    WRONG_SERVER = "wrong_server"
    """What answers there speaks something else."""
    # of Sentinel: see `NoMasterError`
    NO_SENTINEL = "no_sentinel"
    SENTINEL_LOGIN = "sentinel_login"
    UNKNOWN_SERVICE = "unknown_service"
    NO_MASTER = "no_master"
    # it was not asked
    PAUSED = "paused"
    """It failed each time of late."""
    CLOSED = "closed"
    """The store was closed in this process."""
    OTHER = "other"
    """None of these, or not known: of a store of the host's own, say."""


class Unavailable:
    """An error that says why a store or a service could not be used: its `reason`."""

    reason: UnavailableReason


_CAUSES: Final = 5
"""How many `raise … from …` are followed."""


def reason_of(error: BaseException | None) -> UnavailableReason:
    """Why a store could not be used, as the error or one of its next causes says; `OTHER` if none says so."""
    for _ in range(_CAUSES):
        found: object = error
        if isinstance(found, Unavailable) and found.reason is not UnavailableReason.OTHER:
            return found.reason
        error = None if error is None else error.__cause__
    return UnavailableReason.OTHER


_BY_NUMBER: Final = {
    ECONNREFUSED: UnavailableReason.CONNECTION_REFUSED,
    ENOENT: UnavailableReason.CONNECTION_REFUSED,  # of a socket in the file system
    EMFILE: UnavailableReason.TOO_MANY_FILES,
    ENFILE: UnavailableReason.TOO_MANY_FILES,
    **dict.fromkeys((EHOSTUNREACH, ENETUNREACH, EHOSTDOWN, ENETDOWN, EADDRNOTAVAIL), UnavailableReason.UNREACHABLE),
}
"""By the number of an `OSError`. Of the addresses of one host, the first of these that any of them had counts."""


def reason_of_connection(error: BaseException) -> UnavailableReason:
    """Why there is no connection, or why it ended, by the kind of the error that says so."""
    match error:
        case TimeoutError():
            return UnavailableReason.TIMEOUT
        case ssl.SSLError():
            return UnavailableReason.TLS_FAILED
        case gaierror():
            return UnavailableReason.HOST_UNKNOWN
        case ConnectionRefusedError():
            return UnavailableReason.CONNECTION_REFUSED
        case ConnectionError() | EOFError():
            return UnavailableReason.CONNECTION_LOST
        case OSError():
            numbers = _numbers_of(error)
            return next((_BY_NUMBER[one] for one in _BY_NUMBER if one in numbers), UnavailableReason.UNREACHABLE)
    return UnavailableReason.OTHER


def _numbers_of(error: OSError) -> set[int]:
    """The numbers of an error; asyncio puts those of a host with several addresses into one text."""
    if error.errno is not None:
        return {error.errno}
    return {int(number) for number in re.findall(r"\[Errno (\d+)\]", str(error))}
