"""Further rules: what a finishing writer, the workers of the outbox, an operator or a repeated request may do."""

from __future__ import annotations

import asyncio

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from streamguard.stores.records import OutboxEntry, RequestClaim
from streamguard.stores.store import StreamStore
from streamguard.values import Outcome, Persisted, QuotaState, StreamRef, StreamState

from .log_rules import some_open_stream, some_stream
from .rules import Twins
from .twins import HOUR, MOST_STREAMS, TINY

__all__ = ["OutboxTwins"]

WHICH = st.integers(0, MOST_STREAMS - 1)
WHEN = st.sampled_from([HOUR, TINY, TINY])
PLENTY = 100

some_closed_stream = precondition(lambda self: self.closed_streams())


class OutboxTwins(Twins):
    def closed_streams(self) -> list[StreamRef]:
        metas = [seen.meta for seen in self.promises.streams.values()]
        return [meta.ref for meta in metas if meta is not None and meta.state is StreamState.CLOSED]

    def pick_closed(self, which: int) -> StreamRef:
        """Mostly one that is closed."""
        closed = self.closed_streams()
        return closed[which % len(closed)] if which < MOST_STREAMS - 1 else self.pick(which).ref

    # -- owing -----------------------------------------------------------------------------------------------------

    @some_stream
    @rule(which=WHICH, due=WHEN)
    def enqueue(self, which: int, due: float) -> None:
        self.do_enqueue(self.pick(which).ref, due)

    def do_enqueue(self, ref: StreamRef, due: float) -> None:
        self.step(lambda store: store.enqueue(ref, due_seconds=due), waits=due == TINY)
        self.promises.outbox.enqueued(ref)
        self.after(waits=due == TINY)

    @some_open_stream
    @rule(which=WHICH, due=WHEN, claimed_early=st.booleans())
    def end_owing(self, which: int, due: float, claimed_early: bool) -> None:
        """The whole end at once, with work left over; perhaps a worker came by between entry and close."""
        ref = self.open_streams()[which % len(self.open_streams())]
        self.do_seal(ref, 0, Outcome.COMPLETED, 0)
        self.do_enqueue(ref, due)
        if claimed_early:
            self.do_claim(TINY)
        self.do_close(self.a_close(ref, 0, Outcome.COMPLETED, 1, b"owed"))

    # -- working ---------------------------------------------------------------------------------------------------

    @rule(claim=WHEN)
    def claim(self, claim: float) -> None:
        self.do_claim(claim)

    def do_claim(self, claim: float) -> None:
        claims = self.step(
            lambda store: store.claim_due(limit=PLENTY, claim_seconds=claim),
            waits=claim == TINY,
        )
        self.last = None  # repeated, it is another claim
        self.promises.outbox.claimed(claims, lasting=claim == HOUR)
        self.after(waits=claim == TINY)

    @some_closed_stream
    @rule()
    def claim_twice_at_once(self) -> None:
        async def claim(store: StreamStore, times: int) -> list[OutboxEntry]:
            calls = [store.claim_due(limit=PLENTY, claim_seconds=HOUR) for _ in range(times)]
            return [owed for claims in await asyncio.gather(*calls) for owed in claims]

        claims = self.bench.run(claim(self.bench.redis, 2))
        self.last = None
        self.expect(claims, self.bench.run(claim(self.memory, 1)))
        self.promises.outbox.claimed(claims, lasting=True)
        self.after()

    @some_closed_stream
    @rule(which=WHICH, due=WHEN, reason=st.sampled_from(["timeout", "é"]), count=st.booleans())
    def retry_later(self, which: int, due: float, reason: str, count: bool) -> None:
        self.do_retry_later(self.pick_closed(which), due, reason, count=count)

    def do_retry_later(self, ref: StreamRef, due: float, reason: str, *, count: bool) -> None:
        status = self.step(
            lambda store: store.retry_later(ref, due_seconds=due, reason=reason, ttl_seconds=HOUR, count=count),
            waits=due == TINY,
        )
        self.promises.outbox.retried_later(ref, status)
        self.after(waits=due == TINY)

    @some_closed_stream
    @rule(which=WHICH)
    def dead_letter(self, which: int) -> None:
        self.do_dead_letter(self.pick_closed(which))

    def do_dead_letter(self, ref: StreamRef) -> None:
        status = self.step(lambda store: store.dead_letter(ref, reason="too_often", ttl_seconds=HOUR))
        self.promises.outbox.dead_lettered(ref, status)
        self.after()

    @some_closed_stream
    @rule(which=WHICH)
    def requeue(self, which: int) -> None:
        self.do_requeue(self.pick_closed(which))

    def do_requeue(self, ref: StreamRef) -> None:
        status = self.step(lambda store: store.requeue(ref))
        self.promises.outbox.requeued(ref, status)
        self.after()

    @some_closed_stream
    @rule(
        which=WHICH,
        persisted=st.sampled_from([None, *Persisted]),
        quota=st.sampled_from([None, *QuotaState]),
        retention=st.sampled_from([HOUR, HOUR, TINY]),
    )
    def complete(self, which: int, persisted: Persisted | None, quota: QuotaState | None, retention: float) -> None:
        self.do_complete(self.pick_closed(which), persisted, quota, retention)

    def do_complete(
        self, ref: StreamRef, persisted: Persisted | None, quota: QuotaState | None, retention: float
    ) -> None:
        closed = ref in self.closed_streams()
        waits = closed and retention == TINY  # else nothing expires
        status = self.step(
            lambda store: store.complete(ref, persisted=persisted, quota=quota, retention_seconds=retention),
            waits=waits,
        )
        self.promises.outbox.completed(ref, status, closed=closed)
        self.after(waits=waits)
        if waits:
            self.last = None

    @some_open_stream
    @rule(
        which=WHICH,
        then=st.sampled_from(
            [
                "enqueue",
                "requeue",
                "retry_later",
                "dead_letter retry_later",
                "dead_letter enqueue",
                "dead_letter requeue",
                "complete enqueue",
            ]
        ),
    )
    def work_and_be_late(self, which: int, then: str) -> None:
        """Claimed, and then somebody does what was right a moment ago."""
        ref = self.open_streams()[which % len(self.open_streams())]
        self.end_owing(which, TINY, False)
        self.do_claim(HOUR)
        for step in then.split():
            match step:
                case "enqueue":
                    self.do_enqueue(ref, TINY)
                case "retry_later":
                    self.do_retry_later(ref, TINY, "late", count=True)
                case "dead_letter":
                    self.do_dead_letter(ref)
                case "requeue":
                    self.do_requeue(ref)
                case _:
                    self.do_complete(ref, None, None, HOUR)
        self.do_claim(HOUR)

    # -- later requests --------------------------------------------------------------------------------------------

    @some_stream
    @rule(which=WHICH)
    def look_back(self, which: int) -> None:
        ref = self.pick(which).ref
        for message_id in ("msg_0", "msg_1"):
            self.step(lambda store: store.previous(ref, message_id))  # noqa: B023 # called within this turn
        self.step(lambda store: store.erasure(ref.key))

    @some_stream
    @rule(which=WHICH, rival=WHICH, request_key=st.sampled_from(["k1", "k2"]), expected=st.none() | WHICH)
    def claim_a_request(self, which: int, rival: int, request_key: str, expected: int | None) -> None:
        self.do_claim_request(request_key, which, None)
        self.do_claim_request(request_key, rival, expected)

    def do_claim_request(self, request_key: str, which: int, expected: int | None) -> None:
        def claim_of(number: int) -> RequestClaim:
            return RequestClaim(self.streams[number % len(self.streams)].ref, "f")

        claim, replaced = claim_of(which), None if expected is None else claim_of(expected)
        standing = self.step(
            lambda store: store.claim_request("ann", request_key, claim, ttl_seconds=HOUR, expected=replaced)
        )
        self.promises.outbox.requested("ann", request_key, standing, expected=replaced)

    @some_stream
    @rule(which=WHICH, request_key=st.sampled_from(["k1", "k2"]))
    def release_a_request(self, which: int, request_key: str) -> None:
        claim = RequestClaim(self.streams[which % len(self.streams)].ref, "f")
        released = self.step(lambda store: store.release_request("ann", request_key, claim))
        self.promises.outbox.released("ann", request_key, claim, released=released)
