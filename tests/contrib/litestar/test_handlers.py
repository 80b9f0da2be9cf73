"""What a route handler takes, and what Litestar does around it, under the plugin's decorator."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from litestar import Controller, MediaType, Request, Response, Router, get, post
from litestar.background_tasks import BackgroundTask
from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie, ResponseHeader, State
from litestar.di import Provide
from litestar.dto import DataclassDTO, DTOConfig
from litestar.exceptions import HTTPException, NotAuthorizedException, PermissionDeniedException
from litestar.handlers import BaseRouteHandler
from msgspec import Struct
from starlette.exceptions import HTTPException as StarletteHTTPException

from streamguard import Outcome, Run, StreamGuard
from streamguard.contrib.litestar import StarletteRequest
from streamguard.messages import MemoryMessageStore
from streamguard.quota import Quota

from ...harness.litestar_markers import FromPath, FromQuery, JSONBody, MultipartBody, NamedDependency, header
from ...web.serving import user_of
from .apps import ChatBody, plugin, visiting, words

if TYPE_CHECKING:
    from decimal import Decimal

pytestmark = pytest.mark.anyio

BODY = {"id": "c1"}
TEXT = "w0 w1 w2 "


async def yielding(data: JSONBody[ChatBody], run: Run) -> AsyncIterator[str]:
    for word in words(data.words):
        yield word


# -- what a handler takes ---------------------------------------------------------------------------------------------


class Wanted(Struct):
    id: str


async def test_parameters_dependencies_and_state_come_as_litestar_gives_them() -> None:
    streams = plugin()

    async def tenant(tenant_id: Annotated[str, header("tenant_id")]) -> str:
        return f"tenant {tenant_id}"

    async def model(tenant: NamedDependency[str]) -> str:
        return f"model of {tenant}"

    @post("/api/{chat_id:str}/ask", dependencies={"tenant": Provide(tenant), "model": Provide(model)})
    @streams.stream(session="chat_id")
    async def ask(
        chat_id: FromPath[str],
        temperature: FromQuery[int],
        data: JSONBody[Wanted],
        model: NamedDependency[str],
        request: Request[Any, Any, Any],
        state: State,
        run: Run,
    ) -> AsyncIterator[str]:
        yield f"{chat_id} {temperature} {data.id} {model} {request.method} {state.flavour} {run.owner}"

    async with visiting(streams, ask, state=State({"flavour": "vanilla"})) as chat:
        answer = await chat.post({"id": "x"}, path="/api/c7/ask?temperature=2", headers={"tenant_id": "t9"})
        await answer.rest()
        assert (answer.status, answer.session_id) == (200, "c7"), answer.body
        assert answer.text == "c7 2 x model of tenant t9 POST vanilla ann"


async def test_selectors_get_litestars_request_and_the_handlers_arguments() -> None:
    streams = plugin()
    seen: list[object] = []

    def session(request: object, data: Wanted) -> str:
        seen.append(request)
        return data.id

    @post("/api/chat")
    @streams.stream(session=session, quota=Quota(limit=10, per="day"), estimate=lambda data: len(data.id))
    async def ask(data: JSONBody[Wanted]) -> AsyncIterator[str]:
        yield "word"

    async with visiting(streams, ask) as chat:
        answer = await chat.post({"id": "c1"})
        await answer.rest()
        assert answer.session_id == "c1"
        assert isinstance(seen[0], Request)


async def test_a_data_transfer_object_is_read_before_the_guard() -> None:
    @dataclass
    class Question:
        id: str
        secret: str = "kept"

    streams = plugin()

    @post("/api/chat", dto=DataclassDTO[Annotated[Question, DTOConfig(exclude={"secret"})]])
    @streams.stream(session="data.id")
    async def ask(data: JSONBody[Question]) -> AsyncIterator[str]:
        yield data.secret

    async with visiting(streams, ask) as chat:
        answer = await chat.post({"id": "c1", "secret": "stolen"})
        await answer.rest()
        assert (answer.session_id, answer.text) == ("c1", "kept")


async def test_controllers_and_routers_have_guarded_endpoints() -> None:
    streams = plugin()

    class Chats(Controller):
        path = "/controlled"
        greeting = "hello from "

        @post("/ask")
        @streams.stream(session="data.id")
        async def ask(self, data: JSONBody[ChatBody], run: Run) -> AsyncIterator[str]:
            yield self.greeting
            yield run.session_id

    @post("/ask")
    @streams.stream(session="data.id")
    async def routed(data: JSONBody[ChatBody]) -> AsyncIterator[str]:
        yield "routed"

    async with visiting(streams, Chats, Router("/routed", route_handlers=[routed])) as chat:
        controlled = await chat.post({"id": "c1"}, path="/controlled/ask")
        await controlled.rest()
        assert controlled.text == "hello from c1"
        answer = await chat.post({"id": "c2"}, path="/routed/ask")
        await answer.rest()
        assert answer.text == "routed"


async def test_names_that_only_litestar_can_resolve_are_left_to_it() -> None:
    streams = plugin()

    @get("/api/chat", signature_namespace={"Decimal": str})
    @streams.stream()
    async def ask(amount: FromQuery[Decimal], state: State) -> AsyncIterator[str]:
        yield f"{amount}"

    async with visiting(streams, ask) as chat:
        answer = await chat.request("GET", "/api/chat?amount=12")
        await answer.rest()
        assert answer.text == "12", answer.body


async def test_a_body_that_litestar_has_read_is_there_for_the_guard_too() -> None:
    """An edited question is found in the body, an equal request by its digest."""
    store = MemoryMessageStore()
    streams = plugin(guard=StreamGuard(authenticate=user_of, messages=store))

    @post("/api/chat")
    @streams.stream(session="data.id", on_conflict="join")
    async def ask(data: JSONBody[ChatBody], request: Request[Any, Any, Any], run: Run) -> AsyncIterator[str]:
        run.save({"id": "q1", "role": "user", "parts": [{"type": "text", "text": "hello"}]})
        yield str(len(await request.body()))

    question = {"id": "q1", "role": "user", "parts": [{"type": "text", "text": "hello"}]}
    async with visiting(streams, ask) as chat:
        await (await chat.post({"id": "c1", "messages": [question]})).rest()
        edited = {"id": "c1", "messages": [question], "trigger": "submit-message", "messageId": "q1"}
        await (await chat.post(edited)).rest()
        assert [saved.role for saved in await chat.messages("c1")] == ["user", "assistant"]


async def test_an_upload_is_read_once() -> None:
    streams = plugin()

    @post("/api/chat")
    @streams.stream(session="data.id", on_conflict="join")  # which compares bodies, where there is one to compare
    async def ask(data: MultipartBody[dict[str, str]]) -> AsyncIterator[str]:
        yield data["id"]

    body = b'--x\r\nContent-Disposition: form-data; name="id"\r\n\r\nc1\r\n--x--\r\n'
    async with visiting(streams, ask) as chat:
        headers = {"content-type": "multipart/form-data; boundary=x"}
        answer = await chat.request("POST", "/api/chat", body=body, headers=headers)
        await answer.rest()
        assert (answer.session_id, answer.text) == ("c1", "c1"), answer.body


async def test_starlettes_view_of_a_request_streams_its_body_whoever_read_it() -> None:
    streams = plugin()

    @post("/api/{first:str}")
    @streams.stream(session="first")
    async def ask(first: FromPath[str], request: Request[Any, Any, Any]) -> AsyncIterator[str]:
        if first == "litestar":
            await request.body()
        async for piece in StarletteRequest(request).stream():
            yield piece.decode()

    async with visiting(streams, ask) as chat:
        for first in ("starlette", "litestar"):
            answer = await chat.request("POST", f"/api/{first}", body=b"the body")
            await answer.rest()
            assert answer.text == "the body", answer.body


async def test_a_body_over_the_guards_limit_is_refused_by_the_guard() -> None:
    streams = plugin()
    async with visiting(streams, post("/api/chat")(streams.stream(session="data.id")(yielding))) as chat:
        answer = await chat.post({"id": "c1", "padding": "x" * (5 << 20)})
        assert answer.status == 413
        assert [fault.code for fault in answer.faults] == ["payload_too_large"]


def _never(request: Request[Any, Any, Any], exc: Exception) -> Response[str]:
    raise AssertionError("a handler of every exception is not asked")


# -- what Litestar does around a handler -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raised", "status"),
    [
        (NotAuthorizedException("sign in"), 401),
        (HTTPException("teapot", status_code=418), 418),
        (StarletteHTTPException(409, "taken"), 409),
    ],
)
async def test_an_exception_of_its_own_before_the_first_event_is_litestars_to_answer(
    raised: Exception, status: int
) -> None:
    streams = plugin()

    @post("/api/chat")
    @streams.stream(session="data.id")
    async def ask(data: JSONBody[ChatBody]) -> AsyncIterator[str]:
        if data.words:
            raise raised
        yield ""

    def answered(request: Request[Any, Any, Any], exc: Exception) -> Response[str]:
        return Response(f"handled {type(exc).__name__}", media_type=MediaType.TEXT, status_code=status)

    async with visiting(streams, ask, exception_handlers={type(raised): answered}) as chat:
        answer = await chat.post(BODY)
        assert (answer.status, answer.body.decode()) == (status, f"handled {type(raised).__name__}")
        assert answer.headers["x-session-id"] == "c1"
        last = (await chat.status("c1")).last
        assert last is None or last.outcome is Outcome.FAILED


class SoldOutError(LookupError):
    """Of a host."""


@pytest.mark.parametrize("layer", ["application", "handler"])
async def test_so_is_one_that_the_host_has_a_handler_for(layer: str) -> None:
    def answered(request: Request[Any, Any, Any], exc: Exception) -> Response[str]:
        return Response(f"handled {exc}", media_type=MediaType.TEXT, status_code=410)

    streams = plugin()
    handlers: Any = {LookupError: answered}

    @post("/api/chat", exception_handlers=handlers if layer == "handler" else None)
    @streams.stream(session="data.id")
    async def ask(data: JSONBody[ChatBody]) -> AsyncIterator[str]:
        if data.words:
            raise SoldOutError("no tea")
        yield ""

    async with visiting(streams, ask, exception_handlers=handlers if layer == "application" else None) as chat:
        answer = await chat.post(BODY)
        assert (answer.status, answer.body.decode()) == (410, "handled no tea")
        assert "x-stream-id" not in answer.headers
        status = await chat.status("c1")
        assert status.active is status.last is None


@pytest.mark.parametrize("handlers", [None, {Exception: _never}, {500: _never}], ids=["none", "exception", "500"])
async def test_an_exception_of_a_model_is_a_fault(handlers: Any) -> None:
    streams = plugin()

    @post("/api/chat")
    @streams.stream(session="data.id")
    async def ask(data: JSONBody[ChatBody]) -> AsyncIterator[str]:
        if data.words:
            raise RuntimeError("secret")
        yield ""

    async with visiting(streams, ask, exception_handlers=handlers) as chat:
        answer = await chat.post(BODY)
        assert (answer.status, [fault.code for fault in answer.faults]) == (500, ["internal"])


async def test_guards_and_validation_come_before_the_stream() -> None:
    def nobody(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        if connection.headers.get("x-key") != "k":
            raise PermissionDeniedException("no key")

    streams = plugin()
    handler = post("/api/chat", guards=[nobody])(streams.stream(session="data.id")(yielding))
    async with visiting(streams, handler) as chat:
        assert (await chat.post(BODY)).status == 403
        assert (await chat.post({"id": 7}, headers={"x-key": "k"})).status == 400
        assert (await chat.status("c1")).last is None
        assert (await chat.post(BODY, headers={"x-key": "k"})).status == 200


async def test_headers_cookies_hooks_and_background_tasks_of_every_layer_are_kept() -> None:
    done: list[str] = []

    async def background(name: str) -> None:
        done.append(name)

    async def after(response: Response[Any]) -> Response[Any]:
        response.headers["X-After"] = "hook"
        response.set_cookie("hook", "yes")
        return response

    streams = plugin()
    handler = post(
        "/api/chat",
        after_request=after,
        background=BackgroundTask(background, "task"),
        response_headers=[
            ResponseHeader(name="X-Layer", value="route"),
            ResponseHeader(name="X-Stream-Id", value="no"),
        ],
        response_cookies=[Cookie("layer", value="yes")],
    )(streams.stream(session="data.id")(yielding))
    async with visiting(streams, handler) as chat:
        answer = await chat.post(BODY)
        await answer.rest()
        assert (answer.headers["x-layer"], answer.headers["x-after"]) == ("route", "hook")
        assert answer.stream_id != "no"
        assert chat.cookies == {"hook": "yes", "layer": "yes"}
    assert done == ["task"]


async def test_openapi_shows_the_stream_and_its_failures() -> None:
    streams = plugin()
    handler = post("/api/chat")(streams.stream(session="data.id")(yielding))
    async with visiting(streams, handler) as chat:
        document = await chat.request("GET", "/schema/openapi.json")
        await document.whole()
        paths: Any = document.json()["paths"]
        assert list(paths) == ["/api/chat"]
        operation = paths["/api/chat"]["post"]
        assert list(operation["responses"]["200"]["content"]) == ["text/event-stream"]
        assert "201" not in operation["responses"]
        assert "parameters" not in operation
        failure = operation["responses"]["409"]["content"]["application/json"]["schema"]["$ref"]
        assert failure.endswith("StreamguardError")
