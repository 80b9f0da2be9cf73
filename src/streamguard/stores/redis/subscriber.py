"""Who is told of what is published, and of what becomes of the channels it is published on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from ...values import StreamRef
from .driver import CommandError

__all__ = ["ShardEvents", "Subscriber"]


class Subscriber:
    """Whoever is told of the messages on some channels."""

    __slots__ = ("channels", "on_doubt", "on_message", "watched")

    def __init__(
        self,
        channels: Sequence[bytes],
        on_message: Callable[[bytes], None],
        on_doubt: Callable[[], None],
        *,
        watched: StreamRef | None = None,
    ) -> None:
        """`on_doubt` is called when messages may have been missed. While it is entered, `watched` is marked so. The
        callables must not raise or block."""
        self.channels: Sequence[bytes] = channels
        self.on_message: Callable[[bytes], None] = on_message
        self.on_doubt: Callable[[], None] = on_doubt
        self.watched: StreamRef | None = watched


class ShardEvents(Protocol):
    """Is told what becomes of sharded channels at one server. Must not raise or block."""

    def refused(self, error: CommandError) -> Sequence[int] | None:
        """The server refused a subscription. The slots that this is about; None for every channel that it has not
        confirmed yet."""

    def lost(self) -> None:
        """There is no connection to the server, or it ended a subscription."""
