"""Returned streams whose protocol nobody names: recognised, resumed from another worker, saved, charged, failing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from fastapi import FastAPI
from pydantic_ai.ui.vercel_ai import VercelAIAdapter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from streamguard import Run, Settings, Signal, StreamGuard, Usage
from streamguard.messages import MemoryMessageStore, MessageStore
from streamguard.quota import Quota
from streamguard.testing import Answer, GuardedApp

from ..serving import USER, user_of
from .returned_kinds import GATES, KINDS, QUESTION, SECRET, Kind, Script, agent_of, block, with_header

pytestmark = pytest.mark.anyio

LIMIT = Quota(limit=100_000, per="day", unit="input_tokens")
AS_JSON = {"content-type": "application/json"}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def worker_of(url: str, kind: Kind, messages: MessageStore, *, debug: bool = False) -> GuardedApp:
    guard = StreamGuard(url, authenticate=user_of, messages=messages, debug=debug)
    chat = guard.stream("request.query_params.id", quota=LIMIT, estimate={"input_tokens": 50})(kind.endpoint)
    if kind.response_class is None:
        app = Starlette(routes=[Route("/chat", chat, methods=["POST"])], lifespan=guard.lifespan)
    else:
        app = FastAPI(lifespan=guard.lifespan)
        app.post("/chat", response_class=kind.response_class)(chat)
    guard.install(app, "/api/chat")
    return GuardedApp(app, guard, headers=USER)


@asynccontextmanager
async def workers(url: str, kind: Kind, count: int = 2) -> AsyncIterator[list[GuardedApp]]:
    messages = MemoryMessageStore()
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(worker_of(url, kind, messages)) for _ in range(count)]


async def ask(app: GuardedApp, **query: str) -> Answer:
    path = "/chat?" + "&".join(f"{name}={value}" for name, value in {"id": "s", **query}.items())
    return await app.request("POST", path, body=json.dumps(QUESTION).encode(), headers=AS_JSON)


async def read_until(answer: Answer, text: str) -> None:
    """Read, whatever its form, until this text is there."""
    while text.encode() not in answer.body:
        data = await asyncio.wait_for(answer._exchange.chunk(), 10)
        assert data, answer.body
        answer.body += data


async def used_of(app: GuardedApp) -> int:
    status = await app.request("GET", "/api/chat/s")
    (limit,) = json.loads(await status.whole())["quota"]["limits"]
    return int(limit["used"])


def text_of(parts: Iterable[Mapping[str, object]]) -> str:
    return "".join(str(part["text"]) for part in parts if part["type"] == "text")


@every_kind
async def test_it_is_recognised_and_whole(kind: Kind) -> None:
    async with workers("memory://", kind, 1) as (app,):
        answer = await ask(app)
        body = await answer.whole()
        assert answer.status == 200
        await app.idle()
        again = await (await app.request("GET", "/api/chat/s/stream?ids=0")).whole()
        saved = await app.messages("s")
        used = await used_of(app)
        (opened,) = [seen for seen in app.observations if seen.name == "streamguard.stream_opened"]
    if kind.body is not None:
        assert body == again == kind.body
    assert opened.fields["protocol"] == ("opaque" if kind.endpoint.__name__.startswith("yielded") else "auto")
    assert [message.role for message in saved] == ["assistant"]
    assert text_of(saved[0].parts) == kind.text, "raw SSE text never becomes text of an answer"
    tells = kind.endpoint.__name__ in ("dispatched", "with_header", "without_header", "sse_starlettes", "plain")
    assert used == (3 if tells else 50)


@pytest.mark.promise("I3")
@every_kind
async def test_it_is_resumed_from_another_worker(kind: Kind, redis_url: str) -> None:
    """From its first piece on, and after its client left; then it is saved and charged as if nothing had happened."""
    GATES["s"] = asyncio.Event()
    async with workers(redis_url, kind) as (one, two):
        answer = await ask(one, wait="1")
        await read_until(answer, kind.first)
        elsewhere = await two.request("GET", "/api/chat/s/stream?ids=0")
        await read_until(elsewhere, kind.first)
        answer.drop()
        GATES["s"].set()
        body = await elsewhere.whole()
        await one.idle()
        (saved,) = await two.messages("s")
    if kind.body is not None:
        assert body == kind.body
    assert elsewhere.headers["content-type"].partition(";")[0] == answer.headers["content-type"].partition(";")[0]
    assert text_of(saved.parts) == kind.text
    assert elsewhere.message_id == answer.message_id == saved.id


@every_kind
async def test_one_that_breaks_off_has_failed(kind: Kind) -> None:
    """Its partial text is saved and flagged; its client is told in its own protocol, and never the provider's words."""
    async with workers("memory://", kind, 1) as (app,):
        answer = await ask(app, fail="1")
        body = await answer.whole()
        await app.idle()
        (saved,) = await app.messages("s")
        status = await app.status("s")
    assert answer.status == 200
    assert status.last is not None
    assert status.last.outcome == "failed"
    assert saved.status == "partial"
    assert text_of(saved.parts) == ("It is " if kind.text else "")
    assert SECRET.encode() not in body
    if kind.protocol.startswith("ui-message"):
        parts = [json.loads(line[6:]) for line in body.decode().splitlines() if line.startswith("data: {")]
        assert [part["type"] for part in parts[-2:]] == ["data-streamguard-error", "error"]
        assert sorted(parts[-1]) == ["errorText", "type"]
        code = "provider_rate_limited" if kind.endpoint.__name__ in ("dispatched", "adapted") else "provider_aborted"
        assert parts[-2]["data"]["code"] == code
    else:
        assert b'"streamguard_error"' in body
        assert body.startswith((kind.body or b"")[:20])


