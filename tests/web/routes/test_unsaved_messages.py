"""What is told of a reply that is not saved, or not yet."""

from __future__ import annotations

import httpx
import pytest

from streamguard import StreamGuard
from streamguard.errors import StoreUnavailableError
from streamguard.messages import MemoryMessageStore, Message, Role, StoredMessage
from streamguard.values import Persisted, SessionKey, StreamRef
from tests.harness.sse import EventReader, ui_text

from ..saved import KEY, app_of, fill, guard_with, ids_of, read
from ..serving import calling

pytestmark = pytest.mark.anyio


async def unsaved(client: httpx.AsyncClient, guard: StreamGuard, persisted: Persisted) -> StreamRef:
    """An answer whose save is known to have come to that."""
    answer = await client.post("/api/chat", json={"id": "s"})
    ref = StreamRef(KEY, answer.headers["x-stream-id"])
    await guard._running().store.update_meta(ref, persisted=persisted)
    return ref


@pytest.mark.parametrize("persisted", [Persisted.PENDING, Persisted.NO])
async def test_a_reply_that_is_not_saved_is_said_to_be_missing(persisted: Persisted) -> None:
    store = MemoryMessageStore()
    guard = guard_with(store)
    async with calling(app_of(guard), guard) as client:
        await fill(store, 1)
        ref = await unsaved(client, guard, persisted)
        answer, first_page = await read(client), await read(client, "?limit=1")
        later = await read(client, "?after=1")
    (question, reply) = answer.json()["messages"]
    assert question["persisted"] == "yes"
    assert (reply["persisted"], reply["stream_id"], reply["parts"]) == (persisted, ref.stream_id, [])
    assert (reply["status"], reply["outcome"], reply["position"]) == ("complete", "completed", None)
    # Whatever page is the last one has it.
    assert ids_of(first_page) == ids_of(answer)
    assert ids_of(later) == [reply["id"]]


async def test_a_continued_reply_says_that_its_continuation_is_missing() -> None:
    store = MemoryMessageStore()
    guard = guard_with(store)
    async with calling(app_of(guard), guard) as client:
        ref = await unsaved(client, guard, Persisted.PENDING)
        meta = await guard._running().store.meta(ref)
        assert meta is not None
        await fill(store, 1)
        reply = Message(
            meta.message_id, Role.ASSISTANT, ({"type": "text", "text": "as far as it was"},), stream_id="a" * 24
        )
        await store.append(KEY, reply)
        before, paged = await read(client), await read(client, "?after=2")
        await store.append(
            KEY, Message(meta.message_id, Role.ASSISTANT, (), stream_id=ref.stream_id, continues="a" * 24)
        )
        after = await read(client)
    assert [message["persisted"] for message in before.json()["messages"]] == ["yes", "pending"]
    assert before.json()["messages"][1]["parts"] == [{"type": "text", "text": "as far as it was"}]
    assert paged.json()["messages"] == []
    assert [message["persisted"] for message in after.json()["messages"]] == ["yes", "yes"]


async def test_a_reply_that_was_saved_while_it_was_looked_for() -> None:
    """It is not left out because it was neither there when the page was read, nor missing afterwards."""

    class Store(MemoryMessageStore):
        late: Message | None = None

        async def get(self, key: SessionKey, message_id: str, *, branches: bool = False) -> StoredMessage:
            if self.late is not None:
                await self.append(key, self.late)
            return await super().get(key, message_id, branches=branches)

    store = Store()
    guard = guard_with(store)
    async with calling(app_of(guard), guard) as client:
        await fill(store, 1)
        ref = await unsaved(client, guard, Persisted.PENDING)
        (_, missing) = (await read(client)).json()["messages"]
        first_of_many = await read(client, "?limit=1")
        store.late = Message(missing["id"], Role.ASSISTANT, (), stream_id=ref.stream_id)
        (question, reply) = (await read(client)).json()["messages"]
        cut = await read(client, "?limit=1")
    assert ids_of(first_of_many) == [question["id"], missing["id"]]
    assert (reply["id"], reply["persisted"], reply["position"]) == (missing["id"], "yes", 2)
    assert (ids_of(cut), cut.json()["next"]) == ([question["id"]], 1)


async def test_what_is_not_saved_yet_can_be_had_from_the_log() -> None:
    """The whole answer, however long ago it ended, and its text as a download, until it is saved."""
    guard = guard_with(MemoryMessageStore(), replay_after_finish_seconds=0)
    async with calling(app_of(guard), guard) as client:
        ref = await unsaved(client, guard, Persisted.PENDING)
        path = f"/api/chat/s/streams/{ref.stream_id}/raw"
        pending = await client.get("/api/chat/s/stream")
        raw, status = await client.get(path), (await client.get("/api/chat/s")).json()
        await guard._running().store.update_meta(ref, persisted=Persisted.YES)
        saved, saved_status = await client.get("/api/chat/s/stream"), (await client.get("/api/chat/s")).json()
    assert ui_text(EventReader().feed(pending.content)) == raw.text == "hello"
    assert (status["last"]["persisted"], saved_status["last"]["persisted"]) == ("pending", "yes")
    assert (saved.status_code, saved.headers["x-resume-reason"]) == (204, "finished")


async def test_messages_can_be_read_while_the_stream_store_is_away() -> None:
    """Whether the last reply is among them is not known then, and that is said."""
    store = MemoryMessageStore()
    guard = guard_with(store, breaker_probe_seconds=60.0)
    async with calling(app_of(guard), guard) as client:
        await fill(store, 1)
        guard._running().breaker.exhausted(StoreUnavailableError("gone", operation="append"))
        answer = await read(client)
    assert (ids_of(answer), answer.headers["x-streamguard-notice"]) == (["m1"], "store_unavailable")
