"""No listing of the command line costs more after finished sessions, or because much is owed: Redis commands, and the
bytes of their replies, are counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest

from streamguard.stores.redis import RedisStore
from streamguard.testing._stream_store.outbox import enqueued
from streamguard.testing._stream_store.steps import begin, end, new_stream, put, registered, try_register
from streamguard.values import SessionKey

from ..harness.redis import RedisServer
from ..stores.backlogs import bytes_sent, fill_outbox
from .running import ran
from .test_arguments import COMMANDS

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.repeats]

UNCOUNTED: Final = ("info", "config", "dbsize", "ping", "script")
SLACK: Final = 4
"""A step may meet another one's lazy work, of a few commands."""
LISTINGS: Final = {
    "ps": ("ps",),
    "show": ("show", "chat", "--owner", "ann"),
    "outbox": ("outbox", "list"),
    "outbox, dead": ("outbox", "list", "--dead", "--limit", "50"),
}


def cost(server: RedisServer, command: tuple[str, ...]) -> tuple[int, int]:
    """How many commands the server carried out for one of ours, and about how many bytes it answered."""
    client = server.client()
    client.config_resetstat()
    name, *arguments = command
    where = [name, arguments.pop(0), server.url] if name == "outbox" else [name, server.url]
    done = ran(*where, *arguments)
    assert done.code in (0, 1), done.err
    answered = bytes_sent(client)
    found: dict[str, Any] = client.info("commandstats")
    counted = [stats for name, stats in found.items() if not name.removeprefix("cmdstat_").startswith(UNCOUNTED)]
    return sum(int(stats["calls"]) for stats in counted), answered


UNCOUNTED_COMMANDS: Final = {
    "doctor": "looks at so many keys, records and entries at most",
    "ps --watch": "ps again and again",
    "stop": "concerns one stream, which it is told of",
    "outbox show": "searches the names of the outbox, a page at a time: it is given nothing but a stream's id",
    "outbox replay": "likewise",
    "outbox discard": "likewise",
    "quota show": "reads what one owner has reserved, up to a limit",
    "quota release": "likewise",
}


def test_every_command_is_counted_or_says_why_not() -> None:
    names = {"outbox list" if name == "outbox" else name for name in LISTINGS} - {"outbox, dead"}
    assert names | set(UNCOUNTED_COMMANDS) == set(COMMANDS)


async def test_no_listing_reads_more_because_thousands_are_owed(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    store = RedisStore(server.url, command_seconds=20.0)
    await store.start()
    try:
        running = await begin(store, SessionKey("ann", "chat"))
        await put(store, running, 1, b"x")
        owing = await enqueued(store, due=60.0)
    finally:
        await store.aclose()
    found: list[dict[str, tuple[int, int]]] = []
    for owed in (8_000, 16_000):
        fill_outbox(server.client(), owing, owed)
        found.append({name: cost(server, command) for name, command in LISTINGS.items()})
    few, many = found
    grown = {
        name: (few[name], many[name])
        for name in few
        if many[name][0] > few[name][0] + SLACK or many[name][1] > few[name][1] * 1.1 + 200
    }
    assert grown == {}


async def test_no_listing_costs_more_after_a_thousand_finished_sessions(own_redis: Callable[..., RedisServer]) -> None:
    server = own_redis()
    store = RedisStore(server.url, command_seconds=20.0)
    await store.start()

    async def finish(session: str) -> None:
        ref = registered(await try_register(store, new_stream(SessionKey("ann", session)))).ref
        await put(store, ref, 1, b"x")
        await end(store, ref, 1)

    try:
        running = await begin(store, SessionKey("ann", "chat"))
        await put(store, running, 1, b"x")
        await enqueued(store, due=60.0)
        found: list[dict[str, int]] = []
        for finished in (10, 1_000):
            for number in range(finished):
                await finish(f"finished-{finished}-{number}")
            found.append({name: cost(server, command)[0] for name, command in LISTINGS.items()})
    finally:
        await store.aclose()
    few, many = found
    assert {name: (few[name], many[name]) for name in few if many[name] > few[name] + SLACK} == {}