async def test_in_debug_mode_the_developer_is_told_what_failed() -> None:
    kind = KINDS["pydantic-ai, dispatch_request"]
    async with worker_of("memory://", kind, MemoryMessageStore(), debug=True) as app:
        body = await (await ask(app, fail="1")).whole()
    assert SECRET.encode() in body


# -- message ids ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("chosen", [True, False])
async def test_an_upstreams_message_id_is_the_messages(header: bool, chosen: bool) -> None:
    """Unless the endpoint names another; a stream that is passed on unchanged keeps its own in any case."""
    kind = KINDS["a UI message stream" if header else "a UI message stream without its header"]
    guard = StreamGuard(authenticate=user_of, messages=MemoryMessageStore())
    option = "request.query_params.message" if chosen else None
    chat = guard.stream("request.query_params.id", message_id=option)(kind.endpoint)
    app = Starlette(routes=[Route("/chat", chat, methods=["POST"])], lifespan=guard.lifespan)
    guard.install(app, "/api/chat")
    async with GuardedApp(app, guard, headers=USER) as chatting:
        answer = await ask(chatting, message="ours")
        await answer.rest()
        await chatting.idle()
        (saved,) = await chatting.messages("s")
    expected = "ours" if chosen and header else "theirs"
    assert (answer.parts[0]["messageId"], answer.message_id, saved.id) == (expected, expected, expected)


# -- what else may be returned ----------------------------------------------------------------------------------------


async def of_texts(request: Request) -> object:
    return iter(["one ", "two"])


async def of_parts(request: Request) -> object:
    async def parts() -> AsyncIterator[object]:
        yield Usage({"input_tokens": 7})
        yield {"type": "text-delta", "id": "t", "delta": "one two"}

    return parts()


async def of_events(request: Request) -> object:
    return [{"data": "one two", "event": "token"}]


async def of_bytes(request: Request) -> object:
    return iter([b"data: one", b" two\n\n"])


@pytest.mark.parametrize(
    ("endpoint", "protocol"),
    [(of_texts, "ui-message"), (of_parts, "ui-message"), (of_events, "opaque"), (of_bytes, "opaque")],
)
async def test_an_iterator_is_recognised_by_its_first_item(endpoint: object, protocol: str) -> None:
    kind = Kind(endpoint, protocol, "", "")  # type: ignore[arg-type] # a function
    async with workers("memory://", kind, 1) as (app,):
        answer = await ask(app)
        await answer.rest()
        await app.idle()
        (saved,) = await app.messages("s")
    assert "one two" in (answer.text or str(answer.events))
    assert [part["type"] for part in saved.parts] == ["text" if protocol == "ui-message" else "data-streamguard-sse"]


@pytest.mark.parametrize(
    ("headers", "body", "sent"),
    [
        ({"x-vercel-ai-ui-message-stream": "v1"}, "", ["start", "finish"]),
        ({}, "", []),
        ({}, ": nothing\n\n", []),
        ({}, "data: half", []),
    ],
)
async def test_a_stream_that_says_nothing_completes(headers: dict[str, str], body: str, sent: list[str]) -> None:
    async def endpoint(request: Request, run: Run) -> Response:
        return StreamingResponse(iter([body]), media_type="text/event-stream", headers=headers)

    async with workers("memory://", Kind(endpoint, "", "", ""), 1) as (app,):
        answer = await ask(app)
        await answer.rest()
        status = await app.status("s")
    assert answer.status == 200
    assert [part["type"] for part in answer.parts if part["type"] != "data-streamguard-persisted"] == sent
    assert status.last is not None
    assert status.last.outcome == "completed"
    assert body.encode() in answer.body


