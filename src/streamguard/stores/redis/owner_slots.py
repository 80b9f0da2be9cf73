"""What a cluster keeps of an owner apart from its sessions: the slots of its running streams, and its stopped requests.

They lie on other cluster slots than the sessions they are about, so each step that concerns both is two there, in an
order in which a crash between them leaves at most something that expires:

- a stream's slot is taken before its registration, and given back after a refusal: a slot without a stream lasts for
  one lease;
- a slot is given back after its stream's end: one that stays lasts until the lease would have ended;
- requests are stopped before that is listed among their owner's: a mark without an entry lasts as long as one with it.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from ...errors import StoreCorruptError, StoreUnavailableError
from ...values import SessionKey, StreamRef, StreamState
from ..damage import RecordKind, Unreadable
from .codec import decode_meta
from .driver import Command, Reply
from .keys import key_text
from .lifetimes import OWNER_TTL_MS
from .namespace import RedisNamespace, milliseconds, read_answer
from .session_calls import EnterStop, Register, RegisterAnswer, TakeSlot, TakeSlotAnswer

__all__ = ["OwnerSlots"]


class OwnerSlots:
    """The slots and stopped requests of the owners of one namespace in a cluster."""

    def __init__(self, redis: RedisNamespace) -> None:
        self._redis = redis

    async def register(self, ref: StreamRef, registering: Register, entry: Command) -> tuple[Reply, RegisterAnswer]:
        """Register a stream. `entry` enters it into the lease index, and goes with the step that takes its slot: its
        reply comes first."""
        taking = TakeSlot(
            owner_key=self._redis.keys.owner(ref.key.owner),
            stream_id=ref.stream_id,
            lease_ms=registering.lease_ms,
            limit=registering.limit,
            ttl_ms=OWNER_TTL_MS,
        )
        deadline, reply = await self._redis.ask("register", entry, self._redis.command(taking))
        slot: TakeSlotAnswer = read_answer("register", taking, reply)
        if slot.answer == b"full":  # what would be answered before that, and whether some of them do not count
            ids = b"".join(b" " + one for one in slot.ids) or b" "
            registered = await self._redis.call("register", replace(registering, full_ids=ids))
            ended = registered.snapshot
            if registered.answer == b"full" and isinstance(ended, int) and ended > 0:
                slot = await self._redis.call("register", replace(taking, limit=(taking.limit or 0) + ended))
                if slot.answer != b"full":
                    registered = await self._redis.call("register", registering)
        else:
            registered = await self._redis.call("register", registering)
        if slot.answer == b"taken" and not _runs(ref, registered):
            self._redis.connections.post("register", [self.removal(ref.key.owner, ref.stream_id)])
        if slot.reset == 1:
            found = Unreadable(RecordKind.OWNER_SLOTS, key_text(taking.owner_key), "damaged", "begun_anew", ref)
            self._redis.report(found)
        if b"stops" in registered.reset:
            self.forget_stop(ref.key)
        return deadline, registered

    def removal(self, owner: str, stream_id: str) -> Command:
        """Give a slot back."""
        key = self._redis.keys.owner(owner)
        return Command.on(key, "ZREM", stream_id)._replace(on_index=key)

    async def release(self, ref: StreamRef, *others: Command) -> None:
        """Give a slot back after its stream's end, and send other commands that clear up after it. The end stands,
        whatever becomes of this."""
        with suppress(StoreUnavailableError):
            await self._redis.ask("release_slot", self.removal(ref.key.owner, ref.stream_id), *others)

    async def enter_stop(self, key: SessionKey, *, seconds: float, limit: int) -> None:
        """List a session whose pending requests were stopped; of too many the oldest are forgotten."""
        entering = EnterStop(
            stops_key=self._redis.keys.stops(key.owner),
            mark=self._redis.keys.session(key).stopped,
            stopped_ms=milliseconds(seconds),
            limit=limit,
        )
        oldest = await self._redis.call("stop_pending_requests", entering)
        if oldest:
            await self._redis.ask("stop_pending_requests", *(Command.on(mark, "DEL") for mark in oldest))

    def forget_stop(self, key: SessionKey) -> None:
        """Take a session off that list, without waiting for it."""
        stops = self._redis.keys.stops(key.owner)
        forgetting = Command.on(stops, "ZREM", self._redis.keys.session(key).stopped)
        self._redis.connections.post("stop_pending_requests", [forgetting])


def _runs(ref: StreamRef, registered: RegisterAnswer) -> bool:
    """Whether a stream is registered and was not closed before: a repeated step may come so late."""
    if registered.answer == b"begun":
        return True
    if registered.answer != b"registered":
        return False
    with suppress(StoreCorruptError):
        meta = decode_meta(ref, registered.snapshot, "register")
        return meta is not None and meta.state is not StreamState.CLOSED
    return True
