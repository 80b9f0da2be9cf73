"""Counts what opening and ending a stream costs: calls in the server, as `counting` counts those for an event, and
commands in Redis. The streams have one event each and come one after another."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from typing import Final, NamedTuple

import redis

from .counting import MARK, Count, Kind, application, ask

__all__ = ["StreamCosts", "costs_per_stream"]

WARM: Final = 20
"""Streams before the counting: what is made once for a process is no cost of a stream."""


class StreamCosts(NamedTuple):
    """The costs of one stream."""

    python: float
    builtin: float
    resumed: float
    """See `counting.Calls`."""
    scripts: float
    """Scripts that Redis was asked to run."""
    commands: float
    """Commands that Redis carried out, most of them in these scripts."""


class _OneEvent:
    """The source of streams of one event, which comes at once."""

    def __init__(self) -> None:
        self.came = 0

    async def texts(self) -> AsyncIterator[str]:
        yield f"{MARK.decode()}, sixty bytes of them or nearly so "

    async def blocks(self) -> AsyncIterator[bytes]:
        async for text in self.texts():
            yield b"data: " + text.encode() + b"\n\n"

    def arrived(self, count: int) -> None:
        self.came += count


async def costs_per_stream(kind: Kind, url: str, *, streams: int) -> tuple[StreamCosts, str]:
    """The costs of a stream of one event, and a list of the most frequent calls, for people.

    Args:
        kind: who makes the event.
        url: the store.
        streams: how many are counted.
    """
    source, count = _OneEvent(), Count()
    app, guard = application(kind, url, source)
    async with guard:
        for number in range(WARM):
            await ask(app, source, f"user-{number}", of_server=kind is Kind.UVICORN)
        before = _carried_out(url)
        count.begin()
        try:
            for number in range(streams):
                await ask(app, source, f"user-{number}", of_server=kind is Kind.UVICORN)
        finally:
            sys.setprofile(None)
        after = _carried_out(url)
    assert source.came == WARM + streams
    calls = (one.total() / streams for one in (count.calls, count.builtin, count.resumed))
    sent = ((now - then) / streams for now, then in zip(after, before, strict=True))
    return StreamCosts(*calls, *sent), count.most_frequent(streams)


def _carried_out(url: str) -> tuple[int, int]:
    """How many scripts and how many commands a Redis has carried out; nothing for another store."""
    if not url.startswith("redis:"):
        return 0, 0
    with redis.Redis.from_url(url) as client:
        found = {name.removeprefix("cmdstat_"): one["calls"] for name, one in client.info("commandstats").items()}
    scripts = found.get("evalsha", 0)
    others = sum(calls for name, calls in found.items() if name not in ("evalsha", "info") and "client" not in name)
    return scripts, others
