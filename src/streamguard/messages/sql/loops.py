"""A store's engine, as each event loop of each process may use it.

An engine's connections belong to the loop that opened them, and to the process. SQLite's belong to no loop, since each
has a thread; but the pool that they wait in does, as long as it runs.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from ...errors import ConfigurationError
from ...loops import PerLoop, keep_inherited
from .engines import isolated

__all__ = ["Engines", "LoopEngine"]


@dataclass(frozen=True, slots=True)
class LoopEngine:
    """What one event loop uses."""

    engine: AsyncEngine
    turns: AbstractAsyncContextManager[object]
    """Entered around each transaction. SQLite has one writer at a time, and waiters poll at growing
    intervals. Taking turns here leaves that to other processes: eight appends at once took 0.7 s without, 0.05 s with.
    """


class Engines:
    """Gives each loop its engine: the first one's again once its loop is closed, another one as long as it is not.

    `remake` makes another engine like `engine`; None where `engine` is a host's, of which there is only the one.
    """

    def __init__(self, engine: AsyncEngine, remake: Callable[[], AsyncEngine] | None) -> None:
        self._engine = isolated(engine)
        self._remake = remake
        self._on_sqlite = engine.dialect.name == "sqlite"
        self._process = os.getpid()
        self._taken = False
        """A loop that is not closed uses the first engine."""
        self._loops: PerLoop[LoopEngine] = PerLoop(self._begin, self._abandon)

    def current(self) -> LoopEngine:
        """The running loop's.

        Raises:
            ConfigurationError: a host's engine is in use in another loop.
        """
        return self._loops.get()

    async def dispose(self) -> None:
        """Close the connections of the running loop's engine, if it has one."""
        mine = self._loops.pop()
        if mine is not None:
            await mine.engine.dispose()
            self._give_back(mine)

    def _begin(self) -> LoopEngine:
        if self._process != os.getpid():
            self._process, self._taken = os.getpid(), False
            keep_inherited(self._engine.sync_engine.pool)
            self._engine.sync_engine.dispose(close=False)
        turns = asyncio.Lock() if self._on_sqlite else nullcontext()
        if not self._taken:
            self._taken = True
            return LoopEngine(self._engine, turns)
        if self._remake is None:
            raise ConfigurationError(
                "this engine is in use in another event loop, which still runs; give SQLMessageStore a URL, and it "
                "makes an engine for each"
            )
        return LoopEngine(isolated(self._remake()), turns)

    def _abandon(self, theirs: LoopEngine) -> None:
        """Its loop is closed: nothing can be said on its connections any more."""
        if not self._on_sqlite or theirs.engine is not self._engine:
            theirs.engine.sync_engine.dispose(close=False)
        self._give_back(theirs)

    def _give_back(self, engine: LoopEngine) -> None:
        if engine.engine is self._engine:
            self._taken = False
