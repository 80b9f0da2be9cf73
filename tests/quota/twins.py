"""Two quota stores on one clock, driven side by side by Hypothesis: the rules, and what is looked at after each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from typing import Any, ClassVar, Final, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from streamguard.errors import QuotaConflictError
from streamguard.quota import Admitted, MemoryQuotaStore, Quota, QuotaStore, RedisQuotaStore, Settlement
from streamguard.testing._quota_store.steps import LONG, all_due
from streamguard.values import SessionKey, StreamRef

from .clocks import ServerClock, TurnedClient
from .promises import EXPIRED, RESERVED, PromiseBrokenError, Promises

__all__ = ["Bench", "Twins"]

T = TypeVar("T")

OWNER: Final = "ann"
MOST: Final = 12
TIMES: Final = {"hold_seconds": 60.0, "stale_seconds": 15.0, "remember_seconds": 1e6, "late_seconds": 1e6}
"""Nothing is forgotten while a sequence runs."""
QUOTAS: Final = (Quota(100, LONG, "tokens"), Quota(60, timedelta(seconds=90), "tokens"), Quota(6, "hour", "requests"))

WHICH = st.integers(0, MOST - 1)
"""Which stream: 0 is the newest."""
AMOUNT = st.sampled_from([10, 10, 25, 0, 60, 101])
CONSUMED = st.sampled_from([None, 10, 10, 0, 7, 200])

some_stream = precondition(lambda self: self.refs)


class Bench:
    """What all examples of one run share: an event loop, the connection and a clock."""

    def __init__(self, client: TurnedClient, clock: ServerClock, clear: Callable[[], object]) -> None:
        self._runner = asyncio.Runner()
        self._client = client
        self._clear = clear
        self.clock = clock

    def run(self, step: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(step)

    def begin(self) -> tuple[RedisQuotaStore, MemoryQuotaStore]:
        """Two empty stores."""
        self._clear()
        self.clock.turn(0)
        return RedisQuotaStore(self._client, **TIMES), MemoryQuotaStore(clock=self.clock, **TIMES)  # type: ignore[arg-type] # only times

    def close(self) -> None:
        self.run(self._client.aclose())
        self._runner.close()


class Twins(RuleBasedStateMachine):
    bench: ClassVar[Bench]
    compares: ClassVar[bool] = True
    """Whether Redis is held against memory too, or against the promises alone."""
    races: ClassVar[bool] = True
    """Whether steps are made at once. Who wins differs from run to run, and a failure must not, to be reported."""

    def __init__(self) -> None:
        super().__init__()
        self.redis, self.memory = self.bench.begin()
        self.promises = Promises(QUOTAS[0])
        self.refs: list[StreamRef] = []
        self.last: Callable[[], None] | None = None
        """Does the last step again."""

    @initialize()
    def begin(self) -> None:
        self.reserve(0, 10, 1)

    # -- what may happen ----------------------------------------------------------------------------------------------

    @rule(session=st.integers(0, 1), amount=AMOUNT, quotas=st.integers(1, 3))
    def reserve(self, session: int, amount: int, quotas: int) -> None:
        if len(self.refs) == MOST:
            return
        ref = StreamRef(SessionKey(OWNER, f"s{session}"), f"{len(self.refs):024x}")
        self.refs.append(ref)
        self.ask(ref, amount, quotas)
        self.last = lambda: self.ask(ref, amount, quotas)

    @rule(amount=AMOUNT, consumed=CONSUMED)
    def reserve_and_commit(self, amount: int, consumed: int | None) -> None:
        self.reserve(0, amount, 1)
        self.commit(0, consumed)

    @some_stream
    @rule(which=WHICH, amount=AMOUNT, quotas=st.integers(1, 3))
    def reserve_again(self, which: int, amount: int, quotas: int) -> None:
        self.ask(self.pick(which), amount, quotas)

    def ask(self, ref: StreamRef, amount: int, quotas: int) -> None:
        amounts = {"tokens": amount, "requests": 1} if quotas == 3 else {"tokens": amount}
        before = self.bench.run(self.redis.status(OWNER, QUOTAS[:1]))

        async def reserve(store: QuotaStore) -> object:
            try:
                return await store.reserve(ref, amounts, QUOTAS[:quotas])
            except QuotaConflictError as exc:
                return str(exc)

        new = ref not in self.promises.seen
        answer = self.step(reserve)
        if new and quotas > 1 and not isinstance(answer, Admitted):
            return  # another quota may be in the way
        if not isinstance(answer, str):
            self.promises.admitted(before, amounts, answer, new=new)  # type: ignore[arg-type] # an answer of `reserve`

    @some_stream
    @rule(which=WHICH, consumed=CONSUMED)
    def commit(self, which: int, consumed: int | None) -> None:
        ref, amounts = self.pick(which), None if consumed is None else {"tokens": consumed, "seconds": 1}
        self.settle(ref, lambda store: store.commit(ref, amounts))

    @some_stream
    @rule(which=WHICH, consumed=CONSUMED)
    def commit_late(self, which: int, consumed: int | None) -> None:
        self.let_time_pass(TIMES["hold_seconds"])
        self.commit(which, consumed)

    @some_stream
    @rule(which=WHICH)
    def release(self, which: int) -> None:
        ref = self.pick(which)
        self.settle(ref, lambda store: store.release(ref))

    @some_stream
    @rule(which=WHICH)
    def expire(self, which: int) -> None:
        ref = self.pick(which)
        self.settle(ref, lambda store: store.expire(ref))

    def settle(
        self, ref: StreamRef, call: Callable[[QuotaStore], Awaitable[Settlement]], *, repeated: bool = False
    ) -> None:
        answer = self.step(call)
        self.promises.settled(ref, answer, repeated=repeated)
        self.last = lambda: self.settle(ref, call, repeated=True)

    @precondition(lambda self: self.refs and self.races)
    @rule(which=WHICH)
    def settle_in_two_ways_at_once(self, which: int) -> None:
        ref = self.pick(which)
        calls: list[Callable[[QuotaStore], Awaitable[Settlement]]] = [
            lambda store: store.commit(ref, {"tokens": 7}),
            lambda store: store.commit(ref, {"tokens": 7}),
            lambda store: store.release(ref),
        ]

        async def at_once() -> list[Settlement]:
            return list(await asyncio.gather(*(call(self.redis) for call in calls)))

        answers = self.bench.run(at_once())
        for answer in answers:
            self.promises.settled(ref, answer, repeated=False)
        order = sorted(range(len(calls)), key=lambda index: not answers[index].changed)

        async def in_turn() -> dict[int, Settlement]:
            return {index: await calls[index](self.memory) for index in order}

        expected = self.bench.run(in_turn())
        # A release that came before a late commit left an expired reservation as it was.
        if answers[2].state is answers[0].state:
            self.expect(answers, [expected[index] for index in range(len(calls))])
        self.last = None
        self.look()

    @some_stream
    @rule(which=st.lists(WHICH, max_size=4))
    def renew(self, which: list[int]) -> None:
        refs = [self.pick(one) for one in which]
        self.step(lambda store: store.renew(refs))

    @rule(seconds=st.sampled_from([0.001, 10, 20, 50, 60, 90]))
    def let_time_pass(self, seconds: float) -> None:
        self.bench.clock.turn(seconds)
        self.last = None
        self.look()

    @rule(claim_seconds=st.sampled_from([10, 1000]), attends=st.booleans())
    def sweep(self, claim_seconds: float, attends: bool) -> None:
        async def swept(store: QuotaStore) -> object:
            found = {one.ref: one for one in await all_due(store, OWNER, claim_seconds=claim_seconds)}
            return found, [await store.expire(ref) for ref in sorted(found, key=str)] if attends else []

        self.step(swept)

    @precondition(lambda self: self.last is not None)
    @rule()
    def lose_the_last_reply_and_ask_again(self) -> None:
        assert self.last is not None
        self.last()

    # -- one step on both ---------------------------------------------------------------------------------------------

    def step(self, call: Callable[[QuotaStore], Awaitable[T]]) -> T:
        """Do `call` to both, compare the answers and look at everything. Returns Redis's answer."""

        async def both() -> tuple[T, T]:
            return await call(self.redis), await call(self.memory)

        answer, expected = self.bench.run(both())
        self.expect(answer, expected)
        self.last = None
        self.look()
        return answer

    def look(self) -> None:
        """First for broken promises, then for differences."""

        async def shown(store: QuotaStore) -> tuple[Any, ...]:
            return (
                [one for ref in self.refs if (one := await store.find(ref)) is not None],
                await store.status(OWNER, QUOTAS),
                await store.audit(OWNER, QUOTAS),
                await store.held(OWNER),
            )

        found, status, audit, held = self.bench.run(shown(self.redis))
        self.promises.observed(found, status, audit)
        self.expect((found, status, audit, held), self.bench.run(shown(self.memory)))

    def expect(self, answer: object, expected: object) -> None:
        if self.compares and answer != expected:
            raise PromiseBrokenError("twins", f"Redis answered {answer}, memory {expected}")

    def pick(self, which: int) -> StreamRef:
        """One that is not settled, the newest for 0; the two highest numbers pick among all."""
        seen = self.promises.seen
        unsettled = [ref for ref in self.refs if ref in seen and seen[ref].state in (RESERVED, EXPIRED)]
        pool = unsettled if unsettled and which < MOST - 2 else self.refs
        return pool[-1 - which % len(pool)]
