"""A request that is sent again and says how far its client is: its answer goes on there, and no endpoint runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import httpx
import pytest
from fastapi import FastAPI
from pydantic import BaseModel

from streamguard import StreamGuard
from streamguard.cursor import Cursor
from streamguard.errors import FaultError, StoreUnavailableError
from streamguard.faults import FaultCode
from streamguard.runtime import LiveStream
from streamguard.stores.memory import MemoryStore
from streamguard.values import MAX_SEQ
from streamguard.web.endpoint.retried_request import _found
from tests.harness.sse import EventReader, SseEvent
from tests.harness.waiting import wait_until_async
from tests.runtime.lines import Line
from tests.runtime.stage import saying, working

from ..claiming import THE_KEY
from ..serving import Gate, calling, make_guard

pytestmark = pytest.mark.anyio


class Body(BaseModel):
    id: str | None = None
    text: str = ""


class Chat:
    """`POST /chat` says "one " and, past the gate if there is one, "two"; `/join` joins, `/blocks` passes blocks on."""

    def __init__(self, guard: StreamGuard, gate: Gate | None = None) -> None:
        self.guard = guard
        self.runs = 0
        self.app = FastAPI(lifespan=guard.lifespan)

        async def said() -> AsyncIterator[str]:
            self.runs += 1
            yield "one "
            if gate is not None:
                await gate.wait()
            yield f"two {self.runs}"

        @self.app.post("/chat")
        @guard.stream("body.id")
        async def chat(body: Body) -> AsyncIterator[str]:
            async for text in said():
                yield text

        @self.app.post("/join")
        @guard.stream("body.id", on_conflict="join")
        async def joining(body: Body) -> AsyncIterator[str]:
            async for text in said():
                yield text

        @self.app.get("/ask")
        @guard.stream("chat", on_conflict="join")
        async def asked(chat: str, q: str) -> AsyncIterator[str]:
            async for text in said():
                yield f"{q}: {text}"

        @self.app.get("/chat")
        @guard.stream()
        async def got() -> AsyncIterator[str]:
            async for text in said():
                yield text

        @self.app.post("/blocks")
        @guard.stream("body.id", protocol="opaque")
        async def blocks(body: Body) -> AsyncIterator[bytes]:
            self.runs += 1
            for number in range(3):
                yield b"data: %d\n\n" % number

        guard.install(self.app, "/api/chat")

    @property
    def places(self) -> int:
        """Viewers' places that are taken."""
        return self.guard._context.limits.viewers.count


async def post(
    client: httpx.AsyncClient, *, cursor: str | None = None, key: str | None = "k", path: str = "/chat", **body: object
) -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    if cursor is not None:
        headers["Last-Event-ID"] = cursor
    return await client.post(path, json={"id": "s", **body}, headers=headers)


def events_of(answer: httpx.Response) -> Sequence[SseEvent]:
    return EventReader().feed(answer.content)


def cursor_of(answer: httpx.Response, at: int) -> str:
    """The id of its block number `at`."""
    found = events_of(answer)[at].id
    assert found is not None
    return found


def refusal(answer: httpx.Response) -> tuple[int, str, str | None]:
    error = answer.json()["error"]
    return answer.status_code, error["code"], error.get("reason")


@pytest.mark.parametrize("session", ["s", None])
@pytest.mark.parametrize("path", ["/chat", "/join"])
async def test_an_answer_goes_on_after_the_cursor(path: str, session: str | None) -> None:
    """Also where each request would begin a session of its own."""
    chat = Chat(make_guard(replay_after_finish_seconds=0))
    async with calling(chat.app, chat.guard) as client:
        whole = await post(client, path=path, id=session)
        for at in range(len(events_of(whole)) - 1):
            rest = await post(client, path=path, id=session, cursor=cursor_of(whole, at))
            assert rest.status_code == 200
            assert events_of(rest) == events_of(whole)[at + 1 :]
            for name in ("x-session-id", "x-stream-id", "x-message-id", "content-type"):
                assert rest.headers[name] == whole.headers[name]
        assert (chat.runs, chat.places) == (1, 0)


