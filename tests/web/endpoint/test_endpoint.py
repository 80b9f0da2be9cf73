from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from streamguard import ConfigurationError, FaultCode, Run, StreamGuard
from streamguard.wire import OpaqueProtocol
from tests.harness.sse import EventReader, ui_text

from ..serving import USER, Gate, calling, make_guard
from .chat import BLOCKS, app_of, blocks

pytestmark = pytest.mark.anyio


def text_of(content: bytes) -> str:
    return ui_text(EventReader().feed(content))


# -- what an endpoint may be ------------------------------------------------------------------------------------------


async def test_a_streaming_response_is_passed_on_byte_for_byte_with_its_head() -> None:
    guard, after = make_guard(), list[str]()

    @guard.stream(session="request.query_params.id")
    async def chat(request: Request) -> StreamingResponse:
        headers = {"X-Upstream": "1", "Cache-Control": "public"}
        task = BackgroundTask(after.append, "ran")
        return StreamingResponse(
            blocks(), status_code=202, headers=headers, media_type="text/event-stream", background=task
        )

    async with calling(app_of(guard, chat), guard) as client:
        answer = await client.post("/chat?id=s")
        with_ids = await client.get("/api/chat/s/stream?ids=1")
        without = await client.get("/api/chat/s/stream")
    assert answer.status_code == 202
    assert answer.content == without.content == b"".join(BLOCKS)
    assert answer.headers["x-upstream"] == "1"
    assert answer.headers["cache-control"] == "no-cache, no-transform"
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers.get_list("content-type") == [answer.headers["content-type"]]
    assert after == ["ran"]
    ids = [event.id for event in EventReader().feed(with_ids.content)]
    assert [str(cursor).rsplit(".", 1)[1] for cursor in ids] == ["1", "2", "3"]


async def test_a_sync_function_may_return_one_too() -> None:
    guard = make_guard()

    @guard.stream()
    def chat(request: Request) -> StreamingResponse:
        return StreamingResponse(iter(BLOCKS), media_type="text/event-stream")

    async with calling(app_of(guard, chat), guard) as client:
        answer = await client.post("/chat?ids=1")
    assert b"data: two" in answer.content
    assert answer.content.startswith(b"id: 1.")


@pytest.mark.parametrize("protocol", ["ui-message", "plain"])
async def test_with_a_protocol_named_its_chunks_are_text(protocol: str) -> None:
    guard = make_guard()

    async def halves() -> AsyncIterator[bytes | str]:
        snowman = "☃".encode()
        yield snowman[:1]
        yield snowman[1:]
        yield "!"

    @guard.stream(protocol=protocol)
    async def chat(request: Request) -> StreamingResponse:
        return StreamingResponse(halves(), media_type="text/plain")

    async with calling(app_of(guard, chat), guard) as client:
        answer = await client.post("/chat")
    events = EventReader().feed(answer.content)
    text = ui_text(events) if protocol == "ui-message" else "".join(e.data for e in events if e.event == "message")
    assert text == "☃!"
    assert answer.headers["content-type"].startswith("text/event-stream")


async def returns_async(request: Request) -> AsyncIterator[str]:
    async def items() -> AsyncIterator[str]:
        yield "async "
        yield "iterator"

    return items()


async def returns_sync(request: Request, run: Run) -> Iterator[str]:
    def items() -> Iterator[str]:
        yield "sync "
        run.usage(tokens=1)
        yield "iterator"

    return items()


def returns_list(request: Request) -> list[str]:
    return ["a ", "list"]


@pytest.mark.parametrize(
    ("endpoint", "text"),
    [(returns_async, "async iterator"), (returns_sync, "sync iterator"), (returns_list, "a list")],
)
async def test_iterators_are_ui_messages_if_annotated(endpoint: Callable[..., object], text: str) -> None:
    guard = make_guard()
    async with calling(app_of(guard, guard.stream()(endpoint)), guard) as client:
        answer = await client.post("/chat")
    assert (answer.status_code, text_of(answer.content)) == (200, text)


async def wrong_type(request: Request) -> StreamingResponse:
    return StreamingResponse(blocks(), media_type="text/csv")


async def wrong_annotation(request: Request) -> AsyncIterator[str]:
    return StreamingResponse(blocks(), media_type="text/event-stream")  # type: ignore[return-value]


async def a_string(request: Request) -> object:
    return "text"


@pytest.mark.parametrize(
    ("endpoint", "fix"),
    [
        (wrong_type, "text/event-stream"),
        (wrong_annotation, "StreamingResponse"),
        (a_string, "returned str"),
    ],
)
async def test_misuse_is_told_to_the_developer_and_leaves_no_stream(endpoint: Callable[..., object], fix: str) -> None:
    guard = make_guard()
    app = app_of(guard, guard.stream("request.query_params.id")(endpoint))
    async with calling(app, guard) as client:
        with pytest.raises(ConfigurationError, match=fix):
            await client.post("/chat?id=s")
        assert (await client.get("/api/chat/s")).json()["active"] is None


