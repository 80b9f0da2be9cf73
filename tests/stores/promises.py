"""What a store promises, checked on what it shows and answers, without a second store to compare it with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from streamguard.stores.records import SessionRecord, Status, StreamMeta
from streamguard.stores.registrations import Withdrawn
from streamguard.values import Event, EventKind, SessionKey, StreamRef, StreamState

from .outbox_promises import OutboxPromises, PromiseBrokenError
from .slot_promises import SlotPromises
from .stop_promises import StopPromises

__all__ = ["PromiseBrokenError", "Promises", "Seen"]


@dataclass(frozen=True)
class Seen:
    """One stream, as a store shows it at one moment."""

    meta: StreamMeta | None
    log: tuple[Event, ...]


@dataclass
class Promises:
    """The history of one store so far."""

    streams: dict[StreamRef, Seen] = field(default_factory=dict)
    """What every stream was like after the last step."""
    active: dict[SessionKey, str | None] = field(default_factory=dict)
    outbox: OutboxPromises = field(default_factory=OutboxPromises)
    slots: SlotPromises = field(default_factory=SlotPromises)
    stops: StopPromises = field(default_factory=StopPromises)
    _acknowledged: dict[StreamRef, dict[int, tuple[EventKind, bytes]]] = field(default_factory=dict)
    _untouchable: set[StreamRef] = field(default_factory=set)
    """Streams the step just made must not have changed."""
    _withdrawn: set[StreamRef] = field(default_factory=set)
    """Streams whose registration was taken back, and never comes."""
    _taken_back: StreamRef | None = None
    """The stream whose registration the step just made took back."""
    _erased: SessionKey | None = None
    """The session that the step just made erased."""

    def answered(
        self,
        ref: StreamRef,
        epoch: int,
        status: Status,
        *,
        first_seq: int = 1,
        events: Sequence[tuple[EventKind, bytes]] = (),
    ) -> None:
        """A write under `epoch`, of `events` from `first_seq` on, was answered with `status`."""
        before = self.streams.get(ref, Seen(None, ())).meta
        if before is not None and epoch < before.epoch:
            if status in (Status.OK, Status.DUPLICATE):
                raise PromiseBrokenError("I5", f"{status} for a write under epoch {epoch}; it is {before.epoch}")
            self._untouchable.add(ref)
        if status in (Status.OK, Status.DUPLICATE):
            acknowledged = self._acknowledged.setdefault(ref, {})
            for seq, event in enumerate(events, first_seq):
                acknowledged.setdefault(seq, event)

    def erased(self, key: SessionKey) -> None:
        """A session was erased."""
        self._erased = key
        self.stops.erased(key)

    def withdrawn(self, ref: StreamRef, status: Status) -> None:
        """`withdraw` was answered with `status`."""
        before = self.streams.get(ref, Seen(None, ())).meta
        touched = before is not None and (
            before.state is not StreamState.OPEN or before.last_seq > 0 or before.taken or before.lost
        )
        if touched and status is not Status.FENCED:
            raise PromiseBrokenError("withdrawn", f"{status} for a stream of which something became: {before}")
        if status is Status.OK:
            self._taken_back = ref
        if status in (Status.OK, Status.GONE):
            self._withdrawn.add(ref)
            self.slots.dismissed(ref)

    def registered(self, ref: StreamRef, answer: object, *, known: bool) -> None:
        """`register` was answered; `known` when the stream had a record before."""
        if ref in self._withdrawn and not known and not isinstance(answer, Withdrawn):
            raise PromiseBrokenError("withdrawn", f"{answer} for a registration that was taken back")

    def repeated(self, status: Status | None, again: Status | None) -> None:
        """A write was answered with `status`, and with `again` when its caller, who lost the reply, asked again."""
        if again is not status and (status is not Status.OK or again not in (Status.DUPLICATE, Status.SEALED)):
            raise PromiseBrokenError("retry", f"a write answered {status} is answered {again} when repeated")

    def observed(self, streams: dict[StreamRef, Seen], sessions: dict[SessionKey, SessionRecord]) -> None:
        """This is what the store shows after a step."""
        left = [ref for ref, seen in streams.items() if ref.key == self._erased and seen.meta is not None]
        if left:
            raise PromiseBrokenError("erase", f"{left} outlived the erasure of their session")
        self._erased = None
        taken_back, self._taken_back = self._taken_back, None
        if taken_back is not None:
            record = sessions[taken_back.key]
            if taken_back.stream_id in (record.active_id, record.last_id):
                raise PromiseBrokenError("withdrawn", f"the session still names it: {record}")
        for ref, now in streams.items():
            self._stream(ref, self.streams.get(ref, Seen(None, ())), now)
        self._untouchable.clear()
        for key, record in sessions.items():
            self._pointers(key, record, streams)
        self.streams = streams
        self.active = {key: record.active_id for key, record in sessions.items()}

    def _stream(self, ref: StreamRef, before: Seen, now: Seen) -> None:
        if now.meta is None:
            if now.log:
                raise PromiseBrokenError("gone", "a log without its record")
            self._acknowledged.pop(ref, None)
            return
        if [event.seq for event in now.log] != list(range(1, len(now.log) + 1)):
            raise PromiseBrokenError("I1", f"seqs are {[event.seq for event in now.log]}")
        if now.meta.last_seq != len(now.log):
            raise PromiseBrokenError("I1", f"the record says {now.meta.last_seq}, the log holds {len(now.log)}")
        if now.log[: len(before.log)] != before.log:
            raise PromiseBrokenError("I1", f"{before.log} became {now.log}")
        for seq, event in self._acknowledged.get(ref, {}).items():
            if len(now.log) < seq:
                raise PromiseBrokenError("I2", f"event {seq} was acknowledged, the log ends at {len(now.log)}")
            if (now.log[seq - 1].kind, now.log[seq - 1].data) != event:
                raise PromiseBrokenError("I2", f"event {seq} was acknowledged as {event}, the log says otherwise")
        terminals = [event.seq for event in now.log if event.kind is EventKind.TERMINAL]
        if terminals not in ([], [len(now.log)]) or bool(terminals) != (now.meta.state is StreamState.CLOSED):
            raise PromiseBrokenError("I4", f"a stream that is {now.meta.state} has terminals {terminals}")
        if now.meta.state is not StreamState.OPEN and now.meta.seal is None:
            raise PromiseBrokenError("I4", f"a stream is {now.meta.state} without a seal")
        if before.meta is not None:
            self._record(before.meta, now.meta)
            if ref in self._untouchable and (before.log, before.meta.seal) != (now.log, now.meta.seal):
                raise PromiseBrokenError("I5", "a refused writer changed the stream")

    @staticmethod
    def _record(before: StreamMeta, now: StreamMeta) -> None:
        if before.seal is not None and now.seal != before.seal:
            raise PromiseBrokenError("seal", f"{before.seal} became {now.seal}")
        if before.last_seq > 0 and _decision(now) != _decision(before):
            raise PromiseBrokenError("decided", f"with events, {_decision(before)} became {_decision(now)}")
        if now.epoch < before.epoch:
            raise PromiseBrokenError("I5", f"the epoch fell from {before.epoch} to {now.epoch}")
        # A lost stream has no seal, and one that ends in one step is never seen between its two.
        skips_seal = now.state is StreamState.CLOSED and (now.lost or now.seal is not None)
        if not before.state.may_become(now.state) and not skips_seal:
            raise PromiseBrokenError("I4", f"{before.state} became {now.state}")

    def _pointers(self, key: SessionKey, record: SessionRecord, streams: dict[StreamRef, Seen]) -> None:
        if record.active is not None and record.active.state is StreamState.CLOSED:
            raise PromiseBrokenError("pointer", "the active stream is closed")
        was_active = self.active.get(key)
        if record.active_id is None and was_active is not None:
            left = streams[StreamRef(key, was_active)].meta
            if left is not None and left.state is not StreamState.CLOSED:
                raise PromiseBrokenError("pointer", f"the pointer to a stream that is {left.state} was cleared")


def _decision(meta: StreamMeta) -> tuple[str, str, str]:
    """What a stream's first event may decide."""
    return meta.protocol, meta.client_version, meta.message_id
