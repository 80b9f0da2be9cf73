"""Counts the memory that an open stream takes while nothing happens in it: what streamguard allocated for it, and what
Python allocated for calls that streamguard makes, the host's coroutines among them.

It is counted where it was allocated, so nothing depends on the machine, nor on what the allocator does with it. The
streams have had one event each. Not counted is the search for the server, which finds none here, and looks at the
frames of all coroutines: Python then keeps an object for each of these.
"""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import AsyncIterator
from typing import Final, NamedTuple

from streamguard.web.application import servers

from .counting import MARK, PACKAGE, Kind, application, ask

__all__ = ["StreamMemory", "memory_per_stream"]

WARM: Final = 20
"""Streams before the counting: what is made once for a process is no cost of a stream."""
TURNS: Final = 20
"""Turns of the event loop in which everything comes to rest, once all clients have their event."""


class StreamMemory(NamedTuple):
    """What one open stream takes."""

    size: float
    """Bytes."""
    blocks: float
    """How many objects, and parts of objects that Python allocates by themselves."""


class _Held:
    """The source of streams that have one event, and then nothing until `release`."""

    def __init__(self) -> None:
        self._missing = 0
        self._arrived: asyncio.Future[None] | None = None
        self._released = asyncio.Event()

    async def texts(self) -> AsyncIterator[str]:
        yield f"{MARK.decode()}, sixty bytes of them or nearly so "
        await self._released.wait()

    async def blocks(self) -> AsyncIterator[bytes]:
        async for text in self.texts():
            yield b"data: " + text.encode() + b"\n\n"

    async def until_arrived(self, count: int) -> None:
        """Wait until so many events more have reached their clients, and then until nothing happens any more."""
        self._missing += count
        self._arrived = asyncio.get_running_loop().create_future()
        await self._arrived
        for _ in range(TURNS):
            await asyncio.sleep(0)

    def arrived(self, count: int) -> None:
        self._missing -= count
        if self._missing == 0 and self._arrived is not None:
            self._arrived.set_result(None)

    def release(self) -> None:
        self._released.set()


async def memory_per_stream(kind: Kind, url: str, *, streams: int) -> tuple[StreamMemory, str]:
    """What one open stream takes, and a list of the lines that took most, for people.

    Args:
        kind: who makes the event.
        url: the store.
        streams: how many are counted.
    """
    source = _Held()
    app, guard = application(kind, url, source)
    async with guard, asyncio.timeout(120), asyncio.TaskGroup() as clients:

        async def opened(first: int, count: int) -> None:
            for number in range(first, first + count):
                asked = ask(app, source, f"user-{number}", of_server=kind is Kind.UVICORN)
                clients.create_task(asked)
            await source.until_arrived(count)

        try:
            await opened(0, WARM)
            gc.collect()
            tracemalloc.start()
            try:
                await opened(WARM, streams)
                gc.collect()
                snapshot = tracemalloc.take_snapshot()
            finally:
                tracemalloc.stop()
        finally:
            source.release()
    ours = [tracemalloc.Filter(True, f"{PACKAGE}/*"), tracemalloc.Filter(False, servers.__file__)]
    lines = snapshot.filter_traces(ours).statistics("lineno")
    most = "\n".join(
        f"{one.size / streams:8.1f} {one.count / streams:6.2f}  {one.traceback[0].filename}:{one.traceback[0].lineno}"
        for one in lines[:60]
    )
    size, blocks = sum(one.size for one in lines), sum(one.count for one in lines)
    return StreamMemory(size / streams, blocks / streams), most