@pytest.mark.parametrize(
    "answer",
    [
        JSONResponse({"cached": 1}),
        PlainTextResponse("teapot", status_code=418),
        StreamingResponse(blocks(), status_code=503, media_type="text/event-stream"),
    ],
)
async def test_an_answer_of_its_own_passes_and_there_is_no_stream(answer: Response) -> None:
    guard = make_guard()

    @guard.stream("request.query_params.id")
    async def chat(request: Request) -> Response:
        return answer

    async with calling(app_of(guard, chat), guard) as client:
        passed = await client.post("/chat?id=s")
        resumed = await client.get("/api/chat/s/stream")
        again = await client.get("/api/chat/s")
    assert passed.status_code == answer.status_code
    assert passed.content
    assert "x-stream-id" not in passed.headers
    assert (resumed.status_code, resumed.headers["x-resume-reason"]) == (204, "none")
    assert again.json()["active"] is again.json()["last"] is None


# -- admission --------------------------------------------------------------------------------------------------------


@pytest.fixture
def guarded() -> tuple[StreamGuard, Starlette, Gate]:
    """An endpoint that waits at a gate after its first word; at most two streams' viewers per owner."""
    guard, gate = make_guard(max_viewers_per_owner=2, max_request_bytes=100), Gate()

    @guard.stream("request.query_params.id", on_conflict="join", message_id="request.query_params.message")
    async def chat(request: Request) -> AsyncIterator[str]:
        yield "one "
        await gate.wait()
        yield "two"

    return guard, app_of(guard, chat), gate


async def test_refusals_have_ids_and_name_what_is_wrong(guarded: tuple[StreamGuard, Starlette, Gate]) -> None:
    guard, app, _ = guarded
    async with calling(app, guard) as client:
        nobody = await client.post("/chat?id=s", headers={"X-User": ""})
        del client.headers["X-User"]
        unauthenticated = await client.post("/chat?id=s", headers={"X-Request-Id": "mine"})
        session = await client.post("/chat?id=..", headers=USER)
        message = await client.post("/chat?id=s&message=a%00b", headers=USER)
        large = await client.post("/chat?id=s", headers=USER, content=b"x" * 101)
        chunked = await client.post("/chat?id=s", headers=USER, content=in_pieces())
    assert nobody.status_code == 401
    assert (unauthenticated.status_code, unauthenticated.json()["error"]["code"]) == (401, "unauthenticated")
    assert unauthenticated.headers["x-request-id"] == unauthenticated.json()["error"]["request_id"] == "mine"
    assert (session.status_code, session.json()["error"]["code"]) == (400, "session_invalid")
    assert (message.status_code, message.json()["error"]["reason"]) == (400, "message_id")
    assert (large.status_code, large.json()["error"]["code"]) == (413, "payload_too_large")
    assert (chunked.status_code, chunked.json()["error"]["code"]) == (413, "payload_too_large")


async def test_a_foreign_page_may_not_ask_with_its_users_cookie(
    guarded: tuple[StreamGuard, Starlette, Gate], caplog: pytest.LogCaptureFixture
) -> None:
    guard, app, gate = guarded
    gate.open()
    evil = {"Origin": "https://evil.example"}
    async with calling(app, guard) as client:
        bearer = await client.post("/chat?id=a", headers=evil)  # nothing that a browser would add by itself
        client.headers["Cookie"] = "session=1"
        with caplog.at_level("WARNING", "streamguard"):
            refused = await client.post("/chat?id=b", headers=evil)
        told = [record.getMessage() for record in caplog.records]
        own = await client.post("/chat?id=c", headers={"Origin": "http://chat.example"})
        rewritten = await client.post("/chat?id=d", headers={**evil, "Sec-Fetch-Site": "same-origin"})
        read = await client.get("/chat?id=e", headers=evil)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden_origin")
    assert "https://evil.example" in refused.json()["error"]["message"]
    assert "cors_origins" in refused.json()["error"]["message"]
    assert [("origin=https://evil.example" in line, "reason=cors_origins" in line) for line in told] == [(True, True)]
    assert {answer.status_code for answer in (bearer, own, rewritten, read)} == {200}


async def in_pieces() -> AsyncIterator[bytes]:
    for _ in range(11):
        yield b"0123456789"


