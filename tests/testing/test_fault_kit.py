"""The fault kit: what a test says goes wrong, goes wrong; everything else passes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from streamguard import FaultCode, FaultError, Outcome, Persisted, Signal
from streamguard.errors import MessageTimeoutError, MessageUnavailableError
from streamguard.messages import MemoryMessageStore, Message, MessageStore, Role
from streamguard.stores.memory import MemoryStore
from streamguard.stores.store import StreamStore
from streamguard.testing import FaultyMessageStore, FaultyStore, MessageStoreSuite, StreamStoreSuite
from streamguard.values import SessionKey

from .site import make_site

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(("kit", "contract"), [(FaultyStore, StreamStore), (FaultyMessageStore, MessageStore)])
def test_every_step_of_a_contract_passes_through_the_kit(kit: type, contract: type) -> None:
    """One it left to the contract would not reach the store behind it, unless it is made of others."""
    steps = {name for name, value in vars(contract).items() if callable(value) and not name.startswith("_")}
    left = {name for name in steps if getattr(kit, name) is getattr(contract, name)}
    assert left <= {"seal_and_close"}


@pytest.mark.long
class TestFaultyStore(StreamStoreSuite):
    """While it is well, it is the store behind it."""

    @pytest.fixture
    async def store(self) -> AsyncIterator[StreamStore]:
        store = FaultyStore(MemoryStore())
        await store.start()
        yield store
        await store.aclose()


@pytest.mark.long
class TestFaultyMessageStore(MessageStoreSuite):
    @pytest.fixture
    async def store(self) -> AsyncIterator[MessageStore]:
        store = FaultyMessageStore(MemoryMessageStore())
        await store.start()
        yield store
        await store.aclose()


async def test_a_store_that_cannot_be_reached_degrades_an_answer() -> None:
    site = make_site(registration_seconds=0.1, append_deadline_seconds=0.1, breaker_probe_seconds=0.02)
    async with site.enter() as chat:
        chat.store.fail()
        answer = await chat.post({"id": "c1"})
        await answer.rest()
        assert (answer.text, answer.cursor) == ("w0 w1 w2 ", None)
        assert [fault.code for fault in answer.faults] == [FaultCode.NOT_RESUMABLE]
        await chat.seen(Signal.BREAKER_OPENED)
        chat.store.heal()
        await chat.seen(Signal.BREAKER_CLOSED)
        await chat.idle()
        answer = await chat.post({"id": "c2"})
        await answer.rest()
        assert answer.faults == []


async def test_a_lost_reply_writes_nothing_twice() -> None:
    site = make_site()
    async with site.enter() as chat:
        chat.store.lose_reply("register", "append", "seal", "close")
        answer = await chat.post({"id": "c1"})
        await answer.rest()
        assert answer.text == "w0 w1 w2 "
        await chat.idle()
        assert (await chat.resume("c1")).status == 200
        assert chat.store.calls["append"] >= 2
        assert answer.stream_id is not None
        assert await chat.raw("c1", answer.stream_id) == "w0 w1 w2 "


async def test_a_step_can_be_held_up() -> None:
    site = make_site()
    async with site.enter() as chat:
        chat.store.hold("seal")
        answer = await chat.post({"id": "c1"})
        await chat.store.held("seal")
        status = await chat.status("c1")
        assert status.active is not None
        chat.store.release("seal")
        await answer.rest()
        assert answer.events[-1].data == "[DONE]"
        with pytest.raises(AssertionError, match=r"not within 0\.01 s: 2 calls of seal wait"):
            await chat.store.held("seal", count=2, wait_seconds=0.01)


async def test_a_step_can_fail_so_many_times() -> None:
    site = make_site()
    async with site.enter() as chat:
        chat.store.fail("session", times=1)
        refused = await chat.resume("c1")
        assert (refused.status, refused.faults[0].code) == (503, FaultCode.STORE_UNAVAILABLE)
        assert (await chat.resume("c1")).status == 204
        assert chat.store.calls["session"] == 2


async def test_a_step_can_be_slow() -> None:
    site = make_site()
    async with site.enter() as chat:
        chat.store.delay(0.05, "session")
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await chat.status("c1")
        assert loop.time() - begun >= 0.05
        chat.store.heal()
        await chat.status("c1")


async def test_steps_are_named_as_in_the_contract() -> None:
    site = make_site()
    async with site.enter() as chat:
        with pytest.raises(
            ValueError, match=r"no step of this store is called \['apend'\]; there are \['active_streams', "
        ):
            chat.store.fail("append", "apend")


async def test_a_message_store_fails_as_message_stores_do() -> None:
    store = FaultyMessageStore(MemoryMessageStore())
    key = SessionKey("ann", "c1")
    store.faults.fail(times=1)
    with pytest.raises(MessageUnavailableError):
        await store.open_session(key)
    store.faults.heal()
    await store.open_session(key)
    message = Message("m1", Role.USER, ({"type": "text", "text": "hello"},))
    store.faults.lose_reply("append")
    with pytest.raises(MessageTimeoutError):
        await store.append(key, message)
    assert (await store.get(key, "m1")).message == message
    assert store.faults.calls == {"open_session": 2, "append": 1, "get": 1}


async def test_saved_messages_are_read_back() -> None:
    messages = FaultyMessageStore(MemoryMessageStore())
    site = make_site(messages=messages)
    async with site.enter() as chat:
        first = await chat.post({"id": "c1"})
        await first.rest()
        second = await chat.post({"id": "c1", "n": 1})
        await second.rest()
        one, two = await chat.messages("c1")
        assert (one.id, one.role, one.text, one.status) == (first.message_id, "assistant", "w0 w1 w2 ", "complete")
        assert (one.position, one.persisted, one.outcome) == (1, Persisted.YES, Outcome.COMPLETED)
        assert (two.stream_id, two.text, two.metadata) == (second.stream_id, "w0 ", None)
        assert await chat.messages("c1", after=1) == [two]
        assert await chat.messages("c1", limit=1) == [one]
        with pytest.raises(FaultError) as refused:
            await chat.messages("c1", limit=-1)
        assert refused.value.fault.code is FaultCode.REQUEST_INVALID


async def test_a_save_that_goes_on_is_waited_for() -> None:
    messages = FaultyMessageStore(MemoryMessageStore())
    site = make_site(messages=messages, save_visible_seconds=0.05)
    async with site.enter() as chat:
        messages.faults.hold("append")
        answer = await chat.post({"id": "c1"})
        await answer.rest()
        assert [fault.code for fault in answer.faults] == [FaultCode.PERSISTENCE_PENDING]
        (unsaved,) = await chat.messages("c1")
        assert (unsaved.persisted, unsaved.position) == (Persisted.PENDING, None)
        await messages.faults.held("append")
        messages.faults.release("append")
        await chat.idle()
        (saved,) = await chat.messages("c1")
        assert (saved.persisted, saved.text) == (Persisted.YES, "w0 w1 w2 ")