async def test_an_answer_that_is_being_written_goes_on_too() -> None:
    gate = Gate()
    chat = Chat(make_guard(), gate)
    async with calling(chat.app, chat.guard) as client, asyncio.TaskGroup() as tasks:
        first = tasks.create_task(post(client))
        await gate.reached.wait()
        active = (await client.get("/api/chat/s")).json()["active"]
        rest = tasks.create_task(post(client, cursor=active["cursor"]))
        await wait_until_async(lambda: chat.places == 2, description="it watches too")
        gate.open()
        whole, later = events_of(await first), events_of(await rest)
    assert 0 < len(later) < len(whole)
    assert whole[-len(later) :] == later
    assert chat.runs == 1


@pytest.mark.parametrize("key", ["k", None])
async def test_joined_after_the_cursor(key: str | None) -> None:
    """Without a key an equal request is known by its fingerprint, while the answer is written and after."""
    gate = Gate()
    chat = Chat(make_guard(), gate)
    async with calling(chat.app, chat.guard) as client, asyncio.TaskGroup() as tasks:
        first = tasks.create_task(post(client, path="/join", key=key))
        await gate.reached.wait()
        active = (await client.get("/api/chat/s")).json()["active"]
        rest = tasks.create_task(post(client, path="/join", key=key, cursor=active["cursor"]))
        await wait_until_async(lambda: chat.places == 2, description="it watches too")
        other = await post(client, path="/join", key=key, cursor=active["cursor"], text="another question")
        gate.open()
        whole, later = await first, events_of(await rest)
        after = await post(client, path="/join", key=key, cursor=cursor_of(whole, 1))
    assert events_of(whole)[-len(later) :] == later
    assert events_of(after) == events_of(whole)[2:]
    assert refusal(other)[:2] == ((410, "resume_failed") if key is None else (409, "idempotency_conflict"))
    assert chat.runs == 1


async def test_another_question_in_the_query_is_another_request() -> None:
    """As `EventSource` asks, which sends no body: it may not get the answer to another question."""
    gate = Gate()
    chat = Chat(make_guard(), gate)
    async with calling(chat.app, chat.guard) as client, asyncio.TaskGroup() as tasks:
        first = tasks.create_task(client.get("/ask?chat=s&q=one"))
        await gate.reached.wait()
        joined = tasks.create_task(client.get("/ask?chat=s&q=one&ids=1"))
        await wait_until_async(lambda: chat.places == 2, description="it watches too")
        other = await client.get("/ask?chat=s&q=two")
        gate.open()
        whole = await first
        rest = await client.get("/ask?chat=s&q=one", headers={"Last-Event-ID": cursor_of(whole, 1)})
        of_other = await client.get("/ask?chat=s&q=two", headers={"Last-Event-ID": cursor_of(whole, 1)})
    assert events_of(await joined) == events_of(whole)
    assert refusal(other)[:2] == (409, "conflict_active")
    assert events_of(rest) == events_of(whole)[2:]
    assert refusal(of_other)[:2] == (410, "resume_failed")
    assert chat.runs == 1


@pytest.mark.parametrize(
    ("query", "same", "other_query"),
    [
        ("model=small", "model=small", "model=large"),
        # Only what the guard itself reads does not count: `ids=1`, not the documents that a question is about.
        ("ids=12", "ids=12&ids=1", "ids=13"),
    ],
)
async def test_another_query_with_the_same_key_is_a_conflict(query: str, same: str, other_query: str) -> None:
    chat = Chat(make_guard())
    async with calling(chat.app, chat.guard) as client:
        first = await post(client, path=f"/chat?{query}")
        again = await post(client, path=f"/chat?{same}")
        other = await post(client, path=f"/chat?{other_query}")
    assert events_of(again) == events_of(first)
    assert refusal(other)[:2] == (409, "idempotency_conflict")


async def test_a_cursor_in_the_query_does_as_well() -> None:
    """As on the resume route; the header wins."""
    chat = Chat(make_guard())
    async with calling(chat.app, chat.guard) as client:
        whole = await post(client)
        early, late = cursor_of(whole, 0), cursor_of(whole, 2)
        rest = await post(client, path=f"/chat?cursor={late}")
        both = await post(client, path=f"/chat?cursor={early}", cursor=late)
    assert events_of(rest) == events_of(both) == events_of(whole)[3:]


