"""The steps of `RedisStore` about sessions and their registrations."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import StoreCorruptError
from ...values import SessionKey, StreamRef
from ..damage import RecordKind, Unreadable
from ..records import NewStream, SessionRecord, Status, StreamMeta
from ..registrations import Full, Occupied, Registered, StopReply, Withdrawn
from .appends import Appends
from .codec import STATUSES, decode_meta, identity, items, newer_format, text
from .driver import Command, Reply
from .lease_index import OWNER_TTL_MS, LeaseIndex, milliseconds
from .sharded_index import key_text
from .steps import Steps

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
        deadline, reply = await self._ask(
            "register",
            self._leases.entry(new.ref, lease_seconds),
            self._connections.script(
                "register",
                (
                    keys.meta,
                    keys.log,
                    keys.session,
                    keys.streams,
                    keys.early,
                    self._keys.owner(new.ref.key.owner),
                    session.erased,
                    keys.withdrawn,
                    session.stopped,
                    self._keys.stops(new.ref.key.owner),
                ),
                (
                    session.meta_prefix,
                    session.log_prefix,
                    new.ref.stream_id,
                    milliseconds(lease_seconds),
                    milliseconds(ttl_seconds),
                    "" if limit is None else limit,
                    OWNER_TTL_MS,
                    round(arrived_seconds * 1_000_000),
                    *identity(new),
                ),
            ),
        )
        number, *rest = items(reply)
        if number == 0:
            meta = _present(decode_meta(new.ref, rest[0], "register"), new.ref, "register")
            *_, at = items(rest[0])
            self._appends.learn(at)
            self._tell_begun_anew(new.ref, rest[1:])
            if deadline == 0:  # a repetition: the record knows the lease
                await self._ask("register", self._leases.renewal(new.ref, meta.lease_seconds))
            return Registered(meta)
        if isinstance(deadline, int) and deadline != 0:
            self._leases.withdraw(new.ref, deadline)
        if number == b"full":
            return Full()
        if number == b"withdrawn":
            return Withdrawn()
        if number == len(STATUSES):
            raise newer_format(None, "register")
        self._status(number, new.ref, "register")
        other = StreamRef(new.ref.key, text(rest[0]))
        return Occupied(_present(decode_meta(other, rest[1], "register"), other, "register"))

    async def withdraw(self, ref: StreamRef, *, refuse_seconds: float) -> Status:
        keys = self._keys.stream(ref)
        number = await self._call(
            "withdraw",
            "withdraw",
            (
                keys.meta,
                keys.log,
                keys.session,
                keys.streams,
                keys.early,
                self._keys.owner(ref.key.owner),
                keys.withdrawn,
            ),
            (ref.stream_id, milliseconds(refuse_seconds)),
        )
        status = self._status(number, ref, "withdraw")
        if status is Status.OK:
            self._leases.forget(ref)
        return status

    async def release_slot(self, owner: str, stream_id: str) -> None:
        await self._ask("release_slot", Command.of("ZREM", self._keys.owner(owner), stream_id))

    async def session(self, key: SessionKey) -> SessionRecord:
        keys = self._keys.session(key)
        reply = await self._call("session", "session", (keys.session,), (keys.meta_prefix, keys.log_prefix))
        if reply == len(STATUSES):
            raise newer_format(None, "session")
        ids_and_records = items(reply)

        def pointer(at: int) -> tuple[str | None, StreamMeta | None]:
            if ids_and_records[at] is None:
                return None, None
            stream_id = text(ids_and_records[at])
            return stream_id, decode_meta(StreamRef(key, stream_id), ids_and_records[at + 1], "session")

        active_id, active = pointer(0)
        last_id, last = pointer(2)
        return SessionRecord(active_id, active, last_id, last)

    async def request_stop(self, ref: StreamRef) -> StopReply:
        answer = text(await self._call("request_stop", "stop", (self._keys.stream(ref).meta,)))
        if answer == "newer":
            raise newer_format(ref, "request_stop")
        return StopReply(answer)

    async def stop_pending_requests(self, key: SessionKey, *, seconds: float, limit: int) -> bool:
        keys = self._keys.session(key)
        answer = text(
            await self._call(
                "stop_pending_requests",
                "stop_pending_requests",
                (keys.session, keys.stopped, self._keys.stops(key.owner)),
                (keys.meta_prefix, milliseconds(seconds), limit),
            )
        )
        if answer == "newer":
            raise newer_format(None, "stop_pending_requests")
        return answer == "marked"

    def _tell_begun_anew(self, ref: StreamRef, what: Sequence[Reply]) -> None:
        """What a registration found damaged and put right: what everything else of the session depends on."""
        keys = self._keys.stream(ref)
        known = {
            b"session": (RecordKind.SESSION, keys.session),
            b"streams": (RecordKind.STREAMS, keys.streams),
            b"owner": (RecordKind.OWNER_SLOTS, self._keys.owner(ref.key.owner)),
        }
        for one in what:
            if isinstance(one, bytes) and one in known:
                record, key = known[one]
                self._unreadable(Unreadable(record, key_text(key), "damaged", "begun_anew", ref))


def _present(meta: StreamMeta | None, ref: StreamRef, operation: str) -> StreamMeta:
    if meta is None:
        raise StoreCorruptError(f"{operation}: the record of stream {ref.stream_id} vanished", operation=operation)
    return meta
