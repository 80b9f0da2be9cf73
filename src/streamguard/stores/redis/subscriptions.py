"""Subscriptions to channels of one server: one subscribed connection per process, shared by all its subscribers.

Redis delivers a message at most once, so after any doubt subscribers are told that they may have missed some. The
parts:

- the *reader* task connects, subscribes to all channels wanted, confirms them and hands messages on; when the
  connection breaks it starts over;
- the *caretaker* task finds connections that died silently, keeps streams marked as watched (an append publishes its
  events only then), and after a reconnection marks them again before it tells everyone of the doubt;
- a task that enters `subscribe` subscribes to its channels itself if the reader is connected, else leaves it to the
  reader.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final, TypeVarTuple

from ...deadlines import Deadline
from ...errors import StoreError, StoreUnavailableError
from ...values import StreamRef
from .driver import Command, CommandError, Connection, Connector, Reply
from .errors import mapped_error, mapped_errors

__all__ = ["WATCHED_SECONDS", "Subscriber", "Subscriptions"]

Args = TypeVarTuple("Args")

WATCHED_SECONDS: Final = 60.0
"""How long a stream counts as watched after it was marked last."""

_RENEW_SECONDS: Final = WATCHED_SECONDS / 3
_IDLE_SECONDS: Final = 2.0
"""A connection that brought nothing for this long gets a PING, and is dropped after as long again."""

_SUBSCRIBE_AT_ONCE: Final = 1000


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


class _Channel:
    """A channel with subscribers in this process."""

    def __init__(self) -> None:
        self.subscribers: list[Subscriber] = []
        self.answered = asyncio.Event()
        """Set once the server confirmed it on the present connection, or `error` says why not."""
        self.error: StoreError | None = None


class Subscriptions:
    """The process's subscriptions. Connects for the first subscriber and stays connected until `aclose`."""

    def __init__(
        self,
        address: Connector,
        *,
        command_seconds: float,
        mark_watched: Callable[[Sequence[StreamRef]], Awaitable[None]],
    ) -> None:
        self._connection = Connection(address)
        self._seconds = command_seconds
        self._mark_watched = mark_watched
        self._channels: dict[bytes, _Channel] = {}
        self._subscribers: dict[Subscriber, None] = {}
        self._unconfirmed: dict[bytes, int] = {}
        """Subscriptions sent on this connection and not confirmed yet: leaving and entering again sends two."""
        self._subscribing = False
        """The reader has connected, so whoever enters sends a SUBSCRIBE."""
        self._heard = True
        self._wanted = asyncio.Event()
        self._repair = asyncio.Event()
        self._times_connected = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._closed = False

    # -- entering and leaving -----------------------------------------------------------------------------------------

    @asynccontextmanager
    async def entered(self, subscriber: Subscriber) -> AsyncIterator[None]:
        """Subscribe while entered, which is once the server confirmed all channels.

        Raises:
            StoreUnavailableError: it did not within the command timeout.
        """
        if self._closed:
            raise StoreUnavailableError("subscribe: the store is closed", operation="subscribe")
        names = subscriber.channels
        try:
            fresh = self._join(subscriber)
            with mapped_errors("subscribe"):
                async with Deadline.after(self._seconds).limit():
                    if fresh and self._subscribing:
                        await self._subscribe(fresh)
                    for name in names:
                        await self._confirmed(name)
            if subscriber.watched is not None:
                await self._mark_watched([subscriber.watched])
            yield
        finally:
            await self._leave(subscriber)

    def _join(self, subscriber: Subscriber) -> list[bytes]:
        fresh = []
        self._subscribers[subscriber] = None
        for name in subscriber.channels:
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

    async def _leave(self, subscriber: Subscriber) -> None:
        self._subscribers.pop(subscriber, None)
        gone = []
        for name in subscriber.channels:
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
                for subscriber in tuple(channel.subscribers):
                    self._tell(subscriber.on_message, reply[2])
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

    @staticmethod
    def _tell(tell: Callable[[*Args], None], *args: *Args) -> None:
        try:
            tell(*args)
        except Exception as exc:  # noqa: BLE001 # one subscriber's mistake must not cost the others their messages
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
                followed = {one.watched for one in self._subscribers if one.watched is not None}
                try:
                    await self._mark_watched(list(followed))
                except StoreError:
                    renew_at = loop.time()
            if repair:
                for subscriber in list(self._subscribers):
                    self._tell(subscriber.on_doubt)
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
