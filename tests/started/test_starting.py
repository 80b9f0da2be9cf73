"""`guard.start`: an answer without a request, watched, ended and kept like any other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import anyio
import pytest
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from streamguard import (
    AlreadyStartedError,
    ConfigurationError,
    FaultCode,
    FaultError,
    InvalidPartError,
    NotStartedError,
    Outcome,
    Persisted,
    QuotaState,
    Run,
    Settings,
    Signal,
    StartedRun,
    StreamCutError,
    StreamEnd,
    StreamGuard,
)
from streamguard.errors import MessageForbiddenError
from streamguard.messages import Appended, MemoryMessageStore, Message, Opened
from streamguard.quota import Quota
from streamguard.testing import Ending, GuardedApp
from streamguard.values import SessionKey

pytestmark = pytest.mark.anyio

QUOTA = Quota(limit=100, per="day", unit="tokens")


async def owner(connection: HTTPConnection) -> str | None:
    return connection.headers.get("x-user")


class Site:
    """An application with a chat endpoint, whose quota and protocol answers may borrow."""

    def __init__(self, *, messages: MemoryMessageStore | None = None, **settings: object) -> None:
        self.messages = messages or MemoryMessageStore()
        self.guard = guard = StreamGuard(
            authenticate=owner,
            messages=self.messages,
            settings=Settings.model_validate({"drain_seconds": 1.0, **settings}),
        )

        @guard.stream(session=lambda request: request.query_params["id"], binding="chat", quota=QUOTA, estimate=10)
        async def chat(request: Request, run: Run) -> AsyncIterator[str]:
            yield "hello"
            run.usage(tokens=3)

        @guard.stream(binding="plain", protocol="plain", stall_seconds=0.05)
        async def plain(request: Request) -> AsyncIterator[str]:
            yield "hello"

        @guard.stream(binding="measured", quota=QUOTA, estimate=lambda request: 10)
        async def measured(request: Request) -> AsyncIterator[str]:
            yield "hello"

        @guard.stream(binding="passed-on")
        async def passed_on(request: Request) -> StreamingResponse:
            return StreamingResponse(iter(()), media_type="text/event-stream")

        self.chat = chat
        app = Starlette(lifespan=guard.lifespan, routes=[Route("/api/chat", chat, methods=["POST"])])
        guard.install(app, "/api/chat")
        self.app = app

    def enter(self) -> GuardedApp:
        return GuardedApp(self.app, self.guard, headers={"X-User": "ann"})


def ended(run: StartedRun) -> StreamEnd:
    assert run.end is not None
    return run.end


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
        await asyncio.sleep(0.3)
        await run.send("all the same")
    assert ended(run).outcome is Outcome.COMPLETED


async def test_an_item_that_the_protocol_cannot_carry_fails_the_answer() -> None:
    site = Site()
    async with site.enter():
        with pytest.raises(StreamCutError) as raised:
            async with site.guard.start("ann", "c1") as run:
                await run.send(object())
        assert isinstance(raised.value.__cause__, InvalidPartError)
        assert ended(run).outcome is Outcome.FAILED


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


# -- refusals ---------------------------------------------------------------------------------------------------------


async def test_a_session_with_an_answer_refuses_another() -> None:
    site = Site()
    async with site.enter(), site.guard.start("ann", "c1"):
        with pytest.raises(FaultError) as raised:
            async with site.guard.start("ann", "c1"):
                pytest.fail("the body ran")
        assert raised.value.fault.code is FaultCode.CONFLICT_ACTIVE


async def test_limits_refuse() -> None:
    site = Site(max_streams_per_owner=1)
    async with site.enter(), site.guard.start("ann", "c1"):
        with pytest.raises(FaultError) as raised:
            async with site.guard.start("ann", "c2"):
                pytest.fail("the body ran")
        assert raised.value.fault.code is FaultCode.LIMIT_STREAMS
    full = Site(max_streams_per_process=1)
    async with full.enter(), full.guard.start("ann", "c1"):
        with pytest.raises(FaultError) as raised:
            async with full.guard.start("bob", "c2"):
                pytest.fail("the body ran")
        assert raised.value.fault.reason == "max_streams_per_process"


async def test_a_quota_refuses_and_nothing_stays_reserved() -> None:
    site = Site()
    async with site.enter():
        async with site.guard.start("ann", "c1", binding=site.chat, estimate=95) as run:
            await run.send("dear")
            with pytest.raises(FaultError) as raised:
                async with site.guard.start("ann", "c2", binding="chat"):
                    pytest.fail("the body ran")
            assert raised.value.fault.code is FaultCode.QUOTA_EXCEEDED
            run.usage(tokens=4)
        assert ended(run).quota is QuotaState.SETTLED
        async with site.guard.start("ann", "c2", binding="chat", estimate=96) as run:
            await run.send("fits")


async def test_a_store_that_is_away_refuses_or_leaves_it_unlogged() -> None:
    site = Site(registration_seconds=0.1)
    async with site.enter() as chat:
        chat.store.fail("register")
        with pytest.raises(FaultError) as raised:
            async with site.guard.start("ann", "c1", on_store_failure="fail"):
                pytest.fail("the body ran")
        assert raised.value.fault.code is FaultCode.STORE_UNAVAILABLE
        async with site.guard.start("ann", "c2") as run:
            await run.send("unlogged")
            assert not run.resumable
            chat.store.heal()
        assert ended(run) == StreamEnd(Outcome.COMPLETED, Persisted.YES, QuotaState.NONE)


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


class Guarded(MemoryMessageStore):
    """A host's own, which knows whose a session is."""

    may_forbid = True

    async def open_session(self, key: SessionKey) -> Opened:
        raise MessageForbiddenError("open_session: bob's", operation="open_session")

    async def append(self, key: SessionKey, message: Message) -> Appended:
        raise MessageForbiddenError("append: bob's", operation="append")


