"""`GET /{session}/messages`: pages, owners, a database that is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI

from streamguard import Run
from streamguard.errors import MessageForbiddenError, MessageNotFoundError, MessageUnavailableError
from streamguard.messages import MemoryMessageStore, Message, MessageStore, MessageToSave, Role
from streamguard.observations import Observation, Signal
from streamguard.values import SessionKey
from tests.harness.sse import EventReader, ui_text

from ..saved import KEY, Body, FailingStore, app_of, fill, guard_with, ids_of, read, refusal
from ..serving import Gate, calling

pytestmark = pytest.mark.anyio


async def test_a_page_reads_its_messages_back() -> None:
    store = MemoryMessageStore(clock=lambda: 1_700_000_000.25)
    guard = guard_with(store)
    async with calling(app_of(guard), guard) as client:
        await fill(store, 2)
        answer = await read(client)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-session-id"] == "s"
    assert "x-streamguard-notice" not in answer.headers
    at = "2023-11-14T22:13:20.250Z"
    assert answer.json() == {
        "session_id": "s",
        "messages": [
            {
                "id": "m1",
                "role": "user",
                "parts": [{"type": "text", "text": "text 1"}],
                "status": "complete",
                "persisted": "yes",
                "outcome": None,
                "stream_id": None,
                "replies_to": None,
                "position": 1,
                "created_at": at,
                "updated_at": at,
                "usage": {},
            },
            {
                "id": "m2",
                "role": "assistant",
                "parts": [{"type": "text", "text": "text 2"}],
                "metadata": {"tone": "kind"},
                "status": "partial",
                "persisted": "yes",
                "outcome": "stopped",
                "stream_id": f"{2:024x}",
                "replies_to": None,
                "position": 2,
                "created_at": at,
                "updated_at": at,
                "usage": {"output_tokens": 2},
            },
        ],
        "next": None,
    }


async def test_page_by_page() -> None:
    store = MemoryMessageStore()
    guard = guard_with(store)
    seen: list[str] = []
    pages = 0
    after: int | None = 0
    async with calling(app_of(guard), guard) as client:
        await fill(store, 5)
        while after is not None:
            answer = await read(client, f"?after={after}&limit=2")
            seen, pages, after = seen + ids_of(answer), pages + 1, answer.json()["next"]
        exact = await read(client, "?limit=5")
        past = await read(client, "?after=5")
    assert (seen, pages) == (["m1", "m2", "m3", "m4", "m5"], 3)
    assert (exact.json()["next"], past.json()["messages"]) == (None, [])


async def converse(store: MessageStore, *said: tuple[str, str | None]) -> None:
    """Store messages in this order: an id, and that of the message it answers."""
    await store.open_session(KEY)
    for number, (message_id, replies_to) in enumerate(said):
        role, stream_id = (Role.USER, None) if replies_to is None else (Role.ASSISTANT, f"{number:024x}")
        await store.append(KEY, Message(message_id, role, (), stream_id=stream_id, replies_to=replies_to))


async def test_a_reply_that_was_saved_late_follows_its_question() -> None:
    store = MemoryMessageStore()
    guard = guard_with(store)
    async with calling(app_of(guard), guard) as client:
        await converse(store, ("q1", None), ("q2", None), ("a2", "q2"), ("a1", "q1"), ("q3", None), ("b1", "q1"))
        answer = await read(client)
    messages = answer.json()["messages"]
    assert [(one["id"], one["replies_to"], one["position"]) for one in messages] == [
        ("q1", None, 1),
        ("a1", "q1", 4),
        ("b1", "q1", 6),
        ("q2", None, 2),
        ("a2", "q2", 3),
        ("q3", None, 5),
    ]
    assert answer.json()["next"] is None


@pytest.mark.parametrize("limit", range(1, 8))
async def test_nothing_is_lost_or_repeated_across_pages_of_late_replies(limit: int) -> None:
    store = MemoryMessageStore()
    guard = guard_with(store)
    pages: list[list[str]] = []
    async with calling(app_of(guard), guard) as client:
        # Also a reply to nothing that is there, two that answer each other, and one that answers itself.
        said = [
            ("q1", None),
            ("q2", None),
            ("a2", "q2"),
            ("a1", "q1"),
            ("x", "gone"),
            ("y", "z"),
            ("z", "y"),
            ("s", "s"),
        ]
        await converse(store, *said)
        after: int | None = 0
        while after is not None:
            answer = await read(client, f"?after={after}&limit={limit}")
            pages.append(ids_of(answer))
            after = answer.json()["next"]
    by_position = [message_id for message_id, _ in said]
    for number, page in enumerate(pages):
        assert sorted(page) == sorted(by_position[number * limit : (number + 1) * limit])
    assert sum(map(len, pages)) == len(said)
    assert pages[0] == (["q1", "a1", "q2", "a2", *by_position[4:limit]] if limit > 3 else by_position[:limit])


@pytest.mark.parametrize(
    "query", ["?after=-1", "?after=x", "?after=", "?limit=0", "?limit=501", "?limit=1e2", "?after=٣"]
)
async def test_numbers_that_are_none(query: str) -> None:
    guard = guard_with(MemoryMessageStore())
    async with calling(app_of(guard), guard) as client:
        answer = await read(client, query)
    assert refusal(answer) == (400, "request_invalid", "request")


async def test_nobody_learns_of_anothers_session() -> None:
    store = MemoryMessageStore()
    guard = guard_with(store)
    async with calling(app_of(guard), guard) as client:
        await fill(store, 2)
        await client.post("/api/chat", json={"id": "s"})
        client.headers["X-User"] = "eve"
        foreign, never = await read(client), await read(client, session="never")
        deleted = await client.delete("/api/chat/s")
        client.headers["X-User"] = ""
        anonymous = await read(client)
        client.headers["X-User"] = "ann"
        mine = await read(client)
    assert foreign.json() == {"session_id": "s", "messages": [], "next": None}
    assert foreign.json() | {"session_id": "never"} == never.json()
    assert [name for name, _ in foreign.headers.items()] == [name for name, _ in never.headers.items()]
    assert (deleted.status_code, refusal(anonymous)) == (204, (401, "unauthenticated", "auth"))
    assert ids_of(mine) == ["m1", "m2"]


async def test_two_owners_use_one_session_id_at_once() -> None:
    """What one does to it, the other's goes on; neither sees more than of a session that never was."""
    store, gate = MemoryMessageStore(), Gate()
    guard = guard_with(store)
    app = FastAPI()

    @app.post("/api/chat")
    @guard.stream("body.id", save=False)
    async def chat(body: Body, run: Run) -> AsyncIterator[str]:
        yield f"hello {run.owner}"
        if run.owner == "ann":
            await gate.wait()

    guard.install(app, "/api/chat")
    eve = {"X-User": "eve"}
    async with calling(app, guard) as client, asyncio.TaskGroup() as tasks:
        await fill(store, 3)
        running = tasks.create_task(client.post("/api/chat", json={"id": "s"}))
        await gate.reached.wait()
        mine = await client.get("/api/chat/s")
        hers = await client.post("/api/chat", json={"id": "s"}, headers=eve)
        await fill(store, 1, SessionKey("eve", "s"))
        her_messages = await client.get("/api/chat/s/messages", headers=eve)
        deleted = await client.delete("/api/chat/s", headers=eve)
        afterwards = await client.get("/api/chat/s/messages", headers=eve)
        still = await client.get("/api/chat/s")
        gate.open()
        done = await running
        my_messages = await read(client)
    assert (ui_text(EventReader().feed(hers.content)), ids_of(her_messages)) == ("hello eve", ["m1"])
    assert (deleted.status_code, afterwards.json()["messages"]) == (204, [])
    assert still.json() == mine.json()
    assert ui_text(EventReader().feed(done.content)) == "hello ann"
    assert ids_of(my_messages) == ["m1", "m2", "m3"]


