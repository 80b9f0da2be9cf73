"""`python -m streamguard.messages.sql`: create the tables of `SQLMessageStore`, or free the space of ended sessions."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence

from ...errors import StreamGuardError
from .. import sql  # its names are imported on use, so that a missing SQLAlchemy is reported to the user

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit status: 0, or 1 when the database refused, or 2 for wrong arguments."""
    parser = argparse.ArgumentParser(prog="python -m streamguard.messages.sql", description=__doc__)
    parser.add_argument("action", choices=("create-tables", "delete-expired"))
    parser.add_argument("url", nargs="?", help="SQLAlchemy URL with an asyncio driver; default: $DATABASE_URL")
    parser.add_argument("--prefix", default="streamguard_", help="what the tables' names begin with")
    parser.add_argument("--schema", help="the database schema they are in")
    options = parser.parse_args(arguments)
    # A password in the environment is not visible in a list of processes.
    url = options.url or os.environ.get("DATABASE_URL")
    if not url:
        parser.error("give a URL, or set DATABASE_URL")
    try:
        store = sql.SQLMessageStore(url, tables=sql.MessageTables(prefix=options.prefix, schema=options.schema))
        done = asyncio.run(_create(store) if options.action == "create-tables" else _delete_expired(store))
    except StreamGuardError as exc:
        sys.stderr.write(f"error: {exc}\n")
        return 1
    sys.stdout.write(f"{done}\n")
    return 0


async def _create(store: sql.SQLMessageStore) -> str:
    try:
        await store.create_tables()
    finally:
        await store.aclose()
    *others, last = (table.fullname for table in store.tables.every)
    return f"{', '.join(others)} and {last} are there"


async def _delete_expired(store: sql.SQLMessageStore) -> str:
    deleted = 0
    try:
        while found := await store.delete_expired():
            deleted += found
    finally:
        await store.aclose()
    return f"{deleted} sessions deleted"


if __name__ == "__main__":
    sys.exit(main())
