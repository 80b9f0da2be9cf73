"""What a connection to MySQL or MariaDB can carry: statements of a limited size, in its own character set.

Their drivers put values into the text of a statement. A server that gets a longer statement than it takes drops the
connection, mostly before the client reads why, so that the failure looks like an outage. A character that the
connection's character set lacks ends the stored text there, unless `sql_mode` is strict. Both are therefore found out
before the statement is sent.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from ...errors import MessageInvalidError
from ...offloading import offloaded
from ...wire.large_json import LARGE
from .tables import BYTES_FOR_IDS

__all__ = ["check_carried"]

_INFO: Final = "streamguard_limits"
"""Where a pooled connection keeps its limits, which do not change while it is open."""

_REST_BYTES: Final = 8192
"""More than a statement takes besides its texts: its own words, four ids in hexadecimal digits, and numbers."""

_WORST_BYTES: Final = 4
"""What a character may take in a statement: four bytes in UTF-8, or two if it is escaped."""

_WIDE: Final = re.compile("[\U00010000-\U0010ffff]")
"""Characters of four bytes in UTF-8."""


async def check_carried(connection: AsyncConnection, operation: str, *texts: str) -> None:
    """Refuse texts that a connection to MySQL or MariaDB cannot carry, together in one statement.

    Raises:
        MessageInvalidError: they are larger than the server's `max_allowed_packet`, or one has a character that the
            connection's character set lacks.
    """
    if connection.dialect.name not in BYTES_FOR_IDS:
        return
    info = (await connection.get_raw_connection()).info
    if _INFO not in info:
        limits = text("SELECT @@max_allowed_packet, @@character_set_client")
        info[_INFO] = tuple((await connection.execute(limits)).one())
    max_bytes, charset = info[_INFO]
    characters = sum(map(len, texts))
    large = characters >= LARGE
    if _WORST_BYTES * characters + _REST_BYTES > max_bytes:
        size = _REST_BYTES + await offloaded(partial(_escaped_bytes, texts), large=large)
        if size > max_bytes:
            raise MessageInvalidError(
                f"{operation}: the message is too large for the server's max_allowed_packet, {max_bytes} bytes",
                operation=operation,
            )
    if charset in ("utf8", "utf8mb3") and await offloaded(lambda: any(map(_WIDE.search, texts)), large=large):
        raise MessageInvalidError(
            f"{operation}: the connection's character set {charset} lacks a character of the message; "
            "texts need utf8mb4 (?charset=utf8mb4)",
            operation=operation,
        )


def _escaped_bytes(texts: tuple[str, ...]) -> int:
    """The bytes that JSON texts take in a statement. JSON has no control characters, which would be escaped too."""
    return sum(len(one.encode()) + sum(map(one.count, "\"'\\")) for one in texts)
