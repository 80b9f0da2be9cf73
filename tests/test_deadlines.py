"""Deadlines on a loop that stands still now and then."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from collections.abc import Callable

import pytest

from streamguard.deadlines import (
    TOLERANCE_SECONDS,
    Deadline,
    Interruption,
    LoopClock,
)

from .harness.stalled_loops import LOOPS, answer_in_a_stall, run


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
        with answer_in_a_stall(after_seconds=0.06, for_seconds=0.5) as answer:
            async with Deadline.after(0.1).limit():
                assert await answer() == b"answer"

    run(factory, step)


@pytest.mark.parametrize("factory", LOOPS, ids=["asyncio", "uvloop"])
def test_a_stall_too_short_to_be_seen_keeps_no_answer_from_being_read(
    factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """Answer and deadline are there in the same turn of the loop: the answer counts."""

    async def step() -> None:
        with answer_in_a_stall(after_seconds=0.085, for_seconds=0.045) as answer:
            async with Deadline.after(0.1).limit():
                assert await answer() == b"answer"

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
