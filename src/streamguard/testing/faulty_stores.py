"""Stores with the fault kit between them and their callers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from ..messages import MessageStore
from ..stores.store import StreamStore
from ._passing import PassingMessageStore, PassingStore
from .store_faults import StoreFaults, of_message_store, of_stream_store

__all__ = ["FaultyMessageStore", "FaultyStore"]

T = TypeVar("T")

_NO_STEPS: Final = frozenset({"start", "aclose", "seal_and_close"})
"""The beginning and the end, which must not fail, and a step that is left to the contract, which makes two of it: so
each of the two can go wrong by itself."""


def _steps(contract: type) -> frozenset[str]:
    steps = {name for name in dir(contract) if not name.startswith("_") and callable(getattr(contract, name))}
    return frozenset(steps) - _NO_STEPS


_STREAM_STEPS: Final = _steps(StreamStore)
_MESSAGE_STEPS: Final = _steps(MessageStore)


class FaultyMessageStore(PassingMessageStore):
    """`inner`, a message store, with `faults` in front of it. It passes every message store's suite while it is well.

    Starting and closing it starts and closes `inner`.
    """

    def __init__(self, inner: MessageStore) -> None:
        super().__init__(inner)
        self.faults: StoreFaults = of_message_store(_MESSAGE_STEPS)

    async def _pass(self, step: str, call: Callable[[], Awaitable[T]]) -> T:
        return await self.faults.passing(step, call)


class FaultyStore(PassingStore):
    """`inner`, a stream store, with `faults` in front of it: what `GuardedApp` puts between a guard and its store.

    Starting and closing it starts and closes `inner`.
    """

    def __init__(self, inner: StreamStore) -> None:
        super().__init__(inner)
        self.faults: StoreFaults = of_stream_store(_STREAM_STEPS)

    async def _pass(self, step: str, call: Callable[[], Awaitable[T]]) -> T:
        return await self.faults.passing(step, call)
