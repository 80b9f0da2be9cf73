"""Replies of many megabytes: the event loop goes on while they are folded, written, digested and read."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import httpx
import pytest
from fastapi import FastAPI
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import create_async_engine

from streamguard import Settings, StreamGuard
from streamguard.messages import MemoryMessageStore, Message, MessageStore, RedisMessageStore, Role, content
from streamguard.messages.sql import SQLMessageStore
from streamguard.saving.attempts import Attempts
from streamguard.saving.folding import PayloadSource, fold_stream
from streamguard.saving.sealed_stream import SealedStream
from streamguard.saving.stream_start import StreamStart
from streamguard.stores import RedisClient
from streamguard.stores.log_reads import LogReads
from streamguard.stores.memory import MemoryStore
from streamguard.stores.records import Seal
from streamguard.testing import GuardedApp
from streamguard.values import Outcome, Persisted, SessionKey, StreamRef
from streamguard.wire import protocol_named
from streamguard.wire.folding import MessageFold
from streamguard.wire.text_fold import TextFold

pytestmark = pytest.mark.anyio

T = TypeVar("T")

KEY = SessionKey("ann", "c1")
LARGE_TEXT = "word é " * 3_000_000
"""Some 24 MB: encoding it in one call takes a few hundred milliseconds, in which the loop would not turn once."""
TURNS = 10


async def turning(step: Awaitable[T], turns_wanted: int = TURNS) -> T:
    """What `step` gives; meanwhile the loop must have turned now and then."""
    turns = 0
    task = asyncio.ensure_future(step)
    while not task.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns >= turns_wanted, f"the event loop turned {turns} times"
    return await task


@asynccontextmanager
async def stores(kind: str, redis_url: str, directory: Path) -> AsyncIterator[MessageStore]:
    if kind == "memory":
        yield MemoryMessageStore(max_bytes=1 << 30)
    elif kind == "redis":
        async with RedisClient(redis_url, command_seconds=30) as client:
            yield RedisMessageStore(client, ttl_seconds=60)
    else:
        engine = create_async_engine(f"sqlite+aiosqlite:///{directory / 'chats.db'}")
        store = SQLMessageStore(engine)
        await store.create_tables()
        yield store
        await engine.dispose()


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """In which threads messages are folded, written as JSON and read."""
    seen: list[int] = []

    def note(owner: object, name: str) -> None:
        work = getattr(owner, name)

        def noted(*args: object) -> object:
            seen.append(threading.get_ident())
            return work(*args)

        monkeypatch.setattr(owner, name, noted)

    note(content, "encode_content")
    note(content, "read_large_json")
    note(MessageFold, "message")
    note(TextFold, "message")
    return seen


@pytest.mark.parametrize("kind", ["memory", "redis", "sql"])
async def test_a_large_message_is_written_and_read_beside_the_loop(
    kind: str, redis_url: str, tmp_path: Path, threads: list[int]
) -> None:
    message = Message("m1", Role.ASSISTANT, ({"type": "text", "text": LARGE_TEXT},), stream_id="s1")
    async with stores(kind, redis_url, tmp_path) as store:
        await store.open_session(KEY)
        await turning(store.append(KEY, message))
        found = await turning(store.get(KEY, "m1"))
        assert found.message == message
        (listed,) = await turning(store.list(KEY))
        assert listed == found == await turning(store.last(KEY))
    assert len(threads) == 4
    assert threading.get_ident() not in threads


@pytest.mark.parametrize("kind", ["memory", "redis", "sql"])
async def test_a_small_one_needs_no_thread(kind: str, redis_url: str, tmp_path: Path, threads: list[int]) -> None:
    message = Message("m1", Role.ASSISTANT, ({"type": "text", "text": "hello"},), stream_id="s1")
    async with stores(kind, redis_url, tmp_path) as store:
        await store.open_session(KEY)
        await store.append(KEY, message)
        assert (await store.get(KEY, "m1")).message == message
    assert threads == [threading.get_ident()] * 2


@pytest.mark.parametrize("protocol", ["ui-message", "plain", "opaque"])
async def test_a_large_reply_is_folded_beside_the_loop(protocol: str, threads: list[int]) -> None:
    encoder = protocol_named(protocol).encoder(message_id="m1", max_event_bytes=1 << 30)
    text = LARGE_TEXT[:700_000]
    payloads = list(encoder.begin())
    for _ in range(30):
        payloads += encoder.encode(text if protocol != "opaque" else f"data: {text}\n\n")
    seal = Seal(Outcome.COMPLETED, len(payloads), None, None, ())
    ref = StreamRef(KEY, "s1")
    sealed = SealedStream(
        ref=ref, message_id="m1", protocol=protocol, binding="chat", epoch=1, began=StreamStart(1.0), seal=seal
    )
    said = await fold_stream(LogReads(MemoryStore(), 1), sealed, PayloadSource(ref, 0, payloads), Attempts(60))
    assert sum(len(json.dumps(part)) for part in said.parts) > 20_000_000
    assert len(threads) == 1
    assert threading.get_ident() not in threads


class Body(BaseModel):
    id: str


async def test_a_page_of_large_messages_is_answered_beside_the_loop() -> None:
    messages = MemoryMessageStore(max_bytes=1 << 30)
    guard = StreamGuard(authenticate=lambda connection: "ann", messages=messages, settings=Settings(drain_seconds=0.5))
    app = FastAPI(lifespan=guard.lifespan)

    @app.post("/api/chat")
    @guard.stream(session="body.id")
    async def chat(body: Body) -> AsyncIterator[str]:
        yield "hello"

    guard.install(app, "/api/chat")
    async with GuardedApp(app, guard, wait_seconds=60) as visitor:
        ended = await visitor.ended(await visitor.post({"id": "c1"}))
        assert ended.fields["persisted"] == Persisted.YES
        large = Message("m2", Role.USER, ({"type": "text", "text": LARGE_TEXT},))
        await messages.append(KEY, large)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            answer = await turning(client.get("/api/chat/c1/messages"))
        assert answer.json()["messages"][-1]["parts"] == list(large.parts)
