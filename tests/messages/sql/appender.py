"""Appends to a session from a process of its own: `python -m tests.messages.sql.appender NAME COUNT URL PREFIX …`.

Says `ready`, waits for a line, then appends COUNT messages of its own and, between them, as many that every other
appender has too, in each place given. Ends with how many of those it created in each.
"""

from __future__ import annotations

import asyncio
import sys

from streamguard.messages import Appended
from streamguard.messages.sql import MessageTables, SQLMessageStore
from streamguard.testing._message_store.steps import asked, insistently
from streamguard.values import SessionKey

__all__ = ["KEY"]

KEY = SessionKey("owner", "raced")


async def _append(store: SQLMessageStore, name: str, count: int) -> int:
    created = 0
    for number in range(count):
        own, shared = asked(message_id=f"{name}-{number}"), asked(message_id=f"shared-{number}")
        await insistently(store.append, KEY, own)
        created += await insistently(store.append, KEY, shared) is Appended.CREATED
    await store.aclose()
    return created


async def _append_everywhere(stores: list[SQLMessageStore], name: str, count: int) -> list[int]:
    return [await _append(store, name, count) for store in stores]


def _main(name: str, count: str, *places: str) -> None:
    stores = [
        SQLMessageStore(url, tables=MessageTables(prefix=prefix), timeout_seconds=15)
        for url, prefix in zip(places[::2], places[1::2], strict=True)
    ]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    sys.stdout.write(f"{asyncio.run(_append_everywhere(stores, name, int(count)))}\n")


if __name__ == "__main__":
    _main(*sys.argv[1:])
