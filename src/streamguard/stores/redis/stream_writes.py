"""The steps of `RedisStore` that end streams: sealed, closed, declared lost, or erased with their session."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Final

from ...errors import StoreCorruptError
from ...values import Persisted, QuotaState, SessionKey, StreamRef
from ..appends import AppendReply
from ..records import UNTOLD, Close, LostLog, Seal, Status
from .calls import CloseStream, DeclareLost, Erase, SealAnswer, SealStream, UpdateMeta
from .codec import (
    append_reply,
    decode_seal,
    decode_text,
    flatten,
    identity,
    mutable_fields,
    newer_format,
    pack_held,
    seal_json,
    tombstone_json,
    usage_json,
)
from .driver import Command, Reply
from .errors import checked
from .keys import encode_member
from .lease_index import LeaseIndex, milliseconds
from .namespace import Steps
from .outbox_index import OutboxIndex
from .pipeline import PipelinedConnections
from .record_fields import RECORD_FIELDS
from .sharded_index import read_answer

__all__ = ["EndSteps"]

_SCAN_COUNT: Final = 1_000


class EndSteps(Steps):
    """What `RedisStore` does at the end of a stream."""

    _commits: PipelinedConnections
    """The connection for appends and heartbeats."""
    _leases: LeaseIndex
    _outbox: OutboxIndex

    async def seal(self, ref: StreamRef, epoch: int, seal: Seal) -> tuple[Status, Seal | None]:
        return self._sealed(ref, await self._call("seal", self._seal(ref, epoch, seal)))

    async def close(self, close: Close) -> AppendReply:
        *_, reply = await self._ask("close", *self._close(close, None))
        return self._written(close.ref, reply, "close")

    async def seal_and_close(self, close: Close, seal: Seal) -> tuple[Status, Seal | None, AppendReply | None]:
        # In order behind the last append, and in the same exchange if that has not left yet.
        sealing = self._seal(close.ref, close.epoch, seal)
        replies = await self._commits.run("close", [self._commits.command(sealing), *self._close(close, seal)])
        checked("close", replies)
        status, standing = self._sealed(close.ref, read_answer("close", sealing, replies[0]))
        if standing != seal:
            return status, standing, None
        return status, standing, self._written(close.ref, replies[-1], "close")

    def _seal(self, ref: StreamRef, epoch: int, seal: Seal) -> SealStream:
        last_seq, body, usage, held = _seal_fields(seal)
        return SealStream(
            meta_key=self._keys.stream(ref).meta, epoch=epoch, last_seq=last_seq, seal=body, usage=usage, held=held
        )

    def _sealed(self, ref: StreamRef, answer: SealAnswer) -> tuple[Status, Seal | None]:
        status = self._status(answer.status, ref, "seal")
        if status not in (Status.OK, Status.SEALED):
            return status, None
        return status, decode_seal(ref, (answer.seal, answer.seal_seq, answer.usage, answer.held), "seal")

    def _close(self, close: Close, seal: Seal | None) -> list[Command]:
        closing = CloseStream(
            **self._keys.stored_stream(close.ref),
            lease_shard_key=self._keys.lease_shard(close.ref),
            owner_key=self._keys.owner(close.ref.key.owner),
            epoch=close.epoch,
            stream_id=close.ref.stream_id,
            retention_ms=milliseconds(close.retention_seconds),
            persisted=close.terminal.persisted,
            quota=close.terminal.quota,
            has_payload=close.outbox_payload is not None,
            payload=close.outbox_payload or b"",
            standing_seal=b"" if seal is None else b"|".join(_seal_fields(seal)),
            lease_entry=encode_member(close.ref),
            events=[*flatten(close.events), "t", close.terminal.to_json()],
        )
        # The outbox must last as long as the record; its entry is there already.
        kept = [] if close.outbox_payload is None else [self._outbox.hold(close.ref, close.retention_seconds)]
        return [*kept, self._connections.command(closing)]

    async def declare_lost(self, lost: LostLog) -> AppendReply:
        new, terminal = lost.new, lost.terminal
        keys, session = self._keys.stream(new.ref), self._keys.session(new.ref.key)
        losing = DeclareLost(
            **self._keys.stored_stream(new.ref),
            watch_note_key=keys.watch_note,
            erased_key=session.erased,
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
            identity=(RECORD_FIELDS["message_id"], new.message_id, *identity(new)),
        )
        declare = self._connections.command(losing)
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
        fields = mutable_fields(persisted, quota, revised=revised)
        marking = UpdateMeta(meta_key=self._keys.stream(ref).meta, fields=fields)
        return self._status(await self._call("update_meta", marking), ref, "update_meta")

    async def erase(self, key: SessionKey, *, mark_seconds: float, unknown_seconds: float | None = None) -> None:
        unknown = mark_seconds if unknown_seconds is None else unknown_seconds
        keys = self._keys.session(key)
        erasing = Erase(
            session_key=keys.session,
            streams_key=keys.streams,
            erased_key=keys.erased,
            stopped_key=keys.stopped,
            stops_key=self._keys.stops(key.owner),
            meta_prefix=keys.meta_prefix,
            log_prefix=keys.log_prefix,
            mark_ms=milliseconds(mark_seconds),
            unknown_mark_ms=milliseconds(unknown),
            searched=False,
            found_ids=(),
        )
        erased = await self._call("erase", erasing)
        if erased.answer == b"search":
            erased = await self._call("erase", replace(erasing, searched=True, found_ids=await self._stream_ids(key)))
        if erased.answer == b"newer":
            raise newer_format(None, "erase")
        refs = []
        for stream_id in erased.stream_ids:
            with suppress(StoreCorruptError):  # not an id of ours: then no index has it
                refs.append(StreamRef(key, decode_text(stream_id)))
        await self._leases.remove(refs)
        if refs:
            await self._ask("erase", *(self._outbox.removal(ref) for ref in refs))

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
        answer = append_reply(reply)
        if answer.status is Status.CORRUPT:
            raise newer_format(ref, operation)
        return answer


def _seal_fields(seal: Seal) -> tuple[bytes, bytes, bytes, bytes]:
    """The last event, `g`, `u` and `h` of a seal: together they are all of it."""
    return b"%d" % seal.last_seq, seal_json(seal), usage_json(seal.usage), pack_held(seal.held)
