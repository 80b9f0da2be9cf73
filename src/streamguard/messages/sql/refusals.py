"""What the codes of databases mean, and what an operator does about that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ...unavailable import UnavailableReason

__all__ = ["EXPLAINED", "codes_of", "explained", "reason_of_code"]

_CODES: Final[Mapping[UnavailableReason, tuple[str, ...]]] = {
    # SQLSTATEs of PostgreSQL, then numbers of MySQL and MariaDB, then SQLite's names
    UnavailableReason.OUT_OF_MEMORY: ("53200", "1037", "1038", "1041", "SQLITE_NOMEM"),
    UnavailableReason.DISK_FULL: ("53100", "1021", "1114", "SQLITE_FULL"),
    UnavailableReason.READ_ONLY: ("25006", "1290", "1792", "1836", "SQLITE_READONLY"),
    UnavailableReason.STARTING: ("57P03",),
    UnavailableReason.SHUTTING_DOWN: ("57P01", "57P02", "1053"),
    UnavailableReason.LOCKED: ("55P03", "1205", "SQLITE_BUSY", "SQLITE_LOCKED"),
    UnavailableReason.DEADLOCK: ("40P01", "1213"),
    UnavailableReason.TOO_MANY_CONNECTIONS: ("53300", "1040", "1203", "1226"),
    UnavailableReason.WRONG_PASSWORD: ("28P01", "28000", "1045", "1698"),
    UnavailableReason.FORBIDDEN: ("42501", "1044", "1142", "1143"),
    UnavailableReason.NO_DATABASE: ("3D000", "1049"),
    UnavailableReason.TRY_AGAIN: ("40001",),
    UnavailableReason.TIMEOUT: ("57014",),
    UnavailableReason.CONNECTION_LOST: ("08003", "08006", "2006", "2013"),
    UnavailableReason.UNREACHABLE: ("08001", "2002", "2003", "SQLITE_CANTOPEN"),
}
_BY_CODE: Final = {code: reason for reason, codes in _CODES.items() for code in codes}

EXPLAINED: Final[Mapping[UnavailableReason, str]] = {
    UnavailableReason.OUT_OF_MEMORY: "it is out of memory; give it more, or lower what its connections may use",
    UnavailableReason.DISK_FULL: "its disk is full; free space or enlarge it",
    UnavailableReason.READ_ONLY: "it takes no writes; name the primary in the URL, or wait for the end of the failover",
    UnavailableReason.STARTING: "it is starting; wait until it has",
    UnavailableReason.SHUTTING_DOWN: "it is shutting down, or the connection was ended there; wait until it is back",
    UnavailableReason.LOCKED: "somebody else holds a lock for too long; look for long transactions",
    UnavailableReason.DEADLOCK: "two transactions waited for each other, and this one gave way; it is tried again",
    UnavailableReason.TOO_MANY_CONNECTIONS: (
        "it has as many connections as it may have; raise max_connections, or lower the pools of the workers"
    ),
    UnavailableReason.POOL_FULL: "every connection of the pool is in use; raise pool_size, or save less at once",
    UnavailableReason.WRONG_PASSWORD: "the user name or the password is wrong; correct them in the URL",
    UnavailableReason.FORBIDDEN: "this account may not do that; GRANT it",
    UnavailableReason.NO_DATABASE: "it has no database of that name; create it, or correct the URL",
    UnavailableReason.TABLES_MISSING: "the tables are missing or another version's; see create_tables",
    UnavailableReason.TRY_AGAIN: "another transaction came first; it is tried again",
    UnavailableReason.TIMEOUT: "it took too long; look at its load, and at statement_timeout",
    UnavailableReason.CONNECTION_REFUSED: "nothing listens at its address; start it, or correct the URL",
    UnavailableReason.CONNECTION_LOST: "the connection was cut; its log says whether it restarted",
    UnavailableReason.UNREACHABLE: "there is no way to it; look at the network, and at the address in the URL",
    UnavailableReason.HOST_UNKNOWN: "the name of its host cannot be resolved; correct the URL, or look at DNS",
    UnavailableReason.TLS_FAILED: "TLS failed; look at the certificates and at the options for TLS in the URL",
    UnavailableReason.TOO_MANY_FILES: "this process may not open another file; raise its limit (ulimit -n)",
    UnavailableReason.OTHER: "the code is the database's own; its log may say more",
}
"""Every reason that `SQLMessageStore` gives: what it means, and what to do."""


def codes_of(reason: UnavailableReason) -> tuple[str, ...]:
    """The codes of databases that mean it."""
    return _CODES.get(reason, ())


def reason_of_code(code: str) -> UnavailableReason:
    """What a database's own code means; SQLite's may be longer, as `SQLITE_BUSY_SNAPSHOT`."""
    return _BY_CODE.get(code) or _BY_CODE.get("_".join(code.split("_")[:2])) or UnavailableReason.OTHER


def explained(reason: UnavailableReason) -> str:
    """What it means, and what to do."""
    return EXPLAINED.get(reason, EXPLAINED[UnavailableReason.OTHER])
