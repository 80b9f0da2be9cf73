"""The log of every stream, as its readers see it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final

from ...values import Event, Position, SessionKey, StreamRef
from ..records import Hint, SessionRecord, StreamMeta
from .service import StoreService

__all__ = ["READ_EVENTS", "StreamLog"]

READ_EVENTS: Final = 512
"""The most events that one read of our own stores gives: unpacking and framing them holds up the event loop for about
half a millisecond."""


class StreamLog(StoreService, ABC):
    """Streams that can be read: enough to resume and replay them, also streams that ended long ago elsewhere."""

    @abstractmethod
    async def session(self, key: SessionKey) -> SessionRecord:
        """The session's pointers and what they point to. An unknown session has neither."""

    @abstractmethod
    async def meta(self, ref: StreamRef) -> StreamMeta | None:
        """The stream's record, or None."""

    @abstractmethod
    async def check_position(self, ref: StreamRef, at: Position) -> tuple[StreamMeta | None, bool]:
        """The stream's record, and whether its log holds exactly the event that `at` names, in one step. Every stream
        holds `START`.
        """

    @abstractmethod
    async def read(self, ref: StreamRef, after: Position, *, max_bytes: int) -> list[Event]:
        """Events after the one that `after` names, numbered on from it without a gap: at least one if there is any,
        else about `max_bytes` of payload, or less if the store gives only so many events at once.

        Raises:
            LogBrokenError: the log does not hold that event, or does not go on from it: it was trimmed, or lost it.
        """

    @abstractmethod
    def subscribe(
        self, ref: StreamRef, on_hint: Callable[[Hint], None], *, data: bool = True
    ) -> AbstractAsyncContextManager[None]:
        """While entered, `on_hint` is called (on the event loop, never concurrently) for every append, stop request,
        seal, takeover and close of the stream made after entering, by any process.

        With `data=False` appends are left out. After a lost connection every subscriber gets an empty hint. `on_hint`
        must not raise or block.
        """
