"""A store's engine for each event loop and process.

An engine's connections belong to the loop and the process that opened them. SQLite's connections belong to no loop,
because each has its own thread; but their pool belongs to a loop as long as that loop runs.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from ...deadlines import Deadline
from ...errors import ConfigurationError
from ...loops import PerLoop, keep_inherited
from .demotions import watch
from .engines import isolated

__all__ = ["Engines", "LoopEngine"]

_CLOSE_SECONDS: Final = 2.0
"""How long closing all connections of a pool may take. asyncpg waits without limit for the server to close its side."""


@dataclass(frozen=True, slots=True)
class LoopEngine:
    """The engine of one event loop."""

    engine: AsyncEngine
    turns: AbstractAsyncContextManager[object]
    """Entered around each transaction. SQLite has one writer at a time, and waiting writers poll at growing intervals.
    This lock avoids the polling within a process: eight appends at once took 0.7 s without it and 0.05 s with it.
    """


class Engines:
    """Gives each loop its engine. A new loop gets `engine`, or a copy of it while another open loop uses `engine`.

    `remake` makes such a copy; None when `engine` is a host's, which cannot be copied.
    """

    def __init__(self, engine: AsyncEngine, remake: Callable[[], AsyncEngine] | None) -> None:
        self._engine = isolated(engine)
        self._remake = remake
        self._on_sqlite = engine.dialect.name == "sqlite"
        self._process = os.getpid()
        self._taken = False
        """Whether an open loop uses the first engine."""
        self._loops: PerLoop[LoopEngine] = PerLoop(self._begin, self._abandon)

    def current(self) -> LoopEngine:
        """Returns the running loop's engine.

        Raises:
            ConfigurationError: a host's engine is in use in another loop.
        """
        return self._loops.get()

    async def dispose(self) -> None:
        """Close the connections of the running loop's engine, if it has one. A server that does not answer delays this
        by two seconds."""
        mine = self._loops.pop()
        if mine is not None:
            await self._close(mine.engine)
            self._give_back(mine)

    async def _close(self, engine: AsyncEngine) -> None:
        if self._on_sqlite:  # a connection that is closed half keeps its lock; its thread needs no server
            await engine.dispose()
            return
        deadline = Deadline.after(_CLOSE_SECONDS)
        while True:
            limit = deadline.limit()
            try:
                async with limit:
                    await engine.dispose()
            except TimeoutError:
                # The connection whose closing was interrupted is aborted, and out of the pool: go on with the others.
                if not limit.expired:
                    raise
            else:
                return

    def _begin(self) -> LoopEngine:
        if self._process != os.getpid():
            self._process, self._taken = os.getpid(), False
            keep_inherited(self._engine.sync_engine.pool)
            self._engine.sync_engine.dispose(close=False)
        turns = asyncio.Lock() if self._on_sqlite else nullcontext()
        if not self._taken:
            self._taken = True
            watch(self._engine)
            return LoopEngine(self._engine, turns)
        if self._remake is None:
            raise ConfigurationError(
                "this engine is in use in another event loop, which still runs; give SQLMessageStore a URL, and it "
                "makes an engine for each"
            )
        engine = isolated(self._remake())
        watch(engine)
        return LoopEngine(engine, turns)

    def _abandon(self, theirs: LoopEngine) -> None:
        """Drop the engine of a closed loop, whose connections can no longer be used."""
        if not self._on_sqlite or theirs.engine is not self._engine:
            theirs.engine.sync_engine.dispose(close=False)
        self._give_back(theirs)

    def _give_back(self, engine: LoopEngine) -> None:
        if engine.engine is self._engine:
            self._taken = False
