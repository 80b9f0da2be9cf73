"""Measures steps in sessions with long histories, in milliseconds. No step should get slower with the history's length.

    python -m benchmarks.history [--lengths 100 1000 10000]

The tests count operations; this program measures their time. Redis, SQLite and this process share the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

from streamguard.messages import MemoryMessageStore, Message, MessageStore, Role
from streamguard.messages.sql import SQLMessageStore
from streamguard.stores.records import Close, NewStream, Seal, Terminal
from streamguard.stores.redis import RedisStore
from streamguard.stores.registrations import Registered
from streamguard.values import Outcome, Persisted, QuotaState, SessionKey, StreamRef, new_stream_id

from .processes import RedisProcess

__all__ = ["Row", "main", "measure"]

REPEATS: Final = 15


@dataclass(frozen=True, slots=True)
class Row:
    """A step, and its time in a session of each length."""

    step: str
    milliseconds: tuple[float, ...]


async def measure(url: str, directory: Path, lengths: list[int]) -> list[Row]:
    """Measure every step in an empty Redis and an empty directory."""
    store = RedisStore(url, command_seconds=10.0)
    await store.start()
    found: dict[str, list[float]] = {}
    try:
        for length in lengths:
            key = SessionKey("ann", f"chat-{length}")
            for number in range(length):
                await _answered(store, key, f"m{number}")
            last = await _answered(store, key, "asked")

            steps: dict[str, Callable[[], Awaitable[object]]] = {
                "the stream before of a message": partial(store.previous, last, "asked"),
                "the latest stream of a session": partial(store.session_streams, key, limit=1),
                "a stream, begun and ended": partial(_answered, store, key, "again"),
            }
            for name, step in steps.items():
                found.setdefault(name, []).append(await _timed(step))
            for name, messages in _message_stores(directory, length).items():
                await _conversation(messages, key, length)
                found.setdefault(f"the last message, {name}", []).append(await _timed(partial(messages.last, key)))
                await messages.aclose()
    finally:
        await store.aclose()
    return [Row(name, tuple(times)) for name, times in found.items()]


def _message_stores(directory: Path, length: int) -> dict[str, MessageStore]:
    return {
        "memory": MemoryMessageStore(),
        "SQLite": SQLMessageStore(f"sqlite+aiosqlite:///{directory}/messages-{length}.db"),
    }


async def _conversation(messages: MessageStore, key: SessionKey, length: int) -> None:
    if isinstance(messages, SQLMessageStore):
        await messages.create_tables()
    await messages.open_session(key)
    for number in range(length):
        await messages.append(key, Message(f"m{number}", Role.USER, ({"type": "text", "text": "x" * 500},)))


async def _answered(store: RedisStore, key: SessionKey, message_id: str) -> StreamRef:
    ref = StreamRef(key, new_stream_id())
    new = NewStream(ref, message_id, "ui-message", "benchmarks:history", "")
    begun = await store.register(new, lease_seconds=60.0, ttl_seconds=3600.0, limit=None)
    assert isinstance(begun, Registered)
    epoch = begun.meta.epoch
    terminal = Terminal(Outcome.COMPLETED, Persisted.NOT_ASKED, QuotaState.NONE, message_id)
    await store.seal(ref, epoch, Seal(Outcome.COMPLETED, 0))
    await store.close(Close(ref, epoch, (), terminal, 3600.0))
    return ref


async def _timed(step: Callable[[], Awaitable[object]]) -> float:
    times = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        await step()
        times.append(time.perf_counter() - begun)
    return median(times) * 1000


def main(arguments: list[str] | None = None) -> int:
    """Run, and print a line for each step. Returns 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.history", description=__doc__)
    parser.add_argument("--lengths", type=int, nargs="+", default=[100, 1_000, 10_000])
    options = parser.parse_args(arguments)
    with RedisProcess() as redis, tempfile.TemporaryDirectory() as directory:
        rows = asyncio.run(measure(redis.url, Path(directory), options.lengths))
    print(f"{'ms in a session of':36}" + "".join(f"{length:>10}" for length in options.lengths))
    for row in rows:
        print(f"{row.step:36}" + "".join(f"{one:10.2f}" for one in row.milliseconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
