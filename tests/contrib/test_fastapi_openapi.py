"""What FastAPI's OpenAPI document says of guarded endpoints and of the guard's routes."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
from fastapi import APIRouter, FastAPI
from starlette.responses import StreamingResponse

from streamguard import StreamGuard
from streamguard.contrib._openapi.answers import StreamguardError, StreamguardMessages, StreamguardSession
from streamguard.contrib._openapi.descriptions import ENDPOINT_FAULTS
from streamguard.contrib.fastapi import describe, install
from streamguard.faults import REGISTRY, Fault, FaultCode
from streamguard.messages import MemoryMessageStore

from ..web.serving import calling, make_guard, user_of
from .guarded_chat import Body, chat_of

pytestmark = pytest.mark.anyio

ERROR: Final = {"application/json": {"schema": {"$ref": "#/components/schemas/StreamguardError"}}}
CALLED: Final = {
    "/api/chat/health/live": {"get"},
    "/api/chat/health/ready": {"get"},
    "/api/chat/health/streaming": {"get"},
    "/api/chat/{session}": {"get", "delete"},
    "/api/chat/{session}/messages": {"get"},
    "/api/chat/{session}/stop": {"post"},
    "/api/chat/{session}/stream": {"get"},
    "/api/chat/{session}/streams/{stream}/raw": {"get"},
}


def in_an_application(guard: StreamGuard) -> FastAPI:
    app = FastAPI()
    install(guard, app, "/api/chat")
    return app


def in_a_router(guard: StreamGuard) -> FastAPI:
    app, router = FastAPI(), APIRouter(prefix="/chat")
    install(guard, router, "")
    app.include_router(router, prefix="/api")
    return app


@pytest.mark.parametrize("place", [in_an_application, in_a_router])
def test_every_route_is_there_with_its_parameters_and_answers(place: Any) -> None:
    document = place(make_guard()).openapi()
    paths = document["paths"]
    assert {path: set(operations) for path, operations in paths.items()} == CALLED
    resume = paths["/api/chat/{session}/stream"]["get"]
    assert [(one["in"], one["name"]) for one in resume["parameters"]] == [
        ("path", "session"),
        ("query", "cursor"),
        ("query", "errors"),
        ("header", "Last-Event-ID"),
    ]
    assert set(resume["responses"]["200"]["content"]) == {"text/event-stream"}
    assert "content" not in resume["responses"]["204"]
    assert resume["responses"]["410"] == {"description": "Gone: `resume_failed`", "content": ERROR}
    pages = {one["name"]: one["schema"] for one in paths["/api/chat/{session}/messages"]["get"]["parameters"]}
    assert (pages["limit"]["type"], pages["limit"]["maximum"]) == ("integer", 500)
    stop = paths["/api/chat/{session}/stop"]["post"]
    assert {"202", "204", "403"} <= set(stop["responses"])
    assert "200" not in stop["responses"]
    assert set(stop["requestBody"]["content"]["application/json"]["schema"]["properties"]) == {
        "stream_id",
        "message_id",
    }
    delete = paths["/api/chat/{session}"]["delete"]
    assert "content" not in delete["responses"]["204"]
    raw = paths["/api/chat/{session}/streams/{stream}/raw"]["get"]
    assert set(raw["responses"]["200"]["content"]) == {"text/plain"}
    components = document["components"]["schemas"]
    assert {name for name in components if "ValidationError" not in name} == {
        *("StreamguardError", "StreamguardFault", "StreamguardLiveness", "StreamguardMessages"),
        *("StreamguardReadiness", "StreamguardSession", "StreamguardStopped", "StreamguardStreamStatus"),
        "StreamguardStreaming",
    }
    assert set(components["StreamguardFault"]["properties"]["code"]["enum"]) == {code.value for code in FaultCode}
    ids = [one["operationId"] for operations in paths.values() for one in operations.values()]
    assert len(set(ids)) == len(ids)
    assert _references(document) <= {f"#/components/schemas/{name}" for name in components}


def _references(node: object) -> set[str]:
    if isinstance(node, dict):
        own = {str(node["$ref"])} if "$ref" in node else set()
        return own.union(*map(_references, node.values()))
    return set().union(*map(_references, node)) if isinstance(node, list) else set()


def test_tags() -> None:
    app, tagged = FastAPI(), FastAPI()
    install(make_guard(), app, "/api/chat")
    assert app.openapi()["paths"]["/api/chat/{session}"]["get"]["tags"] == ["streamguard"]
    install(make_guard(), tagged, "/api/chat", tags=["chat"])
    assert tagged.openapi()["paths"]["/api/chat/{session}"]["get"]["tags"] == ["chat"]


def test_ids_of_operations_from_tags_and_names_are_unique() -> None:
    """The recipe of FastAPI's page on generating clients."""
    guard = make_guard()
    app = FastAPI(generate_unique_id_function=lambda route: f"{route.tags[0]}-{route.name}")
    app.post("/chat", tags=["chat"])(chat_of(guard))
    install(guard, app, "/api/chat")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        paths = app.openapi()["paths"]
    ids = {one["operationId"] for operations in paths.values() for one in operations.values()}
    assert {"streamguard-streamguard_session", "streamguard-streamguard_erase_session", "chat-chat"} <= ids


