"""How a history is tampered with: a viewer's attempt, a log or a saved message is changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from benchmarks.soak.history import Attempt, Entry, History, Log, Saved, Seen

__all__ = ["Tampering", "Tamperings", "breaking", "with_attempt", "with_entries", "with_log", "with_saved", "with_seen"]

Tampering = Callable[[History], History]

Tamperings = dict[str, tuple[str, Tampering]]
"""By name: the promise that is broken, and how."""


def breaking(tamperings: Tamperings) -> Callable[[str], Callable[[Tampering], Tampering]]:
    """A decorator of functions that break a promise: `@breaks("I3")`; they are kept in `tamperings`."""

    def breaks(promise: str) -> Callable[[Tampering], Tampering]:
        def register(tampering: Tampering) -> Tampering:
            tamperings[tampering.__name__.replace("_", " ")] = promise, tampering
            return tampering

        return register

    return breaks


def with_attempt(history: History, viewer: str, change: Callable[[Attempt], Attempt], number: int = 0) -> History:
    """`history` with a viewer's attempt changed, its first one or another."""
    at = [index for index, one in enumerate(history.attempts) if one.viewer == viewer][number]
    changed = list(history.attempts)
    changed[at] = change(changed[at])
    return replace(history, attempts=tuple(changed))


def with_seen(history: History, viewer: str, change: Callable[[list[Seen]], list[Seen]], number: int = 0) -> History:
    return with_attempt(history, viewer, lambda one: replace(one, seen=tuple(change(list(one.seen)))), number)


def with_log(history: History, stream_id: str, change: Callable[[Log], Log]) -> History:
    logs = tuple(change(one) if one.stream_id == stream_id else one for one in history.logs)
    return replace(history, logs=logs)


def with_entries(history: History, stream_id: str, change: Callable[[list[Entry]], list[Entry]]) -> History:
    return with_log(history, stream_id, lambda one: replace(one, entries=tuple(change(list(one.entries)))))


def with_saved(history: History, stream_id: str, change: Callable[[Saved], list[Saved]]) -> History:
    saved = [new for one in history.saved for new in (change(one) if stream_id in one.streams else [one])]
    return replace(history, saved=tuple(saved))
