"""The stream store on Redis 6.2 or later (or a compatible server): one Lua script per step.

A process holds at most four connections for each event loop: one that carries appends and heartbeats in order, two for
everything else, and one that listens for hints. Layout, TTLs and the commands used: `docs/reference/redis.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from typing import Final

from ...errors import LogBrokenError, StoreUnavailableError
from ...loops import PerLoop
from ...values import Event, Position, StreamRef, Usage
from ..appends import AppendReply, AppendRequest
from ..records import NOTHING_CONSUMED, Hint, Partition, Status, StreamMeta, TakeoverReply
from .appends import Appends
from .calls import CheckPosition, Heartbeat, MarkWatched, ReadMeta, TakeOver
from .client import RedisClient
from .codec import append_reply, decode_events, decode_meta, server_ms, usage_json
from .driver import Address, Command
from .inspection import ListingSteps
from .keys import Keys
from .lease_index import LeaseIndex, milliseconds
from .outbox import OutboxSteps
from .outbox_index import OutboxIndex
from .permissions import Permissions
from .pipeline import PipelinedConnections
from .scripts import Scripts
from .server_facts import inspect_server
from .stream_registry import RegistrySteps
from .stream_writes import EndSteps
from .subscriptions import WATCHED_SECONDS, Subscriptions
from .viewer_reports import ViewerSteps

__all__ = ["RedisStore"]

_SUBSCRIBING_PINGS: Final = 15

_FIRST_READ: Final = 16
_LARGEST_READ: Final = 1024
"""How many entries one XRANGE asks for: few at first, since an entry may have a megabyte, then what seems to fit."""


class RedisStore(RegistrySteps, EndSteps, OutboxSteps, ListingSteps, ViewerSteps):
    """Streams in Redis, shared by every process that uses the same server and namespace.

    Losing Redis's memory (a restart without AOF, a failover to a lagging replica) loses streams; they are reported as
    gone, never papered over.
    """

    shared = True

    def __init__(
        self,
        url: str,
        *,
        namespace: str = "streamguard",
        command_seconds: float = 1.0,
        scripts: Scripts | None = None,
    ) -> None:
        """Nothing is connected yet.

        Args:
            url: `redis://`, `rediss://` or `unix://`; credentials percent-encoded.
            namespace: What every key begins with; letters, digits, `_` and `-`.
            command_seconds: How long one call may take in all before it counts as failed, in seconds.
            scripts: Other Lua than this version's, for tests of tests.

        Raises:
            ConfigurationError: the URL cannot be used.
        """
        self._address = Address(url)
        self.server: str | None = str(self._address)
        self.namespace: str = namespace
        self._command_seconds = command_seconds
        self._keys = Keys(namespace)
        chosen = scripts or Scripts.load()
        self._commits = PipelinedConnections(self._address, chosen, count=1, command_seconds=command_seconds)
        self._connections = PipelinedConnections(self._address, chosen, count=2, command_seconds=command_seconds)
        self._permissions = Permissions(
            self._address, self._connections, chosen, self._keys, command_seconds=command_seconds
        )
        self._appends = Appends(self._commits, self._keys)
        self._pings = 0
        """That succeeded in a row."""
        self._leases = LeaseIndex(self._connections, self._keys, self._unreadable)
        self._outbox = OutboxIndex(self._connections, self._keys, self._unreadable)
        self._subscriptions: PerLoop[Subscriptions] = PerLoop(
            lambda: Subscriptions(
                self._address, self._keys, command_seconds=command_seconds, mark_watched=self._mark_watched
            ),
            Subscriptions.abandon,
        )
        self._shut = False

    async def start(self) -> list[str]:
        """Connect and load the scripts, also after `aclose`. Warns of an unreachable or old server and of an eviction
        policy."""
        self._shut = False
        self._commits.reopen()
        self._connections.reopen()
        try:
            await self._connections.load_scripts()
            return await inspect_server(self._connections, str(self._address))
        except StoreUnavailableError as exc:
            return [f"{exc} at {self._address}: streams cannot be resumed until it answers"]

    async def aclose(self) -> None:
        """Close every connection; later calls raise `StoreUnavailableError`, until `start`."""
        self._shut = True
        for loop, subscriptions in self._subscriptions.pop_others():
            with suppress(RuntimeError):  # it was closed meanwhile
                loop.call_soon_threadsafe(subscriptions.close_soon)
        subscriptions_here = self._subscriptions.pop()
        if subscriptions_here is not None:
            await subscriptions_here.aclose()
        await self._connections.aclose()
        await self._commits.aclose()

    def new_client(self) -> RedisClient:
        """A client of the same server with connections of its own, for another store there. Whoever asks closes it."""
        return RedisClient(self._address, command_seconds=self._command_seconds)

    async def ping(self) -> None:
        """Write a key, since a replica or a full server would answer a mere PING, and try all that streams need: a
        subscription, which takes a connection, at first, after failures, and now and then.

        Raises:
            StoreForbiddenError: this account may not do all of it.
        """
        pings, self._pings = self._pings, 0  # after a failure, as at first
        await self._permissions.check("ping", subscribing=pings % _SUBSCRIBING_PINGS == 0)
        self._pings = pings + 1

    # -- records ------------------------------------------------------------------------------------------------------

    async def meta(self, ref: StreamRef) -> StreamMeta | None:
        keys = self._keys.stream(ref)
        return decode_meta(ref, await self._call("meta", ReadMeta(meta_key=keys.meta, log_key=keys.log)), "meta")

    async def check_position(self, ref: StreamRef, at: Position) -> tuple[StreamMeta | None, bool]:
        keys = self._keys.stream(ref)
        entry_id = "" if at.seq == 0 else _entry_id(at)
        found = await self._call(
            "check_position", CheckPosition(meta_key=keys.meta, log_key=keys.log, entry_id=entry_id)
        )
        return decode_meta(ref, found.snapshot, "check_position"), found.held == 1

    # -- the log --------------------------------------------------------------------------------------------------

    async def append(self, batch: Sequence[AppendRequest]) -> list[AppendReply]:
        return await self._appends.append(batch)

    async def read(self, ref: StreamRef, after: Position, *, max_bytes: int) -> list[Event]:
        log = self._keys.stream(ref).log
        events: list[Event] = []
        last, size, count = after.seq, 0, _FIRST_READ
        # The first range begins with the event itself: that it is there is what says that the rest follows it.
        start, anchored = ("-", True) if after.seq == 0 else (_entry_id(after), False)
        while True:
            (reply,) = await self._ask("read", Command.of("XRANGE", log, start, "+", "COUNT", count + (not anchored)))
            found = decode_events(ref, reply, "read")
            if not anchored:
                if not found or (found[0].epoch, found[0].seq) != after:
                    raise LogBrokenError(ref.stream_id, epoch=after.epoch, seq=after.seq)
                anchored = True
                del found[0]
            for event in found:
                if event.seq != last + 1:
                    if events:
                        return events  # whoever reads on from there is told
                    raise LogBrokenError(ref.stream_id, epoch=after.epoch, seq=after.seq)
                if events and size + len(event.data) > max_bytes:
                    return events
                last = event.seq
                events.append(event)
                size += len(event.data)
            if len(found) < count or size >= max_bytes:
                return events
            start = f"({_entry_id(Position(events[-1].epoch, last))}"
            average = size // len(events) + 1
            count = max(1, min(_LARGEST_READ, (max_bytes - size) // average + 1))

    def subscribe(
        self, ref: StreamRef, on_hint: Callable[[Hint], None], *, data: bool = True
    ) -> AbstractAsyncContextManager[None]:
        if self._shut:
            raise StoreUnavailableError("subscribe: the store is closed", operation="subscribe")
        return self._subscriptions.get().watch(ref, on_hint, data=data)

    async def _mark_watched(self, refs: Sequence[StreamRef]) -> None:
        watched_ms = milliseconds(WATCHED_SECONDS)
        keys = [self._keys.stream(ref) for ref in refs]
        # One that cannot be marked is read by its subscriber now and then.
        await self._mark_each(
            "subscribe",
            [MarkWatched(meta_key=key.meta, watch_note_key=key.watch_note, watched_ms=watched_ms) for key in keys],
        )

    # -- the writer's claim ---------------------------------------------------------------------------------------

    async def heartbeat(
        self,
        claims: Sequence[tuple[StreamRef, int]],
        *,
        lease_seconds: float,
        ttl_seconds: float,
        consumed: Mapping[StreamRef, Usage] = NOTHING_CONSUMED,
    ) -> list[AppendReply]:
        lease_ms, ttl_ms = milliseconds(lease_seconds), milliseconds(ttl_seconds)
        commands = []
        for ref, epoch in claims:
            keys = self._keys.stream(ref)
            heartbeat = Heartbeat(
                meta_key=keys.meta,
                log_key=keys.log,
                session_key=keys.session,
                streams_key=keys.streams,
                epoch=epoch,
                lease_ms=lease_ms,
                ttl_ms=ttl_ms,
                usage=usage_json(consumed.get(ref)),
            )
            commands.append(self._commits.command(heartbeat))
        replies = await self._commits.run("heartbeat", commands)
        answers = [append_reply(reply) for reply in replies]
        for reply in replies:
            self._appends.learn(server_ms(reply))
        renewed = [ref for (ref, _), answer in zip(claims, answers, strict=True) if answer.status is Status.OK]
        # The claims are renewed now. The index and the owners' slots follow, since only what was not fenced may move
        # them and they are on other cluster slots; an entry that stays behind is corrected by `expired_leases`.
        self._connections.post("heartbeat", self._leases.renewals(renewed, lease_seconds))
        return answers

    async def take_over(
        self, ref: StreamRef, *, lease_seconds: float, expected_epoch: int | None = None, force: bool = False
    ) -> TakeoverReply:
        keys = self._keys.stream(ref)
        taken = await self._call(
            "take_over",
            TakeOver(
                meta_key=keys.meta,
                log_key=keys.log,
                lease_ms=milliseconds(lease_seconds),
                expected_epoch="" if expected_epoch is None else str(expected_epoch),
                force=force,
            ),
        )
        status = self._status(taken.status, ref, "take_over")
        if status is Status.OK:
            # The old writer's entry may have been removed; without one nobody would find this stream again.
            await self._ask("take_over", self._leases.renewal(ref, lease_seconds))
        return TakeoverReply(status, decode_meta(ref, taken.snapshot, "take_over"))

    async def expired_leases(self, *, limit: int, partition: Partition | None = None) -> list[StreamRef]:
        return await self._leases.due(limit, partition)

    async def defer(self, ref: StreamRef, *, seconds: float, readable: bool = False) -> None:
        await self._leases.put_off(ref, seconds, readable=readable)

    async def partition(self, worker: str, *, lease_seconds: float) -> Partition:
        return await self._leases.share(worker, lease_seconds)


def _entry_id(at: Position) -> str:
    """An event's id in its stream's log."""
    return f"{at.epoch}-{at.seq}"
