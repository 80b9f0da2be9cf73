"""Subscriptions to channels of one server: one subscribed connection per process, shared by all its subscribers.

Redis delivers a message at most once, so after any doubt subscribers are told that they may have missed some. The
parts:

- the *reader* task connects, subscribes to all channels wanted, confirms them and hands messages on; when the
  connection breaks it starts over;
- the *caretaker* task finds connections that died silently, keeps streams marked as watched (an append publishes its
  events only then), and after a reconnection marks them again before it tells everyone of the doubt;
- a task that enters `subscribe` subscribes to its channels itself if the reader is connected, else leaves it to the
  reader.

Sharded channels (`shard_subscriptions`) are subscribed to one by one, since each may turn out to be another server's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final, NamedTuple, TypeVarTuple

from ...deadlines import Deadline
from ...errors import StoreError, StoreUnavailableError
from ...unavailable import reason_of
from ...values import StreamRef
from .driver import Command, CommandError, Connection, Connector, Reply
from .errors import closed_error, mapped_error, mapped_errors
from .slot_map import slot_of
from .subscriber import ShardEvents, Subscriber

__all__ = ["WATCHED_SECONDS", "Subscriptions"]

Args = TypeVarTuple("Args")

WATCHED_SECONDS: Final = 60.0
"""How long a stream counts as watched after it was marked last."""

_RENEW_SECONDS: Final = WATCHED_SECONDS / 3
_IDLE_SECONDS: Final = 2.0
"""A connection that brought nothing for this long gets a PING, and is dropped after as long again."""


class _Words(NamedTuple):
    enter: str
    leave: str
    entered: bytes
    left: bytes
    message: bytes
    at_once: int
    """How many channels one command takes: those of a sharded one must share a slot."""


_PLAIN: Final = _Words("SUBSCRIBE", "UNSUBSCRIBE", b"subscribe", b"unsubscribe", b"message", 1000)
_SHARDED: Final = _Words("SSUBSCRIBE", "SUNSUBSCRIBE", b"ssubscribe", b"sunsubscribe", b"smessage", 1)


class _Channel:
    """A channel with subscribers in this process."""

    def __init__(self) -> None:
        self.subscribers: list[Subscriber] = []
        self.answered = asyncio.Event()
        """Set once the server confirmed it on the present connection, or `error` says why not."""
        self.error: StoreError | None = None
        self.asked_again = False
        """It was refused, and messages on it were missed by the time it is confirmed."""


class Subscriptions:
    """The process's subscriptions. Connects for the first subscriber and stays connected until `aclose`."""

    def __init__(
        self,
        address: Connector,
        *,
        command_seconds: float,
        mark_watched: Callable[[Sequence[StreamRef]], Awaitable[None]],
        shards: ShardEvents | None = None,
    ) -> None:
        """`shards`: the channels are sharded, and this is told of what becomes of them."""
        self._connection = Connection(address)
        self._shards = shards
        self._words = _PLAIN if shards is None else _SHARDED
        self._dropped: list[bytes] = []
        """Channels that the server has ended the subscription to: their slots were moved."""
        self._seconds = command_seconds
        self._mark_watched = mark_watched
        self._channels: dict[bytes, _Channel] = {}
        self.subscribers: dict[Subscriber, None] = {}
        """Whoever is subscribed, or about to be."""
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

    @property
    def connected(self) -> bool:
        """Whether there is a connection on which subscriptions can be made."""
        return self._subscribing

    async def ask_again(self, subscriber: Subscriber) -> bool:
        """Subscribe once more to those of a subscriber's channels that the server has refused; whether there were any.

        Raises:
            StoreUnavailableError: there is no connection any more.
        """
        known = {name: self._channels.get(name) for name in subscriber.channels}
        refused = {name: one for name, one in known.items() if one is not None and one.error is not None}
        if refused:
            for channel in refused.values():
                channel.error = None
                channel.answered.clear()
                channel.asked_again = True
            with mapped_errors("subscribe"):
                await self._subscribe(list(refused))
        return bool(refused)

    @asynccontextmanager
    async def entered(self, subscriber: Subscriber) -> AsyncIterator[None]:
        """Subscribe while entered, which is once the server confirmed all channels.

        Raises:
            StoreUnavailableError: it did not within the command timeout.
        """
        await self.enter(subscriber)
        try:
            yield
        finally:
            await self.leave(subscriber)

    async def enter(self, subscriber: Subscriber) -> None:
        """Subscribe, until `leave`. After an error, or a cancellation, nothing is left to be left.

        Raises:
            StoreUnavailableError: the server did not confirm all channels within the command timeout.
        """
        if self._closed:
            raise closed_error("subscribe")
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
        except BaseException:
            await self.leave(subscriber)
            raise

    def _join(self, subscriber: Subscriber) -> list[bytes]:
        fresh = []
        self.subscribers[subscriber] = None
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
            error = channel.error
            raise StoreUnavailableError(str(error), operation="subscribe", reason=reason_of(error)) from error

    async def leave(self, subscriber: Subscriber) -> None:
        """Subscribe no longer."""
        self.subscribers.pop(subscriber, None)
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
                await self._send(self._words.leave, gone)

    async def aclose(self) -> None:
        """Unsubscribe from everything and disconnect; later calls are refused, those that wait fail."""
        self.close_soon()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._lost(closed_error("subscribe"))

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
        if self._shards is not None and self._channels:
            self._shards.lost()

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
                        if self._dropped and self._shards is not None:
                            await self._subscribe_again(self._shards)
                        pause = 0.0
            except StoreUnavailableError as exc:
                await self._lost(exc)
                pause = min(max(pause * 2, self._seconds / 32), self._seconds / 4)

    async def _subscribe(self, names: Sequence[bytes]) -> None:
        for name in names:
            self._unconfirmed[name] = self._unconfirmed.get(name, 0) + 1
        await self._send(self._words.enter, names)

    async def _send(self, word: str, names: Sequence[bytes]) -> None:
        size = self._words.at_once
        parts = [Command.of(word, *names[start : start + size]).packed for start in range(0, len(names), size)]
        await self._connection.send(b"".join(parts))

    def _take(self, reply: Reply) -> None:
        self._heard = True
        if isinstance(reply, CommandError):
            if self._shards is None:
                raise reply
            self._refuse(reply, self._shards)
            return
        if not isinstance(reply, list):
            return
        kind, name = reply[0], reply[1]
        if not isinstance(name, bytes):
            return
        if kind == self._words.message and isinstance(reply[2], bytes):
            channel = self._channels.get(name)
            if channel is not None:
                for subscriber in tuple(channel.subscribers):
                    self.tell(subscriber.on_message, reply[2])
        elif kind == self._words.entered:
            self._confirm(name)
        elif kind == self._words.left and name in self._channels and name not in self._unconfirmed:
            self._dropped.append(name)  # nobody here left it

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
            self._times_connected += channel.asked_again  # as after a new connection
            channel.asked_again = False
        self._tell_doubt_if_confirmed()

    def _refuse(self, error: CommandError, shards: ShardEvents) -> None:
        """Whoever waits for a channel that the server refused is told so."""
        slots = shards.refused(error)
        for name in tuple(self._unconfirmed):
            if slots is None or slot_of(name) in slots:
                del self._unconfirmed[name]
                channel = self._channels.get(name)
                if channel is not None:
                    channel.error = mapped_error("subscribe", error)
                    channel.answered.set()
        self._tell_doubt_if_confirmed()

    async def _subscribe_again(self, shards: ShardEvents) -> None:
        """The server has ended subscriptions: what it says to new ones tells whose the channels are now."""
        names, self._dropped = [name for name in self._dropped if name in self._channels], []
        for name in names:
            self._channels[name].answered.clear()
        self._times_connected += 1  # as after a new connection, messages may have been missed
        shards.lost()
        await self._subscribe(names)

    def _tell_doubt_if_confirmed(self) -> None:
        if not self._unconfirmed and self._times_connected > 1:
            self._times_connected = 1
            self._repair.set()

    def _broken(self, error: StoreError) -> None:
        self._unconfirmed.clear()
        self._dropped.clear()
        for channel in self._channels.values():
            if channel.answered.is_set() and channel.error is None:
                channel.answered.clear()
            else:
                # A subscriber that is entering fails now, not when its time is up.
                channel.error = error
                channel.answered.set()

    @staticmethod
    def tell(tell: Callable[[*Args], None], *args: *Args) -> None:
        """Call what a subscriber gave; what it raises goes no further."""
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
                followed = {one.watched for one in self.subscribers if one.watched is not None}
                try:
                    await self._mark_watched(list(followed))
                except StoreError:
                    renew_at = loop.time()
            if repair:
                for subscriber in list(self.subscribers):
                    self.tell(subscriber.on_doubt)
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
