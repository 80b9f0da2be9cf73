"""Rules about the log: what a writer or a viewer may do with it, and what somebody else may try."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from streamguard.errors import LogBrokenError
from streamguard.stores.appends import Append, LateDecision
from streamguard.stores.records import SessionRecord, Status, TakeoverReply
from streamguard.stores.registrations import StopReply
from streamguard.stores.store import StreamStore
from streamguard.values import START, SessionKey, StreamRef

from .promises import PromiseBrokenError
from .twins import HOUR, MOST_STREAMS, TwinStores, status_of

__all__ = ["EPOCH", "WHICH", "LogTwins", "some_open_stream", "some_stream"]

WHICH = st.integers(0, MOST_STREAMS - 1)
"""Which stream: 0 is the newest."""
EPOCH = st.sampled_from([0, 0, 0, 0, -1, 1])
"""How far the writer's epoch is from the stream's."""

DECIDED = st.sampled_from(
    [None, None, LateDecision("opaque", "", "msg_0"), LateDecision("ui-message", "7.0.0", "msg_1")]
)
"""What the stream's first event decides, if it is that."""

some_stream = precondition(lambda self: self.streams)
some_open_stream = precondition(lambda self: self.open_streams())


class LogTwins(TwinStores):
    @some_stream
    @rule(
        which=WHICH,
        epoch=EPOCH,
        offset=st.sampled_from([1, 1, 1, 1, 0, -1, -2, 2]),
        count=st.integers(1, 3),
        refresh=st.booleans(),
        decided=DECIDED,
        reply_lost=st.booleans(),
    )
    def append(
        self,
        which: int,
        epoch: int,
        offset: int,
        count: int,
        refresh: bool,
        decided: LateDecision | None,
        reply_lost: bool,
    ) -> None:
        self.do_append(self.pick(which).ref, epoch, offset, count, refresh=refresh, decided=decided)
        if reply_lost:
            self.lose_the_last_reply_and_ask_again()

    def do_append(
        self,
        ref: StreamRef,
        epoch: int,
        offset: int,
        count: int,
        *,
        refresh: bool,
        decided: LateDecision | None = None,
    ) -> None:
        """In order, repeated, overlapping or with a gap. What is there is repeated as it was: one epoch, one writer."""
        first_seq = max(1, self.last_seq(ref) + offset)
        there = [(event.kind, event.data) for event in self.log(ref)[first_seq - 1 :]]
        events = (there + self.events(count))[:count]
        at = self.epoch(ref, epoch)
        item = Append(ref, at, first_seq, events, refresh, decided=decided, cache=self.cache(ref, at))
        (reply,) = self.step(lambda store: store.append([item]))
        self.promises.answered(ref, item.epoch, reply.status, first_seq=first_seq, events=item.events)
        self.after()

    @precondition(lambda self: self.last is not None)
    @rule()
    def lose_the_last_reply_and_ask_again(self) -> None:
        assert self.last is not None
        call, answer, waits = self.last
        before = {ref: seen.log for ref, seen in self.promises.streams.items()}
        again = self.step(call, waits=waits)
        # A takeover repeated is another takeover.
        if type(answer) is not TakeoverReply:
            self.promises.repeated(status_of(answer), status_of(again))
        self.after(waits=waits)
        if {ref: seen.log for ref, seen in self.promises.streams.items()} != before:
            raise PromiseBrokenError("retry", "a repeated write changed a log")

    @some_stream
    @rule(which=WHICH, after_seq=st.integers(0, 12), epoch=EPOCH, max_bytes=st.integers(1, 12))
    def read(self, which: int, after_seq: int, epoch: int, max_bytes: int) -> None:
        ref = self.pick(which).ref
        at = self.position(ref, after_seq)
        at = at._replace(epoch=at.epoch + epoch)
        held = after_seq == 0 or at in [(event.epoch, event.seq) for event in self.log(ref)]
        expected = list(self.log(ref)[after_seq:]) if held else None
        try:
            found = self.bench.run(self.bench.redis.read(ref, at, max_bytes=max_bytes))
        except LogBrokenError:
            found = None
        if found is None or expected is None:
            if found is not expected:
                raise PromiseBrokenError("I9", f"after {at} there is {expected}, read gave {found}")
        elif found != expected[: len(found)] or bool(found) != bool(expected):
            raise PromiseBrokenError("I9", f"after {at} there is {expected}, read gave {found}")
        self.step(lambda store: store.check_position(ref, at))
        if self.bench.run(self.bench.redis.check_position(ref, at))[1] is not held:
            raise PromiseBrokenError("I9", f"whether {at} is held is {held}, find says otherwise")

    @some_stream
    @rule(which=WHICH)
    def come_as_somebody_else(self, which: int) -> None:
        ref = self.pick(which).ref
        foreign = StreamRef(SessionKey("eve", ref.key.session_id), ref.stream_id)

        async def look(store: StreamStore) -> object:
            return (
                await store.meta(foreign),
                await store.session(foreign.key),
                await store.read(foreign, START, max_bytes=1000),
                await store.check_position(foreign, self.position(ref, self.last_seq(ref))),
                await store.request_stop(foreign),
                await store.take_over(foreign, lease_seconds=HOUR, force=True),
            )

        nothing: object = (
            None,
            SessionRecord(None, None, None, None),
            [],
            (None, self.last_seq(ref) == 0),
            StopReply.ENDED,
            TakeoverReply(Status.GONE, None),
        )
        if self.bench.run(look_at(self.bench.redis, look)) != nothing:
            raise PromiseBrokenError("I12", "somebody else learnt of a stream")
        self.after()


async def look_at(store: StreamStore, look: Callable[[StreamStore], Awaitable[object]]) -> object:
    return await look(store)
