"""`RedisRegistry`: which streams a session has, which of them runs, and what stops or erases them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

from ...errors import StoreCorruptError
from ...values import SessionKey, StreamRef
from ..damage import RecordKind, Unreadable
from ..records import (
    Erasure,
    NewStream,
    Status,
    StreamMeta,
)
from ..registrations import Full, Occupied, Registered, StopReply, Withdrawn
from ..roles.stream_registry import StreamRegistry
from .begun_stream import Begun
from .codec import (
    decode_erasure,
    decode_meta,
    decode_text,
    newer_format,
    snapshot_ms,
    status_of,
)
from .driver import Command, Reply
from .identities import stored_identity, variable_fields
from .keys import key_text
from .lease_index import LeaseIndex
from .lifetimes import live_ms
from .namespace import RedisNamespace, milliseconds
from .outbox_index import OutboxIndex
from .owner_slots import OwnerSlots
from .session_calls import (
    Erase,
    PreviousStream,
    ReadErasure,
    Register,
    RequestStop,
    SessionStreams,
    StopPendingRequests,
    Withdraw,
)

__all__ = ["RedisRegistry"]

_SCAN_COUNT: Final = 1_000

_STREAMS_AT_ONCE: Final = 500
"""How many of a session's streams are read in one exchange, at most."""
_FEWEST_STREAMS: Final = 16
"""How many are read in one exchange, at least: those that expired are passed over."""


