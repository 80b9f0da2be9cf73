"""`RedisWrites`: how a writer writes its stream, from appends to its end."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from ...values import Persisted, QuotaState, StreamRef, Usage
from ..appends import AppendReply, AppendRequest, Placement, is_last_append
from ..records import (
    NOTHING_CONSUMED,
    UNTOLD,
    Close,
    LostLog,
    Seal,
    Status,
    TakeoverReply,
)
from ..roles.stream_writes import StreamWrites
from ..worker_hints import WorkerHint
from .appends import Appends
from .channels import Channels
from .cluster_appends import ClusterAppends
from .codec import (
    STATUSES,
    append_reply,
    decode_meta,
    decode_seal,
    flatten,
    mutable_fields,
    newer_format,
    pack_held,
    seal_json,
    server_ms,
    status_of,
    tombstone_json,
    usage_json,
)
from .driver import Command, Reply
from .errors import checked
from .identities import stored_identity, variable_fields
from .lease_index import LeaseIndex
from .lifetimes import live_ms
from .namespace import RedisNamespace, milliseconds, read_answer
from .outbox_index import OutboxIndex
from .owner_slots import OwnerSlots
from .pipeline import OrderedConnection
from .record_fields import RECORD_FIELDS
from .stream_calls import CloseStream, DeclareLost, Heartbeat, SealAnswer, SealStream, TakeOver, UpdateMeta

__all__ = ["RedisWrites"]

_OK: Final = STATUSES.index(Status.OK)
SealFields = tuple[bytes, bytes, bytes, bytes]
_NO_SEAL: Final[SealFields] = (b"", b"", b"", b"")


class RedisWrites(StreamWrites):
    """Appends and heartbeats keep their order; every other step is a script of its own."""

    def __init__(self, redis: RedisNamespace, channels: Channels, leases: LeaseIndex, outbox: OutboxIndex) -> None:
        self._redis = redis
        self._channels = channels
        self._leases = leases
        self._outbox = outbox
        self._appends = (
            Appends(redis, redis.ordered)
            if isinstance(redis.ordered, OrderedConnection)
            else ClusterAppends(redis.keys, redis.ordered)
        )
        self._slots = OwnerSlots(redis)

    def placement(self) -> Placement | None:
        return self._appends if isinstance(self._appends, ClusterAppends) else None

    def append(self, batch: Sequence[AppendRequest]) -> Coroutine[Any, Any, Sequence[AppendReply]]:
        return self._appends.append(batch)

    async def heartbeat(
        self,
        claims: Sequence[tuple[StreamRef, int]],
        *,
        lease_seconds: float,
        ttl_seconds: float,
        consumed: Mapping[StreamRef, Usage] = NOTHING_CONSUMED,
    ) -> list[AppendReply]:
        lease_ms, ttl_ms = milliseconds(lease_seconds), live_ms(ttl_seconds)
        commands = []
        for ref, epoch in claims:
            keys = self._redis.keys.stream(ref)
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
            commands.append(self._redis.ordered.command(heartbeat))
        replies = await self._redis.ordered.run("heartbeat", commands)
        answers = [append_reply(reply, "heartbeat") for reply in replies]
        for (ref, _), reply in zip(claims, replies, strict=True):
            self._redis.clock_of(self._redis.keys.stream(ref).meta).heard(server_ms(reply))
        renewed = [ref for (ref, _), answer in zip(claims, answers, strict=True) if answer.status is Status.OK]
        # The claims are renewed now. The index and the owners' slots follow, since only what was not fenced may move
        # them and they are on other cluster slots; an entry that stays behind is corrected by `expired_leases`.
        self._redis.connections.post("heartbeat", self._leases.renewals(renewed, lease_seconds))
        return answers

    def subscribe_worker(self, worker: str, on_hint: Callable[[WorkerHint], None]) -> AbstractAsyncContextManager[None]:
        return self._channels.listen(worker, on_hint)

    async def take_over(
        self,
        ref: StreamRef,
        *,
        lease_seconds: float,
        expected_epoch: int | None = None,
        force: bool = False,
        worker: str = "",
    ) -> TakeoverReply:
        keys = self._redis.keys.stream(ref)
        taken = await self._redis.call(
            "take_over",
            TakeOver(
                meta_key=keys.meta,
                log_key=keys.log,
                lease_ms=milliseconds(lease_seconds),
                expected_epoch="" if expected_epoch is None else str(expected_epoch),
                force=force,
                worker=worker,
            ),
        )
        status = status_of(taken.status, ref, "take_over")
        if status is Status.OK:
            # The old writer's entry may have been removed; without one no worker would find this stream again.
            await self._redis.ask("take_over", self._leases.renewal(ref, lease_seconds))
        return TakeoverReply(status, decode_meta(ref, taken.snapshot, "take_over"))

    async def seal(self, ref: StreamRef, epoch: int, seal: Seal) -> tuple[Status, Seal | None]:
        return self._sealed(ref, await self._redis.call("seal", self._seal(ref, epoch, _seal_fields(seal))))

    async def close(self, close: Close) -> AppendReply:
        *_, reply = await self._redis.ask("close", *self._close(close))
        return await self._closed(close, self._written(close.ref, reply, "close"))

    async def seal_and_close(
        self, close: Close, seal: Seal, last: AppendRequest | None = None
    ) -> tuple[Status, Seal | None, AppendReply | None]:
        fields = _seal_fields(seal)
        if last is not None:
            answer = await self._append_and_close(close, seal, fields, last)
            if answer is None:
                return Status.NOT_SEALED, None, None
            if answer.status is Status.OK:
                return Status.OK, seal, answer
            return await self._seal_then_close(close, seal, fields)
        # In order behind the last append, and in the same exchange if that has not left yet.
        replies = await self._redis.ordered.run("close", self._close(close, new=fields))
        checked("close", replies)
        reply = replies[-1]
        answer = self._written(close.ref, reply, "close")
        if answer.status is Status.OK:
            return Status.OK, seal, answer if self._redis.one_server else await self._closed(close, answer)
        return await self._seal_then_close(close, seal, fields)

    async def _append_and_close(
        self, close: Close, seal: Seal, fields: SealFields, last: AppendRequest
    ) -> AppendReply | None:
        """Append, seal and close in one step. None: nothing was changed.

        Not in a cluster: events that are in the log would be shown only once another server, which may be slow, has
        given the owner's slot back.
        """
        appends = self._appends
        if isinstance(appends, ClusterAppends) or not is_last_append(close, seal, last):
            return None
        until_ms = appends.until(last)
        if until_ms is None:
            return None
        (closing,) = self._close(close, new=fields, last=last, until_ms=until_ms)
        reply = await appends.end(last, closing)
        checked("close", [reply])
        answer = self._written(close.ref, reply, "close")
        return answer if answer.status in (Status.OK, Status.DUPLICATE) else None

    async def _seal_then_close(
        self, close: Close, seal: Seal, fields: SealFields
    ) -> tuple[Status, Seal | None, AppendReply | None]:
        """As `seal_and_close`, with an answer for each of the steps: not the usual end."""
        sealing = self._seal(close.ref, close.epoch, fields)
        replies = await self._redis.ordered.run(
            "close", [self._redis.ordered.command(sealing), *self._close(close, standing=fields)]
        )
        checked("close", replies)
        answer = read_answer("close", sealing, replies[0])
        if answer.status != _OK:  # else it stands as it was sent
            status, standing = self._sealed(close.ref, answer)
            if standing != seal:
                return status, standing, None
        else:
            status = Status.OK
        return status, seal, await self._closed(close, self._written(close.ref, replies[-1], "close"))

    async def _closed(self, close: Close, answer: AppendReply) -> AppendReply:
        """What closing answered. In a cluster, the owner's slot and the lease's entry are given back in a step of their
        own, and what is owed was entered in one."""
        if not self._redis.one_server and answer.status in (Status.OK, Status.DUPLICATE):
            self._leases.removed.add(close.ref)
            if close.outbox_payload is not None:
                self._outbox.removed.add(close.ref)
            await self._slots.release(close.ref, self._leases.removal(close.ref))
        return answer

    async def declare_lost(self, lost: LostLog) -> AppendReply:
        new, terminal = lost.new, lost.terminal
        keys = self._redis.keys.stream(new.ref)
        session = keys.of_session
        losing = DeclareLost(
            **keys.stored,
            watch_note_key=keys.watch_note,
            erased_key=session.erased,
            lease_shard_key=self._redis.far(keys.lease_shard),
            epoch="" if lost.epoch == UNTOLD else str(lost.epoch),
            stream_id=new.ref.stream_id,
            lease_ms=milliseconds(lost.lease_seconds),
            retention_ms=milliseconds(lost.retention_seconds),
            age_us=round(new.age_seconds * 1_000_000),
            ends=terminal is not None,
            terminal=b"" if terminal is None else terminal.to_json(),
            seal=b"" if terminal is None else tombstone_json(terminal),
            persisted="" if terminal is None else terminal.persisted,
            quota="" if terminal is None else terminal.quota,
            meta_prefix=session.meta_prefix,
            lease_entry=keys.member,
            fields=[
                *(RECORD_FIELDS["message_id"], new.message_id),
                *(RECORD_FIELDS["protocol"], new.protocol),
                *(RECORD_FIELDS["identity"], stored_identity(new)),
                *variable_fields(new),
            ],
        )
        declare = self._redis.command(losing)
        if terminal is None:
            _, reply = await self._redis.ask("declare_lost", self._leases.entry(new.ref, lost.lease_seconds), declare)
            answer = self._written(new.ref, reply, "declare_lost")
            if answer.status is Status.OK:
                await self._redis.ask("declare_lost", self._leases.renewal(new.ref, lost.lease_seconds))
            return answer
        (reply,) = await self._redis.ask("declare_lost", declare)
        answer = self._written(new.ref, reply, "declare_lost")
        if not self._redis.one_server and answer.status in (Status.OK, Status.DUPLICATE):
            # The stream is closed, whatever becomes of its entry: `expired_leases` removes one that is left over.
            self._leases.forget(new.ref)
        return answer

    async def update_meta(
        self,
        ref: StreamRef,
        *,
        persisted: Persisted | None = None,
        quota: QuotaState | None = None,
        revised: bool = False,
    ) -> Status:
        fields = mutable_fields(persisted, quota, revised=revised)
        marking = UpdateMeta(meta_key=self._redis.keys.stream(ref).meta, fields=fields)
        return status_of(await self._redis.call("update_meta", marking), ref, "update_meta")

    def _seal(self, ref: StreamRef, epoch: int, fields: SealFields) -> SealStream:
        last_seq, body, usage, held = fields
        keys = self._redis.keys.stream(ref)
        return SealStream(
            meta_key=keys.meta,
            log_key=keys.log,
            epoch=epoch,
            last_seq=last_seq,
            seal=body,
            usage=usage,
            held=held,
        )

    def _sealed(self, ref: StreamRef, answer: SealAnswer) -> tuple[Status, Seal | None]:
        status = status_of(answer.status, ref, "seal")
        if status not in (Status.OK, Status.SEALED):
            return status, None
        return status, decode_seal(ref, (answer.seal, answer.seal_seq, answer.usage, answer.held), "seal")

    def _close(
        self,
        close: Close,
        *,
        standing: SealFields | None = None,
        new: SealFields = _NO_SEAL,
        last: AppendRequest | None = None,
        until_ms: bytes = b"",
    ) -> list[Command]:
        """Close a stream: one that is sealed, under the `standing` seal if that is given; an open one with a `new`,
        behind its `last` events if they are added `until` then."""
        new_last, new_seal, new_usage, new_held = new
        log_last, events = new_last, close.events
        if last is not None:
            log_last, events = b"%d" % (last.first_seq - 1), [*last.events, *events]
        keys, one_server = self._redis.keys.stream(close.ref), self._redis.one_server
        closing = CloseStream(
            meta_key=keys.meta,
            log_key=keys.log,
            session_key=keys.session,
            streams_key=keys.streams,
            lease_shard_key=keys.lease_shard if one_server else None,
            owner_key=self._redis.keys.owner(close.ref.key.owner) if one_server else None,
            epoch=close.epoch,
            stream_id=close.ref.stream_id,
            retention_ms=milliseconds(close.retention_seconds),
            persisted=close.terminal.persisted,
            quota=close.terminal.quota,
            has_payload=close.outbox_payload is not None,
            payload=close.outbox_payload or b"",
            standing_seal=b"" if standing is None else b"|".join(standing),
            new_last=new_last,
            new_seal=new_seal,
            new_usage=new_usage,
            new_held=new_held,
            log_last=log_last,
            until_ms=until_ms,
            lease_entry=keys.member,
            events=[*(flatten(events) if events else ()), "t", close.terminal.to_json()],
        )
        # The outbox must last as long as the record; its entry is there already.
        kept = [] if close.outbox_payload is None else [self._outbox.hold(close.ref, close.retention_seconds)]
        return [*kept, self._redis.command(closing)]

    def _written(self, ref: StreamRef, reply: Reply, operation: str) -> AppendReply:
        answer = append_reply(reply, operation)
        if answer.status is Status.CORRUPT:
            raise newer_format(ref, operation)
        return answer


def _seal_fields(seal: Seal) -> SealFields:
    """The last event, `g`, `u` and `h` of a seal: together they are all of it."""
    held = pack_held(seal.held) if seal.held else b""
    return b"%d" % seal.last_seq, seal_json(seal), usage_json(seal.usage), held
