"""`python -m streamguard.messages.sql`: create the tables of `SQLMessageStore`, or free the space of ended sessions."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence

from ...errors import StreamGuardError
from .. import sql  # its names are imported when used, so that a missing SQLAlchemy is told to the user

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit status: 0, 1 when the database refused, 2 for wrong arguments."""
    parser = argparse.ArgumentParser(prog="python -m streamguard.messages.sql", description=__doc__)
    parser.add_argument("action", choices=("create-tables", "delete-expired"))
    parser.add_argument("url", nargs="?", help="SQLAlchemy URL with an asyncio driver; default: $DATABASE_URL")
    parser.add_argument("--prefix", default="streamguard_", help="what the tables' names begin with")
    parser.add_argument("--schema", help="the database schema they are in")
    options = parser.parse_args(arguments)
    # In the environment a password is not shown to everyone who lists processes.
    url = options.url or os.environ.get("DATABASE_URL")
    if not url:
        parser.error("give a URL, or set DATABASE_URL")
    try:
        done = asyncio.run(_act(options.action, url, prefix=options.prefix, schema=options.schema))
    except StreamGuardError as exc:
        sys.stderr.write(f"error: {exc}\n")
        return 1
    sys.stdout.write(f"{done}\n")
    return 0


async def _act(action: str, url: str, *, prefix: str, schema: str | None) -> str:
    tables = sql.MessageTables(prefix=prefix, schema=schema)
    store = sql.SQLMessageStore(url, tables=tables)
    try:
        if action == "create-tables":
            await store.create_tables()
            return f"{tables.sessions.fullname} and {tables.messages.fullname} are there"
        deleted = 0
        while found := await store.delete_expired():
            deleted += found
        return f"{deleted} sessions deleted"
    finally:
        await store.aclose()


if __name__ == "__main__":
    sys.exit(main())
