"""The `send` of a server that does nothing but write to the connection, so that it may be called outside of its task.

To wake the task that sends, for each event, costs as much as the event's whole way to it: a future, a callback, and
every coroutine of the task. The server's own `send` needs no task, unless its connection takes no more at present: it
keeps no context, no cancel scope and no lock. So where nothing of the host's is between, the event is written where it
is shown. A `send` that has to wait goes on in the task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any, Final

from starlette.types import Send

from ..middleware.exchange import Exchange
from .passing_sends import inside_passing

__all__ = ["RestOfSend", "is_servers_own", "past_layer"]

_SERVERS: Final = ("uvicorn.protocols.http.",)
"""Where the classes are of which `send` is known to do no more."""


def is_servers_own(send: Send, exchange: Exchange) -> bool:
    """Whether messages that `send`, without the wrappers of `inside_passing`, is given go to the server as they are."""
    return type(getattr(past_layer(send, exchange), "__self__", None)).__module__.startswith(_SERVERS)


def past_layer(send: Send, exchange: Exchange) -> Send:
    """Where our own outermost layer passes on what `send` is given of a response that has more to follow; `send` itself
    if that is not the layer's, or the layer sends nothing.

    Once the connection is gone, the layer sends nothing any more: the viewer is cut in the same step (see
    `ApplicationCall.detach`).
    """
    sends = exchange.sends
    return inside_passing(sends.outer) if sends is not None and send == sends.inner else send


class RestOfSend:
    """The rest of a send that waits. To be awaited in a task, once.

    Args:
        steps: the send, as `__await__` gives it.
        found: what it gave first.
    """

    __slots__ = ("_cancellation", "_found", "_steps")

    def __init__(self, steps: Generator[Any, Any, None], found: object) -> None:
        self._steps = steps
        self._found = found
        """What it waits for, as asyncio's tasks are told."""
        self._cancellation: asyncio.CancelledError | None = None

    def cancelled(self, cancellation: asyncio.CancelledError) -> RestOfSend:
        """The rest, once the task was cancelled before it awaited this: the send is told."""
        self._cancellation = cancellation
        return self

    def __await__(self) -> Generator[Any, Any, None]:
        found = self._found
        while True:
            try:
                if self._cancellation is not None:
                    raise self._cancellation
                yield found
            except BaseException as exc:  # noqa: BLE001 -- it is meant for the send
                self._cancellation = None
                try:
                    found = self._steps.throw(exc)
                except StopIteration:
                    return
            else:
                break
        yield from self._steps
