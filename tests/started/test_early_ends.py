"""How a started answer ends early: stopped, replaced, cancelled, over a limit, drained."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from streamguard import (
    ConfigurationError,
    FaultCode,
    FaultError,
    Outcome,
    Persisted,
    QuotaState,
    StartedRun,
    StreamCutError,
    StreamEnd,
)

from .site import Site, ended

pytestmark = pytest.mark.anyio


async def test_a_stop_cancels_the_body_and_is_absorbed() -> None:
    site, went_on = Site(), []
    async with site.enter() as chat:
        async with site.guard.start("ann", "c1", binding="chat") as run:
            await run.send("Half ")
            try:
                await chat.stop("c1")
                await asyncio.Event().wait()
            finally:
                assert run.stopped
                run.usage(tokens=7)  # the body cleans up before the stream ends
                went_on.append("cleaned up")
            went_on.append("went on")
        assert went_on == ["cleaned up"]
        assert ended(run) == StreamEnd(Outcome.STOPPED, Persisted.YES, QuotaState.SETTLED)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await asyncio.sleep(0)
        status = await chat.status("c1")
        assert status.last is not None
        assert status.last.outcome is Outcome.STOPPED
        document = await chat.request("GET", "/api/chat/c1")
        assert b'"used":7,"reserved":0' in document.body


async def test_a_stop_that_meets_a_body_without_another_await() -> None:
    """The cancellation would arrive where the body is left."""
    site = Site()
    async with site.enter() as chat:
        async with site.guard.start("ann", "c1") as run:
            await run.send("Half ")
            stopping = asyncio.create_task(chat.stop("c1"))
            while not run.stopped:
                await asyncio.sleep(0)
        assert ended(run).outcome is Outcome.STOPPED
        await asyncio.sleep(0)
        assert (await stopping).status == 202


async def test_a_stop_before_the_answer_is_registered_skips_the_body() -> None:
    site, reached = Site(), []
    async with site.enter() as chat:
        chat.store.hold("claim_request")  # which comes before the registration
        starting = site.guard.start("ann", "c1", idempotency_key="k")

        async def job() -> StartedRun:
            async with starting as run:
                await run.send("never")
                reached.append("after the first send")
            return run

        task = asyncio.create_task(job())
        while not chat.store.calls["claim_request"]:
            await asyncio.sleep(0)
        await chat.stop("c1")
        chat.store.release("claim_request")
        run = await task
        assert ended(run).outcome is Outcome.STOPPED
        assert reached == []


async def test_a_replace_ends_it_quietly_as_stopped() -> None:
    site = Site()
    async with site.enter():
        begun = asyncio.Event()

        async def job() -> StartedRun:
            async with site.guard.start("ann", "c1") as run:
                await run.send("Half ")
                begun.set()
                await asyncio.Event().wait()
            return run

        task = asyncio.create_task(job())
        await begun.wait()
        async with site.guard.start("ann", "c1", on_conflict="replace") as second:
            await second.send("Whole")
        assert ended(await task).outcome is Outcome.STOPPED
        assert ended(second).outcome is Outcome.COMPLETED


async def test_cancelling_the_callers_task_interrupts_the_answer() -> None:
    site = Site()
    async with site.enter() as chat:
        runs: list[StartedRun] = []

        async def job() -> None:
            async with site.guard.start("ann", "c1") as run:
                runs.append(run)
                await run.send("Half ")
                await asyncio.Event().wait()

        task = asyncio.create_task(job())
        while not runs:
            await asyncio.sleep(0)
        watching = await chat.resume("c1")
        await watching.read(3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended(runs[0]).outcome is Outcome.INTERRUPTED
        await watching.rest()
        assert [(fault.code, fault.reason) for fault in watching.faults] == [(FaultCode.INTERRUPTED, "cancelled")]


async def test_a_timeout_of_the_callers_own_is_a_cancellation_like_any_other() -> None:
    site = Site()
    async with site.enter():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05), site.guard.start("ann", "c1") as run:
                await asyncio.Event().wait()
        assert ended(run).outcome is Outcome.INTERRUPTED


async def test_a_scope_of_anyio_is_a_cancellation_too() -> None:
    site = Site()
    async with site.enter() as chat:
        with anyio.move_on_after(0.05) as scope:
            async with site.guard.start("ann", "c1") as run:
                await run.send("Half ")
                await anyio.sleep_forever()
        assert scope.cancelled_caught
        assert (await chat.ended(run.stream_id)).fields["outcome"] is Outcome.INTERRUPTED


async def test_a_body_that_swallows_a_cancellation_completes_its_answer() -> None:
    site = Site()
    async with site.enter():

        async def job() -> StartedRun:
            async with site.guard.start("ann", "c1") as run:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    await run.send("all the same")
            return run

        task = asyncio.create_task(job())
        for _ in range(20):
            await asyncio.sleep(0)
        task.cancel()
        assert ended(await task).outcome is Outcome.COMPLETED


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"max_stream_seconds": 0.05}, FaultCode.TOO_LONG),
        ({"stall_seconds": 0.05}, FaultCode.STALLED),
        ({"abandon_after_seconds": 0.05}, FaultCode.INTERRUPTED),
        ({"binding": "plain"}, FaultCode.STALLED),  # the endpoint's own limit
    ],
)
async def test_a_limit_cancels_the_body_and_is_raised(options: dict[str, float], code: FaultCode) -> None:
    site, reached = Site(), []
    async with site.enter() as chat:
        with pytest.raises(StreamCutError) as raised:  # noqa: PT012 -- a whole body
            async with site.guard.start("ann", "c1", **options) as run:  # type: ignore[arg-type]
                await run.send("Half ")
                await asyncio.Event().wait()
                reached.append("went on")
        assert reached == []
        assert raised.value.fault.code is code
        assert raised.value.outcome is ended(run).outcome
        assert ended(run).fault == raised.value.fault
        assert (await chat.status("c1")).active is None


async def test_nobody_need_watch_a_job() -> None:
    site = Site(abandon_after_seconds=0.05)
    async with site.enter(), site.guard.start("ann", "c1") as run:
        with pytest.raises(StreamCutError) as cut:  # one that may be abandoned is, meanwhile
            async with site.guard.start("ann", "c2", abandon_after_seconds=0.1):
                await asyncio.Event().wait()
        assert cut.value.fault.reason == "abandoned"
        await run.send("all the same")
    assert ended(run).outcome is Outcome.COMPLETED


async def test_a_body_that_goes_on_after_the_end_is_told_so() -> None:
    site = Site()
    async with site.enter() as chat:
        async with site.guard.start("ann", "c1") as run:
            await run.send("Half ")
            await chat.stop("c1")
            with pytest.raises(asyncio.CancelledError):
                await asyncio.Event().wait()
            with pytest.raises(StreamCutError) as raised:
                await run.send("more")
            assert raised.value.outcome is Outcome.STOPPED
        assert ended(run).outcome is Outcome.STOPPED
        with pytest.raises(ConfigurationError, match="left"):
            await run.send("more")


async def test_a_drain_interrupts_it_and_refuses_others() -> None:
    site = Site(drain_seconds=0.1)
    async with site.enter():
        with pytest.raises(StreamCutError) as cut:  # noqa: PT012 -- a whole body
            async with site.guard.start("ann", "c1") as run:
                await run.send("Half ")
                draining = asyncio.create_task(site.guard.drain())
                await asyncio.Event().wait()
        assert (cut.value.fault.code, cut.value.outcome) == (FaultCode.SHUTTING_DOWN, Outcome.INTERRUPTED)
        with pytest.raises(FaultError) as raised:
            async with site.guard.start("ann", "c2"):
                pytest.fail("the body ran")
        assert raised.value.fault.code is FaultCode.SHUTTING_DOWN
        await draining