async def test_passed_on_blocks_have_ids_for_whoever_has_one() -> None:
    chat = Chat(make_guard())
    async with calling(chat.app, chat.guard) as client:
        first = await post(client, path="/blocks?ids=1")
        rest = await post(client, path="/blocks", cursor=cursor_of(first, 0))
    assert events_of(rest) == events_of(first)[1:]


async def test_a_client_that_has_everything_gets_204() -> None:
    chat = Chat(make_guard())
    async with calling(chat.app, chat.guard) as client:
        whole = await post(client)
        rest = await post(client, cursor=cursor_of(whole, -1))
    assert (rest.status_code, rest.content, rest.headers["x-resume-reason"]) == (204, b"", "finished")
    assert rest.headers["x-stream-id"] == whole.headers["x-stream-id"]
    assert (chat.runs, chat.places) == (1, 0)


async def test_wrong_cursors_get_what_the_resume_table_says() -> None:
    chat = Chat(make_guard())
    async with calling(chat.app, chat.guard) as client:
        whole = await post(client)
        other = await post(client, key="another", text="b")
        known = Cursor.parse(cursor_of(whole, 0))
        malformed = await post(client, cursor="7")
        ahead = await post(client, cursor=str(Cursor(known.stream_id, known.epoch, MAX_SEQ - 1)))
        of_nobody = await post(client, cursor=str(Cursor("0" * 24, known.epoch, 1)))
        of_another = await post(client, cursor=cursor_of(other, 0))
        other_epoch = await post(client, cursor=str(Cursor(known.stream_id, known.epoch + 1, known.seq)))
        other_content = await post(client, cursor=str(known), text="changed")
        client.headers["X-User"] = "eve"
        foreign = await post(client, cursor=str(known))
    assert refusal(malformed) == (400, "cursor_invalid", None)
    assert refusal(ahead) == refusal(other_epoch) == (410, "resume_failed", "cursor_ahead")
    assert refusal(of_nobody) == refusal(of_another) == refusal(foreign) == (410, "resume_failed", "stream_gone")
    assert refusal(other_content) == (409, "idempotency_conflict", None)
    assert (chat.runs, chat.places) == (2, 0)


async def test_a_cursor_with_nothing_to_repeat_runs_no_endpoint() -> None:
    """Its client has shown a part of an answer, and would put another one behind it. The key stays free."""
    chat = Chat(make_guard(registration_seconds=60))
    async with calling(chat.app, chat.guard) as client:
        cursor = cursor_of(await post(client, key=None), 0)
        for path in ("/chat", "/join"):
            first = await post(client, cursor=cursor, path=path, text="new")
            assert refusal(first) == (410, "resume_failed", "stream_gone")
        assert chat.runs == 1
        async with asyncio.timeout(20):  # under `registration_seconds`: nothing is waited for
            assert (await post(client, text="new")).status_code == 200
    assert (chat.runs, chat.places) == (2, 0)


async def test_where_nothing_is_repeated_a_cursor_means_nothing() -> None:
    chat = Chat(make_guard())
    async with calling(chat.app, chat.guard) as client:
        assert (await post(client, key=None, cursor="7")).status_code == 200
        headers = {"Last-Event-ID": "7", "Idempotency-Key": "k"}
        assert (await client.get("/chat", headers=headers)).status_code == 200
    assert chat.runs == 2


@pytest.mark.parametrize("operation", ["claim_request", "check_position"])
async def test_without_the_store_a_cursor_is_refused(operation: str) -> None:
    """Not run beside what it repeats, whatever the endpoint says of a store that is away."""
    line = Line(MemoryStore())
    async with working(line) as worker:
        request = worker.request(on_store_failure="continue")
        opened = await worker.runtime.idempotent_opening.open(request, THE_KEY)
        assert isinstance(opened, LiveStream)
        worker.runtime.launch(opened, saying("a"))
        await worker.watch(opened)
        await worker.idle()
        line.errors[operation] = [StoreUnavailableError("away", operation=operation)] * 100
        with pytest.raises(FaultError) as caught:
            await _found(worker.runtime, request, THE_KEY, Cursor(opened.ref.stream_id, opened.epoch, 1))
        assert (caught.value.fault.code, caught.value.fault.status) == (FaultCode.STORE_UNAVAILABLE, 503)