@pytest.mark.parametrize("version", ["5.0.0", "7.0.173"])
async def test_a_recognised_ui_message_stream_is_for_its_clients_version(version: str) -> None:
    async def endpoint(request: Request) -> Response:
        body = block({"type": "text-start", "id": "t"}) + block({"type": "custom", "kind": "a.b"})
        return StreamingResponse(
            iter([body]), media_type="text/event-stream", headers={"x-vercel-ai-ui-message-stream": "v1"}
        )

    async with workers("memory://", Kind(endpoint, "", "", ""), 1) as (app,):
        path, headers = "/chat?id=s", {**AS_JSON, "X-AI-SDK-Version": version}
        answer = await app.request("POST", path, body=json.dumps(QUESTION).encode(), headers=headers)
        await answer.rest()
    assert ("custom" in [part["type"] for part in answer.parts]) is (version == "7.0.173")


async def test_a_client_may_wait_for_headers_of_a_stream_that_is_late(redis_url: str) -> None:
    """Its headers go out before its first event; what decides it is told with that."""
    GATES["s"] = asyncio.Event()

    async def endpoint(request: Request) -> Response:
        async def parts() -> AsyncIterator[str]:
            await GATES["s"].wait()
            yield block({"type": "start", "messageId": "theirs"})

        return StreamingResponse(
            parts(), media_type="text/event-stream", headers={"x-vercel-ai-ui-message-stream": "v1"}
        )

    guard = StreamGuard(redis_url, authenticate=user_of, settings=Settings(headers_after_seconds=0.05))
    chat = guard.stream("request.query_params.id")(endpoint)
    app = Starlette(routes=[Route("/chat", chat, methods=["POST"])], lifespan=guard.lifespan)
    guard.install(app, "/api/chat")
    async with GuardedApp(app, guard, headers=USER) as chatting:
        answer = await ask(chatting)
        assert (answer.status, answer.message_id) == (200, None)
        assert "x-vercel-ai-ui-message-stream" in answer.headers
        GATES["s"].set()
        await answer.rest()
    assert answer.parts[0] == {"type": "start", "messageId": "theirs"}
    assert answer.cursor is not None


# -- failures that an endpoint yields ---------------------------------------------------------------------------------


async def yields_error(request: Request) -> AsyncIterator[object]:
    yield "half"
    yield {"type": "error", "errorText": "Our own words."}


async def yields_error_first(request: Request) -> AsyncIterator[object]:
    yield {"type": "error", "errorText": "Our own words."}


async def yields_pydantic_ais_parts(request: Request) -> AsyncIterator[object]:
    adapter = await VercelAIAdapter.from_request(request, agent=agent_of(Script.of(request)))
    async for part in adapter.run_stream():
        yield part


@pytest.mark.parametrize(
    ("endpoint", "said", "told"),
    [
        (yields_error, "half", "Our own words."),
        (yields_error_first, "", "Our own words."),
        (yields_pydantic_ais_parts, "It is ", None),
    ],
)
async def test_an_error_part_that_an_endpoint_yields_fails_its_stream(
    endpoint: Callable[..., object], said: str, told: str | None
) -> None:
    """Its text is for the client; not so that of a library, which made it of an exception's."""
    async with workers("memory://", Kind(endpoint, "ui-message", "", ""), 1) as (app,):
        answer = await ask(app, fail="1")
        await answer.rest()
        await app.idle()
        saved = await app.messages("s")
        status = await app.status("s")
    assert status.last is not None
    assert status.last.outcome == "failed"
    assert answer.text == said
    assert [part["type"] for part in answer.parts[-2:]] == ["data-streamguard-error", "error"]
    assert told is None or answer.parts[-1]["errorText"] == told
    assert SECRET not in str(answer.events)
    assert [(message.status, text_of(message.parts)) for message in saved] == ([("partial", said)] if said else [])


async def test_a_message_id_that_may_change_is_in_no_header(redis_url: str) -> None:
    """Neither of the answer nor of a resume, before the first event."""
    kind = KINDS["a UI message stream"]
    GATES["s"] = asyncio.Event()
    decided = asyncio.Event()

    async def endpoint(request: Request) -> Response:
        async def parts() -> AsyncIterator[str | bytes | memoryview]:
            await decided.wait()
            async for chunk in (await with_header(request)).body_iterator:
                yield chunk

        return StreamingResponse(parts(), headers={"x-vercel-ai-ui-message-stream": "v1"})

    async with workers(redis_url, kind._replace(endpoint=endpoint)) as (one, two):
        asking = asyncio.create_task(ask(one, wait="1"))
        await one.seen(Signal.STREAM_OPENED)
        resumed = await two.request("GET", "/api/chat/s/stream")
        assert (resumed.status, resumed.message_id) == (200, None)
        decided.set()
        answer = await asking
        later = await two.request("GET", "/api/chat/s/stream")
        assert answer.message_id == later.message_id == "theirs"
        GATES["s"].set()
        for one_answer in (resumed, answer, later):
            await one_answer.rest()
            assert one_answer.parts[0]["messageId"] == "theirs"
