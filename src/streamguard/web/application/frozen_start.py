"""Takes the objects of a process's start out of garbage collection.

An application that has started holds a hundred thousand objects and more: modules, classes, routes, schemas. They live
as long as the process, and every collection of the oldest generation visits them all: 45 to 65 ms were measured in a
worker with a hundred streams, in which no stream gets an event. `gc.freeze` moves them to where the collector does not
look. They are still freed as soon as nothing refers to them; only a cycle of them would not be.

What requests hold is collected as before, but all of it less often. An open stream is some 250 objects, and a full
collection takes about 0.15 ms for each: 70 to 100 ms were measured with five hundred streams. By itself Python makes
one for every quarter by which the process grows, so that it came while five hundred clients reconnected.
"""

from __future__ import annotations

import gc
import os
from typing import Final

__all__ = ["freeze_start"]

FULL_AFTER: Final = 400_000
"""About so many objects are made between two full collections: those of 1,500 streams. Only those of them that are in
dropped cycles wait for it. Python's own choice is 77,000 up to 3.12, and 220,000 in 3.13."""
_DEFAULTS: Final = frozenset({(700, 10, 10), (2000, 10, 10)})
"""Python's own thresholds, up to 3.12 and in 3.13. A host that has chosen has others: a first one of 0 means never."""

_frozen_in: Final[set[int]] = set()
"""The ids of the processes that this module has frozen the start of: this one, or those that it was forked from."""


def freeze_start() -> bool:
    """Collect once, exclude what is left from every later collection, and have full ones less often. Returns whether
    that was done.

    Done at most once in a process, whatever the number of guards and lifespans: what lives at a later time belongs to
    requests. A process that was forked from one that had done so does it for itself. Nothing is done where the host has
    switched the collector off, and where it has set thresholds of its own, they stay.
    """
    if os.getpid() in _frozen_in or not gc.isenabled():
        return False
    _frozen_in.add(os.getpid())
    gc.collect()
    gc.freeze()
    young, middle, oldest = gc.get_threshold()
    if (young, middle, oldest) in _DEFAULTS:
        gc.set_threshold(young, middle, FULL_AFTER // (young * (middle + 1)))
    return True
