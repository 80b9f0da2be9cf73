"""One answer for all requests with one `Idempotency-Key`, on one worker; `tests/e2e` has two."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

import httpx
import pytest
from fastapi import Depends, FastAPI
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from streamguard import StreamGuard
from streamguard.web.endpoint.idempotency_key import MAX_KEY_BYTES
from tests.harness.sse import EventReader, ui_text

from ..serving import Gate, calling, make_guard

pytestmark = pytest.mark.anyio

IDS = ("x-session-id", "x-stream-id", "x-message-id")


class Body(BaseModel):
    id: str | None = None
    text: str = ""


async def consumed(request: Request) -> str:
    """Reads the body as a form's is read: nothing is kept of it."""
    return b"".join([chunk async for chunk in request.stream()]).decode()


class Chat:
    """`POST /chat` says "one " and, past the gate if there is one, "two"; before that it does what the test put in
    `instead`. Sessions are the body's, or new for each request."""

    def __init__(self, guard: StreamGuard, gate: Gate | None = None) -> None:
        self.guard = guard
        self.runs = 0
        self.instead: list[Exception] = []
        self.app = FastAPI(lifespan=guard.lifespan)

        @self.app.post("/chat")
        @guard.stream("body.id")
        async def chat(body: Body) -> AsyncIterator[str]:
            self.runs += 1
            if self.instead:
                raise self.instead.pop(0)
            yield "one "
            if gate is not None:
                await gate.wait()
            yield f"two {self.runs}"

        @self.app.post("/other")
        @guard.stream("body.id")
        async def other(body: Body) -> AsyncIterator[str]:
            self.runs += 1
            yield "other"

        @self.app.post("/form")
        @guard.stream()
        async def form(text: Annotated[str, Depends(consumed)]) -> AsyncIterator[str]:
            self.runs += 1
            yield text

        @self.app.post("/whole")
        @guard.stream()
        async def whole(body: Body) -> Response:
            self.runs += 1
            return JSONResponse({"run": self.runs})

        @self.app.get("/chat")
        @guard.stream()
        async def again() -> AsyncIterator[str]:
            self.runs += 1
            yield "again"

        guard.install(self.app, "/api/chat")


async def post(client: httpx.AsyncClient, key: str, path: str = "/chat", **body: object) -> httpx.Response:
    return await client.post(path, json=body, headers={"Idempotency-Key": key})


def text_of(answer: httpx.Response) -> str:
    return ui_text(EventReader().feed(answer.content))


def ids_of(answer: httpx.Response) -> list[str]:
    return [answer.headers[name] for name in IDS]


