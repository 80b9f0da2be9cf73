"""Steps in event loops of several threads at the same moment, between which the interpreter changes all the time."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

__all__ = ["busy_switching", "raced"]

T = TypeVar("T")

_SECONDS = 20.0


@contextmanager
def busy_switching() -> Iterator[None]:
    """The interpreter changes to another thread as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def raced(steps: Sequence[Callable[[], Coroutine[Any, Any, T]]]) -> list[T]:
    """What each of these returns, in their order. Each runs in an event loop and a thread of its own. They begin
    together, and no loop is closed before all have ended.

    Raises:
        BaseException: the first that one of them raised.
    """
    meeting = threading.Barrier(len(steps) + 1, timeout=_SECONDS)
    ready = threading.Semaphore(0)
    results: dict[int, T] = {}
    errors: list[BaseException] = []

    async def meet(number: int, step: Callable[[], Coroutine[Any, Any, T]]) -> None:
        ready.release()
        meeting.wait()  # nothing else is to run in this loop
        try:
            results[number] = await step()
        except BaseException as exc:  # noqa: BLE001 -- raised below
            errors.append(exc)
        meeting.wait()

    threads = [
        threading.Thread(target=lambda item: asyncio.run(meet(*item)), args=(item,)) for item in enumerate(steps)
    ]
    # One after the other, at the usual pace: Python cannot begin two threads that a coverage tool traces at once.
    for thread in threads:
        thread.start()
        assert ready.acquire(timeout=_SECONDS), "a thread did not begin"
    with busy_switching():
        meeting.wait()
        meeting.wait()
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]
    return [results[number] for number in range(len(steps))]
