"""Subscriptions to changes of streams: one subscribed connection per process, shared by all its subscribers.

Redis delivers a message at most once, so after any doubt subscribers get an empty hint, on which they read the log. The
parts:

- the *reader* task connects, subscribes to all channels wanted, confirms them and hands messages on; when the
  connection breaks it starts over;
- the *caretaker* task finds connections that died silently, keeps streams marked as watched (an append publishes its
  events only then), and after a reconnection marks them again before it sends everyone an empty hint;
- a task that enters `subscribe` subscribes to its channels itself if the reader is connected, else leaves it to the
  reader.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

from ...deadlines import Deadline
from ...errors import StoreError, StoreUnavailableError
from ...values import StreamRef
from ..records import Hint
from .address import Address
from .codec import decode_hint
from .driver import Command, CommandError, Connection, Reply
from .errors import mapped_error, mapped_errors
from .keys import Keys

__all__ = ["WATCHED_SECONDS", "Subscriptions"]

WATCHED_SECONDS: Final = 60.0
"""How long a stream counts as watched after it was marked last."""

_RENEW_SECONDS: Final = WATCHED_SECONDS / 3
_IDLE_SECONDS: Final = 2.0
"""A connection that brought nothing for this long gets a PING, and is dropped after as long again."""

_SUBSCRIBE_AT_ONCE: Final = 1000

_EMPTY: Final = Hint(0, (), False)


class _Subscriber:
    """One `subscribe` that is entered."""

    def __init__(self, ref: StreamRef, on_hint: Callable[[Hint], None], *, data: bool) -> None:
        self.ref = ref
        self.on_hint = on_hint
        self.data = data


class _Channel:
    """A channel with subscribers in this process."""

    def __init__(self) -> None:
        self.subscribers: list[_Subscriber] = []
        self.answered = asyncio.Event()
        """Set once the server confirmed it on the present connection, or `error` says why not."""
        self.error: StoreError | None = None


class Subscriptions:
    """The process's subscriptions. Connects at the first `subscribe` and stays connected until `aclose`."""

    def __init__(
        self,
        address: Address,
        keys: Keys,
        *,
        command_seconds: float,
        mark_watched: Callable[[Sequence[StreamRef]], Awaitable[None]],
    ) -> None:
        self._connection = Connection(address)
        self._keys = keys
        self._seconds = command_seconds
        self._mark_watched = mark_watched
        self._channels: dict[bytes, _Channel] = {}
        self._subscribers: dict[_Subscriber, None] = {}
        self._unconfirmed: dict[bytes, int] = {}
        """Subscriptions sent on this connection and not confirmed yet: leaving and entering again sends two."""
        self._subscribing = False
        """The reader has connected, so `subscribe` sends its own SUBSCRIBE."""
        self._heard = True
        self._wanted = asyncio.Event()
        self._repair = asyncio.Event()
        self._times_connected = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._closed = False

    # -- entering and leaving -----------------------------------------------------------------------------------------

    @asynccontextmanager
    async def watch(self, ref: StreamRef, on_hint: Callable[[Hint], None], *, data: bool) -> AsyncIterator[None]:
        """See `StreamLog.subscribe`. Entered once the server confirmed the subscription.

        Raises:
            StoreUnavailableError: it did not within the command timeout.
        """
        if self._closed:
            raise StoreUnavailableError("subscribe: the store is closed", operation="subscribe")
        subscriber = _Subscriber(ref, on_hint, data=data)
        names = self._names(subscriber)
        try:
            fresh = self._join(subscriber, names)
            with mapped_errors("subscribe"):
                async with Deadline.after(self._seconds).limit():
                    if fresh and self._subscribing:
                        await self._subscribe(fresh)
                    for name in names:
                        await self._confirmed(name)
            if data:
                await self._mark_watched([ref])
            yield
        finally:
            await self._leave(subscriber, names)

    def _names(self, subscriber: _Subscriber) -> list[bytes]:
        keys = self._keys.stream(subscriber.ref)
        return [keys.control, keys.data] if subscriber.data else [keys.control]

    def _join(self, subscriber: _Subscriber, names: Sequence[bytes]) -> list[bytes]:
        fresh = []
        self._subscribers[subscriber] = None
        for name in names:
            channel = self._channels.get(name)
            if channel is None:
                channel = self._channels[name] = _Channel()
                fresh.append(name)
            channel.subscribers.append(subscriber)
        self._wanted.set()
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._kept(run)) for run in (self._read, self._care)]
        return fresh

    async def _confirmed(self, name: bytes) -> None:
        channel = self._channels[name]
        await channel.answered.wait()
        if channel.error is not None:
            raise StoreUnavailableError(str(channel.error), operation="subscribe") from channel.error

    async def _leave(self, subscriber: _Subscriber, names: Sequence[bytes]) -> None:
        self._subscribers.pop(subscriber, None)
        gone = []
        for name in names:
            channel = self._channels.get(name)
            if channel is not None and subscriber in channel.subscribers:
                channel.subscribers.remove(subscriber)
                if not channel.subscribers:
                    del self._channels[name]
                    gone.append(name)
        if not self._channels:
            self._wanted.clear()
        if gone and self._subscribing:
            # A failure means the connection is gone, and with it the subscription.
            with suppress(StoreUnavailableError), mapped_errors("subscribe"):
                await self._connection.send(Command.of("UNSUBSCRIBE", *gone).packed)

    async def aclose(self) -> None:
        """Unsubscribe from everything and disconnect; later calls are refused, those that wait fail."""
        self.close_soon()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._lost(StoreUnavailableError("subscribe: the store was closed", operation="subscribe"))

    def close_soon(self) -> None:
        """End the tasks, and with them the connection, without waiting for that; later calls are refused."""
        self._closed = True
        for task in self._tasks:
            task.cancel()

    def abandon(self) -> None:
        """Drop the connection without its event loop, which is closed."""
        self._connection.abandon()

    async def _kept(self, run: Callable[[], Awaitable[None]]) -> None:
        """Run one of the two tasks until cancelled. If it fails, the subscribers that wait for it fail, and it starts
        again."""
        while True:
            try:
                await run()
            except Exception as exc:  # noqa: BLE001 -- a mistake of ours, which must not leave subscribers waiting
                asyncio.get_running_loop().call_exception_handler(
                    {"message": "a task of the Redis subscriptions failed", "exception": exc}
                )
                await self._lost(mapped_error("subscribe", exc))
                await asyncio.sleep(self._seconds / 4)

    async def _lost(self, error: StoreUnavailableError) -> None:
        """Drop the connection: it is broken, or its state is unknown."""
        self._subscribing = False
        with suppress(StoreUnavailableError), mapped_errors("subscribe"):
            await self._connection.drop()
        self._broken(error)

    # -- the reader ---------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        pause = 0.0
        while True:
            await asyncio.sleep(pause)
            await self._wanted.wait()
            try:
                with mapped_errors("subscribe"):
                    async with Deadline.after(self._seconds).limit():
                        await self._connection.connect()
                    self._times_connected += 1
                    self._subscribing = True
                    self._heard = True
                    await self._subscribe(list(self._channels))
                    while True:
                        for reply in await self._connection.receive():
                            self._take(reply)
                        pause = 0.0
            except StoreUnavailableError as exc:
                await self._lost(exc)
                pause = min(max(pause * 2, self._seconds / 32), self._seconds / 4)

    async def _subscribe(self, names: Sequence[bytes]) -> None:
        for start in range(0, len(names), _SUBSCRIBE_AT_ONCE):
            some = names[start : start + _SUBSCRIBE_AT_ONCE]
            for name in some:
                self._unconfirmed[name] = self._unconfirmed.get(name, 0) + 1
            await self._connection.send(Command.of("SUBSCRIBE", *some).packed)

    def _take(self, reply: Reply) -> None:
        self._heard = True
        if isinstance(reply, CommandError):
            raise reply
        if not isinstance(reply, list):
            return
        kind, name = reply[0], reply[1]
        if not isinstance(name, bytes):
            return
        if kind == b"message" and isinstance(reply[2], bytes):
            channel = self._channels.get(name)
            if channel is not None:
                self._tell(channel.subscribers, decode_hint(reply[2]))
        elif kind == b"subscribe":
            self._confirm(name)

    def _confirm(self, name: bytes) -> None:
        left = self._unconfirmed.get(name, 1) - 1
        if left > 0:
            self._unconfirmed[name] = left
            return
        self._unconfirmed.pop(name, None)
        channel = self._channels.get(name)
        if channel is not None:
            channel.error = None
            channel.answered.set()
        if not self._unconfirmed and self._times_connected > 1:
            self._times_connected = 1
            self._repair.set()

    def _broken(self, error: StoreError) -> None:
        self._unconfirmed.clear()
        for channel in self._channels.values():
            if channel.answered.is_set() and channel.error is None:
                channel.answered.clear()
            else:
                # A subscriber that is entering fails now, not when its time is up.
                channel.error = error
                channel.answered.set()

    def _tell(self, subscribers: Sequence[_Subscriber], hint: Hint) -> None:
        for subscriber in tuple(subscribers):
            try:
                subscriber.on_hint(hint)
            except Exception as exc:  # noqa: BLE001 # one subscriber's mistake must not cost the others their hints
                asyncio.get_running_loop().call_exception_handler(
                    {"message": "a stream subscriber raised; on_hint must not", "exception": exc}
                )

    # -- the caretaker ------------------------------------------------------------------------------------------------

    async def _care(self) -> None:
        loop = asyncio.get_running_loop()
        renew_at = loop.time() + _RENEW_SECONDS
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_IDLE_SECONDS):  # noqa: TID251 -- a period
                    await self._repair.wait()
            repair = self._repair.is_set()
            self._repair.clear()
            if repair or loop.time() >= renew_at:
                renew_at = loop.time() + _RENEW_SECONDS
                followed = {subscriber.ref for subscriber in self._subscribers if subscriber.data}
                try:
                    await self._mark_watched(list(followed))
                except StoreError:
                    renew_at = loop.time()
            if repair:
                self._tell(list(self._subscribers), _EMPTY)
            elif self._subscribing:
                await self._probe()

    async def _probe(self) -> None:
        """Called every `_IDLE_SECONDS`: a connection that stayed silent since the last probe is dropped."""
        alive, self._heard = self._heard, False
        with suppress(StoreUnavailableError), mapped_errors("subscribe"):
            if alive:
                await self._connection.send(Command.of("PING").packed)
            else:
                await self._connection.drop()