class RedisRegistry(StreamRegistry):
    """Registers streams, and takes them back."""

    def __init__(self, redis: RedisNamespace, leases: LeaseIndex, outbox: OutboxIndex) -> None:
        self._redis = redis
        self._leases = leases
        self._outbox = outbox
        self._slots = OwnerSlots(redis)

    async def register(
        self,
        new: NewStream,
        *,
        lease_seconds: float,
        ttl_seconds: float,
        limit: int | None,
        arrived_seconds: float = 0.0,
    ) -> Registered | Occupied | Full | Withdrawn:
        key = new.ref.key
        known = self._redis.keys
        keys = known.stream(new.ref)
        session = keys.of_session
        one_server = self._redis.one_server
        registering = Register(
            meta_key=keys.meta,
            log_key=keys.log,
            session_key=keys.session,
            streams_key=keys.streams,
            watch_note_key=keys.watch_note,
            erased_key=session.erased,
            withdrawn_key=keys.withdrawn,
            stopped_key=session.stopped,
            owner_key=known.owner(key.owner) if one_server else None,
            stops_key=known.stops(key.owner) if one_server else None,
            lease_shard_key=keys.lease_shard if one_server else None,
            stream_id=new.ref.stream_id,
            lease_ms=milliseconds(lease_seconds),
            ttl_ms=live_ms(ttl_seconds),
            limit=limit,
            arrived_us=round(arrived_seconds * 1_000_000),
            full_ids=b"",
            lease_entry=keys.member,
            message_id=new.message_id,
            protocol=new.protocol,
            identity=stored_identity(new),
            further=variable_fields(new),
        )
        deadline: Reply = None
        if one_server:
            registered = await self._redis.call("register", registering)
        else:
            entry = self._leases.entry(new.ref, lease_seconds)
            deadline, registered = await self._slots.register(new.ref, registering, entry)
        begun = registered.answer == b"begun"
        if begun or registered.answer == b"registered":
            if begun:
                answer: Registered = Begun(new, lease_seconds, registered.snapshot)
                server_ms: int | None = answer.epoch // 1_000
            else:
                meta = _present(decode_meta(new.ref, registered.snapshot, "register"), new.ref, "register")
                answer, server_ms = Registered(meta), snapshot_ms(registered.snapshot)
            self._redis.clock_of(keys.meta).heard(server_ms)
            if registered.reset:
                self._report_resets(new.ref, registered.reset)
            if deadline == 0 or not begun:  # a retry: the record knows the lease
                await self._redis.ask("register", self._leases.renewal(new.ref, answer.meta.lease_seconds))
            return answer
        if isinstance(deadline, int) and deadline != 0:
            self._leases.withdraw(new.ref, deadline)
        match registered.answer:
            case b"full":
                return Full()
            case b"withdrawn":
                return Withdrawn()
            case b"occupied":
                other = StreamRef(new.ref.key, decode_text(registered.active_id))
                return Occupied(_present(decode_meta(other, registered.snapshot, "register"), other, "register"))
            case _:
                raise newer_format(None, "register")

    async def withdraw(self, ref: StreamRef, *, refuse_seconds: float) -> Status:
        keys = self._redis.keys.stream(ref)
        withdrawing = Withdraw(
            **keys.stored,
            watch_note_key=keys.watch_note,
            withdrawn_key=keys.withdrawn,
            lease_shard_key=self._redis.far(keys.lease_shard),
            owner_key=self._redis.far(self._redis.keys.owner(ref.key.owner)),
            stream_id=ref.stream_id,
            refuse_ms=milliseconds(refuse_seconds),
            lease_entry=keys.member,
        )
        status = status_of(await self._redis.call("withdraw", withdrawing), ref, "withdraw")
        if status in (Status.OK, Status.GONE) and not self._redis.one_server:
            await self._slots.release(ref)
            if status is Status.OK:
                self._leases.forget(ref)
        return status

    async def release_slot(self, owner: str, stream_id: str) -> None:
        await self._redis.ask("release_slot", self._slots.removal(owner, stream_id))

    async def request_stop(self, ref: StreamRef) -> StopReply:
        keys = self._redis.keys.stream(ref)
        answer = await self._redis.call("request_stop", RequestStop(meta_key=keys.meta, log_key=keys.log))
        if answer == b"newer":
            raise newer_format(ref, "request_stop")
        return StopReply(answer.decode())

    async def stop_pending_requests(self, key: SessionKey, *, seconds: float, limit: int) -> bool:
        keys = self._redis.keys.session(key)
        stopping = StopPendingRequests(
            session_key=keys.session,
            stopped_key=keys.stopped,
            still_key=keys.still,
            stops_key=self._redis.far(self._redis.keys.stops(key.owner)),
            meta_prefix=keys.meta_prefix,
            stopped_ms=milliseconds(seconds),
            limit=limit,
        )
        answer = await self._redis.call("stop_pending_requests", stopping)
        if answer == b"newer":
            raise newer_format(None, "stop_pending_requests")
        if answer == b"marked" and not self._redis.one_server:
            await self._slots.enter_stop(key, seconds=seconds, limit=limit)
        return answer == b"marked"

    async def previous(self, ref: StreamRef, message_id: str) -> StreamMeta | None:
        keys = self._redis.keys.stream(ref)
        session = keys.of_session
        found = await self._redis.call(
            "previous",
            PreviousStream(
                meta_key=keys.meta,
                streams_key=keys.streams,
                session_key=keys.session,
                still_key=session.still,
                stream_id=ref.stream_id,
                message_id=message_id,
                meta_prefix=session.meta_prefix,
                log_prefix=session.log_prefix,
            ),
        )
        if found is None:
            return None
        return decode_meta(StreamRef(ref.key, decode_text(found.stream_id)), found.snapshot, "previous")

    async def session_streams(self, key: SessionKey, *, limit: int) -> list[StreamMeta]:
        keys = self._redis.keys.session(key)
        metas: dict[str, StreamMeta] = {}
        looked_at, more = 0, limit > 0
        while more and len(metas) < limit:
            most = min(_STREAMS_AT_ONCE, max(_FEWEST_STREAMS, limit - len(metas)))
            listed = await self._redis.call(
                "session_streams",
                SessionStreams(
                    session_key=keys.session,
                    streams_key=keys.streams,
                    still_key=keys.still,
                    meta_prefix=keys.meta_prefix,
                    log_prefix=keys.log_prefix,
                    count=most,
                    skipped=looked_at,
                ),
            )
            status_of(listed.status, None, "session_streams")
            looked_at += listed.looked_at
            more = listed.more == 1
            for stream_id, snapshot in zip(listed.found[::2], listed.found[1::2], strict=True):
                with suppress(StoreCorruptError):  # a later version's, or damaged: no reason to hide the others
                    meta = decode_meta(StreamRef(key, decode_text(stream_id)), snapshot, "session_streams")
                    if meta is not None:  # once: a stream that begins meanwhile moves the others down
                        metas[meta.ref.stream_id] = meta
        return list(metas.values())[:limit]

    async def erase(self, key: SessionKey, *, mark_seconds: float, unknown_seconds: float | None = None) -> None:
        unknown = mark_seconds if unknown_seconds is None else unknown_seconds
        keys = self._redis.keys.session(key)
        erasing = Erase(
            session_key=keys.session,
            streams_key=keys.streams,
            erased_key=keys.erased,
            stopped_key=keys.stopped,
            still_key=keys.still,
            stops_key=self._redis.far(self._redis.keys.stops(key.owner)),
            meta_prefix=keys.meta_prefix,
            log_prefix=keys.log_prefix,
            mark_ms=milliseconds(mark_seconds),
            unknown_mark_ms=milliseconds(unknown),
            searched=False,
            found_ids=(),
        )
        erased = await self._redis.call("erase", erasing)
        if erased.answer == b"search":
            erased = await self._redis.call(
                "erase", replace(erasing, searched=True, found_ids=await self._stream_ids(key))
            )
        if erased.answer == b"newer":
            raise newer_format(None, "erase")
        if not self._redis.one_server:
            self._slots.forget_stop(key)
        refs = []
        for stream_id in erased.stream_ids:
            with suppress(StoreCorruptError):  # not an id of ours: then no index has it
                refs.append(StreamRef(key, decode_text(stream_id)))
        await self._leases.remove(refs)
        if refs:
            await self._redis.ask("erase", *(self._outbox.removal(ref) for ref in refs))

    async def erasure(self, key: SessionKey) -> Erasure | None:
        return decode_erasure(
            await self._redis.call("erasure", ReadErasure(erased_key=self._redis.keys.session(key).erased))
        )

    def _report_resets(self, ref: StreamRef, resets: Sequence[bytes]) -> None:
        """Report what a registration found damaged and began anew: everything else of the session depends on it."""
        keys = self._redis.keys.stream(ref)
        known = {
            b"session": (RecordKind.SESSION, keys.session),
            b"streams": (RecordKind.STREAMS, keys.streams),
            b"owner": (RecordKind.OWNER_SLOTS, self._redis.keys.owner(ref.key.owner)),
            b"leases": (RecordKind.LEASE_INDEX, keys.lease_shard),
        }
        for one in resets:
            if one in known:
                record, key = known[one]
                self._redis.report(Unreadable(record, key_text(key), "damaged", "begun_anew", ref))

    async def _stream_ids(self, key: SessionKey) -> list[bytes]:
        """The ids of a session's streams, by their keys: for one whose list of them is damaged. It goes through
        all keys; an account that may not run SCAN leaves those streams to their TTLs."""
        keys = self._redis.keys.session(key)
        pattern = keys.meta_prefix[: -len(b"m:")] + b"*"
        found: set[bytes] = set()
        cursor = b"0"
        while True:
            (reply,) = await self._redis.connections.run(
                "erase", [Command.of("SCAN", cursor, "MATCH", pattern, "COUNT", _SCAN_COUNT)._replace(key=keys.session)]
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


def _present(meta: StreamMeta | None, ref: StreamRef, operation: str) -> StreamMeta:
    if meta is None:
        raise StoreCorruptError(f"{operation}: the record of stream {ref.stream_id} vanished", operation=operation)
    return meta