async def test_an_equal_request_joins_and_another_does_not(guarded: tuple[StreamGuard, Starlette, Gate]) -> None:
    guard, app, gate = guarded
    async with calling(app, guard) as client, asyncio.TaskGroup() as tasks:
        first = tasks.create_task(client.post("/chat?id=s&message=m1", content=b"same"))
        await gate.reached.wait()
        joined = tasks.create_task(client.post("/chat?id=s&message=m1", content=b"same"))
        other = await client.post("/chat?id=s", content=b"other", headers={"X-User": "ann"})
        gate.open()
    assert (other.status_code, other.json()["error"]["code"]) == (409, "conflict_active")
    assert text_of(first.result().content) == text_of(joined.result().content) == "one two"
    assert first.result().headers["x-message-id"] == joined.result().headers["x-message-id"] == "m1"
    assert first.result().headers["x-stream-id"] == joined.result().headers["x-stream-id"]


async def test_viewers_are_limited_per_owner(guarded: tuple[StreamGuard, Starlette, Gate]) -> None:
    guard, app, gate = guarded
    async with calling(app, guard) as client, asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(client.post("/chat?id=s", content=b"x")) for _ in range(2)]
        await gate.reached.wait()
        while guard._context.limits.viewers.count != 2:
            await asyncio.sleep(0)
        refused = await client.post("/chat?id=s", content=b"x")
        resumed = await client.get("/api/chat/s/stream")
        elsewhere = await client.get("/api/chat/s/stream", headers={"X-User": "eve"})
        gate.open()
    for answer in (refused, resumed):
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "limit_viewers")
        assert int(answer.headers["retry-after"]) > 0
    assert elsewhere.status_code == 204
    assert all(task.result().status_code == 200 for task in running)
    assert not guard._context.limits.viewers.count


async def test_a_full_process_refuses_sync_generators() -> None:
    guard, started = make_guard(max_sync_streams=1), asyncio.Event()
    loop = asyncio.get_running_loop()
    release = asyncio.Event()

    def slow(request: Request) -> Iterator[str]:
        yield "one"
        loop.call_soon_threadsafe(started.set)
        asyncio.run_coroutine_threadsafe(release.wait(), loop).result(10)

    async with calling(app_of(guard, guard.stream()(slow)), guard) as client, asyncio.TaskGroup() as tasks:
        running = tasks.create_task(client.post("/chat"))
        await started.wait()
        refused = await client.post("/chat")
        release.set()
    assert (refused.status_code, refused.json()["error"]["reason"]) == (503, "max_sync_streams")
    assert refused.headers["retry-after"]
    assert running.result().status_code == 200


async def test_a_sync_generators_notices_keep_their_place() -> None:
    guard = make_guard()

    @guard.stream()
    def chat(request: Request, run: Run) -> Iterator[str]:
        for word in ("a", "b"):
            yield word
            run.notice(FaultCode.QUOTA_PENDING, reason=word)

    async with calling(app_of(guard, chat), guard) as client:
        answer = await client.post("/chat")
    positions = [answer.text.index(mark) for mark in ('"delta":"a"', '"reason":"a"', '"delta":"b"', '"reason":"b"')]
    assert positions == sorted(positions)


# -- decorating -------------------------------------------------------------------------------------------------------


async def fine(request: Request) -> AsyncIterator[str]:
    yield ""


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"session": "body.id"}, "body"),
        ({"message_id": "nothing"}, "nothing"),
        ({"protocol": "morse"}, "morse"),
        ({"on_conflict": "shout"}, "on_conflict"),
        ({"on_store_failure": "cry"}, "on_store_failure"),
        ({"stall_seconds": 0}, "stall_seconds"),
        ({"first_item_seconds": float("inf")}, "first_item_seconds"),
        ({"max_stream_seconds": "1"}, "max_stream_seconds"),
        ({"abandon_after_seconds": 10**18}, "abandon_after_seconds"),
        ({"session": 5}, "session of .*fine is 'parameter.field', or a function"),
        ({"message_id": b"body.id"}, "message_id of .*fine"),
        ({"ids": "no"}, "ids is True, False or None, not 'no'"),
        ({"binding": ""}, "binding"),
        ({"binding": 5}, "binding"),
        ({"binding": "x" * 257}, "binding"),
        ({"charge_partial": "half"}, "charge_partial"),
        ({"on_quota_failure": "ignore"}, "on_quota_failure"),
    ],
)
def test_wrong_options_are_found_when_decorating(options: dict[str, object], named: str) -> None:
    guard = make_guard()
    with pytest.raises(ConfigurationError, match=named):
        guard.stream(**options)(fine)  # type: ignore[arg-type]


async def test_calling_it_without_a_request_says_so() -> None:
    guard = make_guard()

    @guard.stream()
    async def chat(word: str) -> AsyncIterator[str]:
        yield word

    with pytest.raises(ConfigurationError, match="without a request"):
        await chat(word="x")
    with pytest.raises(ConfigurationError, match="does not take"):
        await chat(1, 2, 3)
    assert OpaqueProtocol.name not in guard._endpoints.protocols
