"""Stop means the answer that it names; without a name what runs, or what was asked for before it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from streamguard import StreamGuard
from streamguard.quota import MemoryQuotaStore, Quota
from streamguard.values import QuotaState
from streamguard.web.headers import header_value
from streamguard.web.routes.stop_target import MAX_BODY_BYTES

from ..serving import Gate, calling, make_guard, user_of

pytestmark = pytest.mark.anyio


class Body(BaseModel):
    id: str


class Chat:
    """An application with an endpoint of each kind, whose requests are prepared until `prepared` is opened, and whose
    answers go on until `gate` is."""

    def __init__(self, guard: StreamGuard) -> None:
        self.guard = guard
        self.app = FastAPI()
        self.prepared, self.gate = Gate(), Gate()
        self.asked: list[str] = []

        async def documents() -> str:
            await self.prepared.wait()
            return "documents"

        @self.app.post("/now")
        @guard.stream(session="body.id")
        async def now(body: Body) -> AsyncIterator[str]:
            yield "one "
            await self.gate.wait()
            yield "two"

        @self.app.post("/generator")
        @guard.stream(session="body.id")
        async def generator(body: Body, found: Annotated[str, Depends(documents)]) -> AsyncIterator[str]:
            self.asked.append("generator")
            yield found

        @self.app.post("/sync")
        @guard.stream(session="body.id")
        def sync(body: Body, found: Annotated[str, Depends(documents)]) -> Iterator[str]:
            self.asked.append("sync")
            yield found

        @self.app.post("/returned")
        @guard.stream(session="body.id")
        async def returned(body: Body, found: Annotated[str, Depends(documents)]) -> StreamingResponse:
            self.asked.append("returned")
            return StreamingResponse(iter([f"data: {found}\n\n"]), media_type="text/event-stream")

        @self.app.post("/counted")
        @guard.stream(session="body.id", quota=Quota(10, "hour"), estimate=10)
        async def counted(body: Body, found: Annotated[str, Depends(documents)]) -> AsyncIterator[str]:
            self.asked.append("counted")
            yield found

        guard.install(self.app, "/api/chat")


async def ask(client: httpx.AsyncClient, path: str = "/now", session: str = "s") -> httpx.Response:
    return await client.post(path, json={"id": session})


async def stop(client: httpx.AsyncClient, query: str = "", **options: Any) -> httpx.Response:
    return await client.post(f"/api/chat/s/stop{query}", **options)


Way = Callable[[str, str, str], tuple[str, dict[str, Any]]]
"""From stream, message and cursor to the query and the options of a request."""

WAYS: dict[str, Way] = {
    "stream in the query": lambda stream, message, cursor: (f"?stream_id={stream}", {}),
    "message in the query": lambda stream, message, cursor: (f"?message_id={message}", {}),
    "both in the query": lambda stream, message, cursor: (f"?stream_id={stream}&message_id={message}", {}),
    "cursor in the query": lambda stream, message, cursor: (f"?cursor={cursor}", {}),
    "last event": lambda stream, message, cursor: ("", {"headers": {"Last-Event-ID": cursor}}),
    "stream in a header": lambda stream, message, cursor: ("", {"headers": {"X-Stream-Id": stream}}),
    "message in a header": lambda stream, message, cursor: ("", {"headers": {"X-Message-Id": message}}),
    "stream in the body": lambda stream, message, cursor: ("", {"json": {"stream_id": stream}}),
    "message in the body": lambda stream, message, cursor: ("", {"json": {"message_id": message, "more": 1}}),
    "the same everywhere": lambda stream, message, cursor: (
        f"?stream_id={stream}&cursor={cursor}",
        {"headers": {"X-Stream-Id": stream}, "json": {"stream_id": stream, "message_id": message}},
    ),
}


@pytest.mark.parametrize("way", WAYS)
async def test_a_late_stop_leaves_the_next_answer_alone(way: str) -> None:
    """The first answer's stop comes while the second is written; then the second's own does."""
    chat = Chat(make_guard())
    async with calling(chat.app, chat.guard) as client:
        chat.gate.open()
        first = await ask(client)
        chat.gate = Gate()
        asking = asyncio.create_task(ask(client))
        await chat.gate.reached.wait()

        async def named(stream: str, message: str) -> httpx.Response:
            query, options = WAYS[way](stream, message, f"1.{stream}.1.1")
            return await stop(client, query=query, **options)

        late = await named(first.headers["x-stream-id"], first.headers["x-message-id"])
        status = (await client.get("/api/chat/s")).json()["active"]
        own = await named(status["stream_id"], status["message_id"])
        chat.gate.open()
        second = await asking
    assert (late.status_code, late.content) == (204, b"")
    assert own.status_code == 202
    assert own.json()["stream_id"] == second.headers["x-stream-id"] != first.headers["x-stream-id"]
    assert '"abort"' in second.text


async def test_without_a_name_it_means_what_runs() -> None:
    chat = Chat(make_guard())
    async with calling(chat.app, chat.guard) as client:
        for options in ({}, {"content": b"no JSON"}, {"json": ["stream_id"]}, {"json": {"stream_id": None}}):
            chat.gate = Gate()
            asking = asyncio.create_task(ask(client))
            await chat.gate.reached.wait()
            assert (await stop(client, **options)).status_code == 202
            assert '"abort"' in (await asking).text


async def test_another_owners_answer_is_named_in_vain() -> None:
    """As one that never was."""
    chat = Chat(make_guard())
    async with calling(chat.app, chat.guard) as client:
        asking = asyncio.create_task(ask(client))
        await chat.gate.reached.wait()
        status = (await client.get("/api/chat/s")).json()["active"]
        answers = [
            await stop(client, query=f"?stream_id={name}", headers={"X-User": "eve"})
            for name in (status["stream_id"], "0" * 24)
        ]
        chat.gate.open()
        assert "two" in (await asking).text
    assert [answer.status_code for answer in answers] == [204, 204]
    assert set(answers[0].headers) == set(answers[1].headers)


@pytest.mark.parametrize("message_id", ["msg_1", "größe 1", "100%", "a%20b", "%"])
async def test_a_message_is_named_by_the_header_that_its_answer_had(message_id: str) -> None:
    guard, gate = make_guard(), Gate()
    app = FastAPI()

    class Named(Body):
        message: str

    @app.post("/api/chat")
    @guard.stream(session="body.id", message_id="body.message")
    async def chat(body: Named) -> AsyncIterator[str]:
        yield "one"
        await gate.wait()

    guard.install(app, "/api/chat")
    async with calling(app, guard) as client:
        asking = asyncio.create_task(client.post("/api/chat", json={"id": "s", "message": message_id}))
        await gate.reached.wait()
        assert (await stop(client, headers={"X-Message-Id": "another"})).status_code == 204
        told = header_value(message_id).decode()
        assert (await stop(client, headers={"X-Message-Id": told})).status_code == 202
        assert (await asking).headers["x-message-id"] == told


@pytest.mark.parametrize(
    ("query", "options", "code", "reason"),
    [
        ("?stream_id=", {}, "request_invalid", "stream_id_empty"),
        ("?message_id=", {}, "request_invalid", "message_id_empty"),
        ("?stream_id=a&stream_id=b", {}, "request_invalid", "stream_id_ambiguous"),
        ("?stream_id=a", {"headers": {"X-Stream-Id": "b"}}, "request_invalid", "stream_id_ambiguous"),
        ("", {"json": {"stream_id": 7}}, "request_invalid", "stream_id_invalid"),
        ("", {"json": {"message_id": ["a"]}}, "request_invalid", "message_id_invalid"),
        ("?cursor=nonsense", {}, "cursor_invalid", None),
        ("", {"content": b" " * (MAX_BODY_BYTES + 1)}, "payload_too_large", "command_body"),
    ],
)
async def test_a_name_that_is_none_is_refused_and_stops_nothing(
    query: str, options: dict[str, Any], code: str, reason: str | None
) -> None:
    chat = Chat(make_guard())
    async with calling(chat.app, chat.guard) as client:
        asking = asyncio.create_task(ask(client))
        await chat.gate.reached.wait()
        refused = await stop(client, query=query, **options)
        error = refused.json()["error"]
        assert (error["code"], error.get("reason")) == (code, reason)
        assert refused.status_code == (413 if code == "payload_too_large" else 400)
        chat.gate.open()
        assert "two" in (await asking).text


# -- before the answer ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/generator", "/sync", "/returned"])
async def test_a_stop_while_a_request_is_prepared_ends_its_answer_before_the_endpoint_runs(path: str) -> None:
    chat = Chat(make_guard())
    async with calling(chat.app, chat.guard) as client:
        asking = asyncio.create_task(ask(client, path))
        await chat.prepared.reached.wait()
        stopped = await stop(client)
        chat.prepared.open()
        answer = await asking
        status = (await client.get("/api/chat/s")).json()
        assert (stopped.status_code, stopped.content) == (204, b"")
        assert answer.status_code == 200
        assert "documents" not in answer.text
        assert (status["active"], status["last"]["outcome"]) == (None, "stopped")
        assert chat.asked == []
        assert chat.guard._context.sync_streams.running == 0
        later = await ask(client, path)
        assert "documents" in later.text, "who asks after it is answered"
    assert chat.asked == [path[1:]]


async def test_what_was_reserved_for_a_stopped_answer_is_released() -> None:
    guard = StreamGuard(authenticate=user_of, quota=MemoryQuotaStore())
    chat = Chat(guard)
    async with calling(chat.app, guard) as client:
        asking = asyncio.create_task(ask(client, "/counted"))
        await chat.prepared.reached.wait()
        await stop(client)
        chat.prepared.open()
        assert (await asking).status_code == 200
        status = (await client.get("/api/chat/s")).json()
        assert status["last"]["quota"] in (QuotaState.SETTLED, QuotaState.NONE)
        again = await ask(client, "/counted", "another")  # all that there is
    assert again.status_code == 200
    assert chat.asked == ["counted"]


async def test_a_request_counts_from_where_the_outermost_layer_saw_it(redis_url: str) -> None:
    """Two workers on one Redis: the stop reaches the other one."""
    one, two = (Chat(StreamGuard(redis_url, authenticate=user_of)) for _ in range(2))
    async with calling(one.app, one.guard) as ones, calling(two.app, two.guard) as twos:
        asking = asyncio.create_task(ask(ones, "/generator"))
        await one.prepared.reached.wait()
        assert (await stop(twos)).status_code == 204
        one.prepared.open()
        assert '"abort"' in (await asking).text
        two.prepared.open()
        assert "documents" in (await ask(twos, "/generator")).text
    assert one.asked == []


async def test_a_stop_by_name_means_no_answer_to_come() -> None:
    chat = Chat(make_guard())
    async with calling(chat.app, chat.guard) as client:
        asking = asyncio.create_task(ask(client, "/generator"))
        await chat.prepared.reached.wait()
        assert (await stop(client, query=f"?stream_id={'0' * 24}")).status_code == 204
        chat.prepared.open()
        assert "documents" in (await asking).text


# -- stop, and ask again ----------------------------------------------------------------------------------------------


async def test_after_a_stop_the_next_question_is_answered_or_told_when_to_come_back() -> None:
    """At once where the endpoint heeds the stop; it may take its time to clean up."""
    guard = make_guard(replace_wait_seconds=0.2)
    app = FastAPI()
    may_leave, began = asyncio.Event(), asyncio.Event()

    @app.post("/api/chat")
    @guard.stream(session="body.id")
    async def chat(body: Body) -> AsyncIterator[str]:
        yield "one"
        try:
            began.set()
            await asyncio.Event().wait()
        finally:
            await may_leave.wait()

    guard.install(app, "/api/chat")
    async with calling(app, guard) as client:
        first = asyncio.create_task(ask(client, "/api/chat"))
        await began.wait()
        assert (await stop(client)).status_code == 202
        refused = await ask(client, "/api/chat")
        assert refused.status_code == 409
        assert json.loads(refused.content)["error"]["code"] == "conflict_active"
        assert int(refused.headers["retry-after"]) >= 1
        may_leave.set()
        began.clear()
        second = asyncio.create_task(ask(client, "/api/chat"))
        await began.wait()
        await stop(client)
        assert [(await one).status_code for one in (first, second)] == [200, 200]
