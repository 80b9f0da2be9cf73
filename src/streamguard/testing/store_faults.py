"""The fault kit: stores that fail, hang, dawdle or lose their replies, when a test says so.

A step is a method of the store's contract, by its name: `append`, `register`, `seal`, `close`, … for streams, `append`,
`get`, `list`, … for messages. Where no step is named, every step is meant.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from ..errors import MessageStoreError, MessageTimeoutError, MessageUnavailableError, StoreError, StoreUnavailableError

__all__ = ["StoreFaults", "of_message_store", "of_stream_store"]

T = TypeVar("T")


class StoreFaults:
    """What goes wrong between an application and one of its stores.

    Made by `GuardedApp` for the stream store, or by `FaultyMessageStore`. Everything takes effect with the next call of
    a step; of what fails, nothing has reached the store. `steps` are names of steps; without any, all are meant.
    `times` is how many calls it concerns.
    """

    def __init__(
        self,
        steps: Iterable[str],
        *,
        failure: Callable[[str], StoreError | MessageStoreError],
        loss: Callable[[str], StoreError | MessageStoreError],
    ) -> None:
        self._steps = frozenset(steps)
        self._failure = failure
        self._loss = loss
        self.calls: Counter[str] = Counter()
        """How often each step was called, whatever became of it."""
        self._failing: dict[str, float] = {}
        self._losing: dict[str, float] = {}
        self._delays: dict[str, float] = {}
        self._gates: dict[str, asyncio.Event] = {}
        self._waiting: Counter[str] = Counter()
        self._changed = asyncio.Event()

    def fail(self, *steps: str, times: int | None = None) -> None:
        """Let calls fail as if the store could not be reached, the next `times`, or until `heal`."""
        for step in self._named(steps):
            self._failing[step] = math.inf if times is None else times

    def lose_reply(self, *steps: str, times: int | None = 1) -> None:
        """Let calls be carried out, but fail all the same, as when a connection breaks before the reply. None: until
        `heal`."""
        for step in self._named(steps):
            self._losing[step] = math.inf if times is None else times

    def delay(self, seconds: float, *steps: str) -> None:
        """Let calls take `seconds` longer, until `heal`. To hold one up for as long as a test wants, `hold` it."""
        for step in self._named(steps):
            self._delays[step] = seconds

    def hold(self, *steps: str) -> None:
        """Let calls wait before they reach the store, until `release` or `heal`."""
        for step in self._named(steps):
            self._gates.setdefault(step, asyncio.Event())

    def release(self, *steps: str) -> None:
        """Let calls that wait go on, and later ones pass."""
        for step in self._named(steps):
            if step in self._gates:
                self._gates.pop(step).set()

    def heal(self) -> None:
        """From now on nothing goes wrong; what waits goes on."""
        self._failing.clear()
        self._losing.clear()
        self._delays.clear()
        self.release()

    async def held(self, step: str, *, count: int = 1, wait_seconds: float = 10.0) -> None:
        """Wait until `count` calls of a step wait at its `hold`.

        Raises:
            AssertionError: not within `wait_seconds`.
        """
        self._named((step,))
        try:
            async with asyncio.timeout(wait_seconds):
                while self._waiting[step] < count:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"not within {wait_seconds} s: {count} calls of {step} wait") from None

    async def passing(self, step: str, call: Callable[[], Awaitable[T]]) -> T:
        """Carry out one call of a step, with what is to go wrong. For stores that wrap another.

        Raises:
            StoreUnavailableError: it was to fail, of a stream store; `MessageUnavailableError` of a message store.
        """
        self.calls[step] += 1
        if step in self._gates:
            self._waiting[step] += 1
            self._changed.set()
            try:
                await self._gates[step].wait()
            finally:
                self._waiting[step] -= 1
        if step in self._delays:
            await asyncio.sleep(self._delays[step])
        if _spend(self._failing, step):
            raise self._failure(step)
        result = await call()
        if _spend(self._losing, step):
            raise self._loss(step)
        return result

    def _named(self, steps: tuple[str, ...]) -> Iterable[str]:
        unknown = set(steps) - self._steps
        if unknown:
            raise ValueError(f"no step of this store is called {sorted(unknown)}; there are {sorted(self._steps)}")
        return steps or sorted(self._steps)


def of_stream_store(steps: Iterable[str]) -> StoreFaults:
    """The faults of a stream store."""
    return StoreFaults(
        steps,
        failure=lambda step: StoreUnavailableError(f"{step}: the test lets it fail", operation=step),
        loss=lambda step: StoreUnavailableError(f"{step}: the test loses its reply", operation=step),
    )


def of_message_store(steps: Iterable[str]) -> StoreFaults:
    """The faults of a message store."""
    return StoreFaults(
        steps,
        failure=lambda step: MessageUnavailableError(f"{step}: the test lets it fail", operation=step),
        loss=lambda step: MessageTimeoutError(f"{step}: the test loses its reply", operation=step),
    )


def _spend(times_left: dict[str, float], step: str) -> bool:
    """Whether it is to happen this time."""
    if times_left.get(step, 0) <= 0:
        return False
    times_left[step] -= 1
    return True
