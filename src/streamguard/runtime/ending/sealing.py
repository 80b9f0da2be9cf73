"""Sealing a stream of this process: the store decides how it ended, once."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from ...deadlines import Deadline
from ...stores.records import Seal, Status
from ...stores.store import StreamStore
from ..producing.stream import LiveStream
from .store_attempts import StoreAttempts

__all__ = ["SealAnswer", "SealResult", "Sealing", "flushed"]


class SealResult(Enum):
    """What came of an attempt to seal."""

    SEALED = "sealed"
    UNREACHABLE = "unreachable"
    """The store did not answer in time."""
    FENCED = "fenced"
    """Another worker owns the stream."""
    LOG_GONE = "log_gone"
    """The stream is not on record any more."""
    LOG_BEHIND = "log_behind"
    """The log lacks events that this process does not have any more."""


class SealAnswer(NamedTuple):
    result: SealResult
    seal: Seal | None
    """The seal that stands, which an earlier one may be. None unless the result is `SEALED`."""


class Sealing:
    """Seals streams, and puts back what an older snapshot of a log lacks."""

    def __init__(self, store: StreamStore, attempts: StoreAttempts) -> None:
        self._store = store
        self._attempts = attempts

    async def seal(self, stream: LiveStream, proposal: Seal) -> SealAnswer:
        """Seal while viewers wait."""
        deadline = self._attempts.deadline()
        while True:
            answer = await self._attempts.while_viewers_wait(
                lambda: self._store.seal(stream.ref, stream.epoch, proposal), deadline
            )
            if answer is None:
                return SealAnswer(SealResult.UNREACHABLE, None)
            if answer[0] is not Status.GAP:
                found = _answer(*answer)
                if found.seal not in (None, proposal) and await self._is_lost(stream, deadline):
                    return SealAnswer(SealResult.FENCED, None)
                return found
            # An older snapshot came back between the last append and the seal: append again what it lacks.
            if not await self._put_back(stream, deadline):
                return SealAnswer(SealResult.LOG_BEHIND, None)

    async def seal_when_back(self, stream: LiveStream, proposal: Seal) -> SealAnswer:
        """Seal once the store is back, or until the drain gives up."""
        answer = await self._attempts.until_given_up(lambda: self._store.seal(stream.ref, stream.epoch, proposal))
        return SealAnswer(SealResult.UNREACHABLE, None) if answer is None else _answer(*answer)

    async def lost_when_back(self, stream: LiveStream) -> bool:
        """Whether another worker owns a stream that is sealed, as the store says once it is back."""
        meta = await self._attempts.until_given_up(lambda: self._store.meta(stream.ref))
        return meta is not None and meta.epoch != stream.epoch

    async def _is_lost(self, stream: LiveStream, deadline: Deadline) -> bool:
        """Whether another worker owns the stream, which the store does not say of one that is sealed: then that worker
        saves and settles what was sealed, and closes it."""
        meta = await self._attempts.while_viewers_wait(lambda: self._store.meta(stream.ref), deadline)
        return meta is not None and meta.epoch != stream.epoch

    async def _put_back(self, stream: LiveStream, deadline: Deadline) -> bool:
        """Append again what the log lacks. False where that cannot be done, or this process may not."""
        meta = await self._attempts.while_viewers_wait(lambda: self._store.meta(stream.ref), deadline)
        if meta is None or not stream.backlog.rewind(meta.last_seq):
            return False
        stream.backlog.resubmit()
        await flushed(stream)
        return not (stream.degraded or stream.superseded)


def _answer(status: Status, seal: Seal | None) -> SealAnswer:
    if status is Status.FENCED:
        return SealAnswer(SealResult.FENCED, None)
    if seal is not None:
        return SealAnswer(SealResult.SEALED, seal)
    return SealAnswer(SealResult.LOG_GONE if status is Status.GONE else SealResult.LOG_BEHIND, None)


async def flushed(stream: LiveStream) -> None:
    """Wait until every event is acknowledged, or the stream is degraded or superseded."""
    while stream.backlog.unacked and not stream.degraded and not stream.superseded:
        await stream.feed.change()
