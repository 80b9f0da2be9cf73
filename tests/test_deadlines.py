"""Deadlines on a loop that stands still now and then."""

from __future__ import annotations

import asyncio
import gc
import socket
import time
import weakref
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest
import uvloop

from streamguard.deadlines import (
    LOOK_SECONDS,
    TOLERANCE_SECONDS,
    WAKE_SECONDS,
    Deadline,
    Interruption,
    LoopClock,
    MovableTimer,
    Timer,
)

from .harness.waiting import wait_until_async

LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


def run(factory: Callable[[], asyncio.AbstractEventLoop], step: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await step()

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())


@pytest.mark.parametrize("factory", LOOPS, ids=["asyncio", "uvloop"])
def test_a_stall_does_not_count(factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def step() -> None:
        deadline = Deadline.after(0.2)
        async with deadline.limit():
            await asyncio.sleep(0.05)
            time.sleep(0.4)
            await asyncio.sleep(0.05)
        assert 0 < deadline.left_seconds < 0.2

    run(factory, step)


@pytest.mark.parametrize("factory", LOOPS, ids=["asyncio", "uvloop"])
def test_time_that_the_loop_was_there_does(factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def step() -> None:
        deadline = Deadline.after(0.1)
        with pytest.raises(TimeoutError):
            async with deadline.limit() as limit:
                await asyncio.sleep(30)
        assert limit.expired
        assert deadline.expired
        assert deadline.left_seconds == 0

    run(factory, step)


@pytest.mark.parametrize("factory", LOOPS, ids=["asyncio", "uvloop"])
def test_what_has_arrived_is_read_before_anybody_is_judged(factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """The answer comes in the middle of a stall that begins before the deadline and ends long after it."""

    async def step() -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            loop = asyncio.get_running_loop()

            def stall() -> None:
                theirs.send(b"answer")
                time.sleep(0.5)

            loop.call_later(0.06, stall)
            async with Deadline.after(0.1).limit():
                assert await loop.sock_recv(ours, 16) == b"answer"

    run(factory, step)


@pytest.mark.parametrize("factory", LOOPS, ids=["asyncio", "uvloop"])
def test_a_stall_too_short_to_be_seen_keeps_no_answer_from_being_read(
    factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """Answer and deadline are there in the same turn of the loop: the answer counts."""

    async def step() -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            loop = asyncio.get_running_loop()

            def stall() -> None:
                theirs.send(b"answer")
                time.sleep(0.045)

            loop.call_later(0.085, stall)
            async with Deadline.after(0.1).limit():
                assert await loop.sock_recv(ours, 16) == b"answer"

    run(factory, step)


async def _many_short_stalls() -> None:
    clock = LoopClock.current()
    clock.hold()
    begun, loop_begun = clock.time(), clock.loop.time()
    for _ in range(5):
        await asyncio.sleep(0.06)
        time.sleep(0.1)
    counted, passed = clock.time() - begun, clock.loop.time() - loop_begun
    clock.release()
    assert counted < passed - 5 * (0.1 - 0.05 - TOLERANCE_SECONDS)
    assert clock.stalled_seconds > 0


@pytest.mark.long
def test_stalls_add_up() -> None:
    run(asyncio.new_event_loop, _many_short_stalls)


async def test_time_never_goes_back(anyio_backend: object) -> None:
    clock = LoopClock.current()
    clock.hold()
    last = clock.time()
    for n in range(400):
        if n % 100 == 99:
            time.sleep(0.08)
        await asyncio.sleep(0)
        now = clock.time()
        assert now >= last
        last = now
    clock.release()


async def test_a_limit_inside_another(anyio_backend: object) -> None:
    """The earlier one ends the block, and the other is not told so."""
    outer = Deadline.after(30)
    async with outer.limit() as outside:
        with pytest.raises(TimeoutError):
            async with outer.within(0.01).limit():
                await asyncio.sleep(30)
    assert not outside.expired
    assert outer.within(60) is outer


async def test_a_limit_that_was_reached_before_gives_one_turn(anyio_backend: object) -> None:
    async with Deadline.after(0).limit():
        await asyncio.sleep(0)
    with pytest.raises(TimeoutError):
        async with Deadline.after(-1).limit():
            await asyncio.sleep(30)


async def test_a_timeout_of_the_block_s_own_is_not_the_limit_s(anyio_backend: object) -> None:
    limit = Deadline.after(30).limit()
    with pytest.raises(TimeoutError, match="mine"):
        async with limit:
            raise TimeoutError("mine")
    assert not limit.expired


async def test_cancelling_goes_through(anyio_backend: object) -> None:
    async def wait() -> None:
        async with Deadline.after(30).limit():
            await asyncio.sleep(30)

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_each_loop_has_a_clock_and_none_outlives_its_loop() -> None:
    clocks: list[weakref.ref[LoopClock]] = []

    async def step() -> None:
        clock = LoopClock.current()
        assert LoopClock.current() is clock
        clock.hold()
        clocks.append(weakref.ref(clock))

    run(asyncio.new_event_loop, step)
    run(asyncio.new_event_loop, step)
    gc.collect()
    assert [clock() for clock in clocks] == [None, None]
    with pytest.raises(RuntimeError):
        LoopClock.current()


async def test_an_interruption_ends_a_block_that_waits(anyio_backend: object) -> None:
    interruption = Interruption()
    asyncio.get_running_loop().call_soon(interruption.happen)
    with pytest.raises(TimeoutError), interruption:
        await asyncio.Event().wait()
    assert interruption.happened
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_an_interruption_leaves_a_block_what_comes_in_the_same_turn(anyio_backend: object) -> None:
    interruption, got = Interruption(), asyncio.get_running_loop().create_future()

    def both() -> None:
        got.set_result("an answer")
        interruption.happen()

    asyncio.get_running_loop().call_soon(both)
    with interruption:
        assert await got == "an answer"
    await asyncio.sleep(0)
    assert not interruption.happened


async def test_a_cancellation_by_others_goes_through_an_interruption(anyio_backend: object) -> None:
    interruption = Interruption()

    async def wait() -> None:
        with interruption:
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    interruption.happen()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_interruption_before_or_after_its_block_changes_nothing(anyio_backend: object) -> None:
    interruption = Interruption()
    interruption.happen()
    with interruption:
        await asyncio.sleep(0)
    interruption.happen()
    await asyncio.sleep(0)
    assert not interruption.happened


@pytest.mark.parametrize("factory", LOOPS, ids=["asyncio", "uvloop"])
def test_a_movable_timer_runs_once_at_the_last_time_it_was_set_to(
    factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def step() -> None:
        clock, ran = LoopClock.current(), asyncio.Event()
        fired: list[float] = []
        begun = clock.time()

        def run() -> None:
            fired.append(clock.time() - begun)
            ran.set()

        timer = MovableTimer(clock, run)
        for seconds in (0.1, 0.3, 0.05, 0.2):  # later and sooner than before
            timer.set(begun + seconds)
        await ran.wait()
        later = asyncio.Event()
        MovableTimer(clock, later.set).set(clock.time() + 0.1)
        timer.set(clock.time() + 0.05)
        timer.clear()
        await later.wait()
        assert len(fired) == 1
        assert fired[0] >= 0.2
        ran.clear()
        timer.set(clock.time() + 0.05)
        await ran.wait()
        assert len(fired) == 2

    run(factory, step)


@pytest.mark.parametrize("factory", LOOPS, ids=["asyncio", "uvloop"])
def test_a_movable_timer_counts_no_stall_and_reads_what_arrived(
    factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def step() -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            clock, fired = LoopClock.current(), asyncio.Event()
            timer = MovableTimer(clock, fired.set)
            timer.set(clock.time() + 0.1)

            def stall() -> None:
                theirs.send(b"answer")
                time.sleep(0.5)

            asyncio.get_running_loop().call_later(0.06, stall)
            assert await asyncio.get_running_loop().sock_recv(ours, 16) == b"answer"
            assert not fired.is_set()
            await fired.wait()

    run(factory, step)


def test_a_movable_timer_that_is_not_set_lets_the_clock_rest() -> None:
    async def step() -> None:
        clock = LoopClock.current()
        timer = MovableTimer(clock, lambda: None)
        timer.set(clock.time() + 0.05)
        timer.clear()
        await wait_until_async(lambda: clock._users == 0, description="nobody uses the clock")
        timer.set(clock.time() + 30)
        timer.stop()
        timer.stop()
        assert clock._users == 0

    run(asyncio.new_event_loop, step)


@pytest.mark.parametrize("factory", LOOPS, ids=["asyncio", "uvloop"])
def test_timers_run_when_their_own_time_has_come(factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """One that is due earlier comes later, one is cancelled, and one once its time has come."""

    async def step() -> None:
        clock, ran, over = LoopClock.current(), list[str](), asyncio.Event()
        begun = clock.time()

        def last() -> None:
            ran.append("last")
            over.set()

        Timer(clock, begun + 0.15, last)
        cancelled = Timer(clock, begun + 0.1, lambda: ran.append("cancelled"))
        Timer(clock, begun + 0.05, lambda: ran.append("first"))
        reached = Timer(clock, begun - 1, lambda: ran.append("reached"))
        cancelled.cancel()
        cancelled.cancel()
        await wait_until_async(lambda: "first" in ran, description="the first has run")
        assert clock.time() >= begun + 0.05
        assert ran == ["reached", "first"]
        reached.cancel()
        await over.wait()
        assert clock.time() >= begun + 0.15
        assert ran == ["reached", "first", "last"]
        assert clock._users == 0

    run(factory, step)


@pytest.mark.parametrize("factory", LOOPS, ids=["asyncio", "uvloop"])
def test_a_timer_whose_time_has_come_can_be_cancelled(factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def step() -> None:
        clock, loop = LoopClock.current(), asyncio.get_running_loop()
        timer = Timer(clock, clock.time(), lambda: pytest.fail("it was cancelled"))
        await wait_until_async(lambda: not clock._timers, description="its time has come")
        timer.cancel()
        assert clock._users == 0
        over = loop.create_future()
        loop.call_later(0.05, over.set_result, None)
        await over

    run(factory, step)


@pytest.mark.parametrize("factory", LOOPS, ids=["asyncio", "uvloop"])
def test_cancelled_timers_are_not_kept(factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Not those that come and go, however many, nor what they would have called; those that run are."""

    async def step() -> None:
        clock = LoopClock.current()
        running = [Timer(clock, clock.time() + 20 + n, lambda: None) for n in range(10)]
        for n in range(100):
            Timer(clock, clock.time() + 1 + n % 60, lambda: None).cancel()
        assert list(clock._timers) == running
        for timer in running:
            timer.cancel()
        assert clock._users == 0

    run(factory, step)


def test_the_work_for_timers_is_bounded_however_many_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as those of thousands of requests whose model has not answered yet, each with a time of its own."""
    looks: list[tuple[float, int]] = []
    woken = LoopClock._woken

    def counted(clock: LoopClock, at: float) -> None:
        looks.append((clock.time(), len(clock._timers)))
        woken(clock, at)

    monkeypatch.setattr(LoopClock, "_woken", counted)

    async def step() -> None:
        clock, over, left = LoopClock.current(), asyncio.Event(), 10_000
        begun = clock.time() + 0.5

        def reached() -> None:
            nonlocal left
            left -= 1
            if not left:
                over.set()

        for n in range(left):
            Timer(clock, begun + n * 0.2 / left, reached)
        await over.wait()

    run(asyncio.new_event_loop, step)
    for (before, _), (at, running) in pairwise(looks):
        assert at - before > max(WAKE_SECONDS, running * LOOK_SECONDS) / 2


@pytest.mark.parametrize("factory", LOOPS, ids=["asyncio", "uvloop"])
def test_a_timer_that_is_left_behind_keeps_no_loop(factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Not even one that knows its loop, once another loop has a clock."""
    loops: list[weakref.ref[asyncio.AbstractEventLoop]] = []

    async def step() -> None:
        clock, loop = LoopClock.current(), asyncio.get_running_loop()
        Timer(clock, clock.time() + 60, loop.stop)
        loops.append(weakref.ref(loop))

    run(factory, step)
    run(factory, step)
    gc.collect()
    assert loops[0]() is None