@pytest.mark.parametrize("place", ["the application", "a router"])
def test_routes_that_are_not_shown_leave_nothing_dangling(place: str) -> None:
    guard, app, router = make_guard(), FastAPI(), APIRouter()
    target: FastAPI | APIRouter = app if place == "the application" else router
    install(guard, target, "/api/chat", include_in_schema=False)
    target.post("/chat")(chat_of(guard))
    app.include_router(router)
    document = app.openapi()
    assert set(document["paths"]) == {"/chat"}
    check_chat(document["paths"]["/chat"]["post"], "AI SDK")
    assert _references(document) <= {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}


def test_plain_installation_can_be_described_too() -> None:
    guard, app = make_guard(), FastAPI()
    app.post("/chat")(chat_of(guard))
    guard.install(app, "/api/chat")
    describe(app)
    document = app.openapi()
    check_chat(document["paths"]["/chat"]["post"], "AI SDK")
    assert "StreamguardError" in document["components"]["schemas"]


def check_chat(operation: dict[str, Any], form: str, media_type: str = "text/event-stream") -> None:
    responses = operation["responses"]
    assert set(responses["200"]["content"]) == {media_type}
    assert form in responses["200"]["description"]
    assert "X-Stream-Id" in responses["200"]["headers"]
    statuses = {str(REGISTRY[code].status) for code in ENDPOINT_FAULTS}
    assert {"400", "401", "409", "413", "429", "500", "502", "503", "504"} <= statuses
    for status in statuses:
        assert responses[status]["content"] == ERROR
    assert "`quota_exceeded`" in responses["429"]["description"]
    assert set(responses["422"]["content"]) == {"application/json"}  # FastAPI's own, of the endpoint's body


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("place", ["the application", "its router", "the guard's router"])
def test_a_guarded_endpoint_shows_its_stream_and_the_errors(place: str, when: str) -> None:
    guard = make_guard()
    app, router = FastAPI(), APIRouter()
    target: FastAPI | APIRouter = router if place == "the guard's router" else app
    declared: FastAPI | APIRouter = app if place == "the application" else router

    def declare() -> None:
        declared.post("/chat")(chat_of(guard))
        declared.post("/plain")(chat_of(guard, protocol="plain", binding="plain"))

    if when == "before":
        declare()
    install(guard, target, "/api/chat")
    if when == "after":
        declare()
    app.include_router(router, prefix="/v1")
    paths = app.openapi()["paths"]
    prefix = "" if place == "the application" else "/v1"
    chat, plain = paths[f"{prefix}/chat"]["post"], paths[f"{prefix}/plain"]["post"]
    check_chat(chat, "AI SDK's UI message stream")
    assert chat["responses"]["200"]["headers"]["x-vercel-ai-ui-message-stream"]["schema"]["const"] == "v1"
    check_chat(plain, "text of the answer")
    assert _references(paths) <= {f"#/components/schemas/{name}" for name in app.openapi()["components"]["schemas"]}


