"""The steps of `RedisStore` about sessions and their registrations."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import StoreCorruptError
from ...values import SessionKey, StreamRef
from ..damage import RecordKind, Unreadable
from ..records import NewStream, SessionRecord, Status, StreamMeta
from ..registrations import Full, Occupied, Registered, StopReply, Withdrawn
from .appends import Appends
from .calls import ReadSession, Register, RequestStop, StopPendingRequests, Withdraw
from .codec import decode_meta, decode_text, identity, newer_format, snapshot_ms
from .driver import Command
from .lease_index import OWNER_TTL_MS, LeaseIndex, milliseconds
from .namespace import Steps
from .sharded_index import key_text, read_answer

__all__ = ["RegistrySteps"]


class RegistrySteps(Steps):
    """Which streams a session has, and which of them runs."""

    _appends: Appends
    _leases: LeaseIndex

    async def register(
        self,
        new: NewStream,
        *,
        lease_seconds: float,
        ttl_seconds: float,
        limit: int | None,
        arrived_seconds: float = 0.0,
    ) -> Registered | Occupied | Full | Withdrawn:
        keys, session = self._keys.stream(new.ref), self._keys.session(new.ref.key)
        registering = Register(
            **self._keys.stored_stream(new.ref),
            watch_note_key=keys.watch_note,
            owner_key=self._keys.owner(new.ref.key.owner),
            erased_key=session.erased,
            withdrawn_key=keys.withdrawn,
            stopped_key=session.stopped,
            stops_key=self._keys.stops(new.ref.key.owner),
            meta_prefix=session.meta_prefix,
            log_prefix=session.log_prefix,
            stream_id=new.ref.stream_id,
            lease_ms=milliseconds(lease_seconds),
            ttl_ms=milliseconds(ttl_seconds),
            limit=limit,
            owner_ttl_ms=OWNER_TTL_MS,
            arrived_us=round(arrived_seconds * 1_000_000),
            message_id=new.message_id,
            identity=identity(new),
        )
        deadline, reply = await self._ask(
            "register", self._leases.entry(new.ref, lease_seconds), self._connections.command(registering)
        )
        registered = read_answer("register", registering, reply)
        if registered.answer == b"registered":
            meta = _present(decode_meta(new.ref, registered.snapshot, "register"), new.ref, "register")
            self._appends.learn(snapshot_ms(registered.snapshot))
            self._tell_begun_anew(new.ref, registered.reset)
            if deadline == 0:  # a retry: the record knows the lease
                await self._ask("register", self._leases.renewal(new.ref, meta.lease_seconds))
            return Registered(meta)
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
        keys = self._keys.stream(ref)
        withdrawing = Withdraw(
            **self._keys.stored_stream(ref),
            watch_note_key=keys.watch_note,
            owner_key=self._keys.owner(ref.key.owner),
            withdrawn_key=keys.withdrawn,
            stream_id=ref.stream_id,
            refuse_ms=milliseconds(refuse_seconds),
        )
        status = self._status(await self._call("withdraw", withdrawing), ref, "withdraw")
        if status is Status.OK:
            self._leases.forget(ref)
        return status

    async def release_slot(self, owner: str, stream_id: str) -> None:
        await self._ask("release_slot", Command.of("ZREM", self._keys.owner(owner), stream_id))

    async def session(self, key: SessionKey) -> SessionRecord:
        keys = self._keys.session(key)
        reading = ReadSession(session_key=keys.session, meta_prefix=keys.meta_prefix, log_prefix=keys.log_prefix)
        found = await self._call("session", reading)
        self._status(found.status, None, "session")

        def pointer(stream_id: bytes | None, snapshot: object) -> tuple[str | None, StreamMeta | None]:
            if stream_id is None:
                return None, None
            ref = StreamRef(key, decode_text(stream_id))
            return ref.stream_id, decode_meta(ref, snapshot, "session")

        return SessionRecord(*pointer(found.active_id, found.active), *pointer(found.last_id, found.last))

    async def request_stop(self, ref: StreamRef) -> StopReply:
        answer = await self._call("request_stop", RequestStop(meta_key=self._keys.stream(ref).meta))
        if answer == b"newer":
            raise newer_format(ref, "request_stop")
        return StopReply(answer.decode())

    async def stop_pending_requests(self, key: SessionKey, *, seconds: float, limit: int) -> bool:
        keys = self._keys.session(key)
        stopping = StopPendingRequests(
            session_key=keys.session,
            stopped_key=keys.stopped,
            stops_key=self._keys.stops(key.owner),
            meta_prefix=keys.meta_prefix,
            lasting_ms=milliseconds(seconds),
            limit=limit,
        )
        answer = await self._call("stop_pending_requests", stopping)
        if answer == b"newer":
            raise newer_format(None, "stop_pending_requests")
        return answer == b"marked"

    def _tell_begun_anew(self, ref: StreamRef, what: Sequence[bytes]) -> None:
        """What a registration found damaged and put right: what everything else of the session depends on."""
        keys = self._keys.stream(ref)
        known = {
            b"session": (RecordKind.SESSION, keys.session),
            b"streams": (RecordKind.STREAMS, keys.streams),
            b"owner": (RecordKind.OWNER_SLOTS, self._keys.owner(ref.key.owner)),
        }
        for one in what:
            if one in known:
                record, key = known[one]
                self._unreadable(Unreadable(record, key_text(key), "damaged", "begun_anew", ref))


def _present(meta: StreamMeta | None, ref: StreamRef, operation: str) -> StreamMeta:
    if meta is None:
        raise StoreCorruptError(f"{operation}: the record of stream {ref.stream_id} vanished", operation=operation)
    return meta