def refusal(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


@pytest.mark.parametrize("session", ["s", None])
async def test_a_repeated_request_gets_the_same_answer(session: str | None) -> None:
    """Also where each request would begin a session of its own."""
    chat = Chat(make_guard())
    async with calling(chat.app, chat.guard) as client:
        first = await post(client, "k", id=session)
        again = await post(client, "k", id=session)
    assert (first.status_code, again.status_code, chat.runs) == (200, 200, 1)
    assert first.content == again.content
    assert text_of(again) == "one two 1"
    assert ids_of(first) == ids_of(again)
    assert first.headers["content-type"] == again.headers["content-type"]
    assert first.headers["x-request-id"] != again.headers["x-request-id"]


async def test_requests_at_the_same_time_share_one_stream() -> None:
    gate = Gate()
    chat = Chat(make_guard(), gate)
    async with calling(chat.app, chat.guard) as client, asyncio.TaskGroup() as tasks:
        posts = [tasks.create_task(post(client, "k", id="s")) for _ in range(5)]
        await gate.reached.wait()
        gate.open()
    answers = [task.result() for task in posts]
    assert chat.runs == 1
    assert {answer.status_code for answer in answers} == {200}
    assert {text_of(answer) for answer in answers} == {"one two 1"}
    assert len({tuple(ids_of(answer)) for answer in answers}) == 1


async def test_the_replay_does_not_end_when_a_plain_resume_would_be_empty() -> None:
    chat = Chat(make_guard(replay_after_finish_seconds=0))
    async with calling(chat.app, chat.guard) as client:
        await post(client, "k", id="s")
        resumed = await client.get("/api/chat/s/stream")
        again = await post(client, "k", id="s")
    assert (resumed.status_code, again.status_code, text_of(again)) == (204, 200, "one two 1")


async def test_other_content_under_the_same_key_is_a_conflict() -> None:
    chat = Chat(make_guard())
    async with calling(chat.app, chat.guard) as client:
        first = await post(client, "k", id="s", text="a")
        other = await post(client, "k", id="s", text="b")
        same = await post(client, "k", id="s", text="a")
    assert refusal(other) == (409, "idempotency_conflict")
    assert other.json()["error"]["retryable"] is False
    assert (ids_of(same), chat.runs) == (ids_of(first), 1)


async def test_keys_belong_to_an_owner_and_an_endpoint() -> None:
    chat = Chat(make_guard())
    async with calling(chat.app, chat.guard) as client:
        mine = await post(client, "k", id="s")
        elsewhere = await post(client, "k", "/other", id="s")
        client.headers["X-User"] = "eve"
        hers = await post(client, "k", id="s", text="quite another")
    assert [answer.status_code for answer in (mine, elsewhere, hers)] == [200, 200, 200]
    assert len({answer.headers["x-stream-id"] for answer in (mine, elsewhere, hers)}) == 3
    assert chat.runs == 3


@pytest.mark.parametrize("key", ["", " ", "a b", "ü", "x" * (MAX_KEY_BYTES + 1), "tab\there"])
async def test_a_key_is_short_and_visible(key: str) -> None:
    chat = Chat(make_guard())
    async with calling(chat.app, chat.guard) as client:
        header = (b"Idempotency-Key", key.encode())
        answer = await client.post("/chat", json={"id": "s"}, headers=[header])
        longest = await post(client, "~" * MAX_KEY_BYTES, id="s")
    assert refusal(answer) == (400, "request_invalid")
    assert answer.json()["error"]["reason"] == "idempotency_key_invalid"
    assert (longest.status_code, chat.runs) == (200, 1)


async def test_one_request_has_one_key() -> None:
    chat = Chat(make_guard())
    async with calling(chat.app, chat.guard) as client:
        twice = [(b"Idempotency-Key", b"a"), (b"Idempotency-Key", b"b")]
        answer = await client.post("/chat", json={"id": "s"}, headers=twice)
    assert refusal(answer) == (400, "request_invalid")


async def test_a_get_may_be_repeated_as_it_is() -> None:
    chat = Chat(make_guard())
    async with calling(chat.app, chat.guard) as client:
        for _ in range(2):
            assert (await client.get("/chat", headers={"Idempotency-Key": "k"})).status_code == 200
    assert chat.runs == 2


async def test_a_body_that_nobody_kept_is_not_compared() -> None:
    chat = Chat(make_guard())
    async with calling(chat.app, chat.guard) as client:
        headers = {"Idempotency-Key": "k"}
        first = await client.post("/form", content=b"a", headers=headers)
        again = await client.post("/form", content=b"a", headers=headers)
    assert (chat.runs, text_of(again), ids_of(first)) == (1, "a", ids_of(again))


@pytest.mark.parametrize("failure", [HTTPException(402, "pay"), RuntimeError("secret")])
async def test_what_failed_before_its_first_byte_is_tried_anew(failure: Exception) -> None:
    chat = Chat(make_guard())
    chat.instead = [failure]
    async with calling(chat.app, chat.guard) as client:
        failed = await post(client, "k", id="s")
        again = await post(client, "k", id="s")
        third = await post(client, "k", id="s")
    assert failed.status_code in (402, 500)
    assert (again.status_code, text_of(again), chat.runs) == (200, "one two 2", 2)
    assert ids_of(third) == ids_of(again)


async def test_an_answer_that_is_no_stream_is_not_kept() -> None:
    chat = Chat(make_guard())
    async with calling(chat.app, chat.guard) as client:
        answers = [(await post(client, "k", "/whole")).json() for _ in range(2)]
    assert answers == [{"run": 1}, {"run": 2}]


async def test_a_refused_request_leaves_the_key_free() -> None:
    """Nothing of it ran, so it may even come back with other content."""
    gate = Gate()
    chat = Chat(make_guard(registration_seconds=30.0), gate)
    async with calling(chat.app, chat.guard) as client, asyncio.TaskGroup() as tasks:
        running = tasks.create_task(client.post("/chat", json={"id": "s"}))
        await gate.reached.wait()
        refused = await post(client, "k", id="s")
        gate.open()
        await running
        again = await post(client, "k", id="s", text="changed")
    assert refusal(refused) == (409, "conflict_active")
    assert (again.status_code, chat.runs) == (200, 2)


async def test_a_stopped_answer_is_replayed_as_it_is() -> None:
    gate = Gate()
    chat = Chat(make_guard(), gate)
    async with calling(chat.app, chat.guard) as client, asyncio.TaskGroup() as tasks:
        running = tasks.create_task(post(client, "k", id="s"))
        await gate.reached.wait()
        await client.post("/api/chat/s/stop")
        first = await running
        again = await post(client, "k", id="s")
    assert b'"abort"' in again.content
    assert (again.content, chat.runs) == (first.content, 1)


async def test_an_erased_answer_is_written_anew() -> None:
    chat = Chat(make_guard())
    async with calling(chat.app, chat.guard) as client:
        first = await post(client, "k", id="s")
        await client.delete("/api/chat/s")
        again = await post(client, "k", id="s")
    assert (again.status_code, chat.runs) == (200, 2)
    assert ids_of(again)[1] != ids_of(first)[1]


async def test_viewers_of_repeats_count_like_any() -> None:
    gate = Gate()
    chat = Chat(make_guard(max_viewers_per_owner=1), gate)
    async with calling(chat.app, chat.guard) as client, asyncio.TaskGroup() as tasks:
        running = tasks.create_task(post(client, "k", id="s"))
        await gate.reached.wait()
        second = await post(client, "k", id="s")
        gate.open()
        await running
        third = await post(client, "k", id="s")
    assert refusal(second) == (429, "limit_viewers")
    assert third.status_code == 200