def test_endpoints_elsewhere_are_described_on_request() -> None:
    guard = make_guard()
    app, router = FastAPI(), APIRouter()
    app.post("/chat")(chat_of(guard))
    install(guard, router, "/api/chat")
    app.include_router(router)
    describe(app)
    check_chat(app.openapi()["paths"]["/chat"]["post"], "AI SDK")
    assert app.openapi() is app.openapi()


def test_what_an_endpoint_says_itself_stays() -> None:
    guard, app = make_guard(), FastAPI()

    class Own(StreamingResponse):
        media_type = "text/event-stream"

    own = {200: {"description": "mine"}, "409": {"description": "my conflict"}}
    app.post("/chat", responses=own, response_class=Own)(chat_of(guard))  # type: ignore[arg-type]
    install(guard, app, "/api/chat")
    responses = app.openapi()["paths"]["/chat"]["post"]["responses"]
    assert (responses["200"]["description"], responses["409"]) == ("mine", {"description": "my conflict"})
    assert responses["401"]["content"] == ERROR


def test_endpoints_that_are_not_guarded_are_left_alone() -> None:
    app = FastAPI()

    @app.get("/plain")
    async def plain() -> str:
        return ""

    before = app.openapi()["paths"]["/plain"]
    app.openapi_schema = None
    install(make_guard(), app, "/api/chat")
    assert app.openapi()["paths"]["/plain"] == before


def test_an_endpoint_whose_protocol_shows_later() -> None:
    guard, app = make_guard(), FastAPI()

    @app.post("/proxied")
    @guard.stream(session="body.id")
    async def proxied(body: Body) -> StreamingResponse:
        async def blocks() -> AsyncIterator[bytes]:
            yield b"data: 1\n\n"

        return StreamingResponse(blocks(), media_type="text/event-stream")

    install(guard, app, "/api/chat")
    responses = app.openapi()["paths"]["/proxied"]["post"]["responses"]
    assert set(responses["200"]["content"]) == {"text/event-stream"}


@pytest.mark.parametrize(
    ("protocol", "form", "media_type"),
    [
        ("openai", "OpenAI's chunks or events", "text/event-stream"),
        ("anthropic", "Anthropic's events", "text/event-stream"),
        ("opaque", "events of the response", "text/event-stream"),
        ("ui-message-raw", "AI SDK's UI message stream", "text/event-stream"),
        ("ndjson", "One JSON document a line", "application/x-ndjson"),
    ],
)
def test_each_protocol_is_described(protocol: str, form: str, media_type: str) -> None:
    guard, app = make_guard(), FastAPI()
    app.post("/chat")(chat_of(guard, protocol=protocol))
    install(guard, app, "/api/chat")
    check_chat(app.openapi()["paths"]["/chat"]["post"], form, media_type)


async def test_real_answers_have_the_documented_form() -> None:
    guard = StreamGuard(authenticate=user_of, messages=MemoryMessageStore())
    app = in_an_application(guard)
    app.post("/api/chat")(chat_of(guard))
    async with calling(app, guard) as client:
        await client.post("/api/chat", json={"id": "s"})
        StreamguardSession.model_validate((await client.get("/api/chat/s")).json())
        StreamguardMessages.model_validate((await client.get("/api/chat/s/messages")).json())
        StreamguardError.model_validate((await client.get("/api/chat/s", headers={"X-User": ""})).json())
        assert (await client.get("/openapi.json")).json()["paths"].keys() >= CALLED.keys()
    fault = Fault.of(FaultCode.QUOTA_EXCEEDED, reason="r", retry_after_seconds=1)
    StreamguardError.model_validate_json(fault.envelope())
