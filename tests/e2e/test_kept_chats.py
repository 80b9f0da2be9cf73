"""Two workers, Redis and a database: what a page reads back, whoever asked how often, and that nothing survives a
DELETE."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from streamguard.messages.sql import SQLMessageStore
from tests.harness.proxy import FaultProxy
from tests.harness.redis import RedisServer
from tests.harness.sse import EventReader, SseConnection, open_sse, ui_text
from tests.harness.waiting import wait_until_async
from tests.harness.workers import Worker

from .calls import expected_text, get, new_session, open_gate, status, trace
from .conftest import SHORT_PATIENCE, environment

pytestmark = pytest.mark.anyio

APP = "tests.apps.keeping:application"


@pytest.fixture(scope="module")
def keepers(shared_redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Worker, Worker]]:
    """Two workers on one Redis and one SQLite file."""
    env = {**environment(shared_redis.url), "KEEPING_DATABASE_URL": new_database(tmp_path_factory.mktemp("keeping"))}
    with Worker(APP, env=env) as first, Worker(APP, env=env) as second:
        yield first, second


@pytest.fixture
def database(tmp_path: Path) -> str:
    """The URL of a SQLite file of this test's own, with its tables."""
    return new_database(tmp_path)


def new_database(directory: Path) -> str:
    url = f"sqlite+aiosqlite:///{directory / 'chats.db'}"

    store = SQLMessageStore(url)

    async def create() -> None:
        await store.create_tables()
        await store.aclose()

    asyncio.run(create())
    return url


def body_of(session: str, **script: object) -> dict[str, object]:
    """A question with an id of its own, as clients give it one."""
    question = {"id": f"q-{uuid4().hex}", "role": "user", "parts": [{"type": "text", "text": "What?"}]}
    return {"id": session, "question": question, **script}


def headers(user: str, key: str | None = None) -> dict[str, str]:
    return {"X-User": user} if key is None else {"X-User": user, "Idempotency-Key": key}


async def ask(worker: Worker, body: dict[str, object], *, key: str | None = None, user: str = "ann") -> httpx.Response:
    """POST a body and read the whole response."""
    lines = {"Content-Type": "application/json", **headers(user, key)}
    async with httpx.AsyncClient(trust_env=False, timeout=30.0) as client:
        return await client.post(f"{worker.url}/api/chat", content=json.dumps(body), headers=lines)


async def enter(stack: AsyncExitStack, worker: Worker, body: dict[str, object], *, key: str) -> SseConnection:
    """POST a body and leave the response open."""
    lines = {"Content-Type": "application/json", **headers("ann", key)}
    request = open_sse(
        worker.port, "/api/chat", method="POST", headers=lines, body=json.dumps(body).encode(), timeout=30.0
    )
    return await stack.enter_async_context(request)


def messages(worker: Worker, session: str, *, user: str = "ann") -> list[dict[str, Any]]:
    answer = httpx.get(
        f"{worker.url}/api/chat/{session}/messages", headers=headers(user), timeout=30.0, trust_env=False
    )
    answer.raise_for_status()
    listed: list[dict[str, Any]] = answer.json()["messages"]
    return listed


def delete(worker: Worker, session: str, *, user: str = "ann") -> int:
    answer = httpx.delete(f"{worker.url}/api/chat/{session}", headers=headers(user), timeout=40.0, trust_env=False)
    return answer.status_code