@pytest.mark.parametrize("error", [MessageForbiddenError, MessageNotFoundError])
async def test_a_store_that_forbids_says_never_too(error: type[MessageForbiddenError]) -> None:
    """Only a host's own store can know that a session is somebody else's."""
    store = FailingStore()
    guard = guard_with(store)
    async with calling(app_of(guard), guard) as client:
        never = await read(client)
        store.error = error("it is Bob's", operation="list")
        foreign, deleted = await read(client), await client.delete("/api/chat/s")
    assert (foreign.json(), foreign.status_code, deleted.status_code) == (never.json(), 200, 204)


async def save(message: MessageToSave) -> None:
    """A function can be saved to, not read from."""


@pytest.mark.parametrize("messages", [None, save])
async def test_without_a_store_there_is_nothing_to_read(messages: MessageStore | None) -> None:
    guard = guard_with(messages)
    async with calling(app_of(guard), guard) as client:
        assert refusal(await read(client)) == (404, "not_found", "request")
        assert (await client.delete("/api/chat/s")).status_code == 204


@pytest.mark.parametrize("error", [MessageUnavailableError("down", operation="list"), ZeroDivisionError()])
async def test_a_database_that_is_away(error: Exception) -> None:
    """Nothing is said of it but that it may be asked again; the operator learns more."""
    store = FailingStore()
    observed: list[Observation] = []
    guard = guard_with(store, observers=(observed.append,))
    async with calling(app_of(guard), guard) as client:
        await fill(store, 1)
        store.error = error
        reading, deleting = await read(client), await client.delete("/api/chat/s")
        store.error = None
        again, gone = await client.delete("/api/chat/s"), await read(client)
    for answer in (reading, deleting):
        assert refusal(answer) == (503, "store_unavailable", "persistence")
        assert answer.headers["retry-after"] == "2"
        assert "down" not in answer.text
    behind = [seen.error for seen in observed if seen.name is Signal.FAULT]
    assert [error in (seen, seen and seen.__cause__) for seen in behind] == [True, True]
    assert (again.status_code, ids_of(gone)) == (204, [])


