"""A session whose stream has a writer that is gone, or seems to be: the next request takes the stream over."""

from __future__ import annotations

import asyncio

import pytest

from streamguard.errors import FaultError, StoreUnavailableError
from streamguard.faults import FaultCode
from streamguard.observations import Signal
from streamguard.runtime import OnConflict
from streamguard.stores.memory import MemoryStore
from streamguard.stores.records import Status, TakeoverReply
from streamguard.stores.store import StreamStore
from streamguard.values import Outcome

from ..harness.waiting import wait_until_async
from .conftest import Stores
from .lines import Line
from .occupied import conflict, meta_of
from .stage import KEY, Model, closed, declared_lost, dying, expired, log_of, read, saying, terminals, working

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("policy", "stopped"), [("reject", False), ("replace", False), ("join", False), ("reject", True)]
)
async def test_a_post_takes_over_an_expired_stream(
    stores: Stores, look: StreamStore, policy: OnConflict, stopped: bool
) -> None:
    """At once, whatever the policy: no sweep has to come by first."""
    dead = Line(look)
    async with working(dead, dying(), clean=False) as one, working(stores()) as two:
        old = await one.start(Model("a"))
        await old.first(5)
        if stopped:
            dead.deaf = True
            dead.broken = {"heartbeat", "seal", "append"}
            await look.request_stop(old.ref)
        dead.down = True
        await expired(look, old.ref)
        remote = asyncio.create_task(read(await two.resume()))
        new = await two.start(saying("b"), two.request(on_conflict=policy))
        assert (await two.watch(new)).text == "b"
        meta = await closed(look, old.ref)
        assert meta.seal is not None
        assert meta.seal.outcome is (Outcome.STOPPED if stopped else Outcome.INTERRUPTED)
        assert (await remote).outcome == meta.seal.outcome
        dead.down = False
        dead.deaf = False
        dead.broken = set()
        await wait_until_async(lambda: old.finished, description="the old writer noticed")


async def test_a_post_takes_over_an_expired_lost_stream(memory: MemoryStore) -> None:
    """It cannot be sealed; its tombstone frees the session, and the POST waits for it."""
    dead = Line(memory)
    async with working(dead, dying(), clean=False) as one, working(memory) as two:
        old = await one.start(Model("a"))
        await old.first(5)
        old.degrade("test")
        await declared_lost(memory, old.ref)
        dead.down = True
        await expired(memory, old.ref)
        assert (await two.tell(saying("b"))).text == "b"
        assert (await closed(memory, old.ref)).lost
        (terminal,) = terminals(await log_of(memory, old.ref))
        assert (terminal.outcome, terminal.reason) == (Outcome.INTERRUPTED, "log_lost")
        dead.down = False
        await wait_until_async(lambda: old.log.disowned, description="the old writer noticed")
        await one.runtime.sessions.stop(KEY)


async def test_this_processs_own_late_stream_is_not_taken_over(memory: MemoryStore) -> None:
    """Its heartbeats were late, but it lives: a POST meets a running stream."""
    line = Line(memory)
    async with working(line) as worker:
        model = Model("a")
        stream = await worker.start(model)
        await stream.first(5)
        line.hold("heartbeat")
        await expired(memory, stream.ref)
        await conflict(worker)
        line.let_go("heartbeat")
        model.end()
        assert (await worker.watch(stream)).outcome == "completed"


async def test_the_loser_of_a_takeover_reads_again(memory: MemoryStore) -> None:
    """Two POSTs find an expired stream: one takes it, the other then meets what the first one started."""
    dead = Line(memory)
    async with working(dead, dying(), clean=False) as one, working(memory) as two, working(memory) as three:
        old = await one.start(Model("a"))
        await old.first(5)
        dead.down = True
        await expired(memory, old.ref)
        models = [Model("b"), Model("b")]
        opened = await asyncio.gather(
            *(worker.start(model) for worker, model in zip((two, three), models, strict=True)), return_exceptions=True
        )
        (refused,) = [answer for answer in opened if isinstance(answer, FaultError)]
        assert refused.fault.code is FaultCode.CONFLICT_ACTIVE
        for model in models:
            model.end()
        dead.down = False
        await wait_until_async(lambda: old.finished, description="the old writer noticed")


@pytest.mark.parametrize("answer", [Status.FENCED, Status.GAP])
@pytest.mark.long
async def test_a_session_contended_for_ever_is_refused(memory: MemoryStore, answer: Status) -> None:
    line = Line(memory)
    dead = Line(memory)
    async with working(dead, dying(), clean=False) as one, working(line) as two:
        old = await one.start(Model("a"))
        await old.first(5)
        dead.down = True
        await expired(memory, old.ref)
        if answer is Status.FENCED:
            line.answers["take_over"] = [TakeoverReply(Status.FENCED, None)] * 20
        else:
            meta = await meta_of(memory, KEY)
            line.answers["take_over"] = [TakeoverReply(Status.OK, meta)] * 20
            line.answers["seal"] = [(Status.GAP, None)] * 20
        await conflict(two)
        line.answers.clear()
        dead.down = False
        await one.runtime.sessions.stop(KEY)


async def test_a_store_that_fails_during_a_takeover_degrades_the_new_stream(memory: MemoryStore) -> None:
    line = Line(memory)
    dead = Line(memory)
    async with working(dead, dying(), clean=False) as one, working(line) as two:
        old = await one.start(Model("a"))
        await old.first(5)
        dead.down = True
        await expired(memory, old.ref)
        line.errors["take_over"] = [StoreUnavailableError("no", operation="take_over")]
        assert (await two.tell(saying("b"))).ids == []
        await two.idle()
        dead.down = False


async def test_a_settlement_that_fails_is_left_to_the_sweep(memory: MemoryStore) -> None:
    line = Line(memory)
    dead = Line(memory)
    async with working(dead, dying(), clean=False) as one, working(line) as two:
        old = await one.start(Model("a"))
        await old.first(5)
        dead.down = True
        await expired(memory, old.ref)
        line.errors["close"] = [StoreUnavailableError("no", operation="close")]
        assert (await two.tell(saying("b"))).text == "b"
        assert two.signals(Signal.ORPHAN_SETTLED) == []
        assert two.signals(Signal.TASK_RESTARTED) == []
        dead.down = False
        await wait_until_async(lambda: old.finished, description="the old writer noticed")


async def test_an_accident_while_settling_is_contained(memory: MemoryStore) -> None:
    """No other stream of this process hears of it."""
    line = Line(memory)
    dead = Line(memory)
    async with working(dead, dying(), clean=False) as one, working(line) as two:
        old = await one.start(Model("a"))
        await old.first(5)
        dead.down = True
        await expired(memory, old.ref)
        line.errors["close"] = [RuntimeError("an accident")]
        assert (await two.tell(saying("b"))).text == "b"
        (seen,) = two.signals(Signal.FAULT)
        assert seen.fault is not None
        assert seen.fault.code is FaultCode.INTERNAL
        assert str(seen.error) == "an accident"
        dead.down = False
        await wait_until_async(lambda: old.finished, description="the old writer noticed")
