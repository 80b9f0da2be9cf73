"""Timers and movable timers on a loop that stands still now and then."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from itertools import pairwise

import pytest

from streamguard.deadlines import LOOK_SECONDS, WAKE_SECONDS, LoopClock, MovableTimer, Timer

from .harness.stalled_loops import LOOPS, answer_in_a_stall, run
from .harness.waiting import wait_until_async


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
        clock, fired = LoopClock.current(), asyncio.Event()
        timer = MovableTimer(clock, fired.set)
        timer.set(clock.time() + 0.1)
        with answer_in_a_stall(after_seconds=0.06, for_seconds=0.5) as answer:
            assert await answer() == b"answer"
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