async def test_a_database_that_stays_away_is_left_alone_for_a_while() -> None:
    """Pages that are loaded meanwhile do not wait for it, and do not keep it from coming back."""
    store = FailingStore()
    guard = guard_with(store, breaker_probe_seconds=60.0)
    async with calling(app_of(guard), guard) as client:
        await fill(store, 1)
        store.error = MessageUnavailableError("down", operation="list")
        for _ in range(8):
            assert (await read(client)).status_code == 503
        asked, store.error = store.asked, None
        assert (await read(client)).status_code == 503
        assert asked == store.asked < 8


async def test_the_route_has_its_methods() -> None:
    guard = guard_with(MemoryMessageStore())
    async with calling(app_of(guard), guard) as client:
        options = await client.options("/api/chat/s/messages")
        head = await client.head("/api/chat/s/messages")
        wrong = await client.delete("/api/chat/s/messages")
    assert (options.status_code, options.headers["allow"]) == (204, "GET, HEAD, OPTIONS")
    assert (head.status_code, wrong.status_code) == (200, 405)


# -- several stores --------------------------------------------------------------------------------------


async def test_a_session_is_read_from_the_store_of_its_endpoint() -> None:
    own, other = MemoryMessageStore(), MemoryMessageStore()
    guard = guard_with(own)
    async with calling(app_of(guard, save=other), guard) as client:
        await fill(other, 2)
        unknown_endpoint = await read(client)
        await client.post("/api/chat", json={"id": "s"})
        await fill(own, 3)
        answer = await read(client)
        erased = await client.delete("/api/chat/s")
        left = await own.list(KEY), await other.list(KEY)
    assert ids_of(unknown_endpoint) == ["m1", "m2"]
    assert ids_of(answer)[:2] == ["m1", "m2"]
    assert "m3" not in ids_of(answer)
    assert (erased.status_code, left) == (204, ([], []))
