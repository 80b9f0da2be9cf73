"""`RedisLog`: streams as their readers see them, and the life of the connections."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final

from ...errors import LogBrokenError, StoreUnavailableError
from ...locks import step_lock
from ...values import Event, Position, SessionKey, StreamRef
from ..records import (
    Hint,
    SessionRecord,
    StreamMeta,
)
from ..roles.stream_log import READ_EVENTS, StreamLog
from .channels import Channels
from .codec import (
    decode_events,
    decode_meta,
    decode_text,
    status_of,
)
from .driver import Command, Connector
from .namespace import RedisNamespace, milliseconds
from .permissions import Permissions
from .server_facts import inspect_servers, unusable
from .session_calls import ReadSession
from .stream_calls import CheckPosition, MarkWatched, ReadMeta
from .subscriptions import WATCHED_SECONDS

__all__ = ["RedisLog"]

_SUBSCRIBING_PINGS: Final = 15

_FIRST_RANGE: Final = 16
"""How many entries the first XRANGE of a log asks for: few, since an entry may have a megabyte. Later ones ask for what
seems to fit."""
_SIZED_LOGS: Final = 256
"""Of so many logs it is remembered how large an event is, from one read of a log to the next."""


class RedisLog(StreamLog):
    """Reads records and logs, and subscribes to changes. Starts, closes and proves the connections for all roles."""

    def __init__(
        self, redis: RedisNamespace, address: Connector, permissions: Permissions, *, command_seconds: float
    ) -> None:
        self._redis = redis
        self._address = address
        self._permissions = permissions
        self._successful_pings = 0
        """In a row."""
        self._event_bytes: OrderedDict[StreamRef, int] = OrderedDict()
        """The average event of logs that were read in part, the one that was read last at the end."""
        self._sizing = step_lock()
        """Held while these change. An `OrderedDict` compares such keys in Python code, and the interpreter crashes if
        another thread changes it meanwhile (CPython 3.11)."""
        self.channels: Channels = Channels(
            address,
            redis.keys,
            command_seconds=command_seconds,
            mark_watched=self._mark_watched,
            cluster=redis.cluster,
        )
        """What is subscribed to, by viewers and by workers."""

    async def start(self) -> list[str]:
        """Connect and load the scripts, also after `aclose`. Warns of an unreachable or old server and of an eviction
        policy."""
        self.channels.reopen()
        self._redis.ordered.reopen()
        self._redis.connections.reopen()
        try:
            await self._redis.connections.load_scripts()
            return await inspect_servers(self._redis.connections)
        except StoreUnavailableError as exc:
            return [unusable(exc, self._address, "streams cannot be resumed")]

    async def aclose(self) -> None:
        """Close every connection; later calls raise `StoreUnavailableError`, until `start`."""
        await self.channels.aclose()
        await self._redis.connections.aclose()
        await self._redis.ordered.aclose()

    async def ping(self) -> None:
        """Write a key, since a replica or a full server would answer a mere PING, and try all that streams need: a
        subscription, which takes a connection, at first, after failures, and now and then.

        Raises:
            StoreForbiddenError: this account may not do all of it.
        """
        pings, self._successful_pings = self._successful_pings, 0  # after a failure, as at first
        await self._permissions.check("ping", subscribing=pings % _SUBSCRIBING_PINGS == 0)
        self._successful_pings = pings + 1

    def partly_down(self) -> bool:
        return self._redis.cluster is not None and self._redis.cluster.partly_down

    async def session(self, key: SessionKey) -> SessionRecord:
        keys = self._redis.keys.session(key)
        reading = ReadSession(
            session_key=keys.session, still_key=keys.still, meta_prefix=keys.meta_prefix, log_prefix=keys.log_prefix
        )
        found = await self._redis.call("session", reading)
        status_of(found.status, None, "session")

        def pointer(stream_id: bytes | None, snapshot: object) -> tuple[str | None, StreamMeta | None]:
            if stream_id is None:
                return None, None
            ref = StreamRef(key, decode_text(stream_id))
            return ref.stream_id, decode_meta(ref, snapshot, "session")

        return SessionRecord(*pointer(found.active_id, found.active), *pointer(found.last_id, found.last))

    async def meta(self, ref: StreamRef) -> StreamMeta | None:
        keys = self._redis.keys.stream(ref)
        return decode_meta(ref, await self._redis.call("meta", ReadMeta(meta_key=keys.meta, log_key=keys.log)), "meta")

    async def check_position(self, ref: StreamRef, at: Position) -> tuple[StreamMeta | None, bool]:
        keys = self._redis.keys.stream(ref)
        entry_id = "" if at.seq == 0 else _entry_id(at)
        found = await self._redis.call(
            "check_position", CheckPosition(meta_key=keys.meta, log_key=keys.log, entry_id=entry_id)
        )
        return decode_meta(ref, found.snapshot, "check_position"), found.held == 1

    async def read(self, ref: StreamRef, after: Position, *, max_bytes: int) -> list[Event]:
        log = self._redis.keys.stream(ref).log
        events: list[Event] = []
        last, size, count = after.seq, 0, _FIRST_RANGE
        with self._sizing:
            average = self._event_bytes.pop(ref, 0)
        if average:
            count = _fitting(max_bytes, average, READ_EVENTS)
        # The first range begins with the event itself: that it is there is what says that the rest follows it.
        start, anchored = ("-", True) if after.seq == 0 else (_entry_id(after), False)
        while True:
            (reply,) = await self._redis.ask(
                "read", Command.on(log, "XRANGE", start, "+", "COUNT", count + (not anchored))
            )
            found = decode_events(ref, reply, "read")
            if not anchored:
                if not found or (found[0].epoch, found[0].seq) != after:
                    raise LogBrokenError(ref.stream_id, epoch=after.epoch, seq=after.seq)
                anchored = True
                del found[0]
            for event in found:
                if event.seq != last + 1:
                    if events:
                        return events  # the next read, from there, raises
                    raise LogBrokenError(ref.stream_id, epoch=after.epoch, seq=after.seq)
                if events and size + len(event.data) > max_bytes:
                    break
                last = event.seq
                events.append(event)
                size += len(event.data)
            if len(found) < count:
                return events
            average = size // len(events) + 1
            if size + average > max_bytes or len(events) == READ_EVENTS or last != found[-1].seq:
                with self._sizing:
                    self._event_bytes[ref] = average
                    if len(self._event_bytes) > _SIZED_LOGS:
                        self._event_bytes.popitem(last=False)
                return events
            start = f"({_entry_id(Position(events[-1].epoch, last))}"
            count = _fitting(max_bytes - size, average, READ_EVENTS - len(events))

    def subscribe(
        self, ref: StreamRef, on_hint: Callable[[Hint], None], *, data: bool = True
    ) -> AbstractAsyncContextManager[None]:
        return self.channels.watch(ref, on_hint, data=data)

    async def _mark_watched(self, refs: Sequence[StreamRef]) -> None:
        watched_ms = milliseconds(WATCHED_SECONDS)
        marks = [
            MarkWatched(meta_key=keys.meta, log_key=keys.log, watch_note_key=keys.watch_note, watched_ms=watched_ms)
            for keys in map(self._redis.keys.stream, refs)
        ]
        # One that cannot be marked is read by its subscriber now and then.
        await self._redis.call_each("subscribe", marks)


def _fitting(room_bytes: int, event_bytes: int, most: int) -> int:
    """How many events of that size to ask for."""
    return max(1, min(most, room_bytes // event_bytes + 1))


def _entry_id(at: Position) -> str:
    """An event's id in its stream's log."""
    return f"{at.epoch}-{at.seq}"
