"""Responses whose body is framed already: a UI message stream is read part by part, and raw SSE never becomes text."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, FunctionModel
from pydantic_ai.ui.vercel_ai import VercelAIAdapter
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from streamguard import Run, StreamGuard
from streamguard.messages import MemoryMessageStore
from streamguard.testing import GuardedApp

from ..serving import USER, user_of

pytestmark = pytest.mark.anyio

SSE = "text/event-stream"
UI_HEADERS = {"x-vercel-ai-ui-message-stream": "v1"}
QUESTION = {
    "id": "s",
    "trigger": "submit-message",
    "messages": [{"id": "m1", "role": "user", "parts": [{"type": "text", "text": "weather?"}]}],
}
AS_JSON = {"content-type": "application/json"}


def chat_of(endpoint: Callable[..., object], *, protocol: str | None = None) -> GuardedApp:
    guard = StreamGuard(authenticate=user_of, messages=MemoryMessageStore())
    chat = guard.stream("request.query_params.id", protocol=protocol)(endpoint)
    app = Starlette(routes=[Route("/chat", chat, methods=["POST"])], lifespan=guard.lifespan)
    guard.install(app, "/api/chat")
    return GuardedApp(app, guard, headers=USER)


def frames(*parts: object) -> str:
    return "".join(f"data: {part if isinstance(part, str) else json.dumps(part)}\n\n" for part in parts)


# -- a UI message stream ----------------------------------------------------------------------------------------------


async def weather(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str | dict[int, DeltaToolCall]]:
    if any(part.part_kind == "tool-return" for message in messages for part in message.parts):
        yield "It is "
        yield "sunny."
    else:
        yield {0: DeltaToolCall(name="lookup", json_args='{"city": "Paris"}', tool_call_id="c1")}


agent = Agent(FunctionModel(stream_function=weather))


@agent.tool_plain
def lookup(city: str) -> str:
    return f"sun in {city}"


async def dispatched(request: Request) -> Response:
    return await VercelAIAdapter.dispatch_request(request, agent=agent)


async def adapted(request: Request) -> StreamingResponse:
    adapter = await VercelAIAdapter.from_request(request, agent=agent)
    return adapter.streaming_response(adapter.run_stream())


@pytest.mark.parametrize("endpoint", [dispatched, adapted])
async def test_pydantic_ais_response_is_a_message(endpoint: Callable[..., object]) -> None:
    async with chat_of(endpoint, protocol="ui-message") as chat:
        answer = await chat.request("POST", "/chat?id=s", body=json.dumps(QUESTION).encode(), headers=AS_JSON)
        await answer.rest()
        assert answer.status == 200
        ended = await chat.ended(answer)
        (saved,) = await chat.messages("s")
    kinds = [part["type"] for part in answer.parts]
    assert kinds[0] == "start"
    assert kinds[-1] == "finish"
    assert kinds.count("start") == 1
    assert answer.parts[0]["messageId"] == answer.message_id
    assert (answer.text, ended.fields["outcome"]) == ("It is sunny.", "completed")
    assert [part["type"] for part in saved.parts if part["type"] != "step-start"] == ["tool-lookup", "text"]
    assert saved.parts[-1]["text"] == "It is sunny."


async def cut_anywhere() -> AsyncIterator[bytes]:
    body = frames(
        {"type": "start", "messageId": "theirs"},
        {"type": "text-start", "id": "a"},
        {"type": "text-delta", "id": "a", "delta": "snow ☃ man"},
        {"type": "text-end", "id": "a"},
        {"type": "finish"},
        "[DONE]",
    ).encode()
    for at in range(0, len(body), 7):
        yield body[at : at + 7]


async def as_events() -> AsyncIterator[object]:
    yield {"data": json.dumps({"type": "text-delta", "id": "a", "delta": "snow ☃ man"}), "id": "theirs"}
    yield ServerSentEvent("[DONE]")


def own_header(request: Request) -> Response:  # and no media type
    return StreamingResponse(cut_anywhere(), headers=UI_HEADERS)


async def sse_starlettes(request: Request) -> Response:
    return EventSourceResponse(as_events())


async def whole(request: Request) -> Response:
    return Response(frames({"type": "text-delta", "id": "a", "delta": "snow ☃ man"}), media_type=SSE)


@pytest.mark.parametrize("endpoint", [own_header, sse_starlettes, whole])
async def test_any_response_of_parts_is_a_message(endpoint: Callable[..., object]) -> None:
    async with chat_of(endpoint, protocol="ui-message") as chat:
        answer = await chat.request("POST", "/chat?id=s")
        await answer.rest()
        await chat.ended(answer)
        (saved,) = await chat.messages("s")
        resumed = await chat.resume("s")
        await resumed.rest()
    assert answer.text == resumed.text == "snow ☃ man"
    assert answer.parts[-1] == {"type": "finish"}
    assert answer.cursor is not None
    assert [(part["type"], part["text"]) for part in saved.parts] == [("text", "snow ☃ man")]


async def breaking() -> AsyncIterator[str]:
    yield frames({"type": "text-delta", "id": "a", "delta": "half"})
    raise ValueError("secret")


async def breaks(request: Request) -> Response:
    return StreamingResponse(breaking(), media_type=SSE)


SAYING = frames(
    {"type": "start"}, {"type": "text-start", "id": "a"}, {"type": "text-delta", "id": "a", "delta": "half an"}
)
CALLING = frames({"type": "start"}, {"type": "tool-input-start", "toolCallId": "c", "toolName": "t"})
SAID = SAYING + frames({"type": "text-end", "id": "a"})


@pytest.mark.parametrize("headers", [UI_HEADERS, {}], ids=["read", "passed on"])
@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (SAYING, "failed"),
        (CALLING, "failed"),
        (SAID + 'data: {"type":"text-st', "failed"),
        (SAID, "completed"),
        (SAYING + frames({"type": "finish"}), "completed"),
        (SAYING + frames("[DONE]"), "completed"),
        (SAYING + "data: [DONE]", "completed"),
        (SAID + ": half a comment", "completed"),
    ],
)
async def test_one_that_ends_in_the_middle_broke_off(body: str, outcome: str, headers: dict[str, str]) -> None:
    """A page would take half an answer for a whole one."""

    async def endpoint(request: Request) -> Response:
        return StreamingResponse(iter([body]), headers=headers, media_type=SSE)

    async with chat_of(endpoint) as chat:
        answer = await chat.request("POST", "/chat?id=s")
        await answer.rest()
        ended = await chat.ended(answer)
    assert ended.fields["outcome"] == outcome
    if outcome == "failed":
        assert answer.parts[-1] == {"type": "error", "errorText": "The model broke off its answer."}
    else:
        assert all(part["type"] != "error" for part in answer.parts)


async def test_a_failure_of_such_a_response_is_a_part() -> None:
    async with chat_of(breaks, protocol="ui-message") as chat:
        answer = await chat.request("POST", "/chat?id=s")
        await answer.rest()
        ended = await chat.ended(answer)
        (saved,) = await chat.messages("s")
    kinds = [part["type"] for part in answer.parts]
    assert kinds[-2:] == ["data-streamguard-error", "error"]
    assert (ended.fields["outcome"], saved.parts[-1]["text"]) == ("failed", "half")


async def test_one_may_be_passed_on_unread_on_purpose() -> None:
    async with chat_of(own_header, protocol="opaque") as chat:
        answer = await chat.request("POST", "/chat?id=s")
        body = await answer.whole()
    assert body == b"".join([chunk async for chunk in cut_anywhere()])


async def openai(request: Request) -> Response:
    return StreamingResponse(iter([frames({"choices": []})]), media_type=SSE)


async def text(request: Request) -> Response:
    return StreamingResponse(iter([frames("hello")]), media_type=SSE)


async def named(request: Request) -> Response:
    return StreamingResponse(iter(["event: delta\ndata: x\n\n"]), media_type=SSE)


@pytest.mark.parametrize(
    ("endpoint", "protocol"),
    [(openai, "ui-message"), (text, "ui-message"), (named, "plain")],
)
async def test_events_of_another_protocol_are_refused_with_the_remedy(
    endpoint: Callable[..., object], protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with chat_of(endpoint, protocol=protocol) as chat:
        answer = await chat.request("POST", "/chat?id=s")
    assert answer.status == 500
    assert f"leave out protocol='{protocol}'" in caplog.text


async def test_a_plain_endpoints_response_of_events_is_their_text() -> None:
    async def endpoint(request: Request) -> Response:
        return EventSourceResponse(iter([{"data": "one "}, {"data": "two\nlines"}, {"data": "[DONE]"}]))

    async with chat_of(endpoint, protocol="plain") as chat:
        answer = await chat.request("POST", "/chat?id=s")
        await answer.rest()
        await chat.ended(answer)
        (saved,) = await chat.messages("s")
    assert answer.text == "one two\nlines"
    assert [part["text"] for part in saved.parts] == ["one two\nlines"]


@pytest.mark.parametrize("protocol", ["ui-message", "plain"])
@pytest.mark.parametrize(
    "pieces", [["0 ", "1 ", "2 "], [":", ") hello"], ["d", "ark"], ["", "\n", "text"], ["id"]], ids=repr
)
async def test_bare_text_that_calls_itself_events_is_text(pieces: list[str], protocol: str) -> None:
    async def endpoint(request: Request) -> Response:
        return StreamingResponse(iter(pieces), media_type="text/event-stream")

    async with chat_of(endpoint, protocol=protocol) as chat:
        answer = await chat.request("POST", "/chat?id=s")
        await answer.rest()
        end = await chat.ended(answer)
        (saved,) = await chat.messages("s")
    assert answer.text == "".join(pieces)
    assert end.fields["outcome"] == "completed"
    assert [part["text"] for part in saved.parts] == ["".join(pieces)]


@pytest.mark.parametrize(
    "pieces", [["da", "ta: x\n", "\n"], ["\ufeff", "data: x\n\n"], [":", " ping\n\ndata: x\n\n"]], ids=repr
)
async def test_events_are_known_however_their_body_is_cut(pieces: list[str]) -> None:
    async def endpoint(request: Request) -> Response:
        return StreamingResponse(iter(pieces), media_type="text/event-stream")

    async with chat_of(endpoint, protocol="plain") as chat:
        answer = await chat.request("POST", "/chat?id=s")
        await answer.rest()
        await chat.ended(answer)
    assert answer.text == "x"


# -- raw SSE as text --------------------------------------------------------------------------------------------------


async def yields_blocks(request: Request) -> AsyncIterator[str]:
    yield frames({"delta": "x"})


def yields_lines(request: Request) -> Iterator[str]:
    yield "event: token\n"
    yield "data: x\n"
    yield "\n"


async def encodes_by_itself(request: Request, run: Run) -> AsyncIterator[str]:
    adapter = await VercelAIAdapter.from_request(request, agent=agent)
    async for line in adapter.encode_stream(adapter.run_stream()):
        yield line


async def unlabelled(request: Request) -> Response:
    return StreamingResponse(iter([frames({"delta": "x"})]))


@pytest.mark.parametrize("endpoint", [yields_blocks, yields_lines, encodes_by_itself, unlabelled])
@pytest.mark.parametrize("protocol", ["ui-message", "plain"])
async def test_sse_that_an_endpoint_writes_by_hand_is_refused(
    endpoint: Callable[..., object], protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with chat_of(endpoint, protocol=protocol) as chat:
        answer = await chat.request("POST", "/chat?id=s", body=json.dumps(QUESTION).encode(), headers=AS_JSON)
        await answer.whole()
        ended = await chat.ended(answer)
    assert ended.fields["outcome"] == "failed"
    assert answer.status == 500
    assert answer.text == ""
    assert "name protocol='opaque' in @guard.stream" in caplog.text


async def explains_sse(request: Request) -> AsyncIterator[str]:
    yield "An event looks so:\n\n"
    yield "data: hello\n\n"
    yield "Its end is a blank line."


async def begins_like_one(request: Request) -> AsyncIterator[str]:
    for token in ("data", ":", " 5", "\n\n", "id: 6\n\n"):
        yield token


@pytest.mark.parametrize("endpoint", [explains_sse, begins_like_one])
@pytest.mark.parametrize("protocol", ["ui-message", "plain"])
async def test_a_model_may_speak_of_sse(endpoint: Callable[..., AsyncIterator[str]], protocol: str) -> None:
    async with chat_of(endpoint, protocol=protocol) as chat:
        answer = await chat.request("POST", "/chat?id=s")
        await answer.rest()
        ended = await chat.ended(answer)
    whole = "".join([piece async for piece in endpoint(Request({"type": "http"}))])
    assert (answer.text, ended.fields["outcome"]) == (whole, "completed")
