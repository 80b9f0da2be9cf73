"""The rules by which Hypothesis drives two stores: everything a writer, a user or a reconciler may do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from streamguard.faults import Fault, FaultCode
from streamguard.stores.appends import Append, AppendReply, LateDecision
from streamguard.stores.records import UNTOLD, Close, LostLog, NewStream, Seal, Status
from streamguard.stores.registrations import Full, Registered, Withdrawn
from streamguard.stores.store import StreamStore
from streamguard.values import EventKind, Outcome, Persisted, QuotaState, StreamRef, StreamState, Usage

from .log_rules import EPOCH, WHICH, LogTwins, some_open_stream, some_stream
from .promises import PromiseBrokenError
from .twins import BEFORE_ERASURES, BEFORE_STOPS, HOUR, MOST_STREAMS, SESSIONS, TINY

__all__ = ["Twins"]

SESSION = st.integers(0, len(SESSIONS) - 1)
LEASE = st.sampled_from([HOUR, HOUR, TINY])
OUTCOME = st.sampled_from(Outcome)
LIMIT = st.sampled_from([None, None, 1, 2, 3])
"""How many streams the owner may have at once."""
AGE = st.sampled_from([0.0, BEFORE_ERASURES])
"""How long ago a stream began of which the store hears only now: after or before any erasure of the example."""


class Twins(LogTwins):
    # -- registering -----------------------------------------------------------------------------------------------

    @initialize()
    def begin(self) -> None:
        for session in range(len(SESSIONS)):
            self.do_register(self.conceive(session, 0.0), HOUR)

    @rule(session=SESSION, lease=LEASE, age=AGE, limit=LIMIT, early=st.booleans())
    def register(self, session: int, lease: float, age: float, limit: int | None, early: bool) -> None:
        self.do_register(self.conceive(session, age), lease, limit, early=early)

    @some_stream
    @rule(which=WHICH, lease=LEASE, limit=LIMIT)
    def register_again(self, which: int, lease: float, limit: int | None) -> None:
        self.do_register(self.pick(which), lease, limit)

    def do_register(self, new: NewStream, lease: float, limit: int | None = None, *, early: bool = False) -> None:
        known = self.meta(new.ref) is not None
        answer = self.step(
            lambda store: store.register(
                new,
                lease_seconds=lease,
                ttl_seconds=HOUR,
                limit=limit,
                arrived_seconds=BEFORE_STOPS if early else 0.0,
            ),
            waits=lease == TINY,
        )
        self.promises.stops.registered(new.ref.key, answer, known=known, early=early)
        self.promises.registered(new.ref, answer, known=known)
        self.promises.slots.registered(new.ref, answer, limit=limit, known=known, lasts=lease == HOUR)
        self.after(waits=lease == TINY)

    @some_stream
    @rule(which=WHICH)
    def withdraw(self, which: int) -> None:
        ref = self.pick(which).ref
        self.promises.withdrawn(ref, self.step(lambda store: store.withdraw(ref, refuse_seconds=HOUR)))
        self.last = None  # of a retry the answer is another
        self.after()

    @some_stream
    @rule(which=WHICH)
    def release_slot(self, which: int) -> None:
        ref = self.pick(which).ref
        self.step(lambda store: store.release_slot(ref.key.owner, ref.stream_id))
        self.promises.slots.dismissed(ref)
        self.after()

    @precondition(lambda self: len(self.streams) < MOST_STREAMS - 1)
    @rule(session=SESSION)
    def register_two_at_once(self, session: int) -> None:
        def register(new: NewStream) -> Callable[[StreamStore], Awaitable[object]]:
            async def call(store: StreamStore) -> object:
                answer = await store.register(new, lease_seconds=HOUR, ttl_seconds=HOUR, limit=None)
                assert not isinstance(answer, (Full, Withdrawn))
                if store is self.bench.redis:
                    self.promises.stops.registered(new.ref.key, answer, known=False, early=False)
                    self.promises.slots.registered(new.ref, answer, limit=None, known=False, lasts=True)
                return answer.meta.ref, isinstance(answer, Registered)

            return call

        self.race(*[register(self.conceive(session, 0.0)) for _ in range(2)])

    # -- the writer's claim ----------------------------------------------------------------------------------------

    @some_stream
    @rule(which=WHICH, epoch=EPOCH, lease=LEASE)
    def heartbeat(self, which: int, epoch: int, lease: float) -> None:
        self.do_beat(self.pick(which).ref, epoch, lease)

    def do_beat(self, ref: StreamRef, epoch: int, lease: float) -> None:
        claim = (ref, self.epoch(ref, epoch))
        consumed = {ref: Usage({"tokens": epoch + 2})} if lease == TINY else {}
        (reply,) = self.step(
            lambda store: store.heartbeat([claim], lease_seconds=lease, ttl_seconds=HOUR, consumed=consumed),
            waits=lease == TINY,
        )
        self.promises.answered(*claim, reply.status)
        if reply.status is Status.OK:
            self.promises.slots.renewed(ref, lasts=lease == HOUR)
        self.after(waits=lease == TINY)

    @some_stream
    @rule(which=WHICH)
    def stop(self, which: int) -> None:
        ref = self.pick(which).ref
        self.step(lambda store: store.request_stop(ref))
        self.after()

    @rule(session=SESSION, limit=st.integers(1, 3))
    def stop_pending_requests(self, session: int, limit: int) -> None:
        self.do_stop_coming(session, limit)

    def do_stop_coming(self, session: int, limit: int) -> None:
        key = SESSIONS[session]
        answer = self.step(lambda store: store.stop_pending_requests(key, seconds=HOUR, limit=limit))
        runs = any(ref.key == key for ref in self.active_and_open())
        self.promises.stops.marked(key, answer, limit=limit, runs=runs)
        self.after()

    @some_stream
    @rule(
        which=WHICH,
        lease=LEASE,
        expected=st.sampled_from([None, None, 0, -1]),
        force=st.booleans(),
        worker=st.sampled_from(["", "taker"]),
    )
    def take(self, which: int, lease: float, expected: int | None, force: bool, worker: str) -> None:
        ref = self.pick(which).ref
        epoch = None if expected is None else self.epoch(ref, expected)
        self.step(
            lambda store: store.take_over(ref, lease_seconds=lease, expected_epoch=epoch, force=force, worker=worker),
            waits=lease == TINY,
        )
        self.after(waits=lease == TINY)

    @some_stream
    @rule(which=WHICH, force=st.booleans())
    def take_twice_at_once(self, which: int, force: bool) -> None:
        ref = self.pick(which).ref
        epoch = self.epoch(ref, 0)

        def take(store: StreamStore) -> Awaitable[object]:
            return store.take_over(ref, lease_seconds=HOUR, expected_epoch=epoch, force=force)

        self.race(take, take)

    @some_open_stream
    @rule(which=WHICH, does=st.sampled_from(["append", "beat", "seal", "close", "declare_lost"]))
    def return_superseded(self, which: int, does: str) -> None:
        """A stalled writer comes back after another took its stream and, where it would close, decided the end."""
        ref = self.open_streams()[which % len(self.open_streams())]
        self.step(lambda store: store.take_over(ref, lease_seconds=HOUR, force=True))
        self.after()
        match does:
            case "append":
                self.do_append(ref, -1, 1, 1, refresh=True)
            case "beat":
                self.do_beat(ref, -1, HOUR)
            case "seal":
                self.do_seal(ref, -1, Outcome.COMPLETED, 0)
            case "close":
                self.do_seal(ref, 0, Outcome.INTERRUPTED, 0)
                self.do_close(self.a_close(ref, -1, Outcome.COMPLETED, 1, None))
            case _:
                self.do_declare_lost(self.named(ref), -1, Outcome.COMPLETED, HOUR, True)

    @some_open_stream
    @rule(which=WHICH)
    def close_late(self, which: int) -> None:
        """Sealed, its session moved on, and only then closed."""
        ref = self.open_streams()[which % len(self.open_streams())]
        self.do_seal(ref, 0, Outcome.COMPLETED, 0)
        self.do_register(self.conceive(SESSIONS.index(ref.key), 0.0), HOUR)
        self.do_close(self.a_close(ref, 0, Outcome.COMPLETED, 1, None))

    @rule(session=SESSION, limit=LIMIT, stops=st.booleans(), early=st.booleans())
    def follow(self, session: int, limit: int | None, stops: bool, early: bool) -> None:
        """A session's stream ends and the next one begins; perhaps its answer was stopped before it came."""
        for ref in self.active_and_open():
            if ref.key == SESSIONS[session]:
                self.do_seal(ref, 0, Outcome.COMPLETED, 0)
                self.do_close(self.a_close(ref, 0, Outcome.COMPLETED, 1, None))
        if stops:
            self.do_stop_coming(session, 3)
        self.do_register(self.conceive(session, 0.0), HOUR, limit, early=early)

    @some_open_stream
    @rule(which=WHICH)
    def append_after_the_end(self, which: int) -> None:
        """A writer whose close was confirmed to nobody goes on, under its own epoch."""
        ref = self.open_streams()[which % len(self.open_streams())]
        self.do_seal(ref, 0, Outcome.COMPLETED, 0)
        self.do_close(self.a_close(ref, 0, Outcome.COMPLETED, 1, None))
        self.do_append(ref, 0, 1, 1, refresh=True)

    # -- the end ---------------------------------------------------------------------------------------------------

    @some_stream
    @rule(which=WHICH, epoch=EPOCH, outcome=OUTCOME, offset=st.sampled_from([0, 0, 0, 0, -1, 1]))
    def seal(self, which: int, epoch: int, outcome: Outcome, offset: int) -> None:
        self.do_seal(self.pick(which).ref, epoch, outcome, offset)

    def do_seal(self, ref: StreamRef, epoch: int, outcome: Outcome, offset: int) -> None:
        seal = self.a_seal(ref, outcome, offset)
        at = self.epoch(ref, epoch)
        status, _ = self.step(lambda store: store.seal(ref, at, seal))
        self.promises.answered(ref, at, status)
        self.after()

    @some_stream
    @rule(which=WHICH)
    def seal_twice_at_once(self, which: int) -> None:
        ref = self.pick(which).ref
        at = self.epoch(ref, 0)
        stopped, completed = [self.a_seal(ref, outcome, 0) for outcome in (Outcome.STOPPED, Outcome.COMPLETED)]
        self.race(lambda store: store.seal(ref, at, stopped), lambda store: store.seal(ref, at, completed))

    def a_seal(self, ref: StreamRef, outcome: Outcome, offset: int) -> Seal:
        last_seq = max(0, self.last_seq(ref) + offset)
        if outcome is Outcome.COMPLETED:
            return Seal(outcome, last_seq, usage=Usage({"tokens": last_seq}), held=(b"[DONE]", b"\x00\xff"))
        return Seal(outcome, last_seq, fault=Fault.of(FaultCode.INTERRUPTED))

    @some_stream
    @rule(which=WHICH, epoch=EPOCH, outcome=OUTCOME, count=st.integers(0, 2), owed=st.booleans())
    def close(self, which: int, epoch: int, outcome: Outcome, count: int, owed: bool) -> None:
        self.do_close(self.a_close(self.pick(which).ref, epoch, outcome, count, b"owed" if owed else None))

    @some_stream
    @rule(which=WHICH)
    def seal_and_close(self, which: int) -> None:
        """The whole end at once, so that streams often reach it."""
        ref = self.pick(which).ref
        self.do_seal(ref, 0, Outcome.COMPLETED, 0)
        self.do_close(self.a_close(ref, 0, Outcome.COMPLETED, 1, None))

    @some_stream
    @rule(which=WHICH)
    def close_twice_at_once(self, which: int) -> None:
        close = self.a_close(self.pick(which).ref, 0, Outcome.COMPLETED, 1, None)
        before = self.meta(close.ref)
        self.race(lambda store: store.close(close), lambda store: store.close(close))
        now = self.meta(close.ref)
        # A tombstone gives no slot back, and a stream that has one cannot be closed again.
        if before is not None and now is not None and before.state is not now.state is StreamState.CLOSED:
            self.promises.slots.dismissed(close.ref)

    def a_close(self, ref: StreamRef, epoch: int, outcome: Outcome, count: int, owed: bytes | None) -> Close:
        events = self.events(count, EventKind.CLOSING)
        return Close(ref, self.epoch(ref, epoch), events, self.terminal(outcome), HOUR, owed)

    def closed(self, close: Close, reply: AppendReply) -> None:
        self.promises.answered(close.ref, close.epoch, reply.status)
        self.promises.outbox.closed(close.ref, reply.status, close.outbox_payload)
        if reply.status is Status.OK:
            self.promises.slots.dismissed(close.ref)

    @some_stream
    @rule(which=WHICH, epoch=EPOCH, outcome=OUTCOME, offset=st.sampled_from([0, 0, 0, 0, -1, 1]))
    def end_in_one_step(self, which: int, epoch: int, outcome: Outcome, offset: int) -> None:
        ref = self.pick(which).ref
        seal, close = self.a_seal(ref, outcome, offset), self.a_close(ref, epoch, outcome, 1, None)
        before = self.meta(ref)
        status, _, reply = self.step(lambda store: store.seal_and_close(close, seal))
        if reply is None:
            self.promises.answered(ref, close.epoch, status)
        else:
            self.closed(close, reply)
        self.after()
        now = self.meta(ref)
        if reply is None and before is not None and now is not None and before.state is not now.state:
            raise PromiseBrokenError("seal", f"{now.state}, though another seal stands than the one it was to close")

    @some_stream
    @rule(
        which=WHICH,
        epoch=EPOCH,
        offset=st.sampled_from([1, 1, 1, 2, 2, 0]),
        count=st.integers(1, 3),
        short=st.sampled_from([0, 0, 0, 0, 0, 0, -1, 1]),
        refresh=st.sampled_from([False, False, False, True]),
    )
    def end_with_the_last_events(
        self, which: int, epoch: int, offset: int, count: int, short: int, refresh: bool
    ) -> None:
        ref = self.pick(which).ref
        close = self.a_close(ref, epoch, Outcome.COMPLETED, 1, None)
        first_seq, events = max(1, self.last_seq(ref) + offset), self.events(count)
        cache = self.cache(ref, close.epoch)
        last = Append(ref, close.epoch, first_seq, events, refresh, decided=self.decided(which), cache=cache)
        seal = Seal(Outcome.COMPLETED, max(0, first_seq - 1 + count + short))
        was = self.meta(ref)
        before = was and (was.state, was.seal), self.log(ref)
        status, _, reply = self.step(lambda store: store.seal_and_close(close, seal, last))
        if status is Status.OK:
            self.promises.answered(ref, close.epoch, status, first_seq=first_seq, events=events)
        if reply is not None:
            self.closed(close, reply)
        self.after()
        now = self.meta(ref)
        if status is Status.NOT_SEALED and (now and (now.state, now.seal), self.log(ref)) != before:
            raise PromiseBrokenError("seal", f"{status}, but something was changed")

    def decided(self, which: int) -> LateDecision | None:
        return LateDecision("opaque", "", "msg_0") if which % 4 == 3 else None

    def do_close(self, close: Close, *, waits: bool = False) -> None:
        reply = self.step(lambda store: store.close(close), waits=waits)
        self.closed(close, reply)
        self.after(waits=waits)

    @some_stream
    @rule(which=WHICH, epoch=EPOCH, outcome=OUTCOME, lease=LEASE, ends=st.booleans())
    def declare_lost(self, which: int, epoch: int, outcome: Outcome, lease: float, ends: bool) -> None:
        self.do_declare_lost(self.pick(which), epoch, outcome, lease, ends)

    @rule(session=SESSION, age=AGE, lease=LEASE, ends=st.booleans())
    def lose_what_was_never_registered(self, session: int, age: float, lease: float, ends: bool) -> None:
        self.do_declare_lost(self.conceive(session, age), 0, Outcome.COMPLETED, lease, ends)

    def do_declare_lost(self, new: NewStream, epoch: int, outcome: Outcome, lease: float, ends: bool) -> None:
        terminal = self.terminal(outcome, lost=True) if ends else None
        meta = self.meta(new.ref)
        untold = meta is None or epoch > 0
        lost = LostLog(new, UNTOLD if untold else self.epoch(new.ref, epoch), lease, HOUR, terminal)
        reply = self.step(lambda store: store.declare_lost(lost), waits=lease == TINY)
        adopts = untold and meta is not None and not meta.taken
        self.promises.answered(new.ref, meta.epoch if adopts and meta else lost.epoch, reply.status)
        self.after(waits=lease == TINY)

    @some_stream
    @rule(
        which=WHICH,
        persisted=st.sampled_from([None, *Persisted]),
        quota=st.sampled_from([None, *QuotaState]),
    )
    def mark(self, which: int, persisted: Persisted | None, quota: QuotaState | None) -> None:
        ref = self.pick(which).ref
        self.step(lambda store: store.update_meta(ref, persisted=persisted, quota=quota))
        self.after()

    @rule(session=SESSION)
    def erase(self, session: int) -> None:
        self.step(lambda store: store.erase(SESSIONS[session], mark_seconds=HOUR))
        self.promises.erased(SESSIONS[session])
        self.after()

    # -- expiry ----------------------------------------------------------------------------------------------------

    @some_stream
    @rule(which=WHICH)
    def let_a_finished_stream_expire(self, which: int) -> None:
        close = self.a_close(self.pick(which).ref, 0, Outcome.COMPLETED, 0, None)
        self.do_close(close._replace(retention_seconds=TINY), waits=True)
        self.last = None

    @some_stream
    @rule(which=WHICH)
    def let_an_abandoned_stream_expire(self, which: int) -> None:
        ref = self.pick(which).ref
        claim = (ref, self.epoch(ref, 0))
        self.step(lambda store: store.heartbeat([claim], lease_seconds=HOUR, ttl_seconds=TINY), waits=True)
        self.after(waits=True)
        self.last = None
