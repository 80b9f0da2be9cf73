"""Waiting for something another process or thread does, when there is no event to wait for."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

__all__ = ["wait_until", "wait_until_async"]

T = TypeVar("T")

_FIRST_PAUSE_SECONDS: Final = 0.001
_LONGEST_PAUSE_SECONDS: Final = 0.05


class _Pauses:
    """Doubling pauses, so that a quick change is seen quickly and a slow one costs little CPU."""

    def __init__(self, description: str, timeout: float) -> None:
        self._description = description
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout
        self._next = _FIRST_PAUSE_SECONDS

    def next(self, error: Exception | None) -> float:
        if time.monotonic() >= self._deadline:
            raise AssertionError(f"not within {self._timeout} s: {self._description}") from error
        pause, self._next = self._next, min(self._next * 2, _LONGEST_PAUSE_SECONDS)
        return pause


def wait_until(predicate: Callable[[], T], *, description: str, timeout: float = 20.0) -> T:
    """Poll `predicate` until it is true, and give back what it returned; for code without an event loop.

    Args:
        predicate: called at least once, between pauses of 1 to 50 ms. An `AssertionError` of its ends the wait: what
            must never be has been seen, or what is waited for cannot come any more. Whatever else it raises means "not
            yet": a server answers 503 or nothing for a while, a record has no such field yet.
        description: what is being waited for; it is the message of a failure.
        timeout: seconds.

    Raises:
        AssertionError: it was not true in time; its cause is what `predicate` raised at last, if it did.
    """
    pauses = _Pauses(description, timeout)
    while True:
        error: Exception | None = None
        try:
            if result := predicate():
                return result
        except AssertionError:
            raise
        except Exception as raised:  # noqa: BLE001 # a predicate asks anything of anybody
            error = raised
        time.sleep(pauses.next(error))


async def wait_until_async(predicate: Callable[[], T | Awaitable[T]], *, description: str, timeout: float = 20.0) -> T:
    """As `wait_until`, on the running event loop; `predicate` may also be a coroutine function.

    Raises:
        AssertionError: it was not true in time.
    """
    pauses = _Pauses(description, timeout)
    while True:
        error: Exception | None = None
        try:
            result = predicate()
            if inspect.isawaitable(result):
                result = await result
            if result:
                return result
        except AssertionError:
            raise
        except Exception as raised:  # noqa: BLE001 # a predicate asks anything of anybody
            error = raised
        await asyncio.sleep(pauses.next(error))
