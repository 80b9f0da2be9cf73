"""Answers that are refused before they begin, or begun once for all who have the same key."""

from __future__ import annotations

import pytest

from streamguard import (
    AlreadyStartedError,
    ConfigurationError,
    FaultCode,
    FaultError,
    NotStartedError,
    Outcome,
    Persisted,
    QuotaState,
    StreamEnd,
)
from streamguard.errors import MessageForbiddenError
from streamguard.messages import Appended, MemoryMessageStore, Message, Opened
from streamguard.values import SessionKey

from .site import Site, ended

pytestmark = pytest.mark.anyio


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
