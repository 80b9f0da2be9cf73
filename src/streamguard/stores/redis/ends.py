"""The steps of `RedisStore` that end streams: sealed, closed, declared lost, or erased with their session."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from ...errors import StoreCorruptError
from ...values import Persisted, QuotaState, SessionKey, StreamRef
from ..records import UNTOLD, AppendReply, Close, LostLog, Seal, Status
from .codec import (
    STATUSES,
    append_reply,
    decode_seal,
    flatten,
    identity,
    items,
    mutable_fields,
    newer_format,
    pack_held,
    seal_json,
    text,
    tombstone_json,
    usage_json,
)
from .driver import Command, Reply
from .errors import checked
from .keys import encode_member
from .lease_index import LeaseIndex, milliseconds
from .outbox_index import OutboxIndex
from .pipeline import PipelinedConnections
from .steps import Steps

__all__ = ["EndSteps"]

_SCAN_COUNT: Final = 1_000


class EndSteps(Steps):
    """What `RedisStore` does at the end of a stream."""

    _commits: PipelinedConnections
    """The connection for appends and heartbeats."""
    _leases: LeaseIndex
    _outbox: OutboxIndex

    async def seal(self, ref: StreamRef, epoch: int, seal: Seal) -> tuple[Status, Seal | None]:
        (reply,) = await self._ask("seal", self._seal(ref, epoch, seal))
        return self._sealed(ref, reply)

    async def close(self, close: Close) -> AppendReply:
        *_, reply = await self._ask("close", *self._close(close, None))
        return self._written(close.ref, reply, "close")

    async def seal_and_close(self, close: Close, seal: Seal) -> tuple[Status, Seal | None, AppendReply | None]:
        # In order behind the last append, and in the same exchange if that has not left yet.
        replies = await self._commits.run(
            "close", [self._seal(close.ref, close.epoch, seal), *self._close(close, seal)]
        )
        checked("close", replies)
        status, standing = self._sealed(close.ref, replies[0])
        if standing != seal:
            return status, standing, None
        return status, standing, self._written(close.ref, replies[-1], "close")

    def _seal(self, ref: StreamRef, epoch: int, seal: Seal) -> Command:
        return self._connections.script(
            "seal",
            (self._keys.stream(ref).meta,),
            (epoch, *_seal_fields(seal)),
        )

    def _sealed(self, ref: StreamRef, reply: Reply) -> tuple[Status, Seal | None]:
        number, *fields = items(reply)
        return self._status(number, ref, "seal"), decode_seal(ref, fields, "seal") if fields else None

    def _close(self, close: Close, seal: Seal | None) -> list[Command]:
        keys = self._keys.stream(close.ref)
        close_it = self._connections.script(
            "close",
            (
                keys.meta,
                keys.log,
                keys.session,
                keys.streams,
                self._keys.lease_shard(close.ref),
                self._keys.owner(close.ref.key.owner),
            ),
            (
                close.epoch,
                close.ref.stream_id,
                milliseconds(close.retention_seconds),
                close.terminal.persisted,
                close.terminal.quota,
                "" if close.outbox_payload is None else "1",
                close.outbox_payload or b"",
                b"" if seal is None else b"|".join(_seal_fields(seal)),
                encode_member(close.ref),
                *flatten(close.events),
                "t",
                close.terminal.to_json(),
            ),
        )
        # The outbox must last as long as the record; its entry is there already.
        kept = [] if close.outbox_payload is None else [self._outbox.hold(close.ref, close.retention_seconds)]
        return [*kept, close_it]

    async def declare_lost(self, lost: LostLog) -> AppendReply:
        new, terminal = lost.new, lost.terminal
        keys, session = self._keys.stream(new.ref), self._keys.session(new.ref.key)
        ending: tuple[str | bytes, ...] = ("", "", "", "", "")
        if terminal is not None:
            ending = ("1", terminal.to_json(), tombstone_json(terminal), terminal.persisted, terminal.quota)
        declare = self._connections.script(
            "declare_lost",
            (keys.meta, keys.log, keys.session, keys.streams, keys.early, session.erased),
            (
                "" if lost.epoch == UNTOLD else lost.epoch,
                new.ref.stream_id,
                milliseconds(lost.lease_seconds),
                milliseconds(lost.retention_seconds),
                round(new.age_seconds * 1_000_000),
                *ending,
                session.meta_prefix,
                *identity(new),
            ),
        )
        if terminal is None:
            _, reply = await self._ask("declare_lost", self._leases.entry(new.ref, lost.lease_seconds), declare)
            answer = self._written(new.ref, reply, "declare_lost")
            if answer.status is Status.OK:
                await self._ask("declare_lost", self._leases.renewal(new.ref, lost.lease_seconds))
            return answer
        (reply,) = await self._ask("declare_lost", declare)
        answer = self._written(new.ref, reply, "declare_lost")
        if answer.status in (Status.OK, Status.DUPLICATE):
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
        fields = [*mutable_fields(persisted, quota), *(("rv", "1") if revised else ())]
        return self._status(
            await self._call("update_meta", "update_meta", (self._keys.stream(ref).meta,), fields), ref, "update_meta"
        )

    async def erase(self, key: SessionKey, *, mark_seconds: float, unknown_seconds: float | None = None) -> None:
        unknown = mark_seconds if unknown_seconds is None else unknown_seconds
        marks = (milliseconds(mark_seconds), milliseconds(unknown))
        number, *ids = await self._erased(key, *marks)
        if number == b"search":
            number, *ids = await self._erased(key, *marks, "1", *await self._stream_ids(key))
        if number == len(STATUSES):
            raise newer_format(None, "erase")
        refs = []
        for stream_id in ids:
            with suppress(StoreCorruptError):  # not an id of ours: then no index has it
                refs.append(StreamRef(key, text(stream_id)))
        await self._leases.remove(refs)
        if refs:
            await self._ask("erase", *(self._outbox.removal(ref) for ref in refs))

    async def _erased(self, key: SessionKey, *args: str | bytes | int) -> list[Reply]:
        keys = self._keys.session(key)
        args = (keys.meta_prefix, keys.log_prefix, *args)
        names = (keys.session, keys.streams, keys.erased, keys.stopped, self._keys.stops(key.owner))
        return items(await self._call("erase", "erase", names, args))

    async def _stream_ids(self, key: SessionKey) -> list[bytes]:
        """The ids of a session's streams, by their keys: for one whose list of them is damaged. It goes through
        all keys; an account that may not run SCAN leaves those streams to their TTLs."""
        keys = self._keys.session(key)
        pattern = keys.meta_prefix[: -len(b"m:")] + b"*"
        found: set[bytes] = set()
        cursor = b"0"
        while True:
            (reply,) = await self._connections.run(
                "erase", [Command.of("SCAN", cursor, "MATCH", pattern, "COUNT", _SCAN_COUNT)]
            )
            match reply:
                case [bytes() as cursor, list() as names]:
                    for name in names:
                        for prefix in (keys.meta_prefix, keys.log_prefix):
                            if isinstance(name, bytes) and name.startswith(prefix):
                                found.add(name.removeprefix(prefix).partition(b":")[0])
                case _:
                    return sorted(found)
            if cursor == b"0":
                return sorted(found)

    def _written(self, ref: StreamRef, reply: Reply, operation: str) -> AppendReply:
        self._status(items(reply)[0], ref, operation)
        return append_reply(reply)


def _seal_fields(seal: Seal) -> tuple[bytes, bytes, bytes, bytes]:
    """The last event, `g`, `u` and `h` of a seal: together they are all of it."""
    return b"%d" % seal.last_seq, seal_json(seal), usage_json(seal.usage), pack_held(seal.held)