async def test_another_owners_session_is_not_found() -> None:
    site = Site(messages=Guarded())
    async with site.enter() as chat:
        with pytest.raises(FaultError) as raised:
            async with site.guard.start("ann", "bobs"):
                pytest.fail("the body ran")
        assert raised.value.fault.code is FaultCode.NOT_FOUND
        await chat.idle()


async def test_a_guard_that_does_not_run_says_so() -> None:
    site = Site()
    with pytest.raises(NotStartedError):
        async with site.guard.start("ann", "c1"):
            pytest.fail("the body ran")


async def test_it_is_entered_once() -> None:
    site = Site()
    async with site.enter():
        starting = site.guard.start("ann", "c1")
        async with starting:
            pass
        with pytest.raises(ConfigurationError, match="once"):
            async with starting:
                pytest.fail("the body ran")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"owner": ""}, "owner"),
        ({"owner": 7}, "owner"),
        ({"on_conflict": "join"}, "idempotency_key"),
        ({"on_store_failure": "perhaps"}, "on_store_failure"),
        ({"stall_seconds": -1}, "stall_seconds"),
        ({"binding": "nobody's"}, "chat, measured, passed-on, plain"),
        ({"binding": len}, "no endpoint"),
        ({"protocol": "morse"}, "morse"),
        ({"estimate": 3}, "needs a binding with a quota"),
        ({"binding": "measured"}, "give guard.start estimate"),
        ({"binding": "chat", "estimate": "many"}, "estimate"),
    ],
)
def test_what_can_never_work_is_refused_at_once(options: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        Site().guard.start(**{"owner": "ann", **options})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"session": ".."}, FaultCode.SESSION_INVALID),
        ({"message_id": "x" * 300}, FaultCode.REQUEST_INVALID),
        ({"owner": "x" * 600}, FaultCode.REQUEST_INVALID),
        ({"idempotency_key": "two words"}, FaultCode.REQUEST_INVALID),
    ],
)
def test_ids_that_no_store_can_hold_are_faults(options: dict[str, str], code: FaultCode) -> None:
    with pytest.raises(FaultError) as raised:
        Site().guard.start(**{"owner": "ann", **options})  # type: ignore[arg-type]
    assert raised.value.fault.code is code


# -- idempotency ------------------------------------------------------------------------------------------------------


async def test_a_second_start_with_the_same_key_does_not_run_the_work_again() -> None:
    site = Site()
    async with site.enter():
        async with site.guard.start("ann", "c1", idempotency_key="evt_1") as run:
            await run.send("once")
            with pytest.raises(AlreadyStartedError) as running:
                async with site.guard.start("ann", "c1", idempotency_key="evt_1"):
                    pytest.fail("the body ran")
            assert running.value.outcome is None
        with pytest.raises(AlreadyStartedError) as over:
            async with site.guard.start("ann", "c1", idempotency_key="evt_1"):
                pytest.fail("the body ran")
        assert (over.value.session_id, over.value.stream_id) == ("c1", run.stream_id)
        assert (over.value.message_id, over.value.outcome) == (run.message_id, Outcome.COMPLETED)
        assert over.value.persisted is Persisted.YES
        with pytest.raises(FaultError) as other:
            async with site.guard.start("ann", "c2", idempotency_key="evt_1"):
                pytest.fail("the body ran")
        assert other.value.fault.code is FaultCode.IDEMPOTENCY_CONFLICT
        async with site.guard.start("bob", "c2", idempotency_key="evt_1") as bobs:  # an owner's keys are its own
            await bobs.send("too")


async def test_an_answer_that_failed_before_its_first_item_may_be_begun_again() -> None:
    site = Site()
    async with site.enter() as chat:
        for _ in range(2):
            with pytest.raises(LookupError):
                async with site.guard.start("ann", "c1", idempotency_key="evt_1"):
                    raise LookupError
        async with site.guard.start("ann", "c1", idempotency_key="evt_1") as run:
            await run.send("third time lucky")
        assert (await chat.messages("c1"))[0].text == "third time lucky"
        assert ended(run).outcome is Outcome.COMPLETED


async def test_a_request_and_a_job_may_have_equal_keys() -> None:
    site = Site()
    async with site.enter() as chat:
        async with site.guard.start("ann", "c1", binding="chat", idempotency_key="k") as run:
            await run.send("a job's")
        answer = await chat.request("POST", "/api/chat?id=c2", headers={"Idempotency-Key": "k"})
        await answer.rest()
        assert answer.text == "hello"
