"""State per event loop and process, for objects that are made when a module is imported.

A client or store outlives event loops: tests run each application in its own loop, and a process may fork.
Connections, tasks and locks do not outlive the loop and the process that made them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final, Generic, TypeVar

from .locks import step_lock

__all__ = ["Home", "PerLoop", "StartTask", "keep_inherited"]

T = TypeVar("T")

StartTask = Callable[[Callable[[], Awaitable[None]]], None]
"""Runs a function once, in the task group of the object that provides this callable. Returns at once."""

_INHERITED: Final[list[object]] = []
"""Objects that a forked child inherited from its parent. They are neither used nor collected: closing one would affect
what the parent still uses."""


_generation = 0
"""How many forks lie between this process and the one that imported this. `os.getpid()` instead is a system call each
time."""


_changes: Final = step_lock()
"""Held while anything is made or dropped for an event loop, of whatever kind: that is rare and short."""


def _forked() -> None:
    global _generation  # noqa: PLW0603 -- the process's own
    _generation += 1


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_forked)


class Home:
    """The event loop and the process in which this object was made."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._process = _generation

    @property
    def gone(self) -> bool:
        """Whether this process can run nothing there any more."""
        return self._loop.is_closed() or self._process != _generation

    @property
    def here(self) -> bool:
        """Whether the running event loop is this one, in this process."""
        try:
            return self._loop is asyncio.get_running_loop() and self._process == _generation
        except RuntimeError:  # none runs
            return False

    @property
    def elsewhere(self) -> bool:
        """Whether another event loop is running."""
        try:
            return self._loop is not asyncio.get_running_loop()
        except RuntimeError:  # none runs
            return False


class PerLoop(Generic[T]):
    """One `T` for each event loop that asks for one. `make` makes it, in that loop.

    The `T` of a closed loop is passed to `abandon`, which must not wait: nothing can run in that loop any more.
    The `T` of another process is left alone.

    Loops in several threads may use it at once. No two threads are in `make` or `abandon` at the same time.
    """

    def __init__(self, make: Callable[[], T], abandon: Callable[[T], None]) -> None:
        self._make = make
        self._abandon = abandon
        self._made: dict[asyncio.AbstractEventLoop, T] = {}
        """Only its own loop adds or changes a loop's entry. Any thread may remove that of a closed loop."""
        self._process = _generation

    def get(self) -> T:
        """Returns the running loop's `T`.

        Raises:
            RuntimeError: no loop runs.
        """
        loop = asyncio.get_running_loop()
        found = self._made.get(loop)
        if found is None or self._process != _generation:
            return self._begin(loop)
        return found

    def pop(self) -> T | None:
        """Remove and return the running loop's `T`, if any. The caller closes it."""
        with self._swept() as made:
            return made.pop(asyncio.get_running_loop(), None)

    def pop_others(self) -> list[tuple[asyncio.AbstractEventLoop, T]]:
        """Remove and return the `T` of each other loop that is not closed. The caller closes them, each in its loop's
        thread."""
        here = asyncio.get_running_loop()
        with self._swept() as made:
            return [(loop, made.pop(loop)) for loop in list(made) if loop is not here]

    def _begin(self, loop: asyncio.AbstractEventLoop) -> T:
        with self._swept() as made:
            found = made[loop] = self._make()
            return found

    @contextmanager
    def _swept(self) -> Iterator[dict[asyncio.AbstractEventLoop, T]]:
        """What was made, without what belongs to other processes and closed loops. No other thread changes it."""
        with _changes:
            if self._process != _generation:
                keep_inherited(self._made)
                self._made, self._process = {}, _generation
            made = self._made
            for loop in list(made):
                if loop.is_closed() and loop in made:  # else `abandon` has led back to here
                    self._abandon(made.pop(loop))
            yield made


def keep_inherited(thing: object) -> None:
    """Keep an inherited object from being collected: closing it would end what the parent process still uses."""
    _INHERITED.append(thing)
