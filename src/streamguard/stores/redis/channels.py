"""The channels that this process is subscribed to: of streams that it views, and of workers in it.

Every event loop has subscribed connections of its own: one, and in a cluster one more for each server that has sharded
channels. A worker is told of streams on all servers: its channel is a plain one, which reaches every server.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress

from ...loops import PerLoop
from ...values import StreamRef
from ..records import Hint
from ..worker_hints import MISSED_HINTS, WorkerHint
from .cluster import Cluster
from .driver import Connector
from .errors import closed_error
from .hints import EMPTY_HINT, decode_hint, decode_worker_hint
from .keys import Keys
from .shard_subscriptions import ShardSubscriptions
from .subscriber import Subscriber
from .subscriptions import Subscriptions

__all__ = ["Channels"]


class Channels:
    """Subscribes to channels by what they are about."""

    def __init__(
        self,
        address: Connector,
        keys: Keys,
        *,
        command_seconds: float,
        mark_watched: Callable[[Sequence[StreamRef]], Awaitable[None]],
        cluster: Cluster | None = None,
    ) -> None:
        self._keys = keys
        self._closed = False

        def subscriptions() -> Subscriptions | ShardSubscriptions:
            if cluster is None:
                return Subscriptions(address, command_seconds=command_seconds, mark_watched=mark_watched)
            return ShardSubscriptions(cluster, command_seconds=command_seconds, mark_watched=mark_watched)

        self._subscriptions: PerLoop[Subscriptions | ShardSubscriptions] = PerLoop(
            subscriptions, lambda one: one.abandon()
        )

    def watch(
        self, ref: StreamRef, on_hint: Callable[[Hint], None], *, data: bool
    ) -> AbstractAsyncContextManager[None]:
        """See `StreamLog.subscribe`."""
        keys = self._keys.stream(ref)
        return self._subscribed().entered(
            Subscriber(
                [keys.control, keys.data] if data else [keys.control],
                lambda payload: on_hint(decode_hint(payload)),
                lambda: on_hint(EMPTY_HINT),
                watched=ref if data else None,
            )
        )

    def listen(self, worker: str, on_hint: Callable[[WorkerHint], None]) -> AbstractAsyncContextManager[None]:
        """See `StreamWrites.subscribe_worker`."""
        subscriptions = self._subscribed()
        plain = subscriptions.plain if isinstance(subscriptions, ShardSubscriptions) else subscriptions
        return plain.entered(
            Subscriber(
                [self._keys.worker(worker)],
                lambda payload: on_hint(decode_worker_hint(payload)),
                lambda: on_hint(MISSED_HINTS),
            )
        )

    def _subscribed(self) -> Subscriptions | ShardSubscriptions:
        if self._closed:
            raise closed_error("subscribe")
        return self._subscriptions.get()

    def reopen(self) -> None:
        """Take subscribers again."""
        self._closed = False

    async def aclose(self) -> None:
        """Disconnect; later calls are refused until `reopen`, those that wait fail."""
        self._closed = True
        for loop, subscriptions in self._subscriptions.pop_others():
            with suppress(RuntimeError):  # it was closed meanwhile
                loop.call_soon_threadsafe(subscriptions.close_soon)
        subscriptions_here = self._subscriptions.pop()
        if subscriptions_here is not None:
            await subscriptions_here.aclose()
