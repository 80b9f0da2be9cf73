"""`DELETE /{session}`: nothing of a session is left, wherever it was."""

from __future__ import annotations

import asyncio

import pytest

from streamguard import StreamGuard
from streamguard.errors import MessageUnavailableError
from streamguard.messages import Appended, MemoryMessageStore, Message, Opened
from streamguard.stores.records import Close, NewStream, Seal, Terminal
from streamguard.stores.registrations import Registered
from streamguard.stores.store import StreamStore
from streamguard.values import Outcome, Persisted, QuotaState, SessionKey, StreamRef, new_stream_id
from tests.harness.waiting import wait_until_async

from ..saved import KEY, FailingStore, app_of, fill, guard_with, read
from ..serving import Gate, calling, user_of

pytestmark = pytest.mark.anyio


async def test_erasure_is_marked_before_messages_go() -> None:
    """So that a save that comes late finds the mark, and nothing of the session comes back."""
    marked: list[bool] = []
    guard = guard_with(None)

    class Store(MemoryMessageStore):
        async def delete_session(self, key: SessionKey) -> None:
            marked.append(await guard._running().store.erasure(key) is not None)
            await super().delete_session(key)

    store = Store()
    async with calling(app_of(guard, save=store), guard) as client:
        await fill(store, 2)
        await client.post("/api/chat", json={"id": "s"})
        assert (await client.delete("/api/chat/s")).status_code == 204
        assert (await read(client)).json()["messages"] == []
    assert marked == [True]


@pytest.mark.parametrize("where", ["memory", "redis"])
async def test_erasure_takes_what_is_owed_and_what_was_given_up(where: str, request: pytest.FixtureRequest) -> None:
    """Of this session alone."""
    url = "memory://" if where == "memory" else str(request.getfixturevalue("redis_url"))
    messages = MemoryMessageStore()
    guard = StreamGuard(url, authenticate=user_of, messages=messages)
    async with calling(app_of(guard), guard) as client:
        store = guard._running().store
        owing = [await owes(store, key) for key in (KEY, KEY, SessionKey("eve", "s"))]
        await store.dead_letter(owing[1], reason="gave_up", ttl_seconds=60.0)
        await fill(messages, 2)
        answer = await client.delete("/api/chat/s")
        left = [owed.ref for dead in (False, True) for owed in await store.outbox_entries(dead=dead, limit=10)]
        records = [await store.meta(ref) for ref in owing[:2]]
        marked = await store.erasure(KEY) is not None
    assert (answer.status_code, left, records, marked) == (204, [owing[2]], [None, None], True)


async def owes(store: StreamStore, key: SessionKey) -> StreamRef:
    """A closed stream whose save is owed."""
    ref = StreamRef(key, new_stream_id())
    new = NewStream(ref, "msg_1", "ui-message", "chat", "")
    registered = await store.register(new, lease_seconds=60.0, ttl_seconds=60.0, limit=None)
    assert isinstance(registered, Registered)
    epoch = registered.meta.epoch
    await store.seal(ref, epoch, Seal(Outcome.COMPLETED, 0))
    await store.enqueue(ref, due_seconds=60.0)
    terminal = Terminal(Outcome.COMPLETED, Persisted.PENDING, QuotaState.NONE, "msg_1")
    await store.close(Close(ref, epoch, [], terminal, 60.0, outbox_payload=b"{}"))
    return ref


@pytest.mark.parametrize("step", ["open_session", "append"])
async def test_a_save_that_comes_after_its_sessions_erasure_saves_nothing(step: str) -> None:
    """It was on its way to the database when the session was erased."""
    gate = Gate()

    class Slow(MemoryMessageStore):
        async def open_session(self, key: SessionKey) -> Opened:
            if step == "open_session":
                await gate.wait()
            return await super().open_session(key)

        async def append(self, key: SessionKey, message: Message) -> Appended:
            if step == "append":
                await gate.wait()
            return await super().append(key, message)

    store = Slow()
    guard = guard_with(store, save_visible_seconds=0.05)
    async with calling(app_of(guard, save=None), guard) as client:
        answer = await client.post("/api/chat", json={"id": "s"})
        await gate.reached.wait()
        pending = (await client.get("/api/chat/s")).json()["last"]["persisted"]
        deleted = await client.delete("/api/chat/s")
        gate.open()
        saving = guard._running().saving
        await wait_until_async(lambda: saving.under_way == 0, description="the save has come to its end")
        left = await store.list(KEY)
        owed = await guard._running().store.outbox_entries(dead=False, limit=10)
        afterwards = await read(client)
    assert (answer.status_code, pending, deleted.status_code) == (200, "pending", 204)
    assert (left, owed, afterwards.json()["messages"]) == ([], [], [])


async def test_one_store_that_fails_does_not_keep_the_others_messages() -> None:
    failing, other = FailingStore(), MemoryMessageStore()
    guard = guard_with(failing)
    async with calling(app_of(guard, save=other), guard) as client:
        await fill(other, 1)
        failing.error = MessageUnavailableError("down", operation="delete_session")
        answer = await client.delete("/api/chat/s")
        assert (answer.status_code, await other.list(KEY)) == (503, [])


async def test_two_deletes_at_once() -> None:
    store = MemoryMessageStore()
    guard = guard_with(store)
    async with calling(app_of(guard), guard) as client:
        await fill(store, 2)
        await client.post("/api/chat", json={"id": "s"})
        answers = await asyncio.gather(*(client.delete("/api/chat/s") for _ in range(3)))
        assert {answer.status_code for answer in answers} == {204}
        assert await store.list(KEY) == []
