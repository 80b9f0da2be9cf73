"""What is admitted can be saved and charged, to the last byte; what cannot is refused at the door, by name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from pydantic import BaseModel
from starlette.requests import HTTPConnection

from streamguard import FaultCode, Run, Settings, StreamGuard
from streamguard.messages import MemoryMessageStore, MessageStore, RedisMessageStore
from streamguard.quota import Quota
from streamguard.stores import RedisClient
from streamguard.testing import GuardedApp
from tests.messages.sql.places import Place, fresh_tables

pytestmark = [pytest.mark.anyio, pytest.mark.processes]  # streams of every kind but one are in Redis

QUOTA = Quota(limit=100, per="day", unit="requests")
KINDS = ["memory", "redis", "sqlite"]


class Body(BaseModel):
    id: str
    question: str = "q1"


async def owner_of(connection: HTTPConnection) -> str:
    return bytes.fromhex(connection.headers["x-owner"]).decode("utf-8", "surrogatepass")


def as_owner(name: str) -> dict[str, str]:
    return {"X-Owner": name.encode("utf-8", "surrogatepass").hex()}


@pytest.fixture(params=KINDS)
async def messages(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[str, MessageStore]]:
    """The stream store's URL, and a message store of the same kind."""
    if request.param == "memory":
        yield "memory://", MemoryMessageStore()
        return
    url = str(request.getfixturevalue("redis_url"))
    if request.param == "redis":
        async with RedisClient(url, command_seconds=10) as client:
            yield url, RedisMessageStore(client, ttl_seconds=600)
        return
    async with Place(f"sqlite+aiosqlite:///{tmp_path / 'chats.db'}", fresh_tables()) as place:
        yield url, place.main_store


@pytest.fixture
async def chat(messages: tuple[str, MessageStore]) -> AsyncIterator[GuardedApp]:
    url, store = messages
    settings = Settings(drain_seconds=0.2, registration_seconds=10.0, save_visible_seconds=10.0)
    guard = StreamGuard(url, authenticate=owner_of, messages=store, settings=settings)
    app = FastAPI(lifespan=guard.lifespan)

    @app.post("/api/chat")
    @guard.stream(session="body.id", quota=QUOTA)
    async def answer(body: Body, run: Run) -> AsyncIterator[str]:
        await run.save({"id": body.question, "role": "user", "parts": []})
        yield "a"

    guard.install(app, "/api/chat")
    async with GuardedApp(app, guard, wait_seconds=30) as chat:
        yield chat


@pytest.mark.parametrize("owner", ["x", "x" * 256, "x" * 257, "x" * 300, "x" * 512, "é" * 256, "🌍" * 128], ids=len)
async def test_an_owner_of_any_length_is_saved_and_charged(chat: GuardedApp, owner: str) -> None:
    visitor = chat.visitor(as_owner(owner))
    session, question = ("s" * 256, "q" * 256) if len(owner) == 512 else ("é" * 128, "🌍" * 64)
    answer = await visitor.post({"id": session, "question": question})
    await answer.rest()
    assert (answer.status, answer.faults) == (200, [])
    end = await chat.ended(answer)
    assert (end.fields["persisted"], end.fields["quota"]) == ("yes", "settled")
    assert [one.id for one in await visitor.messages(session)] == [question, answer.message_id]
    assert (await visitor.delete(session)).status == 204


@pytest.mark.parametrize("owner", ["x" * 513, "é" * 257, "a\0b", "a\ud83e", "a\nb"], ids=lambda name: ascii(name)[:9])
async def test_an_owner_that_no_store_can_hold_is_refused_by_name(chat: GuardedApp, owner: str) -> None:
    visitor = chat.visitor(as_owner(owner))
    for answer in (await visitor.post({"id": "s"}), await visitor.resume("s"), await visitor.stop("s")):
        assert answer.status == 401
        assert [(fault.code, fault.reason) for fault in answer.faults] == [(FaultCode.UNAUTHENTICATED, "owner_invalid")]


@pytest.mark.parametrize(
    "question", ["q" * 257, "é" * 129, "a\0b", "a\ud83e", "", "a\nb"], ids=lambda name: ascii(name)[:9]
)
async def test_a_questions_id_that_no_store_can_hold_is_the_clients_mistake(chat: GuardedApp, question: str) -> None:
    visitor = chat.visitor(as_owner("ann"))
    answer = await visitor.post({"id": "s", "question": question})
    assert answer.status == 400
    assert [fault.code for fault in answer.faults] == [FaultCode.REQUEST_INVALID]


@pytest.mark.parametrize("session", ["s" * 257, "é" * 129], ids=len)
async def test_a_session_that_no_store_can_hold_is_refused(chat: GuardedApp, session: str) -> None:
    answer = await chat.visitor(as_owner("ann")).post({"id": session})
    assert (answer.status, [fault.code for fault in answer.faults]) == (400, [FaultCode.SESSION_INVALID])
