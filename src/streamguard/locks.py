"""Locks for what several threads change, whole and free in a process that is forked.

A fork copies memory as it is, and of the threads only the one that forks. A lock that another thread holds would never
be released in the child, and what it guards would stay half changed there. So a thread that forks takes all of these
locks first: it waits for the steps that are under way, and lets none begin.
"""

from __future__ import annotations

import os
from threading import RLock
from typing import Final
from weakref import ref

__all__ = ["step_lock"]

_made: Final[set[ref[RLock]]] = set()
"""Every lock that is in use. Changed and copied in one step each, so none guards it."""
_taken: Final[list[RLock]] = []
"""Those that a thread holds which forks at this moment."""


def step_lock() -> RLock:
    """A lock to be held for short steps that wait for nothing. The thread that holds it may take it again: a step may
    be made of others, and what is collected meanwhile may have one, too."""
    lock = RLock()
    _made.add(ref(lock, _made.discard))
    return lock


def _take_all() -> None:
    """Take every lock. One that is held is waited for without any other: its holder may be about to take that."""
    held: RLock | None = None
    while True:
        if held is not None:
            held.acquire()
            held.release()
        locks = [lock for known in tuple(_made) if (lock := known()) is not None]
        for count, lock in enumerate(locks):
            if not lock.acquire(blocking=False):
                for other in locks[:count]:
                    other.release()
                held = lock
                break
        else:
            _taken.extend(locks)
            return


def _release_all() -> None:
    locks = _taken.copy()
    _taken.clear()  # first: another thread may fork as soon as all are free
    for lock in locks:
        lock.release()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(before=_take_all, after_in_parent=_release_all, after_in_child=_release_all)