def brief(listed: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """Role, text and persistence of messages."""
    return [
        (message["role"], "".join(part.get("text", "") for part in message["parts"]), message["persisted"])
        for message in listed
    ]


def runs(session: str, *workers: Worker) -> int:
    return sum(trace(worker).count(f"model {session}") for worker in workers)


async def test_however_often_it_is_sent_it_is_kept_once(keepers: tuple[Worker, Worker]) -> None:
    """At the same time to both workers, and again when the answer is over: one question, one reply."""
    session, key = new_session(), uuid4().hex
    body = body_of(session, n=8, gate=session, gate_at=4)
    async with AsyncExitStack() as stack:
        answers = await asyncio.gather(*(enter(stack, keepers[number % 2], body, key=key) for number in range(4)))
        for answer in answers:
            await answer.read_events(5)
        for worker in keepers:
            open_gate(worker, session)
        for answer in answers:
            await answer.read_rest()
    again = [await ask(worker, body, key=key) for worker in keepers]
    everything = [answer.events for answer in answers] + [EventReader().feed(answer.content) for answer in again]
    for events in everything:
        assert events == everything[0]
    assert [event.data for event in everything[0] if "data-streamguard-persisted" in event.data]
    assert runs(session, *keepers) == 1
    for worker in keepers:
        listed = messages(worker, session)
        assert brief(listed) == [("user", "What?", "yes"), ("assistant", expected_text(8), "yes")]
        assert [message["id"] for message in listed] == [
            body["question"]["id"],  # type: ignore[index]
            answers[0].headers["x-message-id"],
        ]


async def test_a_resend_after_a_failure_keeps_one_question(keepers: tuple[Worker, Worker]) -> None:
    """The model failed before its first word; its question was kept already."""
    session, key = new_session(), uuid4().hex
    body = body_of(session, n=3, crash_at=0)
    failed = await ask(keepers[0], body, key=key)
    again = await ask(keepers[1], body, key=key)
    resent = await ask(keepers[1], {**body, "crash_at": None}, key=key)  # a key that came to nothing binds nobody
    assert (failed.status_code, again.status_code, resent.status_code) == (502, 502, 200)
    assert brief(messages(keepers[0], session)) == [
        ("user", "What?", "yes"),
        ("assistant", expected_text(3), "yes"),
    ]


async def test_two_owners_use_one_session_id_at_once(keepers: tuple[Worker, Worker]) -> None:
    session = new_session()
    bodies = [body_of(session, n=length) for length in (2, 5)]
    answers = await asyncio.gather(
        *(ask(keepers[number], bodies[number], user=user) for number, user in enumerate(("ann", "bob")))
    )
    assert [ui_text(EventReader().feed(answer.content)) for answer in answers] == [expected_text(2), expected_text(5)]
    hers, his = messages(keepers[1], session), messages(keepers[0], session, user="bob")
    assert [text for _, text, _ in brief(hers)] == ["What?", expected_text(2)]
    assert [text for _, text, _ in brief(his)] == ["What?", expected_text(5)]
    assert delete(keepers[0], session, user="bob") == 204
    assert messages(keepers[0], session, user="bob") == []
    assert messages(keepers[0], session) == hers
    assert status(keepers[1], session)["last"]["stream_id"] == answers[0].headers["x-stream-id"]


async def test_deleting_a_session_that_is_being_answered_elsewhere(keepers: tuple[Worker, Worker]) -> None:
    """The answer is stopped, and its save, which comes before or after, is not there afterwards."""
    session, key = new_session(), uuid4().hex
    async with AsyncExitStack() as stack:
        stream = await enter(stack, keepers[0], body_of(session, n=9, gate=session, gate_at=4), key=key)
        await stream.read_events(5)
        gone = await asyncio.to_thread(delete, keepers[1], session)
        rest = await stream.read_rest()
    assert gone == 204
    assert any('"abort"' in event.data for event in rest)
    await wait_until_async(lambda: f"finally {session}" in trace(keepers[0]), description="the model has left")
    for worker in keepers:
        assert messages(worker, session) == []
        assert status(worker, session)["last"] is None
    raw = f"{keepers[0].url}/api/chat/{session}/streams/{stream.headers['x-stream-id']}/raw"
    assert httpx.get(raw, headers=headers("ann"), trust_env=False).status_code == 404
    assert delete(keepers[0], session) == 204


async def test_while_the_database_does_not_take_the_reply(
    own_redis: Callable[..., RedisServer], worker: Callable[..., Worker], database: str
) -> None:
    """The answer can be had from its log, by resuming and as a download, and the session says what it lacks."""
    server, session = own_redis(), new_session()
    keeper = worker(server.url, app=APP, env={"KEEPING_DATABASE_URL": database}, save_visible_seconds=0.3)
    path = database.partition("///")[2]
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as locker:
        async with AsyncExitStack() as stack:
            stream = await enter(stack, keeper, body_of(session, n=6, gate=session, gate_at=3), key=session)
            await stream.read_events(4)
            await asyncio.to_thread(locker.execute, "BEGIN IMMEDIATE")  # others may read, and nobody else may write
            open_gate(keeper, session)
            events = stream.events + await stream.read_rest()
        assert [event for event in events if "persistence_pending" in event.data]
        last = status(keeper, session)["last"]
        assert (last["outcome"], last["persisted"]) == ("completed", "pending")
        question, reply = messages(keeper, session)
        assert (question["persisted"], reply["persisted"], reply["position"]) == ("yes", "pending", None)
        assert reply["stream_id"] == last["stream_id"]
        raw = httpx.get(
            f"{keeper.url}/api/chat/{session}/streams/{last['stream_id']}/raw", headers=headers("ann"), trust_env=False
        )
        assert raw.text == expected_text(6)
        await asyncio.to_thread(locker.execute, "ROLLBACK")
    await wait_until_async(
        lambda: status(keeper, session)["last"]["persisted"] == "yes", description="the reply is saved after all"
    )
    assert brief(messages(keeper, session)) == [("user", "What?", "yes"), ("assistant", expected_text(6), "yes")]


async def test_an_answer_that_lost_its_log_and_was_saved(
    own_redis: Callable[..., RedisServer],
    proxied: Callable[[RedisServer], FaultProxy],
    worker: Callable[..., Worker],
    database: str,
) -> None:
    """There is nothing to resume, and nothing is missing: 204. Who asks for the rest of the log is told that it is
    lost."""
    server, session = own_redis(), new_session()
    proxy = proxied(server)
    settings = {**SHORT_PATIENCE, "append_deadline_seconds": 0.5}
    keeper = worker(proxy.redis_url(), app=APP, env={"KEEPING_DATABASE_URL": database}, **settings)
    body = body_of(session, n=8, gate=session, gate_at=4)
    async with AsyncExitStack() as stack:
        stream = await enter(stack, keeper, body, key=session)
        seen = await stream.read_events(6)
        proxy.refuse()
        open_gate(keeper, session)
        rest = await stream.read_rest()
    assert [event for event in rest if "not_resumable" in event.data]
    assert ui_text(seen + rest) == expected_text(8)
    proxy.forward()

    def recorded() -> bool:
        answer = httpx.get(f"{keeper.url}/api/chat/{session}", headers=headers("ann"), trust_env=False, timeout=30.0)
        return answer.status_code == 200 and answer.json()["last"]["persisted"] == "yes"

    await wait_until_async(recorded, description="the store knows how it ended")
    assert brief(messages(keeper, session)) == [("user", "What?", "yes"), ("assistant", expected_text(8), "yes")]
    without = get(keeper, session)
    after = get(keeper, session, seen[-1].id)
    repeated = await ask(keeper, body, key=session)
    assert (without.status_code, without.headers["x-resume-reason"]) == (204, "finished")
    assert (after.status_code, after.json()["error"]["reason"]) == (409, "not_registered")
    assert (repeated.status_code, repeated.json()["error"]["reason"]) == (409, "not_registered")
    assert repeated.headers["x-message-id"] == messages(keeper, session)[-1]["id"]
