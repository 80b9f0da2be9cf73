"""`guard.start`: an answer without a request, watched, ended and kept like any other."""

from __future__ import annotations

import asyncio

import pytest

from streamguard import (
    FaultCode,
    InvalidPartError,
    Outcome,
    Persisted,
    QuotaState,
    Signal,
    StreamCutError,
    StreamEnd,
)
from streamguard.testing import Ending

from .site import Site, ended

pytestmark = pytest.mark.anyio


async def test_an_answer_of_a_job_is_watched_and_saved_like_any_other() -> None:
    site = Site()
    async with site.enter() as chat:
        async with site.guard.start("ann", "c1", message_id="m1", request_id="job-7") as run:
            assert (run.owner, run.session_id, run.message_id, run.request_id) == ("ann", "c1", "m1", "job-7")
            await run.send("Once ")
            watching = await chat.resume("c1")
            run.notice(FaultCode.QUOTA_PENDING, message="nearly there")
            await run.send("upon")
            assert run.end is None
            assert not run.stopped
        assert ended(run) == StreamEnd(Outcome.COMPLETED, Persisted.YES, QuotaState.NONE)
        await watching.rest()
        assert (watching.text, watching.ending) == ("Once upon", Ending.CLEAN)
        assert [fault.message for fault in watching.faults] == ["nearly there"]
        assert (watching.stream_id, watching.message_id) == (run.stream_id, "m1")
        (message,) = await chat.messages("c1")
        assert (message.id, message.text, message.outcome) == ("m1", "Once upon", Outcome.COMPLETED)


async def test_the_first_item_decides_what_a_recognised_answer_is() -> None:
    site = Site()
    async with site.enter() as chat:
        async with site.guard.start("ann", "text", binding="passed-on") as run:
            await run.send("some ")
            await run.send("text")
        answer = await chat.resume("text")
        await answer.rest()
        assert answer.text == "some text"
        async with site.guard.start("ann", "blocks", binding="passed-on") as run:
            await run.send(b"event: token\ndata: o")
            await run.send(b"ne\n\ndata: two\n\n")
        assert ended(run).outcome is Outcome.COMPLETED
        answer = await chat.resume("blocks")
        assert [(event.event, event.data) for event in await answer.rest()] == [("token", "one"), ("message", "two")]


async def test_a_session_and_a_message_id_are_made_where_none_are_given() -> None:
    site = Site()
    async with site.enter() as chat:
        async with site.guard.start("ann") as run:
            await run.send("hi")
        assert run.session_id.startswith("ses_")
        (message,) = await chat.messages(run.session_id)
        assert message.id == run.message_id


async def test_what_the_body_raises_ends_the_answer_as_failed_and_is_raised_on() -> None:
    site = Site()
    async with site.enter() as chat:
        with pytest.raises(LookupError, match="no such report") as raised:  # noqa: PT012 -- a whole body
            async with site.guard.start("ann", "c1") as run:
                await run.send("Half ")
                raise LookupError("no such report")
        assert all("item_channel" not in str(entry.path) for entry in raised.traceback)
        assert ended(run).outcome is Outcome.FAILED
        fault = ended(run).fault
        assert fault is not None
        assert fault.code is FaultCode.INTERNAL
        assert (await chat.messages("c1"))[0].outcome is Outcome.FAILED
        (observation,) = await chat.seen(Signal.FAULT, stream_id=run.stream_id)
        assert isinstance(observation.error, LookupError)


@pytest.mark.parametrize("error", [StopIteration, StopAsyncIteration])
async def test_an_exhausted_iterator_is_a_failure_too(error: type[Exception]) -> None:
    site = Site()
    async with site.enter():
        with pytest.raises(error):  # noqa: PT012 -- a whole body
            async with site.guard.start("ann", "c1") as run:
                await run.send("Half ")
                raise error
        assert ended(run).outcome is Outcome.FAILED


async def test_an_item_that_the_protocol_cannot_carry_fails_the_answer() -> None:
    site = Site()
    async with site.enter():
        with pytest.raises(StreamCutError) as raised:
            async with site.guard.start("ann", "c1") as run:
                await run.send(object())
        assert isinstance(raised.value.__cause__, InvalidPartError)
        assert ended(run).outcome is Outcome.FAILED


async def test_items_of_several_tasks_keep_their_order() -> None:
    site = Site()
    async with site.enter() as chat:
        async with site.guard.start("ann", "c1") as run, asyncio.TaskGroup() as group:
            for number in range(10):
                group.create_task(run.send(f"{number} "))
        watching = await chat.resume("c1")
        await watching.rest()
        assert watching.text == "".join(f"{number} " for number in range(10))


async def test_a_send_that_is_cancelled_while_it_waits_sends_nothing() -> None:
    site = Site()
    async with site.enter() as chat:
        async with site.guard.start("ann", "c1") as run:
            first, second = (asyncio.create_task(run.send(word)) for word in ("one ", "two "))
            await asyncio.sleep(0)
            second.cancel()
            await first
            await run.send("three ")
        watching = await chat.resume("c1")
        await watching.rest()
        assert watching.text == "one three "
