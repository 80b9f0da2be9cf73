"""What belongs to one event loop of one process, in objects that are made when a module is imported.

A client or store outlives loops: tests give each application a loop of its own, and a process that forks has parents
and children. Connections, tasks and locks do not outlive them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

__all__ = ["Home", "PerLoop", "StartTask", "keep_inherited"]

T = TypeVar("T")

StartTask = Callable[[Callable[[], Awaitable[None]]], None]
"""Runs something once, in the task group of whoever gave it. Returns at once."""

_INHERITED: Final[list[object]] = []
"""What a parent process left to its forked child. Neither used nor collected: closing it would touch what the parent
still uses."""


class Home:
    """The event loop and the process in which something lives: those it is made in."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._process = os.getpid()

    @property
    def gone(self) -> bool:
        """Whether nothing can run there any more, as far as this process is concerned."""
        return self._loop.is_closed() or self._process != os.getpid()

    @property
    def here(self) -> bool:
        """Whether the running event loop is this one."""
        return self._loop is asyncio.get_running_loop() and self._process == os.getpid()

    @property
    def elsewhere(self) -> bool:
        """Whether an event loop runs, and it is another one."""
        try:
            return self._loop is not asyncio.get_running_loop()
        except RuntimeError:  # none runs
            return False


class PerLoop(Generic[T]):
    """One `T` for each event loop in which one is asked for; made by `make`, in that loop.

    What belongs to a loop that was closed is given to `abandon`, which must not wait: nothing can run there any more.
    What belongs to another process is left alone.
    """

    def __init__(self, make: Callable[[], T], abandon: Callable[[T], None]) -> None:
        self._make = make
        self._abandon = abandon
        self._made: dict[asyncio.AbstractEventLoop, T] = {}
        self._process = os.getpid()

    def get(self) -> T:
        """The running loop's.

        Raises:
            RuntimeError: no loop runs.
        """
        loop = asyncio.get_running_loop()
        found = self._made.get(loop)
        if found is None or self._process != os.getpid():
            return self._begin(loop)
        return found

    def pop(self) -> T | None:
        """Forget the running loop's, if there is one, for the caller to close."""
        self._sweep()
        return self._made.pop(asyncio.get_running_loop(), None)

    def pop_others(self) -> list[tuple[asyncio.AbstractEventLoop, T]]:
        """Forget those of all other loops that are not closed, for the caller to close: in their own threads."""
        self._sweep()
        here = asyncio.get_running_loop()
        return [(loop, self._made.pop(loop)) for loop in list(self._made) if loop is not here]

    def _begin(self, loop: asyncio.AbstractEventLoop) -> T:
        self._sweep()
        made = self._made[loop] = self._make()
        return made

    def _sweep(self) -> None:
        """Let go of what belongs to other processes and closed loops."""
        if self._process != os.getpid():
            keep_inherited(self._made)
            self._made, self._process = {}, os.getpid()
        for loop in [loop for loop in self._made if loop.is_closed()]:
            self._abandon(self._made.pop(loop))


def keep_inherited(thing: object) -> None:
    """Never collect something that this process has inherited: its parent still uses what closing it would end."""
    _INHERITED.append(thing)
